"""Options of a config dataclass: its flags, their help, and the config that a command line means."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from cineloop.errors import UsageError
from cineloop.options import add_layers, add_options, load_options, option, options_of, setting
from cineloop.parser import Parser


@dataclass(frozen=True, kw_only=True)
class Machine:
    device: str = option("auto", "auto (default), cpu", group="the machine")
    seconds: float = setting(60.0, "longest work")


@dataclass(frozen=True, kw_only=True)
class Job:
    source: str = option("starter", "what to read", flag="SOURCE")
    num: int | None = option(None, "how many (default: all)", flag="--number", metavar="N")
    batch: int = option(16, "so many at once")
    out: Path | None = option(None, "where to")
    page: bool = option(True, "without the page")
    retry: bool = option(False, "try again")
    formats: tuple[str, ...] = option(("txt", "html"), "what to write", metavar="A,B")
    include: tuple[str, ...] = option((), "only these", metavar="PATTERN")
    roots: dict[str, Path] = option({}, "folders by name", flag="--root", metavar="NAME=DIR")
    how: Literal["fast", "slow"] = option("fast", "fast (default) or slow")
    options: dict[str, Any] = setting({}, "of the reader")
    machine: Machine = setting(Machine(seconds=5.0), "where it runs")


def parser() -> Parser:
    made = Parser(prog="job")
    made.add_argument("--depth", dest="options.depth", type=int)
    add_options(made, Job, without={"include"})
    add_layers(made, Job)
    return made


def job(*words: str) -> Job:
    return load_options(parser().parse_args(list(words)), Job)


def test_without_flags_every_default_stands():
    assert job() == Job()
    assert job().machine.seconds == 5.0


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("folder", "source", "folder"),
        ("--number 3", "num", 3),
        ("--batch 4", "batch", 4),
        ("--out there", "out", Path("there")),
        ("--no-page", "page", False),
        ("--retry", "retry", True),
        ("--formats jsonl, --formats a,b", "formats", ("a", "b")),
        ("--root a=x --root b=y=z", "roots", {"a": Path("x"), "b": Path("y=z")}),
        ("--how slow", "how", "slow"),
        ("--depth 2 --set options.width=3", "options", {"depth": 2, "width": 3}),
        ("--device cpu --set machine.seconds=7", "machine", Machine(device="cpu", seconds=7.0)),
        ("--set batch=2 --batch 8", "batch", 8),
        ("--set include=[a,b]", "include", ("a", "b")),
    ],
)
def test_flags_by_type_over_settings(line, key, value):
    assert getattr(job(*line.split()), key) == value


def test_a_file_lies_below_settings_and_flags(tmp_path):
    (tmp_path / "job.yaml").write_text("batch: 1\nnum: 2\nmachine: {device: cpu}\n")
    made = job("--config", str(tmp_path / "job.yaml"), "--set", "num=5")
    assert (made.batch, made.num, made.machine.device) == (1, 5, "cpu")


@pytest.mark.parametrize("line", ["--batch x", "--root a", "--root a=x --root a=y", "--include x", "--bacth 3"])
def test_wrong_flags_end_with_usage(line, capsys):
    with pytest.raises(SystemExit) as end:
        job(*line.split())
    assert end.value.code == 2 and capsys.readouterr().err.startswith("error USAGE: ")


@pytest.mark.parametrize(("text", "near"), [("bacth=3", "batch"), ("machine.devise=cpu", "machine.device")])
def test_unknown_keys_name_the_nearest(text, near):
    with pytest.raises(UsageError, match="unknown configuration key") as error:
        job("--set", text)
    assert near in str(error.value)


def test_help_names_each_default_once():
    shown = {each.key: each.help for each in options_of(Job)}
    assert shown["batch"] == "so many at once (default: 16)" and shown["formats"].endswith("(default: txt,html)")
    assert shown["num"] == "how many (default: all)" and shown["how"] == "fast (default) or slow"
    assert shown["page"] == "without the page" and shown["machine.seconds"] == "longest work (default: 5)"
    assert "the machine:\n  --device DEVICE" in parser().format_help()


def test_a_field_without_a_text_cannot_be_an_option():
    @dataclass(frozen=True, kw_only=True)
    class Bare:
        size: int = field(default=1)

    with pytest.raises(KeyError):
        add_options(Parser(), Bare)
