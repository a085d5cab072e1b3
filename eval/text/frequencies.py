"""Document frequencies of n-grams: in how many clips of a corpus some reference holds each.

In: a file of reference captions. Out: `Frequencies`, what CIDEr weighs n-grams with. A frozen corpus makes CIDEr of
different sets comparable: else the weights come from the very captions that are scored. The file is any that
`v2t_eval.tables` reads (a manifest, COCO's .json), or a `.txt` with a clip a line, its captions apart by tabs.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cineloop.documents import read_text, text_lines
from cineloop.errors import UsageError
from cineloop.files import open_file
from v2t_eval.tables import names_of, read_rows, references_of
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
    """sha256 of a corpus file."""
    try:
        with open_file(path) as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read the corpus {path}: {error.strerror}") from error


def frequencies(path: str) -> Frequencies:
    """Frequencies of the captions of a file."""
    clips = _captions_by_clip(Path(path))
    if not clips:
        raise UsageError(
            f"the corpus {path} holds no captions", hint="a manifest, COCO's .json, or a .txt with a clip a line"
        )
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
        if path.suffix == ".txt":
            return [line.split("\t") for _, line in text_lines(read_text(path))]
        clips: dict[str, list[str]] = {}
        for number, row in enumerate(read_rows(path)):
            name = str(row.get("image_id") or (names_of(row) or [f"row {number}"])[0])
            clips.setdefault(name, []).extend(references_of(row))
    except OSError as error:
        raise UsageError(f"cannot read the corpus {path}: {error.strerror}") from error
    return [captions for captions in clips.values() if captions]
