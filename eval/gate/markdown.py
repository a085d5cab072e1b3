"""`gate.md`: the verdict for a pull request's comment or a job's summary, bounded in size.

In: a `Verdict`. Out: GitHub-flavoured Markdown. Ids, prompts and reasons are other people's text: whatever Markdown,
HTML or GitHub would read into them (tables, links, code, mentions, issue numbers) is taken apart by `plain`. What is
too long loses clips first, then exploratory metrics, and says how many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from v2t_eval.gate import wording
from v2t_eval.gate.verdict import MetricVerdict, Verdict
from v2t_eval.report.markdown import plain, table
from v2t_eval.report.summary import counted

MAX_BYTES = 60_000  # GitHub takes comments up to 65,536 characters
_SENTENCE = 1_000
_MAX_SENTENCES = 50
_MOST = 1_000  # clips, and exploratory metrics
_METRIC_HEAD = (
    "Metric", "Outcome", "Candidate", "Baseline", "Change", "Asked for", "p (adjusted)", "Detectable", "Rests on",
)  # fmt: skip
_CLIP_HEAD = ("Clip", "What changed", "Prompt")


def render(verdict: Verdict, *, max_bytes: int = MAX_BYTES) -> str:
    """The page; at most `max_bytes` of UTF-8, shortened from its end where even the least form is longer."""
    page = _Page(verdict)
    fits, too_many = 0, max(len(page.clips), len(page.explored)) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if len(page.data(middle)) <= max_bytes:
            fits = middle
        else:
            too_many = middle
    return _cut(page.data(fits), max_bytes)


class _Page:
    """The page in parts: what always stands, and the lines of which as many are shown as there is room for."""

    def __init__(self, verdict: Verdict) -> None:
        primary, exploratory = wording.parted(verdict)
        self.num_clips, self.num_explored = len(wording.by_clip(verdict)), len(exploratory)
        self.clips = _clip_lines(verdict)
        self.explored = _metric_lines(exploratory[:_MOST])
        self.before = [
            f"# Gate: {wording.WORDS[verdict.outcome]}",
            f"**{plain(verdict.reason, _SENTENCE)}** (exit code {verdict.exit_code})",
            _list(f"{role}: {wording.side(told)}" for role, told in _sides(verdict) if told),
            _differences(verdict),
            "## Primary metrics\n\n" + table(_METRIC_HEAD, _metric_lines(primary)) if primary else "",
            _said(primary),
            _guards(verdict),
        ]
        self.after = [
            _notes(verdict),
            f"To get this verdict again: {plain(wording.command(verdict), _SENTENCE)}",
        ]

    def data(self, most: int) -> bytes:
        """The whole with at most `most` clips and as many exploratory metrics."""
        clips = _some("Clips that got worse, worst first", "clip", _CLIP_HEAD, self.clips[:most], self.num_clips)
        told = "Exploratory metrics, which decide nothing"
        explored = _some(told, "metric", _METRIC_HEAD, self.explored[:most], self.num_explored)
        parts = [*self.before, clips, explored, *self.after]
        return ("\n\n".join(part for part in parts if part) + "\n").encode("utf-8", "backslashreplace")


def _some(title: str, noun: str, head: Sequence[str], lines: Sequence[Sequence[str]], total: int) -> str:
    """A table of some lines, and how many are left out."""
    if not total:
        return ""
    left = total - len(lines)
    more = f"{counted(left, noun)} more: left out here, all stand in verdict.json." if left else ""
    return "\n\n".join(part for part in (f"## {title}", table(head, lines) if lines else "", more) if part)


def _sides(verdict: Verdict) -> tuple[tuple[str, dict[str, str]], ...]:
    return ("candidate", verdict.candidate), ("baseline", verdict.baseline)


def _list(lines: Iterable[str]) -> str:
    kept = [f"- {plain(line, _SENTENCE)}" for line in lines]
    rest = len(kept) - _MAX_SENTENCES
    return "\n".join(kept[:_MAX_SENTENCES] + ([f"- and {rest} more, in verdict.json"] if rest > 0 else []))


def _differences(verdict: Verdict) -> str:
    told = _list(verdict.differences)
    return f"## What makes them not comparable\n\n{told}" if told else ""


def _metric_lines(metrics: Sequence[MetricVerdict]) -> list[list[str]]:
    return [
        [
            plain(one.metric),
            _outcome(one.outcome),
            wording.figure(one.candidate),
            wording.figure(one.baseline),
            wording.change(one),
            wording.asked(one),
            wording.probabilities(one).replace("<", "&lt;"),
            wording.amount(one.mde),
            wording.behind(one),
        ]
        for one in metrics
    ]


def _outcome(outcome: str) -> str:
    word = outcome.replace("_", " ")
    return word if outcome == "pass" else f"**{word}**"


def _said(metrics: Sequence[MetricVerdict]) -> str:
    lines = []
    for one in metrics:
        told = [*one.reasons, *(f"Blind: {line}" for line in one.blind)]
        lines += [f"- **{plain(one.metric)}**: {plain(line, _SENTENCE)}" for line in told[:_MAX_SENTENCES]]
    return "\n".join(lines)


def _guards(verdict: Verdict) -> str:
    lines = [[plain(one.name), _outcome(one.outcome), plain(one.message, _SENTENCE)] for one in verdict.guards]
    return "## Guards\n\n" + table(["Guard", "Outcome", "Found"], lines) if lines else ""


def _clip_lines(verdict: Verdict) -> list[list[str]]:
    return [
        [plain(first.id, 100), "; ".join(plain(wording.clip(one)) for one in changes[:10]), plain(first.prompt or "–")]
        for first, changes in wording.by_clip(verdict, _MOST)
    ]


def _notes(verdict: Verdict) -> str:
    told = _list(verdict.notes)
    return f"## Notes\n\n{told}" if told else ""


def _cut(data: bytes, max_bytes: int) -> str:
    if len(data) <= max_bytes:
        return data.decode("utf-8")
    said = b"\n\nCut here: too long for this place; the rest stands in verdict.json.\n"
    room = max(max_bytes - len(said), 0)
    kept = data[:room]
    kept = kept[: kept.rfind(b"\n")] if b"\n" in kept else kept
    return (kept + said)[:max_bytes].decode("utf-8", "ignore")
