"""Opening a frame extractor the way VBench prepares its frames.

In: an extractor's name and the mode. Out: the extractor; in `compat` with VBench's own preprocessing (resize of the
tensor without antialias), where the family knows it.
"""

from __future__ import annotations

from cineloop.errors import UsageError
from cineloop.plugin import load
from v2t_eval.features import BaseExtractor, open_extractor


def open_backbone(name: str, *, compat: bool) -> BaseExtractor:
    """The extractor `name` for single frames.

    Raises:
        UsageError: it embeds clips, not frames; else as `open_extractor`.
    """
    family = load("v2t_eval.extractors", name.partition(":")[0].replace("-", "_"), "Extractor").Extractor
    if family.kind != "frame":
        raise UsageError(f"{name} embeds clips; a model for single frames is wanted", hint="such as starter-tower")
    return open_extractor(name, preprocess="vbench" if compat and "vbench" in family.preprocesses else "")


def describe_backbone(extractor: BaseExtractor) -> dict[str, str]:
    """Its fingerprint, each key under `backbone`."""
    return {f"backbone {key}": value for key, value in extractor.fingerprint().items()}
