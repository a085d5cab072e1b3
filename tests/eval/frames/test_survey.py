"""A survey of a film: what one pass sees, against films whose content is known."""

from __future__ import annotations

import av
import numpy as np
import pytest

from cineloop.errors import ItemError, UsageError
from cineloop.video.cuts import find_cuts
from cineloop.video.limits import Limits
from cineloop.video.open_file import LastFile
from cineloop.video.worker import DecoderPool
from planted_films import FPS, picture, shot, write
from v2t_eval.frames.survey import SURVEY_JOB, Survey, survey


def surveyed(path, **window) -> Survey:
    with LastFile() as last, last.open(path) as opened:
        return survey(opened, Limits(), threads=1, **window)


@pytest.mark.slow
def test_the_cuts_are_those_of_the_detector(tmp_path):
    path = write(tmp_path / "x.mp4", shot(1, 40), shot(2, 40), shot(3, 40))
    found = surveyed(path)
    with LastFile() as last, last.open(path) as opened:
        assert found.cuts == find_cuts(opened, Limits(), threads=1)
    assert np.allclose(found.cuts, [40 / FPS, 80 / FPS])
    assert found.thumbs.shape == (120, 9, 16) and len(found.times_s) == len(found.bright) == len(found.still) == 120


@pytest.mark.slow
def test_a_window_is_surveyed_alone(tmp_path):
    path = write(tmp_path / "x.mp4", shot(1, 40), shot(2, 40), shot(3, 40))
    found = surveyed(path, start_s=1.0, end_s=3.0)
    assert found.cuts == pytest.approx([40 / FPS]) and found.times_s[0] == pytest.approx(1.0)
    assert found.times_s[-1] < 3.0


def test_standstill_and_black_are_seen_frame_by_frame(tmp_path):
    moving = shot(1, 30)
    path = write(tmp_path / "x.mp4", moving, np.repeat(moving[-1:], 30, 0), np.zeros_like(moving[:10]))
    found = surveyed(path)
    assert not found.still[2:30].any() and found.still[31:60].all()
    assert (found.bright[60:] < 16).all() and (found.bright[:60] > 100).all()


@pytest.mark.parametrize("turn", [0, 90])
def test_dark_borders_are_those_of_the_picture_as_it_is_shown(tmp_path, turn):
    frames = shot(1, 20, (120, 160))
    frames[:, :24] = 0  # a fifth at the top of the stored picture
    plain = write(tmp_path / "x.mp4", frames)
    path = plain if not turn else rotated(plain, tmp_path / "turned.mp4", turn)
    found = surveyed(path)
    want = {0: [0.2, 0, 0, 0], 90: [0, 0, 0, 0.2]}[turn]  # clockwise: the top comes to the right
    assert np.allclose(found.borders, want, atol=0.01)


def rotated(source, target, degrees):
    """A copy of the stream whose display matrix turns it clockwise."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    data = bytearray(target.read_bytes())
    upright = b"".join(n.to_bytes(4, "big") for n in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    turned = b"".join((n % 2**32).to_bytes(4, "big") for n in (0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000))
    at = data.index(upright, data.index(b"tkhd"))
    data[at : at + 36] = turned
    target.write_bytes(data)
    return target


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_a_camera_that_pans_is_measured_in_heights_a_second(tmp_path, codec):
    frames, height = shot(1, 48, (144, 256), pan=2.0), 144
    path = tmp_path / ("x.mp4" if codec == "libx264" else "x.webm")
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 256, 144, "yuv420p"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))
    found = surveyed(path)
    assert found.motion_by == ("vectors" if codec == "libx264" else "flow")
    camera, _, share = np.median(found.motion, axis=0)
    assert camera == pytest.approx(2.0 * FPS / height, rel=0.15)
    assert share < 0.25  # the square alone


def test_what_moves_under_a_camera_at_rest_is_no_camera(tmp_path):
    found = surveyed(write(tmp_path / "x.mp4", shot(1, 48, (144, 256))))
    camera, other, share = np.median(found.motion, axis=0)
    assert camera == 0 and other > 0 and 0.01 < share < 0.25


def test_sharpness_falls_with_blur_and_not_with_size(tmp_path):
    import cv2

    sharp = np.repeat(picture(1, (256, 320))[None], 3, 0)
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 3) for frame in sharp])
    values = [surveyed(write(tmp_path / f"{n}.mp4", f)).sharpness.mean() for n, f in enumerate((sharp, blurred))]
    assert values[1] < values[0] / 5


def test_an_image_is_a_film_of_its_frames(tmp_path):
    from PIL import Image

    path = tmp_path / "still.mp4"
    Image.fromarray(picture(1)).save(path, format="PNG")
    found = surveyed(path)
    assert found.info.num_frames == 1 and len(found.times_s) == 1 and found.motion_by == ""


@pytest.mark.slow
def test_the_pool_gives_the_same_survey(tmp_path):
    path = write(tmp_path / "x.mp4", shot(1, 30), shot(2, 30))
    here = surveyed(path)
    with DecoderPool(1, threads=1) as pool:
        there = pool.submit_job(path, SURVEY_JOB, {}, Survey.read).result()
        with pytest.raises(ItemError, match="no such file"):
            pool.submit_job(tmp_path / "none.mp4", SURVEY_JOB, {}, Survey.read).result()
    assert there.plain() == here.plain()
    assert here.arrays().keys() == there.arrays().keys()
    for name, array in here.arrays().items():
        assert np.array_equal(array, there.arrays()[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("job", ["os:system", "cineloop_x:run", "v2t_eval.nothing:job"])
def test_a_job_of_the_pool_is_a_function_of_this_package(tmp_path, job):
    path = write(tmp_path / "x.mp4", shot(1, 4))
    with DecoderPool(1, threads=1) as pool:
        with pytest.raises((UsageError, ItemError), match=r"must be a function of|No module named"):
            pool.submit_job(path, job, {}, lambda plain, arrays: plain).result()
        assert pool.cuts(path) == []
