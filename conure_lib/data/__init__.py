"""Task streams: what they are, how tables become one, where each dataset comes from.

``stream`` (TaskStream, Task), ``assemble`` (tables -> stream), ``options``, ``cache`` (on disk),
``registry`` (the datasets; ``load``), ``download``, ``text_tables``, ``sources`` (one file each).
Imports ``conure_lib.config``, ``errors``, ``paths`` and ``files`` only.
"""
