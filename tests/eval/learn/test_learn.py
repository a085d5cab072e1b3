"""Learning from end to end at tiny width, with planted judges in files: to the end, hacked, killed, by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from cineloop import config as configs
from cineloop.cluster import journals
from cineloop.errors import UsageError
from tiny_pipelines import WORDS, save_ours, save_wan
from v2t_eval.cli import main
from v2t_eval.core.changes import changes
from v2t_eval.core.inputs import read_inputs
from v2t_eval.core.score import ScoreConfig, score
from v2t_eval.core.scores import read_scores
from v2t_eval.gate.run import gate as judged_by
from v2t_eval.learn import plan as plans
from v2t_eval.learn.draw import HELD_OUT, draw, first_model, held_out_rows
from v2t_eval.learn.measures import Measurer, clips_without_reward
from v2t_eval.learn.prompts import prompt_key, prompt_rows
from v2t_eval.learn.report import document
from v2t_eval.learn.rewards import Reward
from v2t_eval.learn.run import run
from v2t_eval.learn.settings import GuardLimit, LearnConfig, PromptConfig, RewardPart
from v2t_eval.learn.stopping import gain
from v2t_eval.suites.suite import read_suite

pytestmark = pytest.mark.slow

BRIGHT = '''
from v2t_eval.core.metric import BaseMetric, Summary, items_of


class Metric(BaseMetric):
    """Mean brightness: a reward that can be hacked."""

    name = "bright"
    needs = ("frames",)
    detects = misses = "brightness"

    def measure(self, sample):
        {refuse}
        return {{"value": {value}}}

    def summarise(self, rows, references):
        return Summary(headline=self.name, figures={{self.name: self.mean(rows)}}, items=items_of(rows))
'''


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    return save_ours(tmp_path_factory.mktemp("ours"), zero_init=True)


@pytest.fixture
def bright(tmp_path) -> str:
    path = tmp_path / "bright.py"
    path.write_text(BRIGHT.format(refuse="", value="float(sample.frames.pixels.mean()) / 255"))
    return str(path)


@pytest.fixture
def dark(tmp_path) -> str:
    """A judge that would rather have it dark: what the reward breaks."""
    path = tmp_path / "dark.py"
    path.write_text(
        BRIGHT.format(refuse="", value="1 - float(sample.frames.pixels.mean()) / 255").replace("bright", "dark")
    )
    return str(path)


@pytest.fixture
def prompts(tmp_path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"a {color} {thing} {verb}\n" for color in ("red", "blue") for thing in ("ball", "box")
                            for verb in ("rolls", "jumps")))  # fmt: skip
    assert {word for line in path.read_text().splitlines() for word in line.split()} <= set(WORDS)
    return path


@pytest.fixture(autouse=True)
def held_out(tmp_path) -> Path:
    """Sixteen other prompts of the same words."""
    path = tmp_path / "held-out.txt"
    path.write_text("".join(f"{color} {thing} {verb}\n{verb} {color} {thing}\n" for color in ("red", "blue")
                            for thing in ("ball", "box") for verb in ("rolls", "jumps")))  # fmt: skip
    return path


def recipe(ours: Path, prompts: Path, reward: str, **more) -> LearnConfig:
    tree = {
        "model": str(ours), "prompts": {"file": str(prompts), "num": 4}, "num_videos": 8,
        "held_out": {"file": str(prompts.with_name("held-out.txt")), "num": 16}, "rounds": 2, "measure_every": 1,
        "clips": {"steps": 2, "num_frames": 5, "height": 32, "width": 32, "guidance": 1.0, "batch_size": 32},
        "reward": [{"metric": reward}], "judges": [], "referee": None, "guards": [], "gate": None,
        "device": "cpu", "dtype": "float32", "objective": "raft",
        "train": {"loop.steps": 12, "loop.batch_size": 16, "loop.optim.base_lr": 0.01, "loop.save_every": 1,
                  "runtime.precision": "fp32"},
    }  # fmt: skip
    return configs.from_dict(LearnConfig, tree | more)


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    return load_file(next((Path(folder) / "transformer").glob("*.safetensors")))


@pytest.mark.long
def test_a_reward_rises_and_the_page_shows_it(ours, prompts, bright, tmp_path, caplog):
    suite = {"metrics": [bright], "gate": {"primary": [{"metric": "bright", "margin": 0.01}]}}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))
    gate = str(tmp_path / "suite.yaml")
    config = recipe(
        ours, prompts, bright, guards=[{"metric": "diversity", "least": 0.01}], gate=gate, held_out_clips={"steps": 3}
    )
    planned = plans.plan(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert planned["rounds"] == {"asked": 2, "done": 0, "prompts": [4, 4], "clips": [32, 32]}
    assert planned["measures"] == {"after_rounds": [0, 1, 2], "done": 0, "prompts": 16, "clips": 32}
    assert planned["clips_left"] == 160 and planned["metrics"] == {bright: "reward", "diversity": "guard"}
    assert planned["seconds"]["left"] == pytest.approx(160 * planned["seconds"]["clip"]) and planned["gate"] == gate
    assert "160 clips to draw" in plans.page(planned).banner.sentence
    found = run(config, tmp_path / "out")
    again = plans.plan(config, tmp_path / "out")
    assert again["clips_left"] == 0 and again["rounds"]["done"] == 2 and again["seconds"]["left"] == 0
    drawn = [read_inputs(tmp_path / "out" / name / "drawn") for name in ("round-001", "measure-000")]
    assert [inputs.samples[0].row["settings"]["steps"] for inputs in drawn] == [2, 3]
    rules = read_suite(Path(gate))
    before, after = (
        score(read_inputs(tmp_path / f"out/measure-{n:03d}/drawn"), rules.metrics, ScoreConfig()) for n in (0, 2)
    )
    verdict = judged_by(after, rules.rules, baseline=before)
    assert found.gate == {"outcome": verdict.outcome, "reason": verdict.reason} and verdict.reason
    assert found.exit_code == verdict.exit_code
    assert found.stopped is None and len(found.rounds) == 2 and list(found.history) == [0, 1, 2]
    first, last = (read_scores(tmp_path / f"out/measure-{n:03d}/scores.json") for n in (0, 2))
    assert found.history[0] == first and found.history[2] == last
    rise = changes(first, last, ["reward"])["reward"]
    assert rise.pairs is not None and rise.pairs.interval.low > 0
    assert last.by_name["drift"].value > 0 and "drift" not in first.by_name
    rows = [json.loads(line) for line in (tmp_path / "out/round-001/drawn/rewards.jsonl").read_text().splitlines()]
    assert len(rows) == 32 and set(rows[0]) == {"id", "prompt", "seed", "reward", "parts", "judge", "status"}
    assert rows[0]["status"] == "ok" and rows[0]["reward"] == pytest.approx(rows[0]["parts"]["bright"])
    page = (tmp_path / "out/report.html").read_text()
    assert (
        "Round by round" in page
        and "diversity (guard)" in page
        and json.loads((tmp_path / "out/held-out/prompts.jsonl").read_text().splitlines()[0])["prompt"] in page
    )
    clips = [card.labels for card in document(found, config, tmp_path / "out").sections[4].cards]
    assert clips[:2] == [("start", "after round 1"), ("after round 2", "")] and len(clips) == 12
    result = json.loads((tmp_path / "out/learn.json").read_text())
    assert result["model"] == found.model and len(result["history"]) == 3
    assert any(
        not torch.equal(a, b) for a, b in zip(weights(ours).values(), weights(found.model).values(), strict=True)
    )


@pytest.mark.long
def test_a_reward_that_is_hacked_is_stopped_by_the_measure_that_diverged(ours, prompts, bright, dark, tmp_path):
    config = recipe(ours, prompts, bright, judges=[dark], rounds=6)
    found = run(config, tmp_path / "out")
    assert found.stopped is not None and found.stopped.measure == dark and len(found.rounds) <= 6
    assert gain(found.measures[0], found.measures[-1], dark) < 0
    kept = list(found.history)[found.stopped.kept]
    assert found.stopped.kept < len(found.history) - 1 and found.exit_code == 6
    assert found.model == (str(ours) if not kept else str(tmp_path / f"out/round-{kept:03d}/train/final"))
    assert "diverged" in (tmp_path / "out/report.html").read_text()


@pytest.mark.long
def test_clips_without_a_judgement_teach_nothing_and_are_counted(ours, prompts, tmp_path):
    path = tmp_path / "picky.py"
    refuse = "if 'box' in sample.prompt: raise __import__('cineloop.errors').errors.ItemError('no', code='REFUSED')"
    text = BRIGHT.format(refuse=refuse, value="float(sample.frames.pixels.mean())")
    path.write_text(text.replace('needs = ("frames",)', 'needs = ("frames", "prompt")'))
    found = run(recipe(ours, prompts, str(path), rounds=1), tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out/round-001/drawn/rewards.jsonl").read_text().splitlines()]
    refused = [row for row in rows if "box" in row["prompt"]]
    assert refused and all(row["reward"] is None and row["status"] == "REFUSED" for row in refused)
    assert found.rounds[0].statuses["REFUSED"] == len(refused)
    assert clips_without_reward(found.history[0])["REFUSED"] > 0


# A process that has imported everything and has not used autograd, which no fork survives: each line a command line.
FORKS = """
import json, os, sys
import diffusers, t2v.pipeline, v2t_eval.learn.report, v2t_eval.learn.run
from v2t_eval.cli import main
for line in sys.stdin:
    if not (pid := os.fork()):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(main(json.loads(line)))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture
def forks():
    with subprocess.Popen([sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True) as process:  # fmt: skip
        yield process
        process.stdin.close()


PHASES = {
    "measuring": "measure-000/drawn/manifest.jsonl",
    "drawing": "round-001/prompts.jsonl",
    "judging": "round-001/drawn/contact_sheet.png",
    "learning": "round-001/train/checkpoints/step-00000001",
    "next round": "round-002/prompts.jsonl",
}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_kill_9_in_each_phase_comes_to_the_same_end(ours, prompts, bright, tmp_path, forks):
    config = recipe(ours, prompts, bright)
    whole = run(config, tmp_path / "whole")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(configs.to_dict(config)))
    out = tmp_path / "killed"
    killed = []
    for phase, sign in [*PHASES.items(), ("", "never")]:
        forks.stdin.write(json.dumps(["learn", str(tmp_path / "recipe.yaml"), "-o", str(out)]) + "\n")
        forks.stdin.flush()
        child = int(forks.stdout.readline())
        while Path(f"/proc/{child}").exists() and not (out / sign).exists():
            time.sleep(0.005)
        if phase:
            with suppress(ProcessLookupError):  # it was done before the sign was seen
                os.kill(child, signal.SIGKILL)
        code = int(forks.stdout.readline())
        killed.append(code == -signal.SIGKILL)
    assert code == 0 and sum(killed) >= 4
    result = json.loads((out / "learn.json").read_text())
    expected = weights(whole.model)
    assert all(torch.equal(expected[name], value) for name, value in weights(result["model"]).items())
    assert result["history"][-1]["figures"]["reward"]["value"] == whole.measures[-1].by_name["reward"].value


CLUSTER = {"engine": "ray", "decode_workers": "1..2", "model_workers": "1..2"}


def content(out: Path) -> dict[str, object]:
    """What a learning leaves, but for seconds and for where the work was placed."""
    found: dict[str, object] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file() and ".cineloop" not in path.parts):
        name = str(path.relative_to(out))
        if path.suffix in (".mp4", ".safetensors") or path.name in ("rewards.jsonl", "prompts.jsonl"):
            found[name] = path.read_bytes()
        elif path.name == "scores.json" and path.parent.name.startswith("measure"):
            found[name] = json.loads(path.read_text()) | {"environment": None}
        elif path.name == "manifest.jsonl":
            found[name] = [{**json.loads(line), "seconds": None} for line in path.read_text().splitlines()]
    return found


@pytest.mark.long
def test_clips_drawn_and_judged_on_a_cluster_are_those_of_one_process(ours, prompts, bright, tmp_path, engines,
                                                                      monkeypatch):  # fmt: skip
    for name in ("plain", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    run(recipe(ours, prompts, bright, rounds=1), Path("out"))
    assert not engines
    monkeypatch.chdir(tmp_path / "there")
    config = recipe(ours, prompts, bright, rounds=1, cluster=CLUSTER)
    there = run(config, Path("out"))
    assert len(engines) == 6  # two measures and a round, each drawn and judged
    assert content(tmp_path / "plain") == content(tmp_path / "there") and list(there.history) == [0, 1]
    assert not journals.journals(tmp_path / "there/out/.cineloop")
    more = run(recipe(ours, prompts, bright, rounds=2), Path("out"))  # goes on here
    assert len(more.rounds) == 2 and [more.history[n] for n in (0, 1)] == there.measures and len(engines) == 6


@pytest.mark.long
def test_forty_rewards_by_hand_teach_an_adapter_of_wan(prompts, tmp_path, capsys):
    from t2v.generate.run import run as generate
    from t2v.generate.settings import GenerateConfig

    wan = save_wan(tmp_path / "wan")
    config = GenerateConfig(generator="diffusers", model=str(wan), num_videos=5, num_frames=5, height=32, width=32,
                            steps=2, device="cpu", dtype="float32", options={"latents": True})  # fmt: skip
    assert generate([], [str(prompts)], tmp_path / "made", config).made == 40
    rows = [json.loads(line) for line in (tmp_path / "made/manifest.jsonl").read_text().splitlines()]
    (tmp_path / "mine.jsonl").write_text("".join(
        json.dumps({"id": row["id"], "reward": row["seed"] % 3}) + "\n" for row in rows
    ))  # fmt: skip
    tree = {
        "generator": "diffusers", "model": str(wan), "rank": 2, "drawn": str(tmp_path / "made"),
        "rewards": str(tmp_path / "mine.jsonl"), "rounds": 1,
        "held_out": {"file": str(prompts.with_name("held-out.txt")), "num": 2},
        "clips": {"steps": 2, "num_frames": 5, "height": 32, "width": 32}, "judges": ["sharpness"], "referee": None,
        "guards": [], "gate": None, "dtype": "float32", "device": "cpu",
        "train": {"loop.steps": 2, "loop.batch_size": 8, "runtime.precision": "fp32"},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
    assert main(["learn", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    file = next(Path(found["adapter"]).glob("*.safetensors"))
    assert any("lora_B" in name and float(value.abs().max()) > 0 for name, value in load_file(file).items())
    assert found["history"][-1]["figures"]["drift"]["value"] > 0 and found["rounds"][0]["statuses"] == {"ok": 40}


def test_another_recipe_in_the_same_folder_is_refused(ours, prompts, bright, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/config.yaml").write_text(configs.dump(configs.to_dict(recipe(ours, prompts, bright))))
    with pytest.raises(UsageError, match="made with other settings"):
        run(recipe(ours, prompts, bright, objective="nft"), tmp_path / "out")


@pytest.mark.parametrize(
    "given, message",
    [
        ({"num_videos": 1}, "at least 2"),
        ({"judges": ("question_score",)}, "in the reward"),
        ({"rewards": Path("x.jsonl")}, "drawn"),
        ({"rewards": Path("x.jsonl"), "drawn": Path("y"), "rounds": 2}, "one round"),
        ({"reward": ()}, "no metric"),
        ({"rounds": 0}, "rounds"),
        ({"held_out_videos": 1}, "compares the clips of a prompt"),
        ({"tolerated": {"clipsmi": 0.1}}, "neither a judge nor the referee"),
        ({"tolerated": {"clipsim": -0.1}}, "at least 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        LearnConfig(**given)
    with pytest.raises(UsageError, match="no limit"):
        GuardLimit(metric="diversity")


def test_a_round_takes_the_next_prompts_of_a_file(prompts):
    source = PromptConfig(file=prompts, num=3)
    rounds = [[row["prompt"] for row in prompt_rows(source, number, 0)] for number in range(3)]
    assert all(len(each) == 3 for each in rounds) and len({p for each in rounds for p in each}) == 8
    assert prompt_rows(source, 1, 0) == prompt_rows(source, 1, 0) != prompt_rows(source, 1, 5)
    world = prompt_rows(PromptConfig(num=6), 3, 0)
    assert world == prompt_rows(PromptConfig(num=6), 3, 99) and world[0]["id"] == "3-0000"


def texts(rows: list[dict[str, str]]) -> set[str]:
    return {prompt_key(row["prompt"]) for row in rows}


@pytest.mark.parametrize("num, held", [(64, 64), (20, 3), (5, 30)])
def test_no_round_draws_for_a_held_out_prompt_of_the_same_file(tmp_path, num, held):
    file = tmp_path / "prompts.txt"
    file.write_text("".join(f"A ball number {n} rolls.\n a  BALL number {n} rolls\n" for n in range(80)))
    apart = prompt_rows(PromptConfig(file=file, num=held), HELD_OUT, 0)
    source = PromptConfig(file=file, num=num)
    for number in range(1, 12):
        drawn = prompt_rows(source, number, 0, [row["prompt"] for row in apart])
        assert drawn and not texts(drawn) & texts(apart)


def test_no_round_draws_for_a_held_out_prompt_of_the_world():
    source = PromptConfig(num=40)
    free = prompt_rows(source, 1, 0)
    drawn = prompt_rows(source, 1, 0, [row["prompt"].upper() for row in free[:10]])
    assert len(drawn) == 40 and not texts(drawn) & texts(free[:10]) and texts(free[10:]) < texts(drawn)


def test_prompts_that_are_all_held_out_are_refused_before_anything_is_drawn(ours, prompts, bright, tmp_path):
    everything = {"file": str(prompts), "num": 8}
    with pytest.raises(UsageError, match="all 8 prompts .* other side"):
        run(recipe(ours, prompts, bright, held_out=everything), tmp_path / "out")
    assert not list(tmp_path.glob("out/*/drawn"))


def test_a_reward_keeps_its_interval_within_its_range(ours, prompts, tmp_path):
    path = tmp_path / "share.py"
    text = BRIGHT.format(refuse="", value="float('red' in sample.prompt or 'rolls' in sample.prompt)")
    path.write_text(text.replace('("frames",)', '("frames", "prompt")\n    value_range = (0.0, 1.0)'))
    config = recipe(ours, prompts, str(path), rounds=1)
    measurer = Measurer(config)
    assert measurer.reward.value_range == (0.0, 1.0)
    two = Reward((RewardPart(metric=str(path), weight=-2.0), RewardPart(metric="clipsim", key="frames")))
    assert two.value_range == (float("-inf"), float("inf")) and Reward(two.parts[:1]).value_range == (-2.0, 0.0)
    rows = held_out_rows(config, tmp_path / "out")
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = first_model(config)
    draw(config, tmp_path / "drawn", tmp_path / "one.jsonl", model, 1, 0, config.clips, lambda: False)
    reward = measurer.measure(tmp_path / "drawn", ScoreConfig()).by_name["reward"].figures["reward"]
    assert reward.value == 0.75 and 0 <= reward.low < 0.75 < reward.high <= 1
