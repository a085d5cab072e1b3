"""Events of a text and their entailment by another text: one file per judge.

In: texts. Out: events as short sentences, and for each whether a text entails it, contradicts it, or is silent on it. A
judge is named `world` (captions of the cartoon world, read by `cineloop.world`), `openai:URL[#model]` (any compatible
server), or by the folder or hub id of a language model of transformers.
"""

from __future__ import annotations

from typing import Protocol

from v2t_eval import models


class EventJudge(Protocol):
    """A judge of events."""

    def describe(self) -> dict[str, str]:
        """The judge's part of a fingerprint: its model with revision or hash."""

    def events(self, text: str) -> list[str]:
        """What happens in a text; empty when nothing does.

        Raises:
            ItemError: the judge cannot decide: OUT_OF_DOMAIN, JUDGE_UNREADABLE, REFUSED and what its model raises.
        """

    def entails(self, events: list[str], text: str) -> list[str]:
        """For each event "entailment", "neutral" or "contradiction".

        Raises:
            ItemError: as `events`.
        """


def open_judge(name: str) -> EventJudge:
    """The judge of that name, loaded at its first use, see `v2t_eval.models`.

    Raises:
        UsageError: not a valid address. MissingDependencyError: no such model or server.
    """
    return models.opened(("events", name), lambda: _load(name))


def _load(name: str) -> EventJudge:
    if name == "world":
        from v2t_eval.events.world import WorldJudge

        return WorldJudge()
    from v2t_eval.events.language import LanguageJudge

    if name.startswith("openai:"):
        from v2t_eval.events.served import Served

        return LanguageJudge(Served(name))
    from v2t_eval.events.causal import Causal

    return LanguageJudge(Causal(name))
