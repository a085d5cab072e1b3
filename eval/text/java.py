"""pycocoevalcap's Java programs: where they are, and how they run so that nothing of the machine decides the result.

In: lines of text. Out: what the program says of each. Always a fixed locale (a German one makes METEOR print commas),
UTF-8, an own folder for temporary files, and every program of one call in one process. The package itself is never
imported; of it only the jars are read. A jar's folder may hold a space or be read-only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from cineloop.errors import MissingDependencyError
from v2t_eval.text.ptb import flatten

TOKENIZER = "tokenizer/stanford-corenlp-3.4.1.jar"
_FIXED = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8")
_REMOVED = frozenset(
    ("''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";")
)  # the punctuation that pycocoevalcap removes; after lower-casing, brackets stay
_FENCE = "|"  # stands on a line between two texts: no rule of the tokenizer reaches over it
_LONGEST_S = 1800.0


def java_missing(jar: str = TOKENIZER) -> str:
    """What is missing to run `jar` of pycocoevalcap; "" when it can run."""
    if shutil.which("java") is None:
        return "a Java runtime"
    folder = package_folder()
    return "" if folder is not None and (folder / jar).is_file() else "the package pycocoevalcap"


def need_java(jar: str) -> Path:
    """The path of `jar` of pycocoevalcap.

    Raises:
        MissingDependencyError: there is no Java runtime, or no pycocoevalcap.
    """
    missing = java_missing(jar)
    folder = package_folder()
    if missing or folder is None:
        hint = (
            "pip install 'cineloop[eval]'"
            if "package" in missing
            else "for example: apt-get install default-jre-headless"
        )
        raise MissingDependencyError(f"needs {missing}", hint=hint)
    return folder / jar


def package_folder() -> Path | None:
    """Where pycocoevalcap is installed; None when it is not."""
    spec = find_spec("pycocoevalcap")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    return Path(places[0]) if places else None


@lru_cache(maxsize=8)
def jar_hash(jar: Path) -> str:
    """The first 16 digits of the sha256 of a file."""
    with open(jar, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()[:16]


def run_java(arguments: Sequence[str], folder: Path, *, given: str | None = None, opened: Sequence[str] = ()) -> str:
    """What a Java program prints. `folder`: where it runs, and where its temporary files go; `opened`: packages of
    java.base that it reads by reflection, closed since Java 16.

    Raises:
        MissingDependencyError: it did not run to its end; the message ends with the end of its stderr.
    """
    added = " ".join(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in opened)
    env = os.environ | {"JDK_JAVA_OPTIONS": f"{os.environ.get('JDK_JAVA_OPTIONS', '')} {added}".strip()}
    command = ["java", *_FIXED, f"-Djava.io.tmpdir={folder}", *arguments]
    try:
        ended = subprocess.run(
            command, cwd=folder, env=env, input=given, capture_output=True, encoding="utf-8", timeout=_LONGEST_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingDependencyError(f"a Java program of pycocoevalcap did not run: {error}") from error
    if ended.returncode:
        stderr_end = " ".join(ended.stderr.split()[-60:])
        raise MissingDependencyError(f"a Java program of pycocoevalcap ended with {ended.returncode}: {stderr_end}")
    return ended.stdout


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder of our own, removed at the end."""
    usual = tempfile.gettempdir()
    place = "/tmp" if " " in usual and os.access("/tmp", os.W_OK) else usual  # METEOR stumbles on spaces
    with tempfile.TemporaryDirectory(prefix="cineloop-java-", dir=place) as folder:
        yield Path(folder)


def java_tokenize(texts: Sequence[str]) -> list[str]:
    """Tokens of each text by Stanford's PTBTokenizer as pycocoevalcap runs it, in one process.

    Raises:
        MissingDependencyError: there is no Java runtime or no pycocoevalcap, or a text breaks its line.
    """
    if not texts:
        return []
    jar = need_java(TOKENIZER)
    with work_folder() as folder:
        given = folder / "texts"
        given.write_text("".join(f"{flatten(text)}\n{_FENCE}\n" for text in texts), encoding="utf-8")
        lines = run_java(
            ["-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase", given.name],
            folder,
        ).split("\n")
    if len(lines) != 2 * len(texts) + 1 or set(lines[1::2]) != {_FENCE}:
        return _one_by_one(texts)
    return [_without_punctuation(line) for line in lines[:-1:2]]


def _one_by_one(texts: Sequence[str]) -> list[str]:
    """A tag that opens in one text and closes in another joins their lines: halve until each stands alone."""
    if len(texts) == 1:
        raise MissingDependencyError(f"the Java tokenizer gave no single line for {texts[0][:80]!r}")
    middle = len(texts) // 2
    return java_tokenize(texts[:middle]) + java_tokenize(texts[middle:])


def _without_punctuation(line: str) -> str:
    return " ".join(word for word in line.rstrip().split(" ") if word not in _REMOVED)
