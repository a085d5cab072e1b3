"""What stands around every command: help, versions, exit codes. Wrong lines: `test_command_lines`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cineloop import errors
from cineloop.cli import guard
from cineloop.errors import UsageError
from t2v.cli import main as t2v
from t2v.generators import open_generator
from v2t.backends import open_backend
from v2t.cli import main
from v2t.cli import main as v2t
from v2t_eval.cli import main as v2t_eval
from v2t_eval.cli import overview

COMMANDS = {"v2t": v2t, "t2v": t2v, "v2t-eval": v2t_eval}


def ends(command: str, *words: str) -> int:
    try:
        return COMMANDS[command](list(words))
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_what_one_asks_for_in_any_way(command, capsys):
    shown = {}
    for words in ([], ["help"], ["-h"], ["--help"]):
        assert ends(command, *words) == 0
        shown[" ".join(words)] = capsys.readouterr().out
    assert len(set(shown.values())) == 1 and "Exit codes:" in shown["help"]
    verb = "train" if command != "v2t-eval" else "score"
    assert ends(command, "help", verb) == 0
    assert f"usage: {command} {verb}" in capsys.readouterr().out


def test_a_verb_of_two_words_has_a_help_of_its_own(capsys):
    for words in (["help", "gate", "init"], ["gate", "init", "--help"]):
        assert ends("v2t-eval", *words) == 0
        shown = capsys.readouterr().out
        assert "usage: v2t-eval gate init" in shown and "--reason" not in shown


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_versions(command, flag, capsys):
    assert ends(command, flag) == 0
    assert re.fullmatch(r"cineloop \d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_exit_code_that_there_is(command, capsys):
    ends(command, "--help")
    told = set(re.findall(r"\b\d+\b", capsys.readouterr().out.split("Exit codes:")[1]))
    codes = {str(code) for name, code in vars(errors).items() if name.startswith("EXIT_")}
    of_gates = {str(errors.EXIT_GATE_FAILED), str(errors.EXIT_INCONCLUSIVE), str(errors.EXIT_NOT_COMPARABLE)}
    assert told == (codes if command == "v2t-eval" else codes - of_gates)


@pytest.mark.slow
@pytest.mark.parametrize("package", ["v2t", "t2v", "v2t_eval"])
def test_packages_can_be_run(package, tmp_path):
    words = [sys.executable, "-m", package, "--version"]
    ran = subprocess.run(words, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and ran.stdout.startswith("cineloop "), ran.stderr


def test_cineloop_names_the_three_commands(capsys):
    assert overview([]) == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"^{command}\b", shown, re.MULTILINE) for command in COMMANDS), shown
    assert "caption" in shown and "generate" in shown and "gate" in shown
    assert overview(["caption", "x"]) == 2 and "did you mean v2t caption?" in capsys.readouterr().err
    assert overview(["-V"]) == 0 and capsys.readouterr().out.startswith("cineloop ")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (FileNotFoundError(2, "No such file or directory", "w.bin"), 5, "error ENVIRONMENT: "),
        (KeyError("x"), 1, "error UNEXPECTED: KeyError: 'x'"),
        (UsageError("no"), 2, "error USAGE: no"),
    ],
)
def test_an_error_is_a_line_and_a_traceback_only_with_v(error, code, says, capsys):
    def work() -> int:
        raise error

    assert guard(work, traceback=False) == code
    plain = capsys.readouterr().err
    assert plain.startswith(says) and "Traceback" not in plain
    assert guard(work, traceback=True) == code
    full = capsys.readouterr().err
    assert says in full
    assert ("Traceback" in full and "in work" in full) == (code != 2)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "CPU", ""])
@pytest.mark.parametrize(
    "opened",
    [
        lambda device: open_backend("starter", device=device),
        lambda device: open_generator("world", device=device),
    ],
)
def test_an_unknown_device_is_refused_with_the_choices(opened, device):
    with pytest.raises(UsageError, match=f"auto, cpu, cuda or cuda:N, got '{device}'"):
        opened(device)


@pytest.mark.parametrize("name", ["--output", "--out", "-o"])
def test_the_folder_for_results_has_one_name(name, tmp_path):
    assert main(["world", "--num", "0", name, str(tmp_path / "w")]) in (0, 2)
    assert main(["train", str(tmp_path / "none.yaml"), name, str(tmp_path)]) == 2
