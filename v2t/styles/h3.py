"""Dialect of MiniMax-H3: three named fields, numbered shots with rising cut times, dialogue in tags with speaker ids.

Read: MiniMax-AI/MiniMax-H3 8d8824ef, skills/h3-prompt-writing/references/base-en.txt (text and keyframes) and
ref-en.txt (six fields, with references), with the expanded prompts of README.md and scripts/readme; how trainers met
it: tdrussell/diffusion-pipe #534 (a caption in another form overfits; `N/A` where there is no sound). The encoder,
Qwen3-VL-32B, is given the whole prompt: neither guide nor pipeline names a limit of tokens. The captioners of this
project see pictures and hear nothing, so both fields of sound are N/A: write them yourself for clips with sound.
"""

from __future__ import annotations

import re

from cineloop.errors import Notice
from v2t.styles.dialect import Draft, camera, english, markup, style, visible_text

PROMPT = (
    "Describe this video in English in exactly this form, three fields with an empty line between them:\n\n"
    "integrated_multimodal_description: [Shot 1] STYLE, SHOT SIZE, then everything that is seen, in order of time.\n\n"
    "overall_soundscape: N/A\n\n"
    "non_diegetic_music: N/A\n\n"
    "Begin Shot 1 with the visual style (such as Live-action, cinematic; or 2D-animated) and the composition, without "
    "a time. For every cut add to the first field: [Shot 2] At 00:03.500, the camera cuts to ... with the number of "
    "the shot and the time of the cut, minutes, seconds and thousandths, each later than the one before. Write camera "
    "movement as an action: The camera pushes in at slow speed toward ... Put text that can be read in double quotes. "
    "You see pictures only: invent no sounds and no speech, both other fields stay N/A. Nothing else."
)
MAX_NEW_TOKENS = 640
FIELDS = ("integrated_multimodal_description", "overall_soundscape", "non_diegetic_music")
_REFERENCE_FIELDS = ("subject_definitions", "summary", "retention_analysis", "detailed_description", *FIELDS[1:])
_BEGINNING = 300  # characters, where the guide wants style and composition
_FIELD = re.compile(rf"^[ \t]*({'|'.join(dict.fromkeys((*FIELDS, *_REFERENCE_FIELDS)))})[ \t]*:", re.M)
_KEYFRAMES = re.compile(r"(?:For the target video, at |How the reference pictures align)[^\n]+\n*", re.I)
_SHOT = re.compile(r"(?:^|(?<=[.!?>:\"\u201d]))\s*\[Shot (\d+)\](?:[ ,]*At (\d+):(\d\d(?:\.\d+)?))?")
_TALK = re.compile(r"<d>(.*?)</d>", re.S)
_SPEAKER = re.compile(r"\(S\d+(?:,\s*S\d+)*\)")
_LANGUAGE = re.compile(r"\s*\[[A-Z][^\]\d]{1,40}\]\s*\S")
_QUOTED_SPEECH = re.compile(
    r"\b(?:says?|saying|asks?|asking|shouts?|whispers?|replies|exclaims?|answers?|yells?)\b[^.<\"\u201c]{0,60}[\"\u201c]",
    re.I,
)
_WRITING = re.compile(
    r"\b(?:sign|banner|label|poster|subtitle|title|screen|shirt|board|plaque|text|words?|letters|card|note|sticker)\b"
    r"[^.]{0,40}$",
    re.I,
)


def fields(text: str) -> dict[str, str]:
    """The named fields of an answer; those that are missing have no key."""
    marks = list(_FIELD.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    return {mark[1]: text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)}


def check(draft: Draft) -> list[Notice]:
    """Objections to a caption; those to a field's content only where the fields are there."""
    marks = list(_FIELD.finditer(draft.text))
    names, parts = [mark[1] for mark in marks], fields(draft.text)
    has_references = "subject_definitions" in names or "detailed_description" in names
    expected = _REFERENCE_FIELDS if has_references else FIELDS
    objections = [*english(draft), *markup(draft)]
    missing = [name for name in expected if not parts.get(name)]
    if missing:
        return [*objections, Notice("DIALECT_FIELDS", f"missing or empty: {', '.join(missing)}")]
    if tuple(names) != expected:
        objections.append(Notice("DIALECT_ORDER", f"expected each field once, in the order {', '.join(expected)}"))
    before = _KEYFRAMES.sub("", draft.text[: marks[0].start()]).strip()
    if before:
        objections.append(Notice("DIALECT_PREFACE", f'only the fields are read, got "{before[:60]}" before them'))
    body = parts["detailed_description" if has_references else FIELDS[0]]
    return [*objections, *_shots(body, draft.duration_s), *_dialogue(body), *_looks(body)]


def _shots(body: str, duration_s: float | None) -> list[Notice]:
    marks = list(_SHOT.finditer(body))
    numbers = [int(mark[1]) for mark in marks]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        return [Notice("DIALECT_SHOTS", f"expected [Shot 1], [Shot 2] and so on, each once, got {numbers or 'none'}")]
    if marks[0][2] is not None:
        return [Notice("DIALECT_TIMES", "[Shot 1] has no time")]
    times_s = [60 * int(mark[2]) + float(mark[3]) for mark in marks[1:] if mark[2] is not None]
    if len(times_s) < len(marks) - 1:
        return [Notice("DIALECT_TIMES", 'every later shot begins as "[Shot 2] At 00:03.500," with the time of the cut')]
    if any(later <= earlier for earlier, later in zip([0.0, *times_s], times_s, strict=False)):
        return [Notice("DIALECT_TIMES", f"times of cuts rise, got {', '.join(f'{t:g}' for t in times_s)} s")]
    if duration_s is not None and times_s and times_s[-1] >= duration_s:
        return [Notice("DIALECT_TIMES", f"a cut at {times_s[-1]:g} s, and the clip ends at {duration_s:g} s")]
    return []


def _dialogue(body: str) -> list[Notice]:
    if body.count("<d>") != body.count("</d>") or body.count("<d>") != len(_TALK.findall(body)):
        return [Notice("DIALECT_DIALOGUE", "every <d> has its </d>")]
    end = 0
    for talk in _TALK.finditer(body):
        if not _LANGUAGE.match(talk[1]):
            return [Notice("DIALECT_DIALOGUE", f'expected <d>[Language] words</d>, got "{talk[0][:60]}"')]
        if not _SPEAKER.search(body, end, talk.start()):
            return [Notice("DIALECT_DIALOGUE", f'no speaker, such as (S1), before "{talk[0][:60]}"')]
        end = talk.end()
    for match in _QUOTED_SPEECH.finditer(_TALK.sub(" ", body)):
        if not _WRITING.search(_TALK.sub(" ", body)[max(0, match.start() - 80) : match.start()]):
            return [Notice("DIALECT_DIALOGUE", f'spoken words stand in <d>[Language] ...</d>, got "{match[0]}..."')]
    return []


def _looks(body: str) -> list[Notice]:
    return [*camera(Draft(text=body)), *visible_text(Draft(text=body)), *style(Draft(text=body[:_BEGINNING]))]
