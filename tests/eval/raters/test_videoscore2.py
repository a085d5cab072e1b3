"""VideoScore2: where marks are read in what the model writes, and from which chances."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cineloop.errors import ItemError, MissingDependencyError
from cineloop.video.frames import Frames
from tiny_video_models import qwen2_5_vl, qwen2_vl
from v2t_eval.core import models
from v2t_eval.raters import open_rater, qwen, videoscore2
from v2t_eval.raters.videoscore2 import Rater, mark_of

WRITTEN = (
    "The ball keeps its 3 colours (visual quality is fine).\nvisual quality: 4;\n"
    "text-to-video alignment: 2,\nphysical/common-sense consistency: 5"
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qwen, "MIN_PIXELS", 64)
    monkeypatch.setattr(qwen, "MAX_PIXELS", 1024)
    monkeypatch.setattr(videoscore2, "MOST_TOKENS", 6)
    models.release()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("videoscore2") / "made"
    torch.manual_seed(5)
    model, processor = qwen2_5_vl()
    for weight in model.parameters():
        weight.data.normal_(0, 0.2)
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place


def clip() -> Frames:
    return Frames.from_pixels(np.random.default_rng(0).integers(0, 256, (12, 24, 32, 3)).astype(np.uint8), 4)


def opened(folder: Path, mode: str = "fixed") -> Any:
    rater = open_rater(f"videoscore2:{folder}", mode)
    assert isinstance(rater, Rater)
    return rater


def published(logits: torch.Tensor, digits: list[int]) -> float:
    """The published reading: the likeliest mark times its share of the five."""
    probabilities = [float(np.exp(torch.log_softmax(logits, -1)[number].item())) for number in digits]
    best = int(np.argmax(probabilities))
    return (best + 1) * probabilities[best] / sum(probabilities)


def expected(logits: torch.Tensor, digits: list[int]) -> float:
    return float((logits[digits].softmax(-1) * torch.arange(1, 6)).sum())


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "formula"), [("compat", published), ("fixed", expected)])
def test_marks_are_read_where_they_are_written(folder: Path, mode: str, formula: Any) -> None:
    rater = opened(folder, mode)
    tokenizer = rater._processor.tokenizer
    written = tokenizer.encode(WRITTEN, add_special_tokens=False)
    draws = torch.Generator().manual_seed(1)
    logits = [torch.randn(len(tokenizer) + 10, generator=draws) * 3 for _ in written]
    rating = rater.read(written, logits)
    places = [WRITTEN.index(f"{label} ") + len(label) + 1 for label in videoscore2.LABELS.values()]
    assert [WRITTEN[place] for place in places] == ["4", "2", "5"]  # bytes are tokens, but for words of one prompt
    at = [len(tokenizer.encode(WRITTEN[:place], add_special_tokens=False)) for place in places]
    digits = [tokenizer.encode(str(mark), add_special_tokens=False)[0] for mark in range(1, 6)]
    wanted = [formula(logits[place], digits) for place in at]
    assert list(rating.marks.values()) == pytest.approx(wanted, rel=1e-5)
    assert rating.overall == pytest.approx(sum(wanted) / 3, rel=1e-5) and rating.reasons == WRITTEN


def test_the_two_formulas() -> None:
    assert mark_of([0, 0.1, 0.2, 0.3, 0.4], compat=True) == pytest.approx(2.0)  # a wavering 5 ...
    assert mark_of([0, 1.0, 0, 0, 0], compat=True) == pytest.approx(2.0)  # ... is a sure 2
    assert mark_of([0, 0.1, 0.2, 0.3, 0.4], compat=False) == pytest.approx(4.0)
    assert mark_of([0, 0.05, 0.1, 0.15, 0.2], compat=False) == pytest.approx(
        4.0
    )  # the rest of the vocabulary is left out
    with pytest.raises(ItemError):
        mark_of([0.0] * 5, compat=False)


@pytest.mark.slow
def test_replies_without_marks_are_unread(folder: Path) -> None:
    rater = opened(folder)
    tokenizer = rater._processor.tokenizer
    for text in (
        "",
        "visual quality: good",
        WRITTEN.replace("alignment: 2", "alignment: 7"),
        WRITTEN.replace("alignment: 2", "alignment: 23"),
        WRITTEN[:-1],
    ):
        written = tokenizer.encode(text, add_special_tokens=False)
        with pytest.raises(ItemError) as error:
            rater.read(written, [torch.zeros(len(tokenizer))] * len(written))
        assert error.value.code == "UNREAD"


@pytest.mark.slow
def test_the_logits_that_are_read_are_those_of_a_plain_forward_pass(folder: Path) -> None:
    rater = opened(folder)
    given: dict[str, Any] = {}
    real, rater.read = rater._model.generate, lambda written, logits: given.update(written=written, logits=logits)
    sent: dict[str, Any] = {}

    def generate(**inputs: Any) -> Any:
        sent.update(inputs)
        return real(**inputs)

    rater._model = SimpleNamespace(generate=generate, device=rater._model.device, whole=rater._model)
    rater.rate(clip(), "A red ball.")
    model, written = rater._model.whole, given["written"]
    assert "A red ball." in rater._processor.tokenizer.decode(sent["input_ids"][0])
    assert sent["do_sample"] is False and 1 <= len(written) <= 6
    inputs = {
        name: sent[name] for name in ("pixel_values_videos", "video_grid_thw", "second_per_grid_ts") if name in sent
    }
    assert float(torch.as_tensor(inputs["second_per_grid_ts"])[0]) == 1.0  # two frames a second, joined in pairs
    more = torch.tensor([written[:-1]], dtype=torch.long)
    for name, fill in (("input_ids", more), ("attention_mask", torch.ones_like(more)), ("mm_token_type_ids", 0 * more)):
        if name in sent:
            inputs[name] = torch.cat([sent[name], fill], 1)
    with torch.no_grad():
        whole = model(**inputs).logits[0, -len(written) :]
    assert torch.allclose(torch.stack(given["logits"]), whole, atol=1e-4)
    assert whole.argmax(-1).tolist() == written


@pytest.mark.slow
def test_another_model_is_refused(tmp_path: Path) -> None:
    model, processor = qwen2_vl()
    model.save_pretrained(tmp_path / "other")
    processor.save_pretrained(tmp_path / "other")
    with pytest.raises(MissingDependencyError) as error:
        open_rater(f"videoscore2:{tmp_path / 'other'}", "fixed")
    assert error.value.code == "MODEL"
