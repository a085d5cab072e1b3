"""The cache: what the journal names and nothing else, sound after a kill, other keys for other contents."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cineloop.errors import CineloopError, ItemError, UsageError
from cineloop.tensor_cache import TensorCache, cache_key, folder_key


def tensors(number: int) -> dict[str, torch.Tensor]:
    return {"latents": torch.full((2, 3), number, dtype=torch.bfloat16), "more": torch.arange(number + 1)}


def wanted(*numbers: int) -> list[tuple[str, int]]:
    return [(cache_key(clip=number), number) for number in numbers]


def same(cache: TensorCache, number: int) -> bool:
    found, true = cache.get(cache_key(clip=number)), tensors(number)
    return found.keys() == true.keys() and all(torch.equal(found[name], true[name]) for name in true)


def test_made_once_and_read_back(tmp_path):
    made: list[int] = []

    def make(number: int):
        made.append(number)
        return tensors(number)

    cache = TensorCache(tmp_path / "c", "latents")
    assert cache.fill(wanted(1, 2, 3), make, shard_bytes=1) == 3
    assert cache.fill(wanted(2, 3, 4), make) == 1
    assert made == [1, 2, 3, 4]
    for opened in (cache, TensorCache(tmp_path / "c", "latents")):
        assert all(same(opened, number) for number in made) and opened.size()[0] == 4
    assert len(list((tmp_path / "c").glob("*.safetensors"))) == 4
    with pytest.raises(CineloopError, match="holds no latents"):
        cache.get(cache_key(clip=9))


def test_what_lies_in_the_folder_but_not_in_the_journal_is_not_read(tmp_path):
    cache = TensorCache(tmp_path, "latents")
    cache.fill(wanted(1), tensors)
    save_file({f"{cache_key(clip=2)}/latents": torch.zeros(1)}, tmp_path / "latents-000001.safetensors")
    again = TensorCache(tmp_path, "latents")
    assert cache_key(clip=2) not in again
    again.fill(wanted(2), tensors)  # takes the place of what was left there
    assert same(again, 1) and same(again, 2)


def test_a_cut_shard_is_made_again(tmp_path):
    cache = TensorCache(tmp_path, "latents")
    cache.fill(wanted(1), tensors)
    cache.fill(wanted(2), tensors)
    shard = tmp_path / "latents-000001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    again = TensorCache(tmp_path, "latents")
    assert cache_key(clip=1) in again and cache_key(clip=2) not in again
    assert again.fill(wanted(1, 2), tensors) == 1
    assert same(again, 2) and same(TensorCache(tmp_path, "latents"), 2)


def test_every_part_of_a_key_counts():
    parts = {"content": "c", "fps": 8, "shape": [17, 64, 64], "vae": "v", "dtype": "float32"}
    keys = {cache_key(**parts)} | {cache_key(**{**parts, name: "other"}) for name in parts}
    assert len(keys) == 6
    assert cache_key(**dict(reversed(parts.items()))) == cache_key(**parts)


def test_weights_and_config_make_the_folders_key(tmp_path):
    def saved(name: str, value: float, config: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        save_file({"w": torch.tensor([value])}, folder / "model.safetensors")
        (folder / "config.json").write_text(config)
        return folder_key(folder)

    first = saved("a", 1.0, '{"latents_std": [1]}')
    assert saved("b", 1.0, '{"latents_std": [1]}') == first
    assert len({first, saved("c", 1.5, '{"latents_std": [1]}'), saved("d", 1.0, '{"latents_std": [2]}')}) == 3
    with pytest.raises(UsageError, match="no weights"):
        folder_key(tmp_path)


def test_an_entry_that_fails_ends_the_filling_or_is_left_out(tmp_path):
    def make(number: int):
        if number == 2:
            raise ItemError("cannot be read", code="NOT_MEDIA")
        return tensors(number)

    cache = TensorCache(tmp_path, "latents")
    with pytest.raises(ItemError):
        cache.fill(wanted(1, 2, 3), make)
    assert same(TensorCache(tmp_path, "latents"), 1)  # what was made before is kept
    told: list[int] = []
    assert cache.fill(wanted(1, 2, 3), make, failed=lambda number, error: told.append(number)) == 1
    assert told == [2] and same(cache, 3)


SLOW = """
import sys, time, torch
from pathlib import Path
from cineloop.tensor_cache import TensorCache, cache_key
def make(number):
    time.sleep(0.05)
    print(number, flush=True)
    return {"latents": torch.full((2, 3), number)}
TensorCache(Path(sys.argv[1]), "latents").fill([(cache_key(clip=n), n) for n in range(100)], make, shard_bytes=100)
"""


@pytest.mark.slow
def test_killed_while_filling(tmp_path):
    """Kill -9 in the middle: what the journal names is whole, the next run makes the rest."""
    root = Path(__file__).resolve().parents[2]
    filling = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True)
    assert filling.stdout is not None
    for _ in range(12):
        filling.stdout.readline()
    filling.kill()
    filling.wait()
    cache = TensorCache(tmp_path, "latents")
    there = len(cache.index)
    assert 3 <= there < 100
    made = cache.fill(wanted(*range(100)), lambda number: {"latents": torch.full((2, 3), number)})
    assert made == 100 - there
    assert all(int(cache.get(cache_key(clip=n))["latents"][0, 0]) == n for n in range(100))


def test_whoever_comes_second_waits_and_finds_all_made(tmp_path):
    first, second = TensorCache(tmp_path, "latents"), TensorCache(tmp_path, "latents")
    made: list[int] = []

    def slowly(number: int):
        time.sleep(0.1)
        made.append(number)
        return tensors(number)

    with ThreadPoolExecutor(1) as beside:
        filling = beside.submit(first.fill, wanted(1, 2, 3), slowly)
        while not made:
            time.sleep(0.01)
        assert second.fill(wanted(1, 2, 3), slowly) == 0
        assert filling.result() == 3
    assert made == [1, 2, 3] and same(second, 3)
