"""One file per verb of `v2t`: its arguments, and the call of the package that does the work.

A verb's module is its name and defines `SUMMARY`, `EXAMPLES`, `add_arguments(parser)` and `run(args) -> exit code`. It
is imported for `--help`, so heavy packages are imported in `run`. Here: arguments that several verbs share.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def add_layers(parser: argparse.ArgumentParser) -> None:
    """--config and --set: settings below the flags."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with settings; flags override it")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, as a.b=c")


def load_settings(args: argparse.Namespace, config_class: type[T], nested: Mapping[str, str] = {}) -> T:
    """The settings of a verb: its config's fields from the flags of the same names, below them --set and --config.

    Args:
        nested: flag → place in the settings of those that are not fields of `config_class` itself.
    """
    from cineloop import config

    flags = {f.name: getattr(args, f.name, None) for f in fields(config_class) if f.name not in nested}  # type: ignore
    flags |= {place: getattr(args, name) for name, place in nested.items()}
    return config.load(config_class, file=args.config, sets=args.set, flags=flags)


def comma_list(text: str) -> tuple[str, ...]:
    """The items of a list such as a,b."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def folder_or_address(text: str) -> Path | str:
    """An output that may be on an object store."""
    from cineloop.store import is_store

    return text.rstrip("/") if is_store(text) else Path(text)
