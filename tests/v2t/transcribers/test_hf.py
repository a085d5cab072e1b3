"""Speech models of transformers: our words are theirs, at their seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cineloop.errors import UsageError
from sounding_films import sweep
from tiny_speech_models import tiny_ctc, tiny_whisper
from v2t.transcribers import engine_of, open_transcriber

pytestmark = pytest.mark.slow
SOUND = sweep(6, 16_000)[0]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper(tmp_path_factory.mktemp("whisper"))


def test_whisper_says_what_transformers_says(whisper: Path) -> None:
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    processor, model = (
        WhisperProcessor.from_pretrained(whisper),
        WhisperForConditionalGeneration.from_pretrained(whisper),
    )
    features = processor(SOUND, sampling_rate=16_000, return_tensors="pt").input_features
    with torch.inference_mode():
        ids = model.generate(
            features, return_timestamps=True, language="en", task="transcribe", max_new_tokens=60
        )  # fmt: skip
    offsets = processor.tokenizer.decode(ids[0], output_offsets=True, skip_special_tokens=True)["offsets"]
    ours = open_transcriber(str(whisper), options={"max_new_tokens": 60})
    ours.load()
    said = ours.transcribe(SOUND, "en")
    expected = [o["text"].strip() for o in offsets if o["text"].strip() and o["timestamp"][0] < 6]
    assert [one.text for one in said.utterances] == expected and expected
    assert all(0 <= one.start_s <= one.end_s <= 6 for one in said.utterances)
    assert said.language == "en"


def test_whisper_finds_the_language_out_and_refuses_one_that_it_lacks(whisper: Path) -> None:
    ours = open_transcriber(str(whisper), options={"max_new_tokens": 8})
    ours.load()
    assert ours.transcribe(SOUND, None).language in ("en", "de")
    with pytest.raises(UsageError):
        ours.transcribe(SOUND, "xx")


def test_a_ctc_model_gives_words_with_times(tmp_path: Path) -> None:
    from transformers import AutoModelForCTC, AutoProcessor

    folder = tiny_ctc(tmp_path)
    processor, model = AutoProcessor.from_pretrained(folder), AutoModelForCTC.from_pretrained(folder)
    with torch.inference_mode():
        inputs = processor(SOUND, sampling_rate=16_000, return_tensors="pt")
        ids = model(**inputs).logits.argmax(-1)
    ours = open_transcriber(str(folder))
    ours.load()
    said = ours.transcribe(SOUND, None).utterances
    text = processor.batch_decode(ids)[0].split()
    assert " ".join(one.text for one in said).split() == text
    words = [word for one in said for word in one.words]
    starts = [word.start_s for word in words]
    assert starts == sorted(starts) and all(0 <= word.start_s <= word.end_s <= 6 for word in words)


def test_what_is_no_speech_model_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    ).save_pretrained(tmp_path)
    ours = open_transcriber(str(tmp_path))
    with pytest.raises(UsageError) as caught:
        ours.load()
    assert caught.value.code == "NOT_A_TRANSCRIBER"


def test_the_engine_goes_by_the_model(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    assert engine_of(str(tmp_path)) == "faster_whisper"
    assert engine_of("openai:http://localhost/v1") == "openai" and engine_of("openai/whisper-small") == "hf"
    with pytest.raises(UsageError):
        open_transcriber("x", engine="nothing")
