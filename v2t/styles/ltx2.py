"""Dialect of LTX-2 to 2.5: one English paragraph of picture and sound in order of time; dialogue in quotes, no times.

Read: Lightricks/LTX-2 400fd310: README.md ("Prompting for LTX-2": one paragraph, within 200 words, camera and light),
the system prompts in packages/ltx-core/.../gemma/encoders/prompts (gemma3_t2v: "Style: ..." first if at all, no
headings, no Markdown, no timestamps, words that are spoken in quotes; gemma4_t2v, of 2.5: 150 to 220 words, shot,
camera and viewpoint in the sentences, no labels such as "Audio:"), packages/ltx-trainer/src/ltx_trainer/captioning.py
(the instruction of its own captioner: describe every sound, quote speech, begin with what is seen). Gemma reads 1024
tokens. The captioners of this project see pictures and hear nothing, so the prompt forbids to invent sounds.
"""

from __future__ import annotations

import re

from cineloop.errors import Notice
from v2t.styles.dialect import Draft, camera, english, length, markup, opening, paragraphs, preface, without_quotes

PROMPT = (
    "Write one caption of this video in English, 100 to 200 words, as one paragraph in present tense. Begin at once "
    "with the shot size and the subject. Describe in order of time, with words such as as, then, while: what each "
    "subject does, its look and clothes, the place, materials, light and colours, the angle, and how the camera moves "
    "or that it remains static. Put text that can be read in double quotes. You see pictures only: invent no sounds "
    "and no speech. No mood, no times in seconds, no headings, no lists."
)
MAX_NEW_TOKENS = 480
ENCODER = "ltx2"
_LABEL = re.compile(
    r"^\s*(?:audio|visuals?|sounds?|music|dialogue|speech|camera|scene|subject|action|setting|lighting|shot)\s*\d*\s*:",
    re.I | re.M,
)
_STYLE = re.compile(r"(?<!\A)\bStyle:\s", re.M)
_TIME = re.compile(
    r"\b\d{1,2}:\d{2}(?:[.:]\d+)?\s*(?:[-\u2013]\s*\d{1,2}:\d{2}|[:\]\)])|[\[\(]\d{1,2}:\d{2}(?:\.\d+)?|"
    r"\b\d+(?:\.\d+)?\s*s?\s*(?:-|\u2013|to)\s*\d+(?:\.\d+)?\s*s(?:ec(?:onds?)?)?\b|"
    r"\bat (?:\d+(?:\.\d+)? ?s(?:ec(?:onds?)?)?|\d{1,2}:\d{2}|the \d+(?:\.\d+)?[- ]second mark)(?=\W)",
    re.I,
)
_SPEECH = (
    r"(?:says?|saying|asks?|asking|shouts?|shouting|whispers?|whispering|replies|replying|exclaims?|exclaiming|"
    r"announces?|announcing|calls out|yells?|yelling)"
)
_UNQUOTED = re.compile(rf"\b{_SPEECH}\b[^.:;\"\u201c']{{0,60}}:\s*(?![\"\u201c'\u2018])\w", re.I)
_TALK = re.compile(r"\b(?:speaks|speaking|talks|talking|sings|singing|says|saying|shouts|shouting|asks|asking)\b", re.I)
_NOBODY = re.compile(r"\b(?:no|not|nobody|without|silent\w*|never|inaudibl\w+|no-?one)\b", re.I)
_SOUND = re.compile(
    r"\b(?:sounds?|audio|audible|heard|hear|noises?|music|musical|melod\w+|songs?|voices?|speaks?|speaking|says?|"
    r"saying|hums?|humming|hiss\w*|clink\w*|click\w*|chirp\w*|rustl\w*|footsteps|ambient|silen\w+|quiet|whisper\w*|"
    r"laughs?|laughter|chatter|sizzl\w+|splash\w*|roar\w*|thud\w*|crash\w*|echo\w*|purr\w*|meows?|barks?|soundtrack|"
    r"scratch\w*|creak\w*|rumbl\w+|crackl\w+|bells?|rings?|whistl\w+|crunch\w*|slap\w*|clatter\w*|whir\w*|buzz\w*|"
    r"squeak\w*|snorts?|coughs?|sings?|singing)\b",
    re.I,
)


def check(draft: Draft) -> list[Notice]:
    """Objections to a caption."""
    bare = without_quotes(draft.text)
    objections = [*preface(draft), *markup(draft), *english(draft), *opening(draft), *camera(draft)]
    objections += paragraphs(draft, "the guide wants a single flowing one")
    if match := _LABEL.search(draft.text):
        label = match[0].strip()
        objections.append(
            Notice("DIALECT_FIELDS", f'picture and sound are described in sentences, got the label "{label}"')
        )
    if _STYLE.search(draft.text):
        objections.append(Notice("DIALECT_ORDER", '"Style:" stands at the beginning or nowhere'))
    if match := _TIME.search(bare):
        objections.append(
            Notice("DIALECT_TIMES", f'events are described in order, without times, got "{match[0].strip()}"')
        )
    return objections + _dialogue(draft, bare) + _sound(draft) + length(draft, 60, 220)


def _dialogue(draft: Draft, bare: str) -> list[Notice]:
    if draft.text.count('"') % 2 or draft.text.count("\u201c") != draft.text.count("\u201d"):
        return [Notice("DIALECT_DIALOGUE", "a double quote is not closed")]
    if match := _UNQUOTED.search(draft.text):
        return [Notice("DIALECT_DIALOGUE", f'spoken words stand in quotes, got "{match[0]}..."')]
    if bare == draft.text:
        talk = next((s for s in re.split(r"(?<=[.!?])\s", bare) if _TALK.search(s) and not _NOBODY.search(s)), None)
        if talk is not None and draft.is_heard:
            return [Notice("DIALECT_SPEECH", "somebody speaks, and the words are not quoted")]
    return []


def _sound(draft: Draft) -> list[Notice]:
    if not draft.is_heard or _SOUND.search(draft.text):
        return []
    return [Notice("DIALECT_SOUND", "nothing about sound; the guide wants every sound named, and silence too")]
