"""Nothing but pixels may tell a captioner what was asked for: names and tags of files, and whose weights these are."""

from __future__ import annotations

import av
import numpy as np
import pytest

from cineloop.video.encode import encode
from decoder_here import probe
from small_clips import noise, write
from v2t_eval.roundtrip import leakage

PROMPT = "A red ball rolls slowly to the right on the beach."


@pytest.fixture
def clip(tmp_path):
    return write(noise(fps=8), tmp_path / "clip.mp4")


def tagged(source, target, **tags):
    """The clip with tags in its container."""
    with av.open(str(source)) as opened, av.open(str(target), "w") as out:
        out.metadata.update(tags)
        stream = out.add_stream_from_template(opened.streams.video[0])
        for packet in opened.demux(opened.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return target


@pytest.mark.parametrize(
    ("name", "is_told"),
    [
        ("A red ball rolls slowly-0", True),
        ("red_ball", True),
        ("RedBall-7", True),
        ("red-0001", False),
        ("the clip of a video in the", False),
        ("a4d5e07e23b1", False),
        ("sample_000123_seed4", False),
    ],
)
def test_a_name_that_shares_two_words_tells_its_prompt(name, is_told):
    assert leakage.reveals(name, PROMPT) is is_told


def test_neutral_names_stay_the_same_and_tell_nothing():
    assert leakage.neutral_name(PROMPT) == leakage.neutral_name(PROMPT) != leakage.neutral_name(PROMPT + "!")
    assert not leakage.shared_words(leakage.neutral_name(PROMPT), PROMPT)


def test_a_clip_without_tags_is_linked(clip, tmp_path):
    target = tmp_path / "made" / "x.mp4"
    target.parent.mkdir()
    assert leakage.texts_of(clip) == {}
    assert leakage.bring(clip, target) is False
    assert target.stat().st_ino == clip.stat().st_ino
    assert leakage.bring(clip, target) is False  # once more does nothing
    encode(np.zeros((6, 32, 32, 3), np.uint8), clip, fps=8)  # another clip under the same name
    leakage.bring(clip, target)
    assert target.read_bytes() == clip.read_bytes()


def test_text_in_tags_is_taken_out_and_the_frames_stay(clip, tmp_path):
    telling = tagged(clip, tmp_path / "telling.mp4", title=PROMPT, comment="seed 4")
    assert leakage.texts_of(telling)["title"] == PROMPT
    target = tmp_path / "plain.mp4"
    assert leakage.bring(telling, target) is True
    assert leakage.texts_of(target) == {}
    assert PROMPT.encode() not in target.read_bytes()
    assert probe(target).num_frames == probe(clip).num_frames == 6
    with av.open(str(target)) as a, av.open(str(clip)) as b:
        for one, other in zip(a.decode(video=0), b.decode(video=0), strict=True):
            assert np.array_equal(one.to_ndarray(format="rgb24"), other.to_ndarray(format="rgb24"))
    before = target.stat().st_mtime_ns
    assert leakage.bring(telling, target) is True  # said again, done once
    assert target.stat().st_mtime_ns == before


def test_a_file_that_is_no_video_is_brought_as_it_is(tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    assert leakage.texts_of(broken) == {}
    leakage.bring(broken, tmp_path / "x.mp4")
    assert (tmp_path / "x.mp4").read_bytes() == b"no video at all"


def test_shared_weights_are_told(tmp_path):
    ours, theirs = tmp_path / "captioner", tmp_path / "generator"
    for folder in (ours, theirs):
        (folder / "text_encoder").mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(folder.name.encode())
    (ours / "text_encoder" / "model.safetensors").write_bytes(b"one encoder")
    about = {"generator": "diffusers", "model": str(theirs)}
    assert "shares no file of weights" in leakage.warnings_for(str(ours), None, about)[0]
    (theirs / "text_encoder" / "model.safetensors").write_bytes(b"one encoder")
    assert "shares 1 files of weights" in leakage.warnings_for(str(ours), None, about)[0]


def test_shared_weights_by_name():
    starters = leakage.warnings_for("starter", "starter", {"generator": "dit", "model": "starter"})
    assert "one model" in starters[0]
    assert "shares no file of weights" in starters[1]
    assert "same cartoon world" in starters[2]
    assert "may share weights" in leakage.warnings_for("a/b", None, {"generator": "diffusers", "model": "a/b"})[0]
    assert "by name alone" in leakage.warnings_for("a/b", None, {"generator": "diffusers", "model": "a/c"})[0]
    assert "not known" in leakage.warnings_for("a/b", None, {})[0]
    assert "no weights" in leakage.warnings_for("a/b", None, {"generator": "world"})[0]
