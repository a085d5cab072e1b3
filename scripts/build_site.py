#!/usr/bin/env python
"""Builds the documentation site from the Markdown files, without a network: `python scripts/build_site.py`.

In: docs/, README.md and every file of the repository that they link to. Out: build/site, HTML that opens from disk.
The files are copied to a temporary folder in the places they have here, so the links that hold on GitHub hold in the
site; zensical (strict) refuses one that does not. Contents and looks are in docs/site.toml.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"\]\(<?([^()\s<>#]+)[^()]*\)")


def linked_files(root: Path) -> set[Path]:
    """README.md, the files of docs/, and the files they link to, and those again, relative to the root."""
    left = [Path("README.md"), *(path.relative_to(root) for path in (root / "docs").rglob("*") if path.is_file())]
    files: set[Path] = set()
    while left:
        path = left.pop()
        if path in files:
            continue
        files.add(path)
        if path.suffix == ".md":
            targets = [
                (root / path.parent / link).resolve() for link in _LINK.findall((root / path).read_text("utf-8"))
            ]
            left += [target.relative_to(root) for target in targets if target.is_file()]
    return files


def build_site(root: Path, out: Path) -> int:
    """Build the site of the checkout at `root` into the folder `out`, which is replaced; returns an exit code."""
    with tempfile.TemporaryDirectory(prefix="cineloop-site-") as temporary:
        folder = Path(temporary)
        for path in linked_files(root):
            target = folder / "pages" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / path, target)
        shutil.copyfile(root / "docs/site.toml", folder / "zensical.toml")
        build = [sys.executable, "-m", "zensical", "build", "--strict"]
        ended = subprocess.run(build, cwd=folder, stdin=subprocess.DEVNULL, check=False)
        if ended.returncode == 0:
            shutil.rmtree(out, ignore_errors=True)
            shutil.move(folder / "site", out)
    return ended.returncode


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    sys.exit(build_site(ROOT, ROOT / "build/site"))
