"""Videos captioned in parts: what is recorded, what a broken run leaves, what fails, what is asked at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ALL_COMPLETED
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import decoder_here
from cineloop.errors import ItemError, MissingDependencyError
from cineloop.journal import decode_entry
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from refusals import refusal_code
from v2t.backends import Output, VideoLM
from v2t.backends.abilities import Abilities
from v2t.caption import job
from v2t.caption import run as caption
from v2t.caption.settings import CaptionConfig

ROOT = Path(__file__).resolve().parents[3]
WAIT_S = 120.0


class FilmPool(decoder_here.Pool):
    """Decodes a text file `{"s": seconds, "cuts": [...], "broken": [starts], "code": ...}` as a film."""

    looked: list[str] = []  # files whose cuts were looked for

    def probe(self, path):
        if "unreadable" in Path(path).name:
            raise ItemError("no media", code="NOT_MEDIA")
        return SimpleNamespace(duration_s=json.loads(Path(path).read_text())["s"], warnings=())

    def cuts(self, path, start_s, end_s):
        FilmPool.looked.append(Path(path).name)
        return json.loads(Path(path).read_text()).get("cuts", [])

    def decode(self, path, spec, size) -> Frames:
        facts = json.loads(Path(path).read_text())
        start, end = spec.start_s or 0.0, facts["s"] if spec.end_s is None else spec.end_s
        if any(start <= second < end for second in facts.get("broken", [])):
            raise ItemError("cannot be decoded", code=facts.get("code", "DECODE_ERROR"))
        times = np.linspace(start, max(start + 0.1, end - 0.1), 4)
        return Frames(np.zeros((4, *size, 3), np.uint8), times, end - start, 10.0, "fake", (), start)


class WindowCaptioner(VideoLM):
    """Tells the window it sees; counts. A question without a video is a summary."""

    name, revision, spec, frame_size, concurrency = "fake", "r1", SampleSpec(num_frames=4), (8, 8), 1
    abilities = Abilities(can_summarise=False)

    def __init__(self, say=lambda frames: f"Seen from {frames.start_s:g} for {frames.duration_s:g}.") -> None:
        self.say, self.asked, self.prompts, self.batches = say, [], [], []

    def load(self) -> None:
        pass

    def answer(self, conversations, decoding):
        self.batches.append(len(conversations))
        return [self.one(conversation[0]) for conversation in conversations]

    def one(self, message):
        if not message.videos:
            self.prompts.append(message.text)
            return Output(text=f"Summary {len(self.prompts)}.", tokens=2)
        self.asked.append(message.videos[0].start_s)
        return Output(text=self.say(message.videos[0]), tokens=5)


@pytest.fixture(autouse=True)
def fake_pool(monkeypatch):
    monkeypatch.setattr(job, "DecoderPool", FilmPool)


def film(path: Path, seconds: float = 40, **facts) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"s": seconds, **facts}))
    return path.parent


def go(source: Path, out: Path, captioner=None, **settings):
    captioner = captioner or WindowCaptioner()
    rows: list[dict] = []
    config = CaptionConfig(**{"parts": "segment:10", **settings})
    summary = caption.run([str(source)], out, config, captioner=captioner, emit=rows.append)
    return summary, captioner, rows


def entries(out: Path, kind: str) -> list[dict]:
    lines = (out / ".v2t/journal.jsonl").read_bytes().splitlines(keepends=True)
    return [entry for entry in map(decode_entry, lines) if entry["kind"] == kind]


def test_parts_become_one_record_with_segments_and_one_entry_each(tmp_path):
    source, out = film(tmp_path / "clips/a.mp4", 35), tmp_path / "out"
    film(tmp_path / "clips/b.mp4", 4)
    summary, captioner, rows = go(source, out, batch_size=3, workers=1)
    assert summary.exit_code == 0 and summary.num_parts == 5 and sorted(captioner.asked) == [0, 0, 10, 20, 30]
    assert max(captioner.batches) == 3  # parts of both films share batches
    by_id = {row["id"]: row for row in rows}
    assert by_id["b.mp4"]["segments"] == [{"start_s": 0.0, "end_s": 4, "caption": "Seen from 0 for 4."}]
    row = by_id["a.mp4"]
    assert [(s["start_s"], s["end_s"]) for s in row["segments"]] == [(0, 10), (10, 20), (20, 30), (30, 35)]
    assert row["segments"][3]["caption"] == "Seen from 30 for 5."
    assert row["caption"] == "Seen from 0 for 10. Seen from 10 for 10. Seen from 20 for 10. Seen from 30 for 5."
    assert row["duration_s"] == 35 and row["tokens"] == 20 and len(row["frame_times_s"]) == 16
    assert row["frame_times_s"] == sorted(row["frame_times_s"]) and row["frame_times_s"][-1] == 34.9
    assert [(e["id"], e["start_s"]) for e in entries(out, "part")] == [("a.mp4", s) for s in (0, 10, 20, 30)]
    assert go(source, out)[0].done_before == 2
    assert refusal_code(go, source, out, parts="segment:5") == (2, "OTHER_SETTINGS")


def test_scenes_go_by_the_cuts_and_windows_of_a_manifest_stay_inside(tmp_path):
    source = film(tmp_path / "clips/a.mp4", 30, cuts=[4.0, 12.5])
    _, captioner, rows = go(source, tmp_path / "out", parts="scene:20")
    assert captioner.asked == [0, 4, 12.5] and len(rows[0]["segments"]) == 3
    manifest = source / "m.jsonl"
    manifest.write_text(json.dumps({"id": "x", "path": "a.mp4", "start_s": 10.0, "end_s": 26.0}) + "\n")
    _, captioner, rows = go(manifest, tmp_path / "out2", parts="scene:20")
    assert [(s["start_s"], s["end_s"]) for s in rows[0]["segments"]] == [(10, 12.5), (12.5, 26)]
    assert captioner.asked == [10, 12.5] and rows[0]["duration_s"] == 16


def test_timed_events_of_parts_are_seconds_of_the_file(tmp_path):
    source = film(tmp_path / "clips/a.mp4", 20)
    said = {0.0: "0.5-2.0s: a dog runs.\n3.0-99s: it sits.", 10.0: "Nothing to speak of."}
    _, _, rows = go(source, tmp_path / "out", WindowCaptioner(lambda frames: said[frames.start_s]), style="timed")
    assert rows[0]["segments"] == [
        {"start_s": 0.5, "end_s": 2.0, "caption": "a dog runs."},
        {"start_s": 3.0, "end_s": 10.0, "caption": "it sits."},
        {"start_s": 10.0, "end_s": 20, "caption": "Nothing to speak of."},
    ]
    assert rows[0]["caption"].splitlines()[1] == "3.0-10.0s: it sits."
    whole = WindowCaptioner(lambda frames: "1.0-2.0s: a dog runs.")
    manifest = source / "m.jsonl"
    manifest.write_text(json.dumps({"id": "x", "path": "a.mp4", "start_s": 5.0, "end_s": 9.0}) + "\n")
    _, _, rows = go(manifest, tmp_path / "whole", whole, style="timed", parts="whole")
    assert rows[0]["segments"] == [{"start_s": 6.0, "end_s": 7.0, "caption": "a dog runs."}]


class Stop(BaseException):
    """The power fails."""


def test_a_broken_run_goes_on_inside_the_film(tmp_path):
    source, out = film(tmp_path / "clips/a.mp4", 100), tmp_path / "out"

    class Dying(WindowCaptioner):
        def answer(self, conversations, decoding):
            if len(self.batches) == 3:
                raise Stop
            return super().answer(conversations, decoding)

    dying = Dying()
    with pytest.raises(Stop):
        go(source, out, dying, batch_size=2)
    summary, captioner, rows = go(source, out, batch_size=2)
    assert len(dying.asked) == 6 and sorted(dying.asked + captioner.asked) == [10.0 * i for i in range(10)]
    assert len(rows[0]["segments"]) == 10 and rows[0]["tokens"] == 50 and summary.num_parts == 4
    assert len(entries(out, "part")) == 10 and len(entries(out, "clip")) == 1
    assert len(go(source, out, overwrite=True)[1].asked) == 10  # anew
    with pytest.raises(Stop):
        go(source, out, Dying(), batch_size=2, overwrite=True, style="detailed")
    film(source / "a.mp4", 100, other=1)  # another film now: what was seen of the first is nothing to it
    assert len(go(source, out, overwrite=True, style="detailed")[1].asked) == 10


def test_scenes_are_looked_for_once(tmp_path):
    source, out = film(tmp_path / "clips/a.mp4", 60, cuts=[10.0, 25.0, 40.0]), tmp_path / "out"

    class Dying(WindowCaptioner):
        def answer(self, conversations, decoding):
            if self.batches:
                raise Stop
            return super().answer(conversations, decoding)

    FilmPool.looked.clear()
    with pytest.raises(Stop):
        go(source, out, Dying(), batch_size=1, parts="scene:20")
    _, captioner, rows = go(source, out, parts="scene:20")
    assert FilmPool.looked == ["a.mp4"] and captioner.asked == [10, 25, 40] and len(rows[0]["segments"]) == 4
    film(source / "a.mp4", 61, cuts=[30.5])
    _, _, rows = go(source, out, parts="scene:40")
    assert FilmPool.looked == ["a.mp4"] * 2 and [s["start_s"] for s in rows[0]["segments"]] == [0, 30.5]


def test_a_run_that_only_lacked_the_record_asks_nothing(tmp_path, monkeypatch):
    source, out = film(tmp_path / "clips/a.mp4", 40), tmp_path / "out"
    monkeypatch.setattr(job.CaptionJob, "_finish_long", lambda self, clip: (_ for _ in ()).throw(Stop()))
    with pytest.raises(Stop):
        go(source, out)
    monkeypatch.undo()
    monkeypatch.setattr(job, "DecoderPool", FilmPool)
    _, captioner, rows = go(source, out)
    assert captioner.asked == [] and len(rows[0]["segments"]) == 4


def test_a_part_that_fails_is_a_segment_with_its_error_and_is_retried_alone(tmp_path):
    source, out = film(tmp_path / "clips/a.mp4", 40, broken=[15]), tmp_path / "out"
    summary, _, rows = go(source, out, format=("txt", "vtt", "jsonl"))
    assert summary.exit_code == 0 and rows[0]["status"] == "ok"
    broken = rows[0]["segments"][1]
    assert broken["caption"] == "" and broken["error"]["code"] == "DECODE_ERROR" and broken["start_s"] == 10
    assert [w["code"] for w in rows[0]["warnings"]] == ["PART_FAILED"]
    assert rows[0]["warnings"][0]["message"].startswith("1 of 4 ")
    assert "Seen from 10" not in (out / "a.txt").read_text() and "00:00:20.000" in (out / "a.vtt").read_text()
    assert go(source, out)[1].asked == []
    path = source / "a.mp4"
    before = path.stat()
    path.write_text(path.read_text().replace("15", "99"))  # mended, as a disk that comes back
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    _, captioner, rows = go(source, out, retry_failed=True)
    assert captioner.asked == [10] and not rows[0]["warnings"] and "error" not in rows[0]["segments"][1]


def test_a_film_without_any_good_part_fails(tmp_path):
    source = film(tmp_path / "clips/a.mp4", 40, broken=[5, 15, 25, 35])
    film(source / "b.mp4", 200, broken=list(range(200)), code="DECODE_TIMEOUT")
    film(source / "c_unreadable.mp4")
    film(source / "d.mp4", 20)
    summary, captioner, rows = go(source, tmp_path / "out", workers=1, batch_size=1)
    by_id = {row["id"]: row for row in rows}
    assert summary.exit_code == 3 and by_id["d.mp4"]["status"] == "ok"
    assert by_id["a.mp4"]["error"]["code"] == "DECODE_ERROR"
    assert by_id["c_unreadable.mp4"]["error"]["code"] == "NOT_MEDIA"
    assert by_id["b.mp4"]["error"]["code"] == "DECODE_TIMEOUT"
    not_tried = [e for e in entries(tmp_path / "out", "part") if e["error"] and "not tried" in e["error"]["message"]]
    assert len(not_tried) >= 10  # a decoder that dies on part after part is not given all of them


def test_a_model_sums_up_and_its_failure_is_not_the_end(tmp_path):
    source = film(tmp_path / "clips/a.mp4", 3000)
    _, captioner, rows = go(source, tmp_path / "out", summary="model")
    assert len(captioner.prompts) > 2 and max(map(len, captioner.prompts)) < 7000
    assert rows[0]["caption"] == f"Summary {len(captioner.prompts)}." and len(rows[0]["segments"]) == 300
    assert rows[0]["tokens"] == 1500 + 2 * len(captioner.prompts)

    class Mute(WindowCaptioner):
        def one(self, message):
            if not message.videos:
                raise ItemError("no words", code="REFUSED")
            return super().one(message)

    _, _, rows = go(film(tmp_path / "other/a.mp4", 20), tmp_path / "out2", Mute(), summary="model")
    assert rows[0]["caption"].startswith("Seen from 0") and rows[0]["warnings"][0]["code"] == "SUMMARY_FAILED"


class BarrierCaptioner(WindowCaptioner):
    """Takes several questions at once, and answers none of the first four before all of them are there."""

    concurrency = 4

    def __init__(self) -> None:
        super().__init__()
        self.num, self.now, self.most = 0, 0, 0
        self.lock, self.together = threading.Lock(), threading.Barrier(4)

    def answer(self, conversations, decoding):
        with self.lock:
            self.num += 1
            self.now += 1
            self.most = max(self.most, self.now)
            is_early = self.num <= 4
        if is_early and self.together.wait(WAIT_S) == 0:
            self.meet()
        with self.lock:
            self.now -= 1
            return super().answer(conversations, decoding)

    def meet(self) -> None:
        """Called once, when four questions are there."""


@pytest.mark.parametrize("parts", ["whole", "segment:10"])
def test_several_questions_at_once(tmp_path, parts):
    source = film(tmp_path / "clips/a00.mp4", 20)
    for i in range(1, 12):
        film(source / f"a{i:02}.mp4", 20, broken=[5] if i == 7 else [])
    server = BarrierCaptioner()
    summary, _, rows = go(source, tmp_path / "out", server, parts=parts, workers=4, summary="model")
    assert set(server.batches) == {1} and server.most == 4
    assert len({row["id"] for row in rows}) == len(rows) == 12 == len(entries(tmp_path / "out", "clip"))
    failed = [row["id"] for row in rows if row["status"] != "ok" or row["warnings"]]
    assert failed == ["a07.mp4"] and summary.exit_code == (3 if parts == "whole" else 0)
    if parts != "whole":
        assert len(server.asked) == 23 and len(server.prompts) == 11


def test_answers_are_saved_as_they_come(tmp_path):
    source, out = film(tmp_path / "clips/slow.mp4", 5), tmp_path / "out"
    for i in range(6):
        film(source / f"z{i}.mp4", 20)

    class Uneven(WindowCaptioner):
        concurrency = 4

        def answer(self, conversations, decoding):
            while conversations[0][0].videos[0].duration_s == 5 and len(entries(out, "clip")) < 6:
                time.sleep(0.005)  # for ever, if none is saved before all have come
            return super().answer(conversations, decoding)

    _, _, rows = go(source, out, Uneven(), parts="whole")
    assert rows[-1]["id"] == "slow.mp4" and len(rows) == 7


def test_the_first_interrupt_waits_for_what_is_on_its_way(tmp_path):
    source = film(tmp_path / "clips/a00.mp4", 20)
    for i in range(1, 20):
        film(source / f"a{i:02}.mp4", 20)

    class Interrupted(BarrierCaptioner):
        def meet(self):
            os.kill(os.getpid(), signal.SIGINT)

    server = Interrupted()
    summary, _, rows = go(source, tmp_path / "out", server, parts="whole")
    assert summary.exit_code == 130 and 4 <= len(server.asked) < 20
    assert len(rows) == len(server.asked) == len(entries(tmp_path / "out", "clip"))
    assert go(source, tmp_path / "out", parts="whole")[0].done_before == len(rows)


def test_a_server_that_is_gone_ends_the_run_and_the_answers_that_came_with_its_error_are_kept(tmp_path, monkeypatch):
    """All four answers are there when the first of them, the error, is looked at."""
    source, out = film(tmp_path / "clips/a.mp4", 40), tmp_path / "out"
    monkeypatch.setattr(job, "FIRST_COMPLETED", ALL_COMPLETED)

    class Gone(BarrierCaptioner):
        def answer(self, conversations, decoding):
            answers = super().answer(conversations, decoding)
            if conversations[0][0].videos[0].start_s == 0:
                raise MissingDependencyError("nobody there", code="SERVER")
            return answers

    assert refusal_code(go, source, out, Gone()) == (5, "SERVER")
    assert sorted(entry["start_s"] for entry in entries(out, "part")) == [10, 20, 30]
    assert go(source, out)[1].asked == [0]


DRIVER = """
import os, sys
from pathlib import Path
from v2t.caption import job, run as caption
from v2t.caption.settings import CaptionConfig
sys.path.insert(0, sys.argv[1])
from test_films import FilmPool, WindowCaptioner

class Logged(WindowCaptioner):
    def answer(self, conversations, decoding):
        if self.left == 0:
            os.kill(os.getpid(), 9)
        self.left -= 1
        with open(sys.argv[3] + "/asked", "a") as log:
            log.writelines(f"{c[0].videos[0].start_s:g}\\n" for c in conversations)
        return super().answer(conversations, decoding)

job.DecoderPool = FilmPool
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        captioner = Logged()
        captioner.left = int(line)
        config = CaptionConfig(parts="segment:1", batch_size=4)
        code = caption.run([sys.argv[2]], Path(sys.argv[3]) / "out", config, captioner=captioner).exit_code
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.slow
def test_kill_nine_costs_no_part_that_was_answered(tmp_path):
    source = film(tmp_path / "clips/a.mp4", 120)
    command = [sys.executable, "-c", DRIVER, str(Path(__file__).parent), str(source), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests/support'}"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as driver:
        assert driver.stdin is not None and driver.stdout is not None
        codes = []
        for left in (3, 1, 0, 7, 5, -1):
            driver.stdin.write(f"{left}\n")
            driver.stdin.flush()
            codes.append(int(driver.stdout.readline()))
        driver.stdin.close()
    assert codes == [-9] * 5 + [0]
    asked = [float(line) for line in (tmp_path / "asked").read_text().splitlines()]
    # The journal is flushed before the next batch is asked, so nothing that was answered is asked again.
    assert sorted(asked) == [float(i) for i in range(120)]
    assert len(entries(tmp_path / "out", "part")) == 120 and len(entries(tmp_path / "out", "clip")) == 1
    assert len(entries(tmp_path / "out", "clip")[0]["record"]["segments"]) == 120
