"""Many conversations put to a captioner: in batches of one shape, or from as many threads as it takes at once.

In: conversations and how to decode. Out: an answer or the error of each, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from v2t.base.errors import ItemError
from v2t.captioners import CaptionerLike, CaptionOutput, Conversation, Decoding


def answers(
    captioner: CaptionerLike, conversations: Sequence[Conversation], decoding: Decoding, batch_size: int
) -> list[CaptionOutput | ItemError]:
    """One answer, or its error, for each conversation.

    Raises:
        MissingDependencyError: the model or its server is gone.
    """
    if captioner.concurrency > 1 and len(conversations) > 1:
        with ThreadPoolExecutor(min(captioner.concurrency, len(conversations))) as threads:
            return list(threads.map(lambda one: _batch(captioner, [one], decoding)[0], conversations))
    found: dict[int, CaptionOutput | ItemError] = {}
    shapes: dict[tuple, list[int]] = {}
    for number, conversation in enumerate(conversations):
        shapes.setdefault(tuple(v.pixels.shape for m in conversation for v in m.videos), []).append(number)
    for numbers in shapes.values():
        for first in range(0, len(numbers), batch_size):
            batch = numbers[first : first + batch_size]
            found |= dict(zip(batch, _batch(captioner, [conversations[i] for i in batch], decoding), strict=True))
    return [found[number] for number in range(len(conversations))]


def _batch(
    captioner: CaptionerLike, batch: Sequence[Conversation], decoding: Decoding
) -> list[CaptionOutput | ItemError]:
    """Answers to a batch; when it fails, those of its halves, down to the conversation at fault."""
    try:
        return list(captioner.answer(batch, decoding))
    except ItemError as problem:
        if len(batch) == 1:
            return [problem]
    middle = len(batch) // 2
    return [*_batch(captioner, batch[:middle], decoding), *_batch(captioner, batch[middle:], decoding)]
