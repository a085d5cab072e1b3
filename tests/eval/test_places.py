"""Settings that name files: equal content at two places is one metric, and no path leaves the machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from cineloop.errors import MissingDependencyError, UsageError
from v2t_eval.cli import main
from v2t_eval.metric import load_metric
from v2t_eval.places import identified, shown, without_places
from v2t_eval.suite import parse_metrics, read_suite


@dataclass(frozen=True, kw_only=True)
class _Settings:
    corpus: str


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """One file at two places."""
    places = tmp_path / "a/w.pt", tmp_path / "b b/w.pt"
    for place in places:
        place.parent.mkdir()
        place.write_bytes(b"weights")
    return places


@pytest.mark.parametrize("form", ["{}", "i3d:{}", "open_clip:ViT-B-32/{}", "raft:{}", "v2t:{}"])
def test_a_file_is_told_by_its_content_and_shown_by_its_name(two, form) -> None:
    one, other = (form.format(place) for place in two)
    assert identified(one) == identified(other) != one and str(two[0].parent) not in identified(one)
    assert shown(one) == shown(other) == form.format("w.pt")
    two[1].write_bytes(b"other weights")
    assert identified(one) != identified(other)


def test_a_stated_hash_is_checked(two) -> None:
    with pytest.raises(MissingDependencyError, match="expected 0123"):
        identified(f"i3d:{two[0]}#01234567")


def test_a_folder_is_told_by_its_models_files(tmp_path) -> None:
    folders = tmp_path / "here/final", tmp_path / "there/step-9"
    for folder in folders:
        (folder / "deep").mkdir(parents=True)
        (folder / "deep/model.safetensors").write_bytes(b"w")
        (folder / "config.json").write_text("{}")
        (folder / f"{folder.name}.log").write_text(folder.name)
    first, second = (f"v2t:{folder}" for folder in folders)
    assert identified(first) == identified(second)
    (folders[1] / "config.json").write_text('{"a": 1}')
    assert identified(first) != identified(second)


@pytest.mark.parametrize(
    "setting",
    ["", "dis", "prompt", "v2t", "v2t:org/model", "open_clip:ViT-B-32/openai", "clip:openai/clip-vit", 8.0, None, True,
     "x" * 5000, "a\x00b", "A photo depicts "],
)  # fmt: skip
def test_what_names_no_file_stays(setting, tmp_path, monkeypatch) -> None:
    (tmp_path / "prompt").mkdir()  # a folder that happens to be called as a choice is
    monkeypatch.chdir(tmp_path)
    assert identified(setting) == setting and shown(setting) == setting


def test_the_texts_of_a_fingerprint_lose_the_place(tmp_path) -> None:
    folder = tmp_path / "final"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"w")
    texts = {"model": f"clip:{folder} (CLIPModel)", "judge": "final@abc123", "frames": "16"}
    found = without_places(texts, {"model": f"clip:{folder}", "frames": 16})
    content = identified(str(folder))
    assert found == {"model": f"clip:{content} (CLIPModel)", "judge": f"{content}@abc123", "frames": "16"}


def test_a_metrics_title_holds_no_path(two) -> None:
    for form in (
        "frechet[feature=i3d:{}]",
        "motion_smoothness[interpolator=torchscript:{}]",
        "aesthetic_quality[head={}]",
    ):
        assert {parse_metrics(form.format(place))[0].title for place in two} == {form.format("w.pt")}


def test_a_metrics_fingerprint_holds_the_content(tmp_path) -> None:
    prints = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "words.json").write_text(json.dumps({}))
        metric = load_metric("bleu")()
        metric.settings = _Settings(corpus=str(tmp_path / name / "words.json"))
        prints.append((metric.fingerprint(), metric.evidence_fingerprint()))
    assert prints[0] == prints[1] and str(tmp_path) not in str(prints)
    (tmp_path / "there/words.json").write_text("[]")
    assert metric.fingerprint() != prints[1][0] and metric.evidence_fingerprint() != prints[1][1]


@pytest.mark.parametrize("verb", ["score", "audit"])
def test_two_files_of_one_name_in_a_suite_and_beside_it_are_refused(verb, two, tmp_path, capsys) -> None:
    (tmp_path / "s.yaml").write_text(f"metrics: ['sharpness', {{metric: frechet, feature: 'i3d:{two[0]}'}}]\n")
    given = ["--suite", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "o")]
    more = ["--metrics", f"sharpness,frechet[feature=i3d:{two[1]}]"]
    assert main([verb, str(tmp_path), *given, *more, "--dry-run"]) == 2
    assert "2 metrics would be called frechet[feature=i3d:w.pt]" in capsys.readouterr().err


def test_two_files_of_one_name_in_one_suite_are_refused(two, tmp_path) -> None:
    with pytest.raises(UsageError, match="would be called"):
        parse_metrics(f"frechet[feature=i3d:{two[0]}],frechet[feature=i3d:{two[1]}]")
    (tmp_path / "s.yaml").write_text(
        f"metrics: [{{metric: frechet, feature: 'i3d:{two[0]}'}}]\n"
        f"gate: {{primary: [{{metric: 'frechet[feature=i3d:{two[1]}]', margin: 1}}, ]}}"
    )
    policy = read_suite(tmp_path / "s.yaml").policy
    assert policy is not None and policy.primary[0].metric == "frechet[feature=i3d:w.pt]"
