"""What every test runs under: one thread, no hub, no network but loopback, and marks that skip with a reason."""

from __future__ import annotations

import gc
import ipaddress
import logging
import os
import shutil
import socket
import sys
import warnings
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Set before anything imports torch or transformers; children inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# The guard below covers this process; in children, HTTP clients meet a proxy that is not there.
for _name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
    os.environ[_name] = "http://127.0.0.1:9"
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "localhost,127.0.0.1,::1"

# Derandomised: a failure on one machine is a failure on all; deadlines would only measure the machine.
settings.register_profile(
    "house", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


class NetworkBlockedError(RuntimeError):
    """A test tried to leave the machine."""


def _is_loopback(host: object) -> bool:
    if not isinstance(host, str) or host in ("", "localhost"):
        return host in (None, "", "localhost")
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


def _guarded(call):
    def connect(self: socket.socket, address, *args):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise NetworkBlockedError(f"tests do not use the network, and one tried to reach {address[0]}:{address[1]}")
        return call(self, address, *args)

    return connect


def _guarded_lookup(host, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    if not _is_loopback(name):
        raise NetworkBlockedError(f"tests do not use the network, and one tried to look up {name!r}")
    return _LOOKUP(host, *args, **kwargs)


_LOOKUP = socket.getaddrinfo


def pytest_configure() -> None:
    """Close the network for the whole session, collection included."""
    socket.socket.connect = _guarded(socket.socket.connect)  # type: ignore[method-assign]
    socket.socket.connect_ex = _guarded(socket.socket.connect_ex)  # type: ignore[method-assign]
    socket.getaddrinfo = _guarded_lookup


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Garbage is not looked for while tests are collected, nor ever again in what was imported for them: to go through
    all of it again and again is two fifths of that time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Each test begins at ordinary priority: at a real-time one, this process and what it starts would starve what they
    wait for. Which of the tests before was the cause is said."""
    if not hasattr(os, "sched_getscheduler") or os.sched_getscheduler(0) == os.SCHED_OTHER:
        return
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):
            os.sched_setscheduler(int(thread), os.SCHED_OTHER, os.sched_param(0))
    warnings.warn(f"the tests ran at real-time priority before {item.nodeid}", stacklevel=1)


def _java_reason() -> str:
    return "" if shutil.which("java") else "no Java runtime on PATH (Debian: apt-get install default-jre-headless)"


def _gpu_reason() -> str:
    import torch

    return "" if torch.cuda.is_available() else "no CUDA device"


def _vllm_reason() -> str:
    return "" if find_spec("vllm") else "vllm is not installed here; it has an environment of its own"


def _hub_reason() -> str:
    return "" if os.environ.get("CINELOOP_HUB_TESTS") else "wants files of the hub; set CINELOOP_HUB_TESTS=1"


_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def _browser_reason() -> str:
    found = any(map(shutil.which, _BROWSERS))
    return "" if found else "no Chromium on PATH"


_REASONS = {
    "java": _java_reason,
    "gpu": _gpu_reason,
    "vllm": _vllm_reason,
    "hub": _hub_reason,
    "browser": _browser_reason,
}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, with the reason; browsers go with the tests that share no machine."""
    reasons: dict[str, str] = {}
    for item in items:
        for mark, reason_of in _REASONS.items():
            if item.get_closest_marker(mark) is None:
                continue
            if mark not in reasons:
                reasons[mark] = reason_of()
            if reasons[mark]:
                item.add_marker(pytest.mark.skip(reason=reasons[mark]))
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group("machine"))
    if hasattr(config, "workerinput"):  # the longest scopes first, so that no worker ends long after the other
        items.sort(key=lambda item: (not item.get_closest_marker("xdist_group"), not item.get_closest_marker("slow")))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """`--dist loadgroup`, with the tests of no group kept together by file: its fixtures are built once."""
    from xdist.scheduler import LoadGroupScheduling

    class ByGroupOrFile(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return super()._split_scope(nodeid).split("::")[0]

    return ByGroupOrFile(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture(autouse=True)
def quiet_logger():
    """Each test begins with our logger as it is before a command sets it up: no level, no handler on stderr."""
    yield
    logger = logging.getLogger("cineloop")
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture(scope="session")
def coloured_clips(tmp_path_factory):
    """`make(num, folders)`: a folder of so many tiny clips, red, green and blue by turns, spread over some folders."""
    import numpy as np

    from cineloop.video.encode import encode

    def make(num: int, folders: int) -> Path:
        folder = tmp_path_factory.mktemp("clips")
        for channel in range(3):
            pixels = np.zeros((4, 16, 16, 3), np.uint8)
            pixels[..., channel] = 220
            encode(pixels, folder / "colour.mp4", fps=4)
            for i in range(channel, num, 3):
                target = folder / f"part{i % folders}" / f"clip {i:03}.mp4"
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(folder / "colour.mp4", target)
        (folder / "colour.mp4").unlink()
        return folder

    return make


@pytest.fixture(scope="session")
def shared_decoders():
    """Decoders by their limits: to start a child for every scoring would be most of the time of such tests."""
    known: dict = {}
    yield known
    for pool in known.values():
        pool.close()


@pytest.fixture
def decodes(shared_decoders, monkeypatch):
    """The names of the files that are decoded to be measured in this process; the decoders are shared."""
    from cineloop.video.worker import DecoderPool
    from v2t_eval.core import worker

    asked: list[str] = []

    class Shared:
        def __init__(self, num_workers, limits):
            if limits not in shared_decoders:
                shared_decoders[limits] = DecoderPool(num_workers, limits)
            self.pool = shared_decoders[limits]

        def submit(self, path, spec):
            asked.append(Path(path).name)
            return self.pool.submit(path, spec)

        def close(self):
            """They go on for the next test."""

    monkeypatch.setattr(worker, "DecoderPool", Shared)
    return asked


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, for tests marked `browser`."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # 5 s by default, which a machine at a load of 20 needs for one change of a page
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu"], timeout=120_000
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def nodes():
    """A true cluster of ray, a head and two nodes of one CPU; tests of it are in the group `ray`."""
    pytest.importorskip("ray", reason="ray is not installed")
    import ray_nodes

    try:
        cluster = ray_nodes.Nodes(2, Path(ray_nodes.__file__).with_name("planted_decoder"))
    except RuntimeError as error:
        pytest.skip(str(error))
    yield cluster
    cluster.close()


@pytest.fixture
def engines(monkeypatch):
    """Runs with `--cluster ray` get engines of threads: the list of them."""
    from cineloop.cluster import ray_engine
    from stand_in_engine import Engine

    made: list[Engine] = []

    def make(driver):
        made.append(Engine(driver))
        return made[-1]

    monkeypatch.setattr(ray_engine, "RayEngine", make)
    return made


@pytest.fixture
def s3(monkeypatch):
    """A bucket of an S3 server on this machine (`object_store.Bucket`)."""
    for name in ("moto", "flask", "s3fs"):
        pytest.importorskip(name, reason=f"a stand-in for S3 needs {name}, which is not installed")
    from decoder_here import Pool
    from object_store import bucket, forget_clients
    from v2t.caption import job

    monkeypatch.setattr("cineloop.retry._PAUSE_S", 0.001)
    monkeypatch.setattr(job, "DecoderPool", Pool)  # no child process for each run
    forget_clients()
    with bucket("bucket") as place:
        yield place
    forget_clients()


@pytest.fixture
def without_s3fs():
    """As where s3fs is not installed, also after a test of this process used it: fsspec keeps what it has imported."""
    import fsspec  # noqa: F401  (fsspec.registry is the name of a mapping too)

    with pytest.MonkeyPatch.context() as patch:  # which ends before other fixtures do, and they may need s3fs
        patch.setitem(sys.modules, "s3fs", None)
        patch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
        yield
