"""Figures on held-out clips while a captioner trains: what its heads know, what its captions say.

In: a captioner and clips of the world with their truth. Out: shares in [0, 1], captions compared as `v2t-eval score`
compares them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from cineloop.training.loader import Source, stream
from cineloop.training.runtime import to_device
from cineloop.world.language.comparison import compare
from cineloop.world.language.read_text import parse
from cineloop.world.language.words import PROMPTS
from v2t.data.chat import IGNORE, Turn, pieces
from v2t.data.collate import Batch
from v2t.train.caption_task import CaptionTask


def draw(source: Source, count: int, size: int, workers: int) -> list[Batch]:
    """The first `count` samples of a source, in batches of `size`."""
    wanted = [(start, min(size, count - start)) for start in range(0, count, size)]
    return list(stream(source, wanted, workers=workers))


def head_figures(task: CaptionTask, batches: Iterable[Batch], device: torch.device) -> dict[str, float]:
    """Share right per fact head, and over all facts as `heads`; event times count within one bin."""
    totals: dict[str, list[float]] = {}
    if task.heads is None:
        return {}
    for batch in batches:
        batch = to_device(batch, device)
        for name, logits in task.heads(task.query_tokens(batch)).items():
            guess, true = logits.argmax(-1), batch[f"fact_{name}"]
            known = true != IGNORE
            near = 1 if name.endswith(("_start", "_end")) else 0
            row = totals.setdefault(name, [0.0, 0.0])
            row[0] += float((((guess - true).abs() <= near) & known).sum())
            row[1] += float(known.sum())
    every = [sum(column) for column in zip(*totals.values(), strict=True)]
    return {name: right / max(1.0, count) for name, (right, count) in {"heads": every, **totals}.items()}


def token_figures(task: CaptionTask, batches: Iterable[Batch], device: torch.device) -> dict[str, float]:
    """Loss and share right over answer tokens, the truth given so far."""
    loss, right, count = 0.0, 0.0, 0.0
    for batch in batches:
        batch = to_device(batch, device)
        part, (part_right, part_count) = task.answers(batch, task.query_tokens(batch))
        loss, right, count = loss + float(part), right + float(part_right), count + part_count
    return {"loss": loss / max(1.0, count), "tokens_right": right / max(1.0, count)}


def caption_figures(
    task: CaptionTask,
    batches: Iterable[Batch],
    clip_texts: Sequence[str],
    facts: Sequence[dict[str, Any]],
    tokenizer: Any,
    device: torch.device,
    style: str = "short",
    max_new_tokens: int = 80,
) -> tuple[dict[str, float], list[str]]:
    """Shares of facts right in captions written for one-segment clips, and the captions.

    Args:
        clip_texts, facts: what stands for each clip in the prompt, and its truth.
    """
    texts: list[str] = []
    for batch in batches:
        visual = task.model.model.projector(task.query_tokens(to_device(batch, device)))  # (S, Q, D_llm)
        shown = clip_texts[len(texts) : len(texts) + len(visual)]
        texts += write_captions(task.model, visual, shown, tokenizer, style, max_new_tokens)
    totals: dict[str, list[int]] = {"joint": [0, 0], "facts": [0, 0]}
    for text, true in zip(texts, facts, strict=True):
        comparison = compare(parse(text), true, style)
        counts = {name: (tally.right, tally.num) for name, tally in comparison.tallies.items()}
        total = comparison.total
        for name, (right, of) in {
            **counts,
            "facts": (total.right, total.num),
            "joint": (int(comparison.joint), 1),
        }.items():
            row = totals.setdefault(name, [0, 0])
            row[0], row[1] = row[0] + right, row[1] + of
    return {f"caption_{name}": right / max(1, of) for name, (right, of) in totals.items()}, texts


def texts_of_clips(processor: Any, times_s: torch.Tensor, mask: torch.Tensor) -> list[str]:
    """What stands for each one-segment clip in a prompt, from seconds and mask (S, F)."""
    return [processor.clip_text(times[known].tolist()) for times, known in zip(times_s, mask, strict=True)]


def write_captions(
    model: Any,
    visual: torch.Tensor,
    clip_texts: Sequence[str],
    tokenizer: Any,
    style: str,
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
) -> list[str]:
    """Captions from visual tokens (S, Q, D_llm), one segment a clip; greedy, or above temperature 0 drawn."""
    prompts = []
    for clip_text in clip_texts:
        chat = pieces([Turn("user", PROMPTS[style], clips=1), Turn("assistant", "")], [clip_text])
        ids: list[int] = []
        for text, _ in chat[:2]:
            ids += tokenizer.encode(text, add_special_tokens=False)
        prompts.append(ids)
    longest = max(map(len, prompts))
    pad = tokenizer.pad_token_id
    padded = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts], device=visual.device)  # (S, L)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=visual.device)
    how = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    written = model.generate(
        input_ids=padded, attention_mask=mask, visual_tokens=visual, max_new_tokens=max_new_tokens, **how
    )
    return [text.strip() for text in tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)]
