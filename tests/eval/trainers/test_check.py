"""The check of a folder: every planted fault named for every trainer, nothing said of sound clips."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from trainer_sets import SMALL, plant, sound_set, write_clip
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.trainers import reading
from v2t_eval.trainers.check import check_set
from v2t_eval.trainers.fit import fit_clip
from v2t_eval.trainers.rules import load_rules
from v2t_eval.trainers.settings import CheckSetConfig

TRAINERS = sorted(SMALL)
PLAIN = CheckSetConfig(encoder="none")
# What each planted fault must be called, for all trainers or by trainer; None: that trainer does not mind.
CODES = {
    "wrong_fps": {"musubi": "WRONG_RATE", "diffusion-pipe": "UNEVEN_STEPS", "ltx2": "MIXED_RATE",
                  "finetrainers": "MIXED_RATE", "ai-toolkit": "RETIMED"},
    "too_short": "TOO_SHORT",
    "too_long": {"finetrainers": "RETIMED", "ai-toolkit": "RETIMED", "": "FRAMES_LOST"},
    "too_small": "TOO_SMALL",
    "portrait": {"ltx2": "CROPPED", "finetrainers": "DISTORTED", "": "OTHER_ORIENTATION"},
    "variable_rate": "VARIABLE_RATE",
    "turned": {"musubi": "TURNED", "ltx2": "TURNED", "diffusion-pipe": "CROPPED", "finetrainers": "OTHER_ORIENTATION",
               "ai-toolkit": "OTHER_ORIENTATION"},
    "pixel_aspect": "PIXEL_ASPECT",
    "damaged": "DAMAGED",
    "empty_file": "EMPTY_FILE",
    "unlisted_case": {"ltx2": None, "ai-toolkit": None, "": "UNLISTED_SUFFIX"},
    "unlisted_suffix": {"ltx2": None, "diffusion-pipe": None, "": "UNLISTED_SUFFIX"},
    "in_subfolder": {"ltx2": None, "ai-toolkit": None, "": "IN_SUBFOLDER"},
    "same_stem": {"finetrainers": "SAME_STEM", "": "SAME_STEM"},
    "no_caption": "NO_CAPTION",
    "empty_caption": "EMPTY_CAPTION",
    "repeated": "REPEATED_CAPTION",
    "refused": "REFUSAL",
    "cut_off": "CUT_OFF",
    "other_language": "OTHER_LANGUAGE",
    "other_script": "OTHER_LANGUAGE",
    "loops": "REPEATS_ITSELF",
    "over_limit": "TOO_LONG_FOR_ENCODER",
    "times": "TIMES_BEYOND_END",
    "mark": "BYTE_ORDER_MARK",
    "returns": "LINE_ENDINGS",
    "latin1": "NOT_UTF8",
}  # fmt: skip


WITHOUT = {"musubi": "stops", "diffusion-pipe": "dropped", "ltx2": "stops", "finetrainers": "dropped",
           "ai-toolkit": "changed"}  # fmt: skip


def code_of(fault: str, trainer: str) -> str | None:
    codes = CODES[fault]
    return codes if isinstance(codes, str) else codes.get(trainer, codes.get(""))


def check(folder, trainer, *, asked=PLAIN, cache=None, **more):
    return check_set(folder, load_rules(trainer, None, SMALL[trainer]), asked, ExecutorConfig(cache=cache), **more)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return sound_set(tmp_path_factory.mktemp("sound") / "clips", 12)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def planted(sound, tmp_path_factory):
    """A folder with a clip for each fault, and their paths."""
    folder = shutil.copytree(sound, tmp_path_factory.mktemp("planted") / "clips")
    return folder, plant(folder, CODES)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_nothing_is_said_of_sound_clips(sound, trainer, cache):
    checked = check(sound, trainer, cache=cache)
    assert {clip.path: clip.codes for clip in checked.clips if clip.findings} == {}
    assert checked.is_sound and all(clip.is_taken and clip.fit.num_frames == 17 for clip in checked.clips)
    assert all(clip.fit.lost_s < 1e-6 and abs(clip.fit.speed - 1) < 0.01 for clip in checked.clips)
    assert {(320, 208) if trainer == "diffusion-pipe" else (320, 192)} == {clip.fit.sizes[0] for clip in checked.clips}


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_planted_fault_has_its_code(planted, trainer, cache):
    folder, paths = planted
    clips = {clip.path: clip for clip in check(folder, trainer, cache=cache).clips}
    for fault, path in paths.items():
        wanted = code_of(fault, trainer)
        assert wanted is None or wanted in clips[path].codes, (fault, clips[path].findings)
        if wanted is None:
            assert clips[path].findings == [], fault
    untouched = [clip for path, clip in clips.items() if path.startswith("clip") and path != "clip000.mp4"]
    assert len(untouched) == 11 and [clip.findings for clip in untouched if clip.findings] == []
    assert clips["clip000.mp4"].codes == ("REPEATED_CAPTION",)  # the other one of the pair
    shorts = clips[paths["too_short"]]
    assert shorts.is_taken == (trainer in ("finetrainers", "ai-toolkit"))
    assert ("OFF_GRID" in shorts.codes) == (trainer == "finetrainers")
    assert clips[paths["no_caption"]].effect == WITHOUT[trainer]


@pytest.mark.slow
def test_a_second_check_by_other_rules_decodes_nothing(sound, cache, monkeypatch):
    first = check(sound, "musubi", cache=cache)
    monkeypatch.setattr(reading, "submit_footage", lambda *args: pytest.fail("decoded again"))
    again = check(sound, "ai-toolkit", cache=cache)
    assert [clip.footage.num_frames for clip in again.clips] == [clip.footage.num_frames for clip in first.clips]


@pytest.mark.slow
def test_a_count_that_the_container_only_claims_stops_the_trainer_that_believes_it(tmp_path):
    whole = write_clip(tmp_path / "a.mp4", front=True).read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: len(whole) - len(whole) // 6])
    (tmp_path / "a.txt").write_text("A square crosses the picture from left to right.")
    (clip,) = check(tmp_path, "diffusion-pipe").clips
    assert clip.footage.claimed_frames == 17 > clip.footage.num_frames
    assert {"DAMAGED", "COUNT_MISMATCH"} <= set(clip.codes) and clip.effect == "stops", clip.findings
    (clip,) = check(tmp_path, "musubi").clips  # which decodes, and finds no window
    assert "COUNT_MISMATCH" not in clip.codes and clip.effect == "dropped"


@pytest.mark.slow
def test_another_stream_than_the_one_that_players_show_is_named(sound, cache):
    clip = check(sound, "musubi", cache=cache).clips[0]
    two = replace(clip.footage, first_stream=(160, 96))
    fit = fit_clip(load_rules("musubi", None, SMALL["musubi"]), two, PLAIN)
    assert [each.code for each in fit.findings] == ["OTHER_STREAM"] and "160x96" in fit.findings[0].message


@pytest.mark.slow
def test_of_lists_the_captions_are_read_by_row_and_orphans_are_named(sound, tmp_path):
    folder = shutil.copytree(sound, tmp_path / "clips")
    rows = [{"video": f"clip{n:03}.mp4", "caption": (folder / f"clip{n:03}.txt").read_text()} for n in range(12)]
    for file in folder.glob("*.txt"):
        file.unlink()
    (folder / "dataset.json").write_text(
        json.dumps([*rows[1:], {"video": "gone.mp4", "caption": "Gone with the wind."}])
    )
    checked = check(folder, "ltx2")
    assert checked.captions.form == "dataset-json"
    assert {clip.path: clip.codes for clip in checked.clips if clip.findings} == {"clip000.mp4": ("NO_CAPTION",)}
    assert [notice.code for notice in checked.notices] == ["CAPTION_WITHOUT_CLIP", "TOKENS_ESTIMATED"]
    assert "row 12" in checked.notices[0].message
    (folder / "dataset.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(rows).encode())
    assert {clip.effect for clip in check(folder, "ltx2").clips} == {"stops"}  # Python's json refuses the mark


@pytest.mark.slow
def test_captions_of_another_form_are_read_and_that_is_said(sound):
    notices = {notice.code for notice in check(sound, "ltx2").notices}
    assert "CAPTION_FORM" in notices


@pytest.mark.slow
def test_a_video_with_a_name_that_is_none_is_looked_at(sound, tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copyfile(sound / "clip000.mp4", folder / "take.video")
    (folder / "take.txt").write_text("A square crosses the picture from left to right.")
    (folder / "notes.md").write_text("# no video")
    (clip,) = check(folder, "musubi").clips
    assert clip.path == "take.video" and clip.codes == ("UNLISTED_SUFFIX",) and clip.effect == "dropped"
