"""The queue of decoded items: what its batches are, what it does not decode, when it gives a clip up."""

from __future__ import annotations

import numpy as np
import pytest

import decoder_here
from cineloop.clip import Clip
from cineloop.errors import ItemError
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from v2t.long.division import Division
from v2t.long.items import WorkItem, error_fields
from v2t.long.queue import DecodeQueue
from v2t.long.segments import Segment


class CrashingPool(decoder_here.Pool):
    """Frames as wide as the file's name is long; those of segments in `broken` crash."""

    def __init__(self, broken=()) -> None:
        super().__init__(num_workers=2)
        self.broken, self.decoded = broken, []

    def decode(self, path, spec, size) -> Frames:
        self.decoded.append(spec.start_s)
        if spec.start_s in self.broken:
            raise ItemError("the decoder crashed", code="DECODER_CRASH")
        return Frames.from_pixels(np.zeros((2, 4, len(path), 3), np.uint8), 2.0, decoder="here")


@pytest.fixture
def clip_at(tmp_path):
    def make(name: str) -> Clip:
        path = tmp_path / name
        path.write_bytes(b"x")
        status = path.stat()
        return Clip(name, name, str(path), size=status.st_size, mtime_ns=status.st_mtime_ns)

    return make


def test_batches_have_one_shape_and_a_failed_item_has_its_error(clip_at, tmp_path):
    gone = Clip("gone.mp4", "gone.mp4", str(tmp_path / "gone.mp4"))
    items = [WorkItem(each) for each in (clip_at("a.mp4"), gone, clip_at("bb.mp4"), clip_at("c.mp4"))]
    batches = list(filter(None, DecodeQueue(CrashingPool(), SampleSpec(), None, 2).batches(items)))
    assert [[item.clip.id for item in batch] for batch in batches] == [["gone.mp4"], ["a.mp4", "c.mp4"], ["bb.mp4"]]
    assert batches[0][0].error.code == "NOT_FOUND" and batches[0][0].frames is None
    assert all(item.frames is not None and item.error is None for batch in batches[1:] for item in batch)


def test_a_divided_clip_comes_first_and_its_answered_segments_are_not_decoded(clip_at):
    pool, seen = CrashingPool(), []
    cuts = [Segment(start, start + 1.0) for start in range(4)]
    division = Division([WorkItem(clip_at("a.mp4"))], lambda item: cuts, num_threads=2)
    for batch in DecodeQueue(pool, SampleSpec(), None, 1, also=division.pending).batches(division):
        for item in batch:
            seen.append(item.segment)
            for known in item.segments[:2]:
                known.answer = error_fields(ItemError("an earlier run's", code="DECODE_ERROR"))
    assert seen == [None, cuts[2], cuts[3]] and pool.decoded == [2, 3]


def test_a_clip_whose_segments_keep_crashing_is_given_up(clip_at):
    pool = CrashingPool(broken=range(1, 20))
    segments = [Segment(start, start + 1.0) for start in range(20)]
    division = Division([WorkItem(clip_at("a.mp4"))], lambda item: segments, num_threads=2)
    queue = DecodeQueue(pool, SampleSpec(), None, 1, also=division.pending)
    errors = [item.error for batch in queue.batches(division) for item in batch if item.answer]
    tried = len(pool.decoded) - 1
    assert 5 <= tried < 12 and len(errors) == 19
    assert [error.message.startswith("not tried") for error in errors] == [False] * tried + [True] * (19 - tried)
