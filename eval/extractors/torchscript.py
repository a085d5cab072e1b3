"""Detectors that come as one TorchScript file: I3D of StyleGAN-V, InceptionV3 of StyleGAN2.

Loading such a file RUNS CODE that is in it. So it is only done for a path that was named, never searched or fetched,
and its sha256 is checked where the name states it: `i3d:detectors/i3d_torchscript.pt#SHA256`.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from cineloop.errors import MissingDependencyError, UsageError, first_line
from v2t_eval.core.models import file_sha256

_HEX = set("0123456789abcdef")


def load_script(where: str, family: str, device: str, hint: str) -> tuple[Any, str]:
    """The module in a file, ready on `device`, and the sha256 of the file.

    Raises:
        UsageError: no path, or a hash of another form. MissingDependencyError: no such file, another hash, or no
            TorchScript.
    """
    import torch

    path, _, expected = where.partition("#")
    expected = expected.lower()
    if not path or (expected and (len(expected) < 8 or set(expected) - _HEX)):
        raise UsageError(f"expected {family}:PATH or {family}:PATH#sha256, got {family}:{where}")
    if not Path(path).is_file():
        raise MissingDependencyError(f"{family}: there is no file {path}", code="MODEL", hint=hint)
    digest = file_sha256(path, expected)
    try:
        with warnings.catch_warnings():  # torch.jit is frozen, not gone; the field's detectors come in no other form
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(path, map_location=device).eval()
    except (RuntimeError, OSError, ValueError) as error:
        raise MissingDependencyError(
            f"{path} is not a TorchScript file: {first_line(error)}", code="MODEL", hint=hint
        ) from error
    return module, digest
