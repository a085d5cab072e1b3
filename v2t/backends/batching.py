"""Batched generation: many requests to one captioner, an answer or an error for each.

In: `GenerateRequest`s from caption, ask, judge or serve. Out: an `Output` or the `ItemError` of each, in order. A
captioner in this process gets batches of one shape and one `Decoding`; one that takes concurrent requests gets them
from as many threads. A batch that fails, with any exception, is halved until the failing request is alone. On request,
an answer that repeats itself is generated again with other decoding parameters.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

from cineloop.errors import CineloopError, ItemError, MissingDependencyError, Notice
from cineloop.log import logger, printable
from v2t.backends import Decoding, GenerateRequest, Output, VideoLM

Answer = Output | ItemError
_MAX_FAILURES = 16  # without a success in between: the model or its server is broken, not the requests
_FAILURE_CODES = ("MODEL_ERROR", "SERVER_ERROR", "BAD_REQUEST")
# Decoding changes to try on a repetitive answer, in order (Keskar et al. 2019, arXiv 1909.05858, section 4.1).
_RETRIES: tuple[dict[str, Any], ...] = ({"repetition_penalty": 1.3}, {"temperature": 0.7})

# Loops: greedy decoding may repeat the same words for ever, which Holtzman et al. 2020 (arXiv 1904.09751) call
# degeneration. Only exact repetition counts, case and punctuation aside: similar events have different times.
_TAIL_WORDS = 4000  # a loop continues to the end, so only the end is searched
_LONGEST_PERIOD = 80
_TAIL_CHARS = 2000
_LONGEST_CHARS = 40
_SENTENCE = re.compile(r"[^.!?\n。！？]+")


class Batcher:
    """One captioner with its count of consecutive failures; thread-safe.

    Args:
        captioner: loaded before the first request.
    """

    def __init__(self, captioner: VideoLM) -> None:
        self.captioner = captioner
        self._failures = 0
        self._lock = threading.Lock()

    def generate(self, request: GenerateRequest, *, retry_loops: bool = False) -> Output:
        """The answer to one request; `retry_loops` as in `generate_many`. Raises ItemError: the request failed;
        MissingDependencyError: every request fails, or the server is gone."""
        (answer,) = self.generate_many([request], retry_loops=retry_loops)
        if isinstance(answer, ItemError):
            raise answer
        return answer

    def generate_many(
        self, requests: Sequence[GenerateRequest], *, batch_size: int | None = None, retry_loops: bool = False
    ) -> list[Answer]:
        """One answer or error for each request.

        Args:
            requests: with videos of any shapes.
            batch_size: requests of one batch at most, >= 1; None for all of one shape.
            retry_loops: retry an answer that repeats itself; a warning states it.

        Raises:
            MissingDependencyError: the model fails on everything, or its server is gone.
        """
        if self.captioner.concurrency > 1 and len(requests) > 1:
            with ThreadPoolExecutor(min(self.captioner.concurrency, len(requests))) as threads:
                answers = list(threads.map(lambda one: self.answer_batch([one])[0], requests))
        else:
            groups: dict[Any, list[int]] = {}
            for number, request in enumerate(requests):
                key = batch_key(request, batches_draws=self.captioner.batches_draws)
                groups.setdefault(number if key is None else key, []).append(number)
            by_number: dict[int, Answer] = {}
            for group in groups.values():
                size = batch_size or len(group)
                for numbers in (group[first : first + size] for first in range(0, len(group), size)):
                    by_number |= dict(zip(numbers, self.answer_batch([requests[i] for i in numbers]), strict=True))
            answers = [by_number[number] for number in range(len(requests))]
        texts = {i: one.text for i, one in enumerate(answers) if retry_loops and isinstance(one, Output)}
        loops = {i: what for i, text in texts.items() if (what := loop(text)) is not None}
        return self._retry_loops(requests, answers, loops, batch_size) if loops else answers

    def stream(self, request: GenerateRequest) -> Iterator[str | Output]:
        """The answer to one request in pieces, see `VideoLM.stream`; errors as `generate`."""
        try:
            with closing(self.captioner.stream(request.messages, request.decoding)) as pieces:  # type: ignore[type-var]
                yield from pieces
        except CineloopError:
            raise
        except Exception as error:
            problem = _request_error(error)
        else:
            self._failures = 0
            return
        raise self._count_failure(problem)

    def answer_batch(self, batch: Sequence[GenerateRequest]) -> list[Answer]:
        """Answers to requests of one shape and one decoding; if it fails, to its halves, down to the failing one.
        Raises MissingDependencyError: as `generate_many`."""
        try:
            outputs = self.captioner.answer([request.messages for request in batch], batch[0].decoding)
            if len(outputs) != len(batch):
                raise ValueError(f"{len(outputs)} answers to {len(batch)} requests")
        except ItemError as error:
            problem = error
        except CineloopError:
            raise
        except Exception as error:  # a model may fail in any way on one clip, and that must not end the run
            problem = _request_error(error)
        else:
            self._failures = 0
            return list(outputs)
        # Outside the except block: nothing refers to the model's error, its frames and the device memory they hold.
        if len(batch) > 1:
            middle = len(batch) // 2
            return [*self.answer_batch(batch[:middle]), *self.answer_batch(batch[middle:])]
        failure = self._count_failure(problem)
        if isinstance(failure, ItemError):
            return [failure]
        raise failure

    def _count_failure(self, problem: ItemError) -> CineloopError:
        """The error of one request, or a fatal one after too many consecutive failures to blame a single clip."""
        if problem.code not in _FAILURE_CODES:
            return problem
        with self._lock:
            self._failures += 1
            count = self._failures
        if count < _MAX_FAILURES:
            return problem
        text = problem.message
        if problem.code == "MODEL_ERROR":
            hint = "try --device cpu or another model"
            return MissingDependencyError(f"{count} requests failed in a row: {text}", code="MODEL_BROKEN", hint=hint)
        hint = "check the server, then run again with --retry-failed"
        return MissingDependencyError(f"{count} requests failed in a row: {text}", code="SERVER", hint=hint)

    def _retry_loops(
        self,
        requests: Sequence[GenerateRequest],
        answers: list[Answer],
        loops: Mapping[int, str],
        batch_size: int | None,
    ) -> list[Answer]:
        """Answers, those in `loops` (number -> description) replaced where a retry gives a better one."""
        attempts = {i: [answers[i]] for i in loops}
        open_ones = list(loops)
        for changes in _RETRIES:
            again = [requests[i] for i in open_ones]
            again = [replace(request, decoding=replace(request.decoding, **changes)) for request in again]
            for i, answer in zip(open_ones, self.generate_many(again, batch_size=batch_size), strict=True):
                attempts[i].append(answer)
            last = {i: attempts[i][-1] for i in open_ones}
            open_ones = [i for i, one in last.items() if isinstance(one, ItemError) or loop(one.text) is not None]
        return [_best_answer(attempts[i], loops[i]) if i in loops else answer for i, answer in enumerate(answers)]


def batch_key(
    request: GenerateRequest, *, batches_draws: bool = False
) -> tuple[tuple[tuple[int, ...], ...], Decoding] | None:
    """What the requests of one batch have in common: the shapes of their videos' pixels, and the decoding. None for a
    request that goes alone: with sampling or the repetition penalty an answer depends on padding and position in the
    batch, unless the captioner declares `batches_draws`."""
    decoding = request.decoding
    if (decoding.temperature > 0 or decoding.repetition_penalty != 1.0) and not batches_draws:
        return None
    return tuple(video.pixels.shape for turn in request.messages for video in turn.videos), decoding


def _request_error(error: Exception) -> ItemError:
    """A model's exception as an error of the request."""
    logger.debug("the model failed", exc_info=error)
    reason = f"the model failed: {type(error).__name__}: {printable(str(error), 300)}"
    text = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return ItemError(reason, code="OUT_OF_MEMORY", hint="fewer --frames")
    return ItemError(reason, code="MODEL_ERROR", hint="run again with -v")


def _best_answer(candidates: Sequence[Answer], repetition: str) -> Output:
    """The first answer without repetition, else the shortest that is not empty; with a warning."""
    answers = [one for one in candidates if isinstance(one, Output) and one.text.strip()]
    good = [one for one in answers if loop(one.text) is None]
    best = good[0] if good else min(answers, key=lambda one: len(one.text))
    how = "asked again with other decoding" if good else f"and still so after {len(candidates) - 1} more tries"
    return replace(best, warnings=(*best.warnings, Notice("REPETITION", f"{repetition}; {how}")))


def loop(text: str) -> str | None:
    """Description of a loop in `text`; None if there is no loop.

    A loop is: one word at least 6 times in a row, two words 5 times, three or more words 4 times (3 times from 12
    words on); or, in writing without spaces, the same characters at the end at least 8 times; or one sentence that
    makes up half of at least 8 sentences.
    """
    words = [word.strip(".,;:!?\"'()[]*_-") or word for word in text.casefold().split()[-_TAIL_WORDS:]]
    best, covered = None, 0  # the repetition that covers most words, the shortest period of equals
    for period in range(1, min(_LONGEST_PERIOD, len(words) // 3) + 1):
        run = 0
        least = {1: 6, 2: 5}.get(period, 4 if period < 12 else 3)  # repetitions in a row that make a loop
        for i in range(len(words) - period):
            run = run + 1 if words[i] == words[i + period] else 0
            times = run // period + 1
            if run > covered and times >= least:
                best, covered = (words[i - run + 1 : i - run + 1 + period], times), run
    if best is not None:
        return f'the words "{printable(" ".join(best[0]), 60)}" come {best[1]} times in a row'
    tail = text.strip()[-_TAIL_CHARS:]
    for period in range(1, min(_LONGEST_CHARS, len(tail) // 8) + 1):
        run = 0
        while run < len(tail) - period and tail[-1 - run] == tail[-1 - run - period]:
            run += 1
        times = run // period + 1
        # A ruled line (one character, up to 80 times) is not a loop.
        is_one = len(set(tail[len(tail) - period :])) == 1
        if times >= ((16 if tail[-1].isalnum() else 81) if period == 1 else 8) and (period == 1 or not is_one):
            piece = tail[len(tail) - run - period :][:period]
            return f'the characters "{printable(piece, 60)}" come {times} times in a row at the end'
    sentences = [s for s in (" ".join(m.split()) for m in _SENTENCE.findall(text.casefold()[-200_000:])) if s]
    if len(sentences) >= 8:
        sentence, times = Counter(sentences).most_common(1)[0]
        if 2 * times >= len(sentences) and len(sentence.split()) >= 3:
            return f'the sentence "{printable(sentence, 60)}" comes {times} times'
    return None
