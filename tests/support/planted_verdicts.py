"""Verdicts for the tests of what the gate writes: everything filled in, and text that means harm."""

from __future__ import annotations

from v2t_eval.core.changes import ClipChange
from v2t_eval.core.metric import Figure
from v2t_eval.gate.verdict import Guard, MetricVerdict, Outcome, Verdict

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked=1'> <a href=\"javascript:alert(1)\">x</a>",
    "control \x00 \x1b[31m \x7f \x85 \ufffe \uffff end",
    "\u202eright to left\u202c line\none\r\ntwo\u2028three ]]> &amp; <![CDATA[",
    "\ud800 lone \udc80 surrogates \udfff",
    "| a | b | @someone #12 GH-12 https://x.org www.x.org [l](http://x.org) ![i](x) `code` **b** <b>b</b> $x$",
    "::error title=x::hacked",
    "  ::add-mask::x ##[add-mask]x ##vso[task.complete]x %0A %25",
    "x" * 10_000,
    "<&>" * 3_000,
    "\U0001f600" * 4_000,
    "wide \u4e2d\u6587" * 50,
)


def figure(value: float, half: float = 0.02, n: int = 100) -> Figure:
    return Figure(value=value, low=value - half, high=value + half, n=n)


def metrics(outcome: Outcome = "fail") -> tuple[MetricVerdict, ...]:
    return (
        MetricVerdict(
            metric="temporal_flickering", role="primary", outcome="pass", candidate=figure(0.971), margin=0.01,
            baseline=figure(0.97), change=0.001, low=-0.002, high=0.004, p=0.61, p_adjusted=0.61, mde=0.0041,
            num_pairs=100, num_clusters=20, reasons=("not worse by the margin",),
            blind=("does not change under reverse (AUROC 0.50)",),
        ),
        MetricVerdict(
            metric="question_score", role="primary", outcome=outcome, candidate=figure(0.71), baseline=figure(0.82),
            change=-0.11, low=-0.14, high=-0.08, margin=0.05, at_least=0.6, p=0.0001, p_adjusted=0.0002, mde=0.032,
            num_pairs=100, num_clusters=20, reasons=("worse by more than the margin",),
            blind=("likes freeze (AUROC 0.22)",),
        ),
        MetricVerdict(
            metric="frechet[feature=clip]", role="exploratory", outcome="fail", higher_is_better=False,
            candidate=figure(812.4, 30), baseline=figure(700.0, 30), change=112.4, low=80.0, high=140.0, p=0.001,
            p_adjusted=0.002, num_pairs=100, num_clusters=20,
        ),
        MetricVerdict(metric="dynamic_degree", role="exploratory", outcome="pass", higher_is_better=None),
    )  # fmt: skip


def clip_changes(num: int = 40, texts: tuple[str, ...] = ()) -> tuple[ClipChange, ...]:
    """Clip 0 is the worst; every fifth got worse under a second metric too."""
    found = []
    for i in range(num):
        text = texts[i % len(texts)] if texts else f"A red ball rolls past house {i}."
        name = f"clip-{i:03}{' ' + text[:40] if texts else ''}"
        one = ClipChange(
            id=name, metric="question_score", prompt=text, baseline=1.0, candidate=0.2 + i / 100, worse=0.8 - i / 100,
            baseline_path=f"b{i % 4}.webm", candidate_path=f"a{i % 4}.webm",
        )  # fmt: skip
        found.append(one)
        if i % 5 == 0:
            found.append(ClipChange(id=one.id, metric="temporal_flickering", prompt=text, candidate=0.9))
    return tuple(found)


def verdict(outcome: Outcome = "fail", *, num: int = 40, texts: tuple[str, ...] = ()) -> Verdict:
    """A verdict; with `texts` in every place where other people's text can stand."""
    said = texts or ("plain",)
    failed = outcome in ("fail", "inconclusive", "not_comparable")
    return Verdict(
        outcome=outcome,
        reason=f"question_score fell by 0.11, more than the margin of 0.05 ({said[0]})",
        metrics=metrics(outcome),
        guards=(
            Guard(name="missing clips", outcome="pass", message="none is missing, 2 % are allowed"),
            Guard(
                name=f"frozen clips {said[-1][:50]}", outcome="fail" if outcome == "fail" else "pass",
                message=f"9 of 100 stand still, 5 % are allowed {said[0]}", clips=tuple(f"id {one}" for one in said),
            ),
        ),
        differences=tuple(f"judge: {one[:200]} against sha256:bb" for one in said)
        if failed and outcome == "not_comparable"
        else (),
        clips=clip_changes(num, texts),
        candidate={"name": said[0][:300], "folder": "made", "clips": "100"},
        baseline={"name": "main", "date": "2026-11-01", "clips": "100"},
        policy={"alpha": 0.05, "primary": [{"metric": "question_score", "margin": 0.05, "note": said[0]}]},
        notes=tuple(f"note: {one}" for one in said),
        environment={"cineloop": "0.1.0", "device": said[0]},
    )  # fmt: skip
