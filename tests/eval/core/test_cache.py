"""Kept evidence: the same to the bit, whole or absent, and never fatal."""

from __future__ import annotations

import logging
import math
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from v2t_eval.core import cache as cache_module
from v2t_eval.core.cache import FILE, EvidenceCache, NotFiniteError, decode, encode, is_whole

numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
arrays = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
    elements={"allow_nan": False, "allow_infinity": False},
)


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=4), plain, max_size=4), st.lists(arrays, max_size=3))
def test_evidence_comes_back_to_the_bit(values: dict, kept: list[np.ndarray]) -> None:
    found = decode(encode({**values, "arrays": kept}))
    again = found.pop("arrays")
    values.pop("arrays", None)
    assert found == values
    for one, other in zip(kept, again, strict=True):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
        other.fill(0)  # its own memory, and writable


def test_numbers_of_numpy_become_plain_ones() -> None:
    found = decode(encode({"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True), "d": (1, 2)}))
    assert found == {"a": 0.5, "b": 3, "c": True, "d": [1, 2]} and type(found["b"]) is int


@pytest.mark.parametrize("bad", [math.nan, math.inf, np.float64("nan"), np.array([0.0, np.inf]), [{"x": -math.inf}]])
def test_what_is_not_finite_is_refused(bad: object) -> None:
    with pytest.raises(NotFiniteError, match=r"evidence\.v"):
        encode({"v": bad})


@pytest.mark.parametrize("bad", [object(), {1, 2}, b"bytes", np.array(["a"]), np.array([object()])])
def test_what_is_no_evidence_is_refused(bad: object) -> None:
    with pytest.raises(TypeError):
        encode({"v": bad})


def test_every_changed_byte_is_noticed() -> None:
    data = encode({"value": 0.25, "features": np.arange(3, dtype=np.float32)})
    for place in range(len(data)):
        spoiled = bytearray(data)
        spoiled[place] ^= 1
        assert not is_whole(bytes(spoiled)), place
    assert not is_whole(data[:-1]) and not is_whole(b"")
    with pytest.raises(ValueError, match="damaged"):
        decode(data[:-1])


def test_kept_and_found_again_by_several(tmp_path: Path) -> None:
    entries = {f"key{n}": {"value": n} for n in range(1200)}
    with EvidenceCache(tmp_path) as one, EvidenceCache(tmp_path) as other:
        one.keep(entries)
        one.save()
        other.keep({"theirs": {"value": -1}})
        other.save()
        assert other.find(entries) == entries and one.find(["theirs", "nothing"]) == {"theirs": {"value": -1}}
    with EvidenceCache(tmp_path) as again:
        assert len(again.find([*entries, "theirs"])) == 1201 and not again.trouble
    with EvidenceCache(None) as none:
        none.keep(entries)
        assert none.find(entries) == {}


def test_a_file_is_hashed_once_while_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "clip \udce9.mp4"  # a name that is no UTF-8
    file.write_bytes(b"abc")
    read = []
    digest = cache_module.hashlib.file_digest
    monkeypatch.setattr(cache_module.hashlib, "file_digest", lambda *a: read.append(a) or digest(*a))
    with EvidenceCache(tmp_path / "cache") as cache:
        first = cache.file_sha256(file)
        assert first.startswith("ba7816bf") and cache.file_sha256(file) == first and len(read) == 1
        file.write_bytes(b"abcd")
        assert cache.file_sha256(file) != first and len(read) == 2
        with pytest.raises(OSError, match="No such file"):
            cache.file_sha256(tmp_path / "nothing")


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_file_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    caplog.set_level(logging.WARNING, "cineloop")
    logging.getLogger("cineloop").propagate = True
    with EvidenceCache(tmp_path) as cache:
        cache.keep({"a": {"value": 1}})
        cache.save()
        assert cache.find(["a"]) and not cache.trouble
    assert "damaged" in caplog.text and (tmp_path / FILE).with_suffix(".damaged").read_bytes() == content


def test_damage_that_shows_later_is_not_fatal(tmp_path: Path) -> None:
    with EvidenceCache(tmp_path) as cache:
        cache.keep({f"key{n}": {"features": np.full(2000, n)} for n in range(20)})
    file = tmp_path / FILE
    data = bytearray(file.read_bytes())
    data[4096:] = bytes(len(data) - 4096)  # the first page, with the tables' names, is whole
    file.write_bytes(data)
    with EvidenceCache(tmp_path) as cache:
        assert cache.find(f"key{n}" for n in range(20)) == {}
        cache.keep({"new": {"value": 1}})
        cache.save()
        assert cache.find(["new"])


def test_a_locked_file_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_WAIT_S", 0.05)
    with EvidenceCache(tmp_path) as cache:
        cache.keep({"a": {"value": 1}})
        cache.save()
        other = sqlite3.connect(tmp_path / FILE)
        other.execute("BEGIN IMMEDIATE")
        cache.keep({"b": {"value": 2}})
        cache.save()
        assert "locked" in cache.trouble and cache.find(["a"]) == {}
        other.close()
    with EvidenceCache(tmp_path) as cache:
        assert set(cache.find(["a", "b"])) == {"a"}


def test_no_folder_can_be_made_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with EvidenceCache(tmp_path / "file" / "cache") as cache:
        cache.keep({"a": {"value": 1}})
        assert cache.trouble and cache.find(["a"]) == {}


def test_evidence_is_found_before_it_is_on_disk(tmp_path: Path) -> None:
    with EvidenceCache(tmp_path) as cache:
        cache.save()  # the next save is due later
        cache.keep({"a": {"x": 1}})
        assert cache.find(["a", "b"]) == {"a": {"x": 1}}
