"""Wrong command lines of every verb: the exit code, and a word of the one line that says what is wrong.

Nothing is measured or loaded for them; a folder with the files below is where they run.
"""

from __future__ import annotations

import importlib
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cineloop.parser import PROGRAMS
from planted_scores import SUITE, scores, write_scores

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = f"{ROOT}/v2t/starter"

LINES = [
    # a word that no program, verb or parser knows
    ("v2t capton clips/", 2, "did you mean caption?"),
    ("v2t generate x", 2, "did you mean t2v generate?"),
    ("t2v caption x", 2, "did you mean v2t caption?"),
    ("v2t score x", 2, "did you mean v2t-eval score?"),
    ("v2t-eval scor x", 2, "did you mean score?"),
    ("v2t caption clips/ --modle starter", 2, "did you mean --model?"),
    ("t2v generate x -o y --num-video 3 --num_videos 2", 2, "did you mean --num-videos?"),
    ("v2t caption clips/ --frames abc", 2, "--frames"),
    ("v2t caption clips/ --zzzzzz 3", 2, "unknown option --zzzzzz"),
    # v2t
    ("v2t caption", 2, "v2t caption"),
    ("v2t caption clips/ --config bad.yaml", 2, "line 3, column"),
    ("v2t caption clips/ --config gone.yaml", 2, "gone.yaml"),
    ("v2t caption clips/ --set batchsize=2", 2, "did you mean 'batch_size'"),
    ("v2t caption clips/ --set wording.prefx=a", 2, "did you mean 'wording.prefix'"),
    ("v2t caption clips/ --set frames", 2, "key.name=value"),
    ("v2t caption clips/ --frames 0", 2, "frames must be at least 1"),
    ("v2t caption clips/ --parts halves", 2, "halves"),
    ("v2t caption clips/ --summary short", 2, "summary must be one of auto, model, join"),
    ("v2t caption clips/ --shard 3/2", 2, "--shard must look like 2/4"),
    ("v2t caption clips/ --shard 1/2 --cluster ray", 2, "--shard does not go with --cluster"),
    ("v2t caption clips/ --model-workers 2", 2, "--model-workers needs --cluster ray"),
    ("v2t caption clip.mp4 --style haiku", 2, "choices: detailed, notes, short, structured, tags, timed"),
    ("v2t caption nowhere/", 4, "nowhere"),
    ("v2t ask clip.mp4", 2, "expected a question"),
    ("v2t ask clip.mp4 Who? --when x", 2, "expected a question"),
    ("v2t ask clip.mp4 Who? --questions gone.txt", 2, "expected a question"),
    ("v2t ask clip.mp4 --questions gone.txt", 2, "gone.txt"),
    ("v2t ask clip.mp4 --questions blank.txt", 2, "got none"),
    ("v2t ask clip.mp4 Who? --look away", 2, "look must be"),
    ("v2t chat clip.mp4 --top 3", 2, "unknown option --top"),
    ("v2t serve --root nonsense --dry-run", 2, "NAME=DIR"),
    ("v2t serve --root a=clips --root a=clips --dry-run", 2, "named twice"),
    ("v2t serve --root a=nowhere --dry-run", 2, "nowhere is not a folder"),
    ("v2t serve --port 70000 --dry-run", 2, "port must be"),
    ("v2t serve --host 0.0.0.0 --dry-run", 7, "V2T_SERVE_KEY"),
    ("v2t merge nowhere/", 4, "nowhere"),
    ("v2t cluster print", 2, "COMMAND"),
    ("v2t cluster print slrum -- v2t caption clips/ -o out/", 2, "slurm"),
    ("v2t cluster print slurm -- v2t caption clips/ -o out/ --modle x", 2, "did you mean --model?"),
    ("v2t cluster print slurm --nodes 0 -- v2t caption clips/ -o out/", 2, "nodes must be at least 1, got 0"),
    ("v2t world -o out --size 3", 2, "WIDTHxHEIGHT"),
    ("v2t world -o out --seconds long", 2, "FROM-TO"),
    ("v2t world", 2, "-o/--output"),
    ("v2t recipes starter/towr", 2, "starter/tower"),
    ("v2t train starter/towr", 2, "starter/tower"),
    ("v2t train gone.yaml", 2, "gone.yaml"),
    # t2v
    ("t2v generate 'A red ball.' -o out --generator wrold", 2, "did you mean 'world'"),
    ("t2v generate 'A red ball.' -o out --set stepps=3", 2, "did you mean 'steps'"),
    ("t2v generate 'A red ball.' -o out --num-frames 0", 2, "num_frames must be at least 1"),
    ("t2v generate 'A red ball.' -o out --image gone.png", 2, "no such picture"),
    ("t2v generate 'A red ball.' -o out --generator world --tiling", 2, "no option 'tiling'"),
    ("t2v generate 'A red ball.' -o out --lora x:y", 2, "PATH:WEIGHT"),
    ("t2v generate 'A red ball.' -o out --decode-workers 2", 2, "unknown option --decode-workers"),
    ("t2v generate", 2, "no prompt given"),
    ("t2v generate 'A red ball.' -o s3://bucket/out", 2, "expected a path on this machine"),
    ("t2v train gone.yaml", 2, "gone.yaml"),
    # v2t-eval
    ("v2t-eval score clips/", 2, "--metrics"),
    ("v2t-eval score clips/ --metrics sharpnes", 2, "did you mean 'sharpness'"),
    ("v2t-eval score clips/ --metrics sharpness -o report.json", 2, "-o takes a folder"),
    ("v2t-eval score clips/ --metrics sharpness --device tpu", 2, "auto, cpu, cuda or cuda:N"),
    ("v2t-eval score clips/ --metrics sharpness", 4, "clips"),
    ("v2t-eval list sharpnes", 2, "no metric is called 'sharpnes': did you mean 'sharpness'?"),
    ("v2t-eval list sharpness --suite gate", 2, "give one of them"),
    ("v2t-eval select clips/ --keep 0", 2, "--keep must be at least 1"),
    ("v2t-eval select clips/ --by frechet", 2, "not of single clips"),
    ("v2t-eval select clips/ --by obedience,sharpness", 2, "one metric each"),
    ("v2t-eval mine clips/ --captions a.jsonl b.jsonl --judge none -o out", 2, "pairs need a judge"),
    ("v2t-eval mine clips/ -o out", 2, "--captions"),
    ("v2t-eval curate clip.mp4", 2, "-o"),
    ("v2t-eval curate clips/ -o clips/", 2, "the folder of the films"),
    ("v2t-eval curate clips/ --explain x", 4, "clips.parquet"),
    ("v2t-eval curate clips/ -o set --recipe t2w", 2, "did you mean t2v"),
    ("v2t-eval curate clips/ -o set --recipe nowhere.yaml", 2, "cannot read"),
    ("v2t-eval curate clips/ -o set --set steps=[shap]", 2, "did you mean 'shape'"),
    ("v2t-eval curate clips/ -o set --set limits.sharpness.least=-3", 2, "must be at least 0, got -3"),
    ("v2t-eval curate clips/ -o set --workers 0", 2, "--workers must be at least 1"),
    ("v2t-eval curate nowhere/ -o set", 4, "nowhere"),
    ("v2t-eval audit --metrics none --judge none -o out", 2, "neither metrics nor a judge"),
    ("v2t-eval audit --num 1 -o out", 2, "two clips or more"),
    ("v2t-eval audit --generate 5 --judge none -o out", 2, "for testing a judge"),
    ("v2t-eval audit --generate 1 -o out", 2, "2 or more"),
    ("v2t-eval audit --metrics sharpnes -o out", 2, "sharpness"),
    ("v2t-eval audit --judge gpt -o out", 2, "v2t:MODEL"),
    ("v2t-eval calibrate starter", 2, "-o"),
    ("v2t-eval calibrate starter --num 8 -o judge.json", 2, "--few"),
    ("v2t-eval calibrate starter -o there.json", 2, "exists"),
    ("v2t-eval calibrate starter -o .", 2, "judge.json"),
    (f"v2t-eval calibrate starter -o {INSTALLED}/judge.json --overwrite", 7, "inside the installed package"),
    (f"v2t-eval calibrate starter -o {INSTALLED}/mine.json", 7, "inside the installed package"),
    ("v2t-eval questions 'A dog.' -o there.json", 2, "exists"),
    ("v2t-eval roundtrip -o out", 2, "no prompts given"),
    ("v2t-eval roundtrip --world 3 prompts.txt -o out", 2, "draws its own prompts"),
    ("v2t-eval roundtrip --world 3 --split odd -o out", 2, "split must be"),
    ("v2t-eval roundtrip --clips clips --steps 3 -o out", 2, "--steps cannot be used with --clips"),
    ("v2t-eval roundtrip --world 3 --device tpu -o out", 2, "auto, cpu, cuda or cuda:N"),
    ("v2t-eval learn -o out --set objectve=nft", 2, "did you mean 'objective'"),
    ("v2t-eval learn -o out --set num_videos=1", 2, "num_videos must be at least 2"),
    ("v2t-eval learn", 2, "-o/--output"),
    ("v2t-eval suites gat", 2, "gate"),
    ("v2t-eval ci githb", 2, "github"),
    ("v2t-eval gate", 2, "gate"),
    ("v2t-eval gate init", 2, "required: CLIPS|RESULTS, --suite, -o/--output (v2t-eval gate init --help)"),
    ("v2t-eval gate init a b --suite gate -o x.json", 2, "too many arguments: b (v2t-eval gate init --help)"),
    ("v2t-eval gate a b --suite suite.yaml", 2, "too many arguments: b (v2t-eval gate --help)"),
    ("v2t-eval gate made --suite suite.yaml --reason x", 2, "unknown option --reason"),
    ("v2t-eval gate update made --baseline there.json --reason x -o x", 2, "unknown option -o"),
    ("v2t-eval gate init made --suite suite.yaml -o x.json --baseline x", 2, "unknown option --baseline"),
    ("v2t-eval gate made", 2, "required: --suite (v2t-eval gate --help)"),
    ("v2t-eval gate init made --suite suite.yaml", 2, "required: -o/--output"),
    ("v2t-eval gate init made --suite suite.yaml -o .", 2, "-o takes a file"),
    ("v2t-eval gate update made --reason why", 2, "required: --baseline"),
    ("v2t-eval gate update made --baseline there.json --reason '  '", 2, "needs a reason"),
    ("v2t-eval gate update made --baseline there.json", 2, "required: --reason"),
    ("v2t-eval gate made --suite plain.yaml", 2, "has no gate"),
    ("v2t-eval gate made --suite suite.yaml --workers 0", 2, "workers must be at least 1"),
    ("v2t-eval gate made --suite suite.yaml -o gate.html", 2, "takes a folder"),
    ("v2t-eval gate made --suite suite.yaml --baseline suite.yaml", 2, "is not JSON"),
    ("v2t-eval compare made there.json", 2, "there.json"),
    ("v2t-eval compare made nowhere", 4, "nowhere"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("lines")
    (place / "clips").mkdir()
    (place / "clip.mp4").write_bytes(b"no film")
    (place / "bad.yaml").write_text("model: starter\nformat: [txt, jsonl\nstyle: short\n")
    (place / "blank.txt").write_text(" \n")
    (place / "there.json").write_text("{}")
    (place / "plain.yaml").write_text("metrics: [sharpness]")
    (place / "suite.yaml").write_text(SUITE)
    for name in ("a", "b"):
        (place / f"{name}.jsonl").write_text("")
    write_scores(place / "made", scores())
    return place


def contents(folder: Path) -> dict[Path, bytes]:
    """Files and folders below a folder."""
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def exit_code(line: str) -> int:
    """The exit code of a command line."""
    program, *words = shlex.split(line)
    try:
        return int(importlib.import_module(f"{PROGRAMS[program]}.cli").main(words))
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize(("line", "code", "says"), LINES, ids=[line for line, *_ in LINES])
def test_a_wrong_line_ends_in_one_line_that_says_why(line, code, says, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("V2T_SERVE_KEY", raising=False)
    before = contents(folder)
    assert exit_code(line) == code
    errors = [said for said in capsys.readouterr().err.splitlines() if said.startswith("error ")]
    assert len(errors) == 1 and says in errors[0], errors
    assert contents(folder) == before


def test_every_verb_has_a_wrong_line_here():
    known = {f"{program} {verb}" for program in PROGRAMS for verb in verbs(program)}
    here = {verb for verb in known for line, *_ in LINES if f"{line} ".startswith(f"{verb} ")}
    # without an argument that could be wrong, or tried with folders of its own
    assert known - here == {"v2t doctor", "v2t cluster status", "t2v recipes"}


def verbs(program: str) -> tuple[str, ...]:
    names: tuple[str, ...] = importlib.import_module(f"{PROGRAMS[program]}.cli").VERBS
    return names


@pytest.mark.slow
def test_the_parsers_of_all_verbs_need_nothing_heavy():
    heavy = {"torch", "transformers", "numpy", "cv2", "av", "PIL", "accelerate", "diffusers", "huggingface_hub"}
    code = (
        "import sys, importlib\nfrom cineloop.cli import build_parser\nfrom cineloop.parser import PROGRAMS\n"
        "for program, package in PROGRAMS.items():\n"
        "    build_parser(program, '', importlib.import_module(f'{package}.cli').VERBS, package).format_help()\n"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr[-1000:]
