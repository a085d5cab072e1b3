"""What pipelines return, as frames: every form, and the sound beside it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cineloop.errors import ItemError
from t2v.generators.pictures import to_frames


def test_outputs_of_every_form_become_frames():
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 6, 3), np.uint8)  # (B, T, H, W, C)
    floats = pixels / 255.0
    forms = {
        "np": floats.astype(np.float32),
        "pt": torch.tensor(floats).permute(0, 1, 4, 2, 3),
        "half": torch.tensor(floats).permute(0, 1, 4, 2, 3).bfloat16(),
        "pil": [[Image.fromarray(frame) for frame in clip_] for clip_ in pixels],
        "lists": [list(clip_) for clip_ in pixels],
    }
    for name, form in forms.items():
        clips = to_frames((form,), 2, 8.0, "test")
        assert len(clips) == 2 and clips[0].fps == 8.0
        off = np.abs(np.stack([clip_.pixels for clip_ in clips]).astype(int) - pixels).max()
        assert off <= (1 if name == "half" else 0), name
        assert clips[0].warnings == ()
    for sound in ("audio", "audios", "sound"):
        heard = SimpleNamespace(frames=forms["np"], **{sound: np.zeros((2, 2, 100))})
        assert [clip_.warnings[0].code for clip_ in to_frames(heard, 2, 8.0, "test")] == ["SOUND_DROPPED"] * 2
    assert to_frames(SimpleNamespace(frames=forms["np"], audio=None), 2, 8.0, "test")[0].warnings == ()
    with pytest.raises(ItemError, match="2 clips of 1"):
        to_frames((forms["np"],), 1, 8.0, "test")
    with pytest.raises(ItemError, match="no numbers"):
        to_frames((np.full((1, 2, 4, 4, 3), np.nan),), 1, 8.0, "test")
