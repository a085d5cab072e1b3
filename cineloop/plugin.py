"""Plug-in = file name: load the module of a known folder that a user named, or list the choices.

In: a package of this project and a name. Out: the imported module. There is no registry and nothing to decorate:
a file of that folder that defines the asked symbol at top level is a choice (the rule of big_vision's evaluators).
The source text is searched rather than imported, so listing choices costs no heavy import.

A metric, a generator, a training stage, a caption backend and an output format of the user's own is one file anywhere:
`path/to/file.py` is given where a name is expected (`files=True`), relative to where the command runs. Its code is run.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from cineloop.errors import UsageError, did_you_mean

_PREFIX = "cineloop_plugin_"  # of the names of modules that were loaded from a file


def choices(package: str, symbol: str) -> list[str]:
    """Names of the modules of `package` that define `symbol` at top level, sorted.

    Args:
        package: dotted name of a package of this project, for example "v2t.writers".
        symbol: a class, function or constant every plug-in of that folder defines, for example "render".
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"plug-in folder {package} is no package")
    defines = _defines(symbol)
    names = set()
    for folder in spec.submodule_search_locations:
        for file in Path(folder).glob("*.py"):
            if not file.name.startswith("_") and defines.search(file.read_text(encoding="utf-8")):
                names.add(file.stem)
    return sorted(names)


def load(package: str, name: str, symbol: str, *, files: bool = False) -> ModuleType:
    """Import the plug-in `name` of `package`; with `files` also one in a Python file, where `name` is its path.

    Raises:
        UsageError: no file of that name defines `symbol`; the message lists the choices and the nearest one. A file
            that cannot be imported.
    """
    if files and is_file(name):
        return _of_file(Path(name), symbol)
    known = choices(package, symbol)
    if name not in known:
        kind = package.rsplit(".", 1)[-1].rstrip("s")
        near = did_you_mean(name, known)
        raise UsageError(
            f"no {kind} is called {name!r}{near and f': {near}'}",
            code="UNKNOWN_PLUGIN",
            hint=f"choices: {', '.join(known) or 'none'}; a new one is a file {package.replace('.', '/')}/NAME.py"
            + (", or anywhere: give path/to/NAME.py" if files else ""),
        )
    return importlib.import_module(f"{package}.{name}")


def construct(
    kind: str, name: str, plugin_class: Any, model: Any, *, options: Mapping[str, Any], hint: str = "", **place: Any
) -> Any:
    """`plugin_class(model, **place, **options)`, of the plug-in `name`.

    Args:
        kind: what messages call the plug-in: captioner, generator.
        options: of the user, by name. place: device and dtype, which every class takes.

    Raises:
        UsageError: an option that the class does not know.
    """
    known = [key for key in inspect.signature(plugin_class).parameters if key not in ("model", *place)]
    for key in options:
        if key not in known:
            raise UsageError(
                f"{kind} {name!r} has no option {key!r}; it knows: {', '.join(known) or 'none'}",
                code="UNKNOWN_OPTION",
                hint=hint,
            )
    return plugin_class(model, **place, **options)


def is_file(name: str) -> bool:
    """Whether a name is the path of a plug-in's file."""
    return name.endswith(".py")


def source(kind: type) -> str | None:
    """The file that a class was loaded from by its path; None for one of an importable module."""
    return str(sys.modules[kind.__module__].__file__) if kind.__module__.startswith(_PREFIX) else None


def _defines(symbol: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:class|def)\s+{symbol}\b|^{symbol}\s*[:=]", re.MULTILINE)


def _of_file(path: Path, symbol: str) -> ModuleType:
    """The module in a file, imported once as long as the file stays as it is."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error  # without the number and the path once more
        raise UsageError(f"cannot read the plug-in {path}: {why}", code="UNKNOWN_PLUGIN") from error
    if not _defines(symbol).search(text):
        raise UsageError(f"{path} does not define {symbol!r} at top level", code="UNKNOWN_PLUGIN")
    digest = hashlib.sha256(f"{path.resolve()}\n{text}".encode()).hexdigest()[:12]
    name = f"{_PREFIX}{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file", code="UNKNOWN_PLUGIN")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise UsageError(
            f"{path} cannot be imported: {type(error).__name__}: {error}", code="UNKNOWN_PLUGIN"
        ) from error
    return module
