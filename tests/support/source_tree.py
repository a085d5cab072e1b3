"""The repository as house tests read it: its files, the sources of its packages, their syntax trees."""

from __future__ import annotations

import ast
import gc
import subprocess
from functools import cache, lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("cineloop", "v2t", "t2v", "v2t_eval")
FOLDERS = ("cineloop", "v2t", "t2v", "eval")  # of the packages: eval/ is imported as v2t_eval


@cache
def tracked() -> tuple[Path, ...]:
    """Files of the repository, relative to its root; all files but ignored folders where there is no git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return tuple(Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file())
    skipped = {".venv", ".venv-serve", ".git", "runs", "__pycache__", "build", "dist"}
    files = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return tuple(path for path in files if not skipped & set(path.parts))


def sources(*folders: str) -> list[tuple[Path, str]]:
    return [(p, (ROOT / p).read_text("utf-8")) for p in tracked() if p.suffix == ".py" and p.parts[0] in folders]


@lru_cache(maxsize=1)
def parsed(text: str) -> tuple[ast.Module, tuple[ast.AST, ...]]:
    """The tree of a source, and all of its nodes: every rule looks at a file before the next one is read."""
    collects = gc.isenabled()
    gc.disable()  # a tree is nothing but new objects: to look for garbage among them is three quarters of the time
    try:
        tree = ast.parse(text)
        return tree, tuple(ast.walk(tree))
    finally:
        if collects:
            gc.enable()


def dotted(node: ast.AST) -> str:
    """`torch.load` of such a name or attribute, "" of anything else."""
    if isinstance(node, ast.Attribute):
        return f"{base}.{node.attr}" if (base := dotted(node.value)) else ""
    return node.id if isinstance(node, ast.Name) else ""


def module_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    if parts[0] == "eval":
        parts = ("v2t_eval", *parts[1:])
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
