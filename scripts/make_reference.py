"""Make from the code the pages of docs/reference, and AGENTS.md and llms.txt, which programs read first.

    python scripts/make_reference.py           # write the pages
    python scripts/make_reference.py --check   # exit 1 when a page is not up to date

In: the parsers of the commands, the metrics' classes, plug-in files, recipes, and the sources (read with `ast`) for
error codes and record fields. Out: one Markdown page each. Nothing in the pages depends on the machine.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path

from cineloop import errors, plugin
from cineloop.cli import EXIT_CODES, build_parser
from cineloop.options import options_of
from cineloop.training.recipe import recipes

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts")]
import for_agents  # noqa: E402
import for_trainers  # noqa: E402
from record_fields import MANIFEST, RECORD  # noqa: E402

FOLDER = "docs/reference"
MADE = "Made by `python scripts/make_reference.py`; not edited by hand.\n"
PROGRAMS = {"v2t": "v2t", "t2v": "t2v", "v2t-eval": "v2t_eval", "cineloop": "v2t_eval.demo"}
SOURCES = ("cineloop", "v2t", "t2v", "eval")
# What a file of each kind must define (see docs/extending.md).
PLUGINS = {
    "v2t.backends": ("Backend", "What runs a captioner (`v2t caption --captioner`)"),
    "t2v.generators": ("Generator", "Generators (`t2v generate --generator`)"),
    "v2t_eval.extractors": ("Extractor", "Feature extractors (the part of a metric's `model` or `feature` before `:`)"),
    "v2t_eval.raters": ("Rater", "Raters (the part of `rating[model=...]` before `:`)"),
    "v2t_eval.curate.steps": ("Step", "Steps of a curation (`steps:` of a recipe of `v2t-eval curate`)"),
    "v2t.train": ("build_stage", "Stages of `v2t train` (`stage:` of a recipe)"),
    "t2v.train": ("build_stage", "Stages of `t2v train`"),
}


def pages() -> dict[str, str]:
    """Text of each page by its path."""
    makers = {"commands": commands, "metrics": metrics, "formats": formats, "recipes": recipes_and_suites,
              "codes": codes, "records": records}  # fmt: skip
    made = {f"{FOLDER}/{name}.md": make() for name, make in makers.items()}
    return {**made, "AGENTS.md": for_agents.agents(), "llms.txt": for_agents.llms(PROGRAMS, EXIT_CODES)}


def commands() -> str:
    """Every verb with its options."""
    lines = ["# Commands", "", MADE, "Every verb also takes `-h`, `-v` (more messages, tracebacks) and `-q` (warnings"]
    lines += ["and failures only). Exit codes: [codes.md](codes.md).", ""]
    for program, package in PROGRAMS.items():
        module, described = importlib.import_module(f"{package}.cli"), dict[type, str]()
        lines += [f"## {program}", "", module.ABOUT, ""]
        parser = build_parser(program, module.ABOUT, module.VERBS, package)
        verbs = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices
        for name, verb in verbs.items():
            lines += [f"### {program} {name}", "", str(verb.description), "", "```", examples(verb), "```", ""]
            lines += table(("option", "what it does"), options(verb))
            if verb.settings is not None and (first := described.setdefault(verb.settings, name)) != name:
                lines += [f"Keys of its settings that have no flag: those of `{program} {first}`.", ""]
            elif verb.settings is not None:
                lines += ["Keys of its settings that have no flag:", ""]
                lines += table(("key", "what it is"), settings(verb.settings))
    return "\n".join(lines)


def examples(verb: argparse.ArgumentParser) -> str:
    """The examples of a verb's help."""
    text = str(verb.epilog).removeprefix("examples:\n")
    return re.sub(r"^  ", "", text, flags=re.MULTILINE).strip("\n")


def options(verb: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Option and help of a verb's arguments."""
    for action in verb._actions:
        if action.dest in ("help", "verbose", "quiet") or action.help == argparse.SUPPRESS:
            continue
        value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
        value = " ".join(value) if isinstance(value, tuple) else str(value)
        name = ", ".join(action.option_strings)
        yield f"`{f'{name} {value}'.strip()}`", str(action.help or "") % vars(action)


def settings(config: type) -> Iterator[tuple[str, str]]:
    """Key and text of a config's fields without a flag; of a nested config those of its fields."""
    for each in options_of(config):
        if each.written.flag is None and not is_dataclass(each.kind):
            yield f"`{each.key}`", each.help


def metrics() -> str:
    """Every metric by level."""
    from v2t_eval.commands.list import LEVELS, about
    from v2t_eval.core.metric import metric_names

    rows = [about(name, check=False) for name in metric_names()]
    lines = ["# Metrics", "", MADE, "`v2t-eval list NAME` shows the same of one metric, and whether it runs on this"]
    lines += ["machine. Settings stand in brackets behind a name: `clipsim[model=open_clip:ViT-B-32/openai]`.", ""]
    for level, title in LEVELS.items():
        lines += [f"## Metrics {title}", ""]
        entries = []
        for row in (row for row in rows if row["level"] == level):
            low, high = row["range"]
            ends = f"{'−∞' if low is None else f'{low:g}'} to {'∞' if high is None else f'{high:g}'}"
            settings = ", ".join(f"`{key}={value}`" for key, value in row["settings"].items())
            needs = ", ".join(row["needs"])
            entries.append(
                (f"`{row['name']}`", needs, f"{ends}; {row['direction']}", row["detects"], row["misses"], settings)
            )
        lines += table(("name", "needs", "range", "detects", "misses", "settings"), entries)
    return "\n".join(lines)


def formats() -> str:
    """Caption formats, styles, and the other plug-ins."""
    from v2t import styles, writers

    lines = ["# Formats, styles, plug-ins", "", MADE, "## Formats (`v2t caption --format`)", ""]
    entries = []
    for name in writers.names():
        module = importlib.import_module(f"v2t.writers.{name}")
        place = f"`NAME{module.SUFFIX}` for each clip" if hasattr(module, "SUFFIX") else f"`{module.NAME}`"
        entries.append((f"`{name}`", place, head(f"v2t.writers.{name}")))
    lines += table(("name", "what it writes", "what it is"), entries)
    lines += ["## Styles (`v2t caption --style`)", ""]
    names = plugin.choices(styles.__name__, "PROMPT")
    entries = [(f"`{n}`", importlib.import_module(f"v2t.styles.{n}").PROMPT, head(f"v2t.styles.{n}")) for n in names]
    lines += table(("name", "prompt", "what it is"), entries)
    for package, (symbol, title) in PLUGINS.items():
        lines += [f"## {title}", ""]
        rows = [(f"`{name}`", head(f"{package}.{name}")) for name in plugin.choices(package, symbol)]
        lines += table(("name", "what it is"), rows)
    text, *parts = for_trainers.names()
    return "\n".join([*lines, *text, *table(*parts)])


def head(module: str) -> str:
    """The first paragraph of a module's docstring."""
    path = ROOT / f"{module.replace('v2t_eval', 'eval').replace('.', '/')}.py"
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def recipes_and_suites() -> str:
    """Recipes and suites by name."""
    from v2t_eval.suites.suite import suites

    lines = [
        "# Recipes and suites",
        "",
        MADE,
        "`v2t recipes NAME`, `t2v recipes NAME` and `v2t-eval suites NAME` print",
    ]
    lines += ["the file, to read or to copy. Its head names hardware, time and the scores to expect.", ""]
    for program, package in (("v2t", "v2t.train"), ("t2v", "t2v.train")):
        lines += [f"## {program} train", ""]
        lines += table(("name", "what it trains"), ((f"`{n}`", comment(p)) for n, p in recipes(package).items()))
    lines += ["## v2t-eval score, gate (`--suite`)", ""]
    lines += table(("name", "what it measures"), ((f"`{n}`", comment(p)) for n, p in suites().items()))
    return "\n".join(lines)


def comment(path: Path) -> str:
    """The first sentence of a file's leading comment."""
    lines = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines).split(". ")[0].rstrip(".")


def codes() -> str:
    """Exit codes, error codes, warnings and the server's codes."""
    lines = ["# Exit codes, error codes, warnings", "", MADE, "## Exit codes", ""]
    lines += table(("code", "meaning"), ((str(code), meaning) for code, meaning in EXIT_CODES.items()))
    rows = [
        (f"`{c}`", ", ".join(sorted(e)), ", ".join(sorted(w)), message) for c, (e, w, message) in error_codes().items()
    ]
    lines += [
        "## Error codes",
        "",
        "`error CODE: message` on stderr, `error.code` of a caption record, the reasons in a",
    ]
    lines += ["report. Exit 3 belongs to one failed item of many. The message is one example; … stands for values.", ""]
    lines += table(("code", "exit code", "raised in", "message"), rows)
    lines += ["## Warnings", "", "`warnings` of a caption record and of a manifest's rows.", ""]
    lines += table(("code", "message"), ((f"`{code}`", message) for code, message in warnings().items()))
    lines += ["## The server's codes", "", "Of `v2t serve`, in `error.code` of a response.", ""]
    lines += table(("code", "status", "message"), ((f"`{c}`", str(s), message) for (c, s), message in faults().items()))
    text, *parts = for_trainers.findings()
    return "\n".join([*lines, *text, *table(*parts)])


def error_codes() -> dict[str, tuple[set[str], set[str], str]]:
    """Exit codes, rooms and one message of each error code, sorted by code."""
    by_code: dict[str, tuple[set[str], set[str], str]] = {}
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.CineloopError)
    }
    for kind in kinds.values():
        message = f"(without another code) {(kind.__doc__ or '').splitlines()[0]}"
        by_code[kind.default_code] = ({str(kind.exit_code)}, {"cineloop"}, message)
    # Codes that a decoder's child process hands over are named in the docstring of ItemError.
    for code in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b|\bTRUNCATED\b|\bCHANGED\b", str(errors.ItemError.__doc__)):
        by_code.setdefault(code, ({str(errors.EXIT_FAILED_ITEMS)}, set(), ""))
    for room, node in calls():
        for code in constants(next((k.value for k in node.keywords if k.arg == "code"), None)):
            kind = kinds.get(callee_name(node))
            exits, rooms, message = by_code.get(code, (set(), set(), ""))
            exits |= {str(kind.exit_code)} if kind else set()
            by_code[code] = (exits, rooms | {room}, message or (template(node.args[0]) if node.args else ""))
    return dict(sorted(by_code.items()))


def constants(node: ast.AST | None) -> Iterator[str]:
    """The codes an expression may be; one made of a prefix and a name ends in an ellipsis."""
    if isinstance(node, ast.JoinedStr):
        yield template(node)
    elif isinstance(node, ast.IfExp):
        yield from (*constants(node.body), *constants(node.orelse))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value


def warnings() -> dict[str, str]:
    """One message of each warning code, sorted by code."""
    by_code = {}
    for _, node in calls():
        if callee_name(node) == "Notice" and isinstance(node.args[0], ast.Constant):
            code, message = str(node.args[0].value), template(node.args[1])
            by_code[code] = max(by_code.get(code, ""), message, key=len)
    return dict(sorted(by_code.items()))


def faults() -> dict[tuple[str, int], str]:
    """One message of each code and status of the server, sorted."""
    by_code = {}
    for _, node in calls():
        if callee_name(node) == "Fault" and len(node.args) > 2:
            status, code, message = node.args[:3]
            if isinstance(status, ast.Constant) and isinstance(code, ast.Constant):
                by_code.setdefault((code.value, status.value), template(message))
    return dict(sorted(by_code.items()))


def callee_name(call: ast.Call) -> str:
    """The last name of what is called."""
    return getattr(call.func, "attr", None) or getattr(call.func, "id", "")


def template(node: ast.AST) -> str:
    """A message with its values as ellipses; "" of what is no text."""
    if isinstance(node, ast.JoinedStr):
        values = [p.value if isinstance(p, ast.FormattedValue) else p for p in node.values]
        return "".join(v.value if isinstance(v, ast.Constant) and isinstance(v.value, str) else "…" for v in values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


class ConstantInliner(ast.NodeTransformer):
    """Puts a text in the place of the name that a module gives it at its top level: `CODE = "CODE"`."""

    def __init__(self) -> None:
        self.texts: dict[str, ast.Constant] = {}

    def visit_Module(self, module: ast.Module) -> ast.AST:
        """Learn the module's names, then replace them; imported names are those of the modules read before."""
        for node in module.body:
            if isinstance(node, ast.Assign):
                target, value = node.targets[0], node.value
                tuples = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
                for name, text in zip(target.elts, value.elts, strict=False) if tuples else [(target, value)]:
                    if isinstance(name, ast.Name) and isinstance(text, ast.Constant) and isinstance(text.value, str):
                        self.texts[name.id] = text
        return self.generic_visit(module)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """The text, where the name is of one and in capitals."""
        known = isinstance(node.ctx, ast.Load) and node.id.isupper() and node.id in self.texts
        return self.texts[node.id] if known else node


@cache
def calls() -> tuple[tuple[str, ast.Call], ...]:
    """Every call in the sources but of findings, which have a table of their own, with its room; read once."""
    named, nodes = ConstantInliner(), []
    for top in SOURCES:
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).parts
            room = "/".join(parts[:2] if len(parts) > 2 else parts[:1])
            tree = named.visit(ast.parse(path.read_text("utf-8")))
            nodes += [(room, n) for n in ast.walk(tree) if isinstance(n, ast.Call) and callee_name(n) != "SetFinding"]
    return tuple(nodes)


def records() -> str:
    """Fields of a manifest's row and of a caption record.

    Raises:
        ValueError: the code has a field that is not described here, or the other way round.
    """
    doc = str(importlib.import_module("cineloop.manifest").__doc__)
    known = re.findall(r"\w+", re.search(r"A row holds `([^`]+)`", doc)[1])  # type: ignore[index]
    agree("manifest", known, MANIFEST)
    tree = ast.parse((ROOT / "v2t/caption/record.py").read_text("utf-8"))
    made = {
        key.value
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name == "clip_record"
        for node in ast.walk(function)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    agree("caption record", made | {"captions", "edited", "review", "tags"}, RECORD)
    lines = ["# Manifest and caption record", "", MADE, "JSON, one object a line, UTF-8, no NaN and no infinity.", ""]
    lines += ["## Manifest (`manifest.jsonl`)", "", "`id` and `path` are required; keys that are not listed pass"]
    lines += ["through.", "", *table(("field", "what it holds"), ((f"`{k}`", v) for k, v in MANIFEST.items()))]
    lines += ["## Caption record (`captions.jsonl`)", "", "Times, `fields` and the last four are not in each."]
    lines += ["", *table(("field", "what it holds"), ((f"`{k}`", v) for k, v in RECORD.items()))]
    return "\n".join(lines)


def agree(what: str, known: Iterable[str], described: dict[str, str]) -> None:
    """Raise where the fields of the code are not those described above."""
    if odd := set(known) ^ set(described):
        raise ValueError(f"{what}: the code and scripts/make_reference.py differ in {', '.join(sorted(odd))}")


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """A Markdown table and an empty line."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = (" ".join(cell.split()).replace("|", "\\|") for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def main() -> int:
    """Write the pages, or with --check compare them; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is not up to date")
    check = parser.parse_args().check
    made = {name: text.rstrip("\n") + "\n" for name, text in pages().items()}
    stale = [n for n, text in made.items() if not (ROOT / n).is_file() or (ROOT / n).read_text("utf-8") != text]
    if check:
        for name in stale:
            print(f"{name} is not up to date: python scripts/make_reference.py", file=sys.stderr)
        return int(bool(stale))
    (ROOT / FOLDER).mkdir(parents=True, exist_ok=True)
    for name in stale:
        (ROOT / name).write_text(made[name], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
