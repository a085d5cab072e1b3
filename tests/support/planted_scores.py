"""For tests of the gate: scores as a suite of two metrics gives them, made without looking at a clip."""

from __future__ import annotations

import random
from dataclasses import replace

from v2t_eval.core.changes import changes
from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.scores import AbsentMetric, ItemScores, Scores, render_scores
from v2t_eval.core.statistics import mean_interval
from v2t_eval.gate.decide import decide
from v2t_eval.gate.sentences import metric_verdict

DATE = "2026-01-02T03:04:05Z"
SUITE = """
name: two
metrics: [sharpness, temporal_flickering]
gate:
  primary:
    - {metric: sharpness, margin: 0.05}
"""


def result(name, values, clips, fingerprint=None, counts=None, higher=True):
    """A result of a metric with these values by id."""
    clusters = {clip.id: clip.cluster for clip in clips}
    known = {id: value for id, value in values.items() if value is not None}
    figures = {}
    if known:
        low, high = mean_interval(list(known.values()), [clusters[id] for id in known])
        mean = sum(known.values()) / len(known)
        figures = {name: Figure(value=mean, low=min(low, mean), high=max(high, mean), n=len(known))}
    usual = {"definition": f"{name}/1", "settings": '{"fps": 8.0}', "weights": "w1",
             "library": "torch 2.1", "dtype": "float32"}  # fmt: skip
    return MetricResult(
        name=name, headline=name, figures=figures, n=len(clips), coverage=len(known) / len(clips),
        fingerprint=usual | (fingerprint or {}), counts=counts or {}, higher_is_better=higher, value_range=(0.0, 1.0),
        reduction="mean",
        items=[{"id": id, "value": value} for id, value in values.items()],
    )  # fmt: skip


def scores(worse=0.0, *, prompts=20, seeds=2, noise=0.01, seed=1, change=None, **more):
    """Scores of `prompts` with `seeds` clips each; `worse` is taken from each value of sharpness, `noise` added.

    `change`: from a clip to the clip that stands in its place. `more`: fingerprint, counts, skipped.
    """
    clips = [
        ItemScores(
            id=f"p{p:02}-{s}", cluster=f"prompt {p}", prompt=f"prompt {p}", content=f"file:{p}-{s}-{seed}", fps=8.0,
            path=f"clips/p{p:02}-{s}.mp4", duration_s=2.0, size=(64, 64), num_frames=16, decoder="decord", frozen=False,
        )
        for p in range(prompts)
        for s in range(seeds)
    ]  # fmt: skip
    clips = [change(clip) for clip in clips] if change else clips
    world, own = random.Random(0), random.Random(seed)
    base = {f"p{p:02}-{s}": 0.5 + 0.3 * world.random() for p in range(prompts) for s in range(seeds)}
    known = {clip.id: base[id] for clip, id in zip(clips, base, strict=True)}
    sharp = {clip.id: known[clip.id] - worse + noise * own.random() for clip in clips}
    flicker = {clip.id: 0.9 + 0.1 * known[clip.id] for clip in clips}
    counts = more.get("counts")
    results = [result("sharpness", sharp, clips, more.get("fingerprint"), counts)]
    results.append(result("temporal_flickering", flicker, clips, more.get("other_fingerprint")))
    left = [one for one in results if one.name not in {each.metric for each in more.get("skipped", ())}]
    environment = {"python": "3.11.1", "torch": "2.1", "device": "cpu", "date": DATE}
    return Scores(sources={"clips": "clips"}, clips=clips, results=left, skipped=list(more.get("skipped", ())),
                  environment=environment)  # fmt: skip


def with_motion(made, amount):
    """The scores with a metric of how much the clips move, about `amount` heights a second."""
    own = random.Random(3)
    values = {clip.id: amount * (0.5 + own.random()) for clip in made.clips}
    return replace(made, results=[*made.results, result("motion", values, made.clips, higher=None)])


def write_scores(folder, made):
    """`scores.json` in the folder; gives the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.json").write_bytes(render_scores(made))
    return folder


def without(made, ids):
    """The scores as if these clips had never been."""
    clips = [clip for clip in made.clips if clip.id not in ids]
    return replace(made, clips=clips, results=[_less(one, ids, clips) for one in made.results])


def unscored(made, name, ids):
    """The scores as if the metric had failed on these clips."""
    lost = [{"id": id, "code": "UNPARSABLE", "message": "no"} for id in ids]
    results = [replace(_less(one, ids, made.clips), failures=lost) if one.name == name else one for one in made.results]
    return replace(made, results=results)


def _less(one, ids, clips):
    """The result without the values of these clips."""
    values = {item["id"]: item["value"] for item in one.items if item["id"] not in ids}
    fresh = result(one.name, values, clips, one.fingerprint, one.counts)
    return replace(fresh, n=len(clips), coverage=len(values) / len(clips))


def absent(metric, code="ENVIRONMENT"):
    """A metric that was skipped."""
    return AbsentMetric(metric=metric, reason="its weights are not here", hint="get them", code=code)


def metric_decisions(candidate, baseline, policy):
    """What the gate decides of each metric, in codes: of sides taken to be comparable, and without its guards."""
    names = set(candidate.by_name) & set(baseline.by_name) if baseline else set()
    rules = {rule.metric: rule for rule in policy.primary}
    by_name = changes(baseline, candidate, [*rules, *sorted(names - set(rules))], expected=rules, alpha=policy.alpha)
    return decide(by_name, (), policy)[0]


def metric_verdicts(candidate, baseline, policy):
    """The same with the sentences that a reader gets."""
    unit = "prompts" if any(clip.prompt for clip in candidate.clips) else "clips"
    return [metric_verdict(one, policy, unit) for one in metric_decisions(candidate, baseline, policy)]
