"""Layers, nearest keys, types, round trip."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from cineloop import config as configs
from cineloop.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 1e-3
    steps: int = 10
    names: tuple[str, ...] = ("a",)
    kind: Literal["x", "y"] = "x"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    out: Path
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    lr: dict[str, float] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)
    flag: bool = False


def test_later_layers_win(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("out: a\ninner: {steps: 2, rate: 5}\nlr: {tower: 1.0}\n")
    made = configs.load(Outer, file=file, sets=["inner.steps=3", "lr.heads=3e-4"], flags={"out": "b", "flag": None})
    assert made == Outer(out=Path("b"), inner=Inner(steps=3, rate=5.0), lr={"tower": 1.0, "heads": 3e-4})
    assert isinstance(made.inner.rate, float)


def test_an_unknown_key_where_there_are_none_says_so():
    @dataclass
    class Empty:
        pass

    with pytest.raises(UsageError, match=r"unknown configuration key 'x' \(no key is known here\)"):
        configs.load(Empty, sets=["x=1"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("inner.step=3", r"unknown configuration key 'inner.step'.*did you mean 'inner.steps'"),
        ("ratte=3", r"unknown configuration key 'ratte'.*did you mean 'inner.rate'"),
        ("inner.steps=many", r"inner.steps must be a whole number; got str 'many'"),
        ("inner.steps=2.5", r"inner.steps must be a whole number"),
        ("inner.steps=true", r"inner.steps must be a whole number"),
        ("inner.kind=z", r"inner.kind must be one of x, y; got 'z'"),
        ("inner.names=a", r"inner.names must be a list"),
        ("inner.steps=0", r"configuration of inner: steps must be at least 1, got 0"),
        ("flag=1", r"flag must be true or false"),
        ("lr.tower=fast", r"lr.tower must be a number"),
        ("maybe.kinds=x", r"unknown configuration key 'maybe.kinds'.*did you mean 'maybe.kind'"),
        ("inner", r"must look like key.name=value"),
    ],
)
def test_what_is_wrong_is_named(setting, message):
    with pytest.raises(UsageError, match=message):
        configs.load(Outer, sets=["out=x", setting])


def test_missing_key_and_broken_files_are_named(tmp_path):
    with pytest.raises(UsageError, match="configuration lacks out"):
        configs.load(Outer)
    with pytest.raises(UsageError, match="cannot read the configuration"):
        configs.load(Outer, file=tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(UsageError, match="must hold a mapping"):
        configs.load(Outer, file=tmp_path / "list.yaml")


def test_numbers_without_a_dot_are_numbers():
    assert yaml.safe_load("3e-4") == "3e-4"  # the trap of YAML 1.1 that the config has to undo
    assert configs.load(Outer, sets=["out=x", "inner.rate=3e-4"]).inner.rate == 3e-4


@pytest.mark.parametrize("setting", ["inner.steps=.inf", "inner.steps=.nan", "inner.rate=.inf", "inner.rate=.nan"])
def test_a_number_is_finite(setting):
    with pytest.raises(UsageError, match=rf"{setting.partition('=')[0]} must be a (whole )?number.*got"):
        configs.load(Outer, sets=["out=x", setting])


def test_a_constant_of_a_python_file_is_found_in_small_letters():
    with pytest.raises(UsageError, match="did you mean 'flag'"):
        configs.load(Outer, sets=["out=x", "FLAG=true"])


def test_dump_reads_back_equal(tmp_path):
    made = Outer(out=Path("x"), maybe=Inner(names=("p", "q")), lr={"a": 1.0}, free={"deep": {"list": [1, 2]}})
    (tmp_path / "c.yaml").write_text(configs.dump(made))
    assert configs.load(Outer, file=tmp_path / "c.yaml") == made


def test_changes_name_the_key():
    assert configs.changes({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == ["a.c: 2 → 3", "d: None → 4"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("out: x\ninner:\n  steps: 3\nout: y\n", "the key 'out' stands twice, in line 1 and in line 4"),
        ("out: x\ninner:\n  steps: 3\n  'steps': 4\n", "the key 'steps' stands twice, in line 3 and in line 4"),
        ("out: x\nfree: {a: 1, b: {a: 2}, a: 3}\n", "the key 'a' stands twice, in line 2 and in line 2"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path, text, told):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UsageError, match=f"c.yaml is not YAML as expected: {told}"):
        configs.load(Outer, file=tmp_path / "c.yaml")


def test_a_key_merged_from_an_anchor_may_be_set_again(tmp_path):
    text = "a: &a {x: 1, y: 1}\nb: &b\n  <<: *a\n  x: 2\nc:\n  <<: *b\n  y: 3\n"
    (tmp_path / "c.yaml").write_text(text)
    assert configs.read_yaml(tmp_path / "c.yaml")["c"] == {"x": 2, "y": 3}


def test_a_key_that_stands_twice_in_a_setting_is_refused():
    with pytest.raises(UsageError, match="'free' is not YAML.*'a' stands twice"):
        configs.load(Outer, sets=["out=x", "free={a: 1, a: 2}"])
