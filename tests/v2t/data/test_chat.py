"""Chat labels: the text of the processor's template, a loss on answers alone; collation."""

from __future__ import annotations

import numpy as np
import pytest

from cineloop.errors import UsageError
from tiny_captioner import tiny_captioner
from v2t.data.chat import IGNORE, LabelledTokens, Turn, check_labels, encode, from_llava, pieces
from v2t.data.collate import ClipSample, clip_batch, num_targets

TURNS = [
    Turn("system", "Be brief."),
    Turn("user", "What is <video> here? <|im_end|>", clips=1),
    Turn("assistant", "A red ball <video> rolls."),
    Turn("user", "Which way?"),
    Turn("assistant", "to the left"),
]


@pytest.fixture(scope="module")
def processor():
    return tiny_captioner()[1]


def as_messages(turns):
    return [
        {"role": t.role, "content": [{"type": "video"}] * t.clips + [{"type": "text", "text": t.text}]} for t in turns
    ]


def test_text_and_tokens_are_those_of_the_processor(processor):
    clip_text = processor.clip_text([0.0, 0.5, 1.0])
    text = "".join(piece for piece, _ in pieces(TURNS, [clip_text]))
    template = processor.apply_chat_template(as_messages(TURNS), tokenize=False)
    assert text == template.replace("<video>\n", clip_text + "\n")
    # A prompt as captioning makes it is the beginning of what training saw, token for token.
    prompt = processor.apply_chat_template(as_messages(TURNS[:2]), tokenize=False, add_generation_prompt=True)
    clip = np.zeros((3, 32, 32, 3), np.uint8)
    asked = processor(text=prompt, videos=[clip], frame_times_s=[[0.0, 0.5, 1.0]])["input_ids"][0].tolist()
    assert encode(processor.tokenizer, TURNS, [clip_text]).ids[: len(asked)] == asked


def test_only_answers_and_their_end_are_targets(processor):
    encoded = encode(processor.tokenizer, TURNS, [processor.clip_text([0.0])])
    targets = [label for label in encoded.labels if label != IGNORE]
    assert processor.tokenizer.decode(targets) == "A red ball < video> rolls.<|im_end|>to the left<|im_end|>"
    assert all(label in (IGNORE, token) for label, token in zip(encoded.labels, encoded.ids, strict=True))


def test_samples_that_teach_nothing_are_refused():
    nothing = LabelledTokens([1, 2, 3], [IGNORE] * 3)
    with pytest.raises(UsageError, match="row 'a': no token of an answer is a training target"):
        check_labels(nothing, "row 'a'")
    late = LabelledTokens([1, 2, 3], [IGNORE, IGNORE, 3])
    with pytest.raises(UsageError, match="its 3 tokens are cut to 2, before the first answer"):
        check_labels(late, "row 'a'", max_length=2)
    check_labels(late, "row 'a'", max_length=3)


def test_llava_form():
    turns = from_llava(
        [
            {"from": "human", "value": "<video>\nWhat?"},
            {"from": "gpt", "value": "A cat."},
            {"from": "human", "value": "So"},
        ]
    )
    assert turns == [Turn("user", "What?", 1), Turn("assistant", "A cat."), Turn("user", "So")]
    with pytest.raises(UsageError, match="turn 0 .*'from'"):
        from_llava([{"from": "alien", "value": "x"}])
    with pytest.raises(UsageError, match="without an answer"):
        from_llava([{"from": "human", "value": "x"}])
    with pytest.raises(UsageError, match="1 video marks, but 0 clips"):
        pieces(turns, [])


def test_a_clip_is_once_in_the_batch_however_many_rows_it_carries():
    def sample(segments, rows, fact):
        frames = np.full((segments, 2, 4, 4, 3), segments, np.uint8)
        return ClipSample(frames, np.zeros((segments, 2)), np.ones((segments, 2), bool), rows, {"place": fact})

    one, two = LabelledTokens([5, 6], [IGNORE, 6]), LabelledTokens([7, 8, 9], [7, IGNORE, 9])
    batch = clip_batch([sample(1, [one, two], 3), sample(2, [two], 4)], pad_id=0)
    assert batch["pixels"].shape == (3, 2, 4, 4, 3)
    assert batch["row_segments"].tolist() == [0, 0, 1, 2]
    assert batch["input_ids"].shape == (3, 16)
    assert batch["input_ids"][:, :3].tolist() == [[5, 6, 0], [7, 8, 9], [7, 8, 9]]
    assert not batch["input_ids"][:, 3:].any() and (batch["labels"][:, 3:] == IGNORE).all()
    assert num_targets(batch) == 3  # the first token of a row has nothing before it to be guessed from
    assert batch["fact_place"].tolist() == [3, IGNORE, IGNORE]  # a segment does not show a whole clip's facts
