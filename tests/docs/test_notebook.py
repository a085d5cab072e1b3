"""The notebook: stripped, small, and all of its cells run in one plain Python process, in an empty folder, offline."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


def sources(kind: str) -> list[str]:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def test_it_is_small_and_its_outputs_are_stripped():
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    assert NOTEBOOK.stat().st_size <= 60_000 and (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("code", "markdown")
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            ast.parse("".join(cell["source"]))


def test_it_names_where_a_hub_model_goes_and_links_pages_that_exist():
    text = "\n".join(sources("markdown"))
    assert "A hub model goes here" in text and any(s.startswith('MODEL = "starter"') for s in sources("code"))
    pages = re.findall(r"\]\(([\w-]+\.md)\)", text)
    assert pages and all((NOTEBOOK.parent / page).is_file() for page in pages)


@pytest.mark.long
def test_its_cells_run_from_top_to_bottom(tmp_path):
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join(sources("code")), encoding="utf-8")
    (temporary := tmp_path / "temporary").mkdir()
    env = {**os.environ, "TMPDIR": str(temporary)}
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=900
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    folder = Path(ran.stdout.splitlines()[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "notebook.py",
        "temporary",
    ]  # all of it went into its own folder
    assert len(re.findall(r"^ok \|", ran.stdout, re.M)) == 4 and (folder / "captions/captions.jsonl").is_file()
    assert re.search(r"^What color is it\? -> .*blue", ran.stdout, re.M)
    assert re.search(r"^question_score +[\d.]+", ran.stdout, re.M)
    assert re.search(r"^pass - ", ran.stdout, re.M) and re.search(r"^(fail|inconclusive) - ", ran.stdout, re.M)
