"""Prometheus metrics, in a separate registry; labels take few values, none of them from a client.

In: observations of the gateway's parts. Out: the text of `GET /metrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_ANSWER_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_DECODE_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The server's metrics; the members are Prometheus' own counters."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        counter, histogram = partial(Counter, registry=registry), partial(Histogram, registry=registry)
        self.requests = counter("v2t_requests_total", "Requests answered", ("route", "code"))
        about = "From a request's head to the end of its answer"
        self.request_seconds = histogram("v2t_request_seconds", about, ("route",), buckets=_ANSWER_S)
        about = "From a streamed question to its first text"
        self.first_piece_seconds = histogram("v2t_time_to_first_piece_seconds", about, buckets=_ANSWER_S)
        self.videos = counter("v2t_videos_total", "Videos decoded", ("source", "outcome"))
        about = "Fetching and decoding one video, waiting included"
        self.decode_seconds = histogram("v2t_decode_seconds", about, buckets=_DECODE_S)
        self.frames = counter("v2t_frames_total", "Frames shown to the model")
        self.answer_tokens = counter("v2t_answer_tokens_total", "Tokens of answers")

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self.requests.labels(route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A gauge that is read on each scrape."""
        Gauge(name, about, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
