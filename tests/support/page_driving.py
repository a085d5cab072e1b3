"""What tests do with the chat page in a browser: open it, add a video, ask, mark; and hold it to its promises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WAIT_MS = 60_000


@contextmanager
def opened(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    """The page; at its end: no error, nothing smuggled in has run, nobody else was asked."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True, **options)
    context.set_default_timeout(WAIT_MS)
    try:
        page = context.new_page()
        page.errors, asked = [], []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda said: page.errors.append(said.text) if said.type == "error" else None)
        page.on("dialog", lambda dialog: page.errors.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        yield page
        assert page.evaluate("() => window.hacked") is None
        assert [one for one in asked if not one.startswith((url, "blob:", "data:"))] == []
        assert page.errors == []
    finally:
        context.close()


def refusals(page: Any, *statuses: int) -> None:
    """A browser writes every refused request into its console; those that a test wants are no errors of the page."""
    wanted = tuple(f"status of {status}" for status in statuses)
    page.errors[:] = [text for text in page.errors if not any(one in text for one in wanted)]


def _expect(found: Any) -> Any:
    from playwright.sync_api import expect

    return expect(found)


def add(page: Any, clip: Path, num_frames: int = 8) -> None:
    """Chooses a file and waits for the frames the model would be sent."""
    page.set_input_files("#file", str(clip))
    _expect(page.locator("#frames li")).to_have_count(num_frames, timeout=WAIT_MS)


def ask(page: Any, question: str, num_turns: int = 1, state: str = "done") -> None:
    """Asks, and waits until so many turns have come to this state."""
    page.fill("#question", question)
    page.press("#question", "Enter")
    _expect(page.locator(f".turn[data-state={state}]")).to_have_count(num_turns, timeout=WAIT_MS)


def at(page: Any, second: str) -> None:
    """The player stands there."""
    _expect(page.locator("#now")).to_have_text(re.compile(rf"^{re.escape(second)} /"), timeout=WAIT_MS)


def mark(page: Any, start: float, end: float) -> None:
    """Marks a range with the keys."""
    for second, key in ((start, "i"), (end, "o")):
        page.locator("#scrub").fill(str(second))
        page.locator("#scrub").press(key)
