"""House rule on names in back-ticks: what documents and docstrings name exists.

Looked at is what has the form of a name of ours: a path of a module, page or script; a dotted name; a word with an
underscore, a capital inside or brackets behind. A planted breach shows that each form can fail.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from source_tree import FOLDERS, PACKAGES, ROOT, dotted, module_of, parsed, sources, tracked

# Names of other programs and of a reader's own files, which no line of ours repeats.
FOREIGN = {
    "AWS_PROFILE",
    "FSSPEC_S3_CONFIG_KWARGS",
    "IndexFlatIP",  # faiss
    "MaxArraySize",  # Slurm
    "PR_SET_DUMPABLE",  # prctl
    "TORCHINDUCTOR_CACHE_DIR",
    "VideoMediaIO.load_base64",  # vLLM
    "cineloop.curate",  # keys of Parquet metadata
    "cineloop.scores",
    "mine/step.py",
    "rescale_noise_cfg",  # diffusers
    "path/to/file.py",
}
PLACEHOLDER = re.compile(r"(?<![A-Z])(NAME|COLUMN|FOLDER)(?![A-Z])")
QUOTED = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
PAGES = ("README.md", "CONTRIBUTING.md")
MADE = {"report.md"}  # what commands write beside their clips


def members(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that a module or class defines at its own level, and what its methods set of `self`."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and dotted(node.value) == "self":
            names.add(node.attr)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
    return names


@cache
def definitions() -> tuple[dict[str, set[str]], dict[str, list[ast.ClassDef]]]:
    """Members of each module of ours, and the bodies of each class by its name: one pass over the sources."""
    listed: dict[str, set[str]] = {}
    bodies: dict[str, list[ast.ClassDef]] = {}
    for path, text in sources(*FOLDERS):
        nodes = parsed(text)[1]
        listed[module_of(path)] = members(nodes)
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                bodies.setdefault(node.name, []).append(node)
    return listed, bodies


@cache
def modules() -> dict[str, set[str]]:
    """Modules and packages of ours with their members."""
    listed = dict(definitions()[0])
    for name in list(listed):
        parent, _, leaf = name.rpartition(".")
        while parent:
            listed.setdefault(parent, set()).add(leaf)
            parent, _, leaf = parent.rpartition(".")
    return listed


@cache
def classes() -> dict[str, set[str] | None]:
    """Members of each class of ours by its name, inherited ones too; None where it inherits from a library."""
    bodies = definitions()[1]

    def of(name: str, path: tuple[str, ...] = ()) -> set[str] | None:
        if name not in bodies or name in path:
            return set() if name in ("object", "Protocol", "Generic", "ABC", *path) else None
        names: set[str] = set()
        for body in bodies[name]:
            names |= members(ast.walk(body))
            for base in body.bases:
                inherited = of(dotted(base).split(".")[-1], (*path, name))
                if inherited is None:
                    return None
                names |= inherited
        return names

    return {name: of(name) for name in bodies}


@cache
def vocabulary() -> frozenset[str]:
    """Words of paths, of the code without docstrings and comments, of files in other languages."""
    words = {word for path in tracked() for word in re.findall(r"\w+", str(path))}
    for path in tracked():
        if path.suffix == ".py" and path.name != Path(__file__).name:  # its planted names are missing ones
            code = re.sub(r'"""[\s\S]*?"""|(?<!\S)#.*', "", (ROOT / path).read_text("utf-8"))
            words.update(re.findall(r"\w+", code))
        elif path.suffix in {".yaml", ".yml", ".toml", ".json", ".js", ".j2", ".html", ".sh", ".lock", ""}:
            words.update(re.findall(r"[A-Za-z_]\w+", (ROOT / path).read_text("utf-8", "replace")[:300_000]))
    return frozenset(words)


def exists(name: str, near: Path) -> bool:
    """Whether a name in back-ticks, met in the file `near`, is of no form of ours or is there."""
    if name in FOREIGN or PLACEHOLDER.search(name):
        return True
    if re.fullmatch(r"[\w./-]+\.(py|md|sh)", name):
        folders = (Path(), *near.parents, *map(Path, FOLDERS), Path("scripts"), Path("docs"))
        return name in MADE or any((ROOT / folder / name).exists() for folder in folders)
    match = re.fullmatch(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(\(.*\))?", name, re.DOTALL)
    if not match:
        return True
    first, *rest = match[1].split(".")
    if rest and first in PACKAGES:
        return _resolves(match[1])
    if rest and (own := classes().get(first)) is not None:
        return rest[0] in own
    looks_ours = rest or match[2] or "_" in first.strip("_") or re.search(r"[a-z][A-Z]|^[A-Z][a-z]", first)
    return not looks_ours or vocabulary().issuperset((first, *rest))


def _resolves(name: str) -> bool:
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        if (own := modules().get(".".join(parts[:n]))) is not None:
            return n == len(parts) or parts[n] in own or "__getattr__" in own
    return parts[0] == "v2t" and len(parts) == 2 and parts[1] in vocabulary()  # `v2t.sh` and other file names


def quoted(path: Path, text: str) -> list[str]:
    """What stands between back-ticks in a page, or in the docstrings of a module."""
    if path.suffix == ".md":
        return [" ".join(name.split()) for name in QUOTED.findall(FENCE.sub("", text))]
    if "`" not in text:  # to parse it would be for nothing
        return []
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = (node for node in parsed(text)[1] if isinstance(node, kinds))
    docstrings = (ast.get_docstring(node) or "" for node in nodes)
    return [" ".join(name.split()) for text in docstrings for name in QUOTED.findall(text)]


def missing(path: Path, text: str) -> list[str]:
    return [f"{path}: `{name}`" for name in quoted(path, text) if not exists(name, path)]


@pytest.mark.parametrize(
    "name",
    [
        "cineloop/video/gone.py",
        "reference/gone.md",
        "scripts/gone.sh",
        "v2t.caption.gone",
        "cineloop.errors.GoneError",
        "Frames.gone_s",
        "GoneByNow",
        "gone_by_now",
        "gonebynow()",
    ],
)
def test_a_planted_name_is_seen(name):
    assert missing(Path("docs/gate.md"), f"# Page\n\nAs `{name}` says.\n")
    assert missing(Path("v2t/cli.py"), f'"""As `{name}` says."""\n')


def test_names_that_are_there_pass():
    ours = "`cineloop/video/frames.py` `frames.py` `cineloop.video.frames` `v2t_eval.core.sample` `Frames.times_s`"
    others = "`torch.no_grad()` `eval/metrics/NAME.py` `a b`"
    assert missing(Path("cineloop/video/sample.py"), f'"""{ours} {others}."""') == []


def test_documents_and_docstrings_name_what_exists():
    pages = [path for path in tracked() if path.suffix == ".md" and path.parts[0] in {*PAGES, "docs"}]
    texts = [(path, (ROOT / path).read_text("utf-8")) for path in pages]
    texts += sources(*FOLDERS, "scripts", "benchmarks", "tests")
    assert [line for path, text in texts for line in missing(path, text)] == []
