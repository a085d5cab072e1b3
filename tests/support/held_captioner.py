"""The bundled captioner, which waits before its second batch as long as a file says so: tests stop it in mid-run.

The file is `hold-I` in $SLURM_STAND_IN for task I of an array; `held-I` appears when the wait has begun.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from v2t.backends.local import Backend as Bundled


class Backend(Bundled):
    """As its parent."""

    num_batches = 0

    def answer(self, conversations, decoding):
        self.num_batches += 1
        state, task = Path(os.environ["SLURM_STAND_IN"]), os.environ["SLURM_ARRAY_TASK_ID"]
        while self.num_batches == 2 and (state / f"hold-{task}").exists():
            (state / f"held-{task}").touch()
            time.sleep(0.01)
        return super().answer(conversations, decoding)
