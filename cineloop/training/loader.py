"""Batches made ahead by worker processes, in an order that a single integer can resume.

In: a source, `source(start, count) -> batch`, a pure function of the sample numbers it is asked for. Out: an
iterator of batches. As the source is pure, the position in the data is the number of samples seen, and any
number of workers and processes gives the same batches in the same order.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

Source = Callable[[int, int], Any]


def spans(
    first_step: int, steps: int, batch_size: int, micro_batch: int, rank: int, world: int
) -> Iterator[tuple[int, int]]:
    """(first sample, count) of every micro-batch of one process, in order.

    Step s takes samples [s·batch_size, (s+1)·batch_size); process r takes the r-th equal share of them.
    """
    share = batch_size // world
    for step in range(first_step, steps):
        for offset in range(0, share, micro_batch):
            yield step * batch_size + rank * share + offset, micro_batch


def stream(source: Source, wanted: Iterable[tuple[int, int]], *, workers: int, pin: bool = False) -> Iterator[Any]:
    """Batches for the wanted spans, made `workers` processes ahead (0: in this process).

    Raises:
        Whatever the source raises, with the worker's traceback.
    """
    loader = DataLoader(
        _Spans(source),
        batch_size=None,
        sampler=wanted,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_quiet,
        pin_memory=pin,
        # An own generator, so that the loader draws its worker seed without moving the training's random state.
        generator=torch.Generator().manual_seed(0),
    )
    return _until_end(iter(loader))


def _until_end(batches: Any) -> Iterator[Any]:
    """The batches; whatever ends them ends the workers. They hear no SIGTERM (see `_quiet`), so an interpreter that
    leaves with one of them alive would wait for it for ever."""
    try:
        yield from batches
    finally:
        getattr(batches, "_shutdown_workers", lambda: None)()


class _Spans(Dataset):
    """A source as a map from (start, count) to a batch."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, span: tuple[int, int]) -> Any:
        return self.source(*span)


def _quiet(_: int) -> None:
    # Ctrl-C, a time limit or a scheduler signals the whole group; the parent saves and stops, and its workers, which
    # watch whether it lives, end with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
