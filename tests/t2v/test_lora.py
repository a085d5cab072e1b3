from __future__ import annotations

import json
import re
from functools import partial

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cineloop.errors import MissingDependencyError, NothingMatchedError, PolicyError, UsageError
from t2v.lora import load_lora, save_lora
from t2v.model.dit import CineloopTransformer3DModel

SIZES = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 16,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 2,
}
LAYERS = ("attn1.to_q", "attn1.to_out.0", "attn2.to_k", "ffn.net.0.proj", "ffn.net.2")
close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return CineloopTransformer3DModel(**SIZES, zero_init=False).eval()


@torch.no_grad()
def say(model):
    torch.manual_seed(1)
    dtype = model.dtype
    inputs = torch.randn(1, 4, 2, 4, 4).to(dtype), torch.tensor([500.0]), torch.randn(1, 3, 16).to(dtype)
    return model(*inputs, return_dict=False)[0].float()


def adapter(model, layers=LAYERS, ranks=(4,), width=1.0, blocks=(0, 1)) -> dict[str, torch.Tensor]:
    """Tensors of a random adapter, keys without prefix; ranks by turns."""
    torch.manual_seed(2)
    tensors = {}
    for number, name in enumerate(f"blocks.{block}.{layer}" for block in blocks for layer in layers):
        layer, rank = model.get_submodule(name), ranks[number % len(ranks)]
        tensors[f"{name}.lora_A.weight"] = torch.randn(rank, layer.in_features) * width
        tensors[f"{name}.lora_B.weight"] = torch.randn(layer.out_features, rank) * width
    return tensors


def added(model, tensors, scale=1.0):
    """The model with B A added to its weights by hand."""
    for key in [key for key in tensors if "lora_A" in key]:
        name = key.removesuffix(".lora_A.weight")
        by = scale[name] if isinstance(scale, dict) else scale
        model.get_submodule(name).weight.data += by * tensors[f"{name}.lora_B.weight"] @ tensors[key]
    return model


def wan_words(name: str) -> str:
    for ours, theirs in (
        ("attn1.", "self_attn."),
        ("attn2.", "cross_attn."),
        ("to_out.0", "o"),
        ("ffn.net.0.proj", "ffn.0"),
        ("ffn.net.2", "ffn.2"),
    ):
        name = name.replace(ours, theirs)
    return re.sub(r"to_([qk])", r"\1", name)


def kohya(tensors, alpha: float) -> dict[str, torch.Tensor]:
    out = {}
    for key, tensor in tensors.items():
        name, _, part = key.rpartition(".lora_")
        name = "lora_unet_" + wan_words(name).replace(".", "_")
        out[f"{name}.lora_{'down' if part[0] == 'A' else 'up'}.weight"] = tensor
        out[f"{name}.alpha"] = torch.tensor(alpha)
    return out


DIALECTS = {
    "diffusers": lambda tensors: {f"transformer.{key}": t for key, t in tensors.items()},
    "wan": lambda tensors: {f"diffusion_model.{wan_words(key)}": t for key, t in tensors.items()},
    "wan with our names": lambda tensors: {f"diffusion_model.{key}": t for key, t in tensors.items()},
    "kohya": lambda tensors: kohya(tensors, 4.0),
    "bare": dict,
    "peft": lambda tensors: {f"base_model.model.{key}": t for key, t in tensors.items()},
}


@pytest.mark.slow
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_means_the_same_change(model, tmp_path, dialect):
    tensors = adapter(model, width=0.3)
    named = DIALECTS[dialect](tensors)
    save_file(named, tmp_path / "x.safetensors")
    before = say(model)
    report = load_lora(model, tmp_path / "x.safetensors", adapter_name="x")
    assert (report.matched, report.unmatched, report.modules) == (len(named), (), 10)
    made = say(model)
    assert (made - before).abs().max() > 0.1
    model.unload_lora()
    close(say(model), before)
    close(made, say(added(model, tensors)))


def test_ranks_and_alphas_may_differ_from_layer_to_layer(model):
    tensors = adapter(model, ranks=(4, 2, 8), width=0.3)
    named = kohya(tensors, 4.0)
    odd = "lora_unet_blocks_1_ffn_2.alpha"
    named[odd] = torch.tensor(16.0)
    load_lora(model, named)
    made = say(model)
    model.unload_lora()
    ranks = {key.removesuffix(".lora_A.weight"): len(t) for key, t in tensors.items() if "lora_A" in key}
    scale = {name: (16.0 if name == "blocks.1.ffn.net.2" else 4.0) / rank for name, rank in ranks.items()}
    close(made, say(added(model, tensors, scale)))


def trained(model, **config):
    """The model with an adapter that its owner put on, as training does."""
    from peft import LoraConfig

    model.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_out.0", "net.2"], **config), adapter_name="mine")
    torch.manual_seed(3)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("config", [{"lora_alpha": 12}, {"lora_alpha": 6, "use_rslora": True}], ids=["alpha", "rslora"])
def test_saved_it_loads_here_and_in_plain_diffusers_with_its_scale(model, tmp_path, config):
    base, wanted = say(model), say(trained(model, **config))
    file = save_lora(model, tmp_path, adapter_name="mine")
    assert file == tmp_path / "pytorch_lora_weights.safetensors"
    assert all(re.fullmatch(r"transformer\.blocks\.[\w.]+\.lora_[AB]\.weight", key) for key in load_file(file))
    with safe_open(file, framework="pt") as opened:
        assert json.loads(opened.metadata()["lora_adapter_metadata"])["transformer.r"] == 4
    model.unload_lora()
    close(say(model), base)
    load_lora(model, tmp_path)
    close(say(model), wanted)
    # diffusers' own class of the same structure, with diffusers' own loading
    wan = WanTransformer3DModel(**SIZES).eval()
    model.unload_lora()
    wan.load_state_dict(model.state_dict())
    close(say(wan), base)
    wan.load_lora_adapter(tmp_path, weight_name=file.name)
    close(say(wan), wanted)
    wan.unload_lora()
    load_lora(wan, file)
    close(say(wan), wanted)


def test_pefts_own_folder_keeps_its_scale(model, tmp_path):
    tensors = adapter(model, width=0.3)
    save_file(DIALECTS["peft"](tensors), tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 99, "lora_alpha": 10, "strange": 1}')
    load_lora(model, tmp_path)
    made = say(model)
    model.unload_lora()
    close(made, say(added(model, tensors, 10 / 4)))
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(PolicyError, match="adapter_model"):
        load_lora(model, tmp_path)


@pytest.mark.slow
def test_adapters_add_up_by_their_weights(model):
    one, two = adapter(model, width=0.2), adapter(model, layers=("attn2.to_v",), width=0.3)
    load_lora(model, one, adapter_name="one", weight=0.5)
    load_lora(model, two, adapter_name="two", weight=2.0)
    made = say(model)
    model.set_adapters(["two"], [1.0])
    alone = say(model)
    model.unload_lora()
    added(model, two)
    close(alone, say(model))
    close(made, say(added(added(model, one, 0.5), two)))
    with pytest.raises(UsageError, match="named 'x' is loaded"):
        load_lora(model, one, adapter_name="x")
        load_lora(model, one, adapter_name="x")


def test_another_models_lora_is_refused_with_the_counts(model):
    before = say(model)
    other = CineloopTransformer3DModel(**{**SIZES, "attention_head_dim": 18}, zero_init=False)
    with pytest.raises(NothingMatchedError, match=r"0 of 20 keys match Cineloop\w+, 20 do not.*made for"):
        load_lora(model, DIALECTS["diffusers"](adapter(other)))
    strange = {
        "transformer.single_blocks.0.linear1.lora_A.weight": torch.ones(2, 24),
        "lora_te_text.alpha": torch.ones(1),
    }
    with pytest.raises(NothingMatchedError, match="0 of 2 keys.*no such layer"):
        load_lora(model, strange)
    assert not getattr(model, "peft_config", None)
    assert torch.equal(say(model), before)


def test_a_lora_that_fits_in_part_is_refused_unless_that_is_asked_for(model):
    whole = adapter(model, width=0.3)
    bent = dict(whole)
    bent["blocks.7.attn1.to_q.lora_A.weight"] = torch.ones(4, 24)  # there is no such block
    bent["blocks.0.attn1.to_q.diff_b"] = torch.ones(24)  # not a low-rank part
    del bent["blocks.1.ffn.net.2.lora_B.weight"]
    with pytest.raises(UsageError, match="18 of 21 keys match.*3 do not"):
        load_lora(model, bent)
    assert not getattr(model, "peft_config", None)
    report = load_lora(model, bent, allow_partial=True)
    assert report.matched == 18 and report.modules == 9
    assert sorted(line.split(" (")[1] for line in report.unmatched) == [
        "half of a pair)",
        "no LoRA key)",
        "no such layer)",
    ]
    made = say(model)
    model.unload_lora()
    kept = {key: t for key, t in whole.items() if "blocks.1.ffn.net.2" not in key}
    close(made, say(added(model, kept)))


def test_a_lora_that_changes_nothing_is_refused(model):
    before = say(model)
    idle = {key: torch.zeros_like(t) if "lora_B" in key else t for key, t in adapter(model).items()}
    load_lora(model, adapter(model, layers=("attn2.to_v",), width=0.3), adapter_name="other")
    other = say(model)
    with pytest.raises(UsageError, match="changes nothing"):
        load_lora(model, idle)
    close(say(model), other)
    load_lora(model, adapter(model), adapter_name="off", weight=0.0)  # idle because its owner wants it so
    close(say(model), other)
    model.unload_lora()
    close(say(model), before)


def test_half_precision_models_take_one(model):
    tensors = adapter(model, width=0.3)
    load_lora(model, tensors)
    wanted = say(model)
    model.unload_lora()
    load_lora(model.to(torch.bfloat16), tensors)
    assert (say(model) - wanted).abs().mean() < 0.05 * wanted.abs().mean()


def test_what_is_no_lora_file_is_refused(model, tmp_path):
    (tmp_path / "x.bin").write_bytes(b"x")
    with pytest.raises(PolicyError, match="safetensors files only"):
        load_lora(model, tmp_path / "x.bin")
    (tmp_path / "x.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(PolicyError, match="is not a safetensors file of a LoRA"):
        load_lora(model, tmp_path / "x.safetensors")
    save_file(adapter(model), tmp_path / "y.safetensors")
    with pytest.raises(UsageError, match="holds x.safetensors, y.safetensors"):
        load_lora(model, tmp_path)
    assert load_lora(model, tmp_path, weight_name="y.safetensors").matched == 20
    with pytest.raises(UsageError, match="no LoRA file"):
        load_lora(model, tmp_path / "none.safetensors", adapter_name="z")
    with pytest.raises(MissingDependencyError, match="the hub gives none"):
        load_lora(model, "somebody/some-lora", adapter_name="z")
    with pytest.raises(UsageError, match="takes no LoRA"):
        load_lora(torch.nn.Linear(2, 2), tmp_path / "y.safetensors")
    with pytest.raises(UsageError, match="no adapter 'z' to save; loaded: default"):
        save_lora(model, tmp_path, adapter_name="z")
