"""Document frequencies of n-grams: in how many clips of a corpus some reference holds each.

In: a file of reference captions. Out: `Frequencies`, what CIDEr weighs n-grams with. A frozen corpus makes CIDEr of
different sets comparable: else the weights come from the very captions that are scored. Forms of the file:
`.jsonl` with `captions` or `references` (a manifest) or `caption` and `image_id` or `id`; `.json` as COCO writes it
(`annotations` of `image_id` and `caption`), or a list of such rows, or an object of lists of captions by id; `.txt`
with a clip a line, its captions apart by tabs.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.documents import parse_json, read_text
from cineloop.errors import UsageError
from cineloop.files import open_file
from v2t_eval.text.ngrams import MAX_N, ngrams
from v2t_eval.text.ptb import read


@dataclass(frozen=True)
class Frequencies:
    """`counts` of clips by n-gram, of `num_clips` clips; `num_outside` of `num_texts` texts are outside the exact class
    of our tokenizer."""

    counts: dict[tuple[str, ...], int]
    num_clips: int
    num_texts: int
    num_outside: int


def file_hash(path: str) -> str:
    """sha256 of a corpus file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with open_file(path) as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read the corpus {path}: {error.strerror}") from error


def frequencies(path: str) -> Frequencies:
    """Frequencies of the captions of a file.

    Raises:
        UsageError: the file cannot be read or holds no captions.
    """
    clips = _captions_by_clip(Path(path))
    counts: Counter[tuple[str, ...]] = Counter()
    num_outside = 0
    for captions in clips:
        held: set[tuple[str, ...]] = set()
        for tokens, exact in map(read, captions):
            num_outside += not exact
            words = tokens.split()
            for n in range(1, MAX_N + 1):
                held.update(ngrams(words, n))
        counts.update(held)
    return Frequencies(dict(counts), len(clips), sum(map(len, clips)), num_outside)


def _captions_by_clip(path: Path) -> list[list[str]]:
    try:
        text = read_text(path)
        if path.suffix == ".txt":
            clips = [line.split("\t") for line in text.split("\n") if line.strip()]
        elif path.suffix == ".jsonl":
            clips = _grouped(parse_json(line) for line in text.split("\n") if line.strip())
        else:
            clips = _of_json(parse_json(text))
    except OSError as error:
        raise UsageError(f"cannot read the corpus {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"the corpus {path} has no captions as expected: {error!r}", hint=_FORMS) from error
    if not clips:
        raise UsageError(f"the corpus {path} holds no captions", hint=_FORMS)
    return clips


def _of_json(tree: Any) -> list[list[str]]:
    if isinstance(tree, dict) and "annotations" not in tree:
        return [_texts(captions) for captions in tree.values()]
    return _grouped(tree["annotations"] if isinstance(tree, dict) else tree)


def _grouped(rows: Iterable[dict[str, Any]]) -> list[list[str]]:
    clips: dict[str, list[str]] = {}
    for number, row in enumerate(rows):
        found = row.get("captions") or row.get("references") or row.get("caption")
        if found:
            clips.setdefault(str(row.get("image_id", row.get("id", number))), []).extend(_texts(found))
    return list(clips.values())


def _texts(found: Any) -> list[str]:
    texts = [found] if isinstance(found, str) else [one["caption"] if isinstance(one, dict) else one for one in found]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"expected captions, got {str(found)[:80]!r}")
    return texts


_FORMS = "a manifest (.jsonl with captions), COCO's .json, or a .txt with a clip a line"
