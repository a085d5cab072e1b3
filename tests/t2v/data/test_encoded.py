"""Batches of cached clips are a function of the sample numbers: however a step is cut up, it holds the same."""

from __future__ import annotations

import pytest
import torch

from t2v.data.buckets import Bucket, BucketBatches
from t2v.data.encoded import EncodedKeys, EncodedSource


class Kept(dict):
    """A cache in memory."""

    def get(self, key):
        return self[key]


@pytest.mark.parametrize("equal_tokens", [False, True])
def test_a_step_split_over_processes_holds_the_same_prompts(equal_tokens):
    clips = [EncodedKeys(f"clip{n}", (f"a{n}", f"b{n}", f"c{n}")) for n in range(12)]
    latents = Kept({f"clip{n}": {"latents": torch.full((1,), float(n))} for n in range(12)})
    texts = Kept({name: name for name in ["", *(prompt for clip in clips for prompt in clip.prompts)]})
    members = ((Bucket(17, 64, 64), tuple(range(4))), (Bucket(1, 64, 64), tuple(range(4, 12))))
    batches = BucketBatches(members, 8, 0, equal_tokens)
    source = EncodedSource(clips, batches, latents, texts, "", 0.3, 5, collate=list)
    for step in range(4):
        whole = source(8 * step, 8)
        parts = [source(8 * step + offset, 2) for offset in range(0, 8, 2)]
        assert whole["text"] == [text for part in parts for text in part["text"]]
        assert torch.equal(whole["latents"], torch.cat([part["latents"] for part in parts]))
