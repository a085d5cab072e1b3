"""Text in the picture: lines that stay are told from lines of the scene, and pictures without any give nothing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from pyarrow import parquet

from cineloop.discovery import discover
from cineloop.errors import UsageError
from cineloop.video.frames import Frames
from onnx_models import export
from planted_films import write
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.core.worker import MeasurementWorker
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.recipe import read_plan
from v2t_eval.curate.run import curate
from v2t_eval.curate.step import Work
from v2t_eval.curate.steps.text import FRAMES, Step, TextBoxes, gradient, text_boxes
from v2t_eval.curate.table import PARQUET

SIZE = (180, 320)


def scene(num=12, size=SIZE):
    """Pictures (T, H, W, 3) of hills and a disc that moves."""
    height, width = size
    found = []
    for t in range(num):
        frame = np.full((height, width, 3), (150, 190, 230), np.uint8)
        cv2.ellipse(frame, (width // 3, height), (width // 2, height // 3), 0, 0, 360, (60, 140, 70), -1)
        cv2.circle(frame, (20 + t * (width - 40) // num, height // 2), height // 9, (200, 60, 40), -1)
        found.append(frame)
    return np.stack(found)


def with_line(frames, at=lambda t: (60, 150), text="forty two bright words"):
    font, found = ImageFont.load_default(14), []
    for t, frame in enumerate(frames):
        picture = Image.fromarray(frame)
        ImageDraw.Draw(picture).text(at(t), text, "white", font, stroke_width=1, stroke_fill="black")
        found.append(np.asarray(picture))
    return np.stack(found)


def measured(frames, **settings):
    times = np.arange(len(frames)) / 2.0
    clip = SampleClip.from_frames(
        Frames(pixels=frames, times_s=times, fps=2.0, duration_s=len(frames) / 2, decoder="test")
    )
    metric = TextBoxes(**settings)
    metric.prepare()
    return metric.measure(Sample(id="x", clip=clip))


def test_a_line_is_found_where_it_is():
    [box] = text_boxes(gradient(with_line(scene(1))[0]))
    assert box == pytest.approx([60 / 320, 152 / 180, 150 / 320, 14 / 180], abs=0.03)


@pytest.mark.slow
def test_a_line_that_stays_is_an_overlay_and_one_that_moves_is_text():
    stays, moves = measured(with_line(scene())), measured(with_line(scene(), at=lambda t: (5 + 9 * t, 20 + 9 * t)))
    assert stays["overlay"] > 0.02 and stays["text"] > 0.02
    assert moves["overlay"] == 0.0 and moves["text"] > 0.01
    assert measured(scene()) == {"text": 0.0, "overlay": 0.0}


def test_a_line_covered_in_a_few_frames_is_still_an_overlay():
    frames = with_line(scene())
    frames[3:5] = scene()[3:5]
    assert measured(frames)["overlay"] > 0.02


def test_posts_of_a_fence_are_no_letters():
    frames = scene()
    for x in range(10, 310, 30):
        frames[:, 120:150, x : x + 12] = (90, 60, 30)
    assert measured(frames)["overlay"] == 0.0


@pytest.mark.slow
def test_the_size_of_the_picture_does_not_matter():
    small = with_line(scene())
    large = np.stack([cv2.resize(frame, (1280, 720), interpolation=cv2.INTER_CUBIC) for frame in small])
    assert measured(large)["overlay"] == pytest.approx(measured(small)["overlay"], rel=0.15)


class RedText(torch.nn.Module):
    """A text detector as OpenCV reads a DB model: how much each pixel is of a line; it takes red for text."""

    def forward(self, bgr: torch.Tensor) -> torch.Tensor:
        return (bgr[:, 2:] - bgr[:, 1:2]).clamp(0, 1)


@pytest.mark.slow
def test_a_detector_of_ones_own_says_what_is_text(tmp_path):
    detector = str(export(RedText(), torch.zeros(1, 3, 736, 736), tmp_path / "red.onnx", ["maps"]))
    frames = np.full((12, *SIZE, 3), 120, np.uint8)
    frames[:, 90:95, 80:240] = (250, 20, 20)  # stays; a DB model marks the middle of a line
    for t, frame in enumerate(frames):
        frame[10 * t : 10 * t + 4, 260:300] = (250, 20, 20)
    found = measured(frames, detector=detector)
    height, width = 5 / 180, 160 / 320
    more = height * width / (height + width)  # on each side: twice the area over the girth
    assert found["overlay"] == pytest.approx((height + 2 * more) * (width + 2 * more), rel=0.1)
    assert found["text"] > found["overlay"] + 0.003
    assert measured(with_line(scene()), detector=detector)["overlay"] == 0.0  # no line of letters counts


def test_what_is_no_detector_is_refused(tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="no text detector that OpenCV reads"):
        TextBoxes(detector=str(tmp_path / "no.onnx")).prepare()


def test_a_clip_that_cannot_be_read_has_no_value(tmp_path):
    asked = []

    def evidence(metric, rows, sampling):
        asked.append((metric.name, sampling))
        return {"a": {"text": 0.5, "overlay": 0.25}}

    clips = [FilmClip(id=id, source="x") for id in "ab"]
    step = Step()
    step.known = step.examine(clips, Work(folder=tmp_path, file=None, evidence=evidence))
    assert step.compare(clips).columns == {"text_share": [0.5, None], "overlay_share": [0.25, None]}
    assert asked == [("text_boxes", FRAMES)]


@pytest.mark.slow
def test_two_workers_give_the_table_of_one_and_what_is_cached_is_not_opened(tmp_path, monkeypatch):
    for n, frames in enumerate([scene(24), with_line(scene(24)), with_line(scene(24), text="another line")]):
        write(tmp_path / "films" / f"{n}.mp4", frames)
    tables = []

    def curated(out, workers, cache):
        plan = read_plan(None, ["steps=[probe, shape, text]", "limits.overlay_share.most=0.002"])
        curate(discover([str(tmp_path / "films")]), plan, out, ExecutorConfig(workers=workers, cache=cache))
        tables.append((out / PARQUET).read_bytes())

    curated(tmp_path / "one", 1, tmp_path / "cache1")
    curated(tmp_path / "two", 2, tmp_path / "cache2")
    monkeypatch.setattr(MeasurementWorker, "_children", lambda self: pytest.fail("a film is decoded"))
    monkeypatch.setattr("v2t_eval.core.processes.run", lambda *_: pytest.fail("processes are asked"))
    curated(tmp_path / "three", 2, tmp_path / "cache1")
    assert tables[0] == tables[1] == tables[2]
    kept = {row["source"]: row["kept"] for row in parquet.read_table(tmp_path / "one" / PARQUET).to_pylist()}
    assert kept == {"0.mp4": True, "1.mp4": False, "2.mp4": False}
