"""The second request: a caption to which its dialect objects is asked for once more, and the better one is kept.

In: the answers to decoded items, and the run's prompt and dialect (`v2t.styles.dialect`). Out: the answers. The second
request is the conversation so far (prompt with video, the model's answer) and the objections in words. The answer with
fewer errors is kept, of equals that with less advice, else the first; a warning ASKED_AGAIN says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from cineloop.errors import ItemError, Notice
from cineloop.journal import Entry
from v2t.backends import Decoding, GenerateRequest, Message, Output, user_turn
from v2t.backends.batching import Batcher
from v2t.caption.record import PromptSettings
from v2t.caption.wording import strip_preamble
from v2t.long.items import WorkItem, answer_fields, fields_of
from v2t.styles.dialect import is_error, weight

_REQUEST = (
    "This caption does not have the form that was asked for:\n{objections}\nWrite the whole caption again with this "
    "corrected, about the same video, and nothing else."
)


def ask_again(
    batcher: Batcher, items: Sequence[WorkItem], answers: list[Entry], question: PromptSettings, decoding: Decoding
) -> list[Entry]:
    """The answers (fields as in `v2t.long.items`), with better ones in place of those that the dialect objects to.

    Raises:
        MissingDependencyError: the model fails on everything, its server is gone, or NO_TOKENIZER.
    """
    if question.dialect is None or question.ask_again == "never":
        return answers
    objections = {}
    for number, (item, answer) in enumerate(zip(items, answers, strict=True)):
        if answer["error"] is None and answer["caption"]:
            raised = _objections(item, answer["caption"], question)
            if any(map(is_error, raised)) or (raised and question.ask_again == "advice"):
                objections[number] = raised
    if not objections:
        return answers
    start = time.perf_counter()
    requests = [
        _request(items[number], answers[number]["caption"], raised, question.prompt, decoding)
        for number, raised in objections.items()
    ]
    second_answers = batcher.generate_many(requests, retry_loops=True)
    seconds = (time.perf_counter() - start) / len(requests)
    better = list(answers)
    for (number, raised), second in zip(objections.items(), second_answers, strict=True):
        better[number] = _better(items[number], answers[number], raised, second, question, seconds)
    return better


def _objections(item: WorkItem, caption: str, question: PromptSettings) -> list[Notice]:
    text = strip_preamble(caption) if question.wording.strip_preamble else caption
    return question.objections(text, None if item.frames is None else float(item.frames.duration_s))


def _request(
    item: WorkItem, caption: str, objections: Sequence[Notice], prompt: str, decoding: Decoding
) -> GenerateRequest:
    assert item.frames is not None
    words = _REQUEST.format(objections="\n".join(f"- {objection.message}" for objection in objections))
    messages = (
        *user_turn(prompt, item.frames),
        Message(role="assistant", text=caption),
        Message(role="user", text=words),
    )
    return GenerateRequest(messages=messages, decoding=decoding)


def _better(
    item: WorkItem,
    first: Entry,
    objections: list[Notice],
    second: Output | ItemError,
    question: PromptSettings,
    seconds: float,
) -> Entry:
    """The better answer, with the tokens and seconds of both."""
    why = f"asked again because of {', '.join(dict.fromkeys(objection.code for objection in objections))}"
    if isinstance(second, ItemError) or not second.text.strip():
        problem = f"{second.code}: {second.message}" if isinstance(second, ItemError) else "it is empty"
        notice = Notice("ASKED_AGAIN", f"{why}; the second answer failed ({problem}), the first is kept")
        return {**first, "warnings": [*first["warnings"], fields_of(notice)]}
    answer = answer_fields(item.frames, second, seconds)
    is_better = weight(_objections(item, answer["caption"], question)) < weight(objections)
    notice = Notice("ASKED_AGAIN", f"{why}; the {'second' if is_better else 'first'} answer is kept")
    kept = answer if is_better else first
    return {
        **kept,
        "warnings": [*kept["warnings"], fields_of(notice)],
        "tokens": first["tokens"] + answer["tokens"],
        "seconds": round(first["seconds"] + seconds, 4),
    }
