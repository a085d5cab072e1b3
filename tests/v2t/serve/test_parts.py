"""Videos among the parts of a message: which are the gateway's, and how each form is read or refused."""

from __future__ import annotations

import pytest

from cineloop.web.faults import Fault
from v2t.serve.parts import is_for_gateway, video_in
from v2t.serve.settings import ServeLimits
from v2t.serve.substitution import CHAT, RESPONSES, VideoQuestion

ID = "file-" + "0123456789abcdef" * 2
DATA = "data:video/webm;base64,AAAA"


@pytest.mark.parametrize(
    ("part", "url", "field"),
    [
        ({"type": "video_url", "video_url": {"url": "https://a.org/x.mp4"}}, "https://a.org/x.mp4", "video_url.url"),
        ({"type": "video_url", "video_url": "file://c/x.mp4"}, "file://c/x.mp4", "video_url"),
        ({"type": "video", "video": DATA}, DATA, "video"),
        (
            {"type": "input_video", "input_video": {"data": "AAAA", "format": "ogg"}},
            "data:video/ogg;base64,AAAA",
            "input_video.data",
        ),
        (
            {"type": "input_video", "input_video": {"data": "AAAA", "format": "auto"}},
            "data:video/mp4;base64,AAAA",
            "input_video.data",
        ),
        ({"type": "input_video", "input_video": {"data": DATA}}, DATA, "input_video.data"),
        ({"type": "input_video", "input_video": {"file_id": ID}}, f"upload:{ID}", "input_video.file_id"),
        ({"type": "input_video", "video_url": {"url": DATA}}, DATA, "video_url.url"),
        ({"type": "input_video", "file_id": ID}, f"upload:{ID}", "file_id"),
        ({"type": "file", "file": {"file_data": DATA, "filename": "a"}}, DATA, "file.file_data"),
        (
            {"type": "file", "file": {"file_data": "data:;base64,AAAA", "filename": "A.MKV"}},
            "data:video/mp4;base64,AAAA",
            "file.file_data",
        ),
        ({"type": "input_file", "file_id": ID}, f"upload:{ID}", "file_id"),
        ({"type": "input_file", "file_url": "https://a.org/x.mov?k=1"}, "https://a.org/x.mov?k=1", "file_url"),
        ({"type": "image_url", "image_url": {"url": f"upload:{ID}"}}, f"upload:{ID}", "image_url.url"),
        ({"type": "input_image", "image_url": DATA}, DATA, "image_url"),
    ],
)
def test_each_form_is_the_gateways_and_names_its_address(part, url, field):
    assert is_for_gateway(part)
    video = video_in(part, "at", 3)
    assert (video.url, video.param, video.turn) == (url, f"at.{field}", 3)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": DATA},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://a.org/x.mp4"}},
        {"type": "image_url", "image_url": 5},
        {"type": "file", "file": {"file_id": "file-abc"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "x.mp4.pdf"}},
        {"type": "file", "file": "x"},
        {"type": "input_file", "file_url": "https://a.org/x.pdf"},
        {"type": "input_audio"},
        {"type": ["video_url"]},
        {},
        "video_url",
        None,
    ],
)
def test_all_else_is_for_the_server_behind(part):
    assert not is_for_gateway(part)


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"type": "input_video"}, "url"),
        ({"type": "input_video", "input_video": {"data": 5}}, "input_video.data"),
        ({"type": "input_video", "input_video": {"data": "AA", "format": "exe"}}, "input_video.format"),
        ({"type": "input_video", "input_video": "AAAA"}, "input_video"),
        ({"type": "input_video", "file_id": "../x"}, "file_id"),
        ({"type": "video", "video": ["a.jpg"]}, "video"),
        ({"type": "file", "file": {}}, "file"),
    ],
)
def test_a_video_of_no_known_form_is_refused_by_its_field(part, field):
    with pytest.raises(Fault) as refused:
        video_in(part, "at")
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "BAD_REQUEST", f"at.{field}")


def test_a_question_is_the_last_of_the_user_with_what_was_said_before():
    video = {"type": "video_url", "video_url": {"url": DATA}}
    body = {
        "model": "m",
        "stream": True,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [video, {"type": "text", "text": "What jumps?"}]},
            {"role": "assistant", "content": "A dog."},
            {"role": "user", "content": "And then?"},
        ],
    }
    question = VideoQuestion.read(body, CHAT, ServeLimits())
    assert (question.model, question.is_stream, question.text) == ("m", True, "And then?")
    assert question.history == (("What jumps?", "A dog."),)
    assert [(place.turn, place.index) for place in question.videos] == [(1, 0)]


@pytest.mark.parametrize("body", [None, [], "x", {}, {"messages": 5}, {"messages": [5, {"content": [None]}]}])
@pytest.mark.parametrize("form", [CHAT, RESPONSES])
def test_a_body_of_any_form_is_read_and_left_to_the_server(body, form):
    assert VideoQuestion.read(body, form, ServeLimits()).videos == ()
