"""What a server says of its models, and the very frames a `v2t serve` is sent."""

from __future__ import annotations

import base64

import numpy as np
import pytest

import openai_server
from cineloop.errors import Notice, UsageError
from cineloop.video.frames import Frames
from cineloop.video.packed import unpack
from cineloop.video.sample import SampleSpec
from v2t.backends import Decoding, open_backend, payload, user_turn

SPEC = SampleSpec(sampler="segment", num_frames=8, segment_s=2.0, max_frames=64)


class Handler(openai_server.Handler):
    def reply(self, number: int, request: dict) -> None:
        about = {"warnings": [{"code": "OUT_OF_DOMAIN", "message": "far\nfrom home"}, 7]}
        self.say("a red ball", usage={"completion_tokens": 3}, cineloop=about)


class CardServer(openai_server.Server):
    handler = Handler
    models = (
        {"id": "ours", "root": "x", "cineloop": {"frames": payload.frame_settings(SPEC, (24, 32))}},
        {"id": "adapter", "parent": "ours", "cineloop": {"frames": payload.frame_settings(SPEC, (24, 32))}},
    )


@pytest.fixture
def server():
    with openai_server.serving(CardServer()) as made:
        yield made


def test_our_server_is_sent_the_very_frames_its_model_wants(server):
    captioner = open_backend(server.address)
    assert captioner.name == "ours" and captioner.spec == SPEC and captioner.frame_size == (24, 32)
    captioner.load()
    assert server.seen == []  # nothing had to be asked
    rng = np.random.default_rng(0)
    two = [Frames.from_pixels(rng.integers(0, 256, (n, 24, 32, 3), dtype=np.uint8), 7.3) for n in (3, 5)]
    (output,) = captioner.answer([user_turn("what?", *two)], Decoding(max_new_tokens=4))
    assert output.text == "a red ball" and output.warnings == (Notice("OUT_OF_DOMAIN", r"far\nfrom home"),)
    request = server.seen[0]
    assert "media_io_kwargs" not in request
    *videos, words = request["messages"][0]["content"]
    assert words == {"type": "text", "text": "what?"}
    for part, frames in zip(videos, two, strict=True):
        head, data = part["video_url"]["url"].split(",")
        assert head == "data:video/x-cineloop;base64"
        sent = unpack(base64.b64decode(data))
        assert (sent.pixels == frames.pixels).all() and (sent.times_s == frames.times_s).all()


def test_an_adapter_is_named_and_wants_the_frames_of_its_base(server):
    captioner = open_backend(f"{server.address}#adapter")
    assert captioner.name == "adapter" and captioner.spec == SPEC


def test_a_form_that_was_asked_for_is_kept(server):
    captioner = open_backend(server.address, options={"frames_as": "images"})
    captioner.load()
    assert captioner.spec.sampler == "fps" and captioner.frame_size is None
    captioner.answer([user_turn("what?", Frames.from_pixels(np.zeros((1, 8, 8, 3), np.uint8), 1.0))], Decoding())
    assert [part["type"] for part in server.seen[0]["messages"][0]["content"]] == ["text", "image_url", "text"]


@pytest.mark.parametrize(
    "frames",
    [{"sampler": "of tomorrow"}, {"num_frames": "many"}, {"size": [1]}, {"size": "ab"}, {"size": 3}],
)
def test_wishes_that_are_not_understood_are_said(frames, server, caplog):
    card = {"cineloop": {"frames": frames}}
    with pytest.raises(UsageError, match="unknown form"):
        payload.wanted_frames(card)
    server.models = [{"id": "ours", **card}]
    assert open_backend(server.address).spec.sampler == "fps"


@pytest.mark.parametrize("card", [{}, {"cineloop": None}, {"cineloop": {}}, {"cineloop": {"frames": [1]}}])
def test_other_servers_wish_for_nothing(card):
    assert payload.wanted_frames(card) is None
