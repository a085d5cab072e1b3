"""A `Media` in a loop of its own, for tests that ask it for frames."""

from __future__ import annotations

import asyncio
import base64

import numpy as np
import pytest

from cineloop.errors import Notice
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from cineloop.web.faults import Fault
from v2t.serve.media import Media
from v2t.serve.served import ServedModel
from v2t.serve.settings import ServeConfig, ServeLimits

OURS = ServedModel(name="tiny", source="x", is_ours=True, spec=SampleSpec(num_frames=8), frame_size=(32, 32))
FOREIGN = ServedModel(name="big", source="x", is_ours=False, spec=SampleSpec(sampler="fps", fps=2.0, max_frames=64))
LIMITS = ServeLimits(duration_s=20.0, pixels=40_000, frames=64, upload_mb=4, decoders=1, decode_s=100.0)


class MediaLoop:
    """A `Media` and the loop it lives in."""

    def __init__(self, served: ServedModel, **more) -> None:
        self.loop = asyncio.new_event_loop()
        self.media = Media(ServeConfig(**more), served)
        self.run(self.media.__aenter__())

    def run(self, work):
        return self.loop.run_until_complete(asyncio.wait_for(work, 120))

    def frames(self, url: str, owner: str = "ada", max_frames: int = 64) -> Frames:
        return self.run(self.media.frames(url, owner=owner, param="messages[0]", max_frames=max_frames))

    def fault(self, url: str, **more) -> str:
        with pytest.raises(Fault) as caught:
            self.frames(url, **more)
        fault = caught.value
        assert fault.param == "messages[0]" and fault.message and len(fault.message) < 300
        for inner in ("/proc", "/tmp", "pytest", "Error", "0x", str(self.media.uploads.folder)):
            assert inner not in fault.message
        return f"{fault.status} {fault.code}"

    def close(self) -> None:
        self.run(self.media.__aexit__())
        self.loop.close()


def data_url(data: bytes, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def sampled(num=4, size=(32, 32), **more) -> Frames:
    values = {
        "duration_s": 2.0,
        "fps": 12.0,
        "decoder": "decord",
        "warnings": (Notice("DAMAGED", "x"),),
        "start_s": 0.0,
    }
    pixels = np.random.default_rng(0).integers(0, 256, (num, *size, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(num) / 12.0, **{**values, **more})
