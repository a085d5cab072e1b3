"""Limits on pictures: read from the words of true servers, declared, and how frames are thinned."""

from __future__ import annotations

import numpy as np
import pytest

import openai_server
import picture_servers as servers
from cineloop.video.frames import Frames
from v2t.backends import Decoding, open_backend, user_turn
from v2t.backends.pictures import declared_limit, fewer, kind_of, stated_limit, thin

# What servers say (sources in `v2t.backends.pictures` and `picture_servers`) → how many of 120 to send.
REFUSALS = [
    (400, "At most 4 image(s) may be provided in one prompt.", 4),
    (400, "You set image=2 (or defaulted to 1) in `--limit-mm-per-prompt`, but passed 3 image items.", 2),
    (400, "Too many images in request. Max is 10.", 10),
    (400, "request contains 120 images, exceeding the maximum of 50 allowed per request", 50),
    (400, "too many images and documents: 120 + 0 > 100", 100),
    (400, "too many images: 120 images were provided, but the model supports a maximum of 10 images.", 10),
    (500, "too many images in the message, max allowed is 16", 16),
    (400, "request (9412 tokens) exceeds the available context size (8192 tokens), try increasing it", 94),
    (400, '{"message": "exceeds the available context size", "n_prompt_tokens": 1407, "n_ctx": 256, "code": 400}', 19),
    (400, "This model's maximum context length is 4096 tokens. However, you requested 8192 tokens (7936 in", 54),
    (400, "Trying to keep the first 16000 tokens ... loaded with context length of only 4000 tokens", 27),
    (400, "greater than the context length (n_keep: 13055>= n_ctx: 4096)", 33),
    (400, "prompt too long; exceeded max context length by 65 tokens", 60),
    (413, "", 60),
    (413, '{"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}', 60),
    (400, "invalid image input", None),
    (400, "'url' field must be a base64 encoded image.", None),
    (400, "unsupported content[].type", None),
    (500, "Internal server error", None),
]


@pytest.mark.parametrize(("status", "words", "expected"), REFUSALS)
def test_what_a_server_says_tells_how_many_to_send(status, words, expected):
    assert fewer(status, words, 120) == expected
    assert fewer(status, words, 1) is None  # fewer than one cannot be sent


def test_only_a_named_number_of_pictures_is_a_limit_to_keep():
    assert [stated_limit(words) for _, words, _ in REFUSALS[:7]] == [4, 2, 10, 50, 100, 10, 16]
    assert not any(stated_limit(words) for _, words, _ in REFUSALS[7:])


def test_asking_again_always_ends_below_what_was_refused():
    for status, words, _ in REFUSALS:
        sent, tries = 64, 0
        while (less := fewer(status, words, sent)) is not None:
            assert 1 <= less < sent
            sent, tries = less, tries + 1
        assert tries <= 63


def test_what_servers_declare():
    card = {"id": "eye", "owned_by": "vllm", "max_model_len": 8000}
    assert (kind_of(card), kind_of({"owned_by": "library"}), kind_of({})) == ("vllm", "ollama", "")
    assert declared_limit("http://localhost:8000/v1", card, 200) == 30
    assert declared_limit("https://api.groq.com/openai/v1", {}, 200) == 5
    assert declared_limit("http://localhost:11434/v1", {"max_model_len": "many"}, 200) is None


def test_frames_are_spread_over_what_was_there():
    one, other = (Frames.from_pixels(np.zeros((num, 2, 2, 3), np.uint8), 1.0) for num in (30, 10))
    kept = thin([one, other], 8)
    assert [list(frames.times_s) for frames in kept] == [[0, 6, 12, 17, 23, 29], [0, 9]]
    assert [len(frames) for frames in thin([one, other], 1)] == [1, 1]  # none is left out
    assert thin([one], 30)[0] is one and list(thin([one], 1)[0].times_s) == [15]


@pytest.mark.parametrize("kind", [servers.Vllm, servers.LlamaCpp, servers.Hosted])
def test_the_captioner_asks_again_with_fewer_and_says_so(kind, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", servers.Hosted.key)
    frames = Frames.from_pixels(np.random.default_rng(0).integers(0, 255, (24, 64, 64, 3), np.uint8), 2.0)
    with openai_server.serving(kind()) as server:
        captioner = open_backend(f"{server.address}#{server.models[0]['id']}", options={"frames_as": "images"})
        captioner.load()
        (output,) = captioner.answer([user_turn("What?", frames)], Decoding())
        sent = len(servers.pictures_of(server.seen[-1]))
        assert 1 <= sent < 24 and output.text.startswith(f"{sent} pictures from 0 to 11.5 s")
        assert [one.code for one in output.warnings] == ["FEWER_PICTURES"] and str(sent) in output.warnings[0].message
        *pieces, last = captioner.stream(user_turn("What?", frames), Decoding())
        assert "".join(pieces) == last.text == output.text and last.warnings == output.warnings
        assert captioner.spec.max_frames == sent  # the next clips are sampled for it


def test_a_limit_that_is_set_is_never_exceeded(monkeypatch):
    frames = Frames.from_pixels(np.zeros((24, 16, 16, 3), np.uint8), 2.0)
    with openai_server.serving(servers.Vllm()) as server:
        options = {"frames_as": "images", "max_pictures": 3}
        captioner = open_backend(f"{server.address}#eye", options=options)
        captioner.load()
        captioner.answer([user_turn("What?", frames)], Decoding())
        assert [len(servers.pictures_of(request)) for request in server.seen] == [3]
