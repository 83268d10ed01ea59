"""One file per source of data; a new one is a builder here and a record in ``registry``."""
