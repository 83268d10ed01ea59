"""``python -m conure_lib.cli`` is ``conure``."""

import sys

from conure_lib.cli.app import main

if __name__ == "__main__":  # worker processes import this module under another name
    sys.exit(main())
