"""A model folder that somebody else wrote: what is wrong in it is exit 5 with file and key, within seconds."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path

import pytest

from cineloop.errors import MissingDependencyError, UsageError
from cineloop.model_folder import check_hub_id
from cineloop.video.frames import Frames
from v2t.backends import Decoding, open_backend, user_turn
from v2t.backends.local import STARTER

pytestmark = pytest.mark.timeout(120)
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    from tiny_captioner import tiny_captioner

    folder = tmp_path_factory.mktemp("folder") / "tiny"
    model, processor = tiny_captioner(seed=3)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def put(folder: Path, name: str, keys: str, value: object) -> None:
    path = folder / name
    tree = json.loads(path.read_text())
    at, (*parents, last) = tree, keys.split(".")
    for key in parents:
        at = at[key]
    at[last] = value
    path.write_text(json.dumps(tree))


def loaded(folder: Path, captioner: str) -> None:
    made = open_backend(str(folder), captioner=captioner, device="cpu")
    made.load()
    import numpy as np

    clip = Frames.from_pixels(np.zeros((2, 16, 16, 3), np.uint8), fps=1.0)
    made.answer([user_turn("What?", clip)], Decoding(max_new_tokens=2))


@pytest.mark.parametrize("captioner", ["local", "hf"])
@pytest.mark.parametrize(
    ("name", "keys", "value"),
    [
        ("processor_config.json", "video_processor", ["x"]),
        ("processor_config.json", "video_processor.size", "big"),
        ("processor_config.json", "video_processor.size.height", "64"),
        ("processor_config.json", "video_processor.num_frames", 1_000_000),
        ("processor_config.json", "video_processor.num_frames", 0),
        ("config.json", "text_config", "x"),
        ("config.json", "dtype", "os.system"),
        ("config.json", "torch_dtype", "os.system"),
        ("config.json", "text_config.num_attention_heads", 0),
        ("config.json", "vision_config.num_attention_heads", 0),
        ("config.json", "text_config.num_hidden_layers", 1_000_000),
        ("config.json", "text_config.num_hidden_layers", -1),
        ("config.json", "vision_config.num_hidden_layers", 1_000_000),
        ("config.json", "text_config.hidden_size", 1 << 40),
        ("config.json", "text_config.num_hidden_layers", 7),
        ("config.json", "vision_config.num_hidden_layers", 7),
        ("config.json", "vision_config.image_size", "x"),
        ("config.json", "vision_config.patch_size", 0),
    ],
)
def test_a_wrong_value_is_named_by_its_key(folder, captioner, name, keys, value):
    put(folder, name, keys, value)
    with pytest.raises(MissingDependencyError) as caught:
        loaded(folder, captioner)
    assert caught.value.code == "MODEL" and caught.value.exit_code == 5
    word = keys.rpartition(".")[2]
    assert word in str(caught.value) or ("layers" in word and "layer" in str(caught.value)), caught.value


@pytest.mark.parametrize("captioner", ["local", "hf"])
@pytest.mark.parametrize("content", ["[]", "null", '"x"', "{", "[" * 5000, None])
@pytest.mark.parametrize(
    "name",
    ["config.json", "processor_config.json", "tokenizer_config.json", "generation_config.json", "tokenizer.json"],
)
def test_a_file_that_is_no_object_is_named(folder, captioner, name, content):
    (folder / name).unlink()
    if content is None:
        os.mkfifo(folder / name)
    else:
        (folder / name).write_text(content)
    with pytest.raises(MissingDependencyError) as caught:
        loaded(folder, captioner)
    assert caught.value.code == "MODEL" and name in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("captioner", ["local", "hf"])
def test_more_tensors_than_any_model_has_are_refused_by_the_header(folder, captioner):
    [path] = folder.glob("*.safetensors")
    tensor = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
    header = json.dumps({f"t{n}": tensor for n in range(300_000)}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"x")
    with pytest.raises(MissingDependencyError, match=r"300.?000 tensors") as caught:
        loaded(folder, captioner)
    assert caught.value.code == "MODEL"


@pytest.mark.slow
@pytest.mark.parametrize("captioner", ["local", "hf"])
def test_a_chat_template_that_loops_is_stopped(folder, captioner, monkeypatch):
    monkeypatch.setattr("cineloop.model_folder.DEADLINE_S", 2.0)
    (folder / "chat_template.jinja").write_text(LOOP)
    with pytest.raises(MissingDependencyError, match="chat template") as caught:
        loaded(folder, captioner)
    assert caught.value.code == "MODEL"


def test_four_bits_without_their_package_is_an_environment_error(folder, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingDependencyError, match="bitsandbytes"):
        open_backend(str(folder), captioner="hf", device="cpu", options={"quantize": "4bit"}).load()


@pytest.mark.parametrize("captioner", ["local", "hf"])
def test_what_is_right_loads(folder, captioner):
    loaded(folder, captioner)


def test_the_starter_is_a_sound_folder():
    from cineloop import model_folder

    model_folder.check(STARTER)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("startr", "did you mean starter?"),
        ("opeani:http://127.0.0.1:8000/v1", "did you mean openai:?"),
        ("./nofolder", "the folder './nofolder' of a model does not exist"),
        ("runs/mine/final", "the folder 'runs/mine/final' of a model does not exist"),
        ("mine/", "does not exist"),
    ],
)
def test_what_cannot_be_a_hub_id_is_told_without_asking_a_hub(name, said):
    with pytest.raises(UsageError) as caught:
        check_hub_id(name, ("starter", "openai:"))
    assert said in str(caught.value)


def test_a_hub_id_passes():
    for name in ("Qwen/Qwen3-VL-4B-Instruct", "gpt2", "owner/starter"):
        check_hub_id(name, ("starter", "openai:"))
