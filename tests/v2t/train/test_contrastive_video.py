"""The dual encoder of clips: it starts as the model for single frames, sees order, and is what scores load."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from cineloop.errors import MissingDependencyError, UsageError
from cineloop.video.frames import Frames
from same_checkpoints import assert_same_checkpoints
from tiny_captioner import save_tiny_parts
from v2t import train
from v2t.data.collate import normalise
from v2t.model.video_text import see_frames
from v2t_eval.core.features import mean_features, open_extractor, unit

pytest.importorskip("open_clip", reason="the stage needs open_clip (cineloop[eval])")

VISION = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16, "mlp_ratio": 2.0}
TEXT = {"context_length": 48, "width": 16, "heads": 2, "layers": 1}
RUN = {"runtime": {"device": "cpu", "precision": "fp32", "threads": 1}}
LOOP = {"batch_size": 4, "workers": 0, "tensorboard": False, "log_every": 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder of stage contrastive."""
    folder = tmp_path_factory.mktemp("base")
    _, llm = save_tiny_parts(folder)
    recipe = {
        "stage": "contrastive", "out": str(folder / "run"), "tokenizer": str(llm), "embed_dim": 24,
        "vision_cfg": VISION, "text_cfg": TEXT, "num_frames": 2, "eval_clips": 4, **RUN, "loop": {"steps": 1, **LOOP},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert train.run(folder / "recipe.yaml") == 0
    return folder / "run/final"


@pytest.fixture(scope="module")
def recipe(base):
    recipe = {
        "stage": "contrastive_video", "out": str(base.parent / "video"), "base": str(base), "num_frames": 4,
        "grid": 2, "width": 16, "heads": 2, "layers": 1, "text_layers": 1, "eval_clips": 4, **RUN,
        "loop": {"steps": 2, **LOOP, "optim": {"base_lr": 1e-2, "warmup_steps": 0}},
    }  # fmt: skip
    path = base.parent / "video.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture(scope="module")
def trained(recipe):
    assert train.run(recipe) == 0
    return recipe.parent / "video/final"


def task_of(recipe):
    module, config = train.read_recipe(recipe)
    stage = module.build_stage(config)
    return stage, stage.build().eval()


def noise_batch(num=3, frames=4):
    return np.random.default_rng(0).integers(0, 255, (num, frames, 32, 32, 3), np.uint8)


def embedded(stage, task, pixels, times_s):
    """As the task embeds clips (n, T, H, W, 3) shown at `times_s` (n, T)."""
    frames = normalise(torch.from_numpy(pixels))  # (n, T, 3, H, W), the base's mean and deviation are .5
    seen = [see_frames(stage.clip.visual, one, stage.config.grid) for one in frames]
    each, patches = (torch.stack(one) for one in zip(*seen, strict=True))
    with torch.no_grad():
        return task.embed_clips({"each": each, "patches": patches, "times_s": torch.tensor(times_s).float()})


@pytest.mark.slow
def test_it_starts_as_the_mean_over_frames(recipe, base):
    stage, task = task_of(recipe)
    plain, pixels, texts = (
        open_extractor(f"open_clip:local-dir:{base}", device="cpu"),
        noise_batch(),
        ["a red cat runs."],
    )
    found = embedded(stage, task, pixels, np.tile(np.arange(4) / 8, (3, 1)))
    expected = np.stack([unit(mean_features(unit(plain.embed_frames(clip)))) for clip in pixels])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with torch.no_grad():
        words = task.embed_texts(stage.source().pairs._ids(texts))
    np.testing.assert_allclose(words, unit(plain.embed_texts(texts)), atol=1e-5)


@pytest.mark.slow
def test_clips_of_a_block_come_back_with_other_words(recipe):
    module, config = train.read_recipe(recipe, sets=["rounds=2", "block=3"])
    stage = module.build_stage(config)
    batch = stage.source()(0, 6)
    for name in ("each", "patches", "times_s", "fact_place", "fact_event0_action"):
        assert torch.equal(batch[name][:3], batch[name][3:]), name
    assert not torch.equal(batch["texts"][:3], batch["texts"][3:])
    one_by_one = [stage.source()(number, 1) for number in range(6)]
    for name, values in batch.items():
        assert torch.equal(values, torch.cat([one[name] for one in one_by_one])), name
    assert (batch["times_s"].diff(dim=1) > 0).all()


@pytest.mark.slow
def test_what_is_learnt_is_beside_the_model_for_frames_which_stays(trained, base):
    for name in ("open_clip_model.safetensors", "open_clip_config.json", "tokenizer.json"):
        assert (trained / name).read_bytes() == (base / name).read_bytes()
    pixels = noise_batch()[0]
    one, other = (open_extractor(f"open_clip:local-dir:{folder}", device="cpu") for folder in (base, trained))
    assert np.array_equal(one.embed_frames(pixels), other.embed_frames(pixels))


@pytest.mark.slow
def test_scores_load_what_was_trained(recipe, trained):
    from safetensors.torch import load_file

    stage, task = task_of(recipe)
    task.model.load_state_dict(load_file(trained / "video_text.safetensors"))
    extractor = open_extractor(f"open_clip_video:{trained}", device="cpu")
    texts = ["A red cat runs.", "Two dogs jump, then a bird flies to the left."]
    ours = embedded(stage, task, noise_batch(), np.tile(np.arange(4) / 8, (3, 1)))
    with torch.no_grad():
        words = task.embed_texts(stage.source().pairs._ids(texts))
    found = np.stack([extractor.embed_clip(Frames.from_pixels(clip, fps=8)) for clip in noise_batch()])
    np.testing.assert_allclose(found, ours, atol=1e-5)
    np.testing.assert_allclose(extractor.embed_texts(texts), words, atol=1e-5)
    many = np.repeat(noise_batch()[0], 3, axis=0)  # 12 frames: the middle of each third is one of the four
    np.testing.assert_allclose(extractor.embed_clip(Frames.from_pixels(many, fps=24)), ours[0], atol=1e-5)
    for num in (1, 3):
        few = extractor.embed_clip(Frames.from_pixels(noise_batch()[0][:num], fps=8))
        assert few.shape == found[0].shape and np.isfinite(few).all() and np.abs(few - found[0]).max() > 1e-4


@pytest.mark.slow
def test_frames_that_fill_up_a_short_clip_are_not_seen(recipe, trained):
    extractor = open_extractor(f"open_clip_video:{trained}", device="cpu")
    each, patches, times = (torch.randn(1, 4, *shape) for shape in ((24,), (4, 64), ()))
    real = torch.tensor([[True, True, False, False]])
    with torch.no_grad():
        first = extractor._video.embed_clips(each, patches, times, real)[0]
        for one in (each, patches, times):
            one[:, 2:] = 7.0
        torch.testing.assert_close(extractor._video.embed_clips(each, patches, times, real)[0], first)


@pytest.mark.slow
def test_order_of_frames_is_seen(trained):
    extractor = open_extractor(f"open_clip_video:{trained}", device="cpu")
    pixels = noise_batch()[0]
    there, back = (extractor.embed_clip(Frames.from_pixels(p, fps=8)) for p in (pixels, pixels[::-1].copy()))
    assert np.abs(there - back).max() > 1e-4


def test_padding_of_a_text_is_not_seen(recipe):
    stage, task = task_of(recipe)
    ids = stage.source().pairs._ids(["a red cat runs."])
    masks: list[torch.Tensor] = []
    task.model.text[0].register_forward_hook(
        lambda block, args, kwargs, out: masks.append(kwargs["mask"]), with_kwargs=True
    )
    task.embed_texts(ids)
    real, carriers = (ids != stage.tokenizer.pad_token_id).sum(), task.model.config.carriers
    assert masks[0].sum() == real + carriers < masks[0].numel()


@pytest.mark.slow
def test_learning_goes_on_from_a_checkpoint_to_the_bit(recipe, trained, tmp_path):
    run = tmp_path / "run"
    assert train.run(recipe, out=run, sets=["loop.max_seconds=0.000001"]) == 0
    assert train.run(recipe, out=run, resume=True) == 0
    assert_same_checkpoints(run, trained.parent, 2)


@pytest.mark.slow
def test_a_near_miss_that_is_named_twice_is_drawn_twice_as_often(recipe):
    module, config = train.read_recipe(recipe, sets=["negatives=[color, color, kind]"])
    changed = module.build_stage(config).source()(0, 200)["changed"]
    shares = [(changed == number).float().mean().item() for number in range(3)]
    assert all(0.2 < share < 0.47 for share in shares), shares


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        ({"base": "nowhere"}, MissingDependencyError, "there is no nowhere/open_clip_config.json"),
        ({"heads": 3}, (UsageError, ValueError), "heads 3 do not divide width 16"),
        ({"rounds": 0}, UsageError, "rounds and block must be at least 1"),
        ({"negatives": ["mood"]}, UsageError, "negatives must be some of"),
    ],
)
def test_recipes_that_cannot_be_trained(recipe, change, error, expected):
    with pytest.raises(error, match=expected):
        module, config = train.read_recipe(recipe, sets=[f"{key}={json.dumps(value)}" for key, value in change.items()])
        module.build_stage(config).build()


def test_folders_without_one_and_what_it_cannot_do(trained, base, tmp_path):
    with pytest.raises(MissingDependencyError, match="holds no dual encoder of clips"):
        open_extractor(f"open_clip_video:{base}", device="cpu")
    with pytest.raises(UsageError, match="open_clip_video:FOLDER"):
        open_extractor("open_clip_video", device="cpu")
    with pytest.raises(MissingDependencyError, match="is not an open_clip model"):
        open_extractor(f"open_clip_video:{tmp_path}", device="cpu")
    cut = shutil.copytree(trained, tmp_path / "cut")
    (cut / "video_text.safetensors").write_bytes(b"short")
    with pytest.raises(MissingDependencyError, match="holds no dual encoder of clips"):
        open_extractor(f"open_clip_video:{cut}", device="cpu")
    extractor = open_extractor(f"open_clip_video:{trained}", device="cpu")
    for call in (lambda: extractor.embed_frames(noise_batch()[0]), lambda: extractor.embed_tokens("a cat")):
        with pytest.raises(TypeError):
            call()
    assert extractor.kind == "clip" and extractor.has_text and not extractor.has_tokens
    assert "video_text" in extractor.fingerprint()
