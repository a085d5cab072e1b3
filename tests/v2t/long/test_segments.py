"""Parts of a video: whatever its length and its cuts, nothing is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineloop.errors import UsageError
from v2t.long.segments import SegmentSpec, plan_segments, scenes

lengths = st.floats(0.04, 11_000)
steps = st.floats(0.5, 120)


def pairs(spec: str, duration_s: float, cuts_s=(), start_s=0.0) -> list[tuple[float, float]]:
    return [(p.start_s, p.end_s) for p in plan_segments(SegmentSpec.parse(spec), duration_s, cuts_s, start_s)]


@pytest.mark.slow
@given(
    kind=st.sampled_from(["whole", "segment", "scene", "window"]),
    duration_s=lengths,
    seconds=steps,
    share=st.floats(0.2, 1),
    cuts_s=st.lists(st.floats(-5, 11_000), max_size=40),
    start_s=st.sampled_from([0.0, 12.5]),
)
def test_parts_leave_nothing_out(kind, duration_s, seconds, share, cuts_s, start_s):
    spec = SegmentSpec(kind=kind, seconds=seconds, stride_s=seconds * share if kind == "window" else None)
    parts = plan_segments(spec, duration_s, cuts_s, start_s)
    assert parts[0].start_s == start_s and parts[-1].end_s == start_s + duration_s
    for before, after in zip(parts, parts[1:], strict=False):
        assert before.start_s < after.start_s and before.end_s < after.end_s + 1e-9
        assert after.start_s <= before.end_s + 2e-6
        if kind != "window":
            assert after.start_s == before.end_s
    longest = {"whole": duration_s, "segment": 1.25 * seconds}.get(kind, seconds)
    assert all(0 < p.end_s - p.start_s <= longest + 1e-5 for p in parts)
    if kind == "window" and duration_s >= seconds:
        assert all(abs(p.end_s - p.start_s - seconds) < 1e-5 for p in parts)
    assert plan_segments(spec, duration_s, cuts_s, start_s) == parts


@given(duration_s=lengths, cuts_s=st.lists(st.floats(0.5, 10_000), max_size=20, unique=True))
def test_every_cut_is_an_edge_of_a_scene_unless_the_scene_would_be_too_short(duration_s, cuts_s):
    starts = {start for start, _ in pairs("scene:30", duration_s, cuts_s)}
    shots = scenes(duration_s, cuts_s)
    assert all(any(abs(start - other) < 1e-5 for other in starts) for start, _ in shots)
    assert all(end - start >= 0.5 for start, end in shots) or len(shots) == 1
    for cut in cuts_s:
        edges = [start for start, _ in shots] + [duration_s]
        assert cut >= duration_s or any(abs(cut - edge) < 0.5 for edge in edges)


def test_parts_by_hand():
    assert pairs("whole", 65) == [(0, 65)]
    assert pairs("segment", 25) == [(0, 10), (10, 20), (20, 25)]
    assert pairs("segment:10", 22) == [(0, 10), (10, 22)]  # two seconds are no segment
    assert pairs("segment:10", 3) == [(0, 3)]
    assert pairs("scene:10", 30, [4, 24]) == [(0, 4), (4, 14), (14, 24), (24, 30)]
    assert pairs("scene", 8) == [(0, 8)]
    assert pairs("scene", 8, [0.3, 4, 4.4, 7.8]) == [(0, 4), (4, 8)]  # an event is not cut in two by a flash
    assert pairs("window:8", 20) == [(0, 8), (8, 16), (12, 20)]
    assert pairs("window:8/4", 17) == [(0, 8), (4, 12), (8, 16), (9, 17)]
    assert pairs("window:8", 5) == [(0, 5)]
    assert pairs("scene:10", 10, [101, 104], start_s=100) == [(100, 101), (101, 104), (104, 110)]
    assert pairs("segment", 0) == [(0, 0)]


def test_forms_are_read_and_written_alike():
    for text in ("whole", "segment:8", "scene:20", "window:8", "window:8/2.5"):
        assert str(SegmentSpec.parse(text)) == text
    assert SegmentSpec.parse("segment") == SegmentSpec(kind="segment", seconds=10)
    for text in ("", "half", "whole:3", "window", "segment:", "segment:x", "segment:8/4", "window:8/9", "window:8/0",
                 "segment:0", "segment:nan", "segment:1e9", "window:/2"):  # fmt: skip
        with pytest.raises(UsageError):
            SegmentSpec.parse(text)
