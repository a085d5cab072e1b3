"""pytest's plug-in, by pytest's own `pytester`: clips of the cartoon world, the starter as the judge."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from cineloop.manifest import write_manifest
from cineloop.world import vocabulary as words
from v2t_eval.cli import main as v2t_eval
from v2t_eval.gate.verdict import MetricVerdict, Verdict
from v2t_eval.judge.answer import Answer
from v2t_eval.testing import clips as evaluator
from v2t_eval.testing import plugin as pytest_plugin
from v2t_eval.testing.clips import Bound, reasons_of
from v2t_eval.testing.clips import ClipVerdict as ClipVerdict

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parents[3]
INSTALLED = any(entry.name == "cineloop" for entry in entry_points(group="pytest11"))
PLUGIN = [] if INSTALLED else ["-p", "v2t_eval.testing.plugin"]  # an environment older than the entry point
HEAVY = {"torch", "transformers", "numpy", "cv2", "PIL", "scipy", "yaml", "av"}
PROMPT = "A red ball rolls to the left on the beach."
AGREED = {"accuracy": 1.0, "dsg": 1.0, "answered": 1.0, "questions": [], "outside": False} | {
    "asked": 1.0,
    "nothing_asked": [],
    "dropped": [],
}
COLORS = json.dumps(list(words.COLORS))


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """ball.mp4 (red, on the beach), frozen.mp4, broken.mp4, empty.mp4, and a manifest of the first two; everything
    heavy is imported and the judge loaded here, for pytester forgets what is imported in its runs."""
    from cineloop.video.encode import encode
    from t2v.generators import ClipRequest
    from t2v.generators.world import Generator
    from t2v.settings import GenerateSettings

    folder = tmp_path_factory.mktemp("clips")
    (frames,) = Generator().generate([ClipRequest(prompt=PROMPT, seed=0)], GenerateSettings())
    encode(frames.pixels, folder / "ball.mp4", fps=frames.fps)
    encode(np.repeat(frames.pixels[:1], 17, axis=0), folder / "frozen.mp4", fps=frames.fps)
    (folder / "broken.mp4").write_bytes(b"these are the wrong bytes " * 50)
    (folder / "empty.mp4").write_bytes(b"")
    rows = [{"id": name, "path": f"{name}.mp4", "prompt": "On the beach."} for name in ("ball", "frozen")]
    write_manifest(rows, folder / "manifest.jsonl")
    warm = evaluator.ClipEvaluator()
    found = warm.verdict(folder / "ball.mp4", prompt="On the beach.", at_least={"sharpness": 0.0})
    warm.strip(folder / "ball.mp4")
    warm.close()
    assert found, found
    return folder


@pytest.fixture
def project(pytester, clips):
    """`project(source, *arguments)`: a stock user's project with these clips and one test file; runs its tests."""
    shutil.copytree(clips, pytester.path / "clips")

    def run(source: str, *arguments: str):
        pytester.makepyfile(test_clips=source)
        return pytester.runpytest_inprocess(*PLUGIN, *arguments)

    return run


@pytest.mark.slow
def test_a_clip_passes_fails_in_words_or_cannot_be_looked_at(project, pytester):
    source = f"""
        from v2t_eval.testing.plugin import assert_clip as asserted
        COLOR = dict(question="What color is the ball?", choices={COLORS})

        def test_right(assert_clip):
            verdict = assert_clip("clips/ball.mp4", prompt="On the beach.", at_least={{"sharpness": 0.01}})
            assert verdict and verdict.answers[0]["right"] and verdict.bounds[0].value > 0.01

        def test_right_color():
            asserted("clips/ball.mp4", questions=[{{**COLOR, "answer": "red"}}])

        def test_wrong_color():
            asserted("clips/ball.mp4", questions=[{{**COLOR, "answer": "green"}}])

        def test_wrong_place(assert_clip):
            assert_clip("clips/ball.mp4", prompt="In the snow.")

        def test_still(assert_clip):
            assert_clip("clips/frozen.mp4", prompt="On the beach.")

        def test_still_accepted(assert_clip):
            assert_clip("clips/frozen.mp4", prompt="On the beach.", frozen_ok=True)

        def test_bounds(assert_clip):
            assert_clip("clips/ball.mp4", at_least={{"sharpness": 1e6}}, at_most={{"temporal_flickering": 0.01}})

        def test_share_of_questions(assert_clip):
            assert_clip("clips/ball.mp4", prompt="In the snow.", at_least={{"question_score": 0.0}})

        def test_absent(assert_clip):
            assert_clip("clips/none.mp4", prompt="On the beach.")

        def test_broken(assert_clip):
            assert_clip("clips/broken.mp4")

        def test_empty(assert_clip):
            assert_clip("clips/empty.mp4")

        def test_of_sets(assert_clip):
            assert_clip("clips/ball.mp4", at_least={{"frechet": 1.0}})
    """
    result = project(source, "--cineloop-report", "report")
    result.assert_outcomes(passed=4, failed=4, errors=4)
    out = result.stdout.str()
    assert re.search(r"What color is the ball\? asked for: green; seen: red \(chance \.\d", out)
    assert re.search(r"Where does this happen\? asked for: in the snow; seen: on the beach", out)
    assert "17 frames are one picture" in out
    assert re.search(r"sharpness is [\d.]+, must be at least 1e\+06", out)
    assert re.search(r"temporal_flickering is [\d.]+, must be at most 0.01", out)
    for name, code in (("none", "NOT_FOUND"), ("broken", "NOT_MEDIA"), ("empty", "EMPTY_FILE"), ("ball", "USAGE")):
        assert re.search(rf"ClipError: clips/{name}.mp4: {code}: \w", out), name
    assert "ERROR test_clips.py::test_absent" in out and "FAILED test_clips.py::test_wrong_place" in out
    assert "evaluator.py" not in out, "the traceback ends in the user's test"
    pictures = sorted(path.name for path in (pytester.path / "report").iterdir())
    assert len(pictures) == 4 and all(f"test_clips.py_{name}" in "".join(pictures) for name in ("test_wrong_place",))
    assert (pytester.path / "report" / pictures[0]).read_bytes()[8:12] == b"WEBP"


@pytest.mark.slow
def test_what_lies_outside_of_the_judges_world_fails_or_is_skipped(project, monkeypatch):
    source = """
        def test_words(assert_clip):
            assert_clip("clips/ball.mp4", prompt="A woman rides a skateboard through Lisbon.")

        def test_pixels(assert_clip):
            assert_clip("clips/ball.mp4", prompt="In the snow.")

        def test_frozen_comes_first(assert_clip):
            assert_clip("clips/frozen.mp4", prompt="A woman rides a skateboard through Lisbon.")
    """
    monkeypatch.setattr("v2t_eval.judge.judge.Judge.is_outside", lambda judge, sample: True)
    result = project(source)
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["*cannot be judged*", "*does not know *'skateboard'*"])
    result.stdout.fnmatch_lines(["*was not trained on clips like this one*"])
    project(source, "--cineloop-outside", "skip").assert_outcomes(failed=1, skipped=2)


@pytest.mark.slow
def test_a_second_run_decodes_nothing_and_asks_nobody(project, monkeypatch):
    source = """
        def test_place(assert_clip):
            assert_clip("clips/ball.mp4", prompt="On the beach.", at_least={"sharpness": 0.01})
    """
    project(source).assert_outcomes(passed=1)

    def refuse(*args, **kwargs):
        raise RuntimeError("looked again")

    monkeypatch.setattr("v2t_eval.core.worker.DecoderPool", refuse)
    monkeypatch.setattr("v2t_eval.judge.judge.Judge.answer", refuse)
    project(source).assert_outcomes(passed=1)
    project(source.replace("On the beach", "In the snow")).assert_outcomes(failed=1)  # another prompt is asked anew
    project(source, "-p", "no:cacheprovider").assert_outcomes(failed=1)


@pytest.mark.slow
def test_marks_show_a_clip_or_every_clip_of_a_manifest(project):
    source = """
        import pytest

        @pytest.mark.clip("clips/ball.mp4", prompt="On the beach.")
        def test_frames(clip):
            assert clip.verdict and clip.frames.pixels.shape[0] == 17 and clip.path.name == "ball.mp4"
            clip.check()

        @pytest.mark.clip("clips/", at_least={"sharpness": 0.01})
        def test_each(clip):
            assert clip.prompt == "On the beach."
            clip.check()

        @pytest.mark.clip("clips/broken.mp4")
        def test_never_run(clip):
            raise AssertionError

        def test_without_a_mark(clip):
            raise AssertionError
    """
    result = project(source, "--strict-markers", "-v")
    result.assert_outcomes(passed=2, failed=1, errors=2)
    result.stdout.fnmatch_lines(["*test_each[[]ball] PASSED*", "*test_each[[]frozen] FAILED*"])
    result.stdout.fnmatch_lines(["*needs @pytest.mark.clip(path, prompt=...)*"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outcome", "keyword", "expected"),
    [
        ("pass", "", {"passed": 1}),
        ("fail", "", {"failed": 1}),
        ("inconclusive", "", {"failed": 1}),
        ("inconclusive", ", inconclusive='xfail'", {"xfailed": 1}),
        ("inconclusive", ", inconclusive='skip'", {"skipped": 1}),
        ("inconclusive", ", inconclusive='pass'", {"passed": 1}),
        ("fail", ", inconclusive='pass'", {"failed": 1}),
        ("not_comparable", "", {"errors": 1}),
        ("pass", ", inconclusive='often'", {"errors": 1}),
    ],
)
def test_a_gate_ends_the_test_by_its_outcome(project, monkeypatch, outcome, keyword, expected):
    metric = MetricVerdict(metric="clipsim", role="primary", outcome=outcome, reasons=("it fell by much",))
    verdict = Verdict(outcome=outcome, reason="so it is", metrics=(metric,), differences=("weights: a, b",))
    monkeypatch.setattr("v2t_eval.testing.sets.gate_verdict", lambda *args, **kwargs: verdict)
    source = f"""
        def test_set(gate):
            assert gate("clips", suite="gate.yaml", baseline="baseline.json"{keyword}).outcome
    """
    result = project(source, "-rsx")
    result.assert_outcomes(**expected)
    if outcome in ("fail", "not_comparable"):
        result.stdout.fnmatch_lines(["*weights: a, b*", "*clipsim: it fell by much*"])


@pytest.mark.slow
def test_a_real_gate_of_absolute_bounds(project, pytester):
    gate = "name: small\nmetrics: [sharpness, temporal_flickering]\ngate: {primary: [{metric: sharpness, at_least: %s}]"
    (pytester.path / "low.yaml").write_text(gate % "0.001" + ", max_frozen: 1.0, max_lost: 1.0}\n")
    (pytester.path / "high.yaml").write_text(gate % "1e6" + ", max_frozen: 1.0, max_lost: 1.0}\n")
    (pytester.path / "none.yaml").write_text("name: none\nmetrics: [sharpness]\n")
    source = """
        import pytest

        @pytest.mark.parametrize("suite", ["low", "high", "none"])
        def test_set(gate, suite):
            assert gate("clips", suite=suite + ".yaml").exit_code == 0
    """
    result = project(source)
    result.assert_outcomes(passed=1, failed=1, errors=1)
    out = result.stdout.str()
    assert re.search(r"AssertionError: FAIL: sharpness.* 1e\+06", out, re.S) and "the suite none has no gate" in out


def _subprocess(pytester, *arguments: str):
    """A run with the entry point as pyproject declares it, whatever is installed here."""
    if not INSTALLED:
        named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
        folder = pytester.mkdir("cineloop_plugin-0.dist-info")
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: cineloop-plugin\nVersion: 0\n")
        (folder / "entry_points.txt").write_text("[pytest11]\n" + "".join(f"{k} = {v}\n" for k, v in named.items()))
        (folder / "RECORD").write_text("")
    pytester._monkeypatch.setenv("PYTHONPATH", f"{pytester.path}:{ROOT}")
    return pytester.run(sys.executable, "-m", "pytest", "--strict-markers", *arguments)


@pytest.mark.slow
def test_it_is_declared_light_and_can_be_turned_off(pytester):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert declared == {"cineloop": "v2t_eval.testing.plugin"}
    pytester.makepyfile(
        test_plain=f"""
        import sys

        def test_nothing_heavy_came_in():
            assert "v2t_eval.testing.plugin" in sys.modules
            assert not {HEAVY!r} & set(sys.modules)
    """
    )
    first = _subprocess(pytester, "--markers")
    first.stdout.fnmatch_lines(["@pytest.mark.clip(path, **keywords)*"])
    pytester.run(sys.executable, "-m", "pytest", "-W", "error").assert_outcomes(passed=1)
    pytester.run(sys.executable, "-m", "pytest", "-p", "no:cineloop").assert_outcomes(failed=1)


@pytest.mark.slow
def test_the_function_works_without_pytest(clips, monkeypatch):
    monkeypatch.setattr(pytest_plugin, "_SESSIONS", [])
    assert pytest_plugin.assert_clip(clips / "ball.mp4", prompt="On the beach.")
    with pytest.raises(AssertionError, match="seen: on the beach"):
        pytest_plugin.assert_clip(clips / "ball.mp4", prompt="In the snow.")
    for more in ({}, {"frozen_ok": True}):
        with pytest.raises(pytest_plugin.ClipError, match="NOT_FOUND"):
            pytest_plugin.assert_clip("none.mp4", **more)
    pytest_plugin._SESSIONS[0].close()


@pytest.mark.slow
def test_what_the_documentation_shows_runs(pytester, clips, monkeypatch):
    """With a judge who agrees: what is shown is the plug-in, not the judge."""
    page = (ROOT / "docs/pytest.md").read_text("utf-8")
    blocks = re.findall(r"```python\n# (test_\w+\.py)\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == page.count("```python") == 4

    def agree(self, subject, questions):
        return [Answer(question=each, text=each.answer, chance=0.9, chances={each.answer: 0.9}) for each in questions]

    monkeypatch.setattr("v2t_eval.judge.judge.Judge.answer", agree)
    monkeypatch.setattr("v2t_eval.metrics.question_score.Metric.measure", lambda self, sample: AGREED)
    for name, text in blocks:
        (pytester.path / name).write_text(text, encoding="utf-8")
    shutil.copytree(clips, pytester.path / "clips")
    shutil.copy(pytester.path / "clips/frozen.mp4", pytester.path / "clips/still.mp4")
    shutil.copytree(pytester.path / "clips", pytester.path / "made")
    write_manifest([{"id": "a", "path": "ball.mp4", "prompt": PROMPT}], pytester.path / "made/manifest.jsonl")
    suite = "metrics: [sharpness]\ngate: {primary: [{metric: sharpness, margin: 0.1}]}\n"
    (pytester.path / "gate.yaml").write_text(suite)
    init = ["gate", "init", "made/", "--suite", "gate.yaml", "-o", "baseline.json", "-q"]
    assert v2t_eval(init) == 0
    result = pytester.runpytest_inprocess(*PLUGIN, "-rx")
    assert not {"failed", "errors"} & set(result.parseoutcomes()), result.stdout.str()
    assert result.parseoutcomes()["passed"] >= 8


def _row(id: str, right: bool | None, *parents: str, **more) -> dict:
    return {"id": id, "question": f"Q{id}?", "wanted": "red", "answer": "blue", "chance": 0.97, "right": right,
            "parents": list(parents), "status": "answered", "message": "", **more}  # fmt: skip


def test_reasons_tell_what_is_wrong_by_itself_and_what_hangs_on_it():
    assert reasons_of([_row("1", True), _row("2", True, "1")], "j") == []
    rows = [
        _row("1", False),
        _row("2", False, "1"),
        _row("3", None, status="refused", message="sorry"),
        _row("4", True),
    ]
    assert reasons_of(rows, "j") == [
        "3 of 4 questions are not answered as asked for (judge j):",
        "  Q1? asked for: red; seen: blue (chance .97)",
        "  Q3? asked for: red; no answer (refused: sorry)",
        "  and their dependent questions: Q2?",
    ]
    assert "(chance .99+)" in reasons_of([_row("1", False, chance=0.9999)], "j")[1]
    assert "not sure of it (chance .40)" in reasons_of([_row("1", False, answer="red", chance=0.4)], "j")[1]


def test_bounds_and_outcomes():
    assert Bound(metric="m", value=0.5, at_least=0.5, at_most=0.5).holds
    assert not Bound(metric="m", value=0.49, at_least=0.5).holds
    assert not Bound(metric="m", value=0.51, at_most=0.5).holds
    assert not Bound(metric="m", value=None, at_least=0.0, why="it is frozen").holds
    assert not ClipVerdict(path="c", outside="unlike") and ClipVerdict(path="c", outside="unlike").outcome == "outside"
    assert ClipVerdict(path="c", outside="unlike", reasons=("frozen",)).outcome == "fail"
    assert ClipVerdict(path="c").outcome == "pass"
