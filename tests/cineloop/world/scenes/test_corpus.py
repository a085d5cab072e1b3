"""A folder of clips: equal for equal settings, resumed where it stopped, never mixed."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from cineloop.errors import UsageError
from cineloop.manifest import read_manifest
from cineloop.world.scenes.corpus import WorldConfig, write_world
from cineloop.world.scenes.sampler import sample_scene
from decoder_here import probe


def write(out: Path, num: int = 3, **changes):
    return write_world(**{"num": num, "seed": 5, "split": "seen", "size": (48, 64), "fps": 6, "out": out} | changes)


def assert_same(one: Path, two: Path) -> None:
    """The same texts to the byte, the same pictures but for the encoder's last bits (x264's lookahead is not exact)."""
    names = [sorted(p.name for p in folder.iterdir()) for folder in (one, two)]
    assert names[0] == names[1]
    for name in names[0]:
        if not name.endswith(".mp4"):
            assert (one / name).read_bytes() == (two / name).read_bytes()
            continue
        first, second = (frames_of(folder / name) for folder in (one, two))
        assert first.shape == second.shape
        assert np.abs(first.astype(int) - second).mean() < 1.5


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def test_clips_and_manifest(tmp_path: Path) -> None:
    counted: list[int] = []
    summary = write(tmp_path / "world", seconds=(1.0, 2.0), advance=counted.append)
    rows = list(read_manifest(summary.manifest))
    assert (summary.num, summary.written, sum(counted)) == (3, 3, 3)
    for index, row in enumerate(rows):
        assert row["facts"] == sample_scene("seen", 5, index, seconds=(1.0, 2.0)).facts()
        assert {style: len(texts) for style, texts in row["captions"].items()} == dict.fromkeys(row["captions"], 3)
        assert set(row["captions"]) == {"short", "detailed", "timed"}
        info = probe(tmp_path / "world" / row["path"])
        assert (info.width, info.height, float(info.fps)) == (64, 48, pytest.approx(6.0))
        assert abs(info.duration_s - row["facts"]["duration_s"]) <= 1 / 6
        assert row["conversations"][0]["value"].startswith("<video>\n")
        assert {"kind", "question", "answer"} == set(row["questions"][0])


@pytest.mark.slow
def test_resumed_equals_uninterrupted_and_more_can_be_added(tmp_path: Path) -> None:
    write(tmp_path / "whole", num=4)
    write(tmp_path / "parts", num=2)
    (tmp_path / "parts" / "seen-5-000001.mp4").unlink()
    kept = (tmp_path / "parts" / "seen-5-000000.mp4").stat().st_mtime_ns
    assert write(tmp_path / "parts", num=4).written == 3
    assert (tmp_path / "parts" / "seen-5-000000.mp4").stat().st_mtime_ns == kept
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_processes_give_the_same_files(tmp_path: Path) -> None:
    write(tmp_path / "one", num=2)
    write(tmp_path / "two", num=2, workers=2)
    assert_same(tmp_path / "one", tmp_path / "two")


def test_other_settings_need_overwrite(tmp_path: Path) -> None:
    write(tmp_path, num=1)
    with pytest.raises(UsageError, match=r"fps: 6 → 5; size: "):
        write(tmp_path, num=1, fps=5, size=(32, 32))
    assert write(tmp_path, num=1, fps=5, overwrite=True).written == 1
    assert json.loads((tmp_path / "world.json").read_text())["fps"] == "5"


def test_a_foreign_manifest_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text("mine\n")
    with pytest.raises(UsageError, match="something else"):
        write(tmp_path)
    assert (tmp_path / "manifest.jsonl").read_text() == "mine\n"


@pytest.mark.parametrize(
    "wrong",
    [{"num": 0}, {"split": "test"}, {"size": (8, 64)}, {"fps": "0"}, {"fps": "x"}, {"seconds": (3.0, 2.0)}],
)
def test_settings_out_of_range(wrong: dict) -> None:
    with pytest.raises(UsageError):
        WorldConfig(**{"num": 1, "seed": 0} | wrong)
