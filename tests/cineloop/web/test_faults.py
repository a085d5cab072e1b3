"""What a client is told of an error never holds the path of a file of the server."""

from __future__ import annotations

import pytest

from cineloop.errors import ItemError
from cineloop.web.faults import fault_of


@pytest.mark.parametrize(
    "path", ["/srv/clips/a.mp4", "/srv/bob's clips/a.mp4", '/srv/"b"\'s/a.mp4', "/srv/a: b\\c.mp4"]
)
@pytest.mark.parametrize(
    "message",
    [
        "{!r}: decoding failed",
        "cannot open {!r}: Permission denied",
        "the image is too large: {!r}: it's huge",
        "it's damaged: {!r}",
    ],
)
def test_no_path_reaches_a_client(message, path):
    fault = fault_of(ItemError(message.format(path)), name="upload:file-1")
    assert "srv" not in fault.message and "mp4" not in fault.message
    assert "upload:file-1" in fault.message
    words = message.split("{")[0].strip()
    assert words in fault.message
    if message.endswith("failed"):
        assert fault.message == "upload:file-1: decoding failed"


def test_a_path_without_quotes_does_not_either():
    assert fault_of(ItemError("cannot write /srv/a.mp4: disk full")).message == "cannot write the video: disk full"
    assert fault_of(ItemError("2/3 of the frames, 4 MiB/s")).message == "2/3 of the frames, 4 MiB/s"
