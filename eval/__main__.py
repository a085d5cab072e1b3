"""`python -m v2t_eval`: the command without its script on PATH."""

import sys

from v2t_eval.cli import main

if __name__ == "__main__":
    sys.exit(main())
