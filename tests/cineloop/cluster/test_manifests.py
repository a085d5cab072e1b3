"""Job files for clusters: they parse, say only what their formats know, and run the very command that was given."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from cineloop.cli import build_parser
from cineloop.cluster.manifests import JobSize, engines, fill
from cineloop.errors import UsageError
from cineloop.parser import PROGRAMS
from cluster_schemas import JOB, RAYJOB, SBATCH, SKY, breaches
from v2t.cli import main

SCHEMAS = {"k8s": JOB, "k8s-ray": RAYJOB, "sky": SKY}
# What a shell, YAML, Kubernetes ($(X), $$) and jinja would each change.
WORDS = ["v2t", "caption", "my clips/größe", "-o", "out dir/", "--prompt", 'What\'s "up"? $HOME $$ $(X) {{ y }} #\n\\n']
NO_RAY = [engine for engine in engines() if not engine.endswith("ray")]
RAY = [engine for engine in engines() if engine.endswith("ray")]


def job(engine: str, words: list[str] = WORDS, **sizes: int) -> str:
    return fill(engine, words, JobSize(**{"nodes": 4, "shards": 16, "cpus": 2, **sizes}))


def words_that_run(engine: str, text: str, tmp_path: Path) -> list[str]:
    """The command line that the job starts, with stand-ins for the programs that write down their arguments."""
    for name in ("srun", "scontrol", "v2t", "v2t-eval", "t2v"):
        stand_in = tmp_path / "bin" / name
        stand_in.parent.mkdir(exist_ok=True)
        words = "true" if name == "scontrol" else f"printf '%s\\0' {name} \"$@\" > '{tmp_path}/words'"
        stand_in.write_text(f"#!/bin/sh\n{words}\n")
        stand_in.chmod(0o755)
    script = text
    if engine == "k8s":
        (container,) = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]
        script = container["args"][0].replace("$$", "$")  # as the kubelet does; it leaves $(UNKNOWN) as it is
    elif engine == "k8s-ray":
        script = yaml.safe_load(text)["spec"]["entrypoint"].replace("cd /data", "cd .")
    elif engine == "sky":
        script = yaml.safe_load(text)["run"].replace("cd /data", "cd .")
    env = {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        **{
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "n",
            "SLURM_ARRAY_TASK_ID": "3",
            "JOB_COMPLETION_INDEX": "2",
            "SHARD": "3",
        },
    }
    subprocess.run(["bash", "-c", script], env=env, check=True, timeout=60)
    return (tmp_path / "words").read_text("utf-8").split("\0")[:-1]


@pytest.mark.parametrize("engine", NO_RAY)
def test_a_job_runs_the_command_that_was_given_with_a_shard(engine, tmp_path):
    words = words_that_run(engine, job(engine), tmp_path)
    words = words[words.index("v2t") :]
    assert words == [*WORDS, "--shard", "3/16"]
    verbs = import_module("v2t.cli").VERBS
    parsed = build_parser("v2t", "", verbs, "v2t").parse_args(words[1:])
    assert parsed.shard == "3/16" and parsed.prompt == WORDS[-1]


@pytest.mark.parametrize("engine", RAY)
@pytest.mark.parametrize("given", [[], ["--cluster", "ray"]])
@pytest.mark.parametrize(
    "command",
    [
        WORDS,
        ["v2t-eval", "score", "generated clips/", "--suite", "starter", "-o", "scores/"],
        ["t2v", "generate", "--prompts", "my prompts.txt", "-o", "clips/"],
    ],
    ids=lambda words: words[0],
)
def test_a_job_with_ray_runs_the_command_that_was_given_on_its_cluster(engine, given, command, tmp_path):
    words = words_that_run(engine, job(engine, [*command, *given]), tmp_path)
    words = words[words.index(command[0]) :]
    assert words == [*command, "--cluster", "ray"]
    package = PROGRAMS[words[0]]
    verbs = import_module(f"{package}.cli").VERBS
    assert vars(build_parser(words[0], "", verbs, package).parse_args(words[1:]))["cluster.engine"] == "ray"


@pytest.mark.parametrize("engine", engines())
@pytest.mark.parametrize("gpus", [0, 1])
def test_a_job_parses_and_says_only_what_its_format_knows(engine, gpus):
    text = job(engine, gpus=gpus)
    if engine in SCHEMAS:
        assert breaches(yaml.safe_load(text), SCHEMAS[engine]) == []
    else:
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)
        options = re.findall(r"^#SBATCH --([\w-]+)", text, re.MULTILINE)
        assert options and set(options) <= SBATCH and len(set(options)) == len(options)
    asked = [line for line in text.splitlines() if re.search(r"gpu(:|\.com/gpu:|s?=)|accelerators:", line)]
    assert all(str(gpus) in line for line in asked) and (asked or not gpus)


def test_a_planted_key_is_seen():
    tree = yaml.safe_load(job("k8s"))
    tree["spec"]["backoffLimitPerIndx"] = 3
    tree["spec"]["podFailurePolicy"]["rules"][0]["action"] = "FailPod"
    assert sorted(breaches(tree, JOB)) == [
        ".spec.backoffLimitPerIndx: unknown",
        ".spec.podFailurePolicy.rules[0].action: 'FailPod'",
    ]


def test_an_indexed_job_keeps_to_the_rules_of_kubernetes():
    spec = yaml.safe_load(job("k8s"))["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 16, 4)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # backoffLimitPerIndex and podFailurePolicy want it
    assert spec["maxFailedIndexes"] <= spec["completions"]
    first, *others = spec["podFailurePolicy"]["rules"]  # the first that fits decides
    assert first == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    names = [container["name"] for container in spec["template"]["spec"]["containers"]]
    for rule in others:
        codes = rule["onExitCodes"]
        assert codes["containerName"] in names and 0 not in codes["values"] == sorted(set(codes["values"]))


def test_a_slurm_job_drains_before_its_limit_and_is_queued_again():
    text = job("slurm")
    assert "#SBATCH --array=1-16%4\n" in text
    for option in ("requeue", "open-mode=append", "signal=B:USR1@120"):
        assert f"#SBATCH --{option}\n" in text


@pytest.mark.parametrize(
    ("engine", "line", "says"),
    [
        ("slurm", "v2t-eval score clips/ -o out/", "v2t-eval score has no --shard"),
        ("slurm", "t2v generate prompts.txt -o out/", "an engine with Ray"),
        ("slurm", "v2t caption clips/", "no output folder"),
        ("slurm", "v2t caption clips/ -o out/ --shard 1/4", "numbers the shards itself"),
        ("k8s", "python train.py", "not a command of Cineloop"),
        ("k8s-ray", "v2t caption clips/ -o out/ --cluster none", "k8s-ray needs --cluster ray"),
        ("k8s-ray", "v2t train starter/tower -o out/", "has no --shard and no --cluster"),
        ("slurm", "v2t train starter/tower -o out/", "has no --shard and no --cluster"),
    ],
)
def test_what_cannot_run_there_is_refused_here(engine, line, says):
    with pytest.raises(UsageError, match=re.escape(says)):
        job(engine, shlex.split(line))


def test_the_command_prints_the_file_and_nothing_else(capsys):
    assert main(["cluster", "print", "slurm", "--nodes", "4", "--shards", "16", "--cpus", "2", "--", *WORDS]) == 0
    assert capsys.readouterr() == (job("slurm"), "")


@pytest.mark.slow
def test_the_options_of_ray_are_real():
    pytest.importorskip("ray")
    options = re.findall(r"(?<=\s)--([\w-]+)", job("slurm-ray").split("symmetric-run")[1].split(" -- ")[0])
    code = (
        "import json\nfrom ray.scripts.symmetric_run import symmetric_run\nfrom ray.scripts.scripts import start\n"
        "print(json.dumps([o for c in (symmetric_run, start) for p in c.params for o in p.opts]))"
    )
    known = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert options and {f"--{option}" for option in options} <= set(known)
