"""`python -m t2v`: the command, without a script of it on PATH."""

import sys

from t2v.cli import main

if __name__ == "__main__":
    sys.exit(main())
