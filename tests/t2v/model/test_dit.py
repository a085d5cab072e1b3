"""The transformer against diffusers' Wan, and what diffusers expects of one: saving, processors, caches, LoRA."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from diffusers import FirstBlockCacheConfig, WanTransformer3DModel
from torch import Tensor, nn
from torch.nn import functional as nnf

from t2v.model.attention import CineloopAttnProcessor
from t2v.model.dit import CineloopTransformer3DModel

# Two heads of 12 channels: four each for time, rows and columns.
TINY: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 10,
    "freq_dim": 16,
    "ffn_dim": 48,
    "num_layers": 2,
}
GRID = (3, 4, 3)  # tokens of latents (3, 8, 6)


def randomised(model: nn.Module, seed: int = 0) -> Any:
    """The model with every weight drawn anew, so that no gate or head is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def tiny(seed: int = 0, **changes: Any) -> Any:
    return randomised(CineloopTransformer3DModel(**{**TINY, **changes}), seed)


def inputs(batch: int = 2, length: int = 7, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "hidden_states": torch.randn(batch, 4, 3, 8, 6, generator=generator),
        "timestep": 1000 * torch.rand(batch, generator=generator),
        "encoder_hidden_states": torch.randn(batch, length, 10, generator=generator),
    }


def same(ours: Tensor, theirs: Tensor, tolerance: float = 2e-5) -> None:
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def wan_and_ours(**changes: Any) -> tuple[Any, Any]:
    wan = randomised(WanTransformer3DModel(**{**TINY, **changes}))
    settings = {key: value for key, value in wan.config.items() if not key.startswith("_")}
    ours = CineloopTransformer3DModel(**settings).eval()
    ours.load_state_dict(wan.state_dict(), strict=True)
    return wan, ours


@pytest.mark.parametrize("per_token", [False, True])
def test_equals_wan_with_its_weights_in_output_and_gradients(per_token):
    wan, ours = wan_and_ours()
    given = inputs()
    if per_token:
        given["timestep"] = 1000 * torch.rand(2, 36, generator=torch.Generator().manual_seed(3))
    theirs, mine = wan(**given).sample, ours(**given).sample
    assert theirs.std() > 0.5
    same(mine, theirs)
    for output in (theirs, mine):
        output.square().mean().backward()
    expected = dict(wan.named_parameters())
    for name, parameter in ours.named_parameters():
        same(parameter.grad, expected[name].grad)


def test_equals_wan_with_image_features():
    wan, ours = wan_and_ours(image_dim=6, added_kv_proj_dim=24)
    given = inputs(length=512)  # Wan takes it for granted that the text has 512 tokens
    image = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(4))
    same(
        ours(**given, encoder_hidden_states_image=image).sample, wan(**given, encoder_hidden_states_image=image).sample
    )


def test_under_bfloat16_autocast_as_near_to_float32_as_wan():
    wan, ours = wan_and_ours()
    given = inputs()
    with torch.no_grad():
        exact = wan(**given).sample
        with torch.autocast("cpu", dtype=torch.bfloat16):
            theirs, mine = wan(**given).sample.float(), ours(**given).sample.float()
    assert 0 < (mine - exact).square().mean() < 1.5 * (theirs - exact).square().mean()


def test_reads_a_folder_that_wan_saved(tmp_path):
    wan, _ = wan_and_ours()
    wan.save_pretrained(tmp_path)
    ours = CineloopTransformer3DModel.from_pretrained(tmp_path)
    with torch.no_grad():
        same(ours(**inputs()).sample, wan(**inputs()).sample)


def test_fresh_blocks_are_the_identity_and_the_output_is_zero():
    model = CineloopTransformer3DModel(**TINY)
    given = inputs()
    assert model(**given).sample.abs().max() == 0
    tokens, text = torch.randn(2, 36, 24), torch.randn(2, 7, 24)
    _, modulation, _ = model.condition_embedder(given["timestep"], given["encoder_hidden_states"], None)
    for block in model.blocks:
        assert torch.equal(block(tokens, text, modulation, torch.complex(*model.rope(GRID))), tokens)
    assert CineloopTransformer3DModel(**TINY, zero_init=False)(**given).sample.abs().max() > 0.01


def test_a_fresh_model_learns_in_all_its_parts():
    torch.manual_seed(0)
    model, given = CineloopTransformer3DModel(**TINY, pooled_dim=5), inputs()
    given["pooled_projections"] = torch.randn(2, 5)
    goal = torch.randn_like(given["hidden_states"])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    before, losses = copy.deepcopy(model.state_dict()), []
    for _ in range(4):
        loss = nnf.mse_loss(model(**given).sample, goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    still = [name for name, value in model.state_dict().items() if torch.equal(value, before[name])]
    assert still == []


def test_masked_text_never_matters_and_padding_changes_nothing():
    model, given = tiny(), inputs()
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 4:] = False
    other = {**given, "encoder_hidden_states": given["encoder_hidden_states"].clone()}
    other["encoder_hidden_states"][1, 4:] = 50.0
    for is_plain in (False, True):  # the fused attention, and the plain one that is for training in bfloat16
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_plain):
            ours = model(**given, encoder_attention_mask=mask).sample
            assert torch.equal(model(**other, encoder_attention_mask=mask).sample, ours)
            assert not torch.allclose(model(**other).sample, ours, atol=1e-3)
    with torch.no_grad():
        whole = model(**given, encoder_attention_mask=mask).sample
        short = {"encoder_hidden_states": given["encoder_hidden_states"][1:, :4]}
        alone = model(given["hidden_states"][1:], given["timestep"][1:], **short).sample
    same(whole[1:], alone)


def test_a_batch_equals_its_singles():
    model, given = tiny(pooled_dim=5), inputs(batch=3)
    given["pooled_projections"] = torch.randn(3, 5, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        whole = model(**given).sample
        singles = [model(**{k: v[i : i + 1] for k, v in given.items()}).sample for i in range(3)]
    same(whole, torch.cat(singles))


def test_pooled_text_matters():
    model, given = tiny(pooled_dim=5), inputs()
    first, second = (model(**given, pooled_projections=p).sample for p in (torch.zeros(2, 5), torch.ones(2, 5)))
    assert (first - second).abs().max() > 0.01


def test_a_timestep_for_each_token():
    model, given = tiny(), inputs()
    tokens = given["timestep"][:, None].repeat(1, 36)
    with torch.no_grad():
        plain, repeated = model(**given).sample, model(**{**given, "timestep": tokens}).sample
        first_clean = tokens.clone()
        first_clean[:, :12] = 0  # the first frame's 4 x 3 tokens are not noisy
        conditioned = model(**{**given, "timestep": first_clean}).sample
    same(repeated, plain)
    assert (conditioned - plain).abs().amax(dim=(0, 1, 3, 4)).min() > 0.01


@pytest.mark.parametrize("size", [(1, 2, 2), (9, 2, 2), (1, 6, 10), (5, 4, 6)])
def test_any_size_whatever_the_table_of_wan_would_allow(size):
    model = tiny(rope_max_seq_len=2)
    given = inputs()
    given["hidden_states"] = torch.randn(2, 4, *size)
    assert model(**given).sample.shape == (2, 4, *size)


def test_processors_are_listed_replaced_and_called():
    model, calls = tiny(), []

    class Counting(CineloopAttnProcessor):
        def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
            calls.append(1)
            return super().__call__(*args, **kwargs)

    expected = model(**inputs()).sample
    names = {f"blocks.{i}.attn{k}.processor" for i in (0, 1) for k in (1, 2)}
    assert set(model.attn_processors) == names
    model.set_attn_processor(Counting())
    assert torch.equal(model(**inputs()).sample, expected)
    assert len(calls) == 4
    model.set_attn_processor({name: CineloopAttnProcessor() for name in names})
    assert not any(isinstance(p, Counting) for p in model.attn_processors.values())


def test_backends_agree():
    model = tiny()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        chosen = model(**inputs()).sample
        model.set_attention_backend("native")
        native = model(**inputs()).sample
    same(native.float(), chosen.float(), 0.05)


def test_fused_projections_equal_the_single_ones():
    model = tiny()
    expected = model(**inputs()).sample
    model.fuse_qkv_projections()
    assert model.blocks[0].attn1.to_qkv.weight.shape == (72, 24)
    assert model.blocks[0].attn2.to_kv.weight.shape == (48, 24)
    with torch.no_grad():
        for block in model.blocks:  # the single ones are not used now
            block.attn1.to_q.weight.zero_()
    same(model(**inputs()).sample, expected)
    model.unfuse_qkv_projections()
    assert not hasattr(model.blocks[0].attn1, "to_qkv")


def test_gradient_checkpointing_changes_no_gradient():
    model, runs = tiny().train(), []
    model.blocks[0].register_forward_pre_hook(lambda *_: runs.append(1))
    gradients = []
    for checkpointed in (False, True):
        if checkpointed:
            model.enable_gradient_checkpointing()
        model.zero_grad()
        model(**inputs()).sample.square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    assert len(runs) == 3  # once plainly, twice when checkpointed
    for name, expected in gradients[0].items():
        same(gradients[1][name], expected, 1e-6)


def test_saved_and_loaded_in_one_file_in_shards_and_as_a_variant(tmp_path):
    model = tiny(pooled_dim=5, sample_frames=9, sample_fps=12.0)
    given = {**inputs(), "pooled_projections": torch.randn(2, 5)}
    expected = model(**given).sample
    as_saved = {**json.loads(model.to_json_string()), "_name_or_path": ""}
    for name, saving in {
        "one": {},
        "shards": {"max_shard_size": "20KB"},
        "variant": {"variant": "ema"},
    }.items():
        model.save_pretrained(tmp_path / name, **saving)
        loading = {"variant": "ema"} if name == "variant" else {}
        loaded = CineloopTransformer3DModel.from_pretrained(tmp_path / name, **loading)
        assert json.loads(loaded.to_json_string()) | {"_name_or_path": ""} == as_saved
        assert torch.equal(loaded(**given).sample, expected)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert model.config.sample_frames == 9


def test_loaded_in_bfloat16_it_keeps_the_sensitive_parts_in_float32(tmp_path):
    tiny().save_pretrained(tmp_path)
    model = CineloopTransformer3DModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    kinds = {name: p.dtype for name, p in model.named_parameters()}
    wide = ("time_embedder", "scale_shift_table", "norm2")
    assert all((dtype == torch.float32) == any(w in name for w in wide) for name, dtype in kinds.items())
    given = {name: value.bfloat16() for name, value in inputs().items()}
    with torch.no_grad():
        output = model(**given).sample
        same(output.float(), tiny()(**inputs()).sample, 0.3)
    assert output.dtype == torch.bfloat16


def test_layerwise_casting_stores_in_one_precision_and_computes_in_another():
    model = tiny()
    expected = model(**inputs()).sample
    model.enable_layerwise_casting(storage_dtype=torch.bfloat16, compute_dtype=torch.float32)
    assert model.blocks[0].ffn.net[2].weight.dtype == torch.bfloat16
    assert model.blocks[0].attn1.norm_q.weight.dtype == torch.float32
    same(model(**inputs()).sample, expected, 0.1)


def test_tuple_and_named_output_are_one_and_do_not_vary():
    model = tiny()
    named = model(**inputs()).sample
    assert torch.equal(model(**inputs(), return_dict=False)[0], named)


def test_lora_scale_reaches_the_layers():
    lora = pytest.importorskip("peft").LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
    model = tiny()
    base = model(**inputs()).sample
    model.add_adapter(lora)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.3)
    full, half, none = (model(**inputs(), attention_kwargs={"scale": s}).sample for s in (1.0, 0.5, 0.0))
    same(none, base)
    assert (full - base).abs().max() > 1.2 * (half - base).abs().max() > 0
    assert torch.equal(model(**inputs()).sample, full)


def test_the_first_block_cache_of_diffusers_reuses_blocks():
    model, runs = tiny(), []
    model.enable_cache(FirstBlockCacheConfig(threshold=1e9))
    model.blocks[1].attn1.register_forward_hook(lambda *_: runs.append(1))
    with torch.no_grad(), model.cache_context("cond"):
        first, second = model(**inputs()).sample, model(**inputs()).sample
    same(second, first)
    assert len(runs) == 1
    model.disable_cache()


def test_flags_name_modules_that_exist():
    model = tiny()
    kinds = {type(module).__name__ for module in model.modules()}
    assert {*model._no_split_modules, *model._repeated_blocks} <= kinds
    names = "\n".join(name for name, _ in model.named_parameters())
    assert all(part in names for part in ("time_embedder", "scale_shift_table", "norm2"))
    assert set(model._cp_plan) - {""} <= {name for name, _ in model.named_modules()}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rope_axes_dim": (6, 4, 4)}, "add up to attention_head_dim=12"),
        ({"rope_axes_dim": (5, 4, 3)}, "three even numbers"),
        ({"qk_norm": "layer_norm"}, "qk_norm must be"),
    ],
)
def test_a_config_that_cannot_be_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        CineloopTransformer3DModel(**{**TINY, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_states": torch.zeros(2, 4, 3, 7, 6)}, r"multiples of \(1, 2, 2\), got \(2, 4, 3, 7, 6\)"),
        ({"hidden_states": torch.zeros(2, 4, 8, 6)}, "latents must be"),
        ({"timestep": torch.zeros(3)}, r"timestep must be \(2,\) or \(2, 36\)"),
        ({"timestep": torch.zeros(2, 3)}, r"timestep must be"),
        ({"encoder_hidden_states": torch.zeros(2, 7, 9)}, r"text must be \(B, L, 10\)"),
        ({"encoder_attention_mask": torch.ones(2, 6, dtype=torch.bool)}, r"must be \(2, 7\), got \(2, 6\)"),
        ({"encoder_attention_mask": torch.zeros(2, 7, dtype=torch.bool)}, "hides every token"),
        ({"pooled_projections": torch.zeros(2, 4)}, "pooled_dim=5 of the config"),
        ({"pooled_projections": None}, "got nothing"),
        ({"encoder_hidden_states_image": torch.zeros(2, 3, 4)}, "image_dim=None of the config"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(changes, words):
    given: dict[str, Any] = {**inputs(), "pooled_projections": torch.zeros(2, 5), **changes}
    with pytest.raises(ValueError, match=words):
        tiny(pooled_dim=5)(**given)
