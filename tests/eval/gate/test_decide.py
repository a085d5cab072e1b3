"""What the gate decides: rules with margins, bounds, clips without a partner, odd results, one outcome."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_sides import NUM, bare, drawn, policy, result, side
from planted_scores import metric_decisions, metric_verdicts
from v2t_eval.core.changes import changes, worst_clips
from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.scores import Scores
from v2t_eval.gate.decide import overall
from v2t_eval.gate.policy import Rule
from v2t_eval.gate.sentences import because
from v2t_eval.gate.verdict import Guard, MetricVerdict


def outcome_of(metrics: list[MetricVerdict]) -> str:
    return overall([one.outcome for one in metrics if one.role == "primary"], ())


def only(candidate: Scores, baseline: Scores | None, *rules: Rule) -> MetricVerdict:
    return metric_verdicts(candidate, baseline, policy(*rules))[0]


def kinds(candidate: Scores, baseline: Scores | None, *rules: Rule) -> list[str]:
    """Codes of what the rules make of the metric, the deciding one first."""
    return [finding.kind for finding in metric_decisions(candidate, baseline, policy(*rules))[0].findings]


def test_pass_fail_and_too_early() -> None:
    before = side(result(drawn(1)))
    same = only(side(result(drawn(2))), before)
    assert same.outcome == "pass" and same.mde is not None and 0.1 < same.mde < 0.2
    assert same.low is not None and same.low > -0.08 and same.num_pairs == 80 and same.num_clusters == 40
    assert kinds(side(result(drawn(2))), before) == ["WITHIN_MARGIN"]
    worse = only(side(result(drawn(2, -0.3))), before)
    assert worse.outcome == "fail" and worse.p_adjusted is not None and worse.p_adjusted < 0.001
    assert kinds(side(result(drawn(2, -0.3))), before) == ["ABOVE_ACCEPTED"] and worse.accepted == 0.04
    assert only(near := side(result(drawn(2, -0.05))), before).outcome == "inconclusive"
    assert kinds(near, before) == ["TOO_EARLY"]
    wide = [side(result(drawn(seed, shift, spread=0.5))) for seed, shift in ((2, -0.2), (1, 0))]
    rule = Rule(metric="score", margin=0.06)
    assert only(wide[0], wide[1], rule).outcome == "inconclusive"
    assert kinds(wide[0], wide[1], rule) == ["BEYOND_MARGIN"]
    better = only(side(result(drawn(2, 0.3))), before)
    assert better.outcome == "pass" and better.p is not None and better.p > 0.99


def test_a_margin_that_so_few_prompts_cannot_show_says_what_it_would_take() -> None:
    before = side(result(drawn(1)))
    found = metric_decisions(side(result(drawn(2))), before, policy(Rule(metric="score", margin=0.01)))[0]
    assert found.outcome == "inconclusive" and found.least_margin is not None
    assert found.needed is not None and 300 < found.needed < 1000
    enough = only(side(result(drawn(2))), before, Rule(metric="score", margin=found.least_margin))
    assert enough.outcome == "pass"
    broken = only(side(result(drawn(2, -0.3))), before, Rule(metric="score", margin=0.01))
    assert broken.outcome == "fail", "proven harm fails, however small the margin"


def test_lower_is_better_is_the_mirror() -> None:
    before, after = drawn(1), drawn(2, 0.15)
    one = only(side(result(after, higher_is_better=False)), side(result(before, higher_is_better=False)))
    assert one.outcome == "fail" and (one.change or 0) > 0
    turned = [side(result({id: 1 - value for id, value in values.items()})) for values in (after, before)]
    other = only(*turned)
    assert (other.outcome, other.p, other.p_adjusted) == (one.outcome, one.p, one.p_adjusted)
    assert other.change == pytest.approx(-one.change) and other.mde == pytest.approx(one.mde)
    back = only(side(result(before, higher_is_better=False)), side(result(after, higher_is_better=False)))
    assert back.outcome == "pass" and back.high is not None and back.high < 0.08


def test_equal_clips_pass_with_no_change() -> None:
    values = drawn(1)
    found = only(side(result(values)), side(result(values)), Rule(metric="score", margin=1e-6))
    assert (found.outcome, found.change, found.low, found.high, found.p) == ("pass", 0, 0, 0, 1)
    assert kinds(side(result(values)), side(result(values))) == ["EQUAL"] and found.num_pairs == 80


def test_two_levels_that_agree_are_no_proof_unless_the_bytes_are_the_same() -> None:
    right = {f"p{number:02}-0": 1.0 for number in range(NUM)}
    one = side(result(right), seeds=1)
    found = only(one, one, Rule(metric="score", margin=0.01))
    assert found.outcome == "inconclusive" and found.change == 0 and "at least 298" in found.reasons[0]
    assert found.low is not None and found.low < -0.05
    named = side(result(right), seeds=1, content={id: f"sha-{id}" for id in right})
    assert only(named, named, Rule(metric="score", margin=0.01)).outcome == "pass"
    other = side(result(right), seeds=1, content={id: f"other-{id}" for id in right})
    assert only(named, other, Rule(metric="score", margin=0.01)).outcome == "inconclusive"


def test_flipped_answers_fail() -> None:
    before = {f"p{number:02}-0": float(number % 8 > 0) for number in range(NUM)}
    after = {id: value if number >= 20 else 0.0 for number, (id, value) in enumerate(before.items())}
    found = only(side(result(after), seeds=1), side(result(before), seeds=1), Rule(metric="score", margin=0.3))
    assert found.outcome == "fail" and found.change == pytest.approx(-17 / 40)


def test_bounds_are_held_by_the_end_of_the_interval() -> None:
    flat = {f"p{number:02}-0": 0.5 for number in range(NUM)}  # 0.5 [0.48, 0.52]
    for rule, outcome in (
        (Rule(metric="score", at_least=0.48), "pass"),
        (Rule(metric="score", at_least=0.5), "inconclusive"),
        (Rule(metric="score", at_least=0.53), "fail"),
        (Rule(metric="score", at_most=0.52), "pass"),
        (Rule(metric="score", at_most=0.49), "inconclusive"),
        (Rule(metric="score", at_most=0.47), "fail"),
        (Rule(metric="score", at_least=0.4, at_most=0.47), "fail"),
    ):
        found = only(side(result(flat)), None, rule)
        assert found.outcome == outcome and found.change is None and found.p is None, rule


def test_both_kinds_must_pass() -> None:
    before, after = side(result(drawn(1))), side(result(drawn(2)))
    assert only(after, before, Rule(metric="score", margin=0.08, at_least=0.3)).outcome == "pass"
    failed = only(after, before, Rule(metric="score", margin=0.08, at_least=0.9))
    assert failed.outcome == "fail" and "at least 0.9" in failed.reasons[0] and "not worse" in failed.reasons[1]
    assert only(after, None, Rule(metric="score", margin=0.08, at_least=0.3)).outcome == "inconclusive"


def test_holm_is_over_the_primary_metrics_with_a_margin() -> None:
    names = ("a", "b", "c", "bound")
    before = side(*(result(drawn(number), name=name) for number, name in enumerate(names)))
    shifts = (-0.035, -0.03, 0.0, 0.0)
    after = side(
        *(result(drawn(9 + n, shift), name=name) for n, (name, shift) in enumerate(zip(names, shifts, strict=True)))
    )
    rules = [Rule(metric=name, margin=0.03) for name in names[:3]] + [Rule(metric="bound", at_least=0.1)]
    found = metric_verdicts(after, before, policy(*rules))
    raw = [one.p or 0.0 for one in found[:3]]
    ranked = sorted(raw)
    assert found[raw.index(ranked[0])].p_adjusted == pytest.approx(min(1, 3 * ranked[0]))
    assert found[3].p is None or found[3].p_adjusted is None
    alone = only(after, before, Rule(metric="a", margin=0.03))
    assert alone.mde is not None and found[0].mde is not None and found[0].mde > alone.mde, "alpha is shared by three"
    lost = bare([one for one in after.results if one.name != "c"], {clip.id: clip.cluster for clip in after.clips})
    assert metric_verdicts(lost, before, policy(*rules))[0].p_adjusted == found[0].p_adjusted, (
        "a lost test still counts"
    )


def test_exploratory_metrics_are_told() -> None:
    names = ("z", "better", "a")
    before = side(result(drawn(1)), *(result(drawn(number), name=name) for number, name in enumerate(names)))
    after = side(
        result(drawn(2)),
        result(drawn(5, -0.2), name="z"),
        result(drawn(6), name="a"),
        result(drawn(7, 0.4), name="better", higher_is_better=None),
        result(drawn(1), name="mine alone"),
    )
    before.results[2] = result(drawn(1), name="better", higher_is_better=None)
    found = metric_verdicts(after, before, policy())
    assert [(one.metric, one.role) for one in found] == [
        ("score", "primary"), ("a", "exploratory"), ("better", "exploratory"), ("z", "exploratory"),
    ]  # fmt: skip
    outcomes = {one.metric: one.outcome for one in found}
    assert outcomes["z"] == "fail" and [one.kind for one in metric_decisions(after, before, policy())[-1].findings] == [
        "WORSE"
    ]
    assert outcomes["better"] == "inconclusive" and found[2].p is not None and found[2].p < 0.01, "two-sided"
    assert outcome_of(found) == "pass", "an exploratory metric decides nothing"


def test_a_margin_needs_a_better_end() -> None:
    one = side(result(drawn(1), higher_is_better=None))
    turned = side(result(drawn(2, -0.4), higher_is_better=None))
    assert only(turned, one).outcome == "inconclusive" and kinds(turned, one) == ["NO_DIRECTION"]
    bounded = only(side(result(drawn(2), higher_is_better=None)), one, Rule(metric="score", at_least=0.2, at_most=0.8))
    assert bounded.outcome == "pass"


def set_level(value: float, n: int = 80, **other: Any) -> MetricResult:
    figure = Figure(value=value, low=value - 4, high=value + 5, n=n)
    items = [{"id": id, "value": None} for id in drawn(0)]
    made: dict[str, Any] = {"name": "score", "headline": "fvd", "figures": {"fvd": figure}, "items": items}
    return result({}, **{**made, "higher_is_better": False, "value_range": (0, math.inf), **other})


def test_figures_of_whole_sets_are_compared_unpaired() -> None:
    before = side(set_level(100))
    assert only(side(set_level(101)), before, Rule(metric="score", margin=20)).outcome == "pass"
    worse = only(side(set_level(140)), before, Rule(metric="score", margin=20))
    assert worse.outcome == "fail" and worse.num_pairs == 0 and any("unpaired" in why for why in worse.reasons)
    assert only(side(set_level(140, n=60)), before, Rule(metric="score", margin=20)).outcome == "not_comparable"
    bare = {"fvd": Figure(value=100, low=100, high=100, n=80)}
    exact, rule = side(set_level(140, figures=bare)), Rule(metric="score", margin=20)
    assert only(exact, before, rule).outcome == "inconclusive" and kinds(exact, before, rule) == ["NO_INTERVAL"]


def test_a_corpus_figure_is_not_the_mean_of_its_clips() -> None:
    """BLEU of a corpus with the BLEU of each clip beside it: the clips' values must not be averaged."""
    corpus = {"score": Figure(value=0.7, low=0.6, high=0.8, n=80)}
    found = only(*(side(result(drawn(seed), figures=corpus, reduction="set")) for seed in (2, 1)))
    assert found.num_pairs == 0 and found.change == 0
    values = {"score": corpus["score"], "mean_of_clips": result(drawn(1)).figures["score"]}
    other = {**values, "mean_of_clips": result(drawn(2)).figures["score"]}
    both = ((2, other), (1, values))
    pooled = only(*(side(result(drawn(n), figures=made, reduction="mean_of_clips")) for n, made in both))
    assert pooled.num_pairs == 80 and any("compared by mean_of_clips" in why for why in pooled.reasons)


def test_clips_without_a_partner_are_left_out_and_counted() -> None:
    before, after = drawn(1), drawn(2)
    after["p00-0"] = None
    after["p01-0"] = math.nan
    del after["p02-0"], before["p03-0"]
    known = {id: value for id, value in after.items() if value == value and value is not None}
    mine = result(known, items=[{"id": id, "value": value} for id, value in after.items()])
    found = only(side(mine), side(result(before)))
    assert found.num_pairs == 76 and found.candidate is not None and found.candidate.n == 77
    moved = {one.id: f"{'another ' * (one.id < 'p10')}{one.prompt}" for one in side().clips}
    assert only(side(result(drawn(2)), prompt=moved), side(result(drawn(1)))).num_pairs == 60, "another prompt"


@pytest.mark.parametrize(
    ("mine", "its", "outcome", "words"),
    [
        (None, result(drawn(1)), "inconclusive", "the candidate has no score"),
        (result(drawn(1)), None, "not_comparable", "the baseline has no score"),
        (result({}), result(drawn(1)), "inconclusive", "no clip could be scored"),
        (result(drawn(1)), result({"other": 0.5}), "not_comparable", "no clip has a value on both sides"),
        (result(drawn(1)), result(drawn(1), headline="f1", figures={"f1": Figure(value=1, low=1, high=1, n=1)}),
         "not_comparable", "headline is score here and f1"),
        (result(drawn(1)), result(drawn(1), higher_is_better=False), "not_comparable", "higher_is_better"),
        (result({"p00-0": 0.4}), result({"p00-0": 0.5}), "inconclusive", "may be chance"),
        (result({"p00-0": 0.4, "p01-0": 0.3, "p02-0": 0.2}), result({"p00-0": 0.5, "p01-0": 0.5, "p02-0": 0.6}),
         "inconclusive", "may be chance"),
        (result(drawn(1), items=[]), result(drawn(1), items=[]), "pass", "equal to the baseline"),
        (result(drawn(1), items=[{"id": "p00-0"}, {}]), result(drawn(2)), "not_comparable", "no clip has a value"),
    ],
)  # fmt: skip
def test_odd_results_are_told_and_never_raise(
    mine: MetricResult | None, its: MetricResult | None, outcome: str, words: str
) -> None:
    found = only(side(*([mine] if mine else [])), side(*([its] if its else [])))
    assert found.outcome == outcome and any(words in why for why in found.reasons), found.reasons


def test_without_a_baseline_a_margin_cannot_be_held() -> None:
    found = metric_verdicts(side(result(drawn(1)), result(drawn(2), name="other")), None, policy())
    assert [one.outcome for one in found] == ["inconclusive"] and outcome_of(found) == "inconclusive"


def test_where_the_spread_comes_from() -> None:
    found = only(side(result(drawn(2))), side(result(drawn(1))))
    assert any(why.startswith("between prompts lie") for why in found.reasons)
    once = only(side(result(drawn(2, seeds=1)), seeds=1), side(result(drawn(1, seeds=1)), seeds=1))
    assert not any("between prompts" in why for why in once.reasons)


def test_seeds_of_one_prompt_are_one_case() -> None:
    """Five copies of 12 clips: taken for 60 cases they would fail a change that 12 cannot show."""
    before, after = drawn(1, num=12, seeds=1), drawn(11, -0.15, num=12, seeds=1)
    five = [{f"{id[:-2]}-{n}": value for id, value in one.items() for n in range(5)} for one in (after, before)]
    rule = Rule(metric="score", margin=0.01)
    sides = [side(result(values), num=12, seeds=5) for values in five]
    found = only(*sides, rule)
    assert found.num_clusters == 12 and found.outcome == "inconclusive"
    assert found.p == only(side(result(after), num=12, seeds=1), side(result(before), num=12, seeds=1), rule).p
    assert only(*(bare(one.results, {id: id for id in one.by_id}) for one in sides), rule).outcome == "fail"


def test_worst_clips_first() -> None:
    before, after = drawn(1), drawn(1)
    after["p07-1"] = before["p07-1"] - 0.4
    after["p03-0"] = before["p03-0"] - 0.2
    after["p05-0"] = before["p05-0"] + 0.9
    fine = {id: 1e-3 * value for id, value in before.items()}
    moved = fine | {"p09-0": fine["p09-0"] + 1e-3}
    sides = [
        side(result(values), result(small, name="fine", higher_is_better=False))
        for values, small in ((after, moved), (before, fine))
    ]
    by_name = changes(sides[1], sides[0], ["score", "fine"])
    found = worst_clips(by_name)
    assert [clip.id for clip in found] == ["p09-0", "p07-1", "p03-0"], "a metric's unit gives it no weight"
    assert found[1].worse == pytest.approx(0.4) and found[1].candidate == after["p07-1"]
    assert found[1].baseline_path == found[1].candidate_path == "clips/p07-1.mp4"
    assert found[1].prompt == "prompt p07" and found[0].worse == pytest.approx(1e-3)
    assert [clip.id for clip in worst_clips(by_name, limit=1)] == ["p09-0", "p07-1"]
    assert [clip.id for clip in worst_clips({"score": by_name["score"]}, best=True)] == ["p05-0"]
    assert worst_clips(changes(None, sides[0], ["score", "fine"])) == []


def test_one_outcome_with_its_reason() -> None:
    def verdict(name: str, outcome: Any, role: Any = "primary") -> MetricVerdict:
        return MetricVerdict(metric=name, role=role, outcome=outcome, reasons=(f"why {name}",))

    good, bad = verdict("good", "pass"), verdict("bad", "fail")
    open_, other = verdict("open", "inconclusive"), verdict("other", "not_comparable")
    fine = Guard(name="lost clips", outcome="pass", message="")
    broken = Guard(name="frozen clips", outcome="fail", message="9 of 40, at most 2")

    def said(metrics: list[MetricVerdict], guards: list[Guard], differences: Any = ()) -> tuple[str, str]:
        primary = [one for one in metrics if one.role == "primary"]
        guarded = [one.outcome for one in guards]
        outcome = overall([one.outcome for one in primary], guarded, is_comparable=not differences)
        return outcome, because(outcome, primary, guards, differences)

    assert said([good], [fine]) == ("pass", "the primary metric passes; good: why good")
    assert said([good, open_, verdict("x", "fail", "exploratory")], [fine]) == ("inconclusive", "open: why open")
    assert said([open_, other], []) == ("not_comparable", "other: why other")
    assert said([good], [], ["weights differ", "fps differs"]) == ("not_comparable", "weights differ (and 1 more)")
    assert said([open_, bad, verdict("worse", "fail")], [], ["x"]) == ("fail", "bad: why bad; likewise worse")
    outcome, reason = said([good, bad], [fine, broken])
    assert outcome == "fail" and reason.startswith("frozen clips: 9 of 40, at most 2") and "bad" in reason
    unsure = replace(broken, outcome="inconclusive")
    assert said([good, open_], [unsure])[1] == "open: why open" and "frozen" in said([good], [unsure])[1]
    assert said([], [])[0] == "inconclusive", "nothing decided is no pass"


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.permutations(range(24)))
def test_the_order_of_clips_does_not_matter(order: list[int]) -> None:
    before, after = drawn(1, num=12), drawn(2, num=12)
    ids = sorted(before)
    mixed = [{ids[number]: values[ids[number]] for number in order} for values in (after, before)]
    sorted_ones = only(side(result(after), num=12), side(result(before), num=12))
    assert only(*(side(result(values), num=12) for values in mixed)).low == sorted_ones.low
    clusters = {ids[number]: f"prompt {ids[number].split('-')[0]}" for number in order}
    assert only(*(side(result(values), num=12, cluster=clusters) for values in mixed)).p == sorted_ones.p


VALUES = st.none() | st.booleans() | st.floats() | st.sampled_from([0.0, 1.0, 0.5, "high"])
RESULTS = st.builds(
    lambda values, better, top, figure: result(
        {},
        items=[{"id": f"p{number:02}-0", "value": value} for number, value in enumerate(values)],
        figures={"score": Figure(value=figure, low=figure - 0.1, high=figure + 0.2, n=len(values))},
        higher_is_better=better,
        value_range=(0.0, top),
    ),
    st.lists(VALUES, max_size=8),
    st.sampled_from([True, False, None]),
    st.sampled_from([1.0, math.inf]),
    st.sampled_from([0.0, 0.5, 1.0]),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(RESULTS, RESULTS, st.booleans(), st.integers(1, 8))
def test_no_result_raises(mine: MetricResult, its: MetricResult, as_mean: bool, clusters: int) -> None:
    sides = []
    for one in (mine, its):
        known = [v["value"] for v in one.items if isinstance(v["value"], int | float) and abs(v["value"]) < 1e300]
        if as_mean and known:
            mean = sum(known) / len(known)
            one = result({}, **{**vars(one), "figures": {"score": Figure(value=mean, low=mean, high=mean, n=8)}})
        sides.append(bare([one, replace(one, name="other")], {f"p{n:02}-0": str(n % clusters) for n in range(7)}))
    rules = policy(Rule(metric="score", margin=0.1, at_least=0.2), Rule(metric="gone", at_most=1))
    found = metric_verdicts(sides[0], sides[1], rules)
    worst_clips(changes(sides[1], sides[0], ["score", "gone"]))
    outcome = outcome_of(found)
    reason = because(outcome, [one for one in found if one.role == "primary"], (), ())  # type: ignore[arg-type]
    assert outcome in ("pass", "fail", "inconclusive", "not_comparable") and reason
    assert all(one.reasons and one.reasons[0] for one in found)
