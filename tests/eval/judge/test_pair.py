"""A judge of pairs: both orders, contradictions as ties, position bias, side by side, who cannot be asked."""

from __future__ import annotations

import numpy as np
import pytest

from cineloop.errors import ItemError, UsageError
from cineloop.video.frames import Frames
from pair_reader import PairReader
from v2t.backends.abilities import Abilities
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.judge.judge import Judge
from v2t_eval.judge.pair import FIRST, NEITHER, SECOND, PairJudge, PairVerdict, beside
from v2t_eval.metrics import preference


def frames(level: int, num: int = 6, size: tuple[int, int] = (16, 24)) -> Frames:
    return Frames.from_pixels(np.full((num, *size, 3), level, np.uint8), fps=8)


def pair(a: int = 200, b: int = 50, name: str = "s") -> Sample:
    clips = [SampleClip.from_frames(frames(level)) for level in (a, b)]
    return Sample(id=name, clip=clips[0], reference_video=clips[1], prompt="a red dog")


def brighter(first: float, second: float) -> str:
    return "(A) the first video" if first > second else "B" if second > first else "both fit equally well"


def test_the_better_one_wins_in_either_place() -> None:
    captioner = PairReader(brighter)
    judge = PairJudge(Judge(captioner))
    assert judge.compare(pair()).value == 1.0 and judge.compare(pair(50, 200)).value == 0.0
    assert judge.compare(pair(90, 90)).value == 0.5
    assert len(captioner.heard) == 6, "every pair is asked twice"
    levels = [[round(float(video.pixels.mean())) for video in message.videos] for message in captioner.heard[:2]]
    assert levels == [[200, 50], [50, 200]], "with the places exchanged"
    assert "a red dog" in captioner.heard[0].text


def test_an_answer_for_the_place_is_a_tie_and_counted() -> None:
    verdict = PairJudge(Judge(PairReader(lambda *_: "A"))).compare(pair())
    assert verdict.value == 0.5 and verdict.is_contradiction and verdict.named_first == (2, 2)


@pytest.mark.parametrize(
    ("answers", "value", "contradiction"),
    [((FIRST, SECOND), 1.0, False), ((SECOND, FIRST), 0.0, False), ((FIRST, NEITHER), 1.0, False),
     ((NEITHER, FIRST), 0.0, False), ((NEITHER, NEITHER), 0.5, False), ((SECOND, SECOND), 0.5, True)],
)  # fmt: skip
def test_every_two_answers(answers: tuple[int, int], value: float, contradiction: bool) -> None:
    verdict = PairVerdict(clip_first=answers[0], reference_first=answers[1])
    assert (verdict.value, verdict.is_contradiction) == (value, contradiction)


def test_a_reply_that_names_neither_is_no_vote() -> None:
    with pytest.raises(ItemError) as caught:
        PairJudge(Judge(PairReader(lambda *_: "hm"))).compare(pair())
    assert caught.value.code == "UNPARSABLE"
    with pytest.raises(ItemError) as caught:
        PairJudge(Judge(PairReader(lambda *_: "I'm sorry, I can't."))).compare(pair())
    assert caught.value.code == "REFUSED"
    with pytest.raises(ItemError) as caught:
        PairJudge(Judge(PairReader(brighter))).compare(Sample(id="x", clip=pair().clip, prompt="a dog"))
    assert caught.value.code == "NO_REFERENCE_VIDEO"


def test_a_judge_of_single_clips_is_refused_by_its_vocabulary() -> None:
    with pytest.raises(UsageError, match="compare two clips"):
        PairJudge(Judge(PairReader(brighter, Abilities(vocabulary="world"))))


def test_side_by_side_both_are_whole() -> None:
    one = beside(frames(200, num=4, size=(20, 30)), frames(50, num=6, size=(10, 30)))
    assert one.pixels.shape == (6, 10, 15 + 1 + 30, 3) and len(one.times_s) == 6
    assert one.pixels[5, :, :15].mean() == 200 and one.pixels[0, :, 16:].mean() == 50
    captioner = PairReader(lambda *_: "the video on the left")
    verdict = PairJudge(Judge(captioner), "beside").compare(pair())
    assert verdict.is_contradiction and all(len(message.videos) == 1 for message in captioner.heard)


def test_the_metric_reports_preference_and_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    def says(first: float, second: float) -> str:
        return "A" if abs(first - second) < 30 else brighter(first, second)

    judge = Judge(PairReader(says))
    monkeypatch.setattr(preference, "open_judge", lambda name, device: judge)
    metric = preference.Metric(judge="v2t:any")
    metric.prepare()
    metric.update([pair(200, 50, "a"), pair(60, 50, "b"), pair(50, 200, "c"), pair(201, 50, "d")])
    result = metric.compute()
    assert result.value == pytest.approx(2.5 / 4) and result.counts["ties"] == 1
    assert result.figures["consistent"].value == 0.75 and result.figures["first_place"].value == pytest.approx(5 / 8)
    assert result.figures["first_place"].n == 8 and result.items[1]["answers"] == ["the first video"] * 2
