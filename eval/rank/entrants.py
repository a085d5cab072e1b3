"""Generators to be ranked: folders of clips made for the same prompts, paired clip by clip.

In: folders as `v2t_eval.core.inputs` reads them. Out: `Entrant`s, pairs of their clips, and of a vote the clips it is
about. Clips of two generators belong together by their prompt, the n-th by id with the n-th; clips without a prompt by
their id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from cineloop.errors import ItemError, NothingMatchedError, UsageError, did_you_mean
from cineloop.log import printable
from v2t_eval.core.inputs import read_inputs
from v2t_eval.core.sample import Sample
from v2t_eval.core.tables import names_of, stem_of
from v2t_eval.rank.votes import PairVote


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A generator: its name, folder, and clips, whose ids begin with the name."""

    name: str
    folder: Path
    samples: tuple[Sample, ...]
    by_prompt: dict[str, list[Sample]] = field(default_factory=dict)
    by_name: dict[str, list[Sample]] = field(default_factory=dict)

    def clips_of(self, prompt: str, clip: str) -> list[Sample]:
        """The clips that a vote is about: the named one, or all of the prompt, which is a text, a `prompt_id` or the id
        of a clip.

        Raises:
            ItemError: UNKNOWN_CLIP.
        """
        of_prompt = self.by_prompt.get(prompt) or self.by_name.get(prompt) or []
        named = self.by_name.get(clip) or self.by_name.get(stem_of(clip)) or [] if clip else of_prompt
        if not named:
            what = f"a clip {printable(clip, 60)!r}" if clip else f"a clip for the prompt {printable(prompt, 60)!r}"
            raise ItemError(f"{self.name} has no {what.removeprefix('a ')}", code="UNKNOWN_CLIP")
        return named


def read_entrants(folders: Sequence[Path], prompts: Path | None = None) -> list[Entrant]:
    """The generators of folders, named by their folders' names.

    Args:
        prompts: of the clips of every folder, in the forms of `v2t-eval score`.

    Raises:
        UsageError: fewer than two folders, two of one name, or one that cannot be read. NothingMatchedError: a folder
            without a clip.
    """
    names = [folder.resolve().name if folder.is_dir() else folder.resolve().parent.name for folder in folders]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise UsageError(
            f"two of the folders are called {printable(double[0])!r}, and a generator is named by its folder",
            hint="rename one, or give a link of another name",
        )
    if len(folders) == 1:
        raise UsageError(f"expected two generators or more to rank, got {printable(names[0])}")
    return [_entrant(name, folder, prompts) for name, folder in zip(names, folders, strict=True)]


def _entrant(name: str, folder: Path, prompts: Path | None) -> Entrant:
    inputs = read_inputs(folder, prompts=prompts)
    samples = tuple(
        replace(each, id=f"{name}/{each.id}", cluster=each.prompt or each.id, memo={}) for each in inputs.samples
    )
    entrant = Entrant(name=name, folder=folder if folder.is_dir() else folder.parent, samples=samples)
    for sample, given in zip(samples, inputs.samples, strict=True):
        entrant.by_prompt.setdefault(sample.cluster, []).append(sample)
        named = {given.id, stem_of(given.id), *names_of(dict(given.row)), str(given.row.get("prompt_id") or given.id)}
        named |= {stem_of(str(given.row.get("path") or given.id))}
        for one in named:
            entrant.by_name.setdefault(one, []).append(sample)
    return entrant


def clip_pairs(entrants: Sequence[Entrant]) -> Iterator[tuple[Entrant, Entrant, str, Sample, Sample]]:
    """Every two clips that are compared, with their generators and the prompt.

    Raises:
        NothingMatchedError: two generators have no prompt in common.
    """
    for first, second in combinations(entrants, 2):
        shared = [prompt for prompt in first.by_prompt if prompt in second.by_prompt]
        if not shared:
            raise NothingMatchedError(
                f"{printable(first.name)} and {printable(second.name)} have no prompt in common",
                hint="draw the same prompts from each, or give --prompts",
            )
        for prompt in shared:
            for one, other in zip(first.by_prompt[prompt], second.by_prompt[prompt], strict=False):
                yield first, second, prompt, one, other


def clips_of_vote(vote: PairVote, entrants: Sequence[Entrant]) -> tuple[list[Sample], list[Sample]]:
    """The clips left and right.

    Raises:
        ItemError: UNKNOWN_GENERATOR, UNKNOWN_CLIP.
    """
    by_name = {entrant.name: entrant for entrant in entrants}
    sides = []
    for name, clip in ((vote.left, vote.left_clip), (vote.right, vote.right_clip)):
        if name not in by_name:
            raise ItemError(
                f"there is no generator {printable(name, 60)!r} among {', '.join(map(printable, by_name))}",
                code="UNKNOWN_GENERATOR",
                hint=did_you_mean(name, by_name),
            )
        sides.append(by_name[name].clips_of(vote.prompt, clip))
    return sides[0], sides[1]


def cluster_of(vote: PairVote, entrants: Sequence[Entrant]) -> str:
    """What votes on one prompt share: the prompt of the clips, where there are some, whatever the vote calls it.

    Raises:
        ItemError: as `clips_of_vote`.
    """
    return clips_of_vote(vote, entrants)[0][0].cluster if entrants else vote.prompt
