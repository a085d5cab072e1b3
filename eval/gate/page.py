"""`gate.html`: the verdict as a page; the clips that got worst beside the baseline's.

In: a `Verdict`, folders of the clips. Out: one HTML file that needs nothing else, see `eval.report.page`.
"""

from __future__ import annotations

from pathlib import Path

from eval.gate import wording
from eval.gate.verdict import Verdict
from eval.report.page import Banner, Card, Section
from eval.report.page import render as render_page
from v2t.base.files import unescape_name

MAX_CLIPS = 24


def render(
    verdict: Verdict, folder: Path, candidate_root: Path | None = None, baseline_root: Path | None = None
) -> bytes:
    """The page, to be written into `folder`.

    Args:
        verdict: what to tell.
        folder: where the page will lie; links to clips are relative to it.
        candidate_root, baseline_root: what the clips' paths are relative to; None: the `folder` that the verdict names
            for that side.
    """
    roots = (_root(candidate_root, verdict.candidate), _root(baseline_root, verdict.baseline))
    banner = Banner(word=wording.WORDS[verdict.outcome], sentence=verdict.reason)
    cards = []
    for first, changes in wording.by_clip(verdict, MAX_CLIPS):
        paths = [
            _file(root, path) for root, path in zip(roots, (first.candidate_path, first.baseline_path), strict=True)
        ]
        lines = (*([first.prompt] if first.prompt else []), *map(wording.clip, changes))
        cards.append(Card(title=first.id, lines=lines, clip=paths[0], beside=paths[1]))
    return render_page("Gate", banner, [Section(title="Clips that got worse", cards=tuple(cards))], folder)


def _root(given: Path | None, side: dict[str, str]) -> Path | None:
    return given if given is not None or "folder" not in side else Path(side["folder"])


def _file(root: Path | None, path: str | None) -> Path | None:
    return None if root is None or path is None else root / unescape_name(path)
