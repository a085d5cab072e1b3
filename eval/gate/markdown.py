"""`gate.md`: the verdict for a pull request's comment or a job's summary, bounded in size.

In: a `Verdict`. Out: GitHub-flavoured Markdown. Ids, prompts and reasons are other people's text: whatever Markdown,
HTML or GitHub would read into them (tables, links, code, mentions, issue numbers) is taken apart by `plain`. What is
too long loses clips first, then exploratory metrics, and says how many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eval.gate import wording
from eval.gate.verdict import MetricVerdict, Verdict
from eval.report.markdown import plain, table
from eval.report.summary import counted

MAX_BYTES = 60_000  # GitHub takes comments up to 65,536 characters
_SENTENCE = 1_000
_MAX_SENTENCES = 50
_STEPS = (1_000, 300, 100, 50, 25, 10, 5, 1, 0)


def render(verdict: Verdict, *, max_bytes: int = MAX_BYTES) -> str:
    """The page; at most `max_bytes` of UTF-8, shortened from its end where even the least form is longer."""
    changed = len(wording.by_clip(verdict))
    explored = len(wording.parted(verdict)[1])
    for most in _STEPS:
        if most > max(changed, explored) and most != _STEPS[0]:
            continue
        text = _page(verdict, most)
        if len(_encoded(text)) <= max_bytes:
            return _encoded(text).decode("utf-8")
    return _cut(_encoded(text), max_bytes)


def _page(verdict: Verdict, most: int) -> str:
    """The whole with at most `most` clips and as many exploratory metrics."""
    primary, exploratory = wording.parted(verdict)
    parts = [
        f"# Gate: {wording.WORDS[verdict.outcome]}",
        f"**{plain(verdict.reason, _SENTENCE)}** (exit code {verdict.exit_code})",
        _list(f"{role}: {wording.side(told)}" for role, told in _sides(verdict) if told),
        _differences(verdict),
        _metrics("Primary metrics", primary),
        _said(primary),
        _guards(verdict),
        _clips(verdict, most),
        _explored(exploratory, most),
        _notes(verdict),
        f"To get this verdict again: {plain(wording.command(verdict), _SENTENCE)}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sides(verdict: Verdict) -> tuple[tuple[str, dict[str, str]], ...]:
    return ("candidate", verdict.candidate), ("baseline", verdict.baseline)


def _list(lines: Iterable[str]) -> str:
    kept = [f"- {plain(line, _SENTENCE)}" for line in lines]
    rest = len(kept) - _MAX_SENTENCES
    return "\n".join(kept[:_MAX_SENTENCES] + ([f"- and {rest} more, in gate.json"] if rest > 0 else []))


def _differences(verdict: Verdict) -> str:
    told = _list(verdict.differences)
    return f"## What makes them not comparable\n\n{told}" if told else ""


def _metrics(title: str, metrics: Sequence[MetricVerdict]) -> str:
    if not metrics:
        return ""
    head = [
        "Metric",
        "Outcome",
        "Candidate",
        "Baseline",
        "Change",
        "Asked for",
        "p (adjusted)",
        "Detectable",
        "Rests on",
    ]
    lines = [
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
    return f"## {title}\n\n{table(head, lines)}"


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


def _clips(verdict: Verdict, most: int) -> str:
    shown, total = wording.by_clip(verdict, most), len(wording.by_clip(verdict))
    if not total:
        return ""
    lines = [
        [plain(first.id, 100), "; ".join(plain(wording.clip(one)) for one in changes[:10]), plain(first.prompt or "–")]
        for first, changes in shown
    ]
    told = table(["Clip", "What changed", "Prompt"], lines) + "\n\n" if lines else ""
    left = total - len(lines)
    more = f"{counted(left, 'clip')} more that got worse: left out here, all stand in gate.json.\n" if left else ""
    return f"## Clips that got worse, worst first\n\n{told}{more}".rstrip()


def _explored(metrics: Sequence[MetricVerdict], most: int) -> str:
    if not metrics:
        return ""
    told = _metrics("Exploratory metrics, which decide nothing", metrics[:most])
    left = len(metrics) - most
    more = f"{counted(left, 'exploratory metric')} more: left out here, all stand in gate.json." if left > 0 else ""
    return "\n\n".join(part for part in (told, more) if part)


def _notes(verdict: Verdict) -> str:
    told = _list(verdict.notes)
    return f"## Notes\n\n{told}" if told else ""


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _cut(data: bytes, max_bytes: int) -> str:
    said = b"\n\nCut here: too long for this place; the rest stands in gate.json.\n"
    room = max(max_bytes - len(said), 0)
    kept = data[:room]
    kept = kept[: kept.rfind(b"\n")] if b"\n" in kept else kept
    return (kept + said)[:max_bytes].decode("utf-8", "ignore")
