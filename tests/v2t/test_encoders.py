"""Tokens of captions: limits, exact counts, and estimates that are rather high."""

from __future__ import annotations

import pytest

from cineloop.errors import UsageError
from v2t.encoders import LIMITS, TOKENIZERS, limit_of, reader

TEXT = "A small brown dog runs to the left in the snow, then it jumps over a fence. " * 5


def test_every_encoder_has_a_limit_and_a_tokenizer():
    assert {name: limit_of(name) for name in LIMITS} == LIMITS and LIMITS.keys() == TOKENIZERS.keys()
    assert (LIMITS["wan"], LIMITS["cogvideox"], LIMITS["hunyuan"], LIMITS["clip"]) == (512, 226, 256, 77)
    assert limit_of("", 100) == limit_of("wan", 100) == 100
    with pytest.raises(UsageError, match="did you mean"):
        limit_of("hunyan")


def test_an_estimate_depends_on_the_tokenizer_and_is_the_highest_where_none_is_known():
    counts = {name: reader(name).count(TEXT) for name in LIMITS}
    plain = 97  # 17 words and two marks, five times, and two special tokens
    assert counts["hunyuan-1.5"] == counts["hunyuan"] == round(plain * 1.05)
    assert counts["clip"] == round(plain * 1.15) and counts["wan"] == counts["ltx2"] == round(plain * 1.3)
    assert reader("", 20).count(TEXT) == counts["wan"] and "UMT5" in reader("wan").how


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("UMT5-XXL", "UMT5"),
        ("T5-XXL", "T5"),
        ("LLaMA (77 for CLIP-L)", "Llama"),
        ("Qwen2.5-VL (128 for ByT5)", "Qwen"),
        ("Gemma 3", "Gemma"),
        ("wan", "UMT5"),
        ("the encoder", ""),
    ],
)
def test_an_encoder_is_of_a_kind_by_its_own_name_too(name, kind):
    assert reader(name, 100).kind == kind
    assert reader(name, 100).count(TEXT) == round(97 * {"Llama": 1.05, "Qwen": 1.05}.get(kind, 1.3))


def test_what_is_cut_is_named_and_the_rest_fits():
    (warning,) = reader("", 20).warnings(TEXT)
    cut = warning.message.split("it will not read: ")[1].rstrip("…")
    assert cut in TEXT and reader("", 20).warnings(TEXT[: TEXT.index(cut)]) == []
