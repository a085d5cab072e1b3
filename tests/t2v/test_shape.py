from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineloop.errors import UsageError
from t2v.shape import Shape, valid_shape

NUMBERS = st.integers(1, 2000)


@pytest.mark.slow
@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from([1, 4, 6, 8]), st.sampled_from([8, 16, 32]))
def test_a_valid_shape_is_the_nearest_that_keeps_the_rules(frames, height, width, frame_step, size_step):
    made = valid_shape(frames, height, width, frame_step=frame_step, size_step=size_step)
    assert (made.num_frames - 1) % frame_step == made.height % size_step == made.width % size_step == 0
    assert min(made.height, made.width) >= size_step
    assert abs(made.num_frames - frames) <= frame_step / 2
    for asked, got in ((height, made.height), (width, made.width)):
        assert abs(got - asked) <= size_step / 2 or (got == size_step and asked < size_step)
    again = valid_shape(made.num_frames, made.height, made.width, frame_step=frame_step, size_step=size_step)
    assert again == made


def test_a_rounded_shape_is_said_and_a_fitting_one_is_not(caplog):
    with caplog.at_level(logging.WARNING, logger="cineloop"):
        assert valid_shape(17, 64, 96) == Shape(num_frames=17, height=64, width=96)
        assert not caplog.records
        assert valid_shape(16, 64, 720, size_step=32) == Shape(num_frames=17, height=64, width=736)
    assert "asked for 16 frames of 720x64, making 17 frames of 736x64" in caplog.text
    assert "4k + 1 frames and sides that divide by 32" in caplog.text


@pytest.mark.parametrize("asked", [(0, 64, 64), (5, -16, 64), (5, 64, 0)])
def test_nothing_has_no_shape(asked):
    with pytest.raises(UsageError, match="at least one frame"):
        valid_shape(*asked)
