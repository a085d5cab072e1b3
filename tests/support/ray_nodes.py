"""A cluster of ray on this machine, for tests: a head that takes no work and nodes of one CPU, in a process of its own.

Run as a program it starts the head, then obeys lines on its stdin: `add` starts a node, `remove` kills one of them
without warning, the end of the input kills all. Ray gives a node's agents, which are Python, a fixed 15 seconds to
write down their ports (ray #65983); on a busy machine they do not get as far as their imports. What they write without
`ray[default]` is known (-1, the port that was asked for), so it is written for them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

START_S = 240.0
_STORE_BYTES = 80 << 20
_UNUSED = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")


class Nodes:
    """The cluster, from the tests' process. `first`: folders whose modules its processes find before others.

    Attributes:
        env: environment of a driver.

    Raises:
        RuntimeError: no node came up in two tries; the last line of ray's log is the message.
    """

    def __init__(self, num_nodes: int, *first: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cr-", dir="/tmp"))  # sockets in it have 107 letters at most
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.env |= {"RAY_TMPDIR": str(self.folder), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        self.env |= {"PYTHONPATH": os.pathsep.join([*map(str, first), *sys.path]), "OMP_NUM_THREADS": "1"}
        for tries_left in (1, 0):
            try:
                self._start(num_nodes)
                return
            except RuntimeError:
                self.close()
                if not tries_left:
                    raise

    def _start(self, num_nodes: int) -> None:
        (self.folder / "ray").mkdir(parents=True, exist_ok=True)
        self._program = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self.env,
            start_new_session=True,
        )
        self.env["RAY_ADDRESS"] = self._line()["address"]
        for _ in range(num_nodes):
            self.add()

    def add(self) -> None:
        """One node more."""
        self._obey("add")

    def remove(self) -> None:
        """Kill a node with all that runs on it."""
        self._obey("remove")

    def kill_one(self, what: str, draw) -> int:
        """SIGKILL to a random process of the nodes whose command holds `what`, the head's excepted; its id, or 0."""
        found = sorted(
            pid for pid, command in _commands(str(self.folder)) if what in command and "--head" not in command
        )
        if not found:
            return 0
        pid = draw.choice(found)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return pid

    def parents(self, what: str) -> dict[int, int]:
        """The ids of the cluster's processes whose command holds `what`, each with its parent's."""
        found = {}
        for pid, command in _commands(str(self.folder)):
            with contextlib.suppress(OSError):
                if what in command:
                    found[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return found

    def close(self) -> None:
        """Kill all processes of the cluster."""
        with contextlib.suppress(BrokenPipeError):
            self._program.stdin.close()
        try:
            self._program.wait(30)
        except subprocess.TimeoutExpired:
            self._program.kill()
            self._program.wait()
        for pid, _ in _commands(str(self.folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _obey(self, order: str) -> None:
        self._program.stdin.write(order + "\n")
        self._program.stdin.flush()
        self._line()

    def _line(self) -> dict:
        timer = threading.Timer(START_S, self._program.kill)
        timer.start()
        line = self._program.stdout.readline()
        timer.cancel()
        if not line:
            raise RuntimeError(f"no node of ray came up: {self._last_words()}")
        return json.loads(line)

    def _last_words(self) -> str:
        lines = []
        for log in sorted((self.folder / "ray").glob("session_2*/logs/raylet*.err")):
            lines += [line for line in log.read_text(errors="replace").splitlines() if "Check failed" in line]
        return lines[-1] if lines else "its logs are empty"


def _commands(folder: str) -> list[tuple[int, str]]:
    """(id, command line) of the processes that work in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if folder in command or command.startswith("ray::") and folder in _environment(path):
            found.append((int(path.parent.name), command))
    return found


def _environment(path: Path) -> str:
    try:
        return path.with_name("environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _write_ports(folder: str, stop: threading.Event) -> None:
    """Write what agents write, as soon as their node has begun."""
    begun: set[str] = set()
    while not stop.wait(0.2):
        for _, command in _commands(folder):
            fields = dict(re.findall(r"--([\w-]+)=(\S+)", command))
            node = fields.get("node_id", "")
            if "raylet/raylet" not in command or not node or node in begun:
                continue
            begun.add(node)
            ports = dict.fromkeys(_UNUSED, "-1")
            ports["runtime_env_agent_port"] = re.findall(r"runtime-env-agent-port=(\d+)", command)[0]
            for name, port in ports.items():
                file = Path(fields["session_dir"]) / f"{name}_{node}"
                if not file.exists():
                    file.with_suffix(".new").write_text(port)
                    file.with_suffix(".new").replace(file)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what ray prints goes beside the answers

    def answer(**values: object) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    stop = threading.Event()
    threading.Thread(target=_write_ports, args=(os.environ["RAY_TMPDIR"], stop), daemon=True).start()
    from ray.cluster_utils import Cluster

    def node(num_cpus: int) -> dict:
        return {
            "num_cpus": num_cpus,
            "object_store_memory": _STORE_BYTES,
            "runtime_env_agent_port": _free_port(),
            "include_dashboard": False,
        }

    cluster = Cluster(initialize_head=True, head_node_args=node(0))
    answer(address=cluster.address)
    for line in sys.stdin:
        if line.strip() == "add":
            cluster.add_node(wait=False, **node(1))
        elif cluster.worker_nodes:
            cluster.remove_node(sorted(cluster.worker_nodes, key=id)[0], allow_graceful=False)
        answer(nodes=len(cluster.worker_nodes))
    stop.set()
    cluster.shutdown()


if __name__ == "__main__":
    main()
