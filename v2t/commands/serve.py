"""The verb `v2t serve`: chat about video over HTTP, with a page for it."""

from __future__ import annotations

import argparse
import json
import shlex
from typing import Any

from cineloop.options import add_layers, add_options, load_options
from cineloop.parser import Parser
from v2t.serve.settings import ServeConfig

SUMMARY = "Serve a video model: an OpenAI-compatible API and a chat page, on one port."
EXAMPLES = (
    "  v2t serve                                  # the starter, at http://127.0.0.1:8000\n"
    "  v2t serve runs/mine/final --engine vllm --lora shop=runs/shop/final/adapter\n"
    "  v2t serve --engine openai:http://localhost:11434/v1   # before Ollama, LM Studio, llama.cpp ...\n"
    "  v2t serve --root clips=/data/clips --allow-host cdn.example.org\n"
    "  V2T_SERVE_KEY=$(openssl rand -hex 16) v2t serve --host 0.0.0.0 --set 'hosts=[video.example.org]'\n"
    "  v2t serve --dry-run --json"
)


def add_arguments(parser: Parser) -> None:
    add_options(parser, ServeConfig)
    add = parser.add_argument
    add("--dry-run", action="store_true", help="print the settings and the engine's command line; start nothing")
    add("--json", action="store_true", help="with --dry-run: JSON on stdout")
    add_layers(parser, ServeConfig)


def run(args: argparse.Namespace) -> int:
    from cineloop import log

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    settings = load_options(args, ServeConfig)
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
