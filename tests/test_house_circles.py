"""No module imports itself by way of others, be it at the top of its file, in a function or for types alone."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

PACKAGES = ("cineloop", "v2t", "t2v", "v2t_eval")


def circle(imports: Mapping[str, set[str]]) -> list[str]:
    """Modules of which each is imported by the next, the first by the last; empty where there are none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def imports_of(*packages: str) -> dict[str, set[str]]:
    """Each module with those of the packages that it imports."""
    graph = grimp.build_graph(*packages, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def test_no_import_circles():
    assert circle(imports_of(*PACKAGES)) == []


@pytest.mark.parametrize("line", ["import planted.a", "def f():\n    from planted import a"])
def test_a_planted_circle_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str):
    (tmp_path / "planted").mkdir()
    for name, text in {"__init__": "", "a": "import planted.b", "b": "from planted import c", "c": line}.items():
        (tmp_path / "planted" / f"{name}.py").write_text(text + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert set(circle(imports_of("planted"))) == {"planted.a", "planted.b", "planted.c"}
