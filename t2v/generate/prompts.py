"""Which clips to make: prompts from arguments, files, manifests and stdin, times seeds.

In: the arguments a user gave. Out: `PlannedClip`s in the order of the prompts, each with an id that stays the same when
other prompts come or go, and a file name: words of the prompt and the seed for people to find their clips by, but
nothing of the prompt where it came with an id of its own (the round trip's do, whose captioner must not read prompts
there). A text file holds one prompt a line, beside blank lines and `# comments`; a `.jsonl` file (a manifest, too) one
object a line with `prompt` (or `captions`, as `v2t world` writes them: the first short one), and, where given, `id`,
`seed`, `negative_prompt`, `image`, `facts`.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from cineloop.documents import decode_text, json_lines, text_lines
from cineloop.errors import NothingMatchedError, UsageError
from cineloop.files import read_bytes, unescape_name
from cineloop.log import logger, printable
from t2v.generate.settings import MAX_SEED, GenerateConfig
from t2v.generators import ClipRequest

_KEY_CHARS = 12
_NAME_BYTES, _NAME_KEY_CHARS = 40, 8  # of a file name: words of the prompt, and what keeps it from being another's


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One prompt as it was given; None and "" where nothing was given."""

    text: str
    id: str | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    image: Path | None = None
    facts: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class PlannedClip:
    """One clip that is wanted: `id` in the manifest, `name` of its file without the ending."""

    id: str
    name: str
    request: ClipRequest
    facts: dict[str, Any] | None = field(default=None, compare=False)


def plan(arguments: Sequence[str], files: Sequence[str], config: GenerateConfig) -> list[PlannedClip]:
    """All clips, in order, each once.

    Args:
        arguments: prompts, or "-" for prompts on stdin.
        files: files of prompts, "-" for stdin.
        config: seeds, and what holds where a prompt says nothing.

    Raises:
        NothingMatchedError: files or texts without a prompt. UsageError: neither of these was given, a file or line
            that cannot be read, an id for two clips.
    """
    example = 't2v generate "A red ball rolls to the left on the beach."'
    if not arguments and not files:
        raise UsageError("no prompt given", hint=example)
    prompts = list(_from_arguments(arguments))
    for name in files:
        prompts += _from_stdin() if name == "-" else _from_file(Path(name))
    if not prompts:
        raise NothingMatchedError("what was given holds no prompt", hint=example)
    typed = [text for text in arguments if text != "-"]
    if len(typed) > 1 and not any(" " in text.strip() for text in typed):
        logger.warning("%d prompts of one word each: quotes make one prompt of several words", len(typed))
    clips: dict[str, PlannedClip] = {}
    num_twice = 0
    for prompt in prompts:
        for clip in _clips(prompt, config):
            other = clips.setdefault(clip.id, clip)
            if other != clip:
                raise UsageError(f"two different clips would both have the id {printable(clip.id)!r}", code="SAME_NAME")
            num_twice += other is not clip
    if num_twice:
        logger.warning("%d clips were asked for twice and are made once", num_twice)
    return list(clips.values())


def _clips(prompt: Prompt, config: GenerateConfig) -> Iterator[PlannedClip]:
    first = config.seed if prompt.seed is None else prompt.seed
    negative = config.negative_prompt if prompt.negative_prompt is None else prompt.negative_prompt
    image = prompt.image or config.image
    for seed in range(first, first + config.num_videos):
        if prompt.id is None:
            content = json.dumps([prompt.text, negative, None if image is None else str(image), seed])
            id = sha256(content.encode()).hexdigest()[:_KEY_CHARS]
            name = f"{_words(prompt.text)}s{seed}-{id[:_NAME_KEY_CHARS]}"
        else:
            id = prompt.id if config.num_videos == 1 else f"{prompt.id}-seed{seed}"
            name = sha256(id.encode()).hexdigest()[:_KEY_CHARS]
        request = ClipRequest(prompt=prompt.text, seed=seed, negative_prompt=negative, image=image)
        yield PlannedClip(id=id, name=name, request=request, facts=prompt.facts)


def _words(text: str) -> str:
    """The first words of a prompt as a file name begins: "a-red-ball-rolls-to-the-left-on-the-"; "" for none."""
    words = ""
    for word in re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).lower()):
        if len(f"{words}{word}-".encode()) > _NAME_BYTES:
            break
        words += f"{word}-"
    return words


def _from_arguments(arguments: Iterable[str]) -> Iterator[Prompt]:
    for text in arguments:
        if text == "-":
            yield from _from_stdin()
        else:
            yield Prompt(text=_check(text, "the prompt"))


def _from_stdin() -> Iterator[Prompt]:
    yield from _from_text(sys.stdin.buffer.read(), "stdin", Path.cwd())


def _from_file(path: Path) -> Iterator[Prompt]:
    where = printable(str(path))
    try:
        data = read_bytes(path)
    except OSError as error:
        raise UsageError(f"cannot read the prompts {where}: {error.strerror}") from error
    yield from _from_text(data, where, path.parent)


def _from_text(data: bytes, where: str, folder: Path) -> Iterator[Prompt]:
    """Prompts of a text: objects when its first line is one, plain lines otherwise."""
    try:
        text = decode_text(data)
    except ValueError as error:
        raise UsageError(f"{where} is {error}") from error
    if text.lstrip().startswith("{"):
        for number, row in json_lines(text.split("\n"), where, code="MANIFEST"):
            yield _from_row(row, f"{where}, line {number}", folder)
        return
    for number, line in text_lines(text):
        yield Prompt(text=_check(line, f"{where}, line {number}"))


def _from_row(row: dict[str, Any], place: str, folder: Path) -> Prompt:
    seed = row.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < MAX_SEED):
        raise UsageError(f"{place}: seed must be a whole number within 0 and 2**63 - 1, got {seed!r}", code="MANIFEST")
    for key in ("id", "negative_prompt", "image"):
        if row.get(key) is not None and not isinstance(row[key], str):
            raise UsageError(f"{place}: {key!r} must be text, got {row[key]!r}", code="MANIFEST")
    image = None
    if row.get("image"):
        pure = PurePosixPath(row["image"])
        image = folder / unescape_name(row["image"])
        if pure.is_absolute() or ".." in pure.parts:
            raise UsageError(f"{place}: image {row['image']!r} must lie beside the file of prompts", code="MANIFEST")
        if not image.is_file():
            raise UsageError(f"{place}: no such picture: {row['image']!r}", code="MANIFEST")
    return Prompt(
        text=_check(_prompt_of(row, place), place),
        id=row.get("id") or None,
        seed=seed,
        negative_prompt=row.get("negative_prompt"),
        image=image,
        facts=row["facts"] if isinstance(row.get("facts"), dict) else None,
    )


def _prompt_of(row: dict[str, Any], place: str) -> str:
    text: Any = row.get("prompt") or row.get("caption") or row.get("captions")
    if isinstance(text, dict):
        text = text.get("short") or next(iter(text.values()), None)
    if isinstance(text, list):
        text = text[0] if text else None
    if not isinstance(text, str):
        raise UsageError(f"{place}: expected a 'prompt' (or 'captions'), got the keys {sorted(row)}", code="MANIFEST")
    return text


def _check(text: str, place: str) -> str:
    text = text.strip()
    if not text:
        raise UsageError(f"{place} is empty")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise UsageError(f"{place} is not UTF-8: {printable(text, 60)}")
    return text
