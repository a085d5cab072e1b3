"""The shipped configurations of Accelerate's launcher, and the flag that uses them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cineloop import launch
from cineloop.errors import UsageError
from cineloop.training import runtime
from cineloop.training.runtime import RuntimeConfig
from v2t.cli import main


@pytest.mark.parametrize("way", launch.WAYS)
def test_the_launcher_reads_the_configuration_as_it_is_meant(way, monkeypatch):
    from accelerate.commands import launch as accelerates
    from accelerate.utils.launch import prepare_multi_gpu_env

    line = launch.command_line("v2t", way, 4, ["train", "starter/tower"])
    assert line[1:3] == ["-m", accelerates.__name__]
    args = accelerates.launch_command_parser().parse_args(line[3:])
    args, *_ = accelerates._validate_launch_command(args)
    assert (args.training_script, args.training_script_args) == ("v2t", ["train", "starter/tower"]) and args.module
    assert args.multi_gpu == (way == "ddp") and args.use_fsdp == (way == "fsdp2") and not args.use_deepspeed
    env = prepare_multi_gpu_env(args)
    assert env.get("ACCELERATE_USE_FSDP") == ("true" if way == "fsdp2" else None)
    if way == "fsdp2":
        assert env["FSDP_VERSION"] == "2" and env["FSDP_RESHARD_AFTER_FORWARD"].lower() == "true"


def test_the_flag_starts_the_launcher_with_its_own_words_and_once(monkeypatch):
    words = ["train", "starter/tower", "--launch", "fsdp2", "--nproc", "2", "--set", "loop.steps=1"]
    monkeypatch.setattr(sys, "argv", ["v2t", *words])
    started = []
    monkeypatch.setattr(launch.os, "execv", lambda path, line: started.append(line) or sys.exit(9))
    with pytest.raises(SystemExit):
        main(words)
    (line,) = started
    assert line == launch.command_line("v2t", "fsdp2", 2, words) and Path(line[4]).is_file()
    monkeypatch.setenv("RANK", "0")  # as in the processes that the launcher starts
    trained = []
    monkeypatch.setattr("v2t.train.run", lambda config, **rest: trained.append(str(config)) or 0)
    assert main(words) == 0 and trained == ["starter/tower"] and len(started) == 1


def test_one_process_is_refused():
    with pytest.raises(UsageError, match="at least 2 processes, not 1.*--nproc"):
        launch.command_line("v2t", "ddp", 1, [])


def test_deepspeed_is_refused_with_what_to_use(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UsageError, match=r"does not run on DeepSpeed.*fsdp2.yaml"):
        runtime.start(RuntimeConfig(device="cpu"))
