"""Corrected figures of whole scorings: what is corrected, and every reason why something is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from judged_scores import JUDGE, NUM, audit, confusion, labels_of, samples, scoring
from v2t_eval.audit.record import Audit
from v2t_eval.core.sample import Sample
from v2t_eval.core.scores import Scores, read_scores, render_scores
from v2t_eval.correction.scoring import with_corrections


def code_of(scores: Scores) -> str:
    """The code of the one reason why nothing was corrected."""
    (note,) = [note for note in scores.results[0].notes if note.startswith("NOT_CORRECTED")]
    assert not any(name.endswith("_corrected") for name in scores.results[0].figures)
    return note.split("(")[1].split(")")[0]


def test_a_corrected_share_is_nearer_the_truth_than_the_judges() -> None:
    scores, truths = scoring()
    figures = with_corrections(scores, samples(), audit()).results[0].figures
    judged = np.mean([[q["right"] for q in item["questions"]] for item in scores.results[0].items])
    true = np.mean([list(each.values()) for each in truths.values()])
    assert abs(judged - true) > 0.03
    assert figures["accuracy_corrected"].value == pytest.approx(true, abs=0.04)
    assert figures["accuracy_corrected"].low < true < figures["accuracy_corrected"].high
    assert figures["accuracy"] == scores.results[0].figures["accuracy"]


def test_a_question_that_hangs_on_others_is_corrected_with_them() -> None:
    scores, truths = scoring(chain=True)
    figures = with_corrections(scores, samples(), audit()).results[0].figures
    true = np.mean([[all(list(each.values())[: n + 1]) for n in range(3)] for each in truths.values()])
    assert figures["dsg_corrected"].value == pytest.approx(true, abs=0.05)
    assert figures["dsg_corrected"].value < figures["accuracy_corrected"].value - 0.05


def test_compat_looks_at_the_parents_own_answers() -> None:
    transitive, compat = (scoring(chain=True, mode=mode)[0] for mode in ("transitive", "compat"))
    one, other = (with_corrections(each, samples(), audit()).results[0].figures for each in (transitive, compat))
    assert one["dsg_corrected"].value < other["dsg_corrected"].value


def test_any_other_judged_metric_gets_the_share_of_clips_with_all_of_it() -> None:
    scores, truths = scoring("vqascore")
    figures = with_corrections(scores, samples(), audit()).results[0].figures
    true = np.mean([all(each.values()) for each in truths.values()])
    assert figures["all_corrected"].value == pytest.approx(true, abs=0.08)


def test_labels_give_a_figure_of_their_own() -> None:
    scores, truths = scoring()
    result = with_corrections(scores, samples(), None, labels_of(truths, 120)).results[0]
    true = np.mean([list(each.values()) for each in truths.values()])
    assert result.figures["accuracy_by_labels"].value == pytest.approx(true, abs=0.05)
    assert result.figures["accuracy_by_labels"].detail == {"labelled": 120}
    assert any(note.startswith("NOT_CORRECTED (NO_AUDIT)") for note in result.notes)


def test_too_few_labels_and_half_labelled_clips_are_said() -> None:
    scores, truths = scoring()
    labels = labels_of(truths, 60)  # of 30 prompts
    del labels.answers["c0"]["q1"]  # type: ignore[attr-defined]
    result = with_corrections(scores, samples(), None, labels).results[0]
    assert not any(name.endswith("_by_labels") for name in result.figures)
    assert any("TOO_FEW_LABELS" in note for note in result.notes)
    assert any(note.startswith("LABEL_PARTLY: 1 clips") for note in result.notes)


@pytest.mark.parametrize(("other", "code"), [
    (None, "NO_AUDIT"), (Audit(), "NO_AUDIT"), (audit(judge=JUDGE | {"calibration": "d"}), "OTHER_JUDGE"),
    (audit(confusion={}), "NO_SUCH_CLIPS"),
    (audit(confusion={"world": audit().confusion["generated"]}), "NO_SUCH_CLIPS"),
    (audit(confusion={"generated": audit().confusion["generated"][:2]}), "UNAUDITED_KIND"),
])  # fmt: skip
def test_an_audit_that_does_not_fit_corrects_nothing(other: Audit | None, code: str) -> None:
    assert code_of(with_corrections(scoring()[0], samples(), other)) == code


def test_a_judge_without_contrast_cannot_be_corrected() -> None:
    rows = confusion(50, 28, 25)
    assert code_of(with_corrections(scoring()[0], samples(), audit(confusion={"generated": rows}))) == "WEAK_JUDGE"


def test_answers_that_the_rates_cannot_give_are_refused() -> None:
    rows = confusion(900, 450, 9)
    assert code_of(with_corrections(scoring()[0], samples(), audit(confusion={"generated": rows}))) == "IMPOSSIBLE"


def test_clips_unlike_the_judges_world_are_not_corrected() -> None:
    assert code_of(with_corrections(scoring(outside=20)[0], samples(), audit())) == "OUTSIDE"
    assert "accuracy_corrected" in with_corrections(scoring(outside=10)[0], samples(), audit()).results[0].figures


def test_another_threshold_or_clips_of_two_sources_are_not_corrected() -> None:
    assert code_of(with_corrections(scoring(threshold=0.7)[0], samples(), audit())) == "OTHER_THRESHOLD"
    mixed = [*samples(num=NUM - 1), Sample(id=f"c{NUM - 1}", row={"generator": "world"})]
    assert code_of(with_corrections(scoring()[0], mixed, audit())) == "MIXED_CLIPS"


def test_the_notes_say_what_the_correction_rests_on_and_how_the_judge_contradicts_itself() -> None:
    notes = " ".join(with_corrections(scoring()[0], samples(), audit()).results[0].notes)
    assert "generated clips" in notes
    assert "2.0% of 50" in notes


def test_scores_with_corrections_are_written_and_read_back(tmp_path: Any) -> None:
    made = with_corrections(scoring()[0], samples(), audit())
    (tmp_path / "scores.json").write_bytes(render_scores(made))
    assert read_scores(tmp_path / "scores.json").results[0].figures == made.results[0].figures


def test_metrics_without_a_judge_are_left_as_they_are() -> None:
    scores, _ = scoring()
    plain = replace(scores, results=[replace(scores.results[0], fingerprint={})])
    assert with_corrections(plain, samples(), audit()) == plain
