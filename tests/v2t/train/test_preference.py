"""Stage preference: the loss of pairs, the kept reference, resuming, bad files of pairs, adapters."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from cineloop.errors import ItemError, UsageError
from cineloop.manifest import write_manifest
from same_checkpoints import assert_same_checkpoints
from small_clips import noise, write
from tiny_captioner import tiny_captioner
from v2t import train
from v2t.data.preferences import PreferenceSource, pair_key, read_pairs
from v2t.model import CineloopForConditionalGeneration
from v2t.model.weights import save_model
from v2t.train.caption_task import CaptionTask
from v2t.train.preference import dpo_loss

LOOP = {"steps": 3, "batch_size": 4, "save_every": 1, "log_every": 1, "workers": 0, "tensorboard": False,
        "optim": {"base_lr": 3e-3, "warmup_steps": 0, "lr": {"vision_tower": 0.0}}}  # fmt: skip
RUNTIME = {"device": "cpu", "precision": "fp32", "threads": 1}


def test_at_the_reference_the_loss_is_ln_2():
    values = torch.randn(5, 2)
    loss, margin = dpo_loss(values, values.clone(), 0.3)
    torch.testing.assert_close(loss, torch.full((5,), math.log(2)))
    assert not margin.any()


def test_the_loss_is_that_of_the_paper():
    loss, margin = dpo_loss(torch.tensor([[-3.0, -7.0]]), torch.tensor([[-4.0, -5.0]]), 0.5)
    wanted = 0.5 * ((-3.0 + 4.0) - (-7.0 + 5.0))  # the chosen gained 1 nat, the rejected lost 2
    assert margin.item() == pytest.approx(wanted) == 1.5
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1.5)))


def test_the_gradient_raises_the_chosen_and_lowers_the_rejected():
    values = torch.tensor([[-3.0, -3.0]], requires_grad=True)
    dpo_loss(values, torch.tensor([[-3.0, -3.0]]), 0.2)[0].sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor([[-0.1, 0.1]]))  # -beta / 2, beta / 2


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Six clips, each with a pair; the folder also has a captioner."""
    folder = tmp_path_factory.mktemp("pairs")
    rows = []
    for n in range(6):
        write(noise(n, 8, fps=6), folder / f"clips/{n}.mp4")
        answers = {"chosen": f"it is {n}", "rejected": "a much longer answer that is wrong" if n % 2 else "no"}
        rows.append({"id": str(n), "path": f"{n}.mp4", **answers} | ({"prompt": "Count."} if n else {}))
    write_manifest(rows, folder / "preferences.jsonl")
    model, processor = tiny_captioner()
    processor.video_processor.num_frames = 8  # two segments
    save_model(model, folder / "model", processor, dtype=torch.float32)
    return folder


def recipe(folder: Path, pairs: Path, **fields) -> Path:
    path = folder / "preference.yaml"
    tree = {"stage": "preference", "out": str(folder / "run"), "model": str(pairs / "model"), "max_length": 256,
            "manifests": [str(pairs / "preferences.jsonl")], "root": str(pairs / "clips"), "save_dtype": "float32",
            "loop": LOOP, "runtime": RUNTIME}  # fmt: skip
    path.write_text(yaml.safe_dump(tree | fields))
    return path


def built(folder: Path, pairs: Path, **fields):
    module, config = train.read_recipe(recipe(folder, pairs, **fields))
    stage = module.build_stage(config)
    return stage, stage.build().eval()


@pytest.mark.slow
@pytest.mark.parametrize("packing", [False, True])
def test_log_probs_of_pairs_are_those_of_single_conversations(tmp_path, pairs, packing):
    stage, task = built(tmp_path, pairs, packing=packing)
    source = stage.source()
    batch = source(0, 4)
    assert batch["row_counts"].tolist() == [2] * 8  # both answers show both segments of their clip
    with torch.no_grad():
        together = task.pair_log_probs(batch)
        for n in range(4):
            ids, labels = batch["input_ids"][2 * n : 2 * n + 2], batch["labels"][2 * n : 2 * n + 2]
            alone = source(n, 1)
            visual = task.model.model.projector(task.query_tokens(alone))
            for row in range(2):
                length = int(batch["row_lengths"][2 * n + row])
                logits = task.model(input_ids=ids[row : row + 1, :length], visual_tokens=visual).logits[0, :-1]
                targets = labels[row, 1:length]
                known = (targets != -100).nonzero().squeeze(1)
                wanted = logits.log_softmax(-1)[known, targets[known]].sum()
                torch.testing.assert_close(together[n, row], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_kept_reference_is_the_live_one(tmp_path, pairs):
    stage, task = built(tmp_path, pairs)
    frozen = copy.deepcopy(task)
    source = stage.source()
    with torch.no_grad():
        for weight in task.parameters():  # training changes the policy, not what was kept
            weight.add_(0.05)
    again, other = built(tmp_path, pairs)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(3)
    kept = again.source()  # read from the run folder, whatever the weights are by now
    for start in (0, 3):
        batch = source(start, 3)
        with torch.no_grad():
            torch.testing.assert_close(frozen.pair_log_probs(batch), batch["reference"], rtol=1e-5, atol=1e-5)
        assert torch.equal(kept(start, 3)["reference"], batch["reference"])
    assert not torch.allclose(task.pair_log_probs(source(0, 3)), source(0, 3)["reference"], atol=1e-2)


@pytest.mark.slow
def test_another_model_or_other_pairs_get_another_reference(tmp_path, pairs):
    built(tmp_path, pairs)[0].source()
    kept = json.loads((tmp_path / "run/reference.json").read_text())
    rows = [{**clip.row, "rejected": "another"} for clip in read_pairs([pairs / "preferences.jsonl"])]
    write_manifest(rows, tmp_path / "others.jsonl")
    built(tmp_path, pairs, manifests=[str(tmp_path / "others.jsonl")])[0].source()
    new = json.loads((tmp_path / "run/reference.json").read_text())
    assert new["key"] != kept["key"] and not new["log_probs"].keys() & kept["log_probs"].keys()


@pytest.mark.slow
def test_training_begins_at_ln_2_and_orders_the_pairs(tmp_path, pairs):
    path = recipe(tmp_path, pairs, loop=LOOP | {"steps": 12}, chosen_weight=0.1)
    assert train.run(path) == 0
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "pairs" in row.get("terms", row)]
    first = steps[0].get("terms", steps[0])
    assert first["pairs"] == pytest.approx(math.log(2), abs=1e-5)
    last = steps[-1].get("terms", steps[-1])
    assert last["pairs"] < 0.5 and last["chosen"] < first["chosen"]
    scores = json.loads((tmp_path / "run/final/scores.json").read_text())
    assert scores["score"] == -scores["loss"] and {"margin", "pairs_right"} <= scores.keys()


@pytest.mark.slow
def test_resumed_equals_uninterrupted(tmp_path, pairs):
    whole = recipe(tmp_path, pairs)
    assert train.run(whole) == 0
    assert train.run(whole, sets=["loop.max_seconds=0"], out=tmp_path / "cut") == 0
    (tmp_path / "cut/reference.json").unlink()  # even where it is lost: a checkpoint's weights are not the reference
    assert train.run(whole, out=tmp_path / "cut", resume=True) == 0
    assert_same_checkpoints(tmp_path / "run", tmp_path / "cut", 3)


@pytest.mark.slow
def test_adapters_learn_from_pairs_and_are_saved_alone(tmp_path, pairs):
    rates = {"vision_tower": 0.0, "resampler": 0.0, "projector": 0.0, "language_model": 0.05}
    loop = LOOP | {"optim": LOOP["optim"] | {"lr": rates}}
    path = recipe(tmp_path, pairs, lora={"r": 4, "dropout": 0.3}, loop=loop)
    module, config = train.read_recipe(path)
    stage = module.build_stage(config)
    task = stage.build().train()
    source = stage.source()
    base = CaptionTask(CineloopForConditionalGeneration.from_pretrained(pairs / "model").eval())
    batch = source(0, 5)
    with torch.no_grad():  # new adapters change nothing, and dropout is off while the reference is computed
        wanted = base.log_probs(batch, base.query_tokens(batch)).view(-1, 2)
    torch.testing.assert_close(batch["reference"], wanted, rtol=1e-5, atol=1e-5)
    assert task.training and any(module.training for name, module in task.named_modules() if "dropout" in name)
    assert train.run(path, overwrite=True) == 0
    assert (tmp_path / "run/final/adapter/adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    "row, message",
    [
        ({"rejected": "b"}, "'chosen' must be a text, got None"),
        ({"chosen": "a", "rejected": 3}, "'rejected' must be a text, got 3"),
        ({"chosen": "a", "rejected": " "}, "'rejected' must be a text, got ' '"),
        ({"chosen": "a dog", "rejected": "a dog "}, "chosen and rejected are the same text, 'a dog'"),
        ({"chosen": "a", "rejected": "b", "prompt": ["x"]}, "'prompt' must be a text"),
    ],
)
def test_a_bad_row_is_refused_by_name(tmp_path, row, message):
    write_manifest([{"id": "one", "path": "1.mp4", **row}], tmp_path / "p.jsonl")
    with pytest.raises(UsageError, match=f"row 'one': {message}"):
        read_pairs([tmp_path / "p.jsonl"])


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "p.jsonl").write_text("")
    with pytest.raises(UsageError, match="no preference pair in"):
        read_pairs([tmp_path / "p.jsonl"])


@pytest.mark.slow
def test_a_missing_clip_stops_or_is_left_out(tmp_path, pairs):
    rows = [clip.row for clip in read_pairs([pairs / "preferences.jsonl"])]
    write_manifest([*rows, {**rows[0], "id": "gone", "path": "gone.mp4"}], tmp_path / "p.jsonl")
    stage, _ = built(tmp_path, pairs, manifests=[str(tmp_path / "p.jsonl")])
    with pytest.raises(ItemError, match="row 'gone'"):
        stage.source()
    stage, task = built(tmp_path, pairs, manifests=[str(tmp_path / "p.jsonl")], on_bad="skip")
    source = stage.source()
    assert len(source.clips) == 5 and all(clip.row["id"] != "gone" for clip in source.clips)
    first = source.clips[source.place(0)].path
    moved = first.rename(tmp_path / "away.mp4")  # it goes missing during training: nothing is learned from it
    try:
        batch = source(0, 5)
    finally:
        moved.rename(first)
    assert stage.counts(batch) == {"pairs": 4.0}
    with torch.no_grad():
        found = task(batch)
    assert int(found["metrics"]["pairs_right"][1]) == 4 and torch.isfinite(found["terms"]["pairs"])


@pytest.mark.slow
def test_kept_tokens_train_as_decoded_clips_do(tmp_path, pairs):
    rates = {"vision_tower": 0.0, "resampler": 0.0}
    path = recipe(tmp_path, pairs, loop=LOOP | {"optim": LOOP["optim"] | {"lr": rates}})
    assert train.run(path) == 0
    assert train.run(path, sets=["keep_tokens=true"], out=tmp_path / "kept") == 0
    assert list((tmp_path / "kept/tokens").glob("*.safetensors"))
    plain, kept = (load_file(tmp_path / run / "final/model.safetensors") for run in ("run", "kept"))
    for name, value in plain.items():
        torch.testing.assert_close(value, kept[name], rtol=1e-5, atol=1e-6, msg=name)
    base = load_file(pairs / "model/model.safetensors")
    assert any((value - base[name]).abs().max() > 1e-4 for name, value in kept.items())


@pytest.mark.slow
def test_kept_tokens_open_no_clip_again(tmp_path, pairs, monkeypatch):
    rates = {"vision_tower": 0.0, "resampler": 0.0}
    loop = LOOP | {"optim": LOOP["optim"] | {"lr": rates}}
    stage, task = built(tmp_path, pairs, keep_tokens=True, loop=loop)
    source = stage.source()
    monkeypatch.setattr(PreferenceSource, "decode", lambda *_: pytest.fail("a clip was opened"))
    batch = source(0, 5)
    assert "pixels" not in batch and torch.isfinite(task(batch)["terms"]["pairs"])
    built(tmp_path, pairs, keep_tokens=True, loop=loop)[0].source()


@pytest.mark.slow
def test_the_chosen_alone_can_be_taught(tmp_path, pairs):
    stage, task = built(tmp_path, pairs, pairs_weight=0.0, chosen_weight=1.0)
    batch = stage.source()(0, 3)
    found = task(batch)
    assert stage.terms == {"pairs": 0.0, "chosen": 1.0} and stage.counts(batch) == {"pairs": 3.0, "chosen": 3.0}
    labels = batch["labels"][::2]
    plain = task.model(input_ids=batch["input_ids"][::2], visual_tokens=_of_rows(task, batch)).logits
    wanted = sum(
        torch.nn.functional.cross_entropy(plain[n, :-1], labels[n, 1:], ignore_index=-100) for n in range(len(labels))
    )
    torch.testing.assert_close(found["terms"]["chosen"], wanted, rtol=1e-4, atol=1e-4)


def _of_rows(task, batch):
    return task.model.model.projector(task.query_tokens(batch))


@pytest.mark.slow
def test_the_plan_counts_two_answers_a_clip(tmp_path, pairs, capsys):
    assert train.run(recipe(tmp_path, pairs), plan=True) == 0
    assert "2 conversation(s)" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_settings_that_do_not_go_with_pairs_are_refused(tmp_path, pairs):
    for field, message in (
        ({"beta": 0}, "beta must be above 0"),
        ({"manifests": []}, "give manifests"),
        ({"chosen_weight": -1}, "chosen_weight must be at least 0"),
        ({"pairs_weight": 0}, "one above it"),
        ({"keep_tokens": True}, "freeze both"),
        ({"manifests": [], "shards": ["x.tar"]}, "do not go with preference pairs"),
    ):
        with pytest.raises(UsageError, match=message):
            train.read_recipe(recipe(tmp_path, pairs, **field))


@pytest.mark.slow
def test_one_pair_twice_in_two_files_has_one_reference(pairs):
    clips = read_pairs([pairs / "preferences.jsonl"] * 2, pairs / "clips")
    assert len(clips) == 12 and len({pair_key(clip) for clip in clips}) == 6
    source = PreferenceSource(clips, tiny_captioner()[1], 0, 256)
    assert "reference" not in source(0, 1)
    known = {pair_key(clip): (-1.0, -2.0) for clip in clips}
    assert replace(source, reference=known)(0, 2)["reference"].tolist() == [[-1.0, -2.0]] * 2
