"""Lists of metrics and suite files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cineloop.errors import UsageError
from v2t_eval.core.metric import load_metric
from v2t_eval.suites.suite import parse_metrics, read_suite, suites

ROOT = Path(__file__).resolve().parents[3]


def test_a_list_with_settings() -> None:
    text = "squad, frechet[feature=open_clip:ViT-B-32/openai,divisor=n],temporal_flickering[mode=compat,fps=4]"
    squad, frechet, flickering = parse_metrics(text)
    assert squad.title == "squad"
    assert (frechet.settings.feature, frechet.settings.divisor) == ("open_clip:ViT-B-32/openai", "n")
    assert flickering.title == "temporal_flickering[mode=compat,fps=4.0]"


def test_the_same_metric_runs_once_and_others_of_its_name_too() -> None:
    titles = [m.title for m in parse_metrics("motion,motion,motion[flow=dis],sharpness,temporal_flickering[fps=4],"
                                             "temporal_flickering")]  # fmt: skip
    assert titles == ["motion", "sharpness", "temporal_flickering[fps=4.0]", "temporal_flickering"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no metric is named"),
        (" , ", "no metric is named"),
        ("sharpnes", "did you mean 'sharpness'"),
        ("temporal_flickering[mode=fast]", "mode must be one of fixed, compat"),
        ("temporal_flickering[mod=compat]", "did you mean 'temporal_flickering.mode'"),
        ("temporal_flickering[mode=compat", "brackets do not match"),
        ("temporal_flickering]mode", "brackets do not match"),
        ("temporal_flickering[mode=compat]x", "must end with a bracket"),
        ("temporal_flickering[compat]", "must look like key.name=value"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("[", r"\[")):
        parse_metrics(text)


def test_a_suite_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    rows = ["sharpness", "motion, squad", "metric: temporal_flickering\n  mode: compat", "'dynamic_degree[fps=4]'"]
    file.write_text("metrics:\n" + "".join(f"- {row}\n" for row in rows))
    suite = read_suite(file)
    assert suite.name == "mine"
    assert [m.title for m in suite.metrics] == [
        "sharpness", "motion", "squad", "temporal_flickering[mode=compat]", "dynamic_degree[fps=4.0]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("metrics: sharpness", "must be a list"),
        ("metrics: []", "must be a list"),
        ("metric: [sharpness]", "unknown key metric"),
        ("metrics: [{name: sharpness}]", "a metric's name"),
        ("metrics: [{metric: sharpness, size: 3}]", "size"),
        ("metrics: [3]", "a metric's name"),
        ("- sharpness", "mapping"),
    ],
)
def test_a_suite_that_cannot_be_read_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UsageError, match=says):
        read_suite(tmp_path / "s.yaml")


@pytest.mark.parametrize("name", list(suites()))
def test_the_suites_that_are_shipped_name_metrics_that_exist(name: str) -> None:
    assert read_suite(Path(name)).metrics


def test_the_vbench_suite_has_all_dimensions() -> None:
    from v2t_eval.vbench.total import QUALITY, SEMANTIC

    metrics = read_suite(Path("vbench")).metrics
    assert {metric.name for metric in metrics} == {*QUALITY, *SEMANTIC}
    assert load_metric("squad")().title == "squad"
