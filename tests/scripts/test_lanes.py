"""The lanes of scripts/test: the short one, which is run before a commit, has tests of every room."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from source_tree import ROOT, parsed, sources

OUT = re.compile(r"mark\.(slow|long|browser|java|vllm|gpu|hub)\b")
# Rooms of which all tests start programs, clusters or devices.
NEVER_SHORT = {"tests/gpu", "tests/install"}


def num_short(text: str) -> int:
    """How many test functions of a file are of the short lane."""
    tree, nodes = parsed(text)
    heads = (
        node for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
    )
    if any(OUT.search(ast.unparse(node)) for node in heads):
        return 0
    tests = (n for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name.startswith("test_"))
    return sum(not any(OUT.search(ast.unparse(mark)) for mark in test.decorator_list) for test in tests)


def short_tests() -> dict[str, int]:
    """Each folder of tests with the number of its test functions in the short lane."""
    rooms: dict[str, int] = {}
    for path, text in sources("tests"):
        if path.name.startswith("test_"):
            room = path.parent.as_posix()
            rooms[room] = rooms.get(room, 0) + num_short(text)
    return rooms


def test_planted_marks_are_seen():
    assert num_short("def test_a(): ...\n@pytest.mark.slow\ndef test_b(): ...\n") == 1
    assert num_short("pytestmark = [pytest.mark.long]\ndef test_a(): ...\n") == 0


def test_every_room_has_tests_in_the_short_lane():
    rooms = short_tests()
    assert {room for room, num in rooms.items() if not num} == NEVER_SHORT
    assert all((ROOT / Path(room)).is_dir() for room in rooms) and sum(rooms.values()) > 1500
