"""The container file holds what it installs: its copied files import and start, its lines are understood.

No image is built here: that needs a registry. COPY and `ln` are done by hand in an empty folder, what is installed is
compared with pyproject.toml and the lock, and each entry point is started from the copied files.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from v2t import cli as v2t
from v2t_eval import cli as v2t_eval

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "configs" / "container" / "Containerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}


def copied(text: str, folder: Path) -> None:
    """The working folder of the base image, with links in place of copies."""
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            place = folder / (source if target == "./" else target)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(ROOT / source)
    for link in re.findall(r"ln -s (\w+) (\w+)", text):
        (folder / link[1]).symlink_to(link[0])


@pytest.mark.slow
def test_what_is_copied_makes_the_packages_and_starts(tmp_path):
    copied(TEXT, tmp_path)
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert (tmp_path / package / "__init__.py").is_file(), package
    for named in (PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]):
        assert (tmp_path / named).is_file()
    assert (tmp_path / "configs/full/instruct.yaml").is_file()  # where the link cineloop/recipes leads
    program = (
        "import sys, cineloop.cli, v2t.cli, v2t_eval.cli; print(v2t.cli.__file__); sys.exit(v2t.cli.main(['recipes']))"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}
    ran = subprocess.run([sys.executable, "-c", program], cwd="/", env=env, capture_output=True, text=True)
    assert ran.returncode == 0 and ran.stdout.startswith(str(tmp_path)), ran.stderr[-500:]


def test_the_python_and_what_is_installed_are_the_projects():
    (python,) = re.findall(r"^FROM docker.io/library/python:(3\.\d+)-slim AS base$", TEXT, re.MULTILINE)
    assert tuple(map(int, python.split("."))) >= (3, 11) and PROJECT["project"]["requires-python"] == ">=3.11"
    installs = re.findall(r"^RUN pip install (.*)$", TEXT, re.MULTILINE)
    assert len(installs) == 4
    for line in installs:
        words = shlex.split(line.split("&&")[0])
        for extras in [re.fullmatch(r"\.\[(.*)\]", word) for word in words]:
            assert extras is None or set(extras[1].split(",")) <= set(PROJECT["project"]["optional-dependencies"])
        for path in [word for before, word in zip(words, words[1:], strict=False) if before in ("-c", "-r")]:
            assert (ROOT / path).is_file(), path
        assert all(word in LOCK for word in words if re.fullmatch(r"[a-z]+", word))


def test_the_commands_of_the_images_are_those_of_the_package(capsys):
    stages = re.findall(r"FROM job AS (\w+)\n.*?ENTRYPOINT (\[.*?\])\nCMD (\[.*?\])", TEXT, re.DOTALL)
    assert [stage for stage, _, _ in stages] == ["caption", "gate"]
    programs = {"v2t": v2t.main, "v2t-eval": v2t_eval.main}
    for _, entry, rest in stages:
        program, *words = [*json.loads(entry), *json.loads(rest)]
        with pytest.raises(SystemExit) as left:
            programs[program](words)
        assert left.value.code == 0 and f"usage: {program} {words[0]}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_lines_of_the_head_are_parsed_by_the_commands(tmp_path, monkeypatch, capsys):
    text = re.sub(r" \\\n#\s+", " ", TEXT)
    lines = re.findall(r"^#   podman run .*? cineloop-(caption|gate) (.*)$", text, re.MULTILINE)
    assert [name for name, _ in lines] == ["caption", "gate"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()  # empty: nothing matches, and every word was understood
    assert v2t.main(["caption", *shlex.split(lines[0][1]), "--dry-run"]) == 4
    assert v2t_eval.main(["gate", *shlex.split(lines[1][1])]) in (2, 4)
    assert "unrecognized" not in capsys.readouterr().err
