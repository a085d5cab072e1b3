"""The words of what a captioning run refuses and warns of, each once; other tests of it hold codes and numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caption_stand_ins import TextPool, go
from cineloop.cluster.settings import ClusterConfig
from cineloop.errors import ItemError
from clip_files import clips_in
from refusals import refusal
from two_answers import BlackPool, TwoAnswers
from v2t.caption import job
from v2t.caption.check import check
from v2t.caption.merge import merge
from v2t.caption.record import _join_warnings, segments_of
from v2t.caption.settings import CaptionConfig
from v2t.caption.status import status_of
from v2t.caption.wording import Wording

RAY = ClusterConfig(engine="ray")
ENCODERS = "clip (77), cogvideox (226), cogvideox-1.5 (224), hunyuan (256), hunyuan-1.5 (1000), ltx2 (1024), wan (512)"
NAMES = "caption, id, path, name, folder, duration_s, style, model, segments"
SETTINGS: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (CaptionConfig, {"batch_size": 0}, "batch_size must be at least 1, got 0"),
    (CaptionConfig, {"remote_max_gb": 0}, "remote_max_gb must be above 0, got 0"),
    (CaptionConfig, {"ask_again": "always"}, "ask_again must be advice, error or never, got 'always'"),
    (CaptionConfig, {"on_outside": "skip"}, "on_outside must be fail or warn, got 'skip'"),
    (CaptionConfig, {"shard": "1/2", "cluster": RAY},
     "--shard does not go with --cluster (a cluster divides the work by itself)"),
    (CaptionConfig, {"shard": "1/2", "overwrite_edited": True},
     "--overwrite-edited does not go with --shard (join with v2t merge first)"),
    (CaptionConfig, {"shard": "5/4"}, "--shard must look like 2/4 (the second of four), not '5/4'"),
    (CaptionConfig, {"num": 2, "parts": "segment:3"}, "--num goes with whole clips (leave out --parts)"),
    (CaptionConfig, {"prompt": " "}, "prompt must not be empty"),
    (ClusterConfig, {"engine": "ray", "decode_workers": "8-64"},
     "--decode-workers must look like 8..64 or 8 (1 to 10000), not '8-64'"),
    (ClusterConfig, {"model_workers": "2"}, "--model-workers needs --cluster ray"),
    (Wording, {"prefix": "a\0b"}, "prefix must be text that UTF-8 can hold, without NUL; got 'a\\x00b'"),
    (Wording, {"tokenizer": "somewhere"},
     "a tokenizer counts for an encoder (name one: clip, cogvideox, cogvideox-1.5, hunyuan, hunyuan-1.5, ltx2, wan, or "
     "max_tokens)"),
    (Wording, {"encoder": "clipp"},
     f"no text encoder is called 'clipp'; choices: {ENCODERS} (did you mean clip?)"),
    (Wording, {"max_tokens": 1}, "the limit of tokens must be at least 3, got 1"),
]  # fmt: skip
TEMPLATES = [
    ("{{ segments.nothing }}", "the template fails: 'list object' has no attribute 'nothing', on an example clip"),
    ("{{ captoin }}", f"the template: unknown name 'captoin'; choices: {NAMES} (did you mean 'caption'?)"),
    ("a\n{{ caption|shout }}", "the template: line 2: No filter named 'shout'."),
    ("{{ 1 / 0 }}", "the template fails: division by zero, on an example clip"),
]
PLACES = [
    (check, "clip.mp4", "CAPTIONS",
     "clip.mp4: expected a folder, a .jsonl or a .txt file (v2t check-captions captions/)"),
    (check, "rows.jsonl", "CAPTIONS",
     "rows.jsonl, line 2: expected a JSON object, got 'nonsense' (Expecting value at column 1)"),
    (check, "empty", "NOTHING_MATCHED",
     "empty holds no captions (an output folder of v2t caption, a folder of .txt files, or a .jsonl file with a "
     "caption in each row)"),
    (merge, ["empty"], "NOTHING_MATCHED", "empty is not the output folder of a captioning run"),
    (merge, ["empty", "other"], "USAGE", "several folders need an output folder (give it by -o)"),
    (status_of, "empty", "NOTHING_MATCHED", "empty is not the output folder of a captioning run"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "words"), SETTINGS, ids=[str(options) for _, options, _ in SETTINGS])
def test_the_words_of_settings_that_are_refused(kind, options, words):
    error = refusal(kind, **options)
    assert (error.exit_code, error.code, str(error)) == (2, "USAGE", words)


@pytest.mark.parametrize(("template", "words"), TEMPLATES)
def test_the_words_of_a_template_that_is_refused(template, words):
    error = refusal(Wording, template=template)
    assert (error.exit_code, error.code, str(error)) == (2, "TEMPLATE", words)


@pytest.mark.parametrize(("call", "place", "code", "words"), PLACES, ids=[words[:30] for *_, words in PLACES])
def test_the_words_of_a_place_without_captions(call, place, code, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"x")
    (tmp_path / "rows.jsonl").write_text('{"caption": "A"}\nnonsense\n')
    (tmp_path / "empty").mkdir()
    error = refusal(call, place, *(["wan"] if call is check else []))
    assert (error.code, str(error)) == (code, words)


def test_the_words_of_folders_that_hold_something_else(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "DecoderPool", TextPool)
    monkeypatch.chdir(tmp_path)
    source, out, shards = clips_in(tmp_path / "clips", "a", "b"), Path("out"), Path("shards")
    go(source, out)
    go(source, shards, shard="1/2")
    said = [
        (refusal(go, source, out, frames=8), "OTHER_SETTINGS",
         "2 captions in out were made with other settings: sampling.num_frames: 4 → 8 (give another -o, or --overwrite "
         "to caption them again (edited captions stay))"),
        (refusal(go, source, shards), "UNMERGED",
         "shards holds shards that were not joined yet (v2t merge shards, then run again; or continue with --shard)"),
        (refusal(go, source, shards, shard="1/3"), "OTHER_SHARDS",
         "shards holds shards of 2, and this run is one of 3 (continue with --shard .../2, or join them first: v2t "
         "merge shards)"),
    ]  # fmt: skip
    for error, code, words in said:
        assert (error.code, str(error)) == (code, words)


def test_the_words_of_a_model_that_always_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "DecoderPool", TextPool)
    source = clips_in(tmp_path / "clips", **{f"c{i:02}": "BAD" for i in range(20)})
    error = refusal(go, source, tmp_path / "out", batch_size=8)
    assert (error.exit_code, error.code, error.message) == (
        5, "MODEL_BROKEN", "16 requests failed in a row: the model failed: RuntimeError: index out of range",
    )  # fmt: skip


def test_the_words_of_a_second_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "DecoderPool", BlackPool)
    source = clips_in(tmp_path / "clips", "a")
    for second, words in (
        ("A dog sleeps.", "the first answer is kept"),
        ("", "the second answer failed (it is empty), the first is kept"),
        (
            ItemError("too long", code="PROMPT_TOO_LONG"),
            "the second answer failed (PROMPT_TOO_LONG: too long), the first is kept",
        ),
    ):
        _, _, rows = go(source, None, TwoAnswers("A dog runs.", second), style="wan")
        (warning,) = [warning for warning in rows[0]["warnings"] if warning["code"] == "ASKED_AGAIN"]
        assert warning["message"] == f"asked again because of DIALECT_CAMERA, DIALECT_LIGHT, DIALECT_SHORT; {words}"


def test_the_words_of_parts_that_failed():
    entries = [
        {"error": error, "start_s": 10.0 * part, "warnings": [], "caption": "A dog."}
        for part, error in enumerate((None, {"code": "DECODE_ERROR", "message": "cannot be decoded", "hint": "h"}))
    ]
    (warning,) = _join_warnings(entries)
    assert (warning["code"], warning["message"]) == (
        "PART_FAILED", "1 of 2 parts, the first at 10.0 s: DECODE_ERROR: cannot be decoded",
    )  # fmt: skip
    error = refusal(segments_of, entries[1:] * 2, None)
    assert (error.code, error.message) == ("DECODE_ERROR", "all 2 parts failed, the first: cannot be decoded")
