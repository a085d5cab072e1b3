"""The start of a process: no collection while a model loads, none at its end."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from cineloop.startup import pause_collector

LOADS = """
import gc
from v2t.backends.local import Backend
backend = Backend("starter")
mid = sum(each["collections"] for each in gc.get_stats())
backend.load()
print(sum(each["collections"] for each in gc.get_stats()) - mid, gc.isenabled())
"""
ENDS = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count() > 1000))  # the first to be registered runs last
from v2t.cli import main
main(["recipes"])
"""


def output(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_the_collector_is_as_it_was_after_the_block():
    assert gc.isenabled()
    with pytest.raises(RuntimeError), pause_collector(), pause_collector():
        assert not gc.isenabled()
        raise RuntimeError
    assert gc.isenabled()


@pytest.mark.slow
def test_loading_the_starter_collects_nothing():
    collections, is_on = output(LOADS).split()
    assert int(collections) <= 2 and is_on == "True"  # some library asks for one itself; unpaused there are hundreds


@pytest.mark.slow
def test_what_a_command_leaves_is_not_walked_through_at_the_end():
    assert output(ENDS).splitlines()[-1] == "True"
    # ... but where triton is loaded, whose bindings would report all of it as leaked
    assert output("import sys; sys.modules['triton'] = sys" + ENDS).splitlines()[-1] == "False"
