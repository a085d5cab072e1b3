"""The check of a folder for one trainer: every clip decoded, every caption read.

In: a folder, rules, settings. Out: a `CheckedSet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from cineloop.errors import Notice, UsageError, did_you_mean
from cineloop.log import plural, printable
from v2t.encoders import Reader, reader
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.text.caption_faults import LANGUAGES
from v2t_eval.trainers.captions import ANY, read_captions
from v2t_eval.trainers.findings import Effect, SetFinding
from v2t_eval.trainers.fit import fit_clip
from v2t_eval.trainers.match import match_captions
from v2t_eval.trainers.reading import discover_clips, read_clips
from v2t_eval.trainers.rows import CheckedClip, CheckedSet
from v2t_eval.trainers.rules import TrainerRules
from v2t_eval.trainers.settings import CheckSetConfig
from v2t_eval.trainers.setwide import check_against_set, check_files
from v2t_eval.trainers.texts import UsualCaptions, text_findings, usual_captions

_MISSING: dict[str, tuple[Effect, str]] = {
    "stops": ("stops", "there is none, and the trainer's run stops there"),
    "dropped": ("dropped", "there is none: the clip is left out"),
    "unseen": ("dropped", "there is none: the clip is not looked at"),
    "trained": ("changed", "there is none: the clip is trained with an empty prompt"),
}
_MOST_ORPHANS = 5


def check_set(
    folder: Path,
    rules: TrainerRules,
    asked: CheckSetConfig,
    config: ExecutorConfig,
    *,
    captions: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    show_progress: bool = False,
) -> CheckedSet:
    """Check a folder for a trainer.

    Args:
        folder: of clips and captions.
        rules: of the trainer.
        asked: what a clip may lose, and by what captions are read.
        config: workers, cache and limits.
        captions: where captions are, if not in the folder: a folder, or a list.
        stop: polled between clips.

    Raises:
        NothingMatchedError: no clip. UsageError: a list of captions cannot be read; no such language or encoder.
        MissingDependencyError: no decoder, tokenizer or encoder. KeyboardInterrupt: stopped.
    """
    if asked.language and asked.language not in LANGUAGES:
        near = did_you_mean(asked.language, LANGUAGES)
        raise UsageError(f"--language must be one of {', '.join(LANGUAGES)}, got {asked.language!r}", hint=near)
    own = rules.own
    name = "" if own.encoder == "unknown" else own.encoder
    encoder = None if isinstance(own.tokens, str) else reader(name, own.tokens, asked.tokenizer)
    sources = discover_clips(folder)
    clips = list(read_clips(sources, rules.files.damaged, config, stop, show_progress))
    if len(clips) < len(sources):
        raise KeyboardInterrupt
    checked = _with_captions(folder, rules, clips, captions)
    for clip in clips:
        if clip.footage is not None:
            clip.fit = fit_clip(rules, clip.footage, asked)
            clip.findings += clip.fit.findings
    check_files(checked)
    check_against_set(checked)
    _check_captions(checked, asked, encoder)
    checked.shift = match_captions(checked, asked, config, stop, show_progress)
    return checked


def _with_captions(folder: Path, rules: TrainerRules, clips: list[CheckedClip], beside: Path | None) -> CheckedSet:
    """The set, each clip with its captions."""
    paths = [clip.path for clip in clips]
    read = read_captions(folder, paths, rules.captions.forms, rules.settings.caption_suffix, beside)
    notices = []
    if not read.form and (other := read_captions(folder, paths, ANY, ".txt", beside)).form:
        read = other
        notices.append(
            Notice(
                "CAPTION_FORM",
                f"{rules.title} reads {' or '.join(rules.captions.forms)}, and there is none: captions are those of "
                f"{read.form}; --write makes the trainer's own form",
            )
        )
    if read.orphans:
        named = ", ".join(map(printable, read.orphans[:_MOST_ORPHANS]))
        more = f" and {len(read.orphans) - _MOST_ORPHANS} more" if len(read.orphans) > _MOST_ORPHANS else ""
        message = f"{plural(len(read.orphans), 'caption')} without a clip: {named}{more}"
        notices.append(Notice("CAPTION_WITHOUT_CLIP", message))
    for clip in clips:
        clip.captions = read.by_path.get(clip.path)
    return CheckedSet(folder=folder, rules=rules, clips=clips, captions=read, notices=notices)


def _check_captions(checked: CheckedSet, asked: CheckSetConfig, encoder: Reader | None) -> None:
    texts = [text for clip in checked.clips if clip.captions for text in clip.captions.texts if text]
    usual = usual_captions(texts, asked.language)
    if encoder and not asked.tokenizer:
        message = f"tokens are {encoder.how}; {encoder.name} reads {encoder.limit}: --tokenizer counts"
        checked.notices.append(Notice("TOKENS_ESTIMATED", message))
    for clip in checked.clips:
        clip.findings += _caption_findings(checked, clip, usual, encoder)


def _caption_findings(
    checked: CheckedSet, clip: CheckedClip, usual: UsualCaptions, encoder: Reader | None
) -> Iterator[SetFinding]:
    rules, captions = checked.rules, clip.captions
    if captions is None or not captions.texts:
        effect, message = _MISSING[rules.captions.missing]
        yield SetFinding(code="NO_CAPTION", effect=effect, message=message)
        return
    for code in captions.oddities:
        effect = "note" if code == "LINE_ENDINGS" else "stops" if code == "NOT_UTF8" else "changed"
        if code == "BYTE_ORDER_MARK" and "json" in checked.captions.form:
            effect = "stops"  # Python's reader of JSON refuses it
        yield SetFinding(code=code, effect=effect, message=captions.place)
    if not any(captions.texts):
        yield SetFinding(
            code="EMPTY_CAPTION", effect="changed", message=f"{captions.place}: trained with an empty prompt"
        )
        return
    if len(captions.texts) > 1 and rules.captions.several == "first":
        message = f"{len(captions.texts)} captions, of which the first is taken"
        yield SetFinding(code="UNUSED_CAPTIONS", effect="note", message=message)
    used = captions.texts if rules.captions.several == "all" else captions.texts[:1]
    kept_s = clip.fit.kept_end_s or (None if clip.footage is None else clip.footage.info.duration_s)
    for number, text in enumerate(used, 1):
        for each in text_findings(text, usual, encoder, kept_s):
            which = f"caption {number}: " if len(used) > 1 else ""
            yield replace(each, message=which + each.message)
