"""The verb `v2t-eval audit`: trustworthiness of metrics and judge, measured on clips with known faults."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.errors import EXIT_ENVIRONMENT, EXIT_FAILED_ITEMS, EXIT_NOTHING_MATCHED, EXIT_OK, ItemError, UsageError
from cineloop.run_folder import STATE, RunFolder, refuse_existing
from v2t_eval.flags.scoring import add_machine, old_files

if TYPE_CHECKING:
    from v2t_eval.audit.record import Audit
    from v2t_eval.audit.run import AuditConfig
    from v2t_eval.core.metric import BaseMetric

SUMMARY = "Measure what metrics and judge see and cannot see: planted faults, and claims whose truth is known."
EXAMPLES = (
    "  v2t-eval audit -o audit/\n"
    "  v2t-eval audit clips/ --prompts prompts.csv --suite starter --judge none -o audit/\n"
    "  v2t-eval audit --metrics none --judge v2t --generate 512 -o audit/\n"
    "  v2t-eval audit --metrics temporal_flickering,clipsim --num 20 --codec --judge none -o audit/"
)
NAMES = ("audit.json", "audit.md", "audit.html")
NONE = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    text = "your clips: a folder, a run folder, or a manifest.jsonl (default: clips of the cartoon world)"
    add("clips", nargs="?", type=Path, metavar="CLIPS", help=text)
    add("--prompts", type=Path, metavar="FILE", help="prompt of each of your clips, in the forms of `v2t-eval score`")
    add("--metrics", metavar="A,B", help="names, with settings in brackets, or none (default: fourteen for frames)")
    add(
        "--suite",
        type=Path,
        metavar="SUITE",
        help="a shipped list of metrics or a YAML file; those of sets are left out",
    )
    add("--judge", default="v2t", metavar="JUDGE", help="v2t (default, the starter), v2t:MODEL, or none")
    add("--generated", type=Path, metavar="DIR", help="run folder of `t2v generate`, to test the judge on")
    add("--generate", type=int, metavar="N", help="make N clips for that with the bundled generator, in -o")
    add("--num", type=int, default=40, metavar="N", help="clips to plant faults in (default: 40); the judge gets 19 N")
    add("--codec", action="store_true", help="also measure the faults after encoding to mp4")
    add("--seed", type=int, default=2026, help="seed of the world's clips (default: 2026)")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help=f"folder for {', '.join(NAMES)}")
    add("--overwrite", action="store_true", help="replace the audit in the folder of -o (evidence is kept)")
    add("--json", action="store_true", help="print the audit as one JSON object on stdout")
    add("--dry-run", action="store_true", help="print what would be measured and asked; do nothing")
    add("--workers", type=int, metavar="N", help="processes that measure (default: by cores and clips); same result")
    add_machine(add, limits=False)


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from cineloop.interrupt import Stopping
    from v2t_eval.audit.report import document
    from v2t_eval.audit.run import audit
    from v2t_eval.core.models import on_device
    from v2t_eval.report import terminal

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    metrics, config = _metrics(args), _config(args)
    _refuse(args)
    if args.dry_run:
        return _dry_run(args, metrics, config)
    with ExitStack() as stack:
        stack.enter_context(RunFolder(args.output))
        stack.enter_context(on_device(args.device))
        judge = _judge(args.judge, args.device)
        material = _material(args, config)
        record = audit(metrics, judge, material, config, stop=stack.enter_context(Stopping()),
                      show_progress=not args.quiet)  # fmt: skip
        record = replace(record, clips={"command": command(args), **record.clips})
        _write(record, args.output)
    terminal.show(document(record), record.as_dict() if args.json else None)
    for name in NAMES:
        log.logger.info("%s", log.printable(str(args.output / name)))
    return exit_code(record)


def command(args: argparse.Namespace) -> str:
    """The command line that determines the audit; of files and folders only the names."""
    named = {"prompts": args.prompts, "suite": args.suite, "generated": args.generated}
    given = {
        "metrics": args.metrics,
        "judge": args.judge,
        "num": args.num,
        "seed": args.seed,
        "generate": args.generate,
    }
    words = ["v2t-eval", "audit", *([args.clips.name] if args.clips else [])]
    for name, value in {**{key: path and path.name for key, path in named.items()}, **given}.items():
        words += [f"--{name}", str(value)] if value is not None else []
    return shlex.join([*words, *(["--codec"] if args.codec else [])])


def exit_code(audit: Audit) -> int:
    """5 when a metric could not run here, 4 when nothing could be measured, 3 when a clip could not be read, else 0."""
    if any(each["code"] == "ENVIRONMENT" for each in audit.failures):
        return EXIT_ENVIRONMENT
    if not audit.table and not audit.agreement:
        return EXIT_NOTHING_MATCHED
    return EXIT_FAILED_ITEMS if audit.failures else EXIT_OK


def _write(audit: Audit, folder: Path) -> None:
    from cineloop.files import write_atomic
    from v2t_eval.audit.report import document
    from v2t_eval.report import markdown, page

    whole = json.dumps(audit.as_dict(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    report = document(audit)
    for name, data in zip(
        NAMES, (whole.encode(), markdown.render(report).encode(), page.render(report, folder)), strict=True
    ):
        write_atomic(folder / name, data)


def _metrics(args: argparse.Namespace) -> list[BaseMetric]:
    from v2t_eval.audit.table import USUAL
    from v2t_eval.suites.suite import each_once, parse_metrics, read_suite

    if args.metrics == NONE and args.suite is None:
        return []
    metrics = read_suite(args.suite).metrics if args.suite else []
    named = args.metrics if args.metrics is not None or args.suite else ",".join(USUAL)
    more = parse_metrics(named) if named is not None and named != NONE else []
    return each_once([*metrics, *more])


def _config(args: argparse.Namespace) -> AuditConfig:
    from v2t_eval.audit.run import AuditConfig

    if args.generate is not None and (args.generate < 2 or args.generated is not None):
        raise UsageError("--generate takes a number of 2 or more, and goes without --generated")
    if (args.generate or args.generated) and args.judge == NONE:
        raise UsageError("generated clips are for testing a judge, and there is none", hint="--judge v2t")
    try:
        return AuditConfig(
            num=args.num,
            planted_clips=15 * args.num,
            judge_clips=3 * args.num,
            stable_clips=max(2, 3 * args.num // 5),
            codec=args.codec,
            seed=args.seed,
            workers=args.workers,
            cache=args.output / STATE,
        )
    except ValueError as error:
        raise UsageError(f"--num {args.num}: {error}") from error


def _refuse(args: argparse.Namespace) -> None:
    """Refuse, before any work, to replace files without --overwrite, and arguments that leave nothing to audit."""
    if args.metrics == NONE and args.suite is None and args.judge == NONE:
        raise UsageError("nothing to audit: neither metrics nor a judge", hint="name --metrics, or a --judge")
    refuse_existing(old_files(args.output, NAMES), overwrite=args.overwrite)


def _judge(name: str, device: str) -> Any:
    from v2t_eval.judge.judge import open_judge

    return None if name == NONE else open_judge(name, device=device)


def _material(args: argparse.Namespace, config: AuditConfig) -> Any:
    from v2t_eval.audit.material import gather
    from v2t_eval.core.inputs import read_inputs

    yours = None if args.clips is None else read_inputs(args.clips, prompts=args.prompts)
    folder = args.generated
    if args.generate:
        folder = args.output / "generated"
        _generate(args.generate, folder, args)
    generated = None if folder is None else read_inputs(folder)
    return gather(yours, generated, config.num, config.cache)


def _generate(num: int, folder: Path, args: argparse.Namespace) -> None:
    """Clips of the bundled generator for prompts that the world draws; existing ones are not made again."""
    from cineloop.config import load
    from cineloop.manifest import dump_line
    from t2v.generate.run import run as generate
    from t2v.generate.settings import GenerateConfig
    from t2v.generate.summary import GenerateSummary
    from v2t_eval.audit.clips import solo_clips

    prompts = args.output / STATE / "prompts.jsonl"
    clips = solo_clips(num, args.seed + 1)
    rows = [{"id": c.id, "prompt": c.prompt, "seed": n, "facts": c.facts} for n, c in enumerate(clips)]
    prompts.write_bytes(b"".join(map(dump_line, rows)))

    def summary_of(**more: Any) -> GenerateSummary:
        config = load(GenerateConfig, flags={"device": args.device, **more})
        return generate([], [str(prompts)], folder, config, show_progress=not args.quiet)

    try:
        summary = summary_of()
    except UsageError as error:
        if error.code != "OTHER_SETTINGS" or not args.overwrite:
            raise
        summary = summary_of(overwrite=True)  # by other weights
    if summary.interrupted:
        raise KeyboardInterrupt
    if not summary.made + summary.skipped:
        raise ItemError("the generator made no clip", code="MODEL_ERROR", hint=f"see {folder / 'failures.jsonl'}")


def _dry_run(args: argparse.Namespace, metrics: list[BaseMetric], config: AuditConfig) -> int:
    from v2t_eval.audit.clips import AuditClip, SampleAuditClip, WorldAuditClip
    from v2t_eval.audit.table import faults_of
    from v2t_eval.core.inputs import read_inputs

    inputs = None if args.clips is None else read_inputs(args.clips, prompts=args.prompts)
    source: Any = WorldAuditClip(world="solo", seed=0, index=0)
    has_prompts = inputs is None or any(sample.prompt for sample in inputs.samples)
    if inputs is not None:
        source = SampleAuditClip(path=Path(), sha256="0" * 8)
    faults = faults_of(AuditClip(id="", source=source, prompt="?" if has_prompts else None))
    num = config.num if inputs is None else min(config.num, len(inputs.samples))
    plan = {
        "clips": num,
        "metrics": [metric.title for metric in metrics if metric.level == "clip"],
        "left_out": [metric.title for metric in metrics if metric.level != "clip"],
        "faults": {name: list(severities) for name, severities in faults.items()},
        "scorings": num * (1 + sum(map(len, faults.values()))) * (2 if args.codec else 1) if metrics else 0,
        "judge": args.judge,
        "planted_clips": 0 if args.judge == NONE else config.planted_clips,
        "judge_clips": 0 if args.judge == NONE else config.judge_clips,
        "generate": args.generate or 0,
    }
    print(json.dumps(plan, ensure_ascii=False) if args.json else _plan_text(plan))
    return EXIT_OK


def _plan_text(plan: dict[str, Any]) -> str:
    """Text of a dry run, one line per fact."""
    faults = "; ".join(f"{name} at {_list_text(map(str, severities))}" for name, severities in plan["faults"].items())
    metrics = f"metrics: {', '.join(plan['metrics']) or 'none'}"
    lines = [f"{metrics}, {plan['scorings']} scorings of {plan['clips']} clips, clean and with every fault"]
    lines += [f"left out: {', '.join(plan['left_out'])} (they score no single clips)"] if plan["left_out"] else []
    lines += [f"faults: {faults}"] if plan["metrics"] else []
    if plan["judge"] != NONE:
        text = f"{plan['planted_clips']} clips in which every answer is planted, and {plan['judge_clips']} with faults"
        lines.append(f"judge: {plan['judge']}, tested on {text}")
    lines += [f"generator: {plan['generate']} clips are made first"] if plan["generate"] else []
    return "\n".join(lines)


def _list_text(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
