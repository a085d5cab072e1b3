"""Facts of this machine: Python, packages, torch and its devices, Java, disk, models at hand.

In: nothing but the machine. Out: JSON-able dicts; sizes in GB (1e9 bytes), an absent thing is null and never an error.
`pair_problem` is the one rule in here: which torchvision fits which torch.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cineloop.threads import usable_cpus
from v2t import STARTER

GB = 1e9
# Distribution names, in the order of the report; decord2 is a fork that fills the same module name.
PACKAGES = (
    "torch transformers tokenizers safetensors accelerate numpy pillow av opencv-python-headless decord decord2 "
    "torchvision peft bitsandbytes tensorboard diffusers open_clip_torch pycocoevalcap scipy vllm "
    "ftfy sentencepiece pyarrow fastapi httpx uvicorn prometheus-client python-multipart"
).split()
# Support windows of the design: lowest version, and the first version no longer held to.
WINDOWS: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]] = {
    "torch": ((2, 11), None),
    "transformers": ((5, 16, 1), (6,)),
}
# Below these, what strangers send can do harm: (lowest, the hole).
FLOORS: dict[str, tuple[tuple[int, ...], str]] = {
    "vllm": ((0, 31), "CVE-2026-22778 and kin: a video runs code; CVE-2026-114053: a request chooses code"),
    "torch": ((2, 10), "CVE-2026-24747: a weights file runs code"),
    "python-multipart": ((0, 0, 18), "CVE-2024-53981: a form stops the server"),
}
GENERATOR = Path(__file__).resolve().parents[2] / "t2v" / "starter"


def facts() -> dict[str, Any]:
    """Everything in this module, as one JSON-able dict."""
    found = {name: version(name) for name in PACKAGES}
    torch = torch_facts()
    return {
        "cineloop": version("cineloop"),
        "python": {
            "version": platform.python_version(),
            "executable": sys.executable,
            "platform": f"{platform.system()} {platform.machine()}",
            "supported": sys.version_info >= (3, 11),
        },
        "packages": found,
        "torch": torch,
        "problems": problems(found, torch),
        "devices": devices(),
        "java": java(),
        "disk": disk(),
        "models": {
            "starter": starter(),
            "generator": generator(),
            "hub": hub_models(),
            "hub_offline": _truthy("HF_HUB_OFFLINE"),
        },
    }


def version(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: '2.13.0+cpu' -> (2, 13, 0)."""
    matched = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in matched.group().split(".")) if matched else ()


def problems(found: dict[str, str | None], torch: dict[str, Any]) -> list[str]:
    """One clear line for each thing that is installed and does not fit."""
    lines = []
    for name, (lowest, end) in WINDOWS.items():
        have = found.get(name)
        if have and (numbers(have) < lowest or (end and numbers(have) >= end)):
            window = f">= {'.'.join(map(str, lowest))}" + (f" and < {'.'.join(map(str, end))}" if end else "")
            lines.append(f"{name} {have} is outside the supported versions ({window})")
    lines += holes(found)
    if torch["error"]:
        lines.append(f"torch does not import: {torch['error']}")
    if found.get("torch") and found.get("torchvision"):
        pair = pair_problem(str(found["torch"]), str(found["torchvision"]))
        if pair:
            lines.append(pair)
        elif (error := _import_error("torchvision")) and not torch["error"]:
            lines.append(f"torchvision {found['torchvision']} does not import beside torch {found['torch']}: {error}")
    return lines


def holes(found: dict[str, str | None]) -> list[str]:
    """One line for each package whose version has a known hole."""
    return [
        f"{name} {have} has a known hole ({hole}): install {'.'.join(map(str, lowest))} or later"
        for name, (lowest, hole) in FLOORS.items()
        if (have := found.get(name)) and numbers(have) < lowest
    ]


def pair_problem(torch: str, torchvision: str) -> str:
    """Why this torchvision cannot work with this torch, in one line with the cure; '' when they fit.

    torchvision 0.(m) is built against torch 2.(m - 15), binary against binary: another minor version, or a CUDA build
    beside a CPU build, fails at import with "operator torchvision::nms does not exist" and takes open_clip and
    transformers' own video processors down with it.
    """
    have, beside = numbers(torch), numbers(torchvision)
    if len(have) < 2 or len(beside) < 2 or have[0] != 2 or beside[0] != 0:
        return ""
    builds = [text.partition("+")[2] for text in (torch, torchvision)]
    same_minor = beside[1] - have[1] == 15
    if same_minor and not (all(builds) and builds[0] != builds[1]) and not (builds[0] == "cpu" and not builds[1]):
        return ""
    return (
        f"torchvision {torchvision} does not fit torch {torch}: pip uninstall torchvision (Cineloop does not need it), "
        f"or install the build of torchvision 0.{have[1] + 15} made for it"
    )


def torch_facts() -> dict[str, Any]:
    """Version, what the build was made for, threads; `error` says why torch does not import."""
    error = _import_error("torch")
    if error:
        return {"version": version("torch"), "cuda_build": None, "threads": None, "error": error}
    import torch

    return {
        "version": torch.__version__,
        "cuda_build": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "error": None,
    }


def devices() -> list[dict[str, Any]]:
    """The CPU, then every accelerator torch can use; memory in GB."""
    found: list[dict[str, Any]] = [{"device": "cpu", "name": _cpu_name(), "cores": usable_cpus(), **_memory()}]
    if _import_error("torch"):
        return found
    import torch

    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        properties = torch.cuda.get_device_properties(index)
        found.append(
            {
                "device": f"cuda:{index}",
                "name": properties.name,
                "capability": f"{properties.major}.{properties.minor}",
                "memory_gb": round(total / GB, 1),
                "memory_free_gb": round(free / GB, 1),
            }
        )
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU"})
    return found


def java() -> dict[str, str] | None:
    """Path and first version line of the Java on PATH, or None."""
    path = shutil.which("java")
    if path is None:
        return None
    try:
        done = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = (done.stderr or done.stdout).splitlines()
    return {"path": path, "version": lines[0] if lines else "unknown"}


def disk() -> dict[str, Any]:
    """Free space where runs write, where models are kept and where clips pass through; the open-file limit."""
    places = {
        "here": Path.cwd(),
        "models": hub_cache(),
        "temporary": Path(tempfile.gettempdir()),
        "shm": Path("/dev/shm"),
    }
    found: dict[str, Any] = {}
    for name, path in places.items():
        there = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
        if name != "shm" or path.exists():
            found[name] = {"path": str(path), "free_gb": round(shutil.disk_usage(there).free / GB, 1)}
    try:
        import resource

        found["open_files"] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    except ImportError:  # Windows
        found["open_files"] = None
    return found


def starter() -> dict[str, Any] | None:
    """The captioner that comes with the package, or None where its weights are not there."""
    return _bundled(STARTER, "config.json")


def generator() -> dict[str, Any] | None:
    """The generator that comes with the package, or None where its weights are not there."""
    return _bundled(GENERATOR, "model_index.json")


def _bundled(folder: Path, config: str) -> dict[str, Any] | None:
    weights = sorted(folder.rglob("*.safetensors"))
    if not weights or not (folder / config).is_file():
        return None
    size = sum(path.stat().st_size for path in weights)
    return {"path": str(folder), "size_gb": round(size / GB, 4)}


def hub_cache() -> Path:
    """Where the hub client keeps models, by its own environment variables."""
    home = os.environ.get("HF_HOME", os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface"))
    return Path(os.environ.get("HF_HUB_CACHE", os.path.join(home, "hub"))).expanduser()


def hub_models() -> list[dict[str, Any]]:
    """Models already downloaded, largest first."""
    if not hub_cache().is_dir() or not find_spec("huggingface_hub"):
        return []
    from huggingface_hub import scan_cache_dir

    models = [repo for repo in scan_cache_dir(hub_cache()).repos if repo.repo_type == "model"]
    rows = [{"id": repo.repo_id, "size_gb": round(repo.size_on_disk / GB, 3)} for repo in models]
    return sorted(rows, key=lambda row: (-row["size_gb"], row["id"]))


def _import_error(module: str) -> str:
    """The first line of what goes wrong when `module` is imported; '' when it imports."""
    try:
        __import__(module)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""


def _memory() -> dict[str, float | None]:
    """Total memory, and what can be had without swapping (Linux only)."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return {"memory_gb": None, "memory_free_gb": None}
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in text.splitlines())}
    return {
        "memory_gb": round(kilobytes["MemTotal"] * 1024 / GB, 1),
        "memory_free_gb": round(kilobytes["MemAvailable"] * 1024 / GB, 1),
    }


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    named = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    return named.group(1) if named else platform.machine()


def _truthy(name: str) -> bool:
    return os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}
