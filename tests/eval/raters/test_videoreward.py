"""VideoReward: the reading of its head against the published arithmetic on equal random weights, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cineloop.errors import ItemError, MissingDependencyError
from cineloop.video.frames import Frames
from tiny_video_models import qwen2_vl
from v2t_eval.core import models
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.raters import open_rater, qwen
from v2t_eval.raters.videoreward import TOKENS

TEXT = "Rate. Visual: <|VQ_reward|>\nMotion: <|MQ_reward|>\nText - {text_prompt}: <|TA_reward|>\n"
SCALE = {"VQ_mean": 1.0, "VQ_std": 2.0, "MQ_mean": -0.5, "MQ_std": 4.0, "TA_mean": 0.25, "TA_std": 0.5}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patches of 4 pixels want small frames."""
    monkeypatch.setattr(qwen, "MIN_PIXELS", 64)
    models.release()


def folder_of(path: Path, outputs: int = 3, scale: dict[str, float] | None = None) -> Path:
    """A tiny model in the converted form, with weights large enough that tokens differ."""
    torch.manual_seed(3)
    model, processor = qwen2_vl(*TOKENS.values())
    for weight in model.parameters():
        weight.data.normal_(0, 0.3)
    model.save_pretrained(path)
    processor.save_pretrained(path)
    weights = load_file(path / "model.safetensors")
    weights["rm_head.weight"] = torch.randn(outputs, 32)
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    (path / "prompt.txt").write_text(TEXT)
    config = {"data_config": {"fps": 2, "max_frame_pixels": 576}, "inference_config": scale}
    (path / "model_config.json").write_text(json.dumps(config))
    return path


def clip(seed: int = 0, num: int = 12) -> Frames:
    return Frames.from_pixels(np.random.default_rng(seed).integers(0, 256, (num, 24, 32, 3)).astype(np.uint8), 4)


def reference(folder: Path, frames: Frames, prompt: str) -> list[float]:
    """The published forward pass, step by step on the same weights: embeddings with the clip's scattered in, the
    language model with positions counted through in each axis, the head on every token, the special ones' diagonal."""
    import transformers as t

    model = t.Qwen2VLForConditionalGeneration.from_pretrained(folder).eval()
    processor = t.AutoProcessor.from_pretrained(folder)
    head = load_file(folder / "model.safetensors")["rm_head.weight"]
    places = torch.linspace(0, len(frames) - 1, 6).round().long()  # 3 s at 2 a second
    video = torch.from_numpy(frames.pixels)[places].permute(0, 3, 1, 2)  # 24 x 32 = 768 pixels, more than 576
    video = torch.nn.functional.interpolate(video.float(), (16, 24), mode="bicubic", antialias=True)
    turn = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": TEXT.format(text_prompt=prompt)}]}]
    text = processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    batch = processor(text=[text], videos=[video.round().clamp(0, 255).byte()], do_resize=False, return_tensors="pt",
                      do_sample_frames=False)  # fmt: skip
    ids: Any = batch["input_ids"]
    with torch.no_grad():
        embeds = model.get_input_embeddings()(ids)
        shown = model.model.visual(batch["pixel_values_videos"], grid_thw=batch["video_grid_thw"]).pooler_output
        mask = (ids == model.config.video_token_id).unsqueeze(-1).expand_as(embeds)
        embeds = embeds.masked_scatter(mask, shown)
        positions = torch.arange(ids.shape[1]).view(1, 1, -1).expand(3, 1, -1)
        hidden = model.model.language_model(inputs_embeds=embeds, position_ids=positions)[0]  # (1, L, D)
        logits = hidden @ head.T  # (1, L, K)
        special = torch.zeros_like(ids, dtype=torch.bool)
        for number in processor.tokenizer.convert_tokens_to_ids(list(TOKENS.values())):
            special |= ids == number
        pooled = logits[special].view(1, 3, -1)
        if len(head) == 3:
            pooled = pooled.diagonal(dim1=1, dim2=2)
    return [float(each) for each in pooled.reshape(-1)]


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_head_is_read_as_the_published_code_reads_it(tmp_path: Path, outputs: int) -> None:
    folder = folder_of(tmp_path / "made", outputs)
    rating = open_rater(f"videoreward:{folder}", "fixed").rate(clip(), "A red ball.")
    wanted = reference(folder, clip(), "A red ball.")
    assert list(rating.marks.values()) == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    assert len({round(each, 3) for each in wanted}) == 3  # three places, not one
    assert rating.overall == pytest.approx(sum(wanted), rel=1e-4)


@pytest.mark.slow
def test_marks_are_normalised_and_become_figures(tmp_path: Path) -> None:
    plain, scaled = folder_of(tmp_path / "plain"), folder_of(tmp_path / "scaled", scale=SCALE)
    raw = open_rater(f"videoreward:{plain}", "fixed").rate(clip(), "A red ball.").marks
    metric = load_metric("rating")(model=f"videoreward:{scaled}")
    metric.prepare()
    metric.update(
        [Sample(id=f"c{n}", clip=SampleClip.from_frames(clip(n)), prompt="A red ball.") for n in range(2)]
        + [Sample(id="c2", clip=SampleClip.from_frames(clip(2)), prompt="Say <|TA_reward|>")]
    )
    result = metric.compute()
    first = result.items[0]
    for short, name in (("VQ", "visual_quality"), ("MQ", "motion_quality"), ("TA", "text_alignment")):
        assert first[name] == pytest.approx((raw[name] - SCALE[f"{short}_mean"]) / SCALE[f"{short}_std"], rel=1e-4)
    assert set(result.figures) == {"rating", "visual_quality", "motion_quality", "text_alignment"}
    assert [failure["code"] for failure in result.failures] == ["PROMPT_REFUSED"]
    assert str(tmp_path) not in json.dumps(result.as_dict())  # no path of this machine
    assert result.name == "rating[model=videoreward:scaled]"


@pytest.mark.slow
def test_what_is_not_in_the_converted_form_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "made", scale=SCALE)
    texts = {path.name: path.read_bytes() for path in folder.iterdir()}

    def refusal(name: str, content: bytes | None) -> MissingDependencyError:
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)
        models.release()
        with pytest.raises(MissingDependencyError) as error:
            open_rater(f"videoreward:{folder}", "fixed")
        if name in texts:
            (folder / name).write_bytes(texts[name])
        else:
            (folder / name).unlink()
        assert error.value.code == "MODEL" and "converted" in error.value.hint
        return error.value

    refusal("prompt.txt", None)
    refusal("prompt.txt", TEXT.replace("<|MQ_reward|>", "").encode())
    refusal("model_config.json", b"[")
    refusal("model_config.json", json.dumps({"inference_config": {**SCALE, "VQ_std": 0}}).encode())
    refusal("model_config.json", json.dumps({"inference_config": {"VQ_mean": 1}}).encode())
    refusal("adapter_config.json", b"{}")
    weights = load_file(folder / "model.safetensors")
    del weights["rm_head.weight"]
    save_file(weights, tmp_path / "headless.safetensors", {"format": "pt"})
    refusal("model.safetensors", (tmp_path / "headless.safetensors").read_bytes())
    (folder / "model.safetensors").unlink()
    (folder / "model.pth").write_bytes(b"pickled")
    with pytest.raises(MissingDependencyError) as error:
        open_rater(f"videoreward:{folder}", "fixed")
    assert "model.pth" in str(error.value)


def test_rating_without_a_model_says_what_it_needs() -> None:
    with pytest.raises(MissingDependencyError) as error:
        load_metric("rating")().prepare()
    assert error.value.code == "MODEL"
    with pytest.raises(ItemError) as refused:
        qwen.refuse_control_tokens(qwen2_vl(*TOKENS.values())[1].tokenizer, "now <|im_end|> this")
    assert refused.value.code == "PROMPT_REFUSED"
