"""`curate --for`: limits and written clips by the rules that `check-set` reads."""

from __future__ import annotations

import json

import pytest

from planted_films import shot, write
from trainer_readers import READERS
from trainer_sets import SMALL
from v2t_eval.cli import main
from v2t_eval.trainers.fitted import curation_sets
from v2t_eval.trainers.rules import load_rules


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    write(folder / "long.mp4", shot(1, 96, (288, 480), pan=1))
    write(folder / "short.mp4", shot(2, 20, (288, 480), pan=1))
    write(folder / "small.mp4", shot(3, 60, (96, 160), pan=1))
    for number, name in enumerate(("long", "short", "small")):
        (folder / f"{name}.txt").write_text(f"A square of colour {number} crosses the picture.")
    return folder


def run(capsys, films, out, trainer, *args):
    sets = [word for each in SMALL[trainer] for word in ("--trainer-set", each)]
    steps = ["--set", "steps=[probe, split, shape]"]
    code = main(["curate", str(films), "-o", str(out), "--for", trainer, *sets, *steps, "--workers", "1", *args])
    return code, *capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["musubi", "ltx2"])
def test_kept_clips_fit_and_are_written_in_the_trainers_form(films, tmp_path, capsys, trainer):
    code, text, err = run(capsys, films, tmp_path / "set", trainer, "--write", f"{trainer},manifest", "--json")
    tree = json.loads(text)
    rules = {each["rule"]: each["clips"] for each in tree["funnel"]}
    assert code == 0, err
    assert rules["short_side.least"] == sum(rules.values()) - rules["duration_s.least"] > 0
    trained = READERS[trainer](tmp_path / "set" / trainer)
    assert len(trained) == tree["kept"] >= 2 and {bucket for *_, bucket in trained} == {(320, 192, 17)}
    # Twenty frames are enough at the film's own rate, and too few at sixteen a second.
    kept = {"musubi": {0}, "ltx2": {0, 1}}[trainer]
    assert {text for _, text, _ in trained} == {f"A square of colour {n} crosses the picture." for n in kept}
    rows = [json.loads(line) for line in (tmp_path / "set/manifest.jsonl").read_text().splitlines()]
    assert {(row["num_frames"], row["width"], row["height"]) for row in rows} == {(17, 320, 192)}


@pytest.mark.slow
def test_limits_are_those_of_the_rules_and_settings_go_over_them(films, tmp_path, capsys):
    sets = dict(each.split("=") for each in curation_sets(load_rules("musubi")))
    assert float(sets["limits.duration_s.least"]) == pytest.approx(33 / 16, abs=0.01)
    assert float(sets["settings.split.longest_s"]) == pytest.approx(2 * 33 / 16, abs=0.01)
    code, text, _ = run(capsys, films, tmp_path / "set", "musubi", "--dry-run", "--set", "limits.duration_s.least=0.5")
    assert code == 0 and "duration_s ≥ 0.5" in text and not (tmp_path / "set").exists()
