"""What stands around every command: errors become exit codes and one plain line on stderr.

In: the command's work as a function. Out: its exit code (see `v2t.base.errors`). Nothing heavy is imported here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from v2t.base.errors import EXIT_ENVIRONMENT, EXIT_INTERRUPTED, EXIT_UNEXPECTED, CineloopError


def guarded(work: Callable[[], int], *, traceback: bool) -> int:
    """Run `work`; its exit code, or that of the error it ended with. `traceback` lets an unexpected error through."""
    try:
        return work()
    except CineloopError as error:
        _say(f"error {error.code}: {error}")
        return error.exit_code
    except BrokenPipeError:
        # The reader of stdout (head, a closed pager) has seen enough; nothing may be written at exit any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_INTERRUPTED
    except OSError as error:
        _say(f"error ENVIRONMENT: {error}")
        return EXIT_ENVIRONMENT
    except Exception as error:  # the last stop: a traceback is for -v, the exit code for everybody
        if traceback:
            raise
        _say(f"error UNEXPECTED: {type(error).__name__}: {error} (run again with -v for the traceback)")
        return EXIT_UNEXPECTED


def _say(text: str) -> None:
    from v2t.base.log import printable

    print(printable(text), file=sys.stderr)
