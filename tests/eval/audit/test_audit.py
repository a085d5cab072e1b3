"""The audit: judges whose errors are planted, metrics whose blindness is known, and nothing done twice."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import NothingMatchedError
from cineloop.video.encode import encode
from cineloop.world.referee.read import FigureRead, ReadBack
from v2t_eval.audit.clips import SampleAuditClip, solo_clips, story_clips
from v2t_eval.audit.compositions import NAMES, OF_NAME
from v2t_eval.audit.judging import of_facts, of_reading
from v2t_eval.audit.material import gather
from v2t_eval.audit.record import Audit, read_audit
from v2t_eval.audit.report import blindness, document
from v2t_eval.audit.run import AuditConfig, Material, audit
from v2t_eval.audit.table import cases, faults_of, others_prompt
from v2t_eval.core.inputs import read_inputs
from v2t_eval.judge.answer import Answer
from v2t_eval.judge.grammar.wording import LISTS, listed_values
from v2t_eval.judge.question import Question
from v2t_eval.report import markdown, page
from v2t_eval.suites.suite import parse_metrics


class Planted:
    """A judge that knows the truth (it stands in the row) and which fault a clip has, and says what it was made to."""

    has_likelihoods = True

    def __init__(self, *, knows: Sequence[str] = tuple(LISTS), always: float | None = None, name: str = "planted",
                 confuses: dict[str, str] | None = None, unaudited: Sequence[str] = ()):  # fmt: skip
        self.knows, self.always, self.name = knows, always, name
        self.confuses, self.unaudited = confuses or {}, unaudited
        self.num_asked = 0

    def load(self) -> None:
        pass

    def fingerprint(self) -> dict[str, str]:
        return {"judge": self.name}

    def answer(self, subject, questions: Sequence[Question]) -> list[Answer]:
        self.num_asked += len(questions)
        return [self._answer(subject, question) for question in questions]

    def _answer(self, subject, question: Question) -> Answer:
        if self.always is not None:
            return Answer(question=question, text=question.answer, chance=self.always, raw=self.always)
        truth, fault = listed_values(subject.row["facts"]), subject.clip.recipe[1]
        factor = question.about
        if question.id.startswith("q"):  # of a prompt, about its composition
            knows_it = self.knows == tuple(LISTS)
            return Answer(question=question, text="yes", chance=0.1 if knows_it and fault in OF_NAME else 0.9, raw=0.9)
        shown = LISTS[factor].answers.get(truth.get(factor, ""), "")
        if question.answer in self.unaudited:
            return Answer(question=question, status="unaudited", code="UNAUDITED")
        shown = self.confuses.get(shown, shown)
        broken = {"color": "color", "mirror": "direction", "reverse": "direction", "freeze": "motion",
                  "shuffle": "motion", "drop": "kind"}.get(fault)  # fmt: skip
        if factor == broken or (fault == "drop" and factor == "count"):
            shown = next(each for each in question.choices if each != shown)
        if factor not in self.knows:
            shown = random.Random(f"{subject.id}{factor}").choice(question.choices or (question.answer, ""))
        chance = 0.9 if shown == question.answer else 0.1
        return Answer(question=question, text=shown, chance=chance, raw=chance)


SMALL = {"num": 3, "planted_clips": 60, "judge_clips": 30, "stable_clips": 6}


def judged(judge: Planted, folder: Path | None = None, material: Material | None = None, **more) -> Audit:
    return audit([], judge, material or Material(), AuditConfig(**{**SMALL, **more}, cache=folder))


@pytest.fixture(scope="module")
def perfect() -> Audit:
    return judged(Planted())


@pytest.mark.slow
def test_a_perfect_judge_agrees_and_sees_every_fault_it_is_asked_about(perfect: Audit) -> None:
    for name in ("world", "degraded"):
        whole, *kinds = perfect.agreement[name]
        assert whole.kind == "all" and whole.kappa == whole.auroc == 1.0 and whole.yes_bias == 0.0
        assert {row.kind for row in kinds} == set(LISTS)
        assert sum(row.n for row in kinds) == whole.n and whole.clips == (60 if name == "world" else 40)
    noticed = {(row.fault, row.kind): row for row in perfect.noticed}
    assert set(noticed) == {("color", "color"), ("drop", "kind"), ("drop", "count"), ("mirror", "direction"),
                            ("reverse", "direction"), ("freeze", "motion"), ("shuffle", "motion"),
                            ("prompt", "all of them together"),
                            *((name, kind.replace("_", " ")) for kind, name in NAMES.items())}  # fmt: skip
    assert {row.auroc for row in perfect.noticed} == {1.0} and not perfect.unseen_by_judge()
    assert all(row.auroc_low < 1 and row.word == ("sees" if row.n > 34 else "sees in part") for row in perfect.noticed)
    steady = perfect.stability
    assert steady["right"] == steady["still_right_blur"] == steady["still_right_noise"] == 1.0
    assert steady["flips_repeat"] == steady["flips_wording"] == steady["flips_order"] == 0.0
    assert steady["changes_reverse"] == steady["changes_shuffle"] == 1.0 and steady["changes_reverse_n"] > 0


@pytest.mark.slow
def test_every_answer_of_every_list_is_planted_and_told_by_itself(perfect: Audit) -> None:
    rows = {(row.kind, row.answer): row for row in perfect.answers["world"]}
    assert list(rows) == [(factor, answer) for factor, plain in LISTS.items() for answer in plain.answers.values()]
    assert all(row.planted == row.n == row.right >= 1 for row in rows.values())
    assert {row.kappa for row in rows.values() if row.claims > row.n} == {1.0}


@pytest.mark.slow
def test_one_confused_answer_and_one_that_is_not_offered_are_seen_in_the_audit() -> None:
    judge = Planted(confuses={"it falls down": "it moves along"}, unaudited=("it hops",), name="falls")
    found = judged(judge, planted_clips=200)
    rows = {row.answer: row for row in found.answers["world"] if row.kind == "motion"}
    falls, hops, grows = rows["it falls down"], rows["it hops"], rows["it grows"]
    assert falls.n == falls.planted >= 6 and falls.right == 0 and falls.kappa is not None and falls.kappa < 0.2
    assert hops.planted >= 6 and hops.n == hops.right == hops.claims == 0 and hops.kappa is None
    assert grows.kappa == 1.0 and grows.right == grows.planted
    whole, *kinds = found.agreement["world"]
    motion = next(row for row in kinds if row.kind == "motion")
    assert motion.unanswered >= hops.planted and whole.unanswered == motion.unanswered
    assert motion.kappa > 0.8, "the kind alone hides it"
    told = markdown.render(document(found))
    assert "| motion | it falls down | " in told and "not offered" in told


@pytest.mark.slow
def test_a_kind_of_which_nothing_may_be_asked_keeps_its_row() -> None:
    styles = tuple(LISTS["style"].answers.values())
    found = judged(Planted(unaudited=styles, name="no style"))
    assert "style" not in {row.kind for row in found.agreement["world"]}
    rows = [line for line in markdown.render(document(found)).splitlines() if line.startswith("| style | – |")]
    row = rows[0]  # of the world's clips; the degraded ones have such a row too
    assert "(100%)" in row
    assert {each.kappa for each in found.answers["world"] if each.kind == "style"} == {None}


@pytest.mark.slow
def test_a_judge_that_always_says_yes_is_worth_nothing() -> None:
    found = judged(Planted(always=1.0, name="yes"))
    for rows in found.agreement.values():
        for row in rows:
            assert (row.kappa, row.auroc, row.yes_bias) == (0.0, 0.5, 0.5)
    assert {row.word for row in found.noticed} == {"cannot see"}
    assert any("reverse in its answers about direction" in said for said in found.unseen_by_judge())
    assert found.stability["changes_reverse"] == 0.0  # right, and blind to time


@pytest.mark.slow
def test_a_judge_that_is_right_in_color_only() -> None:
    found = judged(Planted(knows=("color",), name="color"))
    rows = {row.kind: row for row in found.agreement["world"]}
    assert rows["color"].kappa == 1.0 and rows["color"].auroc == 1.0
    for kind in ("place", "kind", "direction", "motion"):
        assert rows[kind].kappa < 0.5 and rows[kind].auroc < 0.8, kind
    assert 0 < rows["all"].kappa < rows["color"].kappa
    words = {(row.fault, row.kind): row.word for row in found.noticed}
    assert words["color", "color"] == "sees in part" and words["reverse", "direction"] == "cannot see"
    assert found.stability["flips_repeat"] == 0.0 and found.stability["still_right_blur"] < 1


@pytest.mark.slow
def test_what_was_asked_is_not_asked_again(tmp_path: Path) -> None:
    judge = Planted()
    first = judged(judge, tmp_path, judge_clips=6, stable_clips=2)
    asked = judge.num_asked
    assert asked > 0
    again = judged(judge, tmp_path, judge_clips=6, stable_clips=2)
    assert judge.num_asked == asked and again.agreement == first.agreement and again.stability == first.stability
    judged(Planted(name="another"), tmp_path, judge_clips=6, stable_clips=2)  # whose memory is its own
    assert judge.num_asked == asked


@pytest.mark.slow
def test_a_stopped_audit_goes_on_where_it_was(tmp_path: Path) -> None:
    config = AuditConfig(num=2, planted_clips=30, judge_clips=6, stable_clips=2, cache=tmp_path)
    whole = Planted()
    audit([], whole, Material(), replace(config, cache=tmp_path / "whole"))
    judge = Planted()
    with pytest.raises(KeyboardInterrupt):
        audit([], judge, Material(), config, stop=lambda: judge.num_asked > 20)
    part = judge.num_asked
    assert 20 < part < whole.num_asked
    audit([], judge, Material(), config)
    assert judge.num_asked == whole.num_asked


@pytest.mark.slow
def test_the_table_names_what_is_equal_to_the_bit(tmp_path: Path, monkeypatch) -> None:
    names = "temporal_flickering,sharpness"
    config = AuditConfig(num=6, cache=tmp_path)
    found = audit(parse_metrics(names), None, Material(), config)
    mark = {(row.metric, row.fault): row.mark for row in found.table}
    for metric, fault in (("temporal_flickering", "reverse"), ("temporal_flickering", "mirror"),
                          ("temporal_flickering", "prompt"), ("sharpness", "reverse"), ("sharpness", "shuffle"),
                          ("sharpness", "duplicate"), ("sharpness", "prompt")):  # fmt: skip
        assert mark[metric, fault] == "=", (metric, fault)
    cells = {(row.metric, row.fault): row.cell for row in found.table}
    for seen in (("sharpness", "blur"), ("temporal_flickering", "flutter")):
        assert cells[seen].auroc > 0.7 and cells[seen].tau == pytest.approx(-1), seen
    frozen = next(row for row in found.table if row.metric == "temporal_flickering" and row.fault == "freeze")
    assert frozen.mark == "up!" and frozen.cell.auroc == 0.0 and frozen.cell.n == 6  # fooled, also in mode fixed
    assert any("does not change under reverse" in said for said in found.blind_to("sharpness"))
    assert any("likes freeze" in said for said in found.blind_to("temporal_flickering"))
    assert any(said.startswith("sharpness") and "cannot see reverse, shuffle" in said and "bit-identical" in said
               for said in blindness(found))  # fmt: skip
    assert any("clips in which nothing moves" in note for note in found.notes)
    # The second time nothing is drawn or measured.
    from v2t_eval.audit import clips

    monkeypatch.setattr(clips.WorldAuditClip, "corrupt", lambda *args: pytest.fail("drawn again"))
    clips._RECENT.clear()
    assert audit(parse_metrics(names), None, Material(), config).table == found.table
    assert "sharpness" in found.fingerprints and found.fingerprints["sharpness"]["definition"]


@pytest.mark.slow
def test_metrics_of_sets_and_of_what_is_not_there_are_left_out_by_name() -> None:
    found = audit(parse_metrics("sharpness,frechet[feature=pixels],bleu"), None, Material(), AuditConfig(num=2))
    assert {row.metric for row in found.table} == {"sharpness"}
    assert sum("is left out: it scores a" in note for note in found.notes) == 2
    with pytest.raises(NothingMatchedError):
        audit([], None, Material(), AuditConfig())


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of three clips without any truth, and a file that is none."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for index in range(3):
        clip = solo_clips(index + 1, 5)[index]
        encode(clip.source.corrupt("", 0).pixels, folder / f"{'abc'[index]}.mp4", 8)
    (folder / "broken.mp4").write_bytes(b"no film at all" * 50)
    return folder


@pytest.mark.slow
def test_clips_of_the_users_without_truth(mine: Path, tmp_path: Path) -> None:
    material = gather(read_inputs(mine), None, 10, tmp_path / "kept")
    assert [clip.id for clip in material.yours] == ["a.mp4", "b.mp4", "c.mp4"]
    assert [each["id"] for each in material.failures] == ["broken.mp4"]
    config = AuditConfig(num=3, cache=tmp_path / "kept", planted_clips=30, judge_clips=2, stable_clips=2)
    found = audit(parse_metrics("sharpness"), Planted(), material, config)
    faults = {row.fault for row in found.table}
    assert "hue" in faults and not faults & {"color", "drop", "prompt"}  # these need a truth, or prompts
    assert any("no figure is removed" in note for note in found.notes)
    assert "yours" not in found.agreement  # nothing to hold the judge to
    assert found.failures[0]["id"] == "broken.mp4" and {row.cell.n for row in found.table} == {3}
    # What was read once is not decoded again to see whether it can be.
    (mine / "a.mp4").touch()
    again = gather(read_inputs(mine), None, 10, tmp_path / "kept")
    assert again.yours == material.yours


@pytest.mark.slow
def test_questions_with_answers_of_the_users(mine: Path, tmp_path: Path) -> None:
    rows = [{"id": "a", "path": "a.mp4", "questions": [
                {"question": "Is it red?", "answer": "yes", "about": "color"},
                {"question": "Is it blue?", "answer": "no", "about": "color"},
                {"question": "Where?", "answer": "beach", "choices": ["beach", "city"]},
                {"question": "What happens?", "answer": "much"}]},
            {"id": "b", "path": "b.mp4"}]  # fmt: skip
    (mine / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    material = gather(read_inputs(mine), None, 10, None)
    found = judged(Planted(always=1.0), material=material, judge_clips=2, stable_clips=2)
    kinds = {row.kind: row.n for row in found.agreement["yours"]}
    assert kinds == {"all": 4, "color": 2, "question": 2}
    assert any("1 questions with open answers are left out" in note for note in found.notes)


def test_what_the_referee_cannot_read_is_held_against_nobody() -> None:
    figure = FigureRead(color="red", size="small", motion="travel", direction="left", speed=None)
    told = of_reading(ReadBack(place="beach", figures=(figure,), num_figures=1))
    assert told.values == {"place": "beach", "count": "1", "color": "red", "size": "small", "motion": "travel",
                           "direction": "left", "to_color": "red"}  # fmt: skip
    assert set(told.unread) == {"kind", "speed"}
    still = of_reading(ReadBack(place="beach", figures=(FigureRead(color="red", motion="grow"),), num_figures=1))
    assert still.values["direction"] == still.values["speed"] == "none"
    nothing = of_reading(ReadBack(place=None))
    assert not nothing.values and {"place", "kind", "motion", "count"} <= set(nothing.unread)


@pytest.mark.slow
def test_the_referee_and_the_facts_of_clean_clips_tell_the_same() -> None:
    from v2t_eval.semantics.detectors.world import reading

    agree = total = 0
    for clip in solo_clips(4, 11):
        read, facts = of_reading(reading(clip.sample())).values, of_facts(clip.facts).values
        agree += sum(read[key] == facts[key] for key in facts if key in read)
        total += sum(key in read for key in facts)
    assert total >= 20 and agree / total > 0.9


def test_generated_clips_are_not_held_to_what_was_asked_for(mine: Path) -> None:
    facts = solo_clips(1, 5)[0].facts
    rows = [{"id": name, "path": f"{name}.mp4", "prompt": "A red ball rolls.", "facts": facts, "generator": made}
            for name, made in (("a", "dit"), ("b", "world"))]  # fmt: skip
    (mine / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = gather(read_inputs(mine), None, 10, None).yours
    assert first.facts is None and second.facts == facts
    assert first.cluster == second.cluster == "A red ball rolls."


def test_faults_by_what_is_known_of_a_clip() -> None:
    drawn = solo_clips(2, 1)
    assert {"color", "drop", "prompt"} <= set(faults_of(drawn[0])) and "hue" not in faults_of(drawn[0])
    prompts = others_prompt(drawn)
    assert prompts == {drawn[0].id: drawn[1].prompt, drawn[1].id: drawn[0].prompt}
    found = cases(drawn, codec=True)
    assert len({case.sample.id for case in found}) == len(found)
    plain = [case for case in found if not case.fault.endswith("mp4")]
    assert len(found) == 2 * len(plain) and len(plain) == 2 * (1 + sum(map(len, faults_of(drawn[0]).values())))
    wrong = next(case for case in plain if case.fault == "prompt")
    assert wrong.sample.prompt == drawn[1].prompt and wrong.sample.clip.content == plain[0].sample.clip.content


def test_drawn_faults_keep_what_they_do_not_break() -> None:
    source = solo_clips(1, 1)[0].source
    clean, other, gone = (source.corrupt(*each).pixels for each in (("", 0), ("color", 5), ("drop", 5)))
    late = source.corrupt("drop", 2).pixels
    assert (clean == other).mean() > 0.5 and (clean != other).any()
    assert (gone == gone[:1]).all()  # the place alone
    num = int(np.ceil(len(clean) * 0.6))
    assert (late[:num] == clean[:num]).all() and (late[num:] == gone[num:]).all()
    two = story_clips(1, 1)[0]
    assert (two.source.corrupt("drop", 5).pixels != two.source.corrupt("", 0).pixels).any()
    assert isinstance(two.source, type(source)) and not isinstance(two.source, SampleAuditClip)


@pytest.mark.slow
def test_the_record_is_read_again_as_it_was_and_shown(perfect: Audit, tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(perfect.as_dict()))
    assert read_audit(path) == perfect
    shown, text = page.render(document(perfect), tmp_path).decode(), markdown.render(document(perfect))
    for said in ("Faults that the judge sees", "Stability of the judge", "direction"):
        assert said in shown and said in text
    assert "| all | 1.000" in text
