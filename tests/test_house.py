"""House rules: layers, sizes, names, docstrings, homes of heavy packages, what may be in the repository.

Each rule is a function from sources to complaints; a planted breach shows that it can fail, then the tree is held to
it.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from source_tree import FOLDERS, PACKAGES, ROOT, dotted, module_of, parsed, sources, tracked

MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 80
MB = 1_000_000
# The one class of a plug-in, and the two functions of a verb: the module's head describes them.
OF_HEAD = {"Metric", "Extractor", "Detector", "Step", "add_arguments", "run"}
FORBIDDEN_NAMES = {"util", "utils", "helper", "helpers", "misc", "common"}
# Each heavy package may be imported from its home alone (a module, or a package and all below it).
HOMES = {
    "decord": ("cineloop.video.decode",),
    "vllm": ("v2t.serve", "v2t.backends.vllm"),
    "peft": ("v2t.model.weights", "t2v.train.lora"),
    "bitsandbytes": ("v2t.model.weights",),
    "diffusers": ("t2v",),
    "open_clip": ("v2t_eval.extractors", "v2t.train.contrastive"),
    "pycocoevalcap": ("v2t_eval.text", "v2t_eval.metrics"),
}
# What unpickles runs what it is given; none of it belongs in a project that loads other people's weights.
UNSAFE_IMPORTS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"torch.load", "torch.save", "yaml.load", "yaml.unsafe_load", "eval", "exec", "pickle.loads"}
UNSAFE_FILES = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib"}
HEAVY = {
    "torch",
    "transformers",
    "numpy",
    "cv2",
    "av",
    "decord",
    "PIL",
    "scipy",
    "accelerate",
    "diffusers",
    "huggingface_hub",
}


def imported_by(text: str) -> set[str]:
    """Every module a source names in an import statement, at any depth, or as text given to import_module."""
    found: set[str] = set()
    for node in parsed(text)[1]:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
        elif isinstance(node, ast.Call) and dotted(node.func) in {"import_module", "importlib.import_module"}:
            found.update(a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))
    return found


def oversized(path: Path, text: str) -> list[str]:
    complaints = []
    if (lines := text.count("\n")) > MAX_FILE_LINES:
        complaints.append(f"{path}: {lines} lines, at most {MAX_FILE_LINES}")
    for node in parsed(text)[1]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                complaints.append(f"{path}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}")
    return complaints


def undocumented(path: Path, text: str) -> list[str]:
    tree, _ = parsed(text)
    complaints = [f"{path}: no module docstring"] if tree.body and not ast.get_docstring(tree) else []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node) and node.name not in OF_HEAD:
                complaints.append(f"{path}:{node.lineno}: {node.name} has no docstring")
    return complaints


def homeless(path: Path, text: str) -> list[str]:
    module = module_of(path)
    complaints = []
    for name in imported_by(text):
        homes = HOMES.get(name.split(".")[0])
        if homes and not any(module == home or module.startswith(home + ".") for home in homes):
            complaints.append(f"{path}: imports {name}, whose home is {' or '.join(homes)}")
    return complaints


def unsafe(path: Path, text: str) -> list[str]:
    _, nodes = parsed(text)
    found = [f"imports {name}" for name in imported_by(text) if name.split(".")[0] in UNSAFE_IMPORTS]
    found += ["imports the bare name eval"] * (
        "eval" in {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    )
    for node in nodes:
        if isinstance(node, ast.Call):
            if (name := dotted(node.func)) in UNSAFE_CALLS:
                found.append(f"line {node.lineno}: calls {name}")
            for keyword in node.keywords:
                wants = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                if wants and keyword.arg in {"trust_remote_code", "allow_pickle"}:
                    found.append(f"line {node.lineno}: {keyword.arg}=True")
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append(f"line {node.lineno}: bare except")
    return [f"{path}: {what}" for what in found]


def unfinished(path: Path, text: str) -> list[str]:
    mark = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|NotImplemented" + r"Error)\b")
    return [f"{path}:{n}: {line.strip()}" for n, line in enumerate(text.splitlines(), 1) if mark.search(line)]


def addresses(path: Path, text: str) -> list[str]:
    """Paths of somebody's machine, and addresses of package indexes."""
    patterns = [
        r"/(?:home|Users)/\w+/",
        r"/root(?=/)",
        r"file:/{3}\w",
        r"https?://[^\s\"')]*/simple\b",
        r"--(?:extra-)?index-url[ =]\S",
    ]
    if len(ROOT.parts) > 2:
        patterns.append(re.escape(str(ROOT)) + r"\b")
    return [f"{path}: {hit.group()}" for pattern in patterns for hit in re.finditer(pattern, text)]


RULES = {
    oversized: (*FOLDERS, "tests", "scripts", "benchmarks"),
    undocumented: FOLDERS,
    homeless: FOLDERS,
    unsafe: (*FOLDERS, "scripts", "benchmarks"),
    unfinished: FOLDERS,
}


@cache
def complaints() -> dict[Callable[[Path, str], list[str]], list[str]]:
    """What each rule finds in the tree."""
    found: dict[Callable[[Path, str], list[str]], list[str]] = {rule: [] for rule in RULES}
    for path, text in sources(*FOLDERS, "tests", "scripts", "benchmarks"):
        for rule, folders in RULES.items():
            if path.parts[0] in folders:
                found[rule] += rule(path, text)
    return found


PLANTED = [
    (oversized, "x = 1\n" * 401),
    (oversized, "def f():\n" + "    x = 1\n" * 80),
    (undocumented, "x = 1\n"),
    (undocumented, '"""Doc."""\ndef f():\n    pass\n'),
    (homeless, "def f():\n    from decord import VideoReader\n"),
    (homeless, "import importlib\nimportlib.import_module('peft.tuners')\n"),
    (unsafe, "import pickle\n"),
    (unsafe, "import eval\n"),
    (unsafe, "import torch\ntorch.load('x')\n"),
    (unsafe, "f(trust_remote_code=True)\n"),
    (unsafe, "try:\n    f()\nexcept:\n    pass\n"),
    (unfinished, "raise NotImplemented" + "Error\n"),
    (addresses, "x = '/ho" + "me/ada/clips'\n"),
    (addresses, "torch --index-" + "url https://x.org/y\n"),
    (addresses, str(ROOT) + "/clips"),
]


@pytest.mark.parametrize(("rule", "text"), PLANTED, ids=[f"{r.__name__}-{i}" for i, (r, _) in enumerate(PLANTED)])
def test_rule_sees_a_planted_breach(rule, text):
    assert rule(Path("v2t/caption/run.py"), text)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_sources_keep(rule):
    assert complaints()[rule] == []


def test_no_module_has_a_name_that_says_nothing():
    assert [str(p) for p in tracked() if p.suffix == ".py" and FORBIDDEN_NAMES & set(p.with_suffix("").parts)] == []


def test_no_machine_paths_and_no_index_addresses():
    complaints = []
    for path in tracked():
        data = (ROOT / path).read_bytes()
        if b"\0" not in data[:8000] and path.suffix != ".safetensors":
            complaints += addresses(path, data.decode("utf-8", errors="replace"))
    assert complaints == []


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_layers_hold():
    result = _lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def empty_house(tmp_path_factory) -> Path:
    """The modules that the contracts name, without a line in them: no contract is broken."""
    folder = tmp_path_factory.mktemp("house")
    names = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    modules = {
        name
        for contract in names
        for key in ("layers", "source_modules", "forbidden_modules")
        for layer in contract.get(key, [])
        for name in layer.split(" | ")
    }
    ours = sorted(m for m in modules if m.split(".")[0] in PACKAGES)
    for name in (*ours, "v2t_eval.core.statistics", "v2t.model.vision"):
        (folder / name.replace(".", "/")).mkdir(parents=True, exist_ok=True)
        (folder / name.replace(".", "/") / "__init__.py").touch()
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    assert (kept := _lint_imports(folder)).returncode == 0, kept.stdout
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("cineloop/training/loop.py", "import v2t_eval.core.statistics"),
        ("cineloop/errors/__init__.py", "import cineloop.video"),
        ("cineloop/video/sample.py", "import cineloop.world"),
        ("t2v/flow.py", "from v2t.model import vision"),
        ("v2t/cli.py", "import t2v"),
        ("v2t/cli.py", "import decord"),
        ("v2t_eval/core/inputs.py", "import v2t.styles"),
        ("v2t_eval/core/sample.py", "import v2t_eval.metrics"),
        ("v2t_eval/judge/answer.py", "import v2t_eval.gate"),
        ("v2t_eval/frames/flow.py", "import v2t_eval.core.statistics"),
        ("v2t_eval/mine/claims.py", "import v2t_eval.curate"),
    ],
)
def test_contracts_see_a_planted_import(empty_house, tmp_path, module, line):
    shutil.copytree(empty_house, tmp_path, dirs_exist_ok=True)
    (tmp_path / module).write_text(line + "\n")
    assert "BROKEN" in _lint_imports(tmp_path).stdout


def test_the_repository_stays_small():
    sizes = {path: (ROOT / path).stat().st_size for path in tracked()}
    assert sum(sizes.values()) < 60 * MB
    for starter, limit in (("v2t/starter", 24 * MB), ("t2v/starter", 28 * MB)):
        assert sum(size for path, size in sizes.items() if path.as_posix().startswith(starter)) <= limit, starter


def test_weights_are_safetensors():
    assert [str(path) for path in tracked() if path.suffix in UNSAFE_FILES] == []
    for path in tracked():
        if path.suffix == ".safetensors":
            head = (ROOT / path).read_bytes()
            length = int.from_bytes(head[:8], "little")
            assert length < len(head), f"{path}: not a safetensors file"
            json.loads(head[8 : 8 + length])


def test_lock_holds_every_dependency_by_version_and_no_address():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line.strip()]
    assert all(re.fullmatch(r"[a-z0-9.\-]+==[\w.+!]+( ; .+)?", line) for line in lines)
    locked = {}
    for line in lines:
        name, _, rest = line.partition("==")
        locked[name.replace(".", "-")] = rest.split(" ;")[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [d for extra in project["optional-dependencies"].values() for d in extra]
    for requirement in map(Requirement, wanted):
        name = requirement.name.lower().replace("_", "-")
        assert name in locked, f"{name} is not in requirements.lock: run scripts/lock"
        assert requirement.specifier.contains(locked[name]), f"{requirement} against locked {locked[name]}"


def test_the_wheel_holds_the_packages_and_nothing_else():
    from hatchling.builders.wheel import WheelBuilder

    included = [Path(f.distribution_path) for f in WheelBuilder(str(ROOT)).recurse_included_files()]
    assert {path.parts[0] for path in included} == set(PACKAGES)
    starter = {p for p in tracked() if "starter" in p.parts[:2] and p.suffix == ".safetensors"}
    assert starter <= set(included)
    # What commands find by name: suites, workflows, the audit, every recipe of configs/.
    recipes = {p.relative_to("configs") for p in tracked() if p.parts[0] == "configs" and p.suffix == ".yaml"}
    named = {Path("cineloop/recipes") / p for p in recipes if p.parts[0] != "serve"}
    named |= {Path(f"v2t_eval/suites/{name}.yaml") for name in ("starter", "gate", "vbench")}
    named |= {Path("v2t_eval/workflows/github.yml"), Path("v2t_eval/audit/starter.json")}
    assert named <= set(included), named - set(included)


def test_a_wheel_of_the_source_distribution_is_the_wheel():
    """Folders that are links must not get lost on the way: a wheel built from the sdist lacked v2t_eval."""
    from hatchling.builders.sdist import SdistBuilder
    from hatchling.builders.wheel import WheelBuilder

    packaged = {f.distribution_path for f in WheelBuilder(str(ROOT)).recurse_included_files()}
    carried = {f.distribution_path for f in SdistBuilder(str(ROOT)).recurse_included_files()}
    assert packaged <= carried, sorted(packaged - carried)[:5]


def test_scripts_can_be_run():
    for name in ("scripts/demo", "scripts/test", "scripts/story.sh", "scripts/gpu-check", ".ci/run", "scripts/lock"):
        assert os.access(ROOT / name, os.X_OK), f"{name} is not executable"
    for path in [*(ROOT / "scripts").iterdir(), ROOT / ".ci/run"]:
        if path.is_file() and path.suffix in {"", ".sh"}:
            if path.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3"):
                compile(path.read_bytes(), str(path), "exec")
                continue
            assert subprocess.run(["bash", "-n", path], check=False).returncode == 0, path


def test_recipes_say_how_they_are_run():
    for path in tracked():
        if path.parts[0] == "configs" and path.suffix in {".yaml", ".yml"}:
            header = [line for line in (ROOT / path).read_text().splitlines()[:20] if line.startswith("#")]
            assert any(
                re.search(r"\b(v2t|t2v) (train|serve)\b|\bv2t-eval (score|curate)\b", line) for line in header
            ), f"{path}: no command in its header"


@pytest.mark.parametrize(
    "line",
    ["import cineloop", "import v2t", "v2t --help", "v2t caption --help", "v2t doctor --help", "v2t-eval --help"],
)
def test_help_is_light(line):
    """Half a second is kept by what is not imported; that is measured, and not this machine's clock."""
    words = line.split()
    package = "v2t_eval" if "eval" in words[0] else "v2t"
    call = line if words[0] == "import" else f"from {package}.cli import main; main()"
    code = (
        f"import sys; sys.argv = {words!r}\n"
        f"try:\n    exec({call!r})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('HEAVY', sorted({HEAVY!r} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.stdout.splitlines()[-1:] == ["HEAVY []"], result.stdout[-500:] + result.stderr[-2000:]


def test_tests_cannot_reach_the_network():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as out, pytest.raises(RuntimeError, match="network"):
        out.settimeout(0.2)
        out.connect(("192.0.2.1", 80))
    with pytest.raises(RuntimeError, match="network"):
        socket.create_connection(("example.org", 80), timeout=0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as here,
        socket.create_connection(here.getsockname(), timeout=5) as near,
    ):
        assert near.getpeername() == here.getsockname()
