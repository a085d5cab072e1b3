"""What each command wants of the machine: a table, and the rule that reads facts against it.

In: the facts of `machine.facts` with the decoders of `decoders.try_all`. Out: per command `ready`, `missing` (it cannot
run without) and `without` (what it does only when more is installed), each with the line that mends it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any

from cineloop.errors import UsageError

NETS = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
GENERATING = (*NETS, "diffusers", "an H.264 encoder", "a generator")
TRAINING = {"peft": "LoRA and DoRA", "bitsandbytes": "QLoRA", "tensorboard": "TensorBoard logs"}
SCORING = ("numpy", "torch", "scipy", "a decoder")
MORE_SCORES = {
    "open_clip_torch": "metrics through models of open_clip",
    "pycocoevalcap": "METEOR and SPICE",
    "pyarrow": "clips.parquet beside a report",
    "Java": "METEOR and SPICE",
}
CAPTIONING = (*NETS, "a decoder", "a model")


@dataclass(frozen=True, kw_only=True)
class Wants:
    """What a command needs to run at all, and what it needs for more (thing -> what for)."""

    needs: tuple[str, ...]
    more: dict[str, str] = field(default_factory=dict)


COMMANDS: dict[str, Wants] = {
    "v2t caption": Wants(needs=CAPTIONING, more={"an accelerator": "speed with models beyond about 1 B parameters"}),
    "v2t ask": Wants(needs=CAPTIONING),
    "v2t chat": Wants(needs=CAPTIONING),
    "v2t serve": Wants(
        needs=(*CAPTIONING, "fastapi", "httpx", "uvicorn", "prometheus-client", "python-multipart"),
        more={"vllm": "batching across many clients' requests (this project's own captioner answers then)"},
    ),
    "v2t merge": Wants(needs=()),
    "v2t world": Wants(needs=("numpy", "opencv-python-headless", "an H.264 encoder")),
    "v2t train": Wants(
        needs=(*NETS, "accelerate"),
        more=TRAINING,
    ),
    "v2t recipes": Wants(needs=()),
    "v2t doctor": Wants(needs=()),
    "t2v generate": Wants(
        needs=GENERATING,
        more={
            "an accelerator": "speed with generators beyond the bundled one",
            "ftfy": "text encoders of the Wan models",
            "sentencepiece": "text encoders with a T5 tokenizer",
            "peft": "LoRA files",
        },
    ),
    "t2v train": Wants(needs=(*NETS, "accelerate", "diffusers"), more=TRAINING),
    "t2v recipes": Wants(needs=()),
    "v2t-eval score": Wants(needs=SCORING, more=MORE_SCORES),
    "v2t-eval roundtrip": Wants(needs=(*SCORING, *GENERATING, "a model")),
    "v2t-eval gate": Wants(needs=SCORING, more=MORE_SCORES),
    "v2t-eval audit": Wants(needs=(*SCORING, "an H.264 encoder", "a model")),
    "v2t-eval calibrate": Wants(needs=(*SCORING, "an H.264 encoder", "a model")),
    "v2t-eval compare": Wants(needs=("numpy", "scipy")),
    "v2t-eval questions": Wants(needs=("numpy",)),
    "v2t-eval list": Wants(needs=("numpy",)),
    "v2t-eval suites": Wants(needs=()),
    "v2t-eval ci": Wants(needs=()),
}
# How to get what is missing; packages not named here come with the core.
CURES = {
    "a decoder": "pip install decord av",
    "an H.264 encoder": "pip install av",
    "a generator": "name one by --model; the weights that come with Cineloop are not in t2v/starter",
    "Java": "install a Java runtime; on Debian: apt-get install default-jre-headless",
    "a model": "name one by --model; the weights that come with Cineloop are not in v2t/starter",
    "an accelerator": "none found; small models run on the CPU",
    **dict.fromkeys(
        ("fastapi", "httpx", "uvicorn", "prometheus-client", "python-multipart"), "pip install 'cineloop[serve]'"
    ),
    "vllm": "scripts/serve-env makes an environment with it",
    "peft": "pip install 'cineloop[train]'",
    "bitsandbytes": "pip install 'cineloop[train]'",
    "tensorboard": "pip install 'cineloop[train]'",
    **dict.fromkeys(("ftfy", "sentencepiece"), "pip install 'cineloop[t2v]'"),
    **dict.fromkeys(("open_clip_torch", "pycocoevalcap", "pyarrow"), "pip install 'cineloop[eval]'"),
}


def named(command: str | None) -> str | None:
    """The full name of a command: 'caption' -> 'v2t caption', 'gate' -> 'v2t-eval gate'; None stays None.

    Raises:
        UsageError: there is no such command; names the nearest.
    """
    if command is None or command in COMMANDS:
        return command
    by_verb = {name.split()[1]: name for name in reversed(COMMANDS)}  # of two the first: train is v2t's
    if command in by_verb:
        return by_verb[command]
    known = [*COMMANDS, *by_verb]
    nearest = difflib.get_close_matches(command, known, n=1, cutoff=0.0)[0]
    raise UsageError(
        f"doctor --for: no command {command!r}", hint=f"nearest is {nearest!r}; all: {', '.join(COMMANDS)}"
    )


def readiness(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """For every command: `ready`, `missing` and `without`, the last two as lists of {what, why, cure}."""
    rows = {}
    for command, wants in COMMANDS.items():
        missing = [{"what": what, "why": "", "cure": _cure(what)} for what in wants.needs if not _present(what, facts)]
        without = [
            {"what": what, "why": why, "cure": _cure(what)}
            for what, why in wants.more.items()
            if not _present(what, facts)
        ]
        rows[command] = {"ready": not missing, "missing": missing, "without": without}
    return rows


def _present(what: str, facts: dict[str, Any]) -> bool:
    if what == "a decoder":
        return any(verdict == "ok" for row in facts["decoders"] for verdict in row["decodes"].values())
    if what == "an H.264 encoder":
        return facts["packages"]["av"] is not None
    if what == "a model":
        return facts["models"]["starter"] is not None or bool(facts["models"]["hub"])
    if what == "a generator":
        return facts["models"]["generator"] is not None or bool(facts["models"]["hub"])
    if what == "Java":
        return facts["java"] is not None
    if what == "an accelerator":
        return len(facts["devices"]) > 1
    if what == "torch" and facts["torch"]["error"]:
        return False
    return facts["packages"][what] is not None


def _cure(what: str) -> str:
    return CURES.get(what, f"pip install {what}")
