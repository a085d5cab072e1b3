"""Checkpoints are read in the order of their steps, and what cannot be drawn with has a code."""

from __future__ import annotations

import pytest

from cineloop.errors import NothingMatchedError, UsageError
from v2t_eval.pick.checkpoints import read_checkpoints


def lora(path, data=b"weights"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_every_form_is_read_in_the_order_of_steps(tmp_path):
    lora(tmp_path / "lora-000100.safetensors", b"1")
    lora(tmp_path / "lora-000020.safetensors", b"2")
    lora(tmp_path / "lora-3" / "pytorch_lora_weights.safetensors", b"3")
    lora(tmp_path / "lora-4" / "final" / "model_index.json", b"4")
    (tmp_path / "README.md").write_text("no checkpoint")
    usable, bad = read_checkpoints([str(tmp_path)])
    assert [(one.name, one.kind, one.step) for one in usable] == [
        ("lora-3", "lora", 3), ("lora-4", "model", 4), ("lora-000020", "lora", 20), ("lora-000100", "lora", 100),
    ]  # fmt: skip
    assert bad == [] and usable[1].path == tmp_path / "lora-4" / "final"


def test_a_checkpoint_may_be_named_itself_and_names_stay_apart(tmp_path):
    lora(tmp_path / "a" / "x.safetensors", b"1")
    lora(tmp_path / "b" / "x.safetensors", b"2")
    usable, _ = read_checkpoints([str(tmp_path / "a" / "x.safetensors"), str(tmp_path / "b" / "x.safetensors")])
    assert [one.name for one in usable] == ["a/x", "b/x"]


def test_what_cannot_be_drawn_with_has_a_code_and_the_rest_goes_on(tmp_path):
    for n in range(3):
        lora(tmp_path / f"s{n}.safetensors", b"12"[n % 2 : n % 2 + 1])
    (tmp_path / "s4").mkdir()
    (tmp_path / "s5.ckpt").write_bytes(b"pickle")
    usable, bad = read_checkpoints([str(tmp_path)])
    assert [one.name for one in usable] == ["s0", "s1"]
    assert {one.name: one.code for one in bad} == {
        "s2": "SAME_WEIGHTS", "s4": "NO_WEIGHTS", "s5": "NOT_SAFETENSORS",
    }  # fmt: skip


def test_one_checkpoint_the_same_file_twice_and_none_are_refused(tmp_path):
    lora(tmp_path / "one" / "a.safetensors")
    with pytest.raises(UsageError) as error:
        read_checkpoints([str(tmp_path / "one")])
    assert error.value.code == "ONE_CHECKPOINT"
    lora(tmp_path / "same" / "a.safetensors")
    lora(tmp_path / "same" / "b.safetensors")
    with pytest.raises(UsageError) as error:
        read_checkpoints([str(tmp_path / "same")])
    assert error.value.code == "ONE_CHECKPOINT" and "SAME_WEIGHTS" in error.value.message
    for place in ("absent", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(NothingMatchedError):
            read_checkpoints([str(tmp_path / place)])
