"""Configuration: frozen dataclasses filled in layers, validated in `__post_init__`, with errors that name the key.

In: a dataclass type, a YAML file, `a.b=c` settings, flags. Out: one instance of the type.
Layers, later wins: the dataclass's own defaults < `file` < `sets` < `flags`. YAML holds only differences.
An unknown key is an error that names the nearest known one; a value of the wrong type is an error that names
the key, what was expected and what came. `from_dict(cls, to_dict(config)) == config` for every config.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cineloop.documents import MAX_DEPTH, check_depth, half_char, read_text
from cineloop.errors import UsageError, did_you_mean
from cineloop.log import printable

T = TypeVar("T")
_MAX_YAML_VALUES = 1_000_000


def load(
    cls: type[T],
    *,
    file: Path | None = None,
    over: Iterable[Path] = (),
    sets: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> T:
    """Build `cls` from its layers.

    Args:
        cls: a dataclass type; nested dataclasses, tuples, dicts, Literal and optional types are understood.
        file: YAML file with the differences from the defaults.
        over: YAML files with differences from that one, each over those before.
        sets: settings in the form `a.b=c`; the value is read as YAML.
        flags: dotted key → value; a value of None means "flag not given" and is left out.

    Raises:
        UsageError: unknown key, wrong type, unreadable file, or a value the dataclass itself refuses.
    """
    return from_dict(cls, merge_layers(file=file, over=over, sets=sets, flags=flags))


def merge_layers(
    *,
    file: Path | None = None,
    over: Iterable[Path] = (),
    sets: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The layers of `load` as one mapping, not checked yet."""
    tree = read_yaml(file) if file is not None else {}
    for each in over:
        _merge(tree, read_yaml(each))
    for text in sets:
        key, value = parse_set(text)
        _put(tree, key, value)
    for key, value in (flags or {}).items():
        if value is not None:
            _put(tree, key, value)
    return tree


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        UsageError: the file is missing, is not YAML, or is not a mapping.
    """
    where = printable(str(path))
    try:
        tree = _parse_yaml(read_text(path))
    except OSError as error:
        raise UsageError(f"cannot read the configuration {where}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{where} is not YAML as expected: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UsageError(f"{where} must hold a mapping of keys to values, not a {type(tree).__name__}")
    return tree


def parse_set(text: str) -> tuple[str, Any]:
    """`a.b=c` as ("a.b", value of c read as YAML).

    Raises:
        UsageError: there is no `=`, the key is empty, or the value is not YAML.
    """
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise UsageError(f"a setting must look like key.name=value, not {text!r}")
    try:
        return key.strip(), _parse_yaml(value)
    except ValueError as error:
        raise UsageError(f"the value of {key.strip()!r} is not YAML: {printable(value, 60)!r} ({error})") from error


def _parse_yaml(text: str) -> Any:
    """The value of a YAML text; ValueError in one line with line and column."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a key that a mapping holds twice, of which PyYAML keeps the last without a word."""

        def compose_mapping_node(self, anchor: Any) -> Any:
            node, lines = super().compose_mapping_node(anchor), dict[tuple[str, str], int]()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                    continue
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    raise ValueError(f"the key {key.value!r} stands twice, in line {lines[name]} and in line {line}")
                lines[name] = line
            return node

    try:
        value = Loader(text).get_single_data()
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{problem or ' '.join(str(error).split())}{place}") from error
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    check_depth(value, max_nodes=_MAX_YAML_VALUES)
    if (field := half_char(value)) is not None:
        raise ValueError(f"{field} holds half a character, a lone surrogate such as \\ud800")
    return value


def from_dict(cls: type[T], tree: Mapping[str, Any], path: str = "") -> T:
    """An instance of the dataclass `cls` from a nested mapping; `path` prefixes the keys in errors."""
    kinds = _field_types(cls)
    for key in tree:
        if key not in kinds:
            raise UsageError(f"unknown configuration key {path + str(key)!r}", hint=_nearest(str(key), cls, path))
    values = {key: _coerce(kinds[key], value, path + key) for key, value in tree.items()}
    try:
        return cls(**values)
    except TypeError as error:
        wanted = {field.name for field in dataclasses.fields(cls) if _is_required(field)}  # type: ignore[arg-type]
        missing = ", ".join(path + name for name in sorted(wanted - values.keys()))
        raise UsageError(f"configuration lacks {missing or error}") from error
    except ValueError as error:
        raise UsageError(f"configuration of {path.rstrip('.') or cls.__name__}: {error}") from error


def to_dict(config: Any) -> Any:
    """A config as plain dicts, lists and scalars that YAML and JSON can hold."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {field.name: to_dict(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): to_dict(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_dict(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def dump(config: Any) -> str:
    """A config as YAML text, keys in the order of the dataclass."""
    import yaml

    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def changes(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> list[str]:
    """What differs between two nested mappings, as lines `a.b: old → new`."""
    lines = []
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += changes(before, after, f"{path}{key}.")
        elif before != after:
            lines.append(f"{path}{key}: {before} → {after}")
    return lines


def keys(cls: type, path: str = "") -> list[str]:
    """All dotted keys of a dataclass type, nested ones included."""
    names = []
    for name, kind in _field_types(cls).items():
        names.append(path + name)
        for inner in (kind, *typing.get_args(kind)):
            if dataclasses.is_dataclass(inner):
                names += keys(typing.cast(type, inner), f"{path}{name}.")
    return names


def _merge(tree: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Put the values of `over` into `tree`, mapping by mapping."""
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set `a.b.c` in a nested dict, making the dicts on the way."""
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(tree.get(parent), dict):
            tree[parent] = {}
        tree = tree[parent]
    tree[last] = value


def _field_types(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _nearest(key: str, cls: type, path: str) -> str:
    """A hint that names the nearest key: same level first, then the same last word anywhere below."""
    here = list(_field_types(cls))
    below = {name.rsplit(".", 1)[-1]: name for name in reversed(keys(cls))}  # the first of a name wins
    key = key.lower()  # constants of Python files are upper case
    return (
        did_you_mean(key, here, show=lambda name: repr(path + name), cutoff=0.5)
        or did_you_mean(key, below, show=lambda name: repr(path + below[name]))
        or (f"known here: {', '.join(here)}" if here else "no key is known here")
    )


def _coerce(kind: Any, value: Any, key: str) -> Any:
    """`value` as the annotated type `kind`, or a UsageError that names `key`."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(args, value, key)
    if origin is typing.Literal:
        if value in args:
            return value
        near = did_you_mean(str(value), map(str, args))
        raise UsageError(f"{key} must be one of {', '.join(map(str, args))}; got {value!r}", hint=near)
    if dataclasses.is_dataclass(kind):
        if isinstance(value, typing.cast(type, kind)):
            return value
        if isinstance(value, Mapping):
            return from_dict(typing.cast(type, kind), value, key + ".")
        raise _wrong(key, "a mapping", value)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise _wrong(key, "a list", value)
        inner = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(inner) != len(value):
            raise _wrong(key, f"a list of {len(inner)} values", value)
        return tuple(
            _coerce(each, item, f"{key}[{n}]") for n, (each, item) in enumerate(zip(inner, value, strict=True))
        )
    if origin is dict or origin is Mapping:
        if not isinstance(value, Mapping):
            raise _wrong(key, "a mapping", value)
        return {str(name): _coerce(args[1], item, f"{key}.{name}") for name, item in value.items()}
    return _coerce_scalar(kind, value, key)


def _coerce_union(args: tuple[Any, ...], value: Any, key: str) -> Any:
    if value is None and type(None) in args:
        return None
    problem: UsageError | None = None
    for each in args:
        if each is not type(None):
            try:
                return _coerce(each, value, key)
            except UsageError as error:
                problem = problem or error
    raise problem or _wrong(key, "nothing", value)


def _coerce_scalar(kind: Any, value: Any, key: str) -> Any:
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isfinite(value) and int(value) == value:
            return int(value)
    if kind is float and not isinstance(value, bool):
        # YAML 1.1 reads 3e-4 (no dot) as text, so numbers in text are accepted.
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    if kind is str and isinstance(value, str):
        return value
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    raise _wrong(key, names.get(kind, str(kind)), value)


def _wrong(key: str, expected: str, value: Any) -> UsageError:
    return UsageError(f"{key} must be {expected}; got {type(value).__name__} {value!r}")
