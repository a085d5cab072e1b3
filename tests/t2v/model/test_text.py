import logging
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModel, AutoTokenizer

from cineloop.errors import MissingDependencyError, UsageError
from t2v.model.text import (
    CineloopTextConfig,
    CineloopTextModel,
    PromptEmbeds,
    PromptEncoder,
    build_tokenizer,
    join,
    open_text_encoder,
    world_words,
)
from t2v.model.text_starter import BOS, EOS, MAX_TOKENS, PAD, UNK

WORDS = "a ball bird blue moves red rolls small the , .".split()
PROMPTS = ["a red ball rolls.", "", "the small blue bird moves, the red ball rolls."]


@pytest.fixture(scope="module")
def starter():
    """The starter's encoder at small width."""
    torch.manual_seed(0)
    config = CineloopTextConfig(vocab_size=4 + len(WORDS), hidden_size=32, num_heads=2, initializer_range=0.3)
    return CineloopTextModel(config).eval()


@pytest.fixture(scope="module")
def encoder(starter):
    return PromptEncoder(build_tokenizer(WORDS), starter)


@pytest.fixture
def warned(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("cineloop"), "propagate", True)
    caplog.set_level(logging.WARNING, logger="cineloop")
    return lambda: "\n".join(record.getMessage() for record in caplog.records)


# --- the starter's tokenizer and its words
def test_tokenizer_takes_words_in_lower_case_and_marks_apart():
    tokenizer = build_tokenizer(WORDS)
    read = tokenizer.convert_ids_to_tokens(tokenizer("A Red,RED  ball.").input_ids)
    assert read == ["[BOS]", "a", "red", ",", "red", "ball", ".", "[EOS]"]
    assert tokenizer("").input_ids == [BOS, EOS]
    assert tokenizer("a zebra").input_ids[2] == UNK
    assert tokenizer.pad_token_id == PAD == 0


def test_tokenizer_cuts_at_its_length_and_keeps_the_end():
    ids = build_tokenizer(WORDS)("red " * 100, truncation=True).input_ids
    assert len(ids) == MAX_TOKENS and ids[-1] == EOS


@pytest.mark.slow
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30))
def test_tokenizer_reads_back_what_it_wrote(words):
    tokenizer = build_tokenizer(WORDS)
    ids = tokenizer(" ".join(words)).input_ids
    assert tokenizer.convert_ids_to_tokens(ids[1:-1]) == words


@pytest.mark.parametrize("words", [["red", "red"], ["two words"], ["Red"], ["a-b"], [""]])
def test_tokenizer_refuses_a_vocabulary_it_could_never_use(words):
    with pytest.raises(UsageError):
        build_tokenizer(words)


def test_tokenizer_survives_saving(tmp_path):
    tokenizer = build_tokenizer(WORDS)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for prompt in (*PROMPTS, "A zebra"):
        assert loaded(prompt).input_ids == tokenizer(prompt).input_ids
    assert loaded.model_max_length == MAX_TOKENS
    assert loaded(PROMPTS, padding=True).input_ids == tokenizer(PROMPTS, padding=True).input_ids


@pytest.mark.slow
def test_no_word_of_the_world_is_unknown():
    from cineloop.world.language.words import caption
    from cineloop.world.scenes.sampler import sample_scene
    from cineloop.world.scenes.solo import prompt, sample_solo

    words = world_words()
    assert list(words) == sorted(set(words)) and world_words(50) == world_words.__wrapped__(50)
    tokenizer, rng = build_tokenizer(words), random.Random(1)
    longest = 0
    for index in range(150):
        for split in ("train", "unseen"):
            solo = sample_solo(split, 77, index).facts()
            full = sample_scene(split, 77, index).facts()
            prompts = [prompt(solo, rng, unseen_wording=held_out) for held_out in (False, True)]
            longest = max(longest, *(len(tokenizer(text).input_ids) for text in prompts))
            for text in (*prompts, caption(solo, "detailed", rng), caption(full, "short", rng)):
                assert UNK not in tokenizer(text).input_ids, text
    assert longest <= MAX_TOKENS  # no prompt of the starter's world is cut


# --- the starter's encoder
def test_starter_is_registered_and_survives_saving(starter, tmp_path):
    starter.save_pretrained(tmp_path)
    assert [p.name for p in tmp_path.glob("*.safetensors")] == ["model.safetensors"]
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, CineloopTextModel)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), CineloopTextConfig)
    ids = torch.tensor([[BOS, 5, 6, EOS]])
    for ours, theirs in zip(starter(ids, return_dict=False), loaded(ids, return_dict=False), strict=True):
        assert torch.equal(ours, theirs)


def test_starter_registers_a_second_time_without_complaint():
    import importlib

    import t2v.model.text_starter as module

    AutoConfig.register("cineloop_text", module.CineloopTextConfig, exist_ok=True)
    assert importlib.import_module("t2v.model.text_starter") is module


def test_starter_never_looks_at_masked_tokens(starter):
    ids = torch.tensor([[BOS, 5, 6, EOS, PAD, PAD]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
    other = ids.clone()
    other[:, 4:] = 7
    for a, b in zip(starter(ids, mask, False), starter(other, mask, False), strict=True):
        torch.testing.assert_close(a[:, :4] if a.ndim == 3 else a, b[:, :4] if b.ndim == 3 else b, rtol=0, atol=0)
    assert not torch.equal(starter(ids).pooler_output, starter(other).pooler_output)  # unmasked, they count


def test_starter_sees_both_ways_and_order(starter):
    hidden = starter(torch.tensor([[BOS, 5, 6, EOS]])).last_hidden_state
    later = starter(torch.tensor([[BOS, 5, 8, EOS]])).last_hidden_state
    assert (hidden[:, 0] - later[:, 0]).abs().max() > 1e-4
    pooled = [starter(torch.tensor([[BOS, *pair, EOS]])).pooler_output for pair in ((5, 6), (6, 5))]
    assert (pooled[0] - pooled[1]).abs().max() > 1e-4


def test_starter_trains_every_weight():
    torch.manual_seed(0)
    model = CineloopTextModel(CineloopTextConfig(vocab_size=9, hidden_size=16, num_heads=2, max_position=4))
    found = model(torch.tensor([[BOS, 5, 6, EOS]]))
    (found.last_hidden_state.square().sum() + found.pooler_output.sum()).backward()
    still = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == [n for n in still if n.endswith("to_k.bias")]  # softmax does not see what all keys share


def test_starter_refuses_too_long_and_bad_shapes(starter):
    with pytest.raises(UsageError, match="at most 40 tokens"):
        starter(torch.ones(1, MAX_TOKENS + 1, dtype=torch.long))
    with pytest.raises(UsageError, match="multiple of num_heads"):
        CineloopTextConfig(hidden_size=30, num_heads=4)
    with pytest.raises(UsageError, match="num_layers"):
        CineloopTextConfig(num_layers=0)


# --- prompts to vectors, with every kind of encoder
def _make_t5(kind):
    import transformers

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((f"▁{w}", -1.0) for w in WORDS)]
    tokenizer = transformers.T5Tokenizer(vocab=pieces, extra_ids=0)
    shape = {"vocab_size": 32, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    config = getattr(transformers, f"{kind}Config")(**shape, feed_forward_proj="gated-gelu")
    return tokenizer, getattr(transformers, f"{kind}EncoderModel")(config)


def _make_clip():
    import transformers

    letters = "abcdefghijklmnopqrstuvwxyz,."
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    tokenizer = transformers.CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=77)
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return tokenizer, transformers.CLIPTextModel(config)


KINDS = {
    "t5": lambda: _make_t5("T5"),
    "umt5": lambda: _make_t5("UMT5"),
    "clip": _make_clip,
}


@pytest.fixture(scope="module", params=["starter", *KINDS])
def opened(request, tmp_path_factory, starter):
    """An encoder of each kind with random weights, loaded from a folder."""
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    tokenizer, model = KINDS[request.param]() if request.param in KINDS else (build_tokenizer(WORDS), starter)
    with torch.no_grad():
        for weight in model.parameters():  # large enough that no token drowns in rounding
            weight.add_(0.2 * torch.randn_like(weight))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return request.param, open_text_encoder(folder)


def test_batch_equals_singles_and_padding_is_zero(opened):
    _, encoder = opened
    batch = encoder.encode(PROMPTS)
    assert batch.mask.dtype == torch.bool and batch.embeds.shape[:2] == batch.mask.shape
    assert batch.embeds.shape[2] == encoder.width
    assert not batch.embeds[~batch.mask].any() and torch.isfinite(batch.embeds).all()
    for row, prompt in enumerate(PROMPTS):
        single = encoder.encode(prompt)
        length = single.mask.shape[1]
        assert single.mask.all() and batch.mask[row].sum() == length >= 1
        torch.testing.assert_close(batch.embeds[row, :length], single.embeds[0], rtol=1e-4, atol=1e-5)
        if single.pooled is not None:
            torch.testing.assert_close(batch.pooled[row], single.pooled[0], rtol=1e-4, atol=1e-5)
    assert (batch.embeds[0, :2] - batch.embeds[2, :2]).abs().max() > 1e-3  # prompts differ


def test_only_encoders_that_pool_give_a_pooled_vector(opened):
    kind, encoder = opened
    pooled = encoder.encode("a red ball").pooled
    assert (pooled is not None) == (kind in ("starter", "clip"))
    assert not any(weight.requires_grad for weight in encoder.text_encoder.parameters())


def test_loading_keeps_what_was_saved(opened, starter):
    """The class for prompts must take all the weights of its part out of the folder."""
    kind, encoder = opened
    if kind == "starter":
        ids = encoder.tokenizer("a red ball", return_tensors="pt").input_ids
        torch.testing.assert_close(encoder.encode("a red ball").embeds, starter(ids).last_hidden_state)
    else:
        assert encoder.text_encoder.config.model_type in (kind, "clip_text_model")


def test_truncation_names_the_lost_words(opened, warned):
    kind, encoder = opened
    encoder._logged.clear()
    full = encoder.encode("a red ball rolls the blue bird").mask.shape[1]
    assert "lost" not in warned()
    found = encoder.encode("a red ball rolls the blue bird", max_length=full - 2)
    assert found.mask.shape[1] == full - 2
    lost = "blue bird" if kind in ("starter", "t5", "umt5") else "bird"  # two words, or two letters of the last
    assert warned().endswith(f"has {full} tokens, {full - 2} are read; lost: {lost}")


def test_truncation_names_the_lost_words_where_tokens_have_no_places(warned):
    import transformers

    tokenizer = transformers.ByT5Tokenizer()
    assert not tokenizer.is_fast
    config = transformers.T5Config(vocab_size=384, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    encoder = PromptEncoder(tokenizer, transformers.T5EncoderModel(config).eval())
    found = encoder.encode(["a red ball", "a bird"], max_length=len("a red ") + 1)
    assert found.mask.sum(1).tolist() == [7, 7]
    assert warned().endswith("11 tokens, 7 are read; lost: ball")


def test_diffusers_folders_and_dtype(tmp_path, starter):
    starter.save_pretrained(tmp_path / "text_encoder")
    build_tokenizer(WORDS).save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "model_index.json").write_text("{}")
    encoder = open_text_encoder(tmp_path, dtype=torch.bfloat16)
    found = encoder.encode(PROMPTS)
    assert found.embeds.dtype == torch.bfloat16
    torch.testing.assert_close(
        found.embeds.float(), PromptEncoder(encoder.tokenizer, starter).encode(PROMPTS).embeds, rtol=0.1, atol=0.1
    )


def test_weights_kept_elsewhere_until_wanted(tmp_path, starter, encoder):
    from accelerate import cpu_offload

    starter.save_pretrained(tmp_path)
    away = CineloopTextModel.from_pretrained(tmp_path).eval()
    cpu_offload(away, execution_device="cpu")
    assert away.device.type == "meta"
    found, wanted = PromptEncoder(encoder.tokenizer, away).encode(PROMPTS), encoder.encode(PROMPTS)
    torch.testing.assert_close(found.embeds, wanted.embeds)
    torch.testing.assert_close(found.pooled, wanted.pooled)


def test_what_is_not_a_text_encoder_is_refused(tmp_path):
    from transformers import BartConfig, SiglipVisionConfig

    with pytest.raises(MissingDependencyError, match="no text encoder at"):
        open_text_encoder(tmp_path / "nothing")
    SiglipVisionConfig().save_pretrained(tmp_path / "eye")
    BartConfig().save_pretrained(tmp_path / "bart")
    for name in ("eye", "bart"):
        with pytest.raises(UsageError, match="must be one of"):
            open_text_encoder(tmp_path / name)


def test_weights_that_would_be_unpickled_are_refused(tmp_path):
    CineloopTextConfig(vocab_size=16, hidden_size=16).save_pretrained(tmp_path)
    build_tokenizer(WORDS).save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(MissingDependencyError, match="could not be loaded"):
        open_text_encoder(tmp_path)


def test_unknown_words_are_named_once(encoder, warned):
    encoder.encode(["a red zebra rolls", "a Quagga, a zebra, a ball"])
    encoder.encode("a red zebra rolls")
    said = warned()
    assert "does not know: zebra" in said and "does not know: Quagga, zebra" in said
    assert len(said.splitlines()) == 2 and "ball" not in said


def test_warnings_are_cleaned_for_the_terminal(encoder, warned):
    encoder.encode("a \x1b[31mzebra\u202e")
    assert "zebra" in warned() and "\x1b" not in warned() and "\u202e" not in warned()


def test_bad_requests(encoder):
    with pytest.raises(UsageError, match="no prompt"):
        encoder.encode([])
    for length in (0, MAX_TOKENS + 1):
        with pytest.raises(UsageError, match="from 1 to 40"):
            encoder.encode("a ball", max_length=length)


def test_embeds_repeat_pad_and_join(encoder):
    one, two = encoder.encode(PROMPTS[:2]), encoder.encode(PROMPTS[2])
    both, whole = join(one, two), encoder.encode(PROMPTS)
    torch.testing.assert_close(both.embeds, whole.embeds, rtol=1e-5, atol=1e-6)
    assert torch.equal(both.mask, whole.mask) and len(both) == 3
    twice = one.repeat(2)
    assert torch.equal(twice.embeds, one.embeds[[0, 0, 1, 1]]) and torch.equal(twice.pooled, one.pooled[[0, 0, 1, 1]])
    assert one.to(dtype=torch.float16).mask.dtype == torch.bool
    with pytest.raises(UsageError, match="pooled"):
        join(one, PromptEmbeds(two.embeds, two.mask))
