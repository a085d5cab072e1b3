"""Settings of mining. Imported for --help: nothing heavy here."""

from __future__ import annotations

from dataclasses import dataclass

from cineloop.options import option, setting


@dataclass(frozen=True, kw_only=True)
class MineConfig:
    """What is asked about captions."""

    judge: str = option("v2t", "v2t (the starter, default), v2t:MODEL, none", metavar="NAME")
    questions: str = option("grammar", "of captions: grammar (default), openai:URL[#model]", metavar="SOURCE")
    encoder: str = option("starter", "dual encoder: starter (default), open_clip:..., none", metavar="MODEL")
    facts: bool = setting(False, "compare captions with the facts of the truth")
