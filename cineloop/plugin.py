"""Plug-in = file name: load the module of a known folder that a user named, or list the choices.

In: a package of this project and a name. Out: the imported module. There is no registry and nothing to decorate:
a file of that folder that defines the asked symbol at top level is a choice (the rule of big_vision's evaluators).
The source text is searched rather than imported, so listing choices costs no heavy import.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

from cineloop.errors import UsageError


def choices(package: str, symbol: str) -> list[str]:
    """Names of the modules of `package` that define `symbol` at top level, sorted.

    Args:
        package: dotted name of a package of this project, for example "v2t.writers".
        symbol: a class, function or constant every plug-in of that folder defines, for example "render".
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"plug-in folder {package} is no package")
    defines = re.compile(rf"^(?:class|def)\s+{symbol}\b|^{symbol}\s*[:=]", re.MULTILINE)
    names = set()
    for folder in spec.submodule_search_locations:
        for file in Path(folder).glob("*.py"):
            if not file.name.startswith("_") and defines.search(file.read_text(encoding="utf-8")):
                names.add(file.stem)
    return sorted(names)


def load(package: str, name: str, symbol: str) -> ModuleType:
    """Import the plug-in `name` of `package`.

    Raises:
        UsageError: no file of that name defines `symbol`; the message lists the choices and the nearest one.
    """
    known = choices(package, symbol)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        kind = package.rsplit(".", 1)[-1].rstrip("s")
        nearest = f": did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"no {kind} is called {name!r}{nearest}",
            code="UNKNOWN_PLUGIN",
            hint=f"choices: {', '.join(known) or 'none'}; a new one is a file {package.replace('.', '/')}/NAME.py",
        )
    return importlib.import_module(f"{package}.{name}")
