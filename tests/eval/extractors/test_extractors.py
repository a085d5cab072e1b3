"""Pixels, open_clip and TorchScript: each against the library whose models it loads, on tiny models made here."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from cineloop.errors import ItemError, MissingDependencyError, UsageError
from cineloop.video.frames import Frames
from smooth_pictures import SIZES, frames_of
from v2t_eval.core.features import open_extractor
from v2t_eval.core.models import file_sha256
from v2t_eval.extractors.pixels import crop_start, resize_pil, resize_tensor, shortest_to, tensor_square, to_floats


@pytest.mark.parametrize("size", SIZES)
def test_resizing_is_that_of_torchvision(size):
    from torchvision.transforms import functional as tv

    pixels = frames_of(2, size)
    assert shortest_to(size, 20) == tuple(tv.resize(to_floats(pixels, "cpu"), 20).shape[2:])
    assert [crop_start(n, 20) for n in (21, 23, 25)] == [round((n - 20) / 2) for n in (21, 23, 25)] == [0, 2, 2]
    ours = resize_tensor(to_floats(pixels, "cpu"), shortest_to(size, 20))
    theirs = tv.resize(to_floats(pixels, "cpu"), 20, tv.InterpolationMode.BICUBIC, antialias=False)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert (ours > 255).any() or (ours < 0).any(), "VBench's bicubic overshoots; a clamp would hide it"
    whole = tv.center_crop(theirs, [20, 20]) / 255
    torch.testing.assert_close(tensor_square(pixels, 20, "cpu"), whole, rtol=0, atol=0)
    assert resize_pil(pixels, (20, 31)).dtype == np.uint8


# open_clip


@pytest.fixture(scope="module")
def dual(tmp_path_factory):
    """`make(quick_gelu, resize_mode, name)`: a folder with a tiny model of open_clip, 77 tokens cut to 12."""
    open_clip = pytest.importorskip("open_clip")
    from safetensors.torch import save_file

    root = tmp_path_factory.mktemp("dual")

    def make(quick_gelu=False, resize_mode="shortest", name="tiny"):
        folder = root / f"{name}-{quick_gelu}-{resize_mode}"
        if not folder.exists():
            folder.mkdir()
            vision = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}
            text = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
            model = {"embed_dim": 16, "quick_gelu": quick_gelu, "vision_cfg": vision, "text_cfg": text}
            preprocess = {"interpolation": "bicubic", "resize_mode": resize_mode}
            torch.manual_seed(0)
            state = open_clip.CLIP(**model).state_dict()
            state = {key: (value * 3).half().contiguous() for key, value in state.items()}
            save_file(state, folder / "open_clip_model.safetensors")
            about = {"model_cfg": model, "preprocess_cfg": preprocess}
            (folder / "open_clip_config.json").write_text(json.dumps(about))
        return folder

    return make


@pytest.mark.slow
@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("quick", [False, True])
def test_open_clip_is_its_own_preprocessing_and_model(dual, resize_mode, quick):
    import open_clip
    from PIL import Image

    name = f"local-dir:{dual(quick, resize_mode)}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    ids = open_clip.get_tokenizer(name)(["a red cat", "two dogs"])
    ours = open_extractor(f"open_clip:{name}", device="cpu")
    assert next(ours._model.parameters()).dtype == torch.float32
    for size in SIZES:
        pixels = frames_of(5, size)
        with torch.no_grad():
            images = torch.stack([preprocess(Image.fromarray(frame)) for frame in pixels])
            frames, texts = model.eval().encode_image(images), model.encode_text(ids)
        np.testing.assert_allclose(ours.embed_frames(pixels), frames.numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ours.embed_texts(["a red cat", "two dogs"]), texts.numpy(), rtol=1e-5, atol=1e-6)
    told = ours.fingerprint()
    assert told["quick_gelu"] == str(quick).lower() and told["dtype"] == "float32"
    assert told["weights"] == file_sha256(dual(quick, resize_mode) / "open_clip_model.safetensors")


@pytest.mark.slow
def test_quick_gelu_moves_the_features_and_openai_weights_without_it_are_warned_of(dual):
    pixels = frames_of(2)
    plain, quick = (open_extractor(f"open_clip:local-dir:{dual(q)}", device="cpu") for q in (False, True))
    assert np.abs(plain.embed_frames(pixels) - quick.embed_frames(pixels)).max() > 1e-3
    assert plain.fingerprint() != quick.fingerprint() and plain.warnings == quick.warnings == ()
    again = open_extractor(f"open_clip:local-dir:{dual(False, name='openai-export')}", device="cpu")
    assert "QuickGELU" in again.warnings[0]


def test_a_tag_of_openai_gets_quick_gelu_whatever_the_configuration_says():
    from v2t_eval.extractors.open_clip import Extractor

    bare = Extractor.__new__(Extractor)
    found = [bare._lacks_quick_gelu(f"ViT-B-32{end}", tag) for end in ("", "-quickgelu") for tag in ("openai", "")]
    assert found == [True, False, False, False] and not bare._lacks_quick_gelu("ViT-B-32", "laion2b_s34b_b79k")


@pytest.mark.slow
def test_vbench_preprocessing_is_another_and_says_so(dual):
    name = f"open_clip:local-dir:{dual()}"
    pil, vbench = (open_extractor(name, device="cpu", preprocess=way) for way in ("pil", "vbench"))
    pixels = frames_of(2)
    with torch.no_grad():
        values = (tensor_square(pixels, 32, "cpu") - torch.tensor(pil._settings["mean"]).view(3, 1, 1)) / torch.tensor(
            pil._settings["std"]
        ).view(3, 1, 1)
        expected = pil._model.encode_image(values).numpy()
    np.testing.assert_allclose(vbench.embed_frames(pixels), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(pil.embed_frames(pixels) - expected).max() > 1e-4
    assert pil.fingerprint()["preprocess"] != vbench.fingerprint()["preprocess"]
    with pytest.raises(UsageError, match="pil or vbench"):
        open_extractor(name, preprocess="crop")


def test_tokens_of_open_clip_end_in_the_feature_of_the_text(dual):
    ours = open_extractor(f"open_clip:local-dir:{dual()}", device="cpu")
    numbers, tokens = ours.embed_tokens("a red cat")
    assert numbers[0] == 49406 and numbers[-1] == 49407 == ours.end_token and len(numbers) == len(tokens) == 5
    np.testing.assert_allclose(tokens[-1], ours.embed_texts(["a red cat"])[0], rtol=1e-5, atol=1e-6)
    assert ours.are_truncated(["a " * 10, "a " * 11]) == [False, True]  # ten words and two marks fill twelve
    long = ours.embed_tokens("a " * 11)
    assert len(long[0]) == 12 and long[0][-1] == 49407


@pytest.mark.slow
def test_starters_dual_encoder_is_used_in_float32_and_absent_says_how_to_train_it(dual, monkeypatch, tmp_path, request):
    from v2t_eval.core import models
    from v2t_eval.extractors import starter

    models.release()
    request.addfinalizer(models.release)  # no other test may be given this one's "starter"
    monkeypatch.setattr(starter.Extractor, "folder", tmp_path / "dual")
    with pytest.raises(MissingDependencyError, match="v2t train configs/starter/contrastive.yaml"):
        open_extractor("starter", device="cpu")
    monkeypatch.setattr(starter.Extractor, "folder", dual())
    ours = open_extractor("starter", device="cpu")
    direct = open_extractor(f"open_clip:local-dir:{dual()}", device="cpu")
    assert np.array_equal(ours.embed_frames(frames_of(2)), direct.embed_frames(frames_of(2)))
    assert ours.fingerprint()["model"] == "starter"


@pytest.mark.slow
def test_starters_dual_encoder_of_clips_tells_ways_and_backwards_which_that_of_frames_cannot():
    from cineloop.world.scenes.render import render
    from cineloop.world.scenes.solo import FPS, sample_solo
    from v2t.data.near_miss import pair
    from v2t_eval.core.features import mean_features, unit

    clips, frames = open_extractor("starter-video", device="cpu"), open_extractor("starter", device="cpu")
    ways, forwards, num, index = 0, 0, 0, 0
    while num < 24:  # clips of a figure that goes somewhere
        scene, index = sample_solo("seen", 4711, index), index + 1
        true, wrong, kind = pair(scene.facts(), "prompt", f"w{index}", ("direction",))
        if kind < 0:
            continue
        pixels, num = np.stack(list(render(scene, (64, 64), fps=FPS))), num + 1
        there, back = (unit(clips.embed_clip(Frames.from_pixels(p, fps=FPS))) for p in (pixels, pixels[::-1].copy()))
        words = unit(clips.embed_texts([true, wrong]))
        ways += there @ words[0] > there @ words[1]
        forwards += there @ words[0] > back @ words[0]
        one, other = (mean_features(unit(frames.embed_frames(p))) for p in (pixels, pixels[::-1]))
        assert np.array_equal(one, other)
    assert ways >= 20 and forwards >= 20, (ways, forwards)


@pytest.mark.parametrize("name", ["open_clip:ViT-B-32", "open_clip:", "open_clip:/openai"])
def test_open_clip_wants_model_and_tag(name):
    with pytest.raises(UsageError, match="MODEL/PRETRAINED"):
        open_extractor(name, device="cpu")


def test_open_clip_without_its_model_is_a_missing_dependency(tmp_path):
    for name in (f"local-dir:{tmp_path}", f"ViT-B-32/{tmp_path}/no.safetensors", "no-such-model/openai"):
        with pytest.raises(MissingDependencyError):
            open_extractor(f"open_clip:{name}", device="cpu")


# TorchScript


class ToyI3D(torch.nn.Module):
    """The forward of StyleGAN-V's file: its resize and scale inside, logits or probabilities."""

    def forward(
        self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = True
    ) -> torch.Tensor:
        b, c, t, h, w = x.shape
        flat = x.transpose(1, 2).reshape(b * t, c, h, w)
        if resize:
            flat = torch.nn.functional.interpolate(flat, size=(224, 224), mode="bilinear", align_corners=False)
        if rescale:
            flat = flat * 2 / 255 - 1
        if flat.shape[2] != 224 or flat.shape[3] != 224:
            raise ValueError("I3D takes 224 x 224")
        logits = flat.reshape(b, t, c, 14, -1).mean(4).mean(1).reshape(b, c * 14)
        return logits if return_features else logits.softmax(-1)


class ToyInception(torch.nn.Module):
    """The forward of StyleGAN2's file."""

    def forward(
        self, img: torch.Tensor, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False
    ) -> torch.Tensor:
        features = img.mean((2, 3)) / 255
        if return_features:
            return features
        return (features if no_output_bias else features + torch.arange(3)).softmax(-1)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    torch.jit.script(ToyI3D()).save(str(folder / "i3d.pt"))
    torch.jit.script(ToyInception()).save(str(folder / "inception.pt"))
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_i3d_has_two_preprocessings_that_differ_and_wants_ten_frames(scripts):
    from torchvision.transforms import functional as tv

    pixels = frames_of(12, (40, 64))
    clip = Frames.from_pixels(pixels, fps=8)
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    squashed = tv.resize(values, [224, 224], antialias=False) / 127.5 - 1
    cropped = tv.resize(values / 255, [224, 359], antialias=False)[..., 67:291] * 2 - 1  # 358.4 raised, 67.5 cut
    for way, expected in (("stylegan", squashed), ("crop", cropped)):
        ours = open_extractor(f"i3d:{scripts / 'i3d.pt'}", device="cpu", preprocess=way)
        logits = ToyI3D()(expected.transpose(0, 1)[None], rescale=False, resize=False)[0]
        np.testing.assert_allclose(ours.embed_clip(clip), logits.numpy(), rtol=0, atol=1e-5)
        assert ours.fingerprint()["preprocess"] == way
        with pytest.raises(ItemError, match="10 frames") as caught:
            ours.embed_clip(Frames.from_pixels(pixels[:9], fps=8))
        assert caught.value.code == "TOO_SHORT"
    assert (squashed - cropped).abs().max() > 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_inception_gives_features_and_probabilities_without_bias(scripts):
    ours = open_extractor(f"inception:{scripts / 'inception.pt'}", device="cpu")
    pixels = frames_of(3)
    means = pixels.reshape(3, -1, 3).mean(1) / 255
    np.testing.assert_allclose(ours.embed_frames(pixels), means, atol=1e-5)
    raised = np.exp(means)
    np.testing.assert_allclose(ours.class_probabilities(pixels), raised / raised.sum(1, keepdims=True), atol=1e-5)
    assert ours.has_classes and not ours.has_text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_torchscript_file_is_checked_against_its_hash(scripts, tmp_path):
    path = scripts / "i3d.pt"
    digest = file_sha256(path)
    assert open_extractor(f"i3d:{path}#{digest[:16].upper()}", device="cpu").fingerprint()["weights"] == digest
    with pytest.raises(MissingDependencyError, match="expected 00000000"):
        open_extractor(f"i3d:{path}#00000000", device="cpu")
    for wrong in (f"i3d:{path}#xyz", f"i3d:{path}#abc", "i3d:", "inception:"):
        with pytest.raises(UsageError, match="sha256"):
            open_extractor(wrong, device="cpu")
    with pytest.raises(MissingDependencyError, match="stylegan-v"):
        open_extractor(f"i3d:{tmp_path / 'absent.pt'}", device="cpu")
    (tmp_path / "other.pt").write_bytes(b"no script")
    with pytest.raises(MissingDependencyError, match="not a TorchScript file"):
        open_extractor(f"i3d:{tmp_path / 'other.pt'}", device="cpu")
