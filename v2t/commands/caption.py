"""The verb `v2t caption`: a folder of videos in, captions out."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from cineloop.cluster.settings import FLAGS as CLUSTER
from cineloop.cluster.settings import add_flags
from cineloop.errors import UsageError
from v2t.commands import add_layers, comma_list, folder_or_address, load_settings

SUMMARY = "Caption videos: a folder in, captions at mirrored paths and captions.jsonl out."
EXAMPLES = (
    "  v2t caption clip.mp4\n  v2t caption clips/ -o captions/\n"
    "  v2t caption clips/ -o captions/ --style detailed --sample 3\n"
    "  v2t caption film.mp4 -o captions/ --parts scene --format vtt,jsonl\n"
    "  find clips -name '*.mp4' | v2t caption - -o captions/ --retry-failed\n"
    "several GPUs or machines, one process each, then one merge:\n"
    "  CUDA_VISIBLE_DEVICES=0 v2t caption clips/ -o captions/ --shard 1/2 &\n"
    "  CUDA_VISIBLE_DEVICES=1 v2t caption clips/ -o captions/ --shard 2/2 & wait; v2t merge captions/\n"
    "on an object store (pip install 'cineloop[remote]'):\n"
    "  v2t caption s3://bucket/clips -o captions/\n"
    "  v2t caption s3://bucket/clips -o s3://bucket/captions"
)

NESTED = {
    **{name: f"options.{name}" for name in ("revision", "quantize", "trust_remote_code", "concurrency")},
    **CLUSTER,
    **{name: f"wording.{name}" for name in ("prefix", "suffix", "trigger", "template", "encoder")},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "paths",
        nargs="*",
        metavar="PATH",
        help="folder, file, glob, @list, manifest.jsonl, URL (s3://...); - reads a list from stdin",
    )
    into = "output folder, or s3://BUCKET/DIR; without it captions are only printed"
    add("-o", "--output", type=folder_or_address, metavar="DIR", help=into)
    add("--model", help="starter (default), a folder, a hub id, or openai:URL[#model]")
    add("--captioner", help="backend of the model, or FILE.py (default: chosen by the model)")
    add("--revision", metavar="REV", help="branch, tag or commit of a hub model (default: the newest)")
    add("--quantize", metavar="HOW", help="quantize a hub model: 4bit or 8bit")
    add("--trust-remote-code", action="store_const", const=True, help="allow code of the hub model's repository to run")
    add("--concurrency", type=int, metavar="N", help="concurrent requests to a server (default: 16)")
    add("--style", help="short (default), detailed, timed, notes, structured, tags, or a YAML file")
    add("--prompt", help="prompt to use instead of the style's")
    add("--max-new-tokens", type=int, metavar="N", help="maximum tokens of a caption (default: the style's)")
    add(
        "--parts",
        metavar="HOW",
        help="whole (default: one caption per video), segment[:SECONDS], scene[:SECONDS] or window:SECONDS[/STRIDE]",
    )
    add("--summary", help="caption of a video in parts: model (it sums them up), join, auto (default)")
    add("--prefix", metavar="TEXT", help="text placed before every caption, verbatim")
    add("--suffix", metavar="TEXT", help="text placed after every caption, verbatim")
    add("--trigger", metavar="TEXT", help="trigger word for a trainer, placed before the prefix")
    add("--template", metavar="TEXT", help="template of the written caption, such as '{{ caption }} ({{ folder }})'")
    add("--encoder", metavar="NAME", help="warn of captions too long for clip, cogvideox, hunyuan or wan")
    add("--sampler", help="uniform, fps, segment, keyframe or motion (default: the model's)")
    add("--frames", type=int, metavar="N", help="frames to sample (default: the model's)")
    add("--fps", type=float, help="frames to sample per second of video")
    add("--format", type=comma_list, metavar="A,B", help="formats to write, FILE.py, or all (default: txt,jsonl,html)")
    add("--batch-size", type=int, metavar="N", help="clips in a batch (default: 16)")
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
    add_flags(parser.add_argument_group("a cluster (pip install 'cineloop[cluster]')").add_argument)
    _add_choice(parser.add_argument_group("selection of clips"))
    add("--seed", type=int, help="seed of --sample and of models that sample (default: 0)")
    add("--overwrite", action="store_const", const=True, help="caption finished clips again; edited captions stay")
    add("--overwrite-edited", action="store_const", const=True, help="also replace captions edited by hand")
    add("--retry-failed", action="store_const", const=True, help="retry clips that failed before")
    add("--on-outside", metavar="HOW", help="clips outside the model's domain: fail (default), or warn")
    add("--dry-run", action="store_const", const=True, help="print what would be done; write nothing")
    add("--json", action="store_true", help="records and, last, the summary as JSON lines on stdout")
    add_layers(parser)


def _add_choice(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--list", action="append", dest="lists", metavar="FILE", help="file with one path a line, or NUL-separated")
    add("--root", metavar="DIR", help="folder that names are relative to")
    add("--include", action="append", metavar="PATTERN", help="only clips whose name matches; repeatable")
    add("--exclude", action="append", metavar="PATTERN", help="skip clips whose name matches; repeatable")
    add(
        "--allow-remote",
        action="append",
        metavar="ADDRESS",
        help="allow http(s) URLs, and any URL in a list, by protocol or prefix (https://example.org/); repeatable",
    )
    add("--shard", metavar="I/N", help="only shard I of N, by SHA-256 of the clip's id; then v2t merge")
    add("--limit", type=int, metavar="N", help="only the first N clips")
    add("--sample", type=int, metavar="N", help="only N random clips (see --seed)")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from v2t.caption import run as caption

    logger = log.setup(verbosity=-1 if args.quiet else args.verbose)
    settings = load_settings(args, caption.CaptionConfig, NESTED)
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
