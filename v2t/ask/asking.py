"""Many conversations put to a captioner: in batches of one shape, or from as many threads as it takes at once.

In: conversations and how to decode. Out: an answer or the error of each, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from v2t.base.errors import ItemError
from v2t.captioners import CaptionerLike, CaptionOutput, Conversation, Decoding, in_halves


def answers(
    captioner: CaptionerLike, conversations: Sequence[Conversation], decoding: Decoding, batch_size: int
) -> list[CaptionOutput | ItemError]:
    """One answer, or its error, for each conversation.

    Raises:
        MissingDependencyError: the model or its server is gone.
    """

    def ask(batch: Sequence[Conversation]) -> list[CaptionOutput]:
        return captioner.answer(batch, decoding)

    if captioner.concurrency > 1 and len(conversations) > 1:
        with ThreadPoolExecutor(min(captioner.concurrency, len(conversations))) as threads:
            return list(threads.map(lambda one: in_halves(ask, [one])[0], conversations))
    found: dict[int, CaptionOutput | ItemError] = {}
    shapes: dict[tuple, list[int]] = {}
    for number, conversation in enumerate(conversations):
        shapes.setdefault(tuple(v.pixels.shape for m in conversation for v in m.videos), []).append(number)
    for numbers in shapes.values():
        for first in range(0, len(numbers), batch_size):
            batch = numbers[first : first + batch_size]
            found |= dict(zip(batch, in_halves(ask, [conversations[i] for i in batch]), strict=True))
    return [found[number] for number in range(len(conversations))]
