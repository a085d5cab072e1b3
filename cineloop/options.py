"""Options: each is written once, as a field of its config dataclass; flags, help and the reference come from there.

In: a dataclass whose fields are an `option` (a flag of a verb, and a key of --config and --set) or a `setting` (a key
alone). Out: the arguments of a verb's parser, and the config that a command line means.
Our own lines, since the libraries for it take longer to import than a command may take to answer --help: tyro 66 to 92
ms, jsonargparse 101 to 106 ms, where `v2t caption --help` takes 70 in all.
"""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from cineloop.parser import Parser

T = TypeVar("T")


class _Written(NamedTuple):
    """What a field says of itself besides its type and its default; see `option`."""

    text: str
    flag: str | None = None
    metavar: str | None = None
    group: str | None = None


def setting(default: T, text: str) -> T:
    """A field that only --config and --set give; `text` is all that is written about it."""
    return _field(default, _Written(text))


def option(default: T, text: str, *, flag: str = "", metavar: str | None = None, group: str | None = None) -> T:
    """A field with a flag, by its type: of `tuple[str, ...]` the flag repeats, or takes a list where `metavar` is such
    as A,B; of `dict[str, Path]` it repeats as NAME=DIR; a bool has --FIELD, or where True is the default --no-FIELD.

    Args:
        text: the help. A default that it does not name is put behind it.
        flag: where it is not --FIELD; a word without dashes is an argument by its place.
        metavar: the value in the help.
        group: title over this option and those that follow; "" ends one.
    """
    return _field(default, _Written(text, flag, metavar, group))


def _field(default: T, written: _Written) -> T:
    metadata = {"written": written}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: cast(T, dict(default)), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class Option(NamedTuple):
    """One field of a config, or of a config in it."""

    key: str  # with dots
    kind: Any  # the type, without None
    default: Any
    written: _Written

    @property
    def help(self) -> str:
        """The text, with the default where the text does not name it."""
        default = ",".join(map(str, self.default)) if isinstance(self.default, tuple) else self.default
        default = f"{default:g}" if isinstance(default, float) else default
        unnamed = isinstance(default, (str, int)) and not isinstance(default, bool) and default != ""
        return self.written.text + (f" (default: {default})" if unnamed and "default" not in self.written.text else "")


def options_of(config: Any, prefix: str = "") -> Iterator[Option]:
    """All fields of a config, with those of nested configs in their place; `config` is a class, or an instance whose
    values are the defaults.

    Raises:
        KeyError: a field is neither an `option` nor a `setting`.
    """
    hints = typing.get_type_hints(config if isinstance(config, type) else type(config))
    for field in dataclasses.fields(config):
        kind = hints[field.name]
        if types.NoneType in typing.get_args(kind):
            kind = typing.get_args(kind)[0]
        default = getattr(config, field.name) if hasattr(config, field.name) else field.default_factory()  # type: ignore
        yield Option(prefix + field.name, kind, default, field.metadata["written"])
        if dataclasses.is_dataclass(kind):
            yield from options_of(default, f"{prefix}{field.name}.")


def add_options(parser: Parser, cls: Any, *, prefix: str = "", without: Collection[str] = ()) -> None:
    """The flags of a config, but for the keys in `without`; `load_options` reads them. `prefix` of its keys: where it
    lies in the config of the verb."""
    add = parser.add_argument
    for each in options_of(cls, prefix):
        flag, metavar, name = each.written.flag, each.written.metavar, each.key.rpartition(".")[2]
        if (group := each.written.group) is not None:
            add = parser.add_argument_group(group).add_argument if group else parser.add_argument
        if flag is None or each.key in without:
            continue
        how: dict[str, Any] = {"help": each.help, "metavar": metavar or name.upper()}
        if each.kind is bool:
            how = {"help": each.help, "action": "store_const", "const": not each.default}
        elif typing.get_origin(each.kind) is dict:
            how |= {"action": _Pairs}
        elif typing.get_origin(each.kind) is tuple:
            how |= {"type": comma_list} if "," in how["metavar"] else {"action": "append"}
        elif each.kind in (int, float, Path):
            how["type"] = each.kind
        if flag and not flag.startswith("-"):
            several = how.pop("action", None)
            add(each.key, **how | {"metavar": flag, "nargs": "*" if several else "?"})
        else:
            no = "no-" if each.kind is bool and each.default else ""
            add(flag or f"--{no}{name.replace('_', '-')}", dest=each.key, **how)


def add_layers(parser: Parser, cls: Any) -> None:
    """--config and --set: settings of a config below its flags."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with settings; flags override it")
    add_set(parser, cls)


def add_set(parser: Parser, cls: Any, text: str = "one setting, as a.b=c") -> None:
    """--set alone, of a verb whose file of settings has a name of its own."""
    parser.settings = cls
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)


def load_options(args: argparse.Namespace, cls: type[T], file: Path | None = None) -> T:
    """The config of a command line: the flags of `add_options`, and others whose `dest` is a key of the config; below
    them --set, and below that --config or `file`.

    Raises:
        UsageError: see `cineloop.config.load`.
    """
    from cineloop import config

    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    flags = {key: value for key, value in vars(args).items() if key.partition(".")[0] in names and value != []}
    return config.load(cls, file=file or getattr(args, "config", None), sets=getattr(args, "set", ()), flags=flags)


def comma_list(text: str) -> tuple[str, ...]:
    """The items of a list such as a,b."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


class _Pairs(argparse.Action):
    """NAME=DIR, once or more, as name → folder."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        pairs, (name, _, folder) = getattr(namespace, self.dest) or {}, values.partition("=")
        if not name or not folder:
            raise argparse.ArgumentError(self, f"expected NAME=DIR, got {values!r}")
        if name in pairs:
            raise argparse.ArgumentError(self, f"{name!r} is named twice")
        setattr(namespace, self.dest, pairs | {name: Path(folder)})
