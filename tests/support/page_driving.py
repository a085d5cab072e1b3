"""What tests do with pages in a browser: open them and hold them to what all pages promise (`opened`, `unreadable`,
`width`); with the chat page: add a video, ask, mark a range."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WAIT_MS = 60_000


# What WCAG 2 AA asks of text: a contrast of 4.5 with what is behind it.
_UNREADABLE = """(most) => {
  const light = (colour) => {
    const part = colour.match(/[\\d.]+/g).slice(0, 3).map((one) => {
      const share = one / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const texts = [...document.querySelectorAll("body *")].filter((node) => !node.disabled &&
    [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim()) && node.checkVisibility());
  return texts.slice(0, most).map((node) => {
    const [a, b] = [light(getComputedStyle(node).color), light(ground(node))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), node.className, node.textContent.slice(0, 30)];
  }).filter((one) => one[0] < 4.5);
}"""


@contextmanager
def opened(
    browser: Any,
    url: str,
    *,
    near: str = "",
    levels: tuple[str, ...] = ("error",),
    wanted: tuple[str, ...] = (),
    **options: Any,
) -> Iterator[Any]:
    """The page; at its end: no message of these levels but with one of the texts `wanted`, nothing smuggled in has run,
    nobody was asked but what is `near`, the start of an address (by default `url`)."""
    options = {"viewport": {"width": 1280, "height": 800}, **options}
    context = browser.new_context(accept_downloads=True, **options)
    context.set_default_timeout(WAIT_MS)
    try:
        page = context.new_page()
        page.errors, asked = [], []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda said: page.errors.append(said.text) if said.type in levels else None)
        page.on("dialog", lambda dialog: page.errors.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        yield page
        assert page.evaluate("() => window.hacked") is None
        assert [one for one in asked if not one.startswith((near or url, "blob:", "data:"))] == []
        assert [text for text in page.errors if not any(one in text for one in wanted)] == []
    finally:
        context.close()


def unreadable(page: Any, most: int = 1500) -> list[list[Any]]:
    """Contrast, class and first letters of the shown texts, of the first so many, that are too faint to be read."""
    return page.evaluate(_UNREADABLE, most)


def width(page: Any) -> int:
    """Pixels that the page is wide, with what reaches out of the window."""
    return page.evaluate("() => document.documentElement.scrollWidth")


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
