"""The chat page in a real browser, against a stand-in gateway: asks, streams, seeks, keeps, exports, waits; runs
nothing smuggled in, asks nobody else."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

import page_driving as driving
import stand_in_gateway as stand_in
from cineloop.errors import Notice
from page_driving import WAIT_MS, add, ask, at, mark, refusals
from stand_in_gateway import Answer

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (a test tool, extra dev)")
expect = sync_api.expect
pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

TIMED = Answer(pieces=("0.0-1.9s: The robot wa", "lks to the right.\n", "2.0-3.9s: It jumps."))
EVIL = (
    "<img src=x onerror='window.hacked=1'></script><script>window.hacked=1</script> {{7*7}} \u2028 --> "
    "javascript:window.hacked=1 \u202e [0:02] <svg onload=window.hacked=1>"
)


def test_upload_question_streamed_answer_seek_and_refresh(page, gateway, clip):
    gate = threading.Event()
    gateway.answers = [Answer(pieces=TIMED.pieces, gate=gate)]
    add(page, clip)
    sent = gateway.asked("/v1/files")[0].body
    assert sent["filename"] == "robot.webm" and sent["num_bytes"] == clip.stat().st_size
    assert set(sent["names"]) == {"purpose", "file"}
    expect(page.locator("#seen-text")).to_have_text("8 frames from 0.0 to 3.5 s, 32 tokens")
    page.get_by_role("button", name="Timed events").click()
    expect(page.locator(".answer")).to_have_text("0.0-1.9s: The robot wa", timeout=WAIT_MS)  # while it is written
    expect(page.locator(".turn")).to_have_attribute("data-state", "answering")
    gate.set()
    expect(page.locator(".turn[data-state=done]")).to_have_count(1, timeout=WAIT_MS)
    body = gateway.chats()[0]
    (message,) = body["messages"]
    assert [part["type"] for part in message["content"]] == ["video_url", "text"]
    assert message["content"][0]["video_url"]["url"] == f"upload:{next(iter(gateway.files))}"
    assert body["stream"] is True and body["model"] == "stand-in" and body["max_tokens"] == 320
    expect(page.locator(".saw")).to_have_text("8 frames from 0.0 to 3.5 s, 32 tokens")
    page.locator(".answer .time", has_text="2.0-3.9s").click()
    at(page, "0:02.0")
    assert abs(page.locator("#video").evaluate("video => video.currentTime") - 2) < 0.05
    page.locator("#frames button").nth(2).click()
    at(page, "0:01.0")
    page.reload()
    expect(page.locator(".answer")).to_have_text("".join(TIMED.pieces), timeout=WAIT_MS)
    expect(page.locator("#frames li")).to_have_count(8, timeout=WAIT_MS)
    page.locator(".answer .time").last.click()
    at(page, "0:02.0")
    assert len(gateway.asked("/v1/files")) == 1, "the server still had it"
    ask(page, "And then?", 2)
    told = gateway.chats()[1]["messages"]
    assert [one["role"] for one in told] == ["user", "assistant", "user"]
    assert [part["type"] for part in told[2]["content"]] == ["text"], "the video is in the talk already"


@pytest.mark.long
def test_a_range_is_asked_about_and_its_times_lead_into_the_video(page, gateway, clip):
    gateway.answers = [
        Answer(
            pieces=("It falls at 0.5 s.",),
            warnings=(Notice("OUT_OF_DOMAIN", "unlike"),),
            video_warnings=(Notice("TRUNCATED", "ends"),),
        )
    ]
    add(page, clip)
    mark(page, 1.5, 3.0)
    expect(page.locator("#about")).to_have_text("About 0:01.5 to 0:03.0")
    expect(page.locator("#seen-text")).to_have_text("8 frames from 1.5 to 2.8 s, 32 tokens", timeout=WAIT_MS)
    upload = f"upload:{next(iter(gateway.files))}#t=1.5,3"
    assert gateway.asked("/v1/frames")[-1].body["url"] == upload
    ask(page, "When does it fall?")
    assert gateway.chats()[0]["messages"][0]["content"][0]["video_url"]["url"] == upload
    expect(page.locator(".saw")).to_contain_text("8 frames from 1.5 to 2.8 s, 32 tokens")
    for place in (".warning", "#seen-warnings li"):
        assert sorted(page.locator(place).all_text_contents()) == ["OUT_OF_DOMAIN: unlike", "TRUNCATED: ends"]
    page.locator(".answer .time", has_text="0.5 s").click()
    at(page, "0:02.0")  # counted from the start of the range
    page.locator(".question .chip").click()
    at(page, "0:01.5")
    page.locator("#clear-range").click()
    ask(page, "And in all?", 2)
    assert stand_in.addresses(gateway.chats()[1]) == [upload, upload.split("#")[0]]


@pytest.mark.long
@pytest.mark.parametrize("by", ["button", "escape"])
def test_stop_ends_the_request_and_keeps_what_came(page, gateway, clip, by):
    gateway.answers = [Answer(pieces=("A robot", " never said"), gate=threading.Event())]
    add(page, clip)
    page.fill("#question", "What is it?")
    page.press("#question", "Enter")
    expect(page.locator(".answer")).to_have_text("A robot", timeout=WAIT_MS)
    if by == "button":
        page.click("#stop")
    else:
        page.keyboard.press("Escape")
    expect(page.locator(".turn[data-state=stopped]")).to_contain_text("Stopped here.", timeout=WAIT_MS)
    gateway.wait(gateway.left.is_set)
    expect(page.locator("#send")).to_be_visible()
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator(".turn[data-state=done] .answer")).to_have_text("Yes.", timeout=WAIT_MS)


@pytest.mark.long
def test_while_the_engine_starts_the_page_waits_and_asks_again(page, gateway, clip):
    down = Answer(status=503, code="ENGINE_DOWN", retry_after="1")
    gateway.answers = [down, down, Answer(pieces=("There it is.",))]
    add(page, clip)
    page.fill("#question", "What is it?")
    page.press("#question", "Enter")
    expect(page.locator(".wait")).to_contain_text("The model is starting. Asking again in 1 s", timeout=WAIT_MS)
    expect(page.locator(".answer")).to_have_text("There it is.", timeout=WAIT_MS)
    assert len(gateway.chats()) == 3
    gateway.answers = [Answer(status=503, code="BUSY", retry_after="60")]
    page.fill("#question", "And now?")
    page.press("#question", "Enter")
    expect(page.locator(".wait")).to_contain_text("The server is busy.", timeout=WAIT_MS)
    page.locator(".wait").get_by_role("button", name="Cancel").click()
    expect(page.locator(".turn[data-state=stopped]")).to_have_count(1, timeout=WAIT_MS)
    assert len(gateway.chats()) == 4
    refusals(page, 503)


@pytest.mark.long
def test_the_state_of_the_engine_is_said(page, gateway):
    gateway.engine = "starting"
    page.reload()
    expect(page.locator("#engine")).to_contain_text("The model is starting", timeout=WAIT_MS)
    gateway.engine = "ready"
    expect(page.locator("#engine")).to_be_hidden(timeout=WAIT_MS)
    refusals(page, 503)


@pytest.mark.long
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(pieces=("Half an ans",), end="drop"), "The answer broke off"),
        (Answer(pieces=("Half an ans",), end="error"), "the model broke down"),
        (Answer(pieces=("Half an ans",), end="garbage"), "cannot be read"),
        (Answer(status=413, code="TOO_LONG", message="the video is too long"), "the video is too long"),
    ],
)
def test_what_goes_wrong_is_said_with_the_request_and_can_be_asked_again(page, gateway, clip, answer, words):
    gateway.answers = [answer]
    add(page, clip)
    ask(page, "What is it?", state="failed")
    error = page.locator(".turn .error")
    expect(error).to_contain_text(words)
    expect(error).to_contain_text("req-stand-in")
    if answer.pieces:
        expect(page.locator(".answer")).to_have_text("Half an ans")
    error.get_by_role("button", name="Ask again").click()
    expect(page.locator(".turn[data-state=done] .answer")).to_have_text("Yes.", timeout=WAIT_MS)
    refusals(page, 413)


@pytest.mark.long
def test_a_key_is_asked_for_once_and_sent(browser, gateway, clip):
    gateway.key = "a-key-of-this-test"
    context = browser.new_context()
    context.set_default_timeout(WAIT_MS)
    try:
        page = context.new_page()
        page.goto(gateway.url)
        page.fill("#key", "wrong")
        page.press("#key", "Enter")
        expect(page.locator("#key-wrong")).to_be_visible(timeout=WAIT_MS)
        page.fill("#key", gateway.key)
        page.press("#key", "Enter")
        expect(page.locator("#key-dialog")).to_be_hidden(timeout=WAIT_MS)  # the key is checked and taken
        add(page, clip)
        ask(page, "What is it?")
        page.reload()
        expect(page.locator(".answer")).to_have_text("Yes.", timeout=WAIT_MS)
        expect(page.locator("#key-dialog")).to_be_hidden()
        kept = page.evaluate("() => JSON.stringify([Object.entries(localStorage)])")
        assert gateway.key not in kept
        assert all(one.headers.get("Authorization") == f"Bearer {gateway.key}" for one in gateway.asked("/v1/files"))
    finally:
        context.close()


@pytest.mark.long
def test_hostile_answers_and_names_are_shown_as_they_are(page, gateway, clip):
    gateway.answers = [Answer(pieces=(EVIL[:30], EVIL[30:]))]
    name = "<img src=x onerror=window.hacked=1>{{7*7}}\u202e.webm"
    page.set_input_files("#file", {"name": name, "mimeType": "video/webm", "buffer": clip.read_bytes()})
    expect(page.locator("#frames li")).to_have_count(8, timeout=WAIT_MS)
    ask(page, EVIL)
    assert page.locator(".answer").text_content() == EVIL
    assert page.locator(".question .words").text_content() == EVIL
    assert page.locator(".tab").first.text_content() == name
    page.click("#open-sessions")
    expect(page.locator("#session-list b")).to_have_text(name)
    assert page.locator("#log img, #log script, #log svg, #log a, #sessions img, #tabs img").count() == 0
    page.wait_for_timeout(100)  # whatever was smuggled in would have run by now; the fixture looks


def download(page, kind: str) -> str:
    page.click("#open-export")
    with page.expect_download() as waited:
        page.click(f"#export-{kind}")
    return Path(waited.value.path()).read_text("utf-8")


@pytest.mark.long
def test_exports_hold_the_talk_and_escape_it(page, gateway, clip):
    import webvtt

    gateway.answers = [TIMED, Answer(pieces=(f"At 0:01 {EVIL}\n", "* 1.0 to 2.5 s: <b>jump</b> & run"))]
    add(page, clip)
    ask(page, "List the events.")
    mark(page, 1.0, 4.0)
    ask(page, "Say more --> of it", 2)
    told = json.loads(download(page, "json"))
    assert told["form"] == "cineloop chat 1" and [turn["question"] for turn in told["turns"]][0] == "List the events."
    assert told["turns"][0]["events"][1] == {"start": 2, "end": 3.9, "text": "It jumps."}
    assert told["turns"][1]["about"][0]["start_s"] == 1 and told["turns"][1]["answer"].startswith("At 0:01 <img")
    assert told["turns"][1]["events"][-1] == {"start": 2, "end": 3.5, "text": "<b>jump</b> & run"}
    assert told["turns"][0]["seen"][0]["visual_tokens"] == 32
    text = download(page, "md")
    assert "<img" not in text.replace("\\<img", "") and "**Say more \\-\\-\\> of it**" in text
    vtt = download(page, "vtt")
    cues = webvtt.from_string(vtt)
    assert [(cue.start, cue.end) for cue in cues][:2] == [
        ("00:00:00.000", "00:00:01.900"),
        ("00:00:02.000", "00:00:03.000"),
    ]
    assert cues[0].text == "The robot walks to the right." and len(cues) == 5
    assert vtt.count("-->") == 5 and "<img" not in vtt and "\u2028" not in vtt


TIMES = [
    ("At [00:02] and 0:03.5 it stops", [(2, None), (3.5, None)]),
    ("0.0-2.9s: a ball", [(0, 2.9)]),
    ("0.0s \u2013 2.9 s", [(0, 2.9)]),
    ("from 1 to 3 seconds", [(1, 3)]),
    ("between 1.5 and 3 s", [(1.5, 3)]),
    ("it falls at 4.2 s.", [(4.2, None)]),
    ("after about 3 seconds", [(3, None)]),
    ("[00:01-00:05] or [1:02:03]", [(1, 5), (3723, None)]),
    ("[3.5s] a dog; 2.0 s: a cat", [(3.5, None)]),
    ("2.0 s: a cat\n- 3 s: a dog", [(2, None), (3, None)]),
    ("a 16:9 picture, ratio 1:234, 3 dogs, in 1990, at 10, 0:75, 4-5 balls, 1.2.3", []),
    ("it lasts 4.2 s", []),
    ("0.5.1:30 x 12:34:56:78", []),
    ("5-2 s", []),
]


@pytest.mark.long
def test_times_are_found_in_what_models_write(page):
    found = page.evaluate(
        """async (texts) => {
          const { findTimes } = await import("/page/times.js");
          return texts.map((text) => findTimes(text));
        }""",
        [text for text, _ in TIMES],
    )
    for (text, wanted), pieces in zip(TIMES, found, strict=True):
        assert "".join(piece["text"] for piece in pieces) == text
        assert [(p["start"], p["end"]) for p in pieces if "start" in p] == wanted, text
    beyond, cued, clocked = page.evaluate(
        """async () => {
          const { findTimes, cueTime, clock } = await import("/page/times.js");
          const times = [0, 59.96, 61.25, 3599.99, 3725.5, NaN];
          const beyond = findTimes("at 0:03 and 0:20", { duration: 5 });
          return [beyond, times.slice(0, 5).map(cueTime), times.map((s) => clock(s))];
        }"""
    )
    assert [piece.get("start") for piece in beyond] == [None, 3, None]
    assert cued == ["00:00:00.000", "00:00:59.960", "00:01:01.250", "00:59:59.990", "01:02:05.500"]
    assert clocked == ["0:00.0", "1:00.0", "1:01.3", "1:00:00.0", "1:02:05.5", "–:––"]


@pytest.mark.long
def test_in_a_narrow_window_the_answer_and_what_is_to_be_thought_of_it_are_in_sight(browser, gateway, clip):
    words = "A man in a blue coat rides a brown horse along the beach. " * 3
    gateway.answers = [Answer(pieces=(words,), warnings=(Notice("OUT_OF_DOMAIN", "unlike"),)) for _ in range(2)]
    with driving.opened(browser, gateway.url, viewport={"width": 360, "height": 640}) as page:
        add(page, clip)
        for number in (1, 2):
            ask(page, "What happens?", number)
            top = page.evaluate("() => document.querySelector('.ask').getBoundingClientRect().top")
            doubt, answer = page.locator(".doubts .warning").last, page.locator(".answer").last
            above, below = doubt.bounding_box(), answer.bounding_box()
            assert 0 <= above["y"] < below["y"] and below["y"] + below["height"] <= top, (above, below, top)
            sizes = [each.evaluate("node => parseFloat(getComputedStyle(node).fontSize)") for each in (doubt, answer)]
            assert sizes[0] > sizes[1]
