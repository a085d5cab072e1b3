"""House rules on names: public class names are used once, functions and classes are no participles, nothing is `found`.

A planted breach shows that each rule can fail.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from source_tree import FOLDERS, parsed, sources

# What a plug-in's or stage's file must call its class: one a file, by contract.
CONTRACTS = {
    "Backend",
    "Config",
    "Detector",
    "Extractor",
    "Generator",
    "Metric",
    "Objective",
    "Rater",
    "Settings",
    "Step",
}
CONTRACTS |= {"CineloopForConditionalGeneration"}  # the architecture's name, in transformers and in vLLM

IRREGULAR = set(
    "begun bought brought built caught chosen done drawn driven fallen felt forgotten found given gone grown heard held"
    " hidden kept known laid led lent lost made meant met paid said seen sent shown sold spent spoken stolen struck"
    " stuck swept taken taught thought thrown told torn understood won written".split()
)
NO_PARTICIPLES = set("bed bleed embed exceed feed indeed need proceed red seed shed speed succeed unused".split())
AFTER = set("aside as at by for from here in of on out to with".split())  # `made_on` is as bad as `made`
# What makes the last word an adjective (`is_known`), or its object (`check_allowed`).
BEFORE = set("are can check decode encode ensure has is join load merge on refuse rename unless was were".split())
FOREIGN = {"connection_made"}  # asyncio's protocol


def is_participle(word: str) -> bool:
    return word in IRREGULAR or (word.endswith("ed") and len(word) > 4 and word not in NO_PARTICIPLES)


def participles(path: Path, text: str) -> list[str]:
    """Functions named by a participle, alone, behind a noun or before a preposition; classes that are one."""
    complaints = []
    for node in parsed(text)[1]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if any("property" in ast.unparse(decorator) for decorator in node.decorator_list):
                continue
            words = node.name.strip("_").split("_")
            bare = words[:-1] if len(words) > 1 and words[-1] in AFTER else words
            if is_participle(bare[-1]) and words[0] not in BEFORE and node.name not in FOREIGN:
                complaints.append(f"{path}: {node.name}")
        elif isinstance(node, ast.ClassDef) and node.name[0] != "_" and is_participle(node.name.lower()):
            complaints.append(f"{path}: {node.name}")
    return complaints


def finds(path: Path, text: str) -> list[str]:
    """Variables and arguments called `found`."""
    stores = (node for node in parsed(text)[1] if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    names = [node.id for node in stores] + [node.arg for node in parsed(text)[1] if isinstance(node, ast.arg)]
    return [f"{path}: found"] * ("found" in names)


def repeated(files: Iterable[tuple[Path, str]]) -> list[str]:
    """Public names that more than one class has."""
    homes: dict[str, list[str]] = defaultdict(list)
    for path, text in files:
        for node in parsed(text)[1]:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name not in CONTRACTS:
                homes[node.name].append(str(path))
    return [f"{name}: {' and '.join(paths)}" for name, paths in sorted(homes.items()) if len(paths) > 1]


def test_planted_names_are_seen():
    for name in ("kept", "_checked", "made_on", "nothing_found", "encoded"):
        assert participles(Path("x.py"), f"def {name}():\n    pass\n"), name
    for name in ("is_kept", "check_allowed", "kept_rows", "embed", "on_done", "load_trained", "speed"):
        assert not participles(Path("x.py"), f"def {name}():\n    pass\n"), name
    assert participles(Path("x.py"), "class Seen:\n    pass\n") and not participles(Path("x.py"), "class Seed: ...\n")
    assert finds(Path("x.py"), "found = 1\n") and finds(Path("x.py"), "def f(found): ...\n")
    assert not finds(Path("x.py"), "is_found = error.found\n")
    twice = [(Path("a.py"), "class Table: ...\n"), (Path("b.py"), "def f():\n    class Table: ...\n")]
    assert repeated(twice) == ["Table: a.py and b.py"] and repeated(twice[:1]) == []


def test_names_say_what_is_returned():
    files = sources(*FOLDERS, "scripts", "benchmarks")
    assert [line for path, text in files for line in participles(path, text)] == []


def test_no_variable_is_called_found():
    files = sources(*FOLDERS, "scripts", "benchmarks")
    assert [line for path, text in files for line in finds(path, text)] == []


def test_a_public_class_name_is_used_once():
    assert repeated(sources(*FOLDERS)) == []
