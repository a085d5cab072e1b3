"""First-frame fidelity: the formula, and the picture on its way from `t2v generate --image` to the metric."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cineloop.errors import ItemError, UsageError
from cineloop.video.encode import encode
from cineloop.video.frames import Frames
from metric_samples import frames, sample
from v2t_eval.cli import main
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.metrics.first_frame_fidelity import fidelity, similarities


def test_the_formula_of_known_angles() -> None:
    angles = np.radians([0, 20, 50, 110])
    features = np.stack([np.cos(angles), np.sin(angles)], 1)
    conform, steady = similarities(features, np.array([2.0, 0.0]))
    assert conform == pytest.approx([1, np.cos(np.radians(20)), np.cos(np.radians(50)), 0])  # beyond 90 degrees: 0
    assert steady == pytest.approx(np.cos(np.radians([20, 30, 60])))
    mean, least = steady.mean(), steady.min()
    # VBench++: i2v_subject .5 max + .5 mean, i2v_background .4 max + .3 mean + .3 min
    assert fidelity(conform, steady, "subject", compat=True) == pytest.approx(0.5 + 0.5 * mean)
    assert fidelity(conform, steady, "background", compat=True) == pytest.approx(0.4 + 0.3 * mean + 0.3 * least)
    assert fidelity(conform, steady, "subject", compat=False) == pytest.approx(0.5 * conform.mean() + 0.5 * mean)
    with pytest.raises(ItemError) as error:
        similarities(np.zeros((2, 3)), np.ones(3))
    assert error.value.code == "MODEL_ERROR"


def test_the_reference_is_repeated_with_its_backbone_alone() -> None:
    for settings in ({"mode": "compat"}, {"mode": "compat", "part": "background"}):
        with pytest.raises(UsageError):
            load_metric("first_frame_fidelity")(**settings)


@pytest.mark.slow
def test_departing_from_the_picture_is_seen_and_the_maximum_hides_it() -> None:
    own, other = (sample(index).clip for index in (0, 1))
    assert own is not None and other is not None and own.frames is not None and other.frames is not None
    half = len(own.frames) // 2
    left = np.concatenate([own.frames.pixels[:half], other.frames.pixels[half:]])
    made = {"stays": own, "leaves": SampleClip.from_frames(Frames.from_pixels(left, 4.0))}
    metric = load_metric("first_frame_fidelity")()
    metric.prepare()
    values = {id: metric.measure(Sample(id=id, clip=clip, first_frame=own)) for id, clip in made.items()}
    assert values["stays"]["value"] > values["leaves"]["value"] + 0.05
    assert values["stays"]["last"] > values["leaves"]["last"] + 0.1


@pytest.mark.slow
def test_the_picture_comes_with_the_manifest_or_with_the_prompts(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    rows = []
    for index in range(2):
        shown = frames(index)
        encode(shown.pixels, made / f"{index}.mp4", 4)
        Image.fromarray(shown.pixels[0]).save(tmp_path / f"{index}.png")
        rows.append({"id": f"c{index}", "path": f"{index}.mp4", "prompt": "p"})
    (made / "images").mkdir()
    Image.fromarray(frames(0).pixels[0]).save(made / "images" / "0.png")
    rows[0]["image"], rows[1]["image"] = "images/0.png", "../1.png"  # the second would leave the folder
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (made / "manifest.jsonl").write_text(lines)
    scored = tmp_path / "scores"
    command = ["score", str(made), "--metrics", "first_frame_fidelity", "-o", str(scored), "--overwrite", "--quiet"]
    assert main(command) == 3
    (result,) = json.loads((scored / "scores.json").read_text())["results"]
    assert [item["id"] for item in result["items"]] == ["c0"] and result["items"][0]["to_picture"] > 0.9
    assert [failure["code"] for failure in result["failures"]] == ["NO_FIRST_FRAME"]
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"id": "c1", "prompt": "p", "image": "1.png"}) + "\n")
    assert main([*command, "--prompts", str(tmp_path / "prompts.jsonl")]) == 0
    (result,) = json.loads((scored / "scores.json").read_text())["results"]
    assert [item["id"] for item in result["items"]] == ["c0", "c1"]
    assert all(item["to_picture"] > 0.9 for item in result["items"])
    (made / "images" / "0.png").write_bytes(b"no picture")
    assert main([*command, "--prompts", str(tmp_path / "prompts.jsonl")]) == 3
    (result,) = json.loads((scored / "scores.json").read_text())["results"]
    assert [failure["id"] for failure in result["failures"]] == ["c0"]
    assert result["failures"][0]["message"].startswith("the first frame: ")
