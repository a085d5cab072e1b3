"""Figures on held-out clips while a captioner trains: what its heads know, what its captions say.

In: a captioner and clips of the world with their truth. Out: shares in [0, 1]. These are quick figures to steer a
training by; the product's own measure is `v2t-eval score`, which lies above this layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from v2t.base.runtime import to_device
from v2t.data.chat import IGNORE, Turn, pieces
from v2t.data.collate import Batch
from v2t.train.caption_task import CaptionTask
from v2t.world.read_text import parse
from v2t.world.stated import Stated, truth
from v2t.world.words import PROMPTS

Share = tuple[float, float]  # right, of


def compare(text: str, facts: dict[str, Any]) -> dict[str, Share]:
    """What a caption says rightly: (right, of) for place, actor, color, count, action, direction, order, all."""
    said, true = parse(text), truth(facts)
    found = {
        "place": _same([s.place for s in said.shots], [s.place for s in true.shots]),
        "actor": _overlap([a.kind for a in said.actors], [a.kind for a in true.actors]),
        "color": _overlap([(a.kind, a.color) for a in said.actors], [(a.kind, a.color) for a in true.actors]),
        "count": _overlap([(a.kind, a.count) for a in said.actors], [(a.kind, a.count) for a in true.actors]),
        "action": _overlap(_acts(said), _acts(true)),
    }
    directed = [(kind, action, event.direction) for (kind, action), event in _told(true) if event.direction]
    if directed:
        found["direction"] = _overlap([(k, a, e.direction) for (k, a), e in _told(said) if e.direction], directed)
    if len(true.steps()) > 1:
        order = [sorted(e.action for e in step) for step in true.steps()]
        found["order"] = (float([sorted(e.action for e in step) for step in said.steps()] == order), 1.0)
    found["all"] = (float(all(right == of for right, of in found.values())), 1.0)
    return found


def _told(stated: Stated) -> list[tuple[tuple[str | None, str], Any]]:
    """Events with the kind of their actor."""
    actors = stated.actors
    return [
        ((actors[e.actor].kind if e.actor is not None and e.actor < len(actors) else None, e.action), e)
        for e in stated.events
    ]


def _acts(stated: Stated) -> list[tuple[str | None, str]]:
    return [pair for pair, _ in _told(stated)]


def _same(said: Sequence[Any], true: Sequence[Any]) -> Share:
    return float(sum(a == b for a, b in zip(said, true, strict=False))), float(len(true))


def _overlap(said: Sequence[Any], true: Sequence[Any]) -> Share:
    """How many of the true ones are said, each as often as it is true."""
    return float(sum((Counter(said) & Counter(true)).values())), float(len(true))


def head_figures(task: CaptionTask, batches: Iterable[Batch], device: torch.device) -> dict[str, float]:
    """Share right per fact head; event times count within one bin."""
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
    return {name: right / max(1.0, count) for name, (right, count) in totals.items()}


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
        batches: clips, in order.
        clip_texts, facts: what stands for each clip in the prompt, and its truth.
    """
    texts: list[str] = []
    for batch in batches:
        visual = task.model.model.projector(task.query_tokens(to_device(batch, device)))  # (S, Q, D_llm)
        shown = clip_texts[len(texts) : len(texts) + len(visual)]
        texts += write_captions(task.model, visual, shown, tokenizer, style, max_new_tokens)
    totals: dict[str, list[float]] = {}
    for text, true in zip(texts, facts, strict=True):
        for name, (right, of) in compare(text, true).items():
            row = totals.setdefault(name, [0.0, 0.0])
            row[0], row[1] = row[0] + right, row[1] + of
    return {f"caption_{name}": right / max(1.0, of) for name, (right, of) in totals.items()}, texts


def write_captions(
    model: Any, visual: torch.Tensor, clip_texts: Sequence[str], tokenizer: Any, style: str, max_new_tokens: int
) -> list[str]:
    """Greedy captions from visual tokens (S, Q, D_llm), one segment a clip."""
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
    written = model.generate(
        input_ids=padded, attention_mask=mask, visual_tokens=visual, max_new_tokens=max_new_tokens, do_sample=False
    )
    return [text.strip() for text in tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)]
