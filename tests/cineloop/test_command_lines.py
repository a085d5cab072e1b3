"""Wrong command lines of every verb: exit code, error code, and a word of the one line that says what is wrong.

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
    ("v2t capton clips/", 2, "USAGE", "did you mean caption?"),
    ("v2t generate x", 2, "USAGE", "did you mean t2v generate?"),
    ("t2v caption x", 2, "USAGE", "did you mean v2t caption?"),
    ("v2t score x", 2, "USAGE", "did you mean v2t-eval score?"),
    ("v2t-eval scor x", 2, "USAGE", "did you mean score?"),
    ("v2t caption clips/ --modle starter", 2, "USAGE", "did you mean --model?"),
    ("t2v generate x -o y --num-video 3 --num_videos 2", 2, "USAGE", "did you mean --num-videos?"),
    ("v2t caption clips/ --frames abc", 2, "USAGE", "--frames"),
    ("v2t caption clips/ --zzzzzz 3", 2, "USAGE", "unknown option --zzzzzz"),
    # v2t
    ("v2t caption", 2, "USAGE", "v2t caption"),
    ("v2t caption clips/ --config bad.yaml", 2, "USAGE", "line 3, column"),
    ("v2t caption clips/ --config gone.yaml", 2, "USAGE", "gone.yaml"),
    ("v2t caption clips/ --set batchsize=2", 2, "USAGE", "did you mean 'batch_size'"),
    ("v2t caption clips/ --set wording.prefx=a", 2, "USAGE", "did you mean 'wording.prefix'"),
    ("v2t caption clips/ --set frames", 2, "USAGE", "key.name=value"),
    ("v2t caption clips/ --frames 0", 2, "USAGE", "frames must be at least 1"),
    ("v2t caption clips/ --parts halves", 2, "USAGE", "halves"),
    ("v2t caption clips/ --summary short", 2, "USAGE", "summary must be one of auto, model, join"),
    ("v2t caption clips/ --shard 3/2", 2, "USAGE", "--shard must look like 2/4"),
    ("v2t caption clips/ --shard 1/2 --cluster ray", 2, "USAGE", "--shard does not go with --cluster"),
    ("v2t caption clips/ --model-workers 2", 2, "USAGE", "--model-workers needs --cluster ray"),
    ("v2t caption clip.mp4 --style haiku", 2, "UNKNOWN_PLUGIN", "haiku"),
    ("v2t caption clip.mp4 -o out/ --model startr", 2, "USAGE", "did you mean starter?"),
    ("v2t caption clip.mp4 -o out/ --model ./nofolder", 2, "USAGE", "./nofolder"),
    ("v2t caption clip.mp4 -o out/ --parts scne:5", 2, "USAGE", "did you mean scene?"),
    ("v2t caption clip.mp4 -o out/ --cluster rya", 2, "USAGE", "did you mean 'ray'?"),
    ("v2t caption clip.mp4 -o out/ --encoder cogvideo", 2, "USAGE", "did you mean cogvideox?"),
    ("v2t caption nowhere/", 4, "NOTHING_MATCHED", "nowhere"),
    ("v2t caption clip.mp4 --model ./clips", 5, "MODEL", "config.json"),
    ("v2t ask nowhere.mp4 Who?", 4, "NOTHING_MATCHED", "nowhere.mp4"),
    ("v2t ask clip.mp4", 2, "USAGE", "expected a question"),
    ("v2t ask clip.mp4 Who? --when x", 2, "USAGE", "expected a question"),
    ("v2t ask clip.mp4 Who? --questions gone.txt", 2, "USAGE", "expected a question"),
    ("v2t ask clip.mp4 --questions gone.txt", 2, "USAGE", "gone.txt"),
    ("v2t ask clip.mp4 --questions blank.txt", 2, "USAGE", "got none"),
    ("v2t ask clip.mp4 Who? --look away", 2, "USAGE", "look must be"),
    ("v2t chat clip.mp4 --top 3", 2, "USAGE", "unknown option --top"),
    ("v2t serve --root nonsense --dry-run", 2, "USAGE", "NAME=DIR"),
    ("v2t serve --root a=clips --root a=clips --dry-run", 2, "USAGE", "named twice"),
    ("v2t serve --root a=nowhere --dry-run", 2, "USAGE", "nowhere is not a folder"),
    ("v2t serve --port 70000 --dry-run", 2, "USAGE", "port must be"),
    ("v2t serve --host 0.0.0.0 --dry-run", 7, "POLICY", "V2T_SERVE_KEY"),
    ("v2t merge nowhere/", 4, "NOTHING_MATCHED", "nowhere"),
    ("v2t edit", 2, "USAGE", "CAPTIONS"),
    ("v2t edit clips/", 4, "NOTHING_MATCHED", "clips"),
    ("v2t edit clips/ --port 70000", 2, "USAGE", "70000"),
    ("v2t transcribe", 2, "USAGE", "FOLDER"),
    ("v2t transcribe there.mp4", 2, "USAGE", "--model"),
    ("v2t transcribe there.mp4 --model x --language English!", 2, "USAGE", "English!"),
    ("v2t check-captions there.json", 2, "USAGE", "--style"),
    ("v2t check-captions there.json --style haiku", 2, "UNKNOWN_PLUGIN", "haiku"),
    ("v2t check-captions clips/ --style short", 2, "NO_RULES", "short"),
    ("v2t check-captions nowhere/ --style wan", 4, "NOTHING_MATCHED", "nowhere"),
    ("v2t check-captions clips/ --style h3 --tokenizer x", 2, "USAGE", "tokenizer"),
    ("v2t cluster print", 2, "USAGE", "COMMAND"),
    ("v2t cluster print slrum -- v2t caption clips/ -o out/", 2, "USAGE", "slurm"),
    ("v2t cluster print slurm -- v2t caption clips/ -o out/ --modle x", 2, "USAGE", "did you mean --model?"),
    ("v2t cluster print slurm --nodes 0 -- v2t caption clips/ -o out/", 2, "USAGE", "nodes must be at least 1, got 0"),
    ("v2t world -o out --size 3", 2, "USAGE", "WIDTHxHEIGHT"),
    ("v2t world -o out --seconds long", 2, "USAGE", "FROM-TO"),
    ("v2t world", 2, "USAGE", "-o/--output"),
    ("v2t world -o s3://bucket/out", 2, "USAGE", "expected a path on this machine"),
    ("v2t recipes starter/towr", 2, "USAGE", "starter/tower"),
    ("v2t train starter/towr", 2, "USAGE", "starter/tower"),
    ("v2t train gone.yaml", 2, "USAGE", "gone.yaml"),
    # t2v
    ("t2v generate 'A red ball.' -o out --generator wrold", 2, "UNKNOWN_PLUGIN", "did you mean 'world'"),
    ("t2v generate 'A red ball.' -o out --set stepps=3", 2, "USAGE", "did you mean 'steps'"),
    ("t2v generate 'A red ball.' -o out --num-frames 0", 2, "USAGE", "num_frames must be at least 1"),
    ("t2v generate 'A red ball.' -o out --image gone.png", 2, "USAGE", "no such picture"),
    ("t2v generate 'A red ball.' -o out --generator world --tiling", 2, "UNKNOWN_OPTION", "no option 'tiling'"),
    ("t2v generate 'A red ball.' -o out --lora x:y", 2, "USAGE", "PATH:WEIGHT"),
    ("t2v generate 'A red ball.' -o out --decode-workers 2", 2, "USAGE", "unknown option --decode-workers"),
    ("t2v generate", 2, "USAGE", "no prompt given"),
    ("t2v generate 'A red ball.' -o s3://bucket/out", 2, "USAGE", "expected a path on this machine"),
    ("t2v generate 'A red ball.' -o a/b --model clips", 5, "ENVIRONMENT", "clips"),
    ("t2v generate 'A red ball.' -o a/b --lora clips", 2, "USAGE", "safetensors"),
    ("t2v generate 'A red ball.' -o a/b --device cuda:99", 5, "MODEL", "cuda:99"),
    ("t2v generate 'A red ball.' -o out --generator diffusers --model .", 5, "ENVIRONMENT", "model_index.json"),
    ("t2v train gone.yaml", 2, "USAGE", "gone.yaml"),
    # v2t-eval
    ("v2t-eval score clips/", 2, "USAGE", "--metrics"),
    ("v2t-eval score clips/ --metrics sharpnes", 2, "UNKNOWN_PLUGIN", "did you mean 'sharpness'"),
    ("v2t-eval score clips/ --metrics sharpness -o report.json", 2, "USAGE", "-o takes a folder"),
    ("v2t-eval score clips/ --metrics sharpness --device tpu", 2, "USAGE", "auto, cpu, cuda or cuda:N"),
    ("v2t-eval score clips/ --metrics sharpness", 4, "NOTHING_MATCHED", "clips"),
    ("v2t-eval score clips/ --metrics sharpness --limit 0", 2, "USAGE", "--limit must be at least 1, got 0"),
    ("v2t-eval score clips/ -o s3://bucket/out", 2, "USAGE", "expected a path on this machine"),
    ("v2t-eval score --captions a.jsonl", 2, "USAGE", "--metrics"),
    ("v2t-eval list sharpnes", 2, "UNKNOWN_PLUGIN", "no metric is called 'sharpnes': did you mean 'sharpness'?"),
    ("v2t-eval list sharpness --suite gate", 2, "USAGE", "give one of them"),
    ("v2t-eval select clips/ --keep 0", 2, "USAGE", "--keep must be at least 1"),
    ("v2t-eval select clips/ --by frechet", 2, "USAGE", "not of single clips"),
    ("v2t-eval select clips/ --by obedience,sharpness", 2, "USAGE", "one metric each"),
    ("v2t-eval pick clips/", 2, "USAGE", "--output"),
    ("v2t-eval pick clips/ --prompts gone.txt -o a/b", 4, "NOTHING_MATCHED", "holds no checkpoint"),
    ("v2t-eval rank clips/", 2, "USAGE", "two generators or more"),
    ("v2t-eval engine clips/ clips/", 2, "USAGE", "--margins"),
    ("v2t-eval engine clips/ clips/ --margins gone.json", 2, "USAGE", "gone.json"),
    ("v2t-eval engine calibrate clips/ -o a.json", 2, "USAGE", "2 runs of the engine beside the first"),
    ("v2t-eval ci comment", 2, "USAGE", "DIR"),
    ("v2t-eval ci comment nowhere --forge gitlub", 2, "UNKNOWN_PLUGIN", "did you mean 'gitlab'"),
    ("v2t-eval mine clips/ --captions a.jsonl b.jsonl --judge none -o out", 2, "USAGE", "pairs need a judge"),
    ("v2t-eval mine clips/ -o out", 2, "USAGE", "--captions"),
    ("v2t-eval curate clip.mp4", 2, "USAGE", "-o"),
    ("v2t-eval curate clips/ -o clips/", 2, "USAGE", "the folder of the films"),
    ("v2t-eval curate clips/ --explain x", 4, "NOTHING_MATCHED", "clips.parquet"),
    ("v2t-eval curate clips/ -o set --recipe t2w", 2, "USAGE", "did you mean t2v"),
    ("v2t-eval curate clips/ -o set --recipe nowhere.yaml", 2, "USAGE", "cannot read"),
    ("v2t-eval curate clips/ -o set --set steps=[shap]", 2, "UNKNOWN_PLUGIN", "did you mean 'shape'"),
    ("v2t-eval curate clips/ -o set --set limits.sharpness.least=-3", 2, "USAGE", "must be at least 0, got -3"),
    ("v2t-eval curate clips/ -o set --workers 0", 2, "USAGE", "--workers must be at least 1"),
    ("v2t-eval curate nowhere/ -o set", 4, "NOTHING_MATCHED", "nowhere"),
    ("v2t-eval audit --metrics none --judge none -o out", 2, "USAGE", "neither metrics nor a judge"),
    ("v2t-eval audit --num 1 -o out", 2, "USAGE", "two clips or more"),
    ("v2t-eval audit --generate 5 --judge none -o out", 2, "USAGE", "for testing a judge"),
    ("v2t-eval audit --generate 1 -o out", 2, "USAGE", "2 or more"),
    ("v2t-eval audit --metrics sharpnes -o out", 2, "UNKNOWN_PLUGIN", "sharpness"),
    ("v2t-eval audit --judge gpt -o a/b", 2, "USAGE", "v2t:MODEL"),
    ("v2t-eval audit clips/ -o a/b", 4, "NOTHING_MATCHED", "clips"),
    ("v2t-eval questions 'Moody vibes.'", 4, "NOTHING_MATCHED", "Moody vibes."),
    ("v2t-eval calibrate starter", 2, "USAGE", "-o"),
    ("v2t-eval calibrate starter --num 8 -o judge.json", 2, "USAGE", "--few"),
    ("v2t-eval calibrate starter -o there.json", 2, "EXISTS", "exists"),
    ("v2t-eval calibrate starter -o .", 2, "USAGE", "judge.json"),
    (f"v2t-eval calibrate starter -o {INSTALLED}/judge.json --overwrite", 7, "POLICY", "inside the installed package"),
    (f"v2t-eval calibrate starter -o {INSTALLED}/mine.json", 7, "POLICY", "inside the installed package"),
    ("v2t-eval questions 'A dog.' -o there.json", 2, "EXISTS", "exists"),
    ("v2t-eval roundtrip -o out", 2, "USAGE", "no prompts given"),
    ("v2t-eval roundtrip --world 3 prompts.txt -o out", 2, "USAGE", "draws its own prompts"),
    ("v2t-eval roundtrip --world 3 --split odd -o out", 2, "USAGE", "split must be"),
    ("v2t-eval roundtrip --clips clips --steps 3 -o out", 2, "USAGE", "--steps cannot be used with --clips"),
    ("v2t-eval roundtrip --world 3 --device tpu -o out", 2, "USAGE", "auto, cpu, cuda or cuda:N"),
    ("v2t-eval roundtrip 'a red ball' --generator nothing -o a/b", 2, "UNKNOWN_PLUGIN", "nothing"),
    ("v2t-eval roundtrip 'a red ball' --model nothing -o a/b", 5, "ENVIRONMENT", "nothing"),
    ("v2t-eval learn -o out --set objectve=nft", 2, "USAGE", "did you mean 'objective'"),
    ("v2t-eval learn -o out --set num_videos=1", 2, "USAGE", "num_videos must be at least 2"),
    ("v2t-eval learn", 2, "USAGE", "-o/--output"),
    ("v2t-eval suites gat", 2, "USAGE", "gate"),
    ("v2t-eval ci githb", 2, "USAGE", "github"),
    ("v2t-eval gate", 2, "USAGE", "gate"),
    ("v2t-eval gate init", 2, "USAGE", "required: CLIPS|RESULTS, --suite, -o/--output (v2t-eval gate init --help)"),
    ("v2t-eval gate init a b --suite gate -o x.json", 2, "USAGE", "too many arguments: b (v2t-eval gate init --help)"),
    ("v2t-eval gate a b --suite suite.yaml", 2, "USAGE", "too many arguments: b (v2t-eval gate --help)"),
    ("v2t-eval gate made --suite suite.yaml --reason x", 2, "USAGE", "unknown option --reason"),
    ("v2t-eval gate update made --baseline there.json --reason x -o x", 2, "USAGE", "unknown option -o"),
    ("v2t-eval gate init made --suite suite.yaml -o x.json --baseline x", 2, "USAGE", "unknown option --baseline"),
    ("v2t-eval gate made", 2, "USAGE", "required: --suite (v2t-eval gate --help)"),
    ("v2t-eval gate init made --suite suite.yaml", 2, "USAGE", "required: -o/--output"),
    ("v2t-eval gate init made --suite suite.yaml -o .", 2, "USAGE", "-o takes a file"),
    ("v2t-eval gate update made --reason why", 2, "USAGE", "required: --baseline"),
    ("v2t-eval gate update made --baseline there.json --reason '  '", 2, "USAGE", "needs a reason"),
    ("v2t-eval gate update made --baseline there.json", 2, "USAGE", "required: --reason"),
    ("v2t-eval gate made --suite plain.yaml", 2, "USAGE", "has no gate"),
    ("v2t-eval gate made --suite suite.yaml --workers 0", 2, "USAGE", "workers must be at least 1"),
    ("v2t-eval gate made --suite suite.yaml -o gate.html", 2, "USAGE", "takes a folder"),
    ("v2t-eval gate made --suite suite.yaml --baseline suite.yaml", 2, "USAGE", "is not JSON"),
    ("v2t-eval curate clips/ -o set --trainer-set frames=[17]", 2, "USAGE", "--for"),
    ("v2t-eval curate clips/ -o set --for musubbi", 2, "USAGE", "did you mean musubi?"),
    ("v2t-eval curate clips/ -o set --write musubi", 2, "USAGE", "musubi"),
    ("v2t-eval check-set clips/", 2, "USAGE", "--for"),
    ("v2t-eval check-set nowhere/ --for musubi", 2, "USAGE", "nowhere"),
    ("v2t-eval check-set clips/ --for musubbi", 2, "USAGE", "did you mean musubi?"),
    ("v2t-eval check-set clips/ --for musubi --set frames=[x]", 2, "USAGE", "settings.frames"),
    ("v2t-eval check-set clips/ --for musubi --model wan9", 2, "USAGE", "did you mean 'wan'?"),
    ("v2t-eval check-set clips/ --for musubi --keep REFUSALS", 2, "USAGE", "REFUSALS"),
    ("v2t-eval check-set clips/ --for musubi --language xx", 2, "USAGE", "--language"),
    ("v2t-eval check-set clips/ --for musubi --most-lost 2", 2, "USAGE", "most_lost"),
    ("v2t-eval compare made there.json", 2, "USAGE", "there.json"),
    ("v2t-eval compare made nowhere", 4, "NOTHING_MATCHED", "nowhere"),
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


@pytest.mark.parametrize(("line", "status", "code", "named"), LINES, ids=[line for line, *_ in LINES])
def test_a_wrong_line_ends_in_one_line_that_says_why(line, status, code, named, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("V2T_SERVE_KEY", raising=False)
    before = contents(folder)
    assert exit_code(line) == status
    errors = [said for said in capsys.readouterr().err.splitlines() if said.startswith("error ")]
    assert len(errors) == 1 and errors[0].startswith(f"error {code}: ") and named in errors[0], errors
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
