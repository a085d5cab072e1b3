"""The nearest known clip of each of others: a copy has one at no distance, another clip has none."""

from __future__ import annotations

import numpy as np
import pytest

from cineloop.video.encode import encode
from level_generator import picture
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.near.search import nearest_clips


def clip(place, name, pixels):
    path = place / f"{name}.mp4"
    encode(np.stack([pixels] * 3), path, fps=8)
    return Sample(id=name, clip=SampleClip(content="", path=path))


@pytest.mark.slow
def test_copies_are_near_their_clip_and_others_near_none(tmp_path):
    known = [clip(tmp_path, f"known-{n}", picture(n)) for n in range(3)]
    others = [
        clip(tmp_path, "copy", picture(1)),
        clip(tmp_path, "mirrored", picture(2)[:, ::-1]),
        clip(tmp_path, "another", picture(9)),
        Sample(id="absent"),
        Sample(id="damaged", clip=SampleClip(content="", path=tmp_path / "none.mp4")),
    ]
    nearest = nearest_clips(known, others, ExecutorConfig(cache=tmp_path / "cache"), most_differs=0.05, model="")
    assert (nearest["copy"].id, nearest["copy"].share) == ("known-1", 0.0) and not nearest["copy"].is_mirrored
    assert nearest["mirrored"].id == "known-2" and nearest["mirrored"].is_mirrored
    assert "another" not in nearest
    assert "absent" not in nearest and "damaged" not in nearest
