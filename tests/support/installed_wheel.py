"""Cineloop as other people have it: its wheel, built once a session, in an environment without the checkout.

Fixtures `installed` and `installed_by`: an environment is a venv without pip that holds the unpacked wheel; what the
wheel needs is read from the environment of the tests by a .pth file, so that nothing is downloaded or installed twice.
`installed_by` hides all packages but those that a requirement such as `cineloop[eval]` brings.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
HIDE = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {hidden} else super().find_spec(name, path, target)

sys.meta_path[:] = [Finder if each is PathFinder else each for each in sys.meta_path]
"""


@dataclass(frozen=True, kw_only=True)
class Installed:
    """The environment: `bin` holds python, pytest and our commands; `site` is where the wheel lies."""

    bin: Path
    site: Path

    def run(self, *words: str, cwd: Path, env: dict[str, str] | None = None, timeout: float = 280):
        """A command of this environment, in a folder which is not the checkout; text of stdout and stderr."""
        assert not cwd.resolve().is_relative_to(ROOT), "the checkout would be found from here"
        return subprocess.run(
            words, cwd=cwd, env=self.environment() | (env or {}), capture_output=True, text=True, check=False,
            timeout=timeout,
        )  # fmt: skip

    def environment(self) -> dict[str, str]:
        """The variables of a shell in which this environment is active."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
        return kept | {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(self.bin.parent)}


def build(folder: Path, kind: str = "wheel") -> Path:
    """The wheel or the source distribution of this checkout, written to `folder`."""
    from hatchling.builders.sdist import SdistBuilder
    from hatchling.builders.wheel import WheelBuilder

    builder = (WheelBuilder if kind == "wheel" else SdistBuilder)(str(ROOT))
    (made,) = builder.build(directory=str(folder), versions=["standard"])
    return Path(made)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this checkout."""
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory) -> Installed:
    """The wheel in an environment of its own."""
    return _unpacked(wheel, tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="session")
def installed_by(wheel, tmp_path_factory):
    """`installed_by(line)`: the wheel with the packages alone that a line such as `cineloop[eval]==0.1.0` brings."""

    @cache
    def make(line: str) -> Installed:
        made = _unpacked(wheel, tmp_path_factory.mktemp("installed-by"))
        seen = packages_of(Requirement(line)) | {"cineloop"}
        there = metadata.packages_distributions().items()
        hidden = {module for module, names in there if not seen & set(map(canonicalize_name, names))}
        (made.site / "hide_packages.py").write_text(HIDE.format(hidden=hidden))
        (made.site / "hide-packages.pth").write_text("import hide_packages")
        return made

    return make


def packages_of(line: Requirement) -> set[str]:
    """Names of the packages that a requirement of cineloop brings, its extras' among them, cineloop left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    waiting = [
        *project["dependencies"],
        *(one for extra in line.extras for one in project["optional-dependencies"][extra]),
    ]
    asked, found = [Requirement(text) for text in waiting], {}
    while asked:
        one = asked.pop()
        name, wanted = canonicalize_name(one.name), one.extras or {""}
        if (one.marker and not one.marker.evaluate({"extra": ""})) or wanted <= found.get(name, set()):
            continue
        found[name] = found.get(name, set()) | wanted
        for each in map(Requirement, metadata.requires(name) or ()):
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in wanted):
                each.marker = None
                asked.append(each)
    return set(found)


def _unpacked(wheel: Path, folder: Path) -> Installed:
    """A venv in the folder with the wheel, its commands, and the packages of the tests."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # Packages are found in these folders; .pth files in them, such as that of an editable install, are not followed.
    (site / "packages-of-the-tests.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    scripts = ConfigParser()
    scripts.optionxform = str  # type: ignore[assignment,method-assign]
    (entries,) = site.glob("cineloop-*.dist-info/entry_points.txt")
    scripts.read(entries)
    for name, target in {**scripts["console_scripts"], "pytest": "pytest:main"}.items():
        module, function = target.split(":")
        path = folder / "bin" / name
        path.write_text(f"#!{folder}/bin/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
        path.chmod(0o755)
    return Installed(bin=folder / "bin", site=site)
