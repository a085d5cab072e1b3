"""The verb `v2t caption`: a folder of videos in, captions out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cineloop.errors import UsageError
from v2t.commands import add_layers, comma_list

SUMMARY = "Caption videos: a folder in, captions at mirrored paths and captions.jsonl out."
EXAMPLES = (
    "  v2t caption clip.mp4\n  v2t caption clips/ -o captions/\n"
    "  v2t caption clips/ -o captions/ --style detailed --sample 3\n"
    "  v2t caption film.mp4 -o captions/ --parts scene --format vtt,jsonl\n"
    "  find clips -name '*.mp4' | v2t caption - -o captions/ --retry-failed\n"
    "several GPUs or machines, one process each, then one merge:\n"
    "  CUDA_VISIBLE_DEVICES=0 v2t caption clips/ -o captions/ --shard 1/2 &\n"
    "  CUDA_VISIBLE_DEVICES=1 v2t caption clips/ -o captions/ --shard 2/2 & wait; v2t merge captions/\n"
    "  v2t caption s3://bucket/clips -o captions/            (pip install 'cineloop[remote]')"
)

FLAGS = (
    "model captioner style prompt max_new_tokens parts summary sampler frames fps format batch_size device dtype "
    "workers decoders root lists include exclude limit sample seed overwrite overwrite_edited retry_failed dry_run "
    "shard allow_remote on_outside"
).split()
NESTED = {
    **{name: f"options.{name}" for name in ("revision", "quantize", "trust_remote_code", "concurrency")},
    **{name: f"wording.{name}" for name in ("prefix", "suffix", "trigger", "template", "encoder")},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    add = parser.add_argument
    add(
        "paths",
        nargs="*",
        metavar="PATH",
        help="folder, file, glob, @list, manifest.jsonl, address (s3://...), - for a list",
    )
    add("-o", "--output", type=Path, metavar="DIR", help="folder for captions; without it they are only printed")
    add("--model", help="starter (default), a folder, a hub id, or openai:URL[#model]")
    add("--captioner", help="backend of the model, also FILE.py (default: depends on the model)")
    add("--revision", metavar="REV", help="revision of a hub model (default: the newest)")
    add("--quantize", metavar="HOW", help="quantise a hub model: 4bit or 8bit")
    add("--trust-remote-code", action="store_const", const=True, help="run code that comes with a hub model")
    add("--concurrency", type=int, metavar="N", help="concurrent requests to a server (default: 16)")
    add("--style", help="short (default), detailed, timed, notes, structured, tags, or a YAML file")
    add("--prompt", help="prompt instead of the style's")
    add("--max-new-tokens", type=int, metavar="N", help="longest answer (default: the style's)")
    add(
        "--parts",
        metavar="HOW",
        help="caption a video whole (default), by segment[:SECONDS], scene[:SECONDS] or window:SECONDS[/STRIDE]",
    )
    add("--summary", help="caption of a video in parts: model, join or auto (default: depends on the model)")
    add("--prefix", metavar="TEXT", help="put before every caption, exactly as given")
    add("--suffix", metavar="TEXT", help="put after every caption, exactly as given")
    add("--trigger", metavar="TEXT", help="a trainer's trigger word, put before the prefix")
    add("--template", metavar="TEXT", help="how a caption is written, such as '{{ caption }} ({{ folder }})'")
    add("--encoder", metavar="NAME", help="warn of captions too long for clip, cogvideox, hunyuan or wan")
    add("--sampler", help="uniform, fps, segment, keyframe or motion (default: the model's)")
    add("--frames", type=int, metavar="N", help="frames of a clip (default: the model's)")
    add("--fps", type=float, help="frames per second of video")
    add(
        "--format",
        type=comma_list,
        metavar="A,B",
        help="files to write, also FILE.py, or all (default: txt,jsonl,html)",
    )
    add("--batch-size", type=int, metavar="N", help="clips the model sees at once (default: 16)")
    add("--device", help="auto (default), cpu, cuda, cuda:1")
    add("--dtype", help="auto (default), float32, bfloat16, float16")
    add("--workers", type=int, metavar="N", help="decoder processes (default: half the cores)")
    add(
        "--decoder",
        type=comma_list,
        dest="decoders",
        metavar="A,B",
        help="decoders to try (default: decord,pyav)",
    )
    _add_choice(parser.add_argument_group("which clips"))
    add("--seed", type=int, help="of --sample and of sampling models (default: 0)")
    add("--overwrite", action="store_const", const=True, help="caption again what is done; edited captions stay")
    add("--overwrite-edited", action="store_const", const=True, help="caption edited clips again too")
    add("--retry-failed", action="store_const", const=True, help="try again what failed before")
    add("--on-outside", metavar="HOW", help="clips outside the model's domain: fail (default), or warn and caption")
    add("--dry-run", action="store_const", const=True, help="print what would be done; write nothing")
    add("--json", action="store_true", help="records and, last, the summary as JSON lines on stdout")
    add_layers(parser)


def _add_choice(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--list", action="append", dest="lists", metavar="FILE", help="file with one path a line, or NUL-separated")
    add("--root", metavar="DIR", help="names are relative to this folder")
    add("--include", action="append", metavar="PATTERN", help="only clips whose name matches; may be repeated")
    add("--exclude", action="append", metavar="PATTERN", help="no clips whose name matches; may be repeated")
    add(
        "--allow-remote",
        action="append",
        metavar="ADDRESS",
        help="addresses that lists may name, and any of the web: a protocol, or how they begin (https://example.org/)",
    )
    add("--shard", metavar="I/N", help="only part I of N, chosen by SHA-256 of the clip's id; then v2t merge")
    add("--limit", type=int, metavar="N", help="only the first N clips")
    add("--sample", type=int, metavar="N", help="only N clips at random (by --seed)")


def run(args: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    from cineloop import config, log
    from v2t.caption import run as caption

    logger = log.setup(verbosity=-1 if args.quiet else args.verbose)
    flags = {name: getattr(args, name) for name in FLAGS}
    flags |= {key: getattr(args, name) for name, key in NESTED.items()}
    settings = config.load(caption.CaptionConfig, file=args.config, sets=args.set, flags=flags)
    if not args.paths and not settings.lists:
        raise UsageError("expected the clips to caption", hint="v2t caption FOLDER, or --list FILE")

    def emit(row: dict[str, Any]) -> None:
        if args.json:
            kind = "plan" if "action" in row else "record"
            print(json.dumps({"type": kind, **row}, ensure_ascii=False, allow_nan=False), flush=True)
        elif "action" in row:
            print(f"{row['action']}\t{log.printable(row['id'])}")
        elif row["status"] == "ok" and not args.quiet:
            name, lines = log.printable(row["id"]), row["caption"].splitlines()
            if sys.stdout.isatty() and len(lines) > 1:  # for a person on separate lines, indented
                print("\n".join([name, *(f"    {log.printable(line)}" for line in lines)]), flush=True)
            else:  # one line for programs
                print(f"{name}\t{log.printable(row['caption'])}", flush=True)

    summary = caption.run(args.paths, args.output, settings, emit=emit, show_progress=not args.quiet)
    if args.json:
        print(json.dumps({"type": "summary", **summary.to_dict()}, ensure_ascii=False, allow_nan=False), flush=True)
    for level, line in summary.report():
        logger.log(level, "%s", line)
    return summary.exit_code
