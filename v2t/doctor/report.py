"""The doctor's facts as text for people: plain lines, what needs attention marked with an exclamation mark.

In: the dict that `v2t doctor --json` prints. Out: one string.
"""

from __future__ import annotations

from typing import Any


def text(facts: dict[str, Any]) -> str:
    """The whole report, without a trailing newline."""
    parts = (_software, _devices, _decoders, _machine, _models, _commands)
    return "\n".join(line for part in parts for line in part(facts))


def asked(command: str, facts: dict[str, Any]) -> str:
    """What one command lacks, and what of this machine's problems stands in its way."""
    return "\n".join([*_command(command, facts["commands"][command]), *(f"! {each}" for each in facts["problems"])])


def _software(facts: dict[str, Any]) -> list[str]:
    python, packages = facts["python"], facts["packages"]
    lines = [f"Cineloop {facts['cineloop']}, Python {python['version']}, {python['platform']}"]
    if not python["supported"]:
        lines.append("! Python >= 3.11 is needed")
    have = [f"{name} {version}" for name, version in packages.items() if version]
    absent = [name for name, version in packages.items() if not version and name != "decord2"]  # decord by another name
    lines += _wrapped("packages", have) + _wrapped("not installed", absent)
    return lines + [f"! {problem}" for problem in facts["problems"]]


def _devices(facts: dict[str, Any]) -> list[str]:
    lines = ["devices"]
    for row in facts["devices"]:
        memory = ""
        if row.get("memory_gb") is not None:
            memory = f", {row['memory_gb']} GB memory ({row['memory_free_gb']} free)"
        cores = f", {row['cores']} cores" if "cores" in row else ""
        lines.append(f"  {row['device']:<10} {row['name']}{cores}{memory}")
    torch = facts["torch"]
    if len(facts["devices"]) == 1 and torch["cuda_build"]:
        lines.append(f"  no GPU that torch can use (this torch is built for CUDA {torch['cuda_build']})")
    return lines


def _decoders(facts: dict[str, Any]) -> list[str]:
    rows = [row for row in facts["decoders"] if row["installed"]]
    absent = [row["decoder"] for row in facts["decoders"] if not row["installed"]]
    lines = ["decoders, each tried on clips written for it"]
    if not rows:
        return [*lines, "  ! none installed: pip install decord av"]
    kinds = list(rows[0]["decodes"])
    width = max(map(len, kinds))
    heads = [f"{row['decoder']} {row['version']}" for row in rows]
    columns = [
        max(len(head), *(len(row["decodes"][kind]) for kind in kinds)) for head, row in zip(heads, rows, strict=True)
    ]
    lines.append("  " + " " * width + "  " + "  ".join(head.ljust(w) for head, w in zip(heads, columns, strict=True)))
    for kind in kinds:
        cells = [row["decodes"][kind].ljust(w) for row, w in zip(rows, columns, strict=True)]
        lines.append(f"  {kind:<{width}}  {'  '.join(cells)}".rstrip())
    if absent:
        lines.append(f"  not installed: {', '.join(absent)}")
    return lines


def _machine(facts: dict[str, Any]) -> list[str]:
    java, disk = facts["java"], facts["disk"]
    lines = [f"java       {java['version']} ({java['path']})" if java else "java       none found"]
    spaces = [f"{name} {row['free_gb']} GB" for name, row in disk.items() if isinstance(row, dict)]
    lines.append(f"disk free  {', '.join(spaces)}; open files at most {disk['open_files']}")
    return lines


def _models(facts: dict[str, Any]) -> list[str]:
    models = facts["models"]
    starter = models["starter"]
    lines = ["models at hand"]
    lines.append(
        f"  starter    {starter['path']} ({starter['size_gb'] * 1000:.1f} MB)" if starter else "  ! starter not there"
    )
    bundled = models["generator"]
    lines.append(
        f"  generator  {bundled['path']} ({bundled['size_gb'] * 1000:.1f} MB)" if bundled else "  ! generator not there"
    )
    lines += [f"  hub        {row['id']} ({row['size_gb']} GB)" for row in models["hub"]]
    if models["hub_offline"]:
        lines.append("  HF_HUB_OFFLINE is set: nothing will be downloaded")
    return lines


def _commands(facts: dict[str, Any]) -> list[str]:
    lines = ["commands"]
    for command, row in facts["commands"].items():
        lines += _command(command, row)
    return lines


def _command(command: str, row: dict[str, Any]) -> list[str]:
    lines = [f"{' ' if row['ready'] else '!'} {command:<18} {'ready' if row['ready'] else 'cannot run'}"]
    lines += [f"      needs {item['what']}: {item['cure']}" for item in row["missing"]]
    return lines + [f"      without {item['what']}: no {item['why']} ({item['cure']})" for item in row["without"]]


def _wrapped(title: str, words: list[str], width: int = 100) -> list[str]:
    """`title` and the words beside it, as many lines as they take."""
    lines: list[str] = []
    current = ""
    for word in words:
        joined = f"{current}, {word}" if current else word
        if len(joined) > width and current:
            lines.append(current + ",")
            joined = word
        current = joined
    lines.append(current or "nothing")
    return [f"{title if index == 0 else '':<14} {line}" for index, line in enumerate(lines)]
