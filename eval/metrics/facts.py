"""Facts: which true facts of a cartoon clip a caption states, which it misses, which it gets wrong.

In: captions and the clips' facts. Out: per kind the share of facts stated rightly with a Wilson interval, and `joint`,
the share of captions in which every fact that had to be stated is right and nothing is made up. A clip without a
caption misses all its facts: it is never left out. Reader: `v2t.world.read_text`; rules: `v2t.world.comparison`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.metric import Figure, MetricResult, fingerprint
from eval.stats import wilson
from v2t.world.comparison import KINDS, Tally, compare
from v2t.world.read_text import parse
from v2t.world.stated import STYLES

_READER = tuple(
    f"v2t.world.{name}" for name in ("vocabulary", "lexicon", "grammar", "stated", "phrases", "read_text", "comparison")
)


class Metric:
    """Share of facts stated rightly, per kind.

    `style` is what the captions were asked to be: it decides which facts had to be stated.
    """

    name = "facts"
    level = "text"
    needs = ("caption", "facts")
    higher_is_better = True
    value_range = (0.0, 1.0)

    def __init__(self, style: str = "short") -> None:
        if style not in STYLES:
            raise ValueError(f"style must be one of {', '.join(STYLES)}, not {style!r}")
        self.style = style
        self._tallies: dict[str, Tally] = {}
        self._items: list[dict[str, Any]] = []
        self._counts = {"captioned": 0, "failed": 0, "missing": 0, "made_up": 0, "unread_words": 0}

    def update(self, id: str, caption: str | None, facts: Mapping[str, Any], *, why: str = "missing") -> None:
        """Score one clip.

        Args:
            id: the clip's id.
            caption: its caption; None where there is none.
            facts: its truth, from `Scene.facts()`.
            why: missing or failed, for a clip without a caption.
        """
        stated = parse(caption or "")
        result = compare(stated, facts, self.style)
        self._counts["captioned" if caption is not None else why] += 1
        self._counts["made_up"] += result.made_up
        self._counts["unread_words"] += len(stated.unread)
        for kind, tally in result.tallies.items():
            total = self._tallies.setdefault(kind, Tally())
            total.right += tally.right
            total.missed += tally.missed
            total.wrong += tally.wrong
        shown = {kind: [t.right, t.missed, t.wrong] for kind, t in result.tallies.items()}
        self._items.append({"id": id, "joint": result.joint, "made_up": result.made_up, "facts": shown})

    def compute(self) -> MetricResult:
        """The figures over all clips so far.

        Raises:
            ValueError: when no clip was scored.
        """
        num = len(self._items)
        if not num:
            raise ValueError("no clip was scored")
        figures = {}
        for kind in KINDS:
            if kind in self._tallies:
                tally = self._tallies[kind]
                detail = {"right": tally.right, "missed": tally.missed, "wrong": tally.wrong}
                figures[kind] = _share(tally.right, tally.num, detail)
        joint = sum(item["joint"] for item in self._items)
        figures["joint"] = _share(joint, num, {"right": joint, "wrong": num - joint})
        return MetricResult(
            name=self.name,
            headline="joint",
            figures=figures,
            n=num,
            coverage=self._counts["captioned"] / num,
            fingerprint=fingerprint(f"facts/1 style={self.style}", _READER),
            counts=dict(self._counts),
            items=self._items,
        )


def _share(right: int, num: int, detail: dict[str, int]) -> Figure:
    low, high = wilson(right, num)
    return Figure(value=right / num, low=low, high=high, n=num, detail=detail)
