"""scripts/results.py: figures of other weights are reported, and every stored figure says where it is from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def results(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    import results

    return results


@pytest.mark.slow
def test_figures_of_other_weights_are_reported(results, monkeypatch, capsys):
    assert results.outdated_measures() == []
    of_generator = [name for name, (models, _) in results.MEASURES.items() if results.GENERATOR in models]
    key = results.weights_key
    monkeypatch.setattr(results, "weights_key", lambda models: "new" if results.GENERATOR in models else key(models))
    assert results.outdated_measures() == of_generator and "vae" in of_generator and "dual" not in of_generator
    assert results.write(check=True) == 1
    assert ", ".join(of_generator) in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "outdated"),
    [
        ("judge.json", {"judge", "roundtrip", "gate-clips", "compositional", "judged"}),
        ("dual/video_text.json", {"dual"}),
        ("README.md", set()),
    ],
)
def test_every_file_that_a_measurement_goes_by_counts(results, monkeypatch, changed, outdated):
    path = results.ROOT / results.CAPTIONER / changed
    content = results.content_key
    monkeypatch.setattr(results, "content_key", lambda each: "new" if each == path else content(each))
    assert set(results.outdated_measures()) == outdated


def test_a_changed_config_outdates_whatever_goes_through_the_captioner(results, monkeypatch):
    of_captioner = {name for name, (models, _) in results.MEASURES.items() if results.CAPTIONER in models}
    path = results.ROOT / results.CAPTIONER / "processor_config.json"
    content = results.content_key
    monkeypatch.setattr(results, "content_key", lambda each: "new" if each == path else content(each))
    assert set(results.outdated_measures()) == of_captioner and len(of_captioner) > 6


def test_a_figure_that_was_never_measured_is_reported(results, monkeypatch):
    monkeypatch.setitem(results.MEASURES, "planted", ((), "scripts/nothing.py"))
    assert results.outdated_measures() == ["planted"]


def test_every_stored_figure_says_where_it_is_from(results):
    stored = {path.stem for path in results.FIGURES.glob("*.json")}
    assert stored == results.MEASURES.keys() | results.STORED.keys()
    assert not results.MEASURES.keys() & results.STORED.keys()
