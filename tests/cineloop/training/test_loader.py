import subprocess
import sys

import pytest

from cineloop.training.loader import stream

PROGRAM = """
from cineloop.training.loader import stream

def source(start, count):
    if start == 4:
        raise ValueError("sample 4 is spoilt")
    return start

if __name__ == "__main__":
    list(stream(source, [(n, 1) for n in range(20)], workers=2))
"""


def _spoilt(start: int, count: int) -> int:
    if start == 4:
        raise ValueError("sample 4 is spoilt")
    return start


@pytest.mark.slow
def test_batches_come_in_order_from_any_number_of_workers():
    wanted = [(n, 2) for n in range(12)]
    assert [list(stream(max, wanted, workers=workers)) for workers in (0, 2)] == [[max(w) for w in wanted]] * 2


@pytest.mark.slow
def test_what_a_source_raises_is_raised():
    batches = stream(_spoilt, [(n, 1) for n in range(20)], workers=2)
    with pytest.raises(ValueError, match="sample 4 is spoilt"):
        list(batches)


@pytest.mark.slow
def test_a_program_whose_worker_raises_comes_to_an_end(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 1 and "sample 4 is spoilt" in done.stderr
