"""Audit material in addition to the cartoon world's clips: the user's and generated clips, with their truth.

In: folders as `v2t_eval.core.inputs` reads them. Out: `Material`, clips whose files can be read, and the `Truth` of a
clip: its facts, its questions with answers, or what the referee reads of a generated one. Readings are cached as
evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cineloop.errors import ItemError, NothingMatchedError
from cineloop.log import logger, printable
from v2t_eval.audit.clips import AuditClip, check, sample_clip
from v2t_eval.audit.judging import Truth, of_facts, of_reading
from v2t_eval.core.cache import EvidenceCache, text_hash
from v2t_eval.core.inputs import Inputs
from v2t_eval.core.sample import Sample
from v2t_eval.semantics.detectors.world import VERSION as REFEREE_VERSION
from v2t_eval.semantics.detectors.world import reading

_TRUTH_VERSION = 1  # raised when `of_reading` derives other facts from the referee's reading
_NAMED = 10


@dataclass(frozen=True, kw_only=True)
class Material:
    """The user's clips and generated ones, their sources, and which could not be read."""

    yours: tuple[AuditClip, ...] = ()
    generated: tuple[AuditClip, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
    failures: tuple[dict[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def gather(inputs: Inputs | None, generated: Inputs | None, num: int, folder: Path | None) -> Material:
    """The clips of folders; unreadable files are listed as failures, the rest is used. `num`: maximum number of the
    user's clips, picked evenly; `folder`: cache of the files that were checked before.

    Raises:
        NothingMatchedError: none of the user's, or of the generated, can be read.
    """
    failures: list[dict[str, str]] = []
    sources: dict[str, str] = {}
    notes: list[str] = []
    sets: list[tuple[AuditClip, ...]] = []
    with EvidenceCache(folder) as cache:
        for name, given in (("yours", inputs), ("generated", generated)):
            if given is None:
                sets.append(())
                continue
            samples = given.samples
            if name == "yours" and len(samples) > num:
                samples = [samples[n * len(samples) // num] for n in range(num)]
                notes.append(f"{num} of {len(given.samples)} clips were audited, evenly picked (--num)")
            read = []
            for sample in samples:
                try:
                    clip = sample_clip(sample)
                    _check(clip, cache)
                except ItemError as error:
                    failures.append({"id": sample.id, "code": error.code, "message": _without_path(error, sample)})
                else:
                    read.append(clip)
            if not read:
                why = f": {failures[0]['message']}" if failures else ""
                raise NothingMatchedError(f"none of {len(samples)} clips ({name}) can be read{why}")
            sources[name] = f"{', '.join(given.sources.values())}, {len(read)} clips, {content_of(read)}"
            sets.append(tuple(read))
    for failure in failures[:_NAMED]:
        logger.warning("left out: %s: %s", printable(failure["id"]), printable(failure["message"]))
    return Material(
        yours=sets[0], generated=sets[1], sources=sources, failures=tuple(failures), notes=tuple(notes)
    )  # fmt: skip


def _without_path(error: ItemError, sample: Sample) -> str:
    """The error message without the folders of this machine."""
    path = sample.clip.path if sample.clip is not None else None
    return str(error) if path is None else str(error).replace(str(path), path.name)


def _check(clip: AuditClip, cache: EvidenceCache) -> None:
    """Decode a file unless it was checked before."""
    key = text_hash(f"readable/1 {clip.source.content}")
    if key not in cache.find([key]):
        check(clip)
        cache.keep({key: {"readable": True}})


def content_of(clips: Sequence[AuditClip]) -> str:
    """Short hash of the clips' contents."""
    return text_hash("\n".join(clip.source.content for clip in clips))[:12]


def is_known(clip: AuditClip) -> bool:
    """Whether a clip may have a truth to compare a judge with."""
    return clip.facts is not None or bool(clip.row.get("questions")) or "generator" in clip.row


def known_truth(clip: AuditClip, cache: EvidenceCache) -> Truth | None:
    """The truth of a user's clip; None where its questions state it.

    Raises:
        ItemError: its facts cannot be read, or see `referee`.
    """
    if clip.facts is not None and "shots" in clip.facts:
        try:
            return of_facts(clip.facts)
        except (KeyError, TypeError, IndexError) as error:
            raise ItemError(f"{clip.id}: its facts are not as v2t world writes them", code="BAD_FACTS") from error
    return None if clip.row.get("questions") else referee(clip, cache)


def referee(clip: AuditClip, cache: EvidenceCache) -> Truth:
    """The referee's reading, cached under its version and the clip's content.

    Raises:
        ItemError: TOO_SHORT, too few or too small frames; or it cannot be decoded.
    """
    key = text_hash(f"truth/{_TRUTH_VERSION}.{REFEREE_VERSION} {clip.source.content}")
    if cached := cache.find([key]).get(key):
        return Truth(values=cached["values"], unread=tuple(cached["unread"]))
    truth = of_reading(reading(clip.sample()))
    cache.keep({key: asdict(truth)})
    return truth
