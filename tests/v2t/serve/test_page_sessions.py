"""Videos and sessions of the chat page: what is refused before it is sent, cannot be played, was forgotten by the
server; several videos, edits, history; and the page by keyboard, on a phone, in the dark."""

from __future__ import annotations

import threading

import pytest

from cineloop.errors import Notice
from page_driving import WAIT_MS, add, ask, at, mark, refusals, unreadable, width
from stand_in_gateway import Answer, addresses

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (a test tool, extra dev)")
expect = sync_api.expect
pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def texts(body: dict) -> list[str]:
    """What was said in a chat request, in order."""
    said = []
    for message in body["messages"]:
        parts = message["content"]
        said += [parts] if isinstance(parts, str) else [part["text"] for part in parts if part["type"] == "text"]
    return said


@pytest.mark.parametrize(
    ("name", "kind", "num_bytes", "words"),
    [
        ("big.webm", "video/webm", 2 * 1024 * 1024 + 1, "this server takes 2 MiB at most"),
        ("notes.txt", "text/plain", 9, "notes.txt is not a video (text/plain)."),
        ("empty.webm", "video/webm", 0, "empty.webm is empty."),
    ],
)
def test_what_the_server_would_refuse_is_not_sent(page, gateway, name, kind, num_bytes, words):
    expect(page.locator("#limits")).to_contain_text("2 MiB", timeout=WAIT_MS)
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": b"x" * num_bytes})
    expect(page.locator("#refused")).to_contain_text(words)
    assert gateway.asked("/v1/files") == []


@pytest.mark.long
def test_a_video_the_browser_cannot_play_is_asked_about_all_the_same(page, gateway, clip):
    gateway.answers = [Answer(pieces=("It jumps at 2.5 s.",))]
    page.set_input_files("#file", {"name": "old.avi", "mimeType": "video/x-msvideo", "buffer": b"RIFF" + b"x" * 99})
    expect(page.locator("#unplayable")).to_contain_text("This browser cannot play video/x-msvideo.", timeout=WAIT_MS)
    expect(page.locator("#unplayable")).to_be_visible()
    expect(page.locator("#frames li")).to_have_count(8, timeout=WAIT_MS)
    ask(page, "When does it jump?")
    page.locator(".answer .time").click()
    at(page, "0:02.5")
    expect(page.locator("#still")).to_have_attribute("alt", "Frame at 0:02.5")
    page.locator("#scrub").press("i")
    expect(page.locator("#about")).to_have_text("About 0:02.5 to 0:04.0")


@pytest.mark.long
def test_a_file_that_is_no_video_inside_is_said_to_be_none(page, gateway):
    page.set_input_files("#file", {"name": "torn.webm", "mimeType": "video/webm", "buffer": b"x" * 99})
    expect(page.locator("#unplayable")).to_contain_text("This browser cannot play it.", timeout=WAIT_MS)


@pytest.mark.long
def test_a_broken_file_is_not_called_one_to_ask_about(page):
    error = {"error": {"message": "the video is truncated", "code": "TRUNCATED", "request_id": "req-1"}}
    page.route("**/v1/frames", lambda route: route.fulfill(status=422, json=error))
    page.set_input_files("#file", {"name": "torn.webm", "mimeType": "video/webm", "buffer": b"x" * 99})
    expect(page.locator("#seen-text")).to_contain_text("no frames: the video is truncated", timeout=WAIT_MS)
    expect(page.locator("#unplayable")).to_have_text("This browser cannot play it.", timeout=WAIT_MS)
    refusals(page, 422)


@pytest.mark.long
def test_what_the_server_forgot_is_sent_again_unasked(page, gateway, clip):
    add(page, clip)
    ask(page, "What is it?")
    first = next(iter(gateway.files))
    gateway.files.clear()
    ask(page, "Of what colour?", 2)
    assert first not in gateway.files and len(gateway.asked("/v1/files")) == 2
    assert addresses(gateway.chats()[-1]) == [f"upload:{next(iter(gateway.files))}"]
    gateway.files.clear()
    page.reload()  # the file is kept in the browser
    expect(page.locator("#frames li")).to_have_count(8, timeout=WAIT_MS)
    ask(page, "How many?", 3)
    assert len(gateway.asked("/v1/files")) == 3
    refusals(page, 404)


_SLOW_STORE = """
const open = IDBFactory.prototype.open;
IDBFactory.prototype.open = function (...args) {
  const request = open.apply(this, args);
  const opened = new Promise((done) => request.addEventListener("success", done));
  Object.defineProperty(request, "onsuccess", { set: (handler) => {
    window.letStoreOpen = () => opened.then((event) => handler.call(request, event));
  } });
  return request;
};
"""


@pytest.mark.long
def test_a_video_chosen_while_the_page_still_reads_its_history_is_not_lost(browser, gateway, clip):
    context = browser.new_context()
    context.set_default_timeout(WAIT_MS)
    context.add_init_script(f"if (!sessionStorage.seen) {{ sessionStorage.seen = 1; {_SLOW_STORE} }}")
    try:
        page = context.new_page()
        page.goto(gateway.url)
        page.set_input_files("#file", str(clip))
        page.evaluate("() => window.letStoreOpen()")
        expect(page.locator("#frames li")).to_have_count(8, timeout=WAIT_MS)
        ask(page, "What is it?")
        page.reload()
        expect(page.locator("#frames li")).to_have_count(8, timeout=WAIT_MS)
        expect(page.locator(".turn[data-state=done]")).to_have_count(1, timeout=WAIT_MS)
    finally:
        context.close()


@pytest.mark.long
def test_questions_put_while_the_video_is_on_its_way_wait_for_it(page, gateway, clip):
    gateway.upload_gate = threading.Event()
    page.set_input_files("#file", str(clip))
    page.fill("#question", "What is it?")
    page.press("#question", "Enter")
    expect(page.locator(".wait")).to_contain_text("Sending the video", timeout=WAIT_MS)
    gateway.upload_gate.set()
    expect(page.locator(".turn[data-state=done]")).to_have_count(1, timeout=WAIT_MS)
    assert addresses(gateway.chats()[0]) == [f"upload:{next(iter(gateway.files))}"]


@pytest.mark.long
def test_a_video_that_was_on_its_way_when_the_page_was_left_is_sent_anew(page, gateway, clip):
    gateway.upload_gate = threading.Event()
    page.set_input_files("#file", str(clip))
    gateway.wait(lambda: gateway.asked("/v1/files"))
    page.reload()
    gateway.upload_gate.set()
    expect(page.locator("#frames li")).to_have_count(8, timeout=WAIT_MS)
    ask(page, "What is it?")
    assert len(gateway.asked("/v1/files")) == 2


@pytest.mark.long
def test_two_videos_are_asked_about_together_and_by_themselves(page, gateway, clip, tmp_path):
    gateway.answers = [Answer(pieces=("One.",)), Answer(pieces=("Both.",))]
    add(page, clip)
    ask(page, "What is it?")
    other = tmp_path / "other.webm"
    other.write_bytes(clip.read_bytes())
    page.click("#add")
    expect(page.locator("#drop")).to_be_visible()
    add(page, other)
    expect(page.locator(".tab[aria-pressed=true]")).to_have_text("other.webm")
    page.check("#all")
    mark(page, 1, 2)
    ask(page, "Which jumps?", 2)
    one, two = (f"upload:{id}" for id in gateway.files)
    assert addresses(gateway.chats()[1]) == [one, one, f"{two}#t=1,2"]
    page.locator(".tab", has_text="robot.webm").click()
    page.uncheck("#all")
    ask(page, "And here?", 3)
    assert addresses(gateway.chats()[2])[-1] == one
    for _ in range(2):  # the server takes four videos in one request: the earliest of the talk are left out
        page.check("#all")
        ask(page, "Both?", page.locator(".turn").count() + 1)
        page.uncheck("#all")
        ask(page, "One?", page.locator(".turn").count() + 1)
    assert all(len(addresses(body)) <= 4 for body in gateway.chats())
    expect(page.locator(".turn").last).to_contain_text("were left out")
    page.click("#remove")
    expect(page.locator(".tab[title]")).to_have_count(1)
    gateway.wait(lambda: len(gateway.files) == 1)


@pytest.mark.long
def test_editing_a_question_takes_the_place_of_what_came_after(page, gateway, clip):
    gateway.answers = [Answer(pieces=(text,)) for text in ("First.", "Second.", "Third.")]
    add(page, clip)
    ask(page, "What is it?")
    ask(page, "Of what colour?", 2)
    page.get_by_role("button", name="Edit question").first.click()
    expect(page.locator("#question")).to_have_value("What is it?")
    expect(page.locator("#editing")).to_be_visible()
    page.click("#cancel-edit")
    expect(page.locator(".turn")).to_have_count(2)
    page.get_by_role("button", name="Edit question").first.click()
    ask(page, "Who is it?")
    expect(page.locator(".turn")).to_have_count(1)
    assert texts(gateway.chats()[-1]) == ["Who is it?"]
    expect(page.locator(".answer")).to_have_text("Third.")


@pytest.mark.long
def test_presets_and_settings_go_into_the_request(page, gateway, clip):
    add(page, clip)
    ask(page, "What is it?")
    page.click("#open-settings")
    page.select_option("#model", "adapted")
    page.fill("#max-tokens", "9999")
    page.fill("#temperature", "0.7")
    page.locator("#settings .close").click()
    page.reload()
    expect(page.locator("#frames li")).to_have_count(8, timeout=WAIT_MS)
    page.get_by_role("button", name="Summary").click()
    expect(page.locator(".turn[data-state=done]")).to_have_count(2, timeout=WAIT_MS)
    body = gateway.chats()[-1]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("adapted", 512, 0.7)
    assert texts(body) == ["Describe the video in detail."], "whole in itself: without the talk before"
    page.click("#open-settings")
    page.uncheck("#remember")
    page.keyboard.press("Escape")
    ask(page, "And?", 3)
    assert texts(gateway.chats()[-1]) == ["And?"]


@pytest.mark.long
def test_sessions_are_kept_opened_and_deleted(page, gateway, clip):
    gateway.answers = [Answer(pieces=("In the first.",)), Answer(pieces=("In the second.",))]
    add(page, clip)
    ask(page, "What is it?")
    page.click("#new-session")
    expect(page.locator("#drop")).to_be_visible()
    expect(page.locator(".turn")).to_have_count(0)
    add(page, clip)
    ask(page, "Again?")
    page.click("#open-sessions")
    expect(page.locator("#session-list li")).to_have_count(2)
    page.locator("#session-list .open").nth(1).click()
    expect(page.locator(".answer")).to_have_text("In the first.")
    expect(page.locator("#frames li")).to_have_count(8, timeout=WAIT_MS)
    page.click("#open-sessions")
    page.locator("#session-list li", has=page.locator("[aria-current]")).get_by_role("button", name="Delete").click()
    expect(page.locator("#session-list li")).to_have_count(1)
    page.locator("#sessions .close").click()
    expect(page.locator(".turn")).to_have_count(0)
    gateway.wait(lambda: len(gateway.files) == 1)
    page.click("#open-sessions")
    page.locator("#session-list .open").click()
    expect(page.locator(".answer")).to_have_text("In the second.")


@pytest.mark.long
def test_by_keyboard_alone(page, gateway, clip):
    gateway.answers = [Answer(pieces=("It jumps [0:02].",))]
    page.once("filechooser", lambda chooser: chooser.set_files(str(clip)))
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.locator(".skip")).to_be_in_viewport()
    for _ in range(5):
        page.keyboard.press("Tab")
    expect(page.locator("#choose")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#frames li")).to_have_count(8, timeout=WAIT_MS)
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("i or o?")  # letters in a question mark nothing
    expect(page.locator("#about")).to_have_text("About the whole video")
    page.keyboard.press("Enter")
    expect(page.locator(".turn[data-state=done]")).to_have_count(1, timeout=WAIT_MS)
    for _ in range(40):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("() => document.activeElement.className") == "time":
            break
    expect(page.locator(".time")).to_be_focused()
    assert page.locator(".time").evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    at(page, "0:02.0")
    page.keyboard.press("i")
    expect(page.locator("#about")).to_have_text("About 0:02.0 to 0:04.0")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea")].filter((node) =>
          !node.textContent.trim() && !node.ariaLabel && !node.labels?.length).map((node) => node.id)"""
    )
    assert nameless == []


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone_and_text_can_be_read(page, gateway, clip, scheme):
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": 360, "height": 740})
    assert width(page) <= 360
    long = "https://" + "a" * 300
    gateway.answers = [
        Answer(pieces=(f"0.0-1.9s: {long}\n[0:02] it falls",), warnings=(Notice("OUT_OF_DOMAIN", long),)),
        Answer(pieces=("half",), end="drop"),
    ]
    add(page, clip)
    mark(page, 1, 2)
    ask(page, f"What is {long}?")
    ask(page, "And?", state="failed")
    assert width(page) <= 360 and unreadable(page) == []
    for name in ("sessions", "export", "settings"):
        page.click(f"#open-{name}")
        expect(page.locator(f"#{name}")).to_be_in_viewport(ratio=0.99)
        assert width(page) <= 360 and unreadable(page) == []
        page.keyboard.press("Escape")
