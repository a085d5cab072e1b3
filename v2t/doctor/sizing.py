"""What serving a model takes: memory of weights and of the cache of keys and values, conversations that fit at once.

In: the folder of a model (config.json, safetensors). Out: a table, one row for each device named: tokens of cache that
are left beside the weights, and conversations about a minute of video that they hold. Only headers are read.

A token's cache is 2 (key and value) * layers * KV heads * head size * bytes of the type (vLLM, PagedAttention,
arXiv:2309.06180), handed out in whole blocks. What the sum leaves out stands in its note: activations and CUDA graphs
are an allowance, not a count.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from cineloop.documents import parse_json, read_json
from cineloop.errors import MissingDependencyError, UsageError
from cineloop.files import open_file

GIB = 1 << 30
# Name → (memory in GiB, share vLLM may use, tokens of a cache block). A CPU is given its cache in so many GiB.
DEVICES = {
    "CPU, 4 GiB of cache": (4, 1.0, 128),
    "RTX 4090": (24, 0.9, 16),
    "A100 40 GB": (40, 0.9, 16),
    "A100/H100 80 GB": (80, 0.9, 16),
    "H200": (141, 0.9, 16),
}
_ALLOWANCE = {"base": 1.5, "share": 0.1}  # GiB, and of the weights: activations of vision and text, graphs
_TEXT_TOKENS = 300  # of a question, its answer and the chat's marks
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def sizing(model: str, *, dtype: str = "bfloat16") -> dict[str, Any]:
    """Memory that serving `model` takes, as one JSON-able dict.

    Args:
        model: "starter", or a folder with config.json and safetensors.
        dtype: of weights and cache: float32, bfloat16, float16.

    Raises:
        MissingDependencyError: no model in the folder. UsageError: an unknown dtype, or a config without an LLM.
    """
    from v2t.captioners.local import STARTER

    if dtype not in _BYTES:
        raise UsageError(f"dtype must be one of {', '.join(_BYTES)}, got {dtype!r}")
    folder = STARTER if model == "starter" else Path(model)
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise MissingDependencyError(
            f"cannot read {folder / 'config.json'}: {error}",
            code="MODEL",
            hint="--serve takes a folder: download a hub model first, hf download ID --local-dir DIR",
        ) from error
    per_token = cache_bytes(config, dtype)
    parameters = num_parameters(folder)
    weights = parameters * _BYTES[dtype]
    minute = _minute_tokens(folder)
    rows = []
    for device, (memory, share, block) in DEVICES.items():
        taken = 0.0 if device.startswith("CPU") else weights * (1 + _ALLOWANCE["share"]) + _ALLOWANCE["base"] * GIB
        tokens = cache_tokens(memory * share * GIB - taken, per_token, block)
        rows.append({"device": device, "cache_tokens": tokens, "conversations": tokens // (minute + _TEXT_TOKENS)})
    return {
        "model": model,
        "dtype": dtype,
        "parameters": parameters,
        "weights_gib": round(weights / GIB, 3),
        "cache_bytes_per_token": per_token,
        "cache_tokens_per_gib": cache_tokens(GIB, per_token, 128),
        "visual_tokens_per_minute": minute,
        "devices": rows,
        "note": f"activations and graphs are an allowance of {_ALLOWANCE['base']} GiB and a tenth of the weights; "
        f"a conversation is one minute of video and {_TEXT_TOKENS} tokens of text",
    }


def cache_bytes(config: dict[str, Any], dtype: str = "bfloat16") -> int:
    """Bytes that one token's keys and values take in the LLM of a transformers configuration.

    Raises:
        UsageError: no LLM can be found in it.
    """
    text = next((config[name] for name in ("text_config", "llm_config", "language_config") if name in config), config)
    try:
        heads = int(text["num_attention_heads"])
        kv_heads = int(text.get("num_key_value_heads") or heads)
        head = int(text.get("head_dim") or int(text["hidden_size"]) // heads)
        return 2 * int(text["num_hidden_layers"]) * kv_heads * head * _BYTES[dtype]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UsageError(f"config.json describes no LLM whose cache could be counted: {error}") from error


def cache_tokens(memory: float, per_token: int, block: int) -> int:
    """Tokens that fit into `memory` bytes of cache, in whole blocks; 0 where there is none."""
    return max(0, int(memory // (per_token * block))) * block


def num_parameters(folder: Path) -> int:
    """Weights in the safetensors files of a folder, by their headers.

    Raises:
        MissingDependencyError: there are none, or one is damaged.
    """
    total, files = 0, [path for path in sorted(folder.glob("*.safetensors")) if path.name != "domain.safetensors"]
    try:
        for path in files:
            with open_file(path) as handle:
                header = parse_json(handle.read(struct.unpack("<Q", handle.read(8))[0]))
            for name, tensor in header.items():
                size = 1
                for length in tensor["shape"] if name != "__metadata__" else (0,):
                    size *= length
                total += size
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise MissingDependencyError(f"{path} is no safetensors file: {error}", code="MODEL") from error
    if not files:
        raise MissingDependencyError(f"no weights (*.safetensors) in {folder}", code="MODEL")
    return total


def text(table: dict[str, Any]) -> str:
    """The table for people."""
    lines = [
        f"{table['model']}: {table['parameters'] / 1e6:,.1f} M parameters, {table['weights_gib']} GiB "
        f"in {table['dtype']}",
        f"cache of keys and values: {table['cache_bytes_per_token']:,} bytes a token, "
        f"{table['cache_tokens_per_gib']:,} tokens a GiB",
        f"a minute of video: about {table['visual_tokens_per_minute']:,} visual tokens",
        "",
        f"  {'device':<20} {'cache tokens':>14} {'conversations at once':>22}",
    ]
    for row in table["devices"]:
        tokens = f"{row['cache_tokens']:,}" if row["cache_tokens"] else "does not fit"
        lines.append(f"  {row['device']:<20} {tokens:>14} {row['conversations']:>22,}")
    return "\n".join([*lines, "", table["note"]])


def _minute_tokens(folder: Path) -> int:
    """Visual tokens of a minute of video: counted for our models, a middling 64 frames of 64 tokens for others."""
    from v2t.captioners import choose
    from v2t.serve import served
    from v2t.serve.settings import ServeConfig

    if choose(str(folder)) != "local":
        return 64 * 64
    known = served.read(ServeConfig(model=str(folder)))
    spec = known.spec
    frames = {"fps": round(60 * (spec.fps or 1)), "segment": spec.num_frames * round(60 / spec.segment_s)}
    return known.visual_tokens(min(frames.get(spec.sampler, spec.num_frames), spec.max_frames)) or 0
