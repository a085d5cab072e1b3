"""Extractors of transformers, each against the library's own processor and model, on tiny models made here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cineloop.errors import MissingDependencyError, UsageError
from cineloop.video.frames import Frames
from smooth_pictures import SIZES, frames_of
from tiny_captioner import tiny_tokenizer
from v2t_eval.core.features import open_extractor


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A tiny CLIP with its processor, as `save_pretrained` writes it."""
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    folder = tmp_path_factory.mktemp("clip")
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    half = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**half, "vocab_size": len(words), "max_position_embeddings": 12, "eos_token_id": 53, "bos_token_id": 52}
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(
            text_config=text, vision_config={**half, "image_size": 32, "patch_size": 8}, projection_dim=16,
            initializer_factor=10.0,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=12).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_clip_is_transformers_processor_and_model(clip_folder):
    from transformers import CLIPModel, CLIPProcessor, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPProcessor(
        image_processor=CLIPImageProcessorPil.from_pretrained(clip_folder),
        tokenizer=CLIPTokenizer.from_pretrained(clip_folder),
    )
    model = CLIPModel.from_pretrained(clip_folder).eval()
    ours = open_extractor(f"clip:{clip_folder}", device="cpu")
    texts = ["a cat", "two dogs"]
    for size in SIZES:
        pixels = frames_of(3, size)
        given = processor(text=texts, images=list(pixels), padding=True, return_tensors="pt")
        with torch.no_grad():
            out = model(**given)
            frames = model.get_image_features(pixel_values=given["pixel_values"]).pooler_output.numpy()
        np.testing.assert_allclose(ours.embed_frames(pixels), frames, rtol=1e-6, atol=2e-6)
        found = ours.embed_texts(texts)
        unit = found / np.linalg.norm(found, axis=1, keepdims=True)
        np.testing.assert_allclose(unit, out.text_embeds.numpy(), rtol=0, atol=1e-6)
    numbers, tokens = ours.embed_tokens("a cat")
    assert numbers[-1] == ours.end_token and len(numbers) == 6
    np.testing.assert_allclose(tokens[-1], ours.embed_texts(["a cat"])[0], rtol=1e-6, atol=2e-6)
    assert ours.are_truncated(["cat", "a long text of words"]) == [False, True]
    assert ours.fingerprint()["quick_gelu"] == "true"  # what CLIPConfig has where nothing is said


@pytest.mark.slow
def test_siglip_is_squashed_and_padded_to_its_length(tmp_path):
    from transformers import SiglipConfig, SiglipModel
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    half = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**half, "vocab_size": 300, "max_position_embeddings": 16, "projection_size": 32, "pad_token_id": 0}
    torch.manual_seed(0)
    config = SiglipConfig(text_config=text, vision_config={**half, "image_size": 32, "patch_size": 8})
    model = SiglipModel(config).eval()
    processor = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    for part in (model, processor, tiny_tokenizer()):
        part.save_pretrained(tmp_path)
    ours = open_extractor(f"clip:{tmp_path}", device="cpu")
    pixels = frames_of(2)
    ids = tiny_tokenizer()(["cat"], padding="max_length", max_length=16, return_tensors="pt").input_ids
    with torch.no_grad():
        images = model.get_image_features(processor(list(pixels), return_tensors="pt")["pixel_values"]).pooler_output
        texts = model.get_text_features(ids).pooler_output
    np.testing.assert_allclose(ours.embed_frames(pixels), images.numpy(), rtol=0, atol=2e-6)
    np.testing.assert_allclose(ours.embed_texts(["cat"]), texts.numpy(), rtol=0, atol=2e-6)
    assert not ours.has_tokens
    with pytest.raises(TypeError, match="tokens"):
        ours.embed_tokens("cat")


def test_dino_takes_the_class_token_of_uncropped_frames(tmp_path):
    from torchvision.transforms import functional as tv
    from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

    half = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 16, "image_size": 64}
    torch.manual_seed(0)
    models = {
        "dino": ViTModel(ViTConfig(**half, intermediate_size=48), add_pooling_layer=False),
        "dinov2": Dinov2Model(Dinov2Config(**half)),
    }
    pixels = frames_of(2, (45, 90))
    values = tv.resize(torch.from_numpy(pixels).permute(0, 3, 1, 2).float(), 224, antialias=False) / 255
    values = tv.normalize(values, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert values.shape[2:] == (224, 448)
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        ours = open_extractor(f"dino:{tmp_path / name}", device="cpu")
        extra = {"interpolate_pos_encoding": True} if name == "dino" else {}
        with torch.no_grad():
            expected = model.eval()(values, **extra).last_hidden_state[:, 0].numpy()
        np.testing.assert_allclose(ours.embed_frames(pixels), expected, rtol=0, atol=1e-5)
        assert "vbench 224" in ours.fingerprint()["preprocess"] and not ours.has_text
        with pytest.raises(TypeError, match="texts"):
            ours.embed_texts(["a cat"])


def test_videomae_takes_what_stands_before_the_classifier(tmp_path):
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel

    config = VideoMAEConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, image_size=32, patch_size=8,
        num_frames=4, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(0)
    whole = VideoMAEForVideoClassification(config).eval()
    torch.nn.init.normal_(whole.fc_norm.weight)
    whole.save_pretrained(tmp_path / "whole")
    VideoMAEModel(config).save_pretrained(tmp_path / "bare")
    clip = Frames.from_pixels(frames_of(7, (32, 32)), fps=8)
    ours = open_extractor(f"videomae:{tmp_path / 'whole'}", device="cpu")
    found = ours.embed_clip(clip)
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    picked = torch.from_numpy(clip.pixels[[0, 2, 4, 6]]).float()
    values = ((picked / 255 - mean) / std).permute(0, 3, 1, 2)[None]
    with torch.no_grad():
        logits = whole(values).logits[0].numpy()
    np.testing.assert_allclose(whole.classifier(torch.from_numpy(found)).detach().numpy(), logits, atol=1e-5)
    assert ours.fingerprint()["pooling"] == "mean of tokens and fc_norm" and found.shape == (32,)
    other = open_extractor(f"videomae:{tmp_path / 'whole'}", device="cpu", preprocess="cd-fvd")
    plain = (picked / 255).permute(0, 3, 1, 2)[None]
    with torch.no_grad():
        np.testing.assert_allclose(
            whole.classifier(torch.from_numpy(other.embed_clip(clip))).numpy(),
            whole(plain).logits[0].numpy(),
            atol=1e-5,
        )
    bare = open_extractor(f"videomae:{tmp_path / 'bare'}", device="cpu")
    assert bare.embed_clip(clip).shape == (32,) and bare.fingerprint()["pooling"] == "mean of tokens"


def test_vjepa_takes_the_probes_pooler(tmp_path):
    from transformers import VJEPA2Config, VJEPA2ForVideoClassification, VJEPA2Model

    config = VJEPA2Config(
        patch_size=8, crop_size=32, frames_per_clip=4, hidden_size=32, num_attention_heads=2, num_hidden_layers=1,
        num_pooler_layers=1, pred_hidden_size=16, pred_num_attention_heads=2, pred_num_hidden_layers=1, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(0)
    whole = VJEPA2ForVideoClassification(config).eval()
    whole.save_pretrained(tmp_path / "whole")
    VJEPA2Model(config).save_pretrained(tmp_path / "bare")
    clip = Frames.from_pixels(frames_of(6, (36, 36)), fps=8)  # 36 is int(32 * 256 / 224): nothing to resize
    ours = open_extractor(f"vjepa:{tmp_path / 'whole'}", device="cpu")
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    picked = torch.from_numpy(clip.pixels[[0, 2, 3, 5], 2:34, 2:34]).float()
    with torch.no_grad():
        logits = whole(((picked / 255 - mean) / std).permute(0, 3, 1, 2)[None]).logits[0]
        found = whole.classifier(torch.from_numpy(ours.embed_clip(clip)))
    torch.testing.assert_close(found, logits, rtol=0, atol=1e-5)
    assert ours.fingerprint()["pooling"] == "attentive pooler"
    assert open_extractor(f"vjepa:{tmp_path / 'bare'}", device="cpu").embed_clip(clip).shape == (32,)


@pytest.mark.slow
def test_a_model_of_another_kind_or_without_safetensors_is_refused(clip_folder, tmp_path):
    for family in ("dino", "videomae", "vjepa"):
        with pytest.raises(MissingDependencyError, match="clip"):
            open_extractor(f"{family}:{clip_folder}", device="cpu")
    for path in clip_folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"would run code")
    with pytest.raises(MissingDependencyError, match="cannot load"):
        open_extractor(f"clip:{tmp_path}", device="cpu")
    with pytest.raises(MissingDependencyError, match="hf download some/where"):
        open_extractor("clip:some/where", device="cpu")
    with pytest.raises(MissingDependencyError, match="no folder"):
        open_extractor("clip:./nowhere", device="cpu")
    with pytest.raises(UsageError, match="after the colon"):
        open_extractor("clip:", device="cpu")


def test_weights_that_are_missing_from_a_file_are_never_made_up(clip_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for path in clip_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    del state["text_projection.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingDependencyError, match="text_projection"):
        open_extractor(f"clip:{tmp_path}", device="cpu")
