"""CLIPScore and its kin: the definitions' arithmetic (A12), what they do not see, the whole way on a tiny model."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from cineloop.errors import ItemError, MissingDependencyError, UsageError
from cineloop.video.frames import Frames
from v2t_eval.core.features import BaseExtractor
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.metrics import alignment
from v2t_eval.metrics.emscore import Weights, f1
from v2t_eval.metrics.retrieval import ranks

FAMILY = ("clipscore", "refclipscore", "clipsim", "retrieval", "emscore")
PREFIX = "A photo depicts "


class Angles(BaseExtractor):
    """A plane instead of a model: a frame's first pixel and a text's words are angles in degrees."""

    has_text, has_tokens, end_token = True, True, -1
    limit = 4

    def load(self):
        pass

    def _embed(self, pixels):
        return _at(torch.from_numpy(pixels[:, 0, 0, 0].astype(np.float64)))

    def _embed_text(self, text):
        return _at(torch.tensor([float(text.removeprefix(PREFIX).split()[0])], dtype=torch.float64))[0] * 2

    def _embed_tokens(self, text):
        numbers = [int(word) for word in text.split()]
        return numbers, _at(torch.tensor(numbers, dtype=torch.float64)) * 3

    def are_truncated(self, texts):
        return [len(text.split()) > self.limit for text in texts]

    def describe(self):
        return {"model": "angles", "weights": "0" * 64, "preprocess": "pil"}


def _at(degrees):
    radians = torch.deg2rad(degrees)
    return torch.stack([radians.cos(), radians.sin()], -1)


@pytest.fixture
def angles(monkeypatch):
    extractor = Angles("angles", device="cpu", preprocess="pil")
    monkeypatch.setattr(alignment, "open_extractor", lambda name, preprocess="": extractor)
    return extractor


def clip_at(*degrees: int, **fields) -> Sample:
    pixels = np.zeros((len(degrees), 2, 2, 3), np.uint8)
    pixels[:, 0, 0, 0] = degrees
    return Sample(**{"id": "s", "clip": SampleClip.from_frames(Frames.from_pixels(pixels, fps=8)), **fields})


def scored(name: str, *samples: Sample, **settings):
    metric = load_metric(name)(model="angles", **settings)
    metric.prepare()
    metric.update(samples)
    return metric.compute()


def cos(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def test_a12_the_harmonic_mean():
    """Cosine .30 and reference .80: CLIP-S .75, RefCLIP-S .7741935 (clipscore repository's formulas)."""
    from v2t_eval.metrics.clipscore import WEIGHT
    from v2t_eval.metrics.refclipscore import Settings, harmonic

    score = WEIGHT * 0.30
    assert score == pytest.approx(0.75, abs=1e-12)
    assert harmonic(0.0, 0.8, Settings()) == harmonic(0.0, 0.0, Settings()) == 0.0
    assert harmonic(0.75, -0.2, Settings()) == pytest.approx(2 * 0.75 * -0.2 / 0.55)
    assert harmonic(0.75, -0.2, Settings(clamp_references=True)) == 0.0
    with pytest.raises(ItemError, match="cancel out"):
        harmonic(0.5, -0.5, Settings())


def test_a12_through_the_metric(angles):
    near, far = round(math.degrees(math.acos(0.3))), 37  # degrees are whole numbers here
    result = scored("refclipscore", clip_at(near, caption="0", references=("90", "37")))
    score, reference = 2.5 * cos(near), cos(far)
    assert result.value == pytest.approx(2 * score * reference / (score + reference), abs=1e-7)
    assert result.items[0]["clipscore"] == pytest.approx(score, abs=1e-7)
    assert result.items[0]["reference"] == pytest.approx(reference, abs=1e-7), "the best reference, not the first"
    missing = scored("refclipscore", clip_at(10, caption="0"), clip_at(10, caption="0", references=("0",), id="t"))
    assert missing.coverage == 0.5 and missing.failures[0]["code"] == "NO_REFERENCES"


def test_frames_are_clamped_before_the_mean(angles):
    result = scored("clipscore", clip_at(0, 180, caption="0"))
    assert result.value == pytest.approx(1.25, abs=1e-7), "clamped after the mean it would be 0"
    assert scored("clipscore", clip_at(0, 60, 180, caption="0"), frames="middle").value == pytest.approx(1.25, abs=1e-7)
    assert scored("clipsim", clip_at(0, 180, prompt="0")).value == pytest.approx(0, abs=1e-7)


def test_torchmetrics_form_clamps_after_the_mean(angles):
    right, wrong = clip_at(60, prompt="0"), clip_at(180, prompt="0", id="t")
    assert scored("clipsim", right, scale="torchmetrics").value == pytest.approx(50, abs=1e-5)
    both = scored("clipsim", right, wrong, scale="torchmetrics")
    assert both.value == 0 and both.value_range == (-100, 100)
    assert [item["value"] for item in both.items] == pytest.approx([50, -100], abs=1e-5)
    assert "torchmetrics" in both.name and both.fingerprint != scored("clipsim", right).fingerprint


@pytest.mark.slow
def test_torchmetrics_form_is_torchmetrics():
    """The same features through torchmetrics' own function."""
    multimodal = pytest.importorskip("torchmetrics.functional.multimodal.clip_score")
    draw = torch.Generator().manual_seed(0)
    frames, text = torch.randn(4, 8, generator=draw), torch.randn(1, 8, generator=draw)

    class Model(torch.nn.Module):
        device = torch.device("cpu")
        config = type("C", (), {"text_config": type("T", (), {"max_position_embeddings": 77})})

        def get_image_features(self, pixel_values):
            return frames

        def get_text_features(self, input_ids, attention_mask):
            return text.expand(4, -1)

    def processor(**kwargs):
        return {"pixel_values": torch.zeros(4), "input_ids": torch.zeros(4, 2), "attention_mask": torch.zeros(4, 2)}

    scores, num = multimodal._clip_score_update([torch.zeros(3, 2, 2)] * 4, ["a"] * 4, Model(), processor)
    theirs = max(float(scores.mean()), 0.0)
    ours = 100 * alignment.exact_mean(alignment.cosine(frames.numpy(), text.numpy()[0]))
    assert num == 4 and max(ours, 0.0) == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("name", FAMILY)
def test_order_and_doubling_of_frames_are_not_seen_at_all(angles, name):
    draw = np.random.default_rng(0)
    degrees = draw.integers(0, 80, (3, 21)).tolist()
    forms = [degrees, [row[::-1] for row in degrees], [draw.permutation(row).tolist() for row in degrees]]
    forms.append(np.repeat(degrees, 2, axis=1).tolist())
    found = [
        scored(name, *(clip_at(*row, id=str(i), caption=f"{20 * i} 7", prompt=f"{20 * i} 7", references=("9",))
                       for i, row in enumerate(form)))
        for form in forms
    ]  # fmt: skip
    assert all(one.figures == found[0].figures and one.items == found[0].items for one in found)
    assert "order of frames" in load_metric(name).misses


def test_order_of_samples_is_not_seen(angles):
    samples = [clip_at(10 * i, 11 * i, id=str(i), caption=f"{9 * i} 3", prompt=f"{9 * i}", references=("5",))
               for i in range(6)]  # fmt: skip
    for name in FAMILY:
        first, second = scored(name, *samples), scored(name, *samples[::-1])
        assert first.as_dict() == second.as_dict()


def test_prefix_model_and_truncation_are_told(angles):
    short, long = clip_at(10, caption="0"), clip_at(10, caption="0 1", id="t")
    result = scored("clipscore", short, long)
    assert result.counts == {"truncated": 1, "captions": 2, "prompts": 0}, "prefix and two words are five, of four"
    assert scored("clipscore", short, long, prefix="").counts["truncated"] == 0
    assert result.fingerprint["prefix"] == repr(PREFIX) and scored("clipsim", clip_at(1, prompt="0")).fingerprint[
        "prefix"
    ] == repr("")
    assert any("angles" in note for note in result.notes) and any("1 of 2 texts" in note for note in result.notes)


def test_caption_goes_before_prompt_unless_one_is_named(angles):
    both = clip_at(0, caption="0", prompt="90")
    assert scored("clipscore", both).value == pytest.approx(2.5)
    assert scored("clipscore", both, text="prompt").value == pytest.approx(0, abs=1e-7)
    assert scored("clipsim", both).value == pytest.approx(0, abs=1e-7), "CLIPSIM looks at the prompt"
    mixed = scored("clipscore", both, clip_at(0, prompt="0", id="t"))
    assert mixed.counts["captions"] == mixed.counts["prompts"] == 1
    assert any("1 clips were compared with captions" in note for note in mixed.notes)
    none = scored("clipscore", clip_at(0))
    assert none.coverage == 0 and none.failures[0]["code"] == "NO_CAPTION"


def test_settings_are_checked():
    for name, wrong in (
        ("clipscore", {"text": "title"}), ("clipscore", {"frames": "all"}), ("clipsim", {"scale": "100"}),
        ("emscore", {"idf": "maybe"}), ("retrieval", {"k": 3}),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            load_metric(name)(**wrong)


def test_a_model_without_texts_or_tokens_is_refused(angles, monkeypatch):
    monkeypatch.setattr(Angles, "has_tokens", False)
    with pytest.raises(MissingDependencyError, match="single words"):
        scored("emscore", clip_at(0, caption="0"))
    for name, value in (("kind", "text"), ("has_text", False)):
        with monkeypatch.context() as patch, pytest.raises(MissingDependencyError, match="frames and texts"):
            patch.setattr(Angles, name, value)
            scored("clipscore", clip_at(0, caption="0"))


# retrieval


def test_places_with_ties_and_with_clips_of_one_text():
    """Four clips, three texts; the places were counted by hand."""
    clips = np.eye(4)
    words = np.array([[0.9, 0.5, 0.1, 0.2], [0.9, 0.5, 0.1, 0.2], [0.3, 0.9, 0.8, 0.8], [0.9, 0.2, 0.9, 0.9]])
    (clip_places, clip_choices), (text_places, text_choices) = ranks(clips, words, ["a", "a", "b", "c"])
    # "a" (.9 .5 | .1 .2): its first clip beats both others, its second too; "b": .8 behind .9, tied with .8 and
    # ahead of .3; "c": .9 tied twice, ahead of .2.
    assert clip_places.tolist() == [1.0, 1.0, 2.5, 2.0] and clip_choices.tolist() == [3, 3, 4, 4]
    # Clip 0: a .9, b .3, c .9; clip 1: a .5, b .9, c .2; clip 2: b .8, a .1, c .9; clip 3: c .9, a .2, b .8.
    assert text_places.tolist() == [1.5, 2.0, 2.0, 1.0] and text_choices.tolist() == [3, 3, 3, 3]


def test_retrieval_of_what_fits_and_of_what_cannot_be_told_apart(angles):
    samples = [clip_at(7 * i, id=f"{i:02}", prompt=str(7 * i)) for i in range(12)]
    found = scored("retrieval", *samples)
    assert {name: figure.value for name, figure in found.figures.items()} == {
        f"{way}_{what}": 1.0
        for way in ("text_to_video", "video_to_text")
        for what in ("r1", "r5", "r10", "median_rank")
    }
    same = [clip_at(7, id=f"{i:02}", prompt=str(7 * i)) for i in range(12)]
    blind = scored("retrieval", *same)
    assert blind.figures["text_to_video_r1"].value == 0 and blind.figures["text_to_video_median_rank"].value == 6.5
    few = scored("retrieval", *samples[:4])
    assert "text_to_video_r1" in few.figures and "text_to_video_r5" not in few.figures, "5 of 4 is no score"
    alone = scored("retrieval", clip_at(1, prompt="0"), clip_at(2, prompt="0", id="t"))
    assert alone.figures == {} and alone.coverage == 0 and "two different texts" in alone.notes[0]


# EMScore


def test_emscore_by_hand(angles):
    """Frames at 0 and 60 degrees, caption "0 30"; all cosines and IDF written out."""
    sample = clip_at(0, 60, caption="0 30")
    coarse = cos(30)  # the mean of the frames lies at 30, the whole text at 0
    precision, recall = (1 + cos(30)) / 2, (1 + cos(30)) / 2
    fine = f1(precision, recall)
    result = scored("emscore", sample, idf=False)
    assert result.value == pytest.approx((coarse + fine) / 2, abs=1e-6)
    assert result.items[0]["precision"] == pytest.approx(precision, abs=1e-6)
    # With references "0" and "0 5": df of 0 is 2, of 5 is 1, of two texts; 30 was never seen.
    told = scored("emscore", clip_at(0, 60, caption="0 30", references=("0", "0 5")))
    rare, often = math.log(3), math.log(3 / 3)
    precision = (often * 1 + rare * cos(30)) / (often + rare)
    assert told.items[0]["precision"] == pytest.approx(precision, abs=1e-6)
    video = (coarse + f1(precision, recall)) / 2
    assert told.value == pytest.approx(video, abs=1e-6)
    # Against "0": the rare token 30 is best matched by 0; its only token has weight 0, so all weights are equal: 1.
    # Against "0 5": 30 is best matched by 5; recall counts 5 alone (0 weighs nothing): best is 0, cos 5.
    fines = [f1(cos(30), 1.0), f1(cos(25), cos(5))]
    against = (1.0 + max(fines)) / 2  # both references start with 0, as the caption: coarse 1
    assert told.items[0]["against_references"] == pytest.approx(against, abs=1e-6)
    assert told.figures["emscore_ref"].value == pytest.approx((video + against) / 2, abs=1e-6)


def test_weights_of_tokens_are_those_of_the_reference_code():
    """log((N+1)/(c+1)); the end's is the mean over the corpus's tokens with the padding, which weighs 0."""
    weights = Weights([[1, 5, 9], [1, 6, 9], [1, 5, 5, 9]], end=9)
    idf = {1: 0.0, 5: math.log(4 / 3), 6: math.log(4 / 2), 9: (math.log(4 / 3) + math.log(4 / 2)) / 5, 7: math.log(4)}
    for tokens in ([1, 5, 9], [1, 7, 6, 9]):
        raw = np.array([idf[token] for token in tokens])
        np.testing.assert_allclose(weights.of(tokens), raw / raw.sum(), rtol=1e-12)
    assert Weights([[1, 9]], end=9).of([1, 9]).tolist() == [0.5, 0.5], "one text alone says nothing of rarity"
    assert f1(-0.1, 0.11) == 0.0


# The whole way


@pytest.mark.slow
def test_tiny_open_clip_from_pixels_to_score(tmp_path):
    """CLIPScore equals Hessel's formula on open_clip's own preprocessing and model, to 1e-6."""
    open_clip = pytest.importorskip("open_clip")
    from PIL import Image
    from safetensors.torch import save_file

    vision = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
    text = {"context_length": 9, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    model = {"embed_dim": 8, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    torch.manual_seed(1)
    save_file(open_clip.CLIP(**model).state_dict(), tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    name = f"local-dir:{tmp_path}"
    theirs, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenize = open_clip.get_tokenizer(name)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 50, 41, 3)).astype(np.uint8)
    caption, references = "a cat", ("two dogs", "a red cat on a long wall of stone")
    with torch.no_grad():
        images = torch.stack([preprocess(Image.fromarray(frame)) for frame in pixels])
        seen = theirs.eval().encode_image(images, normalize=True)
        said = theirs.encode_text(tokenize([PREFIX + caption]), normalize=True)[0]
        held = theirs.encode_text(tokenize([PREFIX + one for one in references]), normalize=True)
        plain = theirs.encode_text(tokenize([caption]), normalize=True)[0]
    score = float(2.5 * (seen @ said).clamp(min=0).mean())
    near = float((held @ said).max())
    clip = SampleClip.from_frames(Frames.from_pixels(pixels, fps=8))
    sample = Sample(id="s", clip=clip, caption=caption, prompt=caption, references=references)
    results = {}
    for metric_name in FAMILY[:3] + FAMILY[4:]:
        metric = load_metric(metric_name)(model=f"open_clip:{name}")
        metric.prepare()
        metric.update(sample)
        results[metric_name] = metric.compute()
    assert results["clipscore"].value == pytest.approx(score, abs=1e-6)
    assert results["clipsim"].value == pytest.approx(float((seen @ plain).mean()), abs=1e-6)
    expected = 2 * score * near / (score + near) if score else 0.0
    assert results["refclipscore"].value == pytest.approx(expected, abs=1e-5)
    assert results["emscore"].figures["coarse"].value == pytest.approx(
        float(torch.nn.functional.normalize(seen.mean(0), dim=0) @ plain), abs=1e-6
    )
    assert results["clipscore"].fingerprint["quick_gelu"] == "true"
    assert any("QuickGELU true" in note for note in results["clipscore"].notes)
    assert len([key for key in sample.memo if key[0] == "frame features"]) == 1, "embedded once for all metrics"
