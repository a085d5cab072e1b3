"""`videoscore2:ID_OR_FOLDER`: VideoScore2 (He et al. 2025, arXiv:2509.22799), three marks of 1 to 5 with reasons.

A Qwen2.5-VL, such as `videoscore2:TIGER-Lab/VideoScore2`, is shown two frames a second and the query of its model card,
and writes reasons and the marks of visual quality, text alignment and physical consistency. A mark is read where the
model writes it, from the chances p of "1" .. "5" at that place. Published is s* p(s*) / sum p, s* the likeliest, which
takes a sure 2 (p = 1) to 2 and a wavering 5 (p = .4) to 2 as well: mode `compat`. `fixed` is the expectation
sum s p(s) / sum p. `overall` is the mean of the three. The published script samples at temperature 0.7, so that a clip
gets another mark each time; here the likeliest token is taken, and p is the model's own, before any temperature.
Letters: L tokens written, V vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cineloop.errors import ItemError, MissingDependencyError
from cineloop.training.runtime import find_dtype
from cineloop.video.frames import Frames
from v2t_eval.core import models
from v2t_eval.extractors import hub
from v2t_eval.raters import Rating, qwen

FPS = 2.0
MOST_TOKENS = 1024
# Of the model card and its script, which the model was trained on: line ends, indents and spaces count.
QUERY = (
    "\n"
    "    You are an expert for evaluating AI-generated videos from three dimensions:\n"
    "    (1) visual quality – clarity, smoothness, artifacts;\n"  # noqa: RUF001 - the model's own dash
    "    (2) text-to-video alignment – fidelity to the prompt;\n"  # noqa: RUF001
    "    (3) physical/common-sense consistency – naturalness and physics plausibility.\n"  # noqa: RUF001
    "\n"
    "    Video prompt: {}\n"
    "\n"
    "    Please output in this format:\n"
    "    visual quality: <v_score>; \n"
    "    text-to-video alignment: <t_score>, \n"
    "    physical/common-sense consistency: <p_score>\n"
    "    "
)
LABELS = {
    "visual_quality": "visual quality:",
    "text_alignment": "text-to-video alignment:",
    "physical_consistency": "physical/common-sense consistency:",
}
MARKS = (1, 2, 3, 4, 5)


class Rater:
    """See `v2t_eval.raters.RaterLike`."""

    dimensions = tuple(LABELS)

    def __init__(self, where: str, mode: str) -> None:
        self.name, self._mode = f"videoscore2:{where}", mode
        self._folder = hub.model_folder(where, "videoscore2")
        kind = hub.config_of(self._folder).get("model_type")
        if kind != "qwen2_5_vl":
            raise MissingDependencyError(f"{where} holds a {kind!r}, VideoScore2 is a 'qwen2_5_vl'", code="MODEL")
        device = models.device()
        self._dtype = find_dtype("auto", device)
        self._model = hub.load_model("Qwen2_5_VLForConditionalGeneration", self._folder, device, dtype=self._dtype)
        self._processor = qwen.open_processor(self._folder)
        encoded = [self._processor.tokenizer.encode(str(mark), add_special_tokens=False) for mark in MARKS]
        if any(len(ids) != 1 for ids in encoded):
            raise MissingDependencyError(f"the tokenizer in {where} has no single tokens for 1 to 5", code="MODEL")
        self._digits = [ids[0] for ids in encoded]

    def fingerprint(self) -> dict[str, str]:
        stated = f"{FPS:g} frames a second, likeliest token, {MOST_TOKENS} at most"
        return hub.about(self.name, self._folder, self._model, stated) | {"dtype": self._dtype, "formula": self._mode}

    def rate(self, frames: Frames, prompt: str) -> Rating:
        import torch

        qwen.refuse_control_tokens(self._processor.tokenizer, prompt)
        inputs = qwen.inputs_of(self._processor, frames, QUERY.format(prompt), fps=FPS).to(self._model.device)
        with torch.inference_mode():
            made = self._model.generate(
                **inputs, max_new_tokens=MOST_TOKENS, do_sample=False, return_dict_in_generate=True, output_logits=True
            )
        written = made.sequences[0, inputs["input_ids"].shape[1] :].tolist()  # (L,)
        logits = [step[0].float().cpu() for step in made.logits]  # L of (V,)
        return self.read(written, logits)

    def read(self, written: Sequence[int], logits: Sequence[Any]) -> Rating:
        """The marks in what the model wrote: numbers of its tokens (L,), and the logits (V,) of each.

        Raises:
            ItemError: UNREAD, a mark is missing or none of 1 to 5.
        """
        tokenizer = self._processor.tokenizer
        text = tokenizer.decode(written, skip_special_tokens=True)
        marks = {}
        for name, label in LABELS.items():
            place = place_of_mark(written, label, tokenizer)
            if place is None:
                raise ItemError(f"{self.name} gave no mark for {label!r} in {text[-200:]!r}", code="UNREAD")
            chances = logits[place].softmax(-1)[self._digits].tolist()
            marks[name] = mark_of(chances, compat=self._mode == "compat")
        return Rating(marks=marks, overall=sum(marks.values()) / len(marks), reasons=text.strip())


def mark_of(chances: Sequence[float], *, compat: bool) -> float:
    """The mark of the chances of 1 to 5, see the module's head.

    Raises:
        ItemError: UNREAD, all of them are 0.
    """
    total = sum(chances)
    if not total > 0:
        raise ItemError("none of the marks 1 to 5 has a chance", code="UNREAD")
    if compat:
        best = max(chances)
        return MARKS[list(chances).index(best)] * best / total
    return sum(mark * chance for mark, chance in zip(MARKS, chances, strict=True)) / total


def place_of_mark(written: Sequence[int], label: str, tokenizer: Any) -> int | None:
    """The place of the token that ends in the first digit after the label; None where it is no 1 to 5, or none."""
    text = tokenizer.decode(written, skip_special_tokens=False)
    match = re.search(re.escape(label) + r"\D*(\d+)", text, re.IGNORECASE)
    if match is None or match[1] not in {str(mark) for mark in MARKS}:
        return None
    wanted = text[: match.start(1) + 1]
    for place in range(len(written)):
        if tokenizer.decode(written[: place + 1], skip_special_tokens=False) == wanted:
            return place
    return None
