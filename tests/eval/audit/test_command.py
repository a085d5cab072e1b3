"""The verb `v2t-eval audit`: what it refuses, what it writes, and how it ends."""

from __future__ import annotations

import argparse
import json
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

from cineloop.video.encode import encode
from v2t_eval.audit.clips import LazyClip, solo_clips
from v2t_eval.audit.record import read_audit
from v2t_eval.cli import main
from v2t_eval.commands import audit


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path: Path, capsys) -> None:
    out = tmp_path / "audit"
    assert main(["audit", "--metrics", "sharpness,frechet[feature=pixels]", "--num", "5", "--json", "--dry-run",
                 "-o", str(out)]) == 0  # fmt: skip
    plan = json.loads(capsys.readouterr().out)
    assert plan["metrics"] == ["sharpness"] and plan["left_out"] == ["frechet[feature=pixels]"]
    assert plan["scorings"] == 5 * (1 + sum(map(len, plan["faults"].values()))) and plan["judge_clips"] == 15
    assert plan["faults"]["reverse"] == [5] and plan["faults"]["blur"] == [1, 2, 3, 4, 5]
    assert not out.exists()


def test_a_dry_run_is_told_in_words(tmp_path: Path, capsys) -> None:
    asked = [
        "audit",
        "--metrics",
        "sharpness,frechet[feature=pixels]",
        "--num",
        "5",
        "--dry-run",
        "-o",
        str(tmp_path / "a"),
    ]
    assert main(asked) == 0
    told = capsys.readouterr().out
    assert not set("[]{}'") & set(told.replace("frechet[feature=pixels]", "")), told
    assert "blur at 1, 2, 3, 4 and 5" in told and "left out: frechet[feature=pixels]" in told


def test_an_audit_of_nothing_but_left_out_metrics_ends_with_4(tmp_path: Path, capsys) -> None:
    asked = [
        "audit",
        "--metrics",
        "frechet[feature=pixels]",
        "--judge",
        "none",
        "--num",
        "2",
        "-o",
        str(tmp_path / "a"),
    ]
    assert main(asked) == 4
    told = capsys.readouterr()
    assert "frechet[feature=pixels] is left out: it scores a set" in told.out
    assert "nothing could be measured" in (told.out + told.err).lower()


def test_spoiled_clips_have_plain_names() -> None:
    clip = solo_clips(1, 5)[0]
    assert clip.sample().id == "solo-5-0"
    assert clip.sample("blur", 1).id == "solo-5-0 with blur 1"
    assert clip.sample("blur", 2, codec=True).id == "solo-5-0 with blur 2 through mp4"
    assert clip.sample(prompt="A cat").id == "solo-5-0 with another prompt"
    assert clip.sample(codec=True).id == "solo-5-0 through mp4"


@pytest.mark.slow
def test_clips_of_the_bundled_generator_are_made_once_for_the_judge(tmp_path: Path) -> None:
    args = argparse.Namespace(output=tmp_path, seed=3, device="cpu", quiet=True, overwrite=False)
    (tmp_path / audit.STATE).mkdir()
    audit._generate(2, tmp_path / "made", args)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "made").rglob("*.mp4")}
    audit._generate(2, tmp_path / "made", args)
    assert len(made) == 2 and made == {path: path.stat().st_mtime_ns for path in made}


@pytest.mark.slow
def test_the_files_the_answer_and_a_second_run(tmp_path: Path, capsys) -> None:
    mine, out = tmp_path / "mine", tmp_path / "audit"
    mine.mkdir()
    for number, clip in enumerate(solo_clips(2, 5)):
        encode(clip.source.corrupt("", 0).pixels, mine / f"{number}.mp4", 8)
    (mine / "prompts.txt").write_text("A ball\nA cat\n")
    (mine / "broken.mp4").write_bytes(b"nothing")
    asked = ["audit", str(mine), "--metrics", "sharpness", "--judge", "none", "--workers", "1", "-o", str(out)]
    assert main([*asked, "--json"]) == 3  # one clip could not be read, the rest was audited
    told = capsys.readouterr()
    found = read_audit(out / "audit.json")
    assert json.loads(told.out) == json.loads((out / "audit.json").read_text()) and "broken.mp4" in told.err
    assert found.clips["command"] == "v2t-eval audit mine --metrics sharpness --judge none --num 40 --seed 2026"
    assert str(tmp_path) not in (out / "audit.json").read_text()
    for name in ("audit.md", "audit.html"):
        page = (out / name).read_text()
        assert "sharpness cannot see reverse" in page and "bit-identical" in page and "broken.mp4" in page
    assert main(asked) == 2 and "audit.json already exists" in capsys.readouterr().err
    assert main([*asked, "--overwrite"]) == 3
    assert "sharpness" in capsys.readouterr().out
    assert read_audit(out / "audit.json").table == found.table


def test_a_planted_clip_goes_to_another_process_as_its_recipe() -> None:
    sample = solo_clips(1, 5)[0].sample("blur", 2)
    here, there = Pipe()
    here.send(sample)
    got = there.recv()
    assert got.clip.content == LazyClip(sample.clip.recipe[0], "blur", 2).content
    assert "frames" not in vars(got.clip) and np.array_equal(got.frames.pixels, sample.frames.pixels)
