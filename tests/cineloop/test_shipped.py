"""Shipped files by name: recipes and suites, names against files of one's own, recipes of the other package."""

from __future__ import annotations

from pathlib import Path

import pytest

import t2v
import t2v.train
import v2t
import v2t.train
from cineloop import shipped
from cineloop.errors import UsageError
from cineloop.training.recipe import recipes, stages
from v2t_eval.suites.suite import suites

ROOT = Path(__file__).resolve().parents[2]


def test_a_name_comes_before_a_file_that_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gate").write_text("metrics: [sharpness]")
    (tmp_path / "mine").write_text("metrics: [sharpness]")
    assert shipped.find("gate", suites(), "suite") == suites()["gate"]
    assert shipped.find(tmp_path / "gate", suites(), "suite") == tmp_path / "gate"
    assert shipped.find(Path("mine"), suites(), "suite") == Path("mine")
    assert shipped.find("gone.yaml", suites(), "suite") == Path("gone.yaml"), "its reader says that it is not there"
    with pytest.raises(UsageError, match=r"no suite is called 'gat'.*did you mean gate\?"):
        shipped.find("gat", suites(), "suite")


def test_every_recipe_of_the_checkout_has_a_name_in_one_package():
    of_v2t, of_t2v = recipes("v2t.train"), recipes("t2v.train")
    assert not set(of_v2t) & set(of_t2v) and {"starter/tower", "full/instruct"} <= set(of_v2t)
    written = {
        path.relative_to(ROOT / "configs").with_suffix("").as_posix()
        for path in (ROOT / "configs").glob("*/*.yaml")
        if "\nstage:" in path.read_text("utf-8")
    }
    assert set(of_v2t) | set(of_t2v) == written
    for name, path in {**of_v2t, **of_t2v}.items():
        assert 10 < len(shipped.summary(path)) <= 100, name


@pytest.mark.parametrize("named", ["t2v/vae", str(ROOT / "configs/t2v/vae.yaml")])
def test_a_recipe_of_the_generator_is_not_one_of_the_captioner(named):
    with pytest.raises(UsageError, match="vae is a stage of t2v, not of v2t .t2v train"):
        v2t.train.read_recipe(Path(named))
    assert t2v.train.read_recipe(Path(named))[1].stage == "vae"


def test_a_stage_that_nobody_has_is_refused_with_the_nearest(tmp_path):
    (tmp_path / "mine.yaml").write_text("stage: towr\n")
    with pytest.raises(UsageError, match="did you mean 'tower'"):
        v2t.train.read_recipe(tmp_path / "mine.yaml")
    assert "tower" in stages("v2t.train")


def test_the_starters_are_found_where_there_is_no_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, config = t2v.train.read_recipe(Path("t2v/dit"), sets=["vae=t2v/starter/vae", "init=t2v/starter"])
    assert (config.vae, config.init) == (t2v.STARTER / "vae", t2v.STARTER)
    _, config = v2t.train.read_recipe(Path("starter/judge-motions"))
    assert config.model == str(v2t.STARTER) and config.out == Path("runs/starter/judge-motions")
    (tmp_path / "t2v/starter").mkdir(parents=True)
    _, config = t2v.train.read_recipe(Path("t2v/dit"), sets=["init=t2v/starter"])
    assert config.init == Path("t2v/starter"), "one's own folder of that name comes first"
