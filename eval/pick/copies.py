"""The guard against copies: how many clips of a checkpoint show a clip of its training set.

In: the training set, clips of a checkpoint for held-out prompts and for some prompts of that set. Out: `CopyCount`s,
and whether there are more near copies than are tolerated, beyond chance (binomial, one-sided). A clip is a near copy
where no more than `copy_share` of five of its frames differs from those of a training clip, or of its mirror image.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from cineloop.errors import NothingMatchedError
from cineloop.log import logger
from t2v.data.layouts import read_items
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.core.inputs import read_inputs
from v2t_eval.core.sample import Sample
from v2t_eval.core.sequential import spent_until
from v2t_eval.near.search import nearest_clips
from v2t_eval.pick.draw import PromptRow
from v2t_eval.pick.result import CopyCount
from v2t_eval.pick.settings import PickConfig

ALPHA = 0.05  # of ever counting a checkpoint as copying that does not


class CopyGuard:
    """The training set of a pick, read once.

    Raises:
        NothingMatchedError, UsageError: there is no clip; see `v2t_eval.core.inputs.read_inputs`.
    """

    def __init__(self, place: Path, config: PickConfig, measuring: ExecutorConfig) -> None:
        self.place, self.config, self.measuring = place, config, measuring
        self.known = [sample for sample in read_inputs(place).samples if sample.clip is not None]
        if not self.known:
            raise NothingMatchedError(f"{place} holds no clip that could be copied")

    def prompt_rows(self) -> list[PromptRow]:
        """Some prompts of the set, as rows to draw for; none where its clips have no words."""
        if not self.config.training_prompts:
            return []
        try:
            items = [item for item in read_items([self.place], on_bad="skip") if item.prompts]
        except NothingMatchedError:
            items = []
        prompts = list(dict.fromkeys(item.prompts[0] for item in items))
        random.Random(self.config.seed).shuffle(prompts)
        if not prompts:
            logger.warning("the clips of %s have no words: copies are looked for in held-out clips alone", self.place)
        chosen = prompts[: self.config.training_prompts]
        return [{"id": f"training-{n:04}", "prompt": prompt, "seed": self.config.seed}
                for n, prompt in enumerate(chosen)]  # fmt: skip

    def count(self, clips: Sequence[Sample], stop: Callable[[], bool]) -> CopyCount:
        """The near copies among clips of a checkpoint."""
        drawn = [sample for sample in clips if sample.clip is not None]
        nearest = nearest_clips(self.known, drawn, self.measuring, most_differs=self.config.copy_share, stop=stop)
        pairs = [(id, one.id, one.share) for id, one in nearest.items()]
        return CopyCount(num=len(drawn), pairs=tuple(sorted(pairs, key=lambda pair: pair[2])))

    def is_copying(self, counts: Sequence[CopyCount], look: int, num_checkpoints: int) -> bool:
        """Whether one of the counts is beyond what is tolerated, by what this look may spend of `ALPHA`."""
        from scipy.stats import binom  # type: ignore[import-untyped]

        level = (spent_until(ALPHA, look) - spent_until(ALPHA, look - 1)) / max(len(counts) * num_checkpoints, 1)
        return any(
            count.pairs and binom.sf(len(count.pairs) - 1, count.num, self.config.tolerated_copies) < level
            for count in counts
        )
