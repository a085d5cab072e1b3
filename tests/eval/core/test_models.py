"""Models are opened once for each device, on the device of the run, and released together. Settings that name files:
equal content at two places is one metric, and no path leaves the machine."""

from __future__ import annotations

import gc
import json
import os
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import MissingDependencyError, UsageError
from cineloop.video.frames import Frames
from v2t_eval.cli import main
from v2t_eval.core import models
from v2t_eval.core.features import open_extractor, text_features
from v2t_eval.core.inputs import Inputs
from v2t_eval.core.metric import load_metric
from v2t_eval.core.models import anonymise, content_id, display_name
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.core.score import ScoreConfig, score
from v2t_eval.judge.judge import open_judge
from v2t_eval.semantics import prompt_questions, sources
from v2t_eval.suites.suite import parse_metrics, read_suite
from v2t_eval.text.captions import _by_java
from v2t_eval.text.prompt_facts import _read
from v2t_eval.vbench.flow import open_flow


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)


@pytest.mark.parametrize("verb", ["score", "gate", "compare", "roundtrip", "audit"])
@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", ""])
def test_every_verb_that_measures_refuses_another_device(verb: str, name: str, tmp_path: Path, capsys) -> None:
    given = ["a", "b"] if verb == "compare" else ["a", "-o", str(tmp_path)]
    try:
        code = main([verb, *given, "--device", name])
    except SystemExit as end:  # by argparse itself
        code = end.code
    assert code == 2
    assert "auto, cpu, cuda or cuda:N" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["score", "gate", "compare", "roundtrip"])
def test_every_verb_that_decodes_takes_a_limit_of_a_clip(verb: str, capsys) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert "--max-clip-mb" in capsys.readouterr().out


def test_a_device_holds_within_its_block(two_gpus: None) -> None:
    before = dict(os.environ)
    assert models.device() == "cuda" and models.shared_gpus() == ["cuda:0", "cuda:1"]
    with models.on_device("cpu"):
        assert models.device() == "cpu" and models.shared_gpus() == [] and models.chosen_device() == "cpu"
        with models.on_device("auto"):
            assert models.device() == "cpu"
    with models.on_device("cuda:1"):
        assert models.device() == "cuda:1" and models.shared_gpus() == ["cuda:1"]
    assert models.device() == "cuda" and dict(os.environ) == before
    with pytest.raises(MissingDependencyError, match="torch sees 2"), models.on_device("cuda:2"):
        pass
    with pytest.raises(UsageError, match="auto, cpu"):
        ScoreConfig(device="gpu")


def test_a_device_that_is_not_there_ends_before_anything_is_measured(no_gpu: None) -> None:
    sample = Sample(id="a", clip=SampleClip.from_frames(Frames.from_pixels(np.zeros((3, 32, 32, 3), np.uint8), 8)))
    with pytest.raises(MissingDependencyError, match="torch sees 0 CUDA devices"):
        score(Inputs(samples=[sample]), [load_metric("sharpness")()], ScoreConfig(device="cuda"))
    scores = score(Inputs(samples=[sample]), [load_metric("sharpness")()], ScoreConfig(device="cpu"))
    assert scores.environment["device"] == "cpu"


@pytest.mark.slow
def test_models_are_opened_once_and_released() -> None:
    extractor = weakref.ref(open_extractor("starter", "cpu"))
    text_features(open_extractor("starter", "cpu"), "a red ball")
    judge, flow = weakref.ref(open_judge("v2t")), open_flow("dis")
    _by_java["a"] = "b"
    assert open_extractor("starter", "cpu") is extractor() and open_judge("v2t") is judge() and open_flow("dis") is flow
    models.release()
    gc.collect()
    assert extractor() is None and judge() is None and open_flow("dis") is not flow and not _by_java


@pytest.mark.slow
def test_questions_and_their_language_models_are_released(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sources, "open_writer", lambda name: object())
    model = weakref.ref(sources.open_source("some/model"))
    assert sources.open_source("some/model") is model()
    caches = (prompt_questions.questions, prompt_questions._question_set, prompt_questions.from_caption)
    prompt_questions.from_caption("A red ball rolls.", "A red ball.")
    assert all(0 < each.cache_info().currsize <= each.cache_info().maxsize <= 1 << 13 for each in caches)
    assert _read.cache_info().maxsize <= 1 << 13
    models.release()
    gc.collect()
    assert model() is None and not any(each.cache_info().currsize for each in caches)


@pytest.mark.slow
def test_judges_of_two_devices_are_two() -> None:
    assert open_judge("v2t", device="cpu") is not open_judge("v2t", device="cuda:1")
    assert open_judge("v2t", device="cpu").captioner.device == "cpu"
    with models.on_device("cpu"):
        metric = load_metric("vqascore")()
        assert metric.ready().captioner.device == "cpu"


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
    assert content_id(one) == content_id(other) != one and str(two[0].parent) not in content_id(one)
    assert display_name(one) == display_name(other) == form.format("w.pt")
    two[1].write_bytes(b"other weights")
    assert content_id(one) != content_id(other)


def test_a_stated_hash_is_checked(two) -> None:
    with pytest.raises(MissingDependencyError, match="expected 0123"):
        content_id(f"i3d:{two[0]}#01234567")


def test_a_folder_is_told_by_its_models_files(tmp_path) -> None:
    folders = tmp_path / "here/final", tmp_path / "there/step-9"
    for folder in folders:
        (folder / "deep").mkdir(parents=True)
        (folder / "deep/model.safetensors").write_bytes(b"w")
        (folder / "config.json").write_text("{}")
        (folder / f"{folder.name}.log").write_text(folder.name)
    first, second = (f"v2t:{folder}" for folder in folders)
    assert content_id(first) == content_id(second)
    (folders[1] / "config.json").write_text('{"a": 1}')
    assert content_id(first) != content_id(second)


@pytest.mark.parametrize(
    "setting",
    ["", "dis", "prompt", "v2t", "v2t:org/model", "open_clip:ViT-B-32/openai", "clip:openai/clip-vit", 8.0, None, True,
     "x" * 5000, "a\x00b", "A photo depicts "],
)  # fmt: skip
def test_what_names_no_file_stays(setting, tmp_path, monkeypatch) -> None:
    (tmp_path / "prompt").mkdir()  # a folder that happens to be called as a choice is
    monkeypatch.chdir(tmp_path)
    assert content_id(setting) == setting and display_name(setting) == setting


def test_the_texts_of_a_fingerprint_lose_the_place(tmp_path) -> None:
    folder = tmp_path / "final"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"w")
    texts = {"model": f"clip:{folder} (CLIPModel)", "judge": "final@abc123", "frames": "16"}
    found = anonymise(texts, {"model": f"clip:{folder}", "frames": 16})
    content = content_id(str(folder))
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
