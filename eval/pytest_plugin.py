"""pytest's plug-in: a test says what a clip must show, and fails in words. See docs/pytest.md.

In: pytest's hooks. Out: the function and fixture `assert_clip`, the mark and fixture `clip`, the fixture `gate`.
Nothing heavy is imported before a test asks for a clip; `-p no:cineloop` turns it off. What is wrong with a clip fails
a test; what keeps it from being looked at (no such file, a broken one, no model, a wrong argument) is an error of it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from v2t_eval.testing.room import Room

if TYPE_CHECKING:
    from v2t.video.frames import Frames
    from v2t_eval.gate.verdict import Verdict as GateVerdict
    from v2t_eval.sample import Sample
    from v2t_eval.testing.verdict import Verdict

MARK = (
    "clip(path, **keywords): the fixture `clip` shows it, judged as by assert_clip; of a folder with a manifest, one "
    "test for each row"
)
_ROOMS: list[Room] = []  # of the sessions of this process, the innermost last: one may test the other


class ClipError(Exception):
    """A clip could not be looked at. Told as an error of the test, not as a failure."""


def assert_clip(
    path: str | Path,
    prompt: str | None = None,
    *,
    questions: Sequence[str | Mapping[str, Any]] | None = None,
    at_least: Mapping[str, float] | None = None,
    at_most: Mapping[str, float] | None = None,
    judge: str = "v2t",
    frozen_ok: bool = False,
) -> Verdict:
    """Fail unless the clip shows what it must.

    Args:
        path: the video; a relative path counts from the current folder, else from pytest's root folder.
        prompt: what it must show: every question that the prompt gives must be answered as it wants.
        questions: instead of those of the prompt; texts (yes is wanted), or mappings {question, answer, choices}.
        at_least, at_most: bounds by metric of single clips (`v2t-eval list`), such as {"sharpness": 0.2}. A bound on
            question_score or vqascore stands in the place of "every question".
        judge: v2t (the starter, for cartoons) or v2t:MODEL, any model of `v2t caption --model`.
        frozen_ok: whether the clip may stand still.

    Returns:
        What was found.

    Raises:
        AssertionError: it does not; the message tells what is wrong, and where a picture of its frames lies.
        ClipError: it could not be looked at.
    """
    __tracebackhide__ = True
    keywords = {"questions": questions, "at_least": at_least, "at_most": at_most, "judge": judge}
    verdict = _verdict(_room(), path, prompt=prompt, frozen_ok=frozen_ok, **keywords)
    _raise(_room(), verdict)
    return verdict


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The clip of a mark: `path`, `prompt`, `frames` (pixels uint8 T H W 3, `times_s`) and the `verdict`."""

    path: Path
    prompt: str | None
    frames: Frames
    verdict: Verdict

    def check(self) -> None:
        """Fail with the verdict's message unless it passed.

        Raises:
            AssertionError: it did not.
        """
        __tracebackhide__ = True
        _raise(_room(), self.verdict)


def _room() -> Room:
    if not _ROOMS:
        _ROOMS.append(Room())
    return _ROOMS[-1]


def _guarded(work: Callable[[], Any], name: str) -> Any:
    """`work()`, its errors as `ClipError`."""
    __tracebackhide__ = True
    from v2t.base.errors import CineloopError

    try:
        return work()
    except CineloopError as error:
        raise ClipError(f"{name}: {error.code}: {error}") from None


def _verdict(room: Room, path: str | Path, **keywords: Any) -> Verdict:
    __tracebackhide__ = True

    def work() -> Verdict:
        from v2t_eval.testing.looks import with_strip

        looks = room.looks()
        found = looks.verdict(room.find(path), name=str(path), **keywords)
        if found.outcome == "pass":
            return found
        return with_strip(found, looks.strip(_sample(room, path)), room.picture(str(path)))

    found: Verdict = _guarded(work, str(path))
    return found


def _sample(room: Room, path: str | Path) -> Sample:
    return room.looks().sample(room.find(path), None, None)


def _raise(room: Room, verdict: Verdict) -> None:
    """End the test as the verdict says."""
    __tracebackhide__ = True
    if verdict.outcome == "outside" and room.option("clip_outside", "fail") == "skip":
        pytest.skip(verdict.message)
    if not verdict:
        raise AssertionError(verdict.message)


# --- fixtures


@pytest.fixture(name="assert_clip")
def _assert_clip() -> Callable[..., Verdict]:
    """`assert_clip(path, prompt=...)`: fail unless the clip shows what it must; see docs/pytest.md."""
    return assert_clip


@pytest.fixture
def clip(request: pytest.FixtureRequest) -> Shown:
    """The clip of `@pytest.mark.clip(path, prompt=...)`: its frames, and its verdict; `clip.check()` fails by it."""
    mark = request.node.get_closest_marker("clip")
    if mark is None:
        raise pytest.UsageError("the fixture `clip` wants @pytest.mark.clip(path, prompt=...) on its test")
    told = getattr(request, "param", None)
    path, keywords = _of_mark(*mark.args, **mark.kwargs) if told is None else (told[0], told[1])
    room = _room()
    verdict = _verdict(room, path, **keywords)
    frames = _guarded(lambda: room.looks().frames(_sample(room, path)), str(path))
    return Shown(path=room.find(path), prompt=keywords.get("prompt"), frames=frames, verdict=verdict)


@pytest.fixture
def gate() -> Callable[..., GateVerdict]:
    """`gate(clips, suite=FILE, baseline=FILE)`: fail unless the whole set passes, as `v2t-eval gate` does.

    `inconclusive`: what "too early to say" does to the test: fail (default), xfail, skip or pass. A set that cannot be
    compared with its baseline is an error of the test. Returns the verdict.
    """

    def check(
        clips: str | Path, *, suite: str | Path, baseline: str | Path | None = None, inconclusive: str = "fail"
    ) -> GateVerdict:
        __tracebackhide__ = True
        if inconclusive not in ("fail", "xfail", "skip", "pass"):
            raise ClipError(f"inconclusive must be fail, xfail, skip or pass, not {inconclusive!r}")
        from v2t_eval.testing.sets import gated, told

        room = _room()
        against = None if baseline is None else room.find(baseline)
        found: GateVerdict = _guarded(
            lambda: gated(room.find(clips), room.find(suite), against, cache=room.cache()), str(clips)
        )
        if found.outcome == "not_comparable":
            raise ClipError(told(found))
        if found.outcome == "fail" or (found.outcome, inconclusive) == ("inconclusive", "fail"):
            raise AssertionError(told(found))
        if found.outcome == "inconclusive" and inconclusive == "xfail":
            pytest.xfail(told(found))
        if found.outcome == "inconclusive" and inconclusive == "skip":
            pytest.skip(told(found))
        return found

    return check


# --- marks


def _of_mark(path: str | Path, prompt: str | None = None, **keywords: Any) -> tuple[str | Path, dict[str, Any]]:
    return path, {"prompt": prompt, **keywords}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each row of the folder or manifest that a mark names."""
    mark = metafunc.definition.get_closest_marker("clip")
    if mark is None or "clip" not in metafunc.fixturenames or not mark.args:
        return
    path, keywords = _of_mark(*mark.args, **mark.kwargs)
    found = _room().find(path)
    manifest = found / "manifest.jsonl" if found.is_dir() else found
    if manifest.suffix != ".jsonl":
        return
    from v2t.base.manifest import clip_path, read_manifest

    rows = list(_guarded(lambda: list(read_manifest(manifest)), str(path)))
    given = [
        (clip_path(manifest, row), {**keywords, "prompt": keywords["prompt"] or row.get("prompt")}) for row in rows
    ]
    metafunc.parametrize("clip", given, ids=[row["id"] for row in rows], indirect=True)


# --- hooks


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two options."""
    group = parser.getgroup("clips", "generated clips (cineloop)")
    group.addoption("--clip-report", metavar="DIR",
                    help="keep pictures of clips that did not pass (default: a temporary folder)")  # fmt: skip
    group.addoption("--clip-outside", choices=("fail", "skip"), default="fail",
                    help="what a clip or prompt outside of the judge's world does to its test (fail)")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark and open the session's room, with nothing in it yet."""
    config.addinivalue_line("markers", MARK)
    _ROOMS.append(Room(config))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the session's room."""
    for room in [room for room in _ROOMS if room.config is config]:
        _ROOMS.remove(room)
        room.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Note which test runs: pictures are named after it."""
    room = _room()
    room.test = item.nodeid
    try:
        return (yield)
    finally:
        room.test = ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note on the report of a test that its clip could not be looked at."""
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, ClipError) and not hasattr(report, "wasxfail"):
        vars(report)["clip_error"] = True
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Such a test is an error and no failure."""
    return ("error", "E", "ERROR") if getattr(report, "clip_error", False) and report.failed else None
