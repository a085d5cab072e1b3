"""From scores to a verdict: what may be compared, what no metric outweighs, what a reader is told."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from cineloop.errors import MissingDependencyError, NothingMatchedError, UsageError
from planted_scores import absent, scores, unscored, without
from v2t_eval.audit.record import Audit, Cell, FaultDetection, FaultResponse
from v2t_eval.core.scores import Scores
from v2t_eval.gate import baseline as file
from v2t_eval.gate.guards import guard_checks
from v2t_eval.gate.policy import Policy, Rule
from v2t_eval.gate.run import gate, plain_policy

POLICY = Policy(primary=(Rule(metric="sharpness", margin=0.05),))


def kept(made=None, policy=POLICY) -> Scores:
    return file.baseline_of(scores() if made is None else made, "two", plain_policy(policy))


def guard(verdict, name):
    return next(one for one in verdict.guards if one.name == name)


def causes(candidate: Scores) -> dict[tuple[str, str], int]:
    """Why clips are lost against the baseline."""
    (check,) = [one for one in guard_checks(candidate, kept(), POLICY) if one.name == "lost clips"]
    return dict(check.causes or {})


# --- verdicts


def test_the_same_again_passes_with_a_change_of_exactly_zero() -> None:
    verdict = gate(scores(), POLICY, baseline=kept())
    assert (verdict.outcome, verdict.exit_code) == ("pass", 0) and verdict.metrics[0].change == 0.0
    assert {one.outcome for one in verdict.guards} == {"pass"} and not verdict.differences
    assert "40 of 40 clips are byte for byte the baseline's" in verdict.notes
    assert verdict == gate(scores(), POLICY, baseline=kept())


def test_worse_fails_on_the_metric_that_got_worse() -> None:
    verdict = gate(scores(worse=0.4, seed=2), POLICY, baseline=kept())
    assert (verdict.outcome, verdict.exit_code) == ("fail", 6) and "sharpness" in verdict.reason
    small = gate(scores(worse=0.1, seed=2), POLICY, baseline=kept())
    assert small.outcome == "inconclusive", "of 20 prompts that all lose .1, one in ten may be missing that gains all"
    assert [one.outcome for one in verdict.metrics if one.metric == "temporal_flickering"] == ["pass"]
    assert verdict.clips and all(clip.metric == "sharpness" and clip.worse > 0 for clip in verdict.clips)
    assert verdict.clips[0].candidate_path == verdict.clips[0].baseline_path == f"clips/{verdict.clips[0].id}.mp4"


def test_noise_alone_passes() -> None:
    assert gate(scores(seed=2, prompts=60), POLICY, baseline=kept(scores(prompts=60))).outcome == "pass"
    few = gate(scores(seed=2), POLICY, baseline=kept())
    assert few.outcome == "inconclusive", "20 prompts may lack the few broken ones that make a mean harm of 0.05"


def test_without_a_baseline_absolute_rules_decide_alone() -> None:
    both = Rule(metric="sharpness", margin=0.05, at_least=0.3)
    assert gate(scores(), Policy(primary=(Rule(metric="sharpness", at_least=0.3),))).outcome == "pass"
    assert gate(scores(), Policy(primary=(Rule(metric="sharpness", at_least=0.9),))).exit_code == 6
    assert gate(scores(), Policy(primary=(replace(both, at_least=0.9),))).exit_code == 6
    verdict = gate(scores(), Policy(primary=(both,)))
    assert verdict.exit_code == 8 and "gate init" in verdict.reason and verdict.baseline == {}


# --- what may be compared


def other_clip(**more):
    return scores(seed=2, change=lambda clip: replace(clip, **more) if clip.id == "p03-1" else clip)


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        (scores(fingerprint={"definition": "sharpness/2"}), "definition: candidate sharpness/2, baseline sharpness/1"),
        (scores(fingerprint={"settings": '{"fps": 4.0}'}), "sharpness: fps: candidate 4.0, baseline 8.0"),
        (scores(fingerprint={"settings": "not JSON"}), "settings: candidate not JSON, baseline nothing"),
        (scores(fingerprint={"weights": "w2"}), "weights: candidate w2, baseline w1"),
        (scores(fingerprint={"judge": "other@123"}), "judge: candidate other@123, baseline nothing"),
        (scores(fingerprint={"dtype": "bfloat16"}), "dtype: candidate bfloat16, baseline float32"),
        (other_clip(decoder="pyav"), "decoder: 1 of 40 clips, such as p03-1: candidate pyav, baseline decord"),
        (other_clip(prompt="a dog"), "prompt: 1 of 40 clips, such as p03-1: candidate a dog, baseline prompt 3"),
        (other_clip(fps=12.0), "candidate 12.0, baseline 8.0"),
        (other_clip(size=(64, 32)), r"candidate \(64, 32\), baseline \(64, 64\)"),
        (other_clip(num_frames=8), "number of frames: 1 of 40 clips, such as p03-1: candidate 8, baseline 16"),
        (scores(seeds=1), r"clips of one prompt \(seeds\): candidate 1, baseline 2"),
        (scores(change=lambda clip: replace(clip, id=f"x{clip.id}")), "clips: no id in common: candidate xp00-0"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_decides_a_value_refuses_the_comparison(candidate, says) -> None:
    verdict = gate(candidate, POLICY, baseline=kept())
    assert (verdict.outcome, verdict.exit_code) == ("not_comparable", 9)
    assert any(re.search(says, line) for line in verdict.differences), verdict.differences
    assert verdict.differences[0] in verdict.reason and verdict.metrics[0].change is None


def test_a_worse_candidate_that_cannot_be_compared_is_not_called_worse() -> None:
    assert gate(scores(worse=0.3, fingerprint={"weights": "w2"}), POLICY, baseline=kept()).exit_code == 9


def test_what_does_not_decide_is_a_note() -> None:
    candidate = scores(fingerprint={"library": "torch 2.2", "flow library": "opencv 5"})
    environment = candidate.environment | {"device": "cuda", "date": "2027-01-01T00:00:00Z"}
    verdict = gate(replace(candidate, environment=environment), POLICY, baseline=kept())
    assert verdict.outcome == "pass"
    told = "\n".join(verdict.notes)
    assert "library: candidate torch 2.2, baseline torch 2.1" in told and "device: candidate cuda, baseline cpu" in told
    assert "flow library" in told and "2027" not in told


def test_an_exploratory_metric_of_another_definition_is_left_out() -> None:
    verdict = gate(scores(other_fingerprint={"definition": "zz/1"}), POLICY, baseline=kept())
    assert verdict.outcome == "pass" and [one.metric for one in verdict.metrics] == ["sharpness"]
    assert any("temporal_flickering is left out" in note for note in verdict.notes)


def test_a_metric_the_baseline_lacks_is_refused_and_an_absolute_rule_needs_none() -> None:
    before = scores()
    lacking = kept(replace(before, results=before.results[1:]))
    verdict = gate(scores(), POLICY, baseline=lacking)
    assert verdict.exit_code == 9 and "the baseline does not have it" in verdict.reason
    absolute = Policy(primary=(Rule(metric="sharpness", at_least=0.3),))
    assert gate(scores(), absolute, baseline=lacking).outcome == "pass"
    assert gate(scores(fingerprint={"definition": "bb/1"}), absolute, baseline=kept()).outcome == "pass"


def test_clips_the_baseline_does_not_know_are_left_out() -> None:
    verdict = gate(scores(prompts=22), POLICY, baseline=kept())
    assert verdict.outcome == "pass" and verdict.metrics[0].num_pairs == 40
    assert any(note.startswith("4 of 44 clips are not in the baseline") for note in verdict.notes)


def test_scores_that_do_not_know_the_decoder_are_compared_with_a_note() -> None:
    verdict = gate(scores(change=lambda clip: replace(clip, decoder=None)), POLICY, baseline=kept())
    assert verdict.outcome == "pass" and any("of the candidate is not recorded" in note for note in verdict.notes)


def test_other_rules_than_the_baseline_was_made_under_are_told() -> None:
    wider = Policy(primary=(Rule(metric="sharpness", margin=0.5),), alpha=0.01)
    notes = gate(scores(worse=0.1), wider, baseline=kept()).notes
    assert any("sharpness.margin: 0.05 → 0.5" in note for note in notes) and any("alpha" in note for note in notes)
    other = Policy(primary=(Rule(metric="temporal_flickering", margin=0.5),))
    told = [note.rpartition(": ")[2] for note in gate(scores(), other, baseline=kept()).notes if "rules" in note]
    assert told == ["temporal_flickering decides now", "sharpness decides no more"]


# --- guards


def test_lost_clips_fail_whatever_the_others_say() -> None:
    better = gate(without(scores(worse=-0.2), {"p00-0", "p05-1"}), POLICY, baseline=kept())
    assert better.exit_code == 6 and guard(better, "lost clips").outcome == "fail"
    assert guard(better, "lost clips").clips == ("p00-0", "p05-1")
    assert causes(without(scores(), {"p00-0", "p05-1"})) == {("MISSING", ""): 2}
    unsaid = gate(unscored(scores(), "sharpness", ["p00-0", "p05-1"]), POLICY, baseline=kept())
    assert unsaid.exit_code == 6 and guard(unsaid, "lost clips").clips == ("p00-0", "p05-1")
    assert causes(unscored(scores(), "sharpness", ["p00-0", "p05-1"])) == {("NO_SCORE", "sharpness"): 2}
    one = replace(POLICY, max_lost=0.025)
    assert gate(without(scores(), {"p00-0"}), one, baseline=kept()).exit_code == 0
    assert gate(unscored(scores(), "sharpness", ["p00-0", "p05-1"]), Policy(
        primary=(Rule(metric="sharpness", at_least=0.3),))).exit_code == 6  # fmt: skip


def test_what_the_baseline_could_not_score_either_is_not_lost() -> None:
    lost = ["p00-0", "p05-1", "p06-0"]
    before = unscored(scores(), "sharpness", lost)
    assert gate(unscored(scores(), "sharpness", lost), POLICY, baseline=kept(before)).exit_code == 0
    # a metric that decides nothing loses nothing
    assert gate(unscored(scores(), "temporal_flickering", lost), POLICY, baseline=kept()).exit_code == 0


def frozen(ids):
    return lambda clip: replace(clip, frozen=clip.id in ids)


def test_frozen_clips_cannot_pass_on_their_smoothness() -> None:
    still = [f"p{p:02}-0" for p in range(12)]
    smooth = scores(worse=-0.15, seed=2, change=frozen(still))
    left = {"value": None, "frozen": True}
    # as in `fixed` mode: a frozen clip has no value, and that is no loss of the clip
    results = [
        replace(one, items=[item | (left if item["id"] in still else {}) for item in one.items])
        for one in smooth.results
    ]
    verdict = gate(replace(smooth, results=results), POLICY, baseline=kept())
    assert verdict.exit_code == 6 and guard(verdict, "frozen clips").outcome == "fail"
    assert guard(verdict, "frozen clips").clips == tuple(still) and guard(verdict, "lost clips").outcome == "pass"
    unsure = gate(scores(change=frozen(still[:3])), POLICY, baseline=kept())
    assert unsure.exit_code == 8 and guard(unsure, "frozen clips").outcome == "inconclusive"
    assert gate(scores(change=frozen(still[:2])), POLICY, baseline=kept()).exit_code == 0  # 5 % may
    assert gate(smooth, replace(POLICY, max_frozen=1.0), baseline=kept()).exit_code == 0


def test_clips_that_stood_still_before_are_not_held_against_a_candidate() -> None:
    before = scores(change=frozen([f"p{p:02}-0" for p in range(8)]))
    others = scores(change=frozen([f"p{p:02}-1" for p in range(9)]))  # other seeds, one more
    assert guard(gate(others, POLICY, baseline=kept(before)), "frozen clips").outcome == "pass"
    chance = gate(scores(change=frozen([f"p{p:02}-1" for p in range(11)])), POLICY, baseline=kept(before))
    assert (guard(chance, "frozen clips").p_adjusted or 0) > 0.05
    many = gate(scores(change=frozen([f"p{p:02}-1" for p in range(19)])), POLICY, baseline=kept(before))
    assert many.exit_code == 6 and guard(many, "frozen clips").outcome == "fail"


def test_one_clip_for_several_prompts_is_named() -> None:
    def copied(clip):
        return replace(clip, content="file:same") if clip.id < "p07" else clip

    verdict = gate(scores(change=copied), POLICY, baseline=kept())
    assert verdict.exit_code == 6 and guard(verdict, "copies").clips[:3] == ("p00-1", "p01-0", "p01-1")
    assert gate(scores(change=lambda clip: replace(clip, content=None)), POLICY, baseline=kept()).exit_code == 0


def test_clips_outside_the_judges_world() -> None:
    before = kept(scores(counts={"outside": 2}))
    assert gate(scores(counts={"outside": 5}), POLICY, baseline=before).exit_code == 0  # by chance
    many = gate(scores(counts={"outside": 15}), POLICY, baseline=before)
    assert many.exit_code == 6 and guard(many, "outside the judge's world").outcome == "fail"
    most = gate(scores(counts={"outside": 39}), POLICY, baseline=before)
    assert most.exit_code == 6 and "beyond the baseline's 5 %" in most.reason and "mean nothing" not in most.reason
    foreign = kept(scores(counts={"outside": 40}))
    assert "mean nothing" in gate(scores(counts={"outside": 40}), POLICY, baseline=foreign).reason
    assert gate(scores(counts={"outside": 15}), Policy(
        primary=(Rule(metric="sharpness", at_least=0.3),))).exit_code == 0  # fmt: skip


# --- what could not run


def test_a_metric_that_decides_and_could_not_run_is_never_a_pass() -> None:
    with pytest.raises(MissingDependencyError, match="could not run"):
        gate(scores(skipped=[absent("sharpness")]), POLICY, baseline=kept())
    with pytest.raises(NothingMatchedError, match="nothing to measure"):
        gate(scores(skipped=[absent("sharpness", "NO_PROMPT")]), POLICY, baseline=kept())
    with pytest.raises(UsageError, match="have no motion"):
        gate(scores(), Policy(primary=(Rule(metric="motion", at_most=1.0),)))
    explored = gate(scores(skipped=[absent("temporal_flickering")]), POLICY, baseline=kept())
    assert explored.outcome == "pass" and any("could not run" in note for note in explored.notes)


def test_clips_that_nobody_can_read_fail() -> None:
    made = scores(skipped=[absent("sharpness", "NO_VIDEO_STREAM")], change=lambda clip: replace(
        clip, status="failed", error={"code": "NO_VIDEO_STREAM"}))  # fmt: skip
    verdict = gate(made, POLICY, baseline=kept())
    assert verdict.exit_code == 6 and guard(verdict, "lost clips").outcome == "fail"
    assert causes(made) == {("UNREADABLE", "NO_VIDEO_STREAM"): 40}


# --- the audit


def seen(metric, fault, mark, auroc=0.5):
    ends = {"low": 0.0, "high": 0.0, "auroc_low": auroc, "auroc_high": auroc}
    won = {"wins": auroc, "wins_low": auroc, "wins_high": auroc, "p": 0.0, "clusters": 40}
    cell = Cell(equal=mark == "=", tau=0.0, change=0.0, auroc=auroc, n=40, **ends, **won)
    return FaultResponse(metric=metric, fault=fault, mark=mark, cell=cell)


def test_the_audits_blindness_is_shown_and_another_definition_told() -> None:
    audit = Audit(
        table=tuple(seen("sharpness", *row) for row in (("reverse", "="), ("blur", "down", 0.99), ("freeze", "~"))),
        fingerprints={"sharpness": scores().results[0].fingerprint | {"definition": "older/1"}},
    )
    verdict = gate(scores(), POLICY, baseline=kept(), audit=audit)
    assert len(verdict.metrics[0].blind) == 2 and "reverse" in verdict.metrics[0].blind[0]
    told = "\n".join(verdict.notes)
    assert "sharpness was audited with another definition: definition: here sharpness/1, in the audit older/1" in told
    assert "no guard checks for them" not in told
    unguarded = gate(scores(), replace(POLICY, max_frozen=1.0), baseline=kept(), audit=audit)
    assert any("no guard checks for them" in note for note in unguarded.notes)
    unknown = gate(scores(), POLICY, baseline=kept(), audit=Audit())
    assert any("sharpness was not audited" in note for note in unknown.notes)
    assert any("no audit is named" in note for note in gate(scores(), POLICY, baseline=kept()).notes)


def test_what_the_audited_judge_does_not_see_stands_beside_the_metrics_that_ask_it() -> None:
    ends = {"auroc_low": 0.4, "auroc_high": 0.6, "n": 40}
    audit = Audit(
        judge={"judge": "starter@abc"}, noticed=(FaultDetection(fault="reverse", kind="direction", auroc=0.5, **ends),)
    )
    for judge, told in (("starter@abc", 1), ("starter@def", 0)):
        made = scores(fingerprint={"judge": judge})
        verdict = gate(made, POLICY, baseline=kept(made), audit=audit)
        assert [len(one.blind) for one in verdict.metrics] == [told, 0]


# --- the record of the decoder


@pytest.mark.slow
@pytest.mark.usefixtures("decodes")
def test_the_decoder_of_each_clip_is_kept_and_another_one_refused(tmp_path, monkeypatch) -> None:
    from cineloop.video.encode import encode
    from cineloop.video.worker import DecoderPool
    from v2t_eval.core import worker
    from v2t_eval.core.inputs import read_inputs
    from v2t_eval.core.metric import load_metric
    from v2t_eval.core.score import ScoreConfig, score
    from v2t_eval.core.scores import read_scores

    clips = tmp_path / "clips"
    clips.mkdir()
    draws = np.random.default_rng(0)
    for number in range(3):
        pixels = np.repeat(draws.integers(0, 255, (1, 64, 64, 3), dtype=np.uint8), 4, 0)
        pixels[:, :, 20:40] = 0 if number == 0 else np.arange(4)[:, None, None, None] * 60
        encode(pixels, clips / f"{number}.mp4", fps=8)
    config = ScoreConfig(cache=tmp_path / "cache")
    first = score(read_inputs(clips), [load_metric("sharpness")()], config)
    assert [clip.frozen for clip in first.clips] == [True, False, False] and first.clips[0].num_frames == 4
    again = score(read_inputs(clips), [load_metric("sharpness")()], config)
    assert again.clips == first.clips and {clip.decoder for clip in first.clips} <= {"decord", "pyav"}
    monkeypatch.setattr(worker, "DecoderPool", lambda n, limits: DecoderPool(n, limits, decoders=("pyav",)))
    other = score(read_inputs(clips), [load_metric("sharpness")()])
    assert {clip.decoder for clip in other.clips} == {"pyav"}
    before = kept(replace(first, clips=[replace(clip, decoder="decord") for clip in first.clips]))
    verdict = gate(other, Policy(primary=(Rule(metric="sharpness", margin=0.5),)), baseline=before)
    assert (
        verdict.exit_code == 9
        and "decoder: 3 of 3 clips, such as 0.mp4: candidate pyav, baseline decord" in verdict.reason
    )
    (tmp_path / "old.json").write_text('{"schema": 1, "sources": {}, "environment": {}, "counts": {}, "results": [], '
        '"skipped": [], "clips": [{"id": "a", "cluster": "a", "references": [], "size": null}]}')  # fmt: skip
    assert read_scores(tmp_path / "old.json").clips[0].decoder is None
