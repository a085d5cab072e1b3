"""Turns, memory and cancellation around the decoders, which a stand-in plays."""

from __future__ import annotations

import asyncio
import gc
import os
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest

from cineloop.errors import ItemError
from cineloop.video.sample import SampleSpec
from cineloop.web.faults import Fault
from media_server import FOREIGN, LIMITS, OURS, MediaLoop, sampled
from v2t.serve.decoding import spec_within


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "0.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    return tmp_path


class SlowPool:
    """Stands in for the decoders: each decode ends when the test says so."""

    def __init__(self) -> None:
        self.begun: list[Future] = []

    def submit(self, path, spec, size, *, descriptor):
        os.fstat(descriptor)  # the file is open as long as a decoder works on it
        self.begun.append(Future())
        self.begun[-1].set_running_or_notify_cancel()
        return self.begun[-1]

    def close(self) -> None:
        for future in self.begun:
            if not future.done():
                future.set_exception(ItemError("killed", code="DECODER_CRASH"))


def slow(folder) -> tuple[MediaLoop, SlowPool]:
    server = MediaLoop(OURS, roots={"films": folder}, limits=LIMITS)
    server.media.decoders.pool.close()
    server.media.decoders.pool = pool = SlowPool()
    return server, pool


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.slow
def test_a_cancelled_request_keeps_its_place_until_the_decoder_is_free(folder):
    server, pool = slow(folder)

    async def run():
        ask = [
            asyncio.create_task(server.media.frames("file://films/0.mp4", owner=owner, param="p", max_frames=8))
            for owner in ("ada", "bob", "eve")
        ]
        await settle()
        assert len(pool.begun) == 1
        ask[0].cancel()  # its decoder works on
        ask[1].cancel()  # it leaves the queue
        await settle()
        assert ask[0].cancelled() and ask[1].cancelled() and len(pool.begun) == 1
        pool.begun[0].set_result(sampled(8))
        await settle()
        assert len(pool.begun) == 2 and not ask[2].done()
        pool.begun[1].set_result(sampled(8))
        assert len(await ask[2]) == 8

    try:
        server.run(run())
        pool.begun.clear()
        gc.collect()
        assert server.media.memory.held == 0 and not server.media.decoders._running
    finally:
        server.close()


def test_a_server_that_stops_ends_what_is_being_decoded(folder):
    server, pool = slow(folder)

    async def run():
        ask = asyncio.create_task(server.media.frames("file://films/0.mp4", owner="ada", param="p", max_frames=8))
        await settle()
        await server.media.decoders.close()
        with pytest.raises(Fault) as caught:
            await ask
        assert caught.value.code == "DECODER_CRASH"

    try:
        server.run(run())
    finally:
        server.close()


def test_a_fixed_number_of_frames_is_not_cut_short():
    spec = SampleSpec(num_frames=16)
    assert spec_within(spec, 4, None, None).max_frames == 5  # one more, to see that there are too many
    assert spec_within(spec, 900, 1.0, 2.0) == replace(spec, start_s=1.0, end_s=2.0)
    assert spec_within(FOREIGN.spec, 4, None, None).max_frames == 4
    assert spec_within(FOREIGN.spec, 900, None, None) == FOREIGN.spec


@pytest.mark.parametrize(("codec", "read"), [("mpeg4", True), ("ffv1", False), ("jpeg2000", False)])
def test_rare_codecs_are_not_opened(tmp_path, codec, read):
    import av

    from cineloop.video.decode import Request, decode
    from cineloop.video.limits import Limits
    from cineloop.video.open_file import LastFile
    from v2t.serve.decoding import _CODECS

    with av.open(tmp_path / "a.mkv", "w") as made:
        stream = made.add_stream(codec, rate=8, width=64, height=64, pix_fmt="yuv420p")
        for value in range(3):
            pixels = np.full((64, 64, 3), value * 60, np.uint8)
            made.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")))
        made.mux(stream.encode())
    request = Request(decoders=("pyav",), limits=Limits(codecs=_CODECS))
    with LastFile(_CODECS) as strict, LastFile() as open_to_all:
        assert len(decode(tmp_path / "a.mkv", request, last=open_to_all)) == 3
        if read:
            assert len(decode(tmp_path / "a.mkv", request, last=strict)) == 3
        else:
            with pytest.raises(ItemError) as refused:
                decode(tmp_path / "a.mkv", request, last=strict)
            assert refused.value.code == "CODEC_UNAVAILABLE"
