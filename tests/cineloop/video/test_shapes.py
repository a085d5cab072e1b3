"""Films of every shape in every codec: a survey of each, since padding of lines depends on both."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cineloop.video.limits import Limits
from cineloop.video.open_file import LastFile
from planted_films import picture
from v2t_eval.frames.survey import survey

CODECS = {
    "libx264": {"preset": "ultrafast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "12"},
}


def film(path, codec: str, size: tuple[int, int], num: int = 12) -> str:
    """A film of `num` frames, 12 a second, of a picture that moves left."""
    height, width = size
    wide = picture(3, (height, width + 4 * num))
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=12, options=CODECS[codec])
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for n in range(num):
            frame = np.ascontiguousarray(wide[:, 4 * n : 4 * n + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(36, 120).map(lambda side: 2 * side), width=st.integers(36, 120).map(lambda side: 2 * side))
def test_a_film_of_any_shape_is_surveyed_in_every_codec(tmp_path, codec, height, width):
    try:
        av.codec.Codec(codec, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this PyAV has no encoder {codec}")
    path = film(tmp_path / "film.mkv", codec, (height, width))
    with LastFile() as last, last.open(path) as opened:
        found = survey(opened, Limits(), threads=1)
    assert len(found.times_s) == 12 and len(found.motion) and np.isfinite(found.motion).all()
