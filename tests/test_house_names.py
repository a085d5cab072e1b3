"""House rules on names: public class names are used once, functions and classes are no participles, nothing is `found`.

A planted breach shows that each rule can fail.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

from source_tree import FOLDERS, parsed, sources

# What a plug-in's or stage's file must call its class: one a file, by contract.
CONTRACTS = {
    "Backend",
    "Config",
    "Detector",
    "Extractor",
    "Forge",
    "Format",
    "Generator",
    "Metric",
    "Objective",
    "Rater",
}
CONTRACTS |= {"Rater", "Settings", "Step", "Transcriber"}
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


def public_classes(text: str) -> list[str]:
    """Names of the public classes of a source that are to be its own."""
    names = [node.name for node in parsed(text)[1] if isinstance(node, ast.ClassDef)]
    return [name for name in names if not name.startswith("_") and name not in CONTRACTS]


def repeated(homes: dict[str, list[str]]) -> list[str]:
    """Names that more than one class has, with their files."""
    return [f"{name}: {' and '.join(paths)}" for name, paths in sorted(homes.items()) if len(paths) > 1]


def test_planted_names_are_seen():
    for name in ("kept", "_checked", "made_on", "nothing_found", "encoded"):
        assert participles(Path("x.py"), f"def {name}():\n    pass\n"), name
    for name in ("is_kept", "check_allowed", "kept_rows", "embed", "on_done", "load_trained", "speed"):
        assert not participles(Path("x.py"), f"def {name}():\n    pass\n"), name
    assert participles(Path("x.py"), "class Seen:\n    pass\n") and not participles(Path("x.py"), "class Seed: ...\n")
    assert finds(Path("x.py"), "found = 1\n") and finds(Path("x.py"), "def f(found): ...\n")
    assert not finds(Path("x.py"), "is_found = error.found\n")
    assert public_classes("class Table: ...\ndef f():\n    class Row: ...\nclass _Own: ...\n") == ["Table", "Row"]
    assert repeated({"Table": ["a.py", "b.py"], "Row": ["a.py"]}) == ["Table: a.py and b.py"]


@cache
def breaches() -> dict[str, list[str]]:
    """What each rule finds, in one pass: to read and parse every source for each of them is most of the time."""
    lines: dict[str, list[str]] = {"participles": [], "finds": []}
    homes: dict[str, list[str]] = defaultdict(list)
    for path, text in sources(*FOLDERS, "scripts", "benchmarks"):
        lines["participles"] += participles(path, text)
        lines["finds"] += finds(path, text)
        if path.parts[0] in FOLDERS:
            for name in public_classes(text):
                homes[name].append(str(path))
    return lines | {"repeated": repeated(homes)}


def test_names_say_what_is_returned():
    assert breaches()["participles"] == []


def test_no_variable_is_called_found():
    assert breaches()["finds"] == []


def test_a_public_class_name_is_used_once():
    assert breaches()["repeated"] == []
