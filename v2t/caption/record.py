"""The caption record: one clip's row, captioned or failed.

In: the captioner's answer to a clip, or those to its segments, or the error that ended it. Out: a plain dict for the
journal and the writers. `caption` is null in a failed row and `error` is null in a good one; `seconds` is the
clip's share of the model's time; `frame_times_s` are the true times of the frames the model saw; all times, those of
`segments` too, are seconds of the file. The answer to a segment of a long clip is kept in the journal until its clip is
complete:

    {"kind": "part", "id", "settings", "source", "start_s", "end_s", **fields}     fields as in `v2t.long.items`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cineloop.clip import Clip
from cineloop.errors import ItemError, Notice
from cineloop.files import text_key
from cineloop.journal import Entry
from cineloop.log import printable
from v2t.caption.wording import Wording, strip_preamble
from v2t.long.items import WorkItem, error_fields, fields_of
from v2t.long.segments import SegmentSpec
from v2t.long.summary import join
from v2t.styles.dialect import CaptionDialect, Draft
from v2t.writers import Record

if TYPE_CHECKING:
    from cineloop.video.sample import SampleSpec

_NO_TEXT = ("encoder", "tokenizer", "max_tokens")  # of Wording: these only warn
_WARNINGS_EACH = 3  # warnings of one kind in a clip's record, over its parts


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """Prompt and settings of a run: everything a caption depends on besides the clip."""

    model: str
    revision: str
    style: str
    prompt: str
    max_new_tokens: int
    spec: SampleSpec
    frame_size: tuple[int, int] | None
    segments: Callable[[str, float], list[dict[str, Any]]] | None = None
    fields: Callable[[str], dict[str, Any]] | None = None
    parts: SegmentSpec = field(default_factory=SegmentSpec)
    sums_up: bool = False  # the caption of a video in parts is the model's summary; else its joined captions
    wording: Wording = field(default_factory=Wording)
    warnings: tuple[Notice, ...] = ()  # about the question itself, for every clip
    sampled: tuple[float, int] | None = None  # temperature and seed
    num: int = 1  # captions of a clip
    options: tuple[tuple[str, Any], ...] = ()  # of the captioner, those that affect the text
    dialect: CaptionDialect | None = None  # the rules of the style
    ask_again: str = "never"  # which objections of the dialect a second request is made for

    @property
    def settings(self) -> dict[str, Any]:
        """The values that a later run compares with its own. A style is a name for a prompt: the prompt is used.

        Settings that are off are left out, so that captions of older versions without them stay valid.
        """
        plain = Wording()
        wording = {
            f"wording.{f.name}": getattr(self.wording, f.name)
            for f in fields(Wording)
            if f.name not in _NO_TEXT and getattr(self.wording, f.name) != getattr(plain, f.name)
        }
        parts = {} if self.parts.kind == "whole" else {"parts": str(self.parts), "sums_up": self.sums_up}
        return {
            "model": self.model,
            "revision": self.revision,
            "prompt": self.prompt,
            "max_new_tokens": self.max_new_tokens,
            "frame_size": list(self.frame_size) if self.frame_size else None,
            **{f"sampling.{k}": v for k, v in asdict(self.spec).items() if k not in ("start_s", "end_s")},
            **parts,
            **wording,
            **({} if self.sampled is None else {"temperature": self.sampled[0], "seed": self.sampled[1]}),
            **({} if self.num == 1 else {"num": self.num}),
            **{f"options.{name}": value for name, value in self.options},
            **({"dialect": self.dialect.name, "ask_again": self.ask_again} if self.dialect else {}),
        }

    def objections(self, caption: str, duration_s: float | None) -> list[Notice]:
        """What the target's text encoder and the dialect, if there is one, object to in a caption that was seen and not
        heard. Raises MissingDependencyError: NO_TOKENIZER."""
        if self.dialect is None:
            return self.wording.warnings(caption)
        return self.dialect.objections(Draft(text=caption, duration_s=duration_s, is_heard=False))

    @cached_property
    def prompt_sha(self) -> str:
        """Short hash of the prompt."""
        return text_key(self.prompt.encode("utf-8", "surrogatepass"))

    @cached_property
    def settings_key(self) -> str:
        """Short hash of `settings`."""
        return text_key(repr(sorted(self.settings.items())).encode("utf-8", "surrogatepass"))


def result_of(item: WorkItem, fields: Entry, question: PromptSettings) -> Entry:
    """The record of a clip that was captioned whole, or the journal's entry of a segment of a long one.

    Args:
        item: with its frames, where `fields` are an answer.
        fields: of the answer or of the error, see `v2t.long.items`.
    """
    if fields["error"] is None and not fields["caption"]:
        fields = error_fields(_empty_caption())
    if item.segment is not None:
        head = {"kind": "part", "id": item.clip.id, "settings": question.settings_key, "source": item.source}
        return {**head, "start_s": item.segment.start_s, "end_s": item.segment.end_s, **fields}
    start_s = end_s = 0.0
    if item.frames is not None:  # known exactly after decoding
        start_s = float(item.frames.start_s)
        end_s = start_s + float(item.frames.duration_s)
    return clip_record(item.clip, [{"start_s": start_s, "end_s": end_s, **fields}], question)


def segments_of(entries: Sequence[Entry], question: PromptSettings) -> list[dict[str, Any]]:
    """`[{start_s, end_s, caption}]` of a clip: the events of each answer, or its segment with its caption.

    A segment that failed has an empty caption and an `error`. A clip that was to be captioned whole has events alone.

    Raises:
        ItemError: no segment has a caption, or the file changed meanwhile.
    """
    errors = [entry["error"] for entry in entries if entry["error"] is not None]
    changed = [error for error in errors if error["code"] == "CHANGED"]
    if changed or len(errors) == len(entries):
        worst = (changed or errors)[0]
        many = f"all {len(errors)} parts failed, the first: " if len(errors) > 1 and not changed else ""
        raise ItemError(many + worst["message"], code=worst["code"], hint=worst["hint"])
    segments = []
    for entry in entries:
        start_s, end_s = entry["start_s"], entry["end_s"]
        part = {"start_s": round(start_s, 4), "end_s": round(end_s, 4)}
        if entry["error"] is not None:
            segments.append({**part, "caption": "", "error": entry["error"]})
            continue
        text = strip_preamble(entry["caption"]) if question.wording.strip_preamble else entry["caption"]
        # Times count from the start of the frames the model sees.
        events = [
            {**e, "start_s": round(start_s + e["start_s"], 4), "end_s": round(start_s + e["end_s"], 4)}
            for e in (question.segments(text, end_s - start_s) if question.segments else ())
        ]
        segments += events or ([{**part, "caption": text}] if question.parts.kind != "whole" else [])
    if len(entries) > 1:  # the events of one answer stay in its order
        segments.sort(key=lambda segment: (segment["start_s"], segment["end_s"]))
    return segments


def clip_record(clip: Clip, entries: Sequence[Entry], question: PromptSettings, summary: Entry | None = None) -> Record:
    """The record of a clip all of which was answered: captioned, though some segments may have failed; or failed, with
    the error of its segments, BAD_CAPTION (the caption is empty) or TEMPLATE (the template fails on this clip).

    Args:
        entries: of its segments in order, or the only one of a clip that was captioned whole.
        summary: `answer_fields` of the model's summary of the segments; None takes their captions as they are.
    """
    is_part = clip.start_s is not None or clip.end_s is not None
    head: Record = {
        "id": clip.id,
        "path": clip.path,
        "status": "failed",
        **({"start_s": clip.start_s, "end_s": clip.end_s} if is_part else {}),
        "caption": None,
        "segments": [],
        "model": question.model,
        "revision": question.revision,
        "style": question.style,
        "prompt_sha": question.prompt_sha,
    }
    facts: Record = {"decoder": None, "frame_times_s": [], "duration_s": None, "tokens": 0, "seconds": 0.0}
    try:
        segments = segments_of(entries, question)
        captioned = [segment for segment in segments if segment["caption"]]
        if summary is not None or len(entries) == 1:
            text = (summary or entries[0])["caption"]
        elif question.segments is not None:
            text = "\n".join(f"{s['start_s']:.1f}-{s['end_s']:.1f}s: {s['caption']}" for s in captioned)
        else:
            text = join([segment["caption"] for segment in captioned])
        text = text.strip()
        if not text:
            raise _empty_caption()
        answers = [*entries, *([summary] if summary else [])]
        is_single = len(entries) == 1
        times_s = {second for entry in entries for second in entry["frame_times_s"]}
        row = {
            **head,
            "status": "ok",
            "segments": segments,
            **({} if question.fields is None else {"fields": question.fields(text)}),
            "decoder": next((entry["decoder"] for entry in entries if entry["decoder"]), None),
            "frame_times_s": entries[0]["frame_times_s"] if is_single else sorted(times_s),
            "duration_s": round(entries[-1]["end_s"] - entries[0]["start_s"], 4),
            "tokens": sum(entry["tokens"] for entry in answers),
            "seconds": round(sum(entry["seconds"] for entry in answers), 4),
        }
        # The caption as written, and what its encoder and dialect object to.
        row["caption"] = caption = question.wording.apply(text, row)
    except ItemError as error:
        return {**head, **facts, "warnings": [], "error": fields_of(error)}
    notices = (*question.warnings, *question.objections(caption, row["duration_s"]))
    warnings = entries[0]["warnings"] if is_single else _join_warnings(entries)
    warnings = [*warnings, *(summary["warnings"] if summary else ()), *map(fields_of, notices)]
    return {**row, "warnings": warnings, "error": None}


def _join_warnings(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """The parts' warnings, each once, and no more than a few of one kind: an hour has hundreds of parts; then that some
    parts failed."""
    by_code: dict[str, list[Notice]] = {}
    for warning in dict.fromkeys(Notice.read(warning) for entry in entries for warning in entry["warnings"]):
        by_code.setdefault(warning.code, []).append(warning)
    merged = []
    for code, each in by_code.items():
        merged += each[:_WARNINGS_EACH]
        if len(each) > _WARNINGS_EACH:
            merged.append(Notice(code, f"and {len(each) - _WARNINGS_EACH} more of this kind"))
    if failed_ones := [entry for entry in entries if entry["error"] is not None]:
        first = failed_ones[0]
        what = f"{first['error']['code']}: {printable(first['error']['message'], 200)}"
        text = f"{len(failed_ones)} of {len(entries)} parts, the first at {first['start_s']:.1f} s: {what}"
        merged.append(Notice("PART_FAILED", text))
    return [warning.record() for warning in merged]


def _empty_caption() -> ItemError:
    return ItemError("the model answered with an empty caption", code="BAD_CAPTION", hint="another --prompt or model")
