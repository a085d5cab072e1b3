"""The verb on the command line: plan, table, funnel, exit codes, reasons."""

from __future__ import annotations

import json

import numpy as np
import pytest

from planted_films import shot, write
from v2t_eval.cli import main


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    write(folder / "one.mp4", shot(1))
    write(folder / "black.mp4", np.zeros_like(shot(1)))
    (folder / "empty.mp4").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def made(films, tmp_path_factory):
    """A set with a limit on black; the exit code."""
    out = tmp_path_factory.mktemp("set")
    return out, main(["curate", str(films), "-o", str(out), "--set", "limits.black_share.most=0.5", "--workers", "1"])


def run(capsys, *args):
    code = main(["curate", *map(str, args)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.slow
def test_failed_films_end_in_exit_3_and_the_rest_is_there(made, films, capsys):
    out, code = made
    assert code == 3 and (out / "clips.parquet").is_file()
    code, text, _ = run(capsys, films, "-o", out, "--set", "limits.black_share.most=0.5", "--json")
    found = json.loads(text)
    assert code == 3 and (found["films"], found["clips"], found["kept"]) == (3, 2, 1)
    assert [failed["code"] for failed in found["failed"]] == ["EMPTY_FILE"]
    assert {each["rule"]: each["clips"] for each in found["funnel"]} == {"failed": 1, "black_share.most": 1}


@pytest.mark.slow
def test_the_funnel_is_printed(made, films, capsys):
    _, text, err = run(capsys, films, "-o", made[0], "--set", "limits.black_share.most=0.5")
    assert "1 of 2 clips" in text and "black_share.most" in text and "EMPTY_FILE" in text
    assert "clips.parquet" in err


@pytest.mark.slow
def test_explain_names_every_rule_with_value_and_limit(made, films, capsys):
    code, text, _ = run(capsys, made[0], "--explain", "black.mp4#t=0.000,2.500")
    assert code == 0 and "not in the set" in text
    (line,) = (line for line in text.splitlines() if "black_share.most" in line)
    assert line.split() == ["black_share.most", "1.000", "0.500", "0.5", "out"]
    code, text, _ = run(capsys, made[0], "--explain", "one.mp4#t=0.000,2.500", "--json")
    assert json.loads(text)["kept"] is True and json.loads(text)["limits"][0]["value"] == 0.5
    code, text, _ = run(capsys, made[0], "--explain", "empty.mp4")
    assert code == 0 and "EMPTY_FILE" in text
    code, _, err = run(capsys, made[0], "--explain", "one.mp4")
    assert code == 4 and "did you mean one.mp4#t=0.000,2.500" in err


@pytest.mark.slow
def test_a_dry_run_says_what_it_would_do_and_writes_nothing(films, made, tmp_path, capsys):
    code, text, _ = run(capsys, films, "-o", tmp_path / "set", "--recipe", "t2v", "--dry-run")
    assert code == 0 and "3 films" in text and "duration_s ≥ 2" in text and "sharpness ≥ q0.05" in text
    assert not (tmp_path / "set").exists()
    _, text, _ = run(capsys, films, "-o", made[0], "--dry-run", "--json")
    assert json.loads(text)["films"] == 3 and json.loads(text)["known"] == 3


@pytest.mark.slow
def test_copies_of_a_held_out_set_are_left_out_and_explained(tmp_path, capsys):
    write(tmp_path / "films" / "one.mp4", shot(1))
    write(tmp_path / "films" / "two.mp4", shot(2))
    write(tmp_path / "exam" / "asked.mp4", shot(2), crf=30)
    out, settings = tmp_path / "set", ["--set", "steps=[probe, shape]", "--set", "settings.near_copies.model=''"]
    code, text, _ = run(capsys, tmp_path / "films", "-o", out, "--against", tmp_path / "exam", *settings, "--json")
    found = json.loads(text)
    assert (code, found["films"], found["kept"]) == (0, 2, 1)
    assert {each["rule"]: each["clips"] for each in found["funnel"]} == {"leak.most": 1}
    code, text, _ = run(capsys, out, "--explain", "two.mp4#t=0.000,2.500")
    assert "not in the set" in text and "held-out:exam/asked.mp4#t=0.000,2.500" in text
    code, _, err = run(capsys, tmp_path / "films", "-o", out, "--against", tmp_path / "nowhere")
    assert code == 4 and "nowhere" in err


def test_an_output_folder_that_cannot_be_made_is_an_environment_error(tmp_path, capsys):
    (tmp_path / "films").mkdir()
    write(tmp_path / "films" / "a.mp4", shot(1, 12))
    (tmp_path / "file").write_text("")
    assert main(["curate", str(tmp_path / "films"), "-o", str(tmp_path / "file" / "set")]) == 5
    assert "OUTPUT_FOLDER" in capsys.readouterr().err
