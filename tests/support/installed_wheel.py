"""Cineloop as other people have it: its wheel, built once a session, in an environment without the checkout.

Out: the fixture `installed`. Its environment is a venv without pip that holds the unpacked wheel; what the wheel needs
is read from the environment of the tests by a .pth file, so that nothing is downloaded and nothing installed twice.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


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
    folder = tmp_path_factory.mktemp("installed")
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
