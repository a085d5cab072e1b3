"""`v2t doctor`: check the installation and list the machine's devices, disk space and models.

In: the installed distributions, and what Cineloop's own metadata requires of them; the machine. Out: one report on
stdout (text, or a JSON object with `--json`; sizes in GB = 1e9 bytes, an absent thing is null) and exit code 5 when the
core commands cannot run here. One small clip is written and decoded by each decoder; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from cineloop.errors import EXIT_ENVIRONMENT, EXIT_OK, CineloopError, first_line
from cineloop.files import cache_home
from cineloop.threads import usable_cpus
from v2t import STARTER

GB = 1e9
GENERATOR = Path(__file__).resolve().parents[1] / "t2v" / "starter"
# Distributions that Cineloop can use and does not require, beside those of its extras.
OPTIONAL = ("torchvision", "vllm")
# Versions below these have a hole that untrusted input reaches: (lowest safe version, the hole).
FLOORS: dict[str, tuple[tuple[int, ...], str]] = {
    "vllm": ((0, 31), "CVE-2026-22778 and similar: a video runs code; CVE-2026-114053: a request chooses code"),
    "torch": ((2, 10), "CVE-2026-24747: a weights file runs code"),
    "python-multipart": ((0, 0, 18), "CVE-2024-53981: a form stops the server"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `v2t doctor`; `run` reads them."""
    about = "say too, before a download, whether this machine can run a model: a hub id, or a folder with config.json"
    parser.add_argument("--model", metavar="MODEL", help=about)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Print the report; returns 0, or 5 when the core commands (caption, generate, score), or the model that was asked
    about, cannot run here."""
    facts = check()
    if args.model is not None:
        from v2t import doctor_model

        facts["model"] = doctor_model.check(args.model, facts["devices"], facts["disk"])
    print(json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) if args.json else text(facts))
    return EXIT_ENVIRONMENT if facts["errors"] or facts.get("model", {}).get("errors") else EXIT_OK


def check() -> dict[str, Any]:
    """The whole report as one JSON-able dict: `errors` stop the core commands, `problems` do not."""
    required = requirements()
    names = dict.fromkeys([*(name for rows in required.values() for name in rows), *OPTIONAL])
    packages = {name: version(name) for name in names}
    torch_error = _import_error("torch")
    decoders = {name: try_decoder(name) for name in ("decord", "pyav")}
    extras = {
        extra: [name for name in rows if packages[name] is None] for extra, rows in required.items() if extra
    }  # extra -> distributions that are missing
    return {
        "cineloop": version("cineloop"),
        "python": {"version": platform.python_version(), "executable": sys.executable, "platform": platform.platform()},
        "packages": packages,
        "extras": extras,
        "errors": errors(required[""], packages, torch_error, decoders),
        "problems": problems(packages, torch_error),
        "devices": devices() if not torch_error else [_cpu()],
        "decoders": decoders,
        "java": java(),
        "disk": disk(),
        "models": {"captioner": _model(STARTER), "generator": _model(GENERATOR), "hub": hub_models()},
    }


def requirements() -> dict[str, dict[str, str]]:
    """Extra ("" for the core) → distribution → accepted versions, from the metadata of the installed Cineloop."""
    from packaging.requirements import Requirement

    accepted: dict[str, dict[str, str]] = {"": {}}
    for line in metadata.requires("cineloop") or []:
        need = Requirement(line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        name = extra.group(1) if extra else ""
        if name != "dev" and (need.marker is None or need.marker.evaluate({"extra": name})):
            accepted.setdefault(name, {})[need.name] = str(need.specifier)
    return accepted


def version(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def errors(
    core: dict[str, str], packages: dict[str, str | None], torch_error: str, decoders: dict[str, str]
) -> list[str]:
    """What keeps the core commands from running here, one line each."""
    from packaging.specifiers import SpecifierSet

    lines = []
    for name, accepted in core.items():
        have = packages[name]
        if have is None:
            lines.append(f"{name} is not installed: pip install '{name}{accepted}'")
        elif not SpecifierSet(accepted).contains(have, prereleases=True):
            lines.append(f"{name} {have} is outside the supported versions ({accepted})")
    if torch_error:
        lines.append(f"torch does not import: {torch_error}")
    if "ok" not in decoders.values():
        lines.append("no decoder reads an H.264 mp4: pip install decord av")
    return lines


def problems(packages: dict[str, str | None], torch_error: str = "") -> list[str]:
    """Known problems of installed packages, one line each with the cure."""
    lines = vulnerable(packages)
    torch, torchvision = packages.get("torch"), packages.get("torchvision")
    # Whether the two fit is what the import says: rules of version numbers have called working pairs broken.
    if torch and torchvision and not torch_error and (error := _import_error("torchvision")):
        lines.append(f"torchvision {torchvision} does not import beside torch {torch} ({error}): {_cure_of(torch)}")
    return lines


def vulnerable(packages: dict[str, str | None] | None = None) -> list[str]:
    """One line for each installed package whose version has a known hole; None looks the versions up."""
    packages = {name: version(name) for name in FLOORS} if packages is None else packages
    return [
        f"{name} {have} has a known hole ({hole}): install {'.'.join(map(str, lowest))} or later"
        for name, (lowest, hole) in FLOORS.items()
        if (have := packages.get(name)) and _numbers(have) < lowest
    ]


def _cure_of(torch: str) -> str:
    """The cure of a torchvision that does not import, of the build that is made for this torch: 0.(m + 15) for 2.m."""
    have = _numbers(torch)
    release = f"torchvision 0.{have[1] + 15}" if len(have) > 1 and have[0] == 2 else "torchvision"
    build = torch.partition("+")[2]
    return f"install the build of {release} that is made for torch {torch}" + (f", {build}" if build else "")


def try_decoder(name: str) -> str:
    """Write eight frames of known brightness as H.264 mp4 and read them with one decoder: "ok", or what went wrong."""
    try:
        import numpy as np

        from cineloop.video.encode import encode
        from cineloop.video.worker import DecoderPool, Limits, SampleSpec

        levels = np.arange(20, 244, 28, dtype=np.uint8)  # (T,)
        with tempfile.TemporaryDirectory(prefix="cineloop-doctor-") as folder:
            path = Path(folder) / "clip.mp4"
            encode(np.broadcast_to(levels[:, None, None, None], (len(levels), 64, 64, 3)), path, 8)
            with DecoderPool(1, Limits(timeout_s=20), decoders=(name,)) as pool:
                frames = pool.decode(path, SampleSpec(num_frames=len(levels)))
        read = frames.pixels.mean(axis=(1, 2, 3))  # (T,)
        exact = len(read) == len(levels) and np.abs(read - levels).max() < 13  # less than half the step between two
        return "ok" if exact and np.allclose(frames.times_s, np.arange(len(levels)) / 8) else "wrong frames or times"
    except CineloopError as error:
        return f"{error.code}: {error.message}"
    except (ImportError, OSError) as error:
        return f"does not load: {error}"


def devices() -> list[dict[str, Any]]:
    """The CPU, then every accelerator torch can use; memory in GB."""
    import torch

    rows = [_cpu()]
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_properties(index).name
        sizes = {"memory_gb": round(total / GB, 1), "memory_free_gb": round(free / GB, 1)}
        rows.append({"device": f"cuda:{index}", "name": name, **sizes})
    if torch.backends.mps.is_available():
        rows.append({"device": "mps", "name": "Apple GPU"})
    return rows


def _cpu() -> dict[str, Any]:
    row: dict[str, Any] = {"device": "cpu", "name": platform.processor() or platform.machine(), "cores": usable_cpus()}
    if Path("/proc/cpuinfo").exists():  # Linux
        model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
        row["name"] = model.group(1) if model else row["name"]
        kilobytes = dict(re.findall(r"^(\w+):\s+(\d+)", Path("/proc/meminfo").read_text(), flags=re.MULTILINE))
        row["memory_gb"] = round(int(kilobytes["MemTotal"]) * 1024 / GB, 1)
        row["memory_free_gb"] = round(int(kilobytes["MemAvailable"]) * 1024 / GB, 1)
    return row


def java() -> str | None:
    """The first version line of the Java on PATH (METEOR and SPICE need one), or None."""
    path = shutil.which("java")
    try:
        done = subprocess.run([path or "", "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter((done.stderr or done.stdout).splitlines()), "unknown version")


def disk() -> dict[str, float]:
    """Free GB where runs write, where hub models are kept and where temporary files go."""
    folders = {"here": Path.cwd(), "hub": _hub_cache(), "temporary": Path(tempfile.gettempdir())}
    nearest = {name: next(p for p in (path, *path.parents) if p.exists()) for name, path in folders.items()}
    return {name: round(shutil.disk_usage(path).free / GB, 1) for name, path in nearest.items()}


def hub_models() -> list[dict[str, Any]]:
    """Hub models that are already downloaded, largest first."""
    if not _hub_cache().is_dir() or not version("huggingface_hub"):
        return []
    from huggingface_hub import scan_cache_dir

    repos = scan_cache_dir(_hub_cache()).repos
    rows = [{"id": r.repo_id, "size_gb": round(r.size_on_disk / GB, 3)} for r in repos if r.repo_type == "model"]
    return sorted(rows, key=lambda row: (-row["size_gb"], row["id"]))


def _hub_cache() -> Path:
    home = os.environ.get("HF_HOME", cache_home() / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE", os.path.join(home, "hub"))).expanduser().absolute()


def _model(folder: Path) -> dict[str, Any] | None:
    """A bundled model, or None where its weights are missing."""
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    return {"path": str(folder), "size_gb": round(size / GB, 4)} if size else None


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: '2.13.0+cpu' -> (2, 13, 0)."""
    matched = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in matched.group().split(".")) if matched else ()


def _import_error(module: str) -> str:
    """The first line of the error when `module` is imported; '' when it imports."""
    try:
        __import__(module)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return first_line(error)
    return ""


def text(facts: dict[str, Any]) -> str:
    """The report for people; lines that need attention start with an exclamation mark."""
    python, models = facts["python"], facts["models"]
    installed = [f"{name} {have}" for name, have in facts["packages"].items() if have]
    lines = [
        f"Cineloop {facts['cineloop']}, Python {python['version']}, {python['platform']}",
        f"packages    {', '.join(installed)}",
        *(f"! {line}" for line in (*facts["errors"], *facts["problems"])),
    ]
    for extra, missing in facts["extras"].items():
        state = f"missing {', '.join(missing)}: pip install 'cineloop[{extra}]'" if missing else "installed"
        lines.append(f"extra       {extra}: {state}")
    for row in facts["devices"]:
        memory = f", {row['memory_gb']} GB memory ({row['memory_free_gb']} free)" if "memory_gb" in row else ""
        cores = f", {row['cores']} cores" if "cores" in row else ""
        lines.append(f"device      {row['device']}: {row['name']}{cores}{memory}")
    lines += [f"decoder     {name}: {verdict}" for name, verdict in facts["decoders"].items()]
    lines.append(f"java        {facts['java'] or 'not found (METEOR and SPICE need it)'}")
    lines.append(f"disk free   {', '.join(f'{name} {free} GB' for name, free in facts['disk'].items())}")
    for name in ("captioner", "generator"):
        row = models[name]
        state = f"{row['path']} ({row['size_gb'] * 1000:.1f} MB)" if row else "its weights are missing: name a --model"
        lines.append(f"{' ' if row else '!'} bundled   {name}: {state}")
    lines += [f"hub model   {row['id']} ({row['size_gb']} GB)" for row in models["hub"]]
    if "model" in facts:
        from v2t import doctor_model

        lines += doctor_model.lines(facts["model"])
    return "\n".join(
        [*lines, "cannot run here" if facts["errors"] else "ready: v2t caption, t2v generate, v2t-eval score"]
    )
