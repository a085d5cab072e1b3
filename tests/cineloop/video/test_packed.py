import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from cineloop.errors import ItemError, Notice
from cineloop.video.frames import Frames
from cineloop.video.packed import is_packed, pack, unpack


def frames(count=3, height=4, width=6):
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    times = np.arange(count) / 23.976 + 7.123456789
    return Frames(
        pixels, times, duration_s=1 / 3, fps=24000 / 1001, decoder="pyav", warnings=(Notice("A", "b"),), start_s=7.1
    )


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 6), (64, 30, 17)])
def test_frames_come_back_equal_to_the_bit(shape):
    one = frames(*shape)
    two = unpack(pack(one))
    assert (one.pixels == two.pixels).all() and (one.times_s == two.times_s).all()
    assert two.pixels.dtype == np.uint8 and two.times_s.dtype == np.float64
    for name in ("duration_s", "fps", "start_s", "decoder", "warnings"):
        assert getattr(one, name) == getattr(two, name)


def test_a_slice_of_frames_packs_what_it_shows():
    one = frames(8)
    part = Frames(one.pixels[::2], one.times_s[::2], one.duration_s, one.fps)
    assert (unpack(pack(part)).pixels == one.pixels[::2]).all()


@pytest.mark.slow
@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data):
    assert not is_packed(data)
    with pytest.raises(ItemError, match="frames"):
        unpack(data)


@pytest.mark.slow
@given(st.integers(0, 2000), st.integers(0, 255))
def test_damaged_bytes_give_frames_or_an_item_error(where, value):
    data = bytearray(pack(frames()))
    data[where % len(data)] = value
    try:
        unpack(bytes(data))
    except ItemError as problem:
        assert problem.code == "NOT_MEDIA"


def test_a_cut_file_and_a_lying_header_are_refused():
    data = pack(frames())
    assert is_packed(data)
    for cut in (0, 7, 8, 20, len(data) - 1):
        with pytest.raises(ItemError):
            unpack(data[:cut])
    for told in (
        "{}",
        "[]",
        "3",
        "x",
        json.dumps({"duration_s": 1, "fps": 2, "start_s": 0, "decoder": "x", "warnings": 3}),
    ):
        header = json.dumps({"__metadata__": {"cineloop_frames": told}}).encode()
        with pytest.raises(ItemError):
            unpack(struct.pack("<Q", len(header)) + header)


def test_equal_frames_give_equal_bytes():
    assert len({pack(frames()) for _ in range(50)}) == 1


def test_a_number_that_is_too_large_is_refused():
    told = json.dumps({"duration_s": 1, "fps": 10**400, "start_s": 0, "decoder": "x", "warnings": []})
    one = frames()
    data = save({"pixels": one.pixels, "times_s": one.times_s}, metadata={"cineloop_frames": told})
    with pytest.raises(ItemError):
        unpack(data)
