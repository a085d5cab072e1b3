"""The verb `v2t-eval questions`: prompts in; questions about their clips out, for review."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from v2t_eval.semantics.sources import Source

SUMMARY = "Make questions from prompts, show them for review, and write them to a file that metrics read."
EXAMPLES = (
    "  v2t-eval questions prompts.txt\n"
    "  v2t-eval questions prompts.txt --questions openai:http://localhost:8000/v1 -o questions.jsonl\n"
    "  v2t-eval score made/ --metrics 'question_score[questions=questions.jsonl,judge=v2t:MODEL]'   # once edited"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompts", nargs="+", metavar="PROMPTS", help="files of prompts (.txt, one per line; .jsonl), or prompts")
    add(
        "--questions", default="grammar", metavar="SOURCE", help="grammar (default), openai:URL[#model], folder, hub id"
    )
    add("-o", "--output", type=Path, metavar="FILE", help="write questions.jsonl: prompt and questions per line")
    add("--overwrite", action="store_true", help="replace the file of -o")
    add("--json", action="store_true", help="print the rows on stdout, as -o writes them")


def run(args: argparse.Namespace) -> int:
    from cineloop import log
    from cineloop.errors import NothingMatchedError
    from cineloop.files import write_atomic
    from cineloop.manifest import dump_line
    from cineloop.run_folder import refuse_existing
    from v2t_eval.roundtrip.clips import prompt_rows
    from v2t_eval.roundtrip.settings import RoundtripConfig
    from v2t_eval.semantics.sources import open_source

    log.setup(verbosity=-1 if args.quiet else args.verbose)
    if args.output is not None:
        refuse_existing([args.output], overwrite=args.overwrite)
    source = open_source(args.questions)
    prompts = dict.fromkeys(row["prompt"] for row in prompt_rows(RoundtripConfig(prompts=tuple(args.prompts))))
    rows = [row_of(prompt, source) for prompt in prompts]
    written = b"".join(map(dump_line, rows))
    if args.output is not None:
        write_atomic(args.output, written)
    print(written.decode().rstrip("\n") if args.json else table(rows))
    failed = sum("error" in row for row in rows)
    if failed == len(rows):
        raise NothingMatchedError(f"none of {failed} prompts has a question", hint=rows[0]["error"]["message"])
    return 3 if failed else 0


def row_of(prompt: str, source: Source) -> dict[str, Any]:
    """A row of the file: the prompt, its questions, what was dropped and why, parts without a question; or why
    there are no questions."""
    from cineloop.errors import ItemError

    try:
        made = source.questions_of(prompt)
    except ItemError as problem:
        return {"prompt": prompt, "questions": [], "error": {"code": problem.code, "message": problem.message}}
    asked = [
        {"id": q.id, "question": q.question, "answer": q.answer, "parents": list(q.parents), "about": q.about}
        for q in made.questions
    ]
    dropped = [{"question": each.question, "why": each.why} for each in made.dropped]
    more = {"dropped": dropped, "nothing_asked": list(made.left)}
    return {"prompt": prompt, "questions": asked} | {key: value for key, value in more.items() if value}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text: prompts with their questions, children below parents, and what is not asked."""
    from cineloop.log import printable

    lines = []
    for row in rows:
        lines.append(printable(row["prompt"]))
        for q in row["questions"]:
            hangs = f"  (if {', '.join(q['parents'])})" if q["parents"] else ""
            lines.append(f"  {q['id']:>4}  {printable(q['question'])}{hangs}")
        lines += [f"     -  {printable(each['question'])}  dropped: {each['why']}" for each in row.get("dropped", ())]
        lines += [f"     -  no question about: {printable(part)}" for part in row.get("nothing_asked", ())]
        if "error" in row:
            lines.append(f"     -  {row['error']['code']}: {printable(row['error']['message'])}")
    num = sum(len(row["questions"]) for row in rows)
    dropped = sum(len(row.get("dropped", ())) for row in rows)
    left = sum(len(row.get("nothing_asked", ())) for row in rows)
    without = sum("error" in row for row in rows)
    lines.append(
        f"{len(rows)} prompts, {num} questions, {dropped} dropped, {left} parts of prompts without a question, "
        f"{without} prompts without a question"
    )
    return "\n".join(lines)
