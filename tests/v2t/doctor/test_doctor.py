"""`v2t doctor`: the rules on planted facts, the decoder trial on real files, and the command's exit codes."""

from __future__ import annotations

import argparse
import copy
import json

import pytest

from cineloop.errors import ItemError, UsageError
from v2t import doctor
from v2t.doctor import commands, decoders, machine, report

FACTS = {
    "cineloop": "0.1.0",
    "python": {"version": "3.11.7", "executable": "python", "platform": "Linux x86_64", "supported": True},
    "packages": dict.fromkeys(machine.PACKAGES, "1.0") | {"peft": None},
    "torch": {"version": "2.14.1", "cuda_build": "13.0", "threads": 1, "error": None},
    "problems": [],
    "devices": [{"device": "cpu", "name": "a CPU", "cores": 2, "memory_gb": 8.0, "memory_free_gb": 4.0}],
    "java": None,
    "disk": {"here": {"path": ".", "free_gb": 10.0}, "open_files": 1024},
    "models": {
        "starter": {"path": "v", "size_gb": 0.02},
        "generator": {"path": "t", "size_gb": 0.03},
        "hub": [],
        "hub_offline": True,
    },
    "decoders": [{"decoder": "pyav", "installed": True, "version": "1.0", "decodes": {"H.264 mp4": "ok"}}],
}


@pytest.mark.parametrize(
    ("torch", "torchvision", "fits"),
    [
        ("2.14.1", "0.29.1", True),
        ("2.14.1+cu130", "0.29.1+cu130", True),
        ("2.14.1+cu130", "0.29.1", True),
        ("2.11.0", "0.26.0", True),
        ("2.13.0", "0.29.1", False),
        ("2.13.0+cpu", "0.28.0", False),
        ("2.14.1+cpu", "0.29.1+cu130", False),
    ],
)
def test_pair_of_torch_and_torchvision(torch, torchvision, fits):
    line = machine.pair_problem(torch, torchvision)
    assert (line == "") is fits
    if not fits:
        assert "\n" not in line and torch in line and torchvision in line and "uninstall torchvision" in line


def test_versions_outside_the_window_are_said(monkeypatch):
    monkeypatch.setattr(machine, "_import_error", lambda module: "")
    fine = {"torch": "2.11.0", "transformers": "5.23.0"}
    assert machine.problems(fine, {"error": None}) == []
    assert "2.10.1" in machine.problems(fine | {"torch": "2.10.1"}, {"error": None})[0]
    assert "6.0.0" in machine.problems(fine | {"transformers": "6.0.0"}, {"error": None})[0]
    assert machine.problems(fine, {"error": "libcuda.so: not found"}) == [
        "torch does not import: libcuda.so: not found"
    ]


def test_a_torchvision_that_fails_at_import_is_one_line(monkeypatch):
    monkeypatch.setattr(machine, "_import_error", lambda module: "operator torchvision::nms does not exist")
    lines = machine.problems({"torch": "2.14.1", "torchvision": "0.29.1"}, {"error": None})
    assert len(lines) == 1 and "torchvision::nms" in lines[0]


def _facts(**changes):
    facts = copy.deepcopy(FACTS)
    facts.update(changes)
    return facts


def test_readiness_names_what_is_missing_and_for_what():
    ready = commands.readiness(FACTS)
    assert all(row["ready"] for row in ready.values())
    assert ready["v2t train"]["without"] == [
        {"what": "peft", "why": "LoRA and DoRA", "cure": "pip install 'cineloop[train]'"}
    ]
    blind = [{"decoder": "pyav", "installed": True, "version": "1", "decodes": {"H.264 mp4": "no: DECODER_CRASH"}}]
    row = commands.readiness(_facts(decoders=blind))["v2t caption"]
    assert not row["ready"] and [item["what"] for item in row["missing"]] == ["a decoder"]
    bare = FACTS["models"] | {"starter": None}
    assert not commands.readiness(_facts(models=bare))["v2t caption"]["ready"]
    assert commands.readiness(_facts(models=bare | {"hub": [{"id": "a/b", "size_gb": 1.0}]}))["v2t caption"]["ready"]
    broken = FACTS["torch"] | {"error": "no libc"}
    ready = commands.readiness(_facts(torch=broken))
    assert not ready["v2t caption"]["ready"] and ready["v2t world"]["ready"]


def test_every_command_of_the_program_is_in_the_table():
    from t2v import cli as t2v
    from v2t import cli as v2t
    from v2t_eval import cli as v2t_eval

    programs = {"v2t": v2t.VERBS, "t2v": t2v.VERBS, "v2t-eval": v2t_eval.VERBS}
    assert {f"{program} {verb}" for program, verbs in programs.items() for verb in verbs} == set(commands.COMMANDS)


def test_a_command_is_named_in_full_or_by_its_verb_alone():
    assert commands.named("generate") == commands.named("t2v generate") == "t2v generate"
    assert commands.named("gate") == "v2t-eval gate" and commands.named("v2t-eval audit") == "v2t-eval audit"
    assert commands.named("train") == "v2t train" and commands.named("t2v train") == "t2v train"


def test_generating_needs_a_generator_and_its_packages():
    bare = _facts(models=FACTS["models"] | {"generator": None}, packages=FACTS["packages"] | {"diffusers": None})
    row = commands.readiness(bare)["t2v generate"]
    assert {item["what"] for item in row["missing"]} == {"diffusers", "a generator"} and not row["ready"]
    assert commands.readiness(bare)["v2t-eval roundtrip"]["ready"] is False


@pytest.mark.parametrize(
    ("levels", "times", "verdict"),
    [
        (decoders.LEVELS, [k / 8 for k in range(8)], "ok"),
        (decoders.LEVELS[:7], [k / 8 for k in range(7)], "wrong: 7 of 8 frames"),
        (decoders.LEVELS[::-1], [k / 8 for k in range(8)], "wrong: frames differ from what was written"),
        ((20, 20, *decoders.LEVELS[2:]), [k / 8 for k in range(8)], "wrong: frames differ from what was written"),
        (decoders.LEVELS, [k / 4 for k in range(8)], "wrong: times off by 0.88 s"),
    ],
)
def test_judged(levels, times, verdict):
    assert decoders.judged(list(levels), times, decoders.STEPS) == verdict


def test_clips_hold_what_they_should(tmp_path):
    import av

    written = {kind.words: decoders.written(kind, tmp_path) for kind in decoders.KINDS}
    assert written["H.264 mp4"] and written["H.264 mp4, uneven times"]
    for kind in decoders.KINDS:
        if (path := written[kind.words]) is None:
            continue
        with av.open(str(path)) as clip:
            frames = [(f.time, f.to_ndarray(format="rgb24").mean()) for f in clip.decode(video=0)]
        times = [time - frames[0][0] for time, _ in frames]
        assert decoders.judged([float(level) for _, level in frames], times, kind.steps) == "ok", kind.words


def test_decoders_are_tried_for_what_they_are():
    rows = {row["decoder"]: row for row in decoders.try_all()}
    assert set(rows) == set(decoders.DECODERS)
    assert rows["pyav"]["decodes"]["H.264 mp4"] == rows["pyav"]["decodes"]["AV1 mp4"] == "ok"
    if rows["decord"]["version"] == "0.6.0":
        assert rows["decord"]["decodes"]["H.264 mp4, uneven times"] == "ok"
        assert rows["decord"]["decodes"]["AV1 mp4"].startswith("no: ")


def test_a_refusal_is_a_verdict(tmp_path):
    class Refusing:
        def decode(self, path, spec):
            raise ItemError("no", code="DECODER_CRASH")

    assert decoders._verdict(Refusing(), tmp_path / "x.mp4", decoders.KINDS[0]) == "no: DECODER_CRASH"


@pytest.fixture
def planted(monkeypatch):
    """The doctor on planted facts, decoders included."""
    monkeypatch.setattr(machine, "facts", lambda: {k: v for k, v in copy.deepcopy(FACTS).items() if k != "decoders"})
    monkeypatch.setattr(decoders, "try_all", lambda: copy.deepcopy(FACTS["decoders"]))


def _args(*words):
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    return parser.parse_args(words)


def test_json_is_one_object_and_text_names_the_commands(planted, capsys):
    assert doctor.run(_args("--json")) == 0
    assert json.loads(capsys.readouterr().out)["commands"]["v2t caption"]["ready"] is True
    assert doctor.run(_args()) == 0
    out = capsys.readouterr().out
    assert "v2t caption" in out and "LoRA" in out and "H.264 mp4" in out


def test_exit_5_only_when_the_asked_command_cannot_run(planted, monkeypatch, capsys):
    monkeypatch.setattr(decoders, "try_all", lambda: [])
    assert doctor.run(_args()) == 0
    assert doctor.run(_args("--for", "world")) == 0
    capsys.readouterr()
    assert doctor.run(_args("--for", "caption")) == 5
    out = capsys.readouterr().out
    assert "! v2t caption" in out and "needs a decoder: pip install decord av" in out
    assert "devices" not in out and "v2t world" not in out, "what is missing for that command, and nothing else"
    with pytest.raises(UsageError, match="caption"):
        doctor.run(_args("--for", "captoin"))


def test_facts_of_this_machine_are_json_and_readable():
    facts = machine.facts()
    json.dumps(facts, allow_nan=False)
    assert facts["packages"]["torch"] and facts["devices"][0]["cores"] >= 1
    assert facts["disk"]["here"]["free_gb"] >= 0
    facts["decoders"] = []
    facts["commands"] = commands.readiness(facts)
    assert facts["python"]["version"] in report.text(facts)
