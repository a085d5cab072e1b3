"""The true server over HTTP: edits, conflicts, undo, clips with ranges, the model asked again; who is let in; and what
kill -9 leaves."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from caption_stand_ins import rows_of
from cineloop.errors import PolicyError, UsageError
from cineloop.journal import Journal
from edit_process import EditProcess, editing
from v2t.edit.run import run
from v2t.edit.settings import EditConfig

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytestmark = [pytest.mark.xdist_group("machine"), pytest.mark.slow]
HOSTILE = "<img src=x onerror=alert(1)> \u202eevil\u202c a\0b {{7*7}} \U0001f600"


@pytest.fixture
def editor(captions, tmp_path):
    with editing(captions, tmp_path / "state") as process:
        yield process


@pytest.fixture(scope="module")
def unchanged(captions_of_run, tmp_path_factory):
    """A server for tests that change nothing."""
    folder = tmp_path_factory.mktemp("unchanged")
    shutil.copytree(captions_of_run, folder / "captions")
    with editing(folder / "captions", folder / "state") as process:
        yield process


def edit(process: EditProcess, clip: str, revision: int, **change) -> tuple[int, dict]:
    return process.send("v1/edits", {"edits": [{"id": clip, "revision": revision, **change}]})


def by_id(process: EditProcess) -> dict[str, dict]:
    return {row["id"]: row for row in process.send("v1/clips")[1]["clips"]}


def wait_written(process: EditProcess) -> None:
    end = time.monotonic() + 60
    while process.send("v1/changes?since=0")[1]["formats"] != "written":
        assert time.monotonic() < end
        time.sleep(0.05)


def test_an_editing_session(editor, captions):
    listing = editor.send("v1/clips")[1]
    assert [row["id"] for row in listing["clips"]] == ["bad.mp4", "a.webm", "b.webm", "c.webm"]
    assert edit(editor, "a.webm", 1, captions=[HOSTILE, "second"])[0] == 200
    assert (captions / "a.txt").read_text() == HOSTILE + "\n"
    wait_written(editor)
    assert rows_of(captions)["a.webm"]["captions"] == [HOSTILE, "second"]

    status, body = edit(editor, "a.webm", 1, captions=["of another tab"])
    assert status == 409 and body["error"]["code"] == "CONFLICT"
    assert body["clips"][0]["captions"] == [HOSTILE, "second"] and body["clips"][0]["revision"] == 2
    news = editor.send(f"v1/changes?since={listing['sequence']}")[1]
    assert [row["id"] for row in news["clips"]] == ["a.webm"]

    assert editor.send("v1/undo", {})[1]["undone"]["action"] == "save"
    assert (captions / "a.txt").read_text() == "caption 0\n"
    assert editor.send("v1/undo", {"redo": True})[1]["clips"][0]["captions"][0] == HOSTILE
    status, body = editor.send("v1/undo", {"by": "bob"})
    assert status == 409 and body["error"]["code"] == "NOTHING_TO_UNDO"

    assert editor.send("v1/seen", {"ids": ["b.webm"]})[0] == 200
    assert {clip for clip, row in by_id(editor).items() if row["seen"]} == {"a.webm", "b.webm"}
    for wrong, code in (
        ({"captions": [" \n"]}, "BAD_CAPTION"),
        ({"captions": []}, "BAD_REQUEST"),
        ({"review": "maybe"}, "BAD_REQUEST"),
        ({"tags": ["x" * 101]}, "BAD_REQUEST"),
        ({"text": "x"}, "BAD_REQUEST"),
    ):
        status, body = edit(editor, "b.webm", 1, **wrong)
        assert (status, body["error"]["code"]) == (400, code), wrong
    assert edit(editor, "../b.webm", 1, review="look")[0] == 404
    assert editor.kill(signal.SIGTERM) == 0


def test_clips_have_ranges_and_stand_ins_and_their_addresses_are_secret(unchanged):
    editor = unchanged
    listing = editor.send("v1/clips")[1]
    number = next(row["n"] for row in listing["clips"] if row["id"] == "a.webm")
    address = f"{editor.url}{listing['media']}{number}"
    with urllib.request.urlopen(urllib.request.Request(f"{address}/video", headers={"Range": "bytes=4-11"})) as reply:
        assert (reply.status, len(reply.read()), reply.headers["Content-Type"]) == (206, 8, "video/webm")
    status, body = editor.send(f"{listing['media']}{number}/frames")
    assert status == 200 and len(body["frames"]) == 8 and body["frames"][1]["time_s"] == pytest.approx(0.125, abs=0.01)
    assert editor.send(f"{listing['media']}{number}/info")[1]["num_frames"] == 8
    status, body = editor.send(f"{listing['media']}0/video")
    assert (status, body["error"]["code"]) == (422, "NOT_MEDIA"), "what is no film is never sent"
    assert editor.send(f"media/{'x' * 22}/{number}/video")[0] == 404
    assert editor.send(f"{listing['media']}99/video")[0] == 404


def test_the_model_is_asked_again(unchanged):
    editor = unchanged
    asked = {"id": "a.webm", "style": "detailed", "temperature": 0.9, "num": 3, "seed": 5}
    status, body = editor.send("v1/answers", asked)
    assert status == 200
    assert [one["caption"] for one in body["answers"]] == [f"caption 0, drawn by {seed}" for seed in (5, 6, 7)]
    assert editor.send("v1/answers", {**asked, "style": "/etc/passwd.yaml"})[0] == 400
    assert editor.send("v1/answers", {**asked, "id": "bad.mp4"})[1]["error"]["code"] == "NOT_MEDIA"
    assert by_id(editor)["a.webm"]["revision"] == 1, "nothing is stored"


def test_other_sites_and_other_names_are_refused(unchanged):
    editor = unchanged
    assert editor.send("v1/clips", None, Host="evil.example")[1]["error"]["code"] == "HOST_FORBIDDEN"
    body = {"edits": [{"id": "a.webm", "revision": 1, "captions": ["x"]}]}
    status, refused = editor.send("v1/edits", body, Origin="http://evil.example")
    assert (status, refused["error"]["code"]) == (403, "ORIGIN_FORBIDDEN")
    assert editor.send("v1/edits", body, **{"Content-Type": "text/plain"})[0] == 415
    assert by_id(editor)["a.webm"]["revision"] == 1


def test_beyond_this_machine_a_key_is_needed(captions, tmp_path, monkeypatch):
    monkeypatch.delenv("V2T_SERVE_KEY", raising=False)
    with pytest.raises(PolicyError):
        EditConfig(host="0.0.0.0")
    with pytest.raises(UsageError, match="store"):
        run("s3://bucket/captions", EditConfig())
    key = "a-key-of-this-test"
    with editing(captions, tmp_path / "state", "0.0.0.0", V2T_SERVE_KEY=key) as process:
        process.url = process.url.replace("0.0.0.0", "127.0.0.1")
        assert process.send("v1/clips")[0] == 401
        signed = {"Authorization": f"Bearer {key}"}
        listing = process.send("v1/clips", None, **signed)[1]
        body = {"edits": [{"id": "a.webm", "revision": 1, "captions": ["x"]}], "by": "eve"}
        assert process.send("v1/edits", body)[0] == 401
        assert process.send("v1/edits", body, **signed)[0] == 200
        with urllib.request.urlopen(f"{process.url}{listing['media']}1/video") as reply:
            assert reply.status == 200, "a video element sends no key"
    with Journal(captions / ".v2t" / "journal.jsonl", writable=False) as journal:
        (edited,) = [entry["edit"]["by"] for entry, _ in journal.replay() if "edit" in entry]
    assert edited.startswith("eve (") and key not in edited


def test_kill_9_loses_no_edit_that_was_acknowledged(captions, tmp_path):
    acknowledged: dict[str, list[str]] = {"a.webm": ["caption 0"], "b.webm": ["caption 1"], "c.webm": ["caption 2"]}
    process = EditProcess(captions, tmp_path / "state")
    gone = threading.Event()

    def work(clip: str) -> None:
        revision, number = 1, 0
        while not gone.is_set():
            number += 1
            try:
                status, body = edit(process, clip, revision, captions=[f"{clip} {number}"])
            except OSError:
                return
            assert status == 200, body
            acknowledged[clip].append(f"{clip} {number}")
            revision = body["clips"][0]["revision"]

    threads = [threading.Thread(target=work, args=(clip,)) for clip in acknowledged]
    for thread in threads:
        thread.start()
    while min(map(len, acknowledged.values())) < 12:
        assert any(thread.is_alive() for thread in threads)
    process.kill()
    gone.set()
    for thread in threads:
        thread.join()
    history: dict[str, list[str]] = {clip: [] for clip in acknowledged}
    with Journal(captions / ".v2t" / "journal.jsonl", writable=False) as journal:
        for entry, _ in journal.replay():
            if entry["kind"] == "clip" and entry["record"]["id"] in history:
                history[entry["record"]["id"]].append(entry["record"]["caption"])
    for clip, captions_of in acknowledged.items():
        assert history[clip][: len(captions_of)] == captions_of
        assert len(history[clip]) - len(captions_of) in (0, 1), "at most the one that was in flight"
    with editing(captions, tmp_path / "state") as again:
        wait_written(again)
        rows = rows_of(captions)
        for clip, texts in history.items():
            assert rows[clip]["caption"] == texts[-1] == Path(captions / clip).with_suffix(".txt").read_text().strip()
        again.send("v1/undo", {})
        last = json.loads((captions / ".v2t" / "journal.jsonl").read_text().splitlines()[-1])
        assert last["edit"]["action"] == "undo" and last["record"]["caption"] in history[last["record"]["id"]]
