"""PyAV with clips that misbehave by their names: `hangs` for ever, `aborts` its process, `waits` half a second.

This folder comes first on PYTHONPATH; the true PyAV is loaded from behind it and changed in place. Every decoding
child opens its file with it, whatever decoder reads the frames.
"""

import os
import sys
import time

sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
del sys.modules["av"]
import av  # noqa: E402

_WAIT_S = 0.5
_open = av.open


def _planted(file, *args, **options):
    name = os.path.basename(os.path.realpath(file))
    if name.startswith("hangs"):
        time.sleep(1e6)
    elif name.startswith("aborts"):
        os.abort()
    elif name.startswith("waits"):
        time.sleep(_WAIT_S)
    return _open(file, *args, **options)


av.open = _planted
