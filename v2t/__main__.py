"""`python -m v2t`: the command, without a script of it on PATH."""

import sys

from v2t.cli import main

if __name__ == "__main__":
    sys.exit(main())
