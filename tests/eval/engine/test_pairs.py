"""Pairs of clips: by prompt and seed whatever the files are called, else by prompt, else by id; never by chance."""

from __future__ import annotations

from pathlib import Path

import pytest

from cineloop.errors import NothingMatchedError, UsageError
from cineloop.manifest import read_manifest, write_manifest
from engine_runs import write_run
from v2t_eval.engine.pairs import pair_clips, unrelated_pairs

NUM = 3


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return write_run(tmp_path / "a", 1, num=NUM), write_run(tmp_path / "b", 2, num=NUM)


def rewrite(folder: Path, **changes) -> None:
    rows = [
        {**row, **{key: make(row) for key, make in changes.items()}} for row in read_manifest(folder / "manifest.jsonl")
    ]
    write_manifest([{key: value for key, value in row.items() if value is not None} for row in rows],
                   folder / "manifest.jsonl")  # fmt: skip


def test_clips_of_a_prompt_and_seed_are_a_pair_under_one_id(folders) -> None:
    a, b = folders
    ours, own = pair_clips(b, a), pair_clips(a, a)
    assert [sample.id for sample in ours.samples] == [sample.id for sample in own.samples] and len(ours.samples) == NUM
    for sample in ours.samples:
        number = sample.row["id"].split("-")[1]
        assert sample.clip.path.name == f"2-{number}.mp4" and sample.reference_video.path.name == f"1-{number}.mp4"


def test_another_seed_is_no_partner(folders) -> None:
    a, b = folders
    rewrite(b, seed=lambda row: 8 if row["prompt"] == "prompt 0" else 7)
    assert len(pair_clips(b, a).samples) == NUM - 1
    rewrite(b, seed=lambda row: 8)
    with pytest.raises(NothingMatchedError, match="same prompt and seed"):
        pair_clips(b, a)


def test_without_seeds_prompts_pair_and_without_prompts_ids(folders) -> None:
    a, b = folders
    rewrite(b, seed=lambda row: None)
    assert {sample.prompt for sample in pair_clips(b, a).samples} == {f"prompt {n}" for n in range(NUM)}
    rewrite(b, prompt=lambda row: None, id=lambda row: row["id"].replace("2-", "1-"))
    assert [sample.id for sample in pair_clips(b, a).samples] == ["1-0", "1-1", "1-2"]


def test_unrelated_clips_have_the_prompt_and_the_clip_of_another(folders, tmp_path: Path) -> None:
    for sample in unrelated_pairs(folders[0]).samples:
        assert sample.prompt == sample.row["prompt"] and sample.clip.path != sample.reference_video.path
        assert sample.reference_video.path.name == f"{sample.row['id']}.mp4"
    with pytest.raises(UsageError, match="one prompt"):
        unrelated_pairs(write_run(tmp_path / "one", 3, num=1))
