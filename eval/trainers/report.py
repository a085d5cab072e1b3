"""Reports of a check: on a terminal what is wrong, on a page a row a clip, as JSON values all of it.

In: a `CheckedSet`. Out: a `Document`, JSON values.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from cineloop.log import plural
from v2t_eval.report.document import Banner, Card, Cell, Document, Link, Section, Table, Tone
from v2t_eval.trainers.findings import CODES, EFFECTS, Effect
from v2t_eval.trainers.rows import CheckedClip, CheckedSet

PAGE, ROWS = "report.html", "check.json"
_WORDS: dict[Effect | None, tuple[str, Tone]] = {
    "stops": ("stops the run", "bad"),
    "dropped": ("dropped", "bad"),
    "changed": ("changed", "unsure"),
    "note": ("taken, see note", "good"),
    None: ("taken", "good"),
}
_MOST_TEXT = 200
_MOST_SHOWN = 40  # clips on a terminal


def document(checked: CheckedSet, folder: Path | None) -> Document:
    """The report. `folder`: of the page; None for a terminal, which has rows of clips with findings alone."""
    rules, clips = checked.rules, checked.clips
    taken = [clip for clip in clips if clip.is_taken]
    kept_s, all_s = sum(clip.fit.kept_s for clip in taken), sum(clip.fit.duration_s for clip in clips)
    sound = sum(clip.effect in (None, "note") for clip in clips)
    own = rules.own
    banner = Banner(
        word=f"{sound:,} of {plural(len(clips), 'clip')} fit {rules.title}",
        sentence=f"{len(clips) - len(taken)} not trained on, {len(taken) - sound} otherwise than they are; "
        f"{kept_s:.1f} of {all_s:.1f} s are trained on",
        tone="good" if checked.is_sound else "bad",
        facts=(
            ("model", f"{rules.model}: {own.step}·k+{own.rest} frames{_rate(checked)}, sides in {own.multiple}"),
            ("settings", _settings(checked)),
            ("rules", f"{rules.source.repository} at {rules.source.commit[:12]}, {rules.source.date}"),
            ("captions", checked.captions.form or "none"),
        ),
    )
    sections = [_codes(checked), *_notices(checked), _clips(checked, folder), _buckets(checked)]
    if folder is not None:
        sections.append(_cards(checked))
    return Document(title=f"Check for {rules.title}", banner=banner, sections=tuple(sections), data=ROWS)


def _rate(checked: CheckedSet) -> str:
    if checked.rules.fps is not None:
        return f" at {checked.rules.fps:g} a second"
    return ", a rate that is not known" if checked.rules.own.fps == "unknown" else " at the file's own rate"


def _settings(checked: CheckedSet) -> str:
    """The settings in the trainer's words."""
    settings, keys = checked.rules.settings, checked.rules.keys
    shown = {name: getattr(settings, name) for name in keys}
    texts = [f"{keys[name]} = {value}" for name, value in shown.items() if value not in (None, ())]
    return "; ".join(text.replace("(", "[").replace(")", "]").replace(",]", "]") for text in texts)


def _codes(checked: CheckedSet) -> Section:
    """Every code with the number of clips."""
    counts = Counter((code, effect) for clip in checked.clips for code, effect in _worst_by_code(clip).items())
    rows: list[tuple[Cell, ...]] = []
    for (code, effect), count in sorted(counts.items(), key=lambda each: (EFFECTS.index(each[0][1]), -each[1])):
        rows.append((code, _WORDS[effect], count, CODES[code].meaning if code in CODES else "the file cannot be read"))
    table = Table(columns=("code", "the clip", "clips", "why"), rows=tuple(rows))
    return Section(title="What is wrong", tables=(table,) if rows else ())


def _worst_by_code(clip: CheckedClip) -> dict[str, Effect]:
    by_code: dict[str, Effect] = {}
    for each in clip.findings:
        by_code[each.code] = min(by_code.get(each.code, each.effect), each.effect, key=EFFECTS.index)
    return by_code


def _notices(checked: CheckedSet) -> list[Section]:
    return [Section(title="Of the whole set", text=tuple(map(str, checked.notices)))] if checked.notices else []


def _clips(checked: CheckedSet, folder: Path | None) -> Section:
    """A row a clip; on a terminal of the first clips with findings."""
    clips = checked.clips if folder is not None else [clip for clip in checked.clips if clip.findings][:_MOST_SHOWN]
    columns = ("clip", "outcome", "bucket", "frames", "kept s", "lost s", "lost", "speed", "codes")
    rows, notes = [], []
    for clip in clips:
        fit = clip.fit
        size = " ".join(f"{width}x{height}" for width, height in fit.sizes)
        row: tuple[Cell, ...] = (
            Link(text=clip.path, path=clip.file if folder is not None else None),
            _WORDS[clip.effect],
            size if clip.is_taken else "",
            (f"{fit.num_frames}" + (f" x {fit.num_runs}" if fit.num_runs > 1 else "")) if clip.is_taken else "0",
            round(fit.kept_s if clip.is_taken else 0.0, 3),
            round(fit.lost_s if clip.is_taken else fit.duration_s, 3),
            f"{fit.lost_share if clip.is_taken else 1:.0%}",
            round(fit.speed, 3) if fit.sizes else None,
            " ".join(clip.codes) or "–",
        )
        caption = clip.captions.texts[0][:_MOST_TEXT] if clip.captions and clip.captions.texts else ""
        lines = [f"{each.code}: {each.message}" for each in clip.findings]
        rows.append(row)
        notes.append((*lines, *([f"“{caption}”"] if caption and folder is not None else [])))
    table = Table(columns=columns, rows=tuple(rows), notes=tuple(notes))
    return Section(title="Clips" if folder is not None else "Clips with findings", tables=(table,) if rows else ())


def _buckets(checked: CheckedSet) -> Section:
    counts = Counter((*size, clip.fit.num_frames) for clip in checked.clips if clip.is_taken for size in clip.fit.sizes)
    rows = tuple((f"{width}x{height}", frames, count) for (width, height, frames), count in sorted(counts.items()))
    tables = (Table(columns=("bucket", "frames", "clips"), rows=rows),) if rows else ()
    return Section(title="Buckets", tables=tables)


def _cards(checked: CheckedSet) -> Section:
    """Clips with findings, playing beside their captions."""
    wrong = sorted(
        (clip for clip in checked.clips if clip.effect not in (None, "note")),
        key=lambda clip: (EFFECTS.index(clip.effect or "note"), clip.path),
    )
    cards = []
    for clip in wrong:
        caption = clip.captions.texts[0] if clip.captions and clip.captions.texts else ""
        lines = (caption, *(f"{each.code}: {each.message}" for each in clip.findings))
        cards.append(Card(title=clip.path, lines=tuple(filter(None, lines)), clip=clip.file, labels=("clip", "")))
    return Section(title="Clips to look at", cards=tuple(cards))


def as_json(checked: CheckedSet) -> dict[str, Any]:
    """All of it as JSON values."""
    rules, shift = checked.rules, checked.shift
    return {
        "schema": 1,
        "trainer": rules.title,
        "model": rules.model,
        "repository": rules.source.repository,
        "commit": rules.source.commit,
        "clips": len(checked.clips),
        "taken": sum(clip.is_taken for clip in checked.clips),
        "sound": sum(clip.effect in (None, "note") for clip in checked.clips),
        "codes": dict(Counter(code for clip in checked.clips for code in clip.codes)),
        "captions": checked.captions.form,
        "notices": [notice.record() for notice in checked.notices],
        "shift": None if shift is None else {
            "clips": shift.num_clips, "offset": shift.offset, "first": shift.first, "p": round(shift.p, 4),
            "knows": shift.knows,
        },
        "rows": [_row(clip) for clip in checked.clips],
    }  # fmt: skip


def _row(clip: CheckedClip) -> dict[str, Any]:
    fit, info = clip.fit, None if clip.footage is None else clip.footage.info
    return {
        "path": clip.path,
        "outcome": clip.effect or "taken",
        "buckets": [list(size) for size in fit.sizes] if clip.is_taken else [],
        "frames": fit.num_frames if clip.is_taken else 0,
        "runs": fit.num_runs if clip.is_taken else 0,
        "kept_s": round(fit.kept_s, 6) if clip.is_taken else 0.0,
        "lost_s": round(fit.lost_s if clip.is_taken else fit.duration_s, 6),
        "speed": round(fit.speed, 6),
        "file": None if info is None or clip.footage is None else {
            "width": info.width, "height": info.height, "fps": round(info.fps, 6), "frames": clip.footage.num_frames,
            "duration_s": round(info.duration_s, 6), "codec": info.codec,
        },
        "captions": list(clip.captions.texts) if clip.captions else [],
        "findings": [each.record() for each in clip.findings],
    }  # fmt: skip
