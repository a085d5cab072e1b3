"""Join rows of a file to samples: by id, else by path, else by file name without its ending.

In: samples and rows. Out: pairs, unmatched rows, and errors for ambiguous names. Names are compared literally
first; file names then without a video's suffix and in Unicode's composed form (NFC), since file systems differ.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from cineloop.errors import NothingMatchedError, UsageError
from cineloop.log import logger, printable
from cineloop.suffixes import VIDEO_SUFFIXES
from v2t_eval.sample import Sample
from v2t_eval.tables import NAMES, Row, names_of

_SHOWN = 3  # examples in a message


class Joined:
    """Rows of one file, each with the sample it is about.

    Raises:
        UsageError: a name matches two samples, or two rows match one sample by file name alone.
        NothingMatchedError: no row matches.
    """

    def __init__(self, samples: Iterable[Sample], rows: Sequence[Row], file: Path, role: str) -> None:
        self.samples, self.file, self.role = list(samples), file, role
        self._exact: dict[str, Sample] = {}
        self._stems: dict[str, list[Sample]] = {}
        for sample in self.samples:
            for name in dict.fromkeys((str(sample.row.get("path", "")), sample.id)):
                if name:
                    self._exact[name] = sample
            for stem in {stem_of(sample.id), stem_of(str(sample.row.get("path", sample.id)))}:
                self._stems.setdefault(stem, []).append(sample)
        self.pairs: list[tuple[Sample, Row]] = []
        self.unmatched: list[Row] = []
        by_stem: dict[str, str] = {}
        for row in rows:
            found = self._find(row, by_stem)
            if found is None:
                self.unmatched.append(row)
            else:
                self.pairs.append((found, row))
        if not self.pairs:
            ours, theirs = examples(s.id for s in self.samples), examples(map(called, rows))
            hint = f"ids here look like {ours}, there like {theirs}"
            if rows and not any(map(names_of, rows)):
                columns = ", ".join(printable(str(key)) for key in rows[0])
                hint = f"its columns {columns} name no clip; a row is joined by one of {', '.join(NAMES)}"
            raise NothingMatchedError(f"no row of {printable(str(file))} belongs to a sample", hint=hint)

    def _find(self, row: Row, by_stem: dict[str, str]) -> Sample | None:
        names = names_of(row)
        for name in names:
            if name in self._exact:
                return self._exact[name]
        for name in names:
            found = self._stems.get(stem_of(name), [])
            if len(found) > 1:
                raise UsageError(
                    f"{printable(str(self.file))}: {printable(name)} matches several: {examples(s.id for s in found)}",
                    code="AMBIGUOUS",
                    hint="use the ids of the clips",
                )
            if found:
                other = by_stem.setdefault(found[0].id, name)
                if other != name:
                    raise UsageError(
                        f"{printable(str(self.file))}: {printable(other)} and {printable(name)} both match "
                        f"{printable(found[0].id)} by their file names",
                        code="AMBIGUOUS",
                        hint="use the ids of the clips",
                    )
                return found[0]
        return None

    def report(self, counts: Counter[str]) -> None:
        """Count and log unmatched samples and rows."""
        having = {sample.id for sample, _ in self.pairs}
        without = [sample.id for sample in self.samples if sample.id not in having]
        counts[f"with_{self.role}"] = len(having)
        if without:
            counts[f"without_{self.role}"] = len(without)
            logger.warning("%d of %d samples have no %s, for example %s", len(without), len(self.samples), self.role,
                           examples(without))  # fmt: skip
        if self.unmatched:
            counts[f"{self.role}_unmatched"] = len(self.unmatched)
            logger.warning("%d rows of %s belong to no sample, for example %s", len(self.unmatched),
                           printable(str(self.file)), examples(map(called, self.unmatched)))  # fmt: skip


def stem_of(name: str) -> str:
    """The file name without folder and without the ending of a video, composed."""
    last = PurePosixPath(name.replace("\\", "/")).name
    stem, dot, ending = last.rpartition(".")
    return unicodedata.normalize("NFC", stem if stem and f"{dot}{ending.lower()}" in VIDEO_SUFFIXES else last)


def called(row: Row) -> str:
    """The name of a row's clip."""
    return (names_of(row) or ["a row without an id"])[0]


def examples(names: Iterable[str]) -> str:
    """A few of the names, for a message."""
    shown = [repr(printable(name, 60)) for name in list(names)[:_SHOWN]]
    return ", ".join(shown) or "nothing"
