"""Text to video: the bundled generator and the drivers for big ones. Layers: eval -> t2v -> v2t, never back.

In: `import t2v` in a plain diffusers script, before or after `import diffusers`; light, it loads neither. Out:
`DiffusionPipeline.from_pretrained(folder)` finds the class a folder of ours names. diffusers looks for pipelines among
its own names alone, and loads parts from modules that are imported already; no code ever comes from the folder. So its
module is given one more name, `CineloopPipeline`, and whoever asks for it imports `t2v.pipeline` and all it needs.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Names of this package that are loaded when they are asked for.
_HOMES = {
    "AutoencoderKLCineloop": "t2v.model.vae",
    "CineloopPipeline": "t2v.pipeline",
    "CineloopTextModel": "t2v.model.text",
    "CineloopTransformer3DModel": "t2v.model.dit",
    "load_starter": "t2v.pipeline",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 't2v' has no attribute {name!r}")


def _tell(diffusers: ModuleType) -> None:
    """Give the module of diffusers the name of our pipeline, imported at the first use (PEP 562's other half)."""

    class WithCineloop(type(diffusers)):  # type: ignore[misc]
        @property
        def CineloopPipeline(self) -> type:
            return importlib.import_module("t2v.pipeline").CineloopPipeline

    diffusers.__class__ = WithCineloop


class _WhenImported(MetaPathFinder, Loader):
    """Stands before the finder of diffusers, lets its import happen as usual, and tells it then; once."""

    inner: Loader
    looking = False

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname != "diffusers" or self.looking:
            return None
        self.looking = True  # the true finders are asked below, and this one must not answer itself
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.looking = False
        if spec is not None and spec.loader is not None:  # many only ask whether it is there
            self.inner, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        sys.meta_path.remove(self)
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self.inner
        self.inner.exec_module(module)
        _tell(sys.modules["diffusers"])  # it has put a lazy module of its own in its place


if "diffusers" in sys.modules:
    _tell(sys.modules["diffusers"])
else:
    sys.meta_path.insert(0, _WhenImported())
