"""pytest plug-in: tests of what a clip must show, with readable failures. See docs/pytest.md.

In: pytest's hooks. Out: the function and fixture `assert_clip`, the mark and fixture `clip`, the fixture `gate`, the
function and fixture `assert_same_quality`.
Every pytest in an environment with Cineloop loads this module, whether its tests use clips or not. So it imports pytest
and the standard library only, and the rest of Cineloop when a test uses a clip: an import error is then an error of
that test, and never of pytest's start. `-p no:cineloop` turns it off. A defect of a clip fails the test; a clip that
cannot be evaluated (no such file, a broken one, no model, a wrong argument) is an error of the test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t_eval.gate.verdict import Verdict as GateVerdict
    from v2t_eval.testing.clips import ClipEvaluator, ClipVerdict

MARK = (
    "clip(path, **keywords): the clip of the fixture `clip`, judged as by assert_clip; a folder with a manifest gives "
    "one test for each row"
)


_LONGEST_NAME = 100


@dataclass
class _Session:
    """Plug-in state of a run of pytest: options, folders, and the evaluator, opened by the first test that uses a
    clip."""

    config: pytest.Config | None = None  # None outside of pytest, where nothing is cached
    test: str = ""  # the running test
    opened: ClipEvaluator | None = None
    pictures: Path | None = None

    def evaluator(self) -> ClipEvaluator:
        if self.opened is None:
            from v2t_eval.testing.clips import ClipEvaluator

            self.opened = ClipEvaluator(self.cache())
        return self.opened

    def cache(self) -> Path | None:
        """Folder for evidence; None where pytest has no cache (`-p no:cacheprovider`)."""
        kept = getattr(self.config, "cache", None)
        return None if kept is None else Path(kept.mkdir("cineloop"))

    def option(self, name: str, default: Any = None) -> Any:
        return default if self.config is None else self.config.getoption(name)

    def find(self, path: str | Path) -> Path:
        """The path as it is; a relative one that does not exist is tried in pytest's root folder."""
        given = Path(path)
        if self.config is None or given.is_absolute() or given.exists():
            return given
        rooted = self.config.rootpath / given
        return rooted if rooted.exists() else given

    def picture(self, clip: str) -> Path:
        """Path of the picture of a clip that did not pass."""
        if self.pictures is None:
            import tempfile

            given = self.option("cineloop_report")
            self.pictures = Path(given) if given else Path(tempfile.mkdtemp(prefix="clips-"))
        name = re.sub(r"[^\w.-]+", "_", f"{self.test or 'clip'}-{Path(clip).stem}").strip("_")[-_LONGEST_NAME:]
        return self.pictures / f"{name}.webp"

    def close(self) -> None:
        if self.opened is not None:
            self.opened.close()
            self.opened = None


_SESSIONS: list[_Session] = []  # of this process, the innermost last: pytest may test a plug-in within pytest


class ClipError(Exception):
    """A clip could not be evaluated. Reported as an error of the test, not as a failure."""


def assert_clip(
    path: str | Path,
    prompt: str | None = None,
    *,
    questions: Sequence[str | Mapping[str, Any]] | None = None,
    at_least: Mapping[str, float] | None = None,
    at_most: Mapping[str, float] | None = None,
    judge: str = "v2t",
    frozen_ok: bool = False,
) -> ClipVerdict:
    """Fail unless the clip shows what it must.

    Args:
        path: the video; a relative path is resolved in the current folder, else from pytest's root folder.
        prompt: what it must show: every question of the prompt must get its wanted answer.
        questions: instead of those of the prompt; texts (yes is wanted), or mappings {question, answer, choices}.
        at_least, at_most: bounds by metric of single clips (`v2t-eval list`), such as {"sharpness": 0.2}. A bound on
            question_score or vqascore replaces "every question".
        judge: v2t (the starter, for cartoons) or v2t:MODEL, any model of `v2t caption --model`.
        frozen_ok: whether the clip may be frozen.

    Returns:
        The verdict.

    Raises:
        AssertionError: it does not; the message states the reasons and the path of a picture of its frames.
        ClipError: it could not be evaluated.
    """
    __tracebackhide__ = True
    keywords = {"questions": questions, "at_least": at_least, "at_most": at_most, "judge": judge}
    verdict = _verdict(path, prompt=prompt, frozen_ok=frozen_ok, **keywords)
    _raise(verdict)
    return verdict


@dataclass(frozen=True, kw_only=True)
class MarkedClip:
    """The clip of a mark: `path`, `prompt`, `frames` (pixels uint8 T H W 3, `times_s`) and the `verdict`."""

    path: Path
    prompt: str | None
    frames: Frames
    verdict: ClipVerdict

    def check(self) -> None:
        """Fail with the verdict's message unless it passed.

        Raises:
            AssertionError: it did not.
        """
        __tracebackhide__ = True
        _raise(self.verdict)


def _session() -> _Session:
    if not _SESSIONS:
        _SESSIONS.append(_Session())
    return _SESSIONS[-1]


def _guard(work: Callable[[_Session], Any], name: str) -> Any:
    """`work(session)`, its errors and failed imports as `ClipError`."""
    __tracebackhide__ = True
    try:
        from cineloop.errors import CineloopError
    except ImportError as error:
        raise _cannot_import(error, name) from error
    try:
        return work(_session())
    except CineloopError as error:
        raise ClipError(f"{name}: {error.code}: {error}") from None
    except ImportError as error:
        raise _cannot_import(error, name) from error


def _cannot_import(error: ImportError, name: str) -> ClipError:
    return ClipError(f"{name}: cineloop cannot be imported: {error} (`v2t doctor` lists what is missing)")


def _verdict(path: str | Path, **keywords: Any) -> ClipVerdict:
    __tracebackhide__ = True

    def work(session: _Session) -> ClipVerdict:
        evaluator, clip = session.evaluator(), session.find(path)
        verdict = evaluator.verdict(clip, name=str(path), **keywords)
        strip = None if verdict.outcome == "pass" else evaluator.strip(clip)
        if strip is None:
            return verdict
        from cineloop.files import write_atomic

        picture = session.picture(str(path))
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(picture, strip)
        return replace(verdict, strip=picture)

    verdict: ClipVerdict = _guard(work, str(path))
    return verdict


def _raise(verdict: ClipVerdict) -> None:
    """End the test according to the verdict."""
    __tracebackhide__ = True
    if verdict.outcome == "outside" and _session().option("cineloop_outside", "fail") == "skip":
        pytest.skip(verdict.message)
    if not verdict:
        raise AssertionError(verdict.message)


def assert_same_quality(
    clips: str | Path,
    reference: str | Path,
    *,
    margins: str | Path,
    suite: str | Path = "engine",
    known_bad: str | Path | None = None,
    inconclusive: str = "fail",
) -> GateVerdict:
    """Fail unless an inference engine's clips lie no farther from a reference engine's than the margins allow.

    Args:
        clips: of the candidate. reference: of the reference engine, the same prompts and seeds.
        margins: the file that `v2t-eval engine calibrate` wrote, by this `suite`.
        known_bad: manifest of clips that must fail, see docs/engines.md.
        inconclusive: see the fixture `gate`.

    Raises:
        AssertionError: they do; the message is the report.
        ClipError: they cannot be compared: other sizes or lengths, no such file, a metric that cannot run.
    """
    __tracebackhide__ = True
    _check_inconclusive(inconclusive)

    def work(session: _Session) -> GateVerdict:
        from v2t_eval.testing import sets

        bad = None if known_bad is None else session.find(known_bad)
        places = [session.find(place) for place in (reference, clips, margins)]
        return sets.engine_verdict(places, sets.suite_of(suite, session.find), bad, session.cache())

    verdict: GateVerdict = _guard(work, str(clips))
    from v2t_eval.testing import sets

    _end_by(verdict, sets.report_text(verdict, "engine"), inconclusive)
    return verdict


def _check_inconclusive(asked: str) -> None:
    if asked not in ("fail", "xfail", "skip", "pass"):
        raise ClipError(f"inconclusive must be fail, xfail, skip or pass, not {asked!r}")


def _end_by(verdict: GateVerdict, message: str, inconclusive: str) -> None:
    """End the test according to the verdict on a set."""
    __tracebackhide__ = True
    if verdict.outcome == "not_comparable":
        raise ClipError(message)
    if verdict.outcome == "fail" or (verdict.outcome, inconclusive) == ("inconclusive", "fail"):
        raise AssertionError(message)
    if verdict.outcome == "inconclusive" and inconclusive != "pass":
        raise (pytest.xfail.Exception if inconclusive == "xfail" else pytest.skip.Exception)(message)


# --- fixtures


@pytest.fixture(name="assert_clip")
def _assert_clip() -> Callable[..., ClipVerdict]:
    """`assert_clip(path, prompt=...)`: fail unless the clip shows what it must; see docs/pytest.md."""
    return assert_clip


@pytest.fixture(name="assert_same_quality")
def _assert_same_quality() -> Callable[..., GateVerdict]:
    """`assert_same_quality(clips, reference, margins=FILE)`: see the function of that name and docs/engines.md."""
    return assert_same_quality


@pytest.fixture
def clip(request: pytest.FixtureRequest) -> MarkedClip:
    """The clip of `@pytest.mark.clip(path, prompt=...)`: its frames, and its verdict; `clip.check()` fails by it."""
    mark = request.node.get_closest_marker("clip")
    if mark is None:
        raise pytest.UsageError("the fixture `clip` needs @pytest.mark.clip(path, prompt=...) on its test")
    param = getattr(request, "param", None)
    path, keywords = _of_mark(*mark.args, **mark.kwargs) if param is None else (param[0], param[1])
    verdict = _verdict(path, **keywords)
    frames = _guard(lambda session: session.evaluator().frames(session.find(path)), str(path))
    return MarkedClip(path=_session().find(path), prompt=keywords.get("prompt"), frames=frames, verdict=verdict)


@pytest.fixture
def gate() -> Callable[..., GateVerdict]:
    """`gate(clips, suite=SUITE, baseline=FILE)`: fail unless the whole set passes, as `v2t-eval gate` does.

    `inconclusive`: the outcome of the test for that verdict: fail (default), xfail, skip or pass. A set that cannot be
    compared with its baseline is an error of the test. Returns the verdict.
    """

    def check(
        clips: str | Path, *, suite: str | Path, baseline: str | Path | None = None, inconclusive: str = "fail"
    ) -> GateVerdict:
        __tracebackhide__ = True
        _check_inconclusive(inconclusive)

        def work(session: _Session) -> GateVerdict:
            from v2t_eval.testing import sets

            against = None if baseline is None else session.find(baseline)
            return sets.gate_verdict_of(
                session.find(clips), sets.suite_of(suite, session.find), against, session.cache()
            )

        verdict: GateVerdict = _guard(work, str(clips))
        from v2t_eval.testing import sets

        _end_by(verdict, sets.report_text(verdict, "gate"), inconclusive)
        return verdict

    return check


# --- marks


def _of_mark(path: str | Path, prompt: str | None = None, **keywords: Any) -> tuple[str | Path, dict[str, Any]]:
    return path, {"prompt": prompt, **keywords}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each row of the folder or manifest of a mark."""
    mark = metafunc.definition.get_closest_marker("clip")
    if mark is None or not mark.args or not _is_ours(metafunc):
        return
    path, keywords = _of_mark(*mark.args, **mark.kwargs)
    given = _guard(lambda session: _rows(session.find(path), keywords), str(path))
    if given is not None:
        metafunc.parametrize("clip", [each[1:] for each in given], ids=[each[0] for each in given], indirect=True)


def _is_ours(metafunc: pytest.Metafunc) -> bool:
    """Whether the test's fixture `clip` is the one above: a project may have a fixture and a mark of that name."""
    known = metafunc.definition._fixtureinfo.name2fixturedefs.get("clip", ())  # pytest has no public name for it
    return any(each.func.__module__ == __name__ for each in known[-1:])  # the last one is the one in use


def _rows(path: Path, keywords: Mapping[str, Any]) -> list[tuple[str, Path, dict[str, Any]]] | None:
    """Id, path and keywords of each row of a manifest or of a folder with one; None of a single clip."""
    manifest = path / "manifest.jsonl" if path.is_dir() else path
    if manifest.suffix != ".jsonl":
        return None
    from cineloop.manifest import clip_path, read_manifest

    return [
        (row["id"], clip_path(manifest, row), {**keywords, "prompt": keywords["prompt"] or row.get("prompt")})
        for row in read_manifest(manifest)
    ]


# --- hooks


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two options, prefixed with the project's name: a name that a conftest.py uses too would end pytest at its
    start."""
    group = parser.getgroup("cineloop", "generated clips (cineloop)")
    group.addoption(
        "--cineloop-report",
        metavar="DIR",
        help="folder for pictures of clips that did not pass (default: a temporary folder)",
    )
    group.addoption(
        "--cineloop-outside", choices=("fail", "skip"), default="fail",
        help="outcome of a test whose clip or prompt is outside of the judge's domain (default: fail)",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark and open the session."""
    config.addinivalue_line("markers", MARK)
    _SESSIONS.append(_Session(config))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the session."""
    for session in [session for session in _SESSIONS if session.config is config]:
        _SESSIONS.remove(session)
        session.close()


def pytest_runtest_logstart(nodeid: str) -> None:
    """Record the running test: pictures are named after it."""
    _session().test = nodeid


def pytest_runtest_logfinish() -> None:
    """Forget the running test."""
    _session().test = ""


@pytest.hookimpl(hookwrapper=True)  # supported by every pytest from 3 on, unlike `wrapper`
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Mark the report of a test whose clip could not be evaluated."""
    report = (yield).get_result()
    if call.excinfo is not None and isinstance(call.excinfo.value, ClipError) and not hasattr(report, "wasxfail"):
        vars(report)["clip_error"] = True


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Report such a test as an error, not as a failure."""
    return ("error", "E", "ERROR") if getattr(report, "clip_error", False) and report.failed else None
