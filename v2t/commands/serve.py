"""The verb `v2t serve`: chat about video over HTTP, with a page for it."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from v2t.commands import add_layers, load_settings

SUMMARY = "Serve a video model: an OpenAI-compatible API and a chat page, on one port."
EXAMPLES = (
    "  v2t serve                                  # the starter, at http://127.0.0.1:8000\n"
    "  v2t serve runs/mine/final --engine vllm --lora shop=runs/shop/final/adapter\n"
    "  v2t serve --root clips=/data/clips --allow-host cdn.example.org\n"
    "  V2T_SERVE_KEY=$(openssl rand -hex 16) v2t serve --host 0.0.0.0 --set 'hosts=[video.example.org]'\n"
    "  v2t serve --dry-run --json"
)

NESTED = {"root": "roots", "lora": "adapters", "allow_host": "allow_hosts"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="starter (default), a folder, or a hub id that vLLM knows")
    add("--engine", help="auto (default: vLLM where it is installed), vllm, or local: this project's own captioner")
    add("--host", help="address to listen on (default: 127.0.0.1); all but loopback need a key")
    add("--port", type=int, help="port (default: 8000); 0 picks a free one")
    add("--name", help="name of the model for clients")
    add("--root", action="append", metavar="NAME=DIR", help="folder whose files clients may request as file://NAME/...")
    add("--allow-host", action="append", metavar="HOST", help="host from which videos may be fetched, by https")
    add("--lora", action="append", metavar="NAME=DIR", help="LoRA adapter, served by that name next to the model")
    add("--key-env", metavar="VAR", help="environment variable with the API keys (default: V2T_SERVE_KEY)")
    add("--max-model-len", type=int, metavar="N", help="maximum tokens of prompt and answer together")
    add("--device", help="auto (default), cpu, cuda, cuda:1")
    add("--dtype", help="auto (default), float32, bfloat16, float16")
    add("--no-page", action="store_const", const=False, dest="page", help="serve the API without the chat page")
    add("--dry-run", action="store_true", help="print the settings and the engine's command line; start nothing")
    add("--json", action="store_true", help="with --dry-run: JSON on stdout")
    add_layers(parser)


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t.serve.settings import ServeConfig

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    args.root, args.lora = _pairs("--root", args.root), _pairs("--lora", args.lora)
    settings = load_settings(args, ServeConfig, NESTED)
    if args.dry_run:
        return _show(settings, args.json)
    from cineloop import isolation
    from v2t.serve.run import run as serve

    isolation.hide()  # the clients' keys and requests, from decoders and the like
    return serve(settings)


def _show(settings: Any, as_json: bool) -> int:
    from cineloop import config
    from v2t.serve.engines import command_line
    from v2t.serve.served import read

    served = read(settings)
    argv = list(command_line(settings, served))
    if as_json:
        print(json.dumps({"settings": config.to_dict(settings), "served": served.name, "engine": argv}, indent=2))
    else:
        how = shlex.join(argv) or "# runs in this process"
        print(f"{config.dump(settings)}\n# the engine of {served.name}:\n{how}")
    return 0


def _pairs(flag: str, texts: Sequence[str] | None) -> dict[str, Path] | None:
    """NAME=DIR, once or more, as name → folder."""
    from cineloop.errors import UsageError

    if texts is None:
        return None
    found: dict[str, Path] = {}
    for text in texts:
        name, sign, folder = text.partition("=")
        if not sign or not name or not folder:
            raise UsageError(f"{flag} must look like NAME=DIR, not {text!r}")
        if name in found:
            raise UsageError(f"{flag}: {name!r} is named twice")
        found[name] = Path(folder)
    return found
