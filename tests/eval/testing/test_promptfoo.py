"""The assertion of promptfoo: the results that it takes, and outputs of all kinds of providers."""

from __future__ import annotations

import json

import pytest

from cineloop.errors import CineloopError
from v2t_eval.testing.promptfoo import clip_path, get_assert

PROMPT = "A red ball rolls to the left on the beach."


def test_outputs_that_name_a_clip(tmp_path):
    clip = tmp_path / "a b.mp4"
    for output in (str(clip), "a b.mp4", f"{clip.as_uri()}", json.dumps({"path": "a b.mp4"}), {"video": str(clip)},
                   {"video": {"url": "a b.mp4"}}, {"url": clip.as_uri()}, f"\n{clip}\n"):  # fmt: skip
        assert clip_path(output, tmp_path) == clip, output


@pytest.mark.parametrize(
    ("output", "code"),
    [("", "NOT_A_FILE"), (None, "NOT_A_FILE"), ("a story\nof two lines", "NOT_A_FILE"), ({"text": "x"}, "NOT_A_FILE"),
     ("https://example.org/a.mp4", "POLICY"), ({"video": {"url": "http://169.254.169.254/x"}}, "POLICY")],
)  # fmt: skip
def test_outputs_that_name_none(output, code, tmp_path):
    with pytest.raises(CineloopError) as caught:
        clip_path(output, tmp_path)
    assert caught.value.code == code
    graded = get_assert(output, {"vars": {"prompt": PROMPT}})
    assert graded["pass"] is False and graded["score"] == 0 and graded["reason"].startswith(code)


def test_what_is_wrong_is_a_result_and_no_exception(tmp_path):
    broken = tmp_path / "a.mp4"
    broken.write_bytes(b"not a video")
    for output, config, code in (
        (str(broken), {}, "NOT_MEDIA"), (str(tmp_path / "none.mp4"), {}, "NOT_FOUND"),
        (str(broken), {"colour": 1}, "USAGE"),
    ):  # fmt: skip
        graded = get_assert(output, {"prompt": PROMPT, "config": config})
        assert graded["pass"] is False and graded["reason"].startswith(code), graded


@pytest.mark.slow
def test_a_clip_that_shows_its_prompt_passes_and_another_prompt_does_not(tmp_path):
    from cineloop.video.encode import encode
    from t2v.generators import ClipRequest
    from t2v.generators.world import Generator
    from t2v.settings import GenerateSettings

    (frames,) = Generator().generate([ClipRequest(prompt=PROMPT, seed=0)], GenerateSettings())
    encode(frames.pixels, tmp_path / "ball.mp4", fps=frames.fps)
    config = {"at_least": {"temporal_flickering": 0.9}, "folder": str(tmp_path), "cache": str(tmp_path / "cache")}
    context = {"prompt": f"Make a video: {PROMPT}", "vars": {"prompt": PROMPT}, "config": config}
    good = get_assert("ball.mp4", context)
    assert good["pass"] is True and good["score"] == 1.0 and good["namedScores"]["temporal_flickering"] > 0.9
    assert json.loads(json.dumps(good)) == good
    other = get_assert("ball.mp4", {**context, "config": {**config, "prompt": "A green cat jumps in the forest."}})
    assert other["pass"] is False and 0 < other["score"] < 1 and "forest" in other["reason"]
    for graded in (good, *good["componentResults"], *other["componentResults"]):
        assert isinstance(graded["pass"], bool) and isinstance(graded["score"], float) and graded["reason"]
    strict = get_assert("ball.mp4", {**context, "config": {**config, "at_least": {"temporal_flickering": 0.9999}}})
    assert strict["pass"] is False and "temporal_flickering" in strict["reason"]
    assert config == {
        "at_least": {"temporal_flickering": 0.9},
        "folder": str(tmp_path),
        "cache": str(tmp_path / "cache"),
    }
