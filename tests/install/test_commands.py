"""What needs files of the package runs from the wheel alone, in a folder that holds none of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest_plugins = ["installed_wheel"]

DOCS = Path(__file__).resolve().parents[2] / "docs"
MADE = "t2v generate 'A red ball rolls to the right on the beach.' -o made/ --generator world"


@pytest.fixture
def shell(installed, tmp_path):
    """`shell(line)`: exit code and text of a command in this fresh folder."""

    def run(line: str) -> tuple[int, str]:
        ran = installed.run("bash", "-c", line, cwd=tmp_path)
        return ran.returncode, ran.stdout + ran.stderr

    return run


@pytest.mark.long
@pytest.mark.slow
def test_every_shipped_suite_and_recipe_is_found_by_name(shell):
    assert shell(MADE)[0] == 0
    for name in ("starter", "gate", "vbench"):
        code, said = shell(f"v2t-eval score made/ --suite {name} --dry-run --json")
        assert code == 0 and "subject_consistency" in said, said
    for program, name in (("v2t", "starter/tower"), ("t2v", "t2v/vae")):
        code, said = shell(f"{program} train {name} --plan --json 2>messages")
        assert code == 0 and json.loads(said)["parts"], said
    code, said = shell("v2t recipes starter/tower > mine.yaml && v2t train mine.yaml --plan")
    assert code == 0, said


@pytest.mark.long
@pytest.mark.slow
def test_the_starter_is_trained_on_without_a_checkout(shell):
    page = (DOCS / "training.md").read_text("utf-8")
    (line,) = re.findall(r"^(t2v train t2v/dit --set .*?)(?:  +#.*)?$", page, re.MULTILINE)
    code, said = shell(f"{line} --plan")
    assert code == 0, said


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("page", ["captioning.md", "generating.md", "python.md"])
def test_the_python_of_a_guide(installed, tmp_path, page):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    assert blocks
    ran = installed.run("python", "-c", "\n".join(blocks), cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
def test_a_judge_of_the_installed_package_is_not_written_over(installed, shell):
    there = installed.site / "v2t/starter/judge.json"
    before = there.read_bytes()
    code, said = shell(f"v2t-eval calibrate starter -o {there} --overwrite")
    assert code == 7 and "installed package" in said and there.read_bytes() == before


@pytest.mark.slow
def test_packages_run_and_cineloop_lists_the_commands(shell):
    for line in ("python -m v2t -V", "python -m t2v -V", "python -m v2t_eval -V", "cineloop -V", "cineloop"):
        code, said = shell(line)
        assert code == 0 and re.match(r"cineloop \d|Cineloop is three", said), said
