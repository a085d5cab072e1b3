"""Stop strings: where an answer ends."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """An answer that ends before the stop string that is complete first; what may become one is held back.

    However the answer comes in pieces, the same is let through.

    Attributes:
        read: the answer so far, up to the end of the stop string. is_over: there was one.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held = stops, ""
        self.read, self.is_over = "", False

    def feed(self, piece: str) -> str:
        """What can be passed on after one more piece."""
        if self.is_over:
            return ""
        text = self._held + piece
        self.read += piece
        found = [(text.find(stop) + len(stop), text.find(stop)) for stop in self._stops if stop in text]
        if found:
            end, begin = min(found)
            self.is_over, self._held = True, ""
            self.read = self.read[: len(self.read) - len(text) + end]
            return text[:begin]
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                self._held = text[-length:]
                return text[:-length]
        self._held = ""
        return text

    def end(self) -> str:
        """What is left at the end."""
        held, self._held = self._held, ""
        return held
