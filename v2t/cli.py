"""The command `v2t`: reads arguments, calls the room that does the work, turns errors into exit codes.

In: the command line. Out: an exit code (see `v2t.base.errors`); results on stdout, everything else on stderr.
Only argparse is imported here, so `--help` is quick; each command imports its room when it runs. To add a command:
one entry in `COMMANDS`, one function that adds its arguments, one that runs it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from v2t.base.command import guarded
from v2t.base.errors import EXIT_OK


class Command(NamedTuple):
    """A verb of `v2t`."""

    summary: str
    examples: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `v2t`; returns the exit code."""
    args = _parser().parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # captions and JSON, whatever the locale
    return guarded(lambda: COMMANDS[args.command].run(args), traceback=bool(getattr(args, "verbose", 0)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="v2t",
        description="Watch videos and write what happens in them.",
        epilog="Exit codes: 0 done, 1 unexpected, 2 usage, 3 finished with failed items, 4 nothing matched, "
        "5 environment, 7 refused by policy, 130 interrupted.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    verbs = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        verb = verbs.add_parser(
            name,
            help=command.summary,
            description=command.summary,
            epilog=f"examples:\n{command.examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(verb)
        noise = verb.add_mutually_exclusive_group()
        noise.add_argument("-v", "--verbose", action="count", default=0, help="more messages; tracebacks")
        noise.add_argument("-q", "--quiet", action="store_true", help="warnings and errors only")
    return parser


class _Version(argparse.Action):
    """Looks the version up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        from importlib import metadata

        print(f"cineloop {metadata.version('cineloop')}")
        parser.exit()


def _add_layers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with settings; flags go before it")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, as a.b=c")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


# ---- caption

_CAPTION_FLAGS = (
    "model captioner style prompt max_new_tokens sampler frames fps format batch_size device dtype workers decoders "
    "root lists include exclude limit sample seed overwrite overwrite_edited retry_failed dry_run"
).split()


def _caption_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("paths", nargs="*", metavar="PATH", help="folder, file, glob, @list, manifest.jsonl, or - for a list on stdin")
    add("-o", "--output", type=Path, metavar="DIR", help="folder for captions; without it they are only printed")
    add("--model", help="starter (default), a folder, or a hub id")
    add("--captioner", help="what runs the model (default: goes by the model)")
    add("--style", help="short (default), detailed or timed")
    add("--prompt", help="own words instead of the style's")
    add("--max-new-tokens", type=int, metavar="N", help="longest answer (default: the style's)")
    add("--sampler", help="uniform, fps, segment, keyframe or motion (default: the model's)")
    add("--frames", type=int, metavar="N", help="frames to look at (default: the model's)")
    add("--fps", type=float, help="frames to look at per second of video")
    add("--format", type=_words, metavar="A,B", help="files to write (default: txt,jsonl)")
    add("--batch-size", type=int, metavar="N", help="clips the model sees at once (default: 16)")
    add("--device", help="auto (default), cpu, cuda, cuda:1")
    add("--dtype", help="auto (default), float32, bfloat16, float16")
    add("--workers", type=int, metavar="N", help="decoder processes (default: half the cores)")
    add(
        "--decoder",
        type=_words,
        dest="decoders",
        metavar="A,B",
        help="decoders to try (default: decord,torchcodec,pyav)",
    )
    add("--list", action="append", dest="lists", metavar="FILE", help="file with one path a line, or NUL-separated")
    add("--root", metavar="DIR", help="names are relative to this folder")
    add("--include", action="append", metavar="PATTERN", help="only clips whose name fits; may be given again")
    add("--exclude", action="append", metavar="PATTERN", help="no clips whose name fits; may be given again")
    add("--limit", type=int, metavar="N", help="only the first N clips")
    add("--sample", type=int, metavar="N", help="only N clips at random (by --seed)")
    add("--seed", type=int, help="for --sample and models that draw (default: 0)")
    add("--overwrite", action="store_const", const=True, help="caption again what is done; edited captions stay")
    add("--overwrite-edited", action="store_const", const=True, help="caption again even what a person edited")
    add("--retry-failed", action="store_const", const=True, help="try again what failed before")
    add("--dry-run", action="store_const", const=True, help="say what would be done; write nothing")
    add("--json", action="store_true", help="records and, last, the summary as JSON lines on stdout")
    _add_layers(parser)


def _caption(args: argparse.Namespace) -> int:
    from v2t.base import config, log
    from v2t.caption import run as caption

    logger = log.setup(verbosity=-1 if args.quiet else args.verbose)
    flags = {name: getattr(args, name) for name in _CAPTION_FLAGS}
    settings = config.load(caption.CaptionConfig, file=args.config, sets=args.set, flags=flags)

    def emit(row: dict[str, Any]) -> None:
        if args.json:
            kind = "plan" if "action" in row else "record"
            print(json.dumps({"type": kind, **row}, ensure_ascii=False, allow_nan=False), flush=True)
        elif "action" in row:
            print(f"{row['action']}\t{log.printable(row['id'])}")
        elif row["status"] == "ok" and not args.quiet:
            print(f"{log.printable(row['id'])}\t{log.printable(row['caption'])}", flush=True)

    summary = caption.run(args.paths, args.output, settings, emit=emit, show_progress=not args.quiet)
    if args.json:
        print(json.dumps({"type": "summary", **summary.to_dict()}, ensure_ascii=False, allow_nan=False), flush=True)
    for line in summary.lines():
        logger.info("%s", line)
    return summary.exit_code


# ---- train


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the recipe, a YAML file (see configs/)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, as a.b=c")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="run folder, instead of the recipe's")
    parser.add_argument("--plan", action="store_true", help="print parameters, memory, FLOPs and time; train nothing")
    parser.add_argument("--resume", action="store_true", help="go on from the run folder's last checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="begin anew in a folder that holds a run")
    parser.add_argument("--json", action="store_true", help="with --plan: JSON on stdout")


def _train(args: argparse.Namespace) -> int:
    from v2t import train
    from v2t.base import log

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    return train.run(
        args.config,
        sets=args.set,
        out=args.out,
        plan=args.plan,
        resume=args.resume,
        overwrite=args.overwrite,
        as_json=args.json,
    )


# ---- world


def _pixels(text: str) -> tuple[int, int]:
    width, sign, height = text.lower().partition("x")
    if not (sign and width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 256x256, got {text!r}")
    return int(height), int(width)


def _seconds(text: str) -> tuple[float, float]:
    shortest, _, longest = text.partition("-")
    try:
        return float(shortest), float(longest or shortest)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected SECONDS or FROM-TO such as 2-6, got {text!r}") from error


def _world_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-o", "--out", type=Path, required=True, metavar="DIR", help="folder for the clips and manifest.jsonl")
    add("--num", type=int, default=10, metavar="N", help="how many clips (default: 10)")
    add("--seed", type=int, default=0, help="which clips (default: 0)")
    add("--split", default="train", help="train (default), seen, or unseen: combinations never trained on")
    add("--size", type=_pixels, default=(256, 256), metavar="WxH", help="pixels (default: 256x256)")
    add("--fps", default="12", help="frames a second, such as 12 or 30000/1001 (default: 12)")
    add("--seconds", type=_seconds, metavar="A-B", help="length of a clip (default: as long as its story)")
    add("--workers", type=int, default=1, metavar="N", help="processes that draw (default: 1)")
    add("--overwrite", action="store_true", help="write clips again that are there, or of other settings")
    add("--json", action="store_true", help="one JSON object on stdout")


def _world(args: argparse.Namespace) -> int:
    from v2t.base import log
    from v2t.world.corpus import write_world

    logger = log.setup(verbosity=-1 if args.quiet else args.verbose)
    with log.Progress(args.num, "drawing", enabled=not args.quiet) as progress:
        done = write_world(
            args.num,
            args.seed,
            args.split,
            args.size,
            args.fps,
            args.seconds,
            args.out,
            overwrite=args.overwrite,
            workers=args.workers,
            advance=progress.advance,
        )
    if args.json:
        print(json.dumps({"num": done.num, "written": done.written, "manifest": str(done.manifest)}))
    logger.info(
        "%d clips, %d of them new; their truth is in %s", done.num, done.written, log.printable(str(done.manifest))
    )
    return EXIT_OK


# ---- doctor


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    from v2t import doctor

    doctor.add_arguments(parser)


def _doctor(args: argparse.Namespace) -> int:
    from v2t import doctor

    return doctor.run(args)


COMMANDS = {
    "caption": Command(
        "Caption videos: a folder in, captions beside mirrored paths and captions.jsonl out.",
        "  v2t caption clip.mp4\n  v2t caption clips/ -o captions/\n"
        "  v2t caption clips/ -o captions/ --style detailed --sample 3\n"
        "  find clips -name '*.mp4' | v2t caption - -o captions/ --retry-failed",
        _caption_arguments,
        _caption,
    ),
    "train": Command(
        "Train one stage of the captioner from a recipe.",
        "  v2t train configs/starter/tower.yaml --plan\n  v2t train configs/starter/tower.yaml --set loop.steps=100",
        _train_arguments,
        _train,
    ),
    "world": Command(
        "Draw clips of the cartoon world, with captions, questions and facts that are true of them.",
        "  v2t world -o clips --num 20\n  v2t world -o held_out --num 100 --seed 7 --split unseen --size 320x240",
        _world_arguments,
        _world,
    ),
    "doctor": Command(
        "Say what this machine has, and what is missing for which command.",
        "  v2t doctor\n  v2t doctor --json --for caption",
        _doctor_arguments,
        _doctor,
    ),
}

if __name__ == "__main__":
    sys.exit(main())
