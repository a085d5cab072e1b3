"""What a decoder that was taken over can do to the process that started it, played by a planted PyAV."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import decoder_here
from small_clips import write_grey

pytestmark = pytest.mark.xdist_group("machine")
PLANTED = Path(decoder_here.__file__).with_name("planted_decoder")
ROOT = Path(__file__).resolve().parents[2]
SECRET = "canary-0123456789"
# A process of its own: its death by a signal is what the test would see.
PARENT = """
import json, sys
from cineloop.errors import ItemError
from cineloop.video.worker import DecoderPool
said = {}
with DecoderPool(1, decoders=("pyav",)) as pool:
    for name in sys.argv[2:]:
        try:
            said[name] = len(pool.decode(f"{sys.argv[1]}/{name}.mp4"))
        except ItemError as error:
            said[name] = f"{error.code} {error.message}"
print(json.dumps(said))
"""


def said_by(folder: Path, *names: str, **environment: str) -> dict[str, object]:
    """What a process gets of decoding these clips one after the other in one child."""
    write_grey(folder / "clip.mp4", size=(64, 96))
    for name in names:
        shutil.copyfile(folder / "clip.mp4", folder / f"{name}.mp4")
    done = subprocess.run(
        [sys.executable, "-P", "-c", PARENT, str(folder), *names],
        env={**os.environ, "PYTHONPATH": f"{PLANTED}{os.pathsep}{ROOT}", "V2T_SERVE_KEY": SECRET, **environment},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory files and their sizes are Linux's")
def test_a_child_that_shrinks_its_memory_or_sends_nonsense_is_a_crash_of_its_own(tmp_path):
    said = said_by(tmp_path, "first", "shrinks", "second", "babbles", "third")
    assert [said[name] for name in ("first", "second", "third")] == [4, 4, 4]
    assert said["shrinks"].startswith("DECODER_CRASH") and said["babbles"].startswith("DECODER_CRASH")


@pytest.mark.slow
def test_a_child_reads_nothing_of_its_parent_and_reaches_nobody(tmp_path):
    if not _has_landlock():
        pytest.skip("this kernel has no Landlock of version 6 (Linux 6.12)")
    with socket.create_server(("127.0.0.1", 0)) as server:
        said = said_by(tmp_path, "spies", OMP_PORT=str(server.getsockname()[1]))["spies"]
    assert said.startswith("DECODE_ERROR") and SECRET not in said and "V2T_SERVE_KEY" not in said
    for name in ("environ: Permission denied", "mem: Permission denied", "fd/1: Permission denied"):
        assert name in said
    assert "kill: Operation not permitted" in said and "connect: Permission denied" in said


@pytest.mark.skipif(sys.platform != "linux", reason="hides where prctl is")
def test_a_process_that_hides_cannot_be_read_by_its_own_user():
    program = (
        "import ctypes; from cineloop.isolation import hide; "
        "assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 1; assert hide(); "
        "assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0"
    )
    subprocess.run([sys.executable, "-P", "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)


def _has_landlock() -> bool:
    import ctypes

    return sys.platform == "linux" and ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint(1)) >= 6
