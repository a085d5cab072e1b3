"""Stage `preference`: the captioner learns to say what it is known to prefer, on pairs of answers about a clip (DPO).

In: a captioner, pairs of {clip, prompt, chosen, rejected} (`v2t.data.preferences`). Out: as stage `instruct`: `final/`,
and `final/adapter/` where only adapters learned. Direct preference optimisation (arXiv:2305.18290): with m the
log-probability of an answer under the policy less that under the reference, the loss of a pair is
-log sigmoid(beta * (m(chosen) - m(rejected))), ln 2 before the first step. `chosen_weight` adds the mean loss of the
chosen answers' tokens (RPO, arXiv:2404.19733), without which both answers may become unlikely. The reference is the
model before its first step: its log-probabilities are computed once, before training, and kept as `reference.json` in
the run folder, so that no second model is held. Letters: n pairs.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from cineloop.documents import read_json
from cineloop.errors import UsageError
from cineloop.files import text_key, write_atomic
from cineloop.tensor_cache import TensorCache
from cineloop.training import runtime, sharding
from cineloop.training.loader import Source, stream
from v2t.data.chat import IGNORE
from v2t.data.collate import Batch
from v2t.data.manifest_clips import ManifestClip
from v2t.data.preferences import ANSWERS, KEPT, PreferenceSource, Reference, pair_key, read_pairs, whole_pairs
from v2t.train import instruct
from v2t.train.caption_task import CaptionTask
from v2t.train.captioner import plan_pieces as plan_pieces

REFERENCE_FILE, TOKENS = "reference.json", "tokens"


@dataclass(frozen=True, kw_only=True)
class Config(instruct.Config):
    """Which pairs, and how far from the reference.

    `manifests` are `preferences.jsonl` files (a twentieth of the pairs is held out unless `eval_manifests` are named),
    `root` the folder that their paths are relative to, by default their own. `beta` is how much the log-probabilities
    may move: small moves far. `chosen_weight` is that of the chosen answers' next-token loss, 0 for none;
    `pairs_weight` that of the pairs (0 teaches the chosen answers alone, for comparison). `keep_tokens` keeps the
    clips' query tokens in the run folder (25 KB a clip at the starter's size), so that each is decoded and encoded
    once, where tower and resampler are frozen and one process trains. The rest is as in `instruct`; `shards`, `clips`
    and `rounds` do not go with pairs.
    """

    root: Path | None = None
    beta: float = 0.1
    pairs_weight: float = 1.0
    chosen_weight: float = 0.0
    keep_tokens: bool = False

    conversations: ClassVar[int] = len(ANSWERS)  # of a clip, for `--plan`

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shards or self.rounds > 1:
            raise ValueError("shards and rounds do not go with preference pairs")
        if not self.manifests:
            raise ValueError("give manifests: files of preference pairs")
        if not 0 < self.beta < math.inf:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        weights = (self.pairs_weight, self.chosen_weight)
        if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            raise ValueError(f"pairs_weight and chosen_weight must be at least 0, and one above it, got {weights}")
        rates = self.loop.optim.lr
        if self.keep_tokens and (rates.get("vision_tower", 1.0) or rates.get("resampler", 1.0)):
            raise ValueError("keep_tokens keeps what tower and resampler give; freeze both: loop.optim.lr.resampler=0")


def dpo_loss(log_probs: torch.Tensor, reference: torch.Tensor, beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss and the margin beta * (m(chosen) - m(rejected)) of each pair (n,).

    Args:
        log_probs, reference: (n, 2) log-probabilities of the chosen and the rejected answer.
    """
    moved = log_probs - reference  # (n, 2)
    margin = beta * (moved[:, 0] - moved[:, 1])  # (n,)
    return -F.logsigmoid(margin), margin


class PreferenceTask(CaptionTask):
    """A captioner with the loss of pairs.

    Args:
        says_chosen: whether the chosen answers' next-token loss is a term too.
    """

    def __init__(self, model: Any, *, beta: float, says_chosen: bool = False, row_tokens: int = 0) -> None:
        super().__init__(model, row_tokens=row_tokens)
        self.beta, self.says_chosen = beta, says_chosen

    def forward(self, batch: Batch) -> dict[str, Any]:
        """Loss sums "pairs" and maybe "chosen", the mean over an answer's tokens; pairs whose margin is above 0."""
        log_probs, known = self.pair_log_probs(batch), whole_pairs(batch)
        loss, margin = dpo_loss(log_probs[known], batch["reference"][known], self.beta)
        terms, count = {"pairs": loss.sum()}, known.sum()
        if self.says_chosen:
            lengths = (batch["labels"][:, 1:] != IGNORE).sum(1).view(-1, len(ANSWERS))[:, 0]  # (n,)
            terms["chosen"] = -(log_probs[known, 0] / lengths[known]).sum()
        metrics = {"pairs_right": ((margin > 0).sum(), count), "margin": (margin.detach().sum(), count)}
        return {"terms": terms, "metrics": metrics}

    def pair_log_probs(self, batch: Batch) -> torch.Tensor:
        """Log-probabilities (n, 2) of the chosen and the rejected answers; a clip's visual tokens serve both."""
        return self.log_probs(batch, self.query_tokens(batch)).view(-1, len(ANSWERS))


class PreferenceStage(instruct.InstructStage):
    """See the module's head."""

    name, unit = "preference", "pairs"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.pairs: Config = config
        self.terms = {"pairs": config.pairs_weight}
        self.terms |= {"chosen": config.chosen_weight} if config.chosen_weight else {}
        self._task: PreferenceTask | None = None
        self._reference: Reference = {}
        self._tokens: TensorCache | None = None  # filled with the reference

    def task_of(self, model: Any, row_tokens: int) -> CaptionTask:
        self._task = PreferenceTask(
            model, beta=self.pairs.beta, says_chosen=self.pairs.chosen_weight > 0, row_tokens=row_tokens
        )
        return self._task

    def source(self) -> Source:
        """Training pairs with their reference, which is computed here: the loop has put the model on its device, and
        has not loaded a checkpoint yet."""
        if not self._reference:
            self._reference = self._known_reference([clip for clips in self._split() for clip in clips])
        return self._files(self._split()[0], self.config.data_seed)

    def counts(self, batch: Batch) -> dict[str, float]:
        count = float(whole_pairs(batch).sum())
        return dict.fromkeys(self.terms, count)

    def evaluate(self, task: CaptionTask, device: torch.device) -> dict[str, float]:
        """Loss, margin and share of held-out pairs whose chosen answer gained more. `score`: less the loss."""
        loss, margin, right, count = 0.0, 0.0, 0.0, 0.0
        for batch in self._batches:
            output = task(runtime.to_device(batch, device))
            pairs_right, num = output["metrics"]["pairs_right"]
            loss, right, count = loss + float(output["terms"]["pairs"]), right + float(pairs_right), count + float(num)
            margin += float(output["metrics"]["margin"][0])
        count = max(count, 1.0)
        return {"score": -loss / count, "loss": loss / count, "margin": margin / count, "pairs_right": right / count}

    def _check_first_batch(self) -> None:
        """Pairs are read, and their labels checked, when the reference is computed."""

    def _read(self, files: Sequence[Path]) -> list[ManifestClip]:
        return read_pairs(files, self.pairs.root)

    def _files(self, clips: list[ManifestClip], seed: int) -> PreferenceSource:
        config = self.config
        values = (self._reference, self._tokens)
        return PreferenceSource(clips, self._processor, seed, config.max_length, config.on_bad, *values)

    def _split(self) -> tuple[list[ManifestClip], list[ManifestClip]]:
        """As of `instruct`; once the reference is known, without the pairs whose clip was skipped."""
        train, held_out = super()._split()
        if not self._reference:
            return train, held_out
        known = [[clip for clip in clips if pair_key(clip) in self._reference] for clips in (train, held_out)]
        if not all(known):
            raise UsageError("no clip of the training pairs, or of those held out, can be read", hint="see the log")
        return known[0], known[1]

    def _known_reference(self, clips: list[ManifestClip]) -> Reference:
        """From the run folder, where it is of these pairs, of this model; else computed and kept there."""
        path, key = self.config.out / REFERENCE_FILE, self._reference_key(clips)
        if self.pairs.keep_tokens:
            self._tokens = TensorCache(self.config.out / TOKENS, key)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = read_json(path)
            if kept["key"] == key and (self._tokens is None or all(name in self._tokens for name in kept["log_probs"])):
                return {name: (chosen, rejected) for name, (chosen, rejected) in kept["log_probs"].items()}
        log_probs = self._compute_reference(clips)
        if _rank() == 0:
            write_atomic(path, json.dumps({"key": key, "log_probs": log_probs}, allow_nan=False, indent=0).encode())
        return log_probs

    def _reference_key(self, clips: list[ManifestClip]) -> str:
        """What the reference depends on, as a short hash."""
        from v2t.backends.local import revision_of

        config = self.config
        model = [config.model, config.vision, config.llm, config.dtype, config.quantize, config.max_length]
        if config.model is not None and Path(config.model).is_dir():
            model.append(revision_of(Path(config.model)))
        about = [model, runtime.resolve(config.runtime), list(map(pair_key, clips))]
        return text_key(repr(about).encode("utf-8", "surrogatepass"))

    def _compute_reference(self, clips: list[ManifestClip]) -> Reference:
        """Each process computes its share. A pair whose clip was skipped gets none."""
        if self._task is None:
            raise UsageError("the reference of preference pairs needs the model: build the stage first")
        config, task = self.config, self._task
        rank, world, size = _rank(), _world(), config.loop.micro_batch or 16
        if self.pairs.keep_tokens and world > 1:
            raise UsageError("keep_tokens goes with one process only", hint="keep_tokens: false")
        source = PreferenceSource(clips, self._processor, config.data_seed, config.max_length, config.on_bad)
        wanted = [(start, min(size, len(clips) - start)) for start in range(rank * size, len(clips), world * size)]
        device, precision = runtime.resolve(config.runtime)
        log_probs: Reference = {}
        tokens: dict[str, tuple[torch.Tensor, ...]] = {}
        with _evaluating(task), torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            where = next(task.parameters()).device
            for (start, count), batch in zip(wanted, stream(source, wanted, workers=config.loop.workers), strict=True):
                moved = runtime.to_device(batch, where)
                query_tokens = task.query_tokens(moved)  # (S, Q, D)
                values = task.log_probs(moved, query_tokens).view(-1, len(ANSWERS)).tolist()
                names = [source.key(number) for number in range(start, start + count)]
                known = whole_pairs(batch).tolist()
                log_probs |= {name: (a, b) for name, (a, b), there in zip(names, values, known, strict=True) if there}
                if self._tokens is not None:
                    counts = batch["row_counts"][:: len(ANSWERS)].tolist()
                    each = (query_tokens.float().cpu(), batch["times_s"], batch["mask"])
                    tokens |= zip(names, zip(*(part.split(counts) for part in each), strict=True), strict=True)
        if self._tokens is not None:
            self._tokens.fill(tokens.items(), lambda each: dict(zip(KEPT, each, strict=True)))
        if world == 1:
            return log_probs
        shares: list[Any] = [None] * world
        torch.distributed.all_gather_object(shares, log_probs)
        return {name: pair for share in shares for name, pair in share.items()}


@contextlib.contextmanager
def _evaluating(task: nn.Module) -> Iterator[None]:
    """Without dropout, and with the random state and the mode of each part as they were afterwards."""
    training = [module for module in task.modules() if module.training]
    with runtime.kept_rng(), sharding.whole(task):
        task.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def _world() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


build_stage = PreferenceStage
