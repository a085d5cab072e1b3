"""A lease: one of many machines works on a place of a shared folder, and a dead one's place is taken over.

In: a folder. Out: a turn of one's own inside it for the length of a `with` block, or an error that says who has it.
Nothing here needs a lock of the kernel, which network file systems may not carry. A place holds numbered folders, its
turns, made by `mkdir`, which only one of many can make; the newest is its holder's. Who is late writes into the folder
of an older turn and spoils nothing (the fencing tokens of Kleppmann, "How to do distributed locking", 2016). Ages go
by the clock of the file system, not by those of the machines.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from cineloop.errors import UsageError
from cineloop.files import write_atomic
from cineloop.lock import describe, file_system_time, is_dead, me, parse_owner
from cineloop.log import logger, printable

LEASE_S = 300.0  # NFS clients may see a date that is a minute old: much below two minutes is for local disks
_BEATS_A_LEASE = 6


class LeaseLostError(UsageError):
    """This process was not heard of for so long that another one took its place (exit 2)."""

    default_code = "LEASE_LOST"


class Lease:
    """The right to work on one place of a shared folder, for the length of a `with` block.

    `turn` is the folder of this holder alone, the newest number in `place`; the earlier turns are in `before`. A
    thread touches the lease file there; without that for `lease_s` (or once its process is seen to be gone) the next
    one may begin a new turn.

    Args:
        place: a folder; made when absent.
        lease_s: seconds without a heartbeat after which the place is free again, > 0.

    Raises (on entering):
        UsageError: code LOCKED; another process holds the place, named in the message.
    """

    def __init__(self, place: Path, lease_s: float = LEASE_S) -> None:
        if lease_s <= 0:
            raise UsageError(f"a lease must last longer than 0 s, got {lease_s}")
        self.place, self.lease_s = place, lease_s
        self.turn = place
        self.before: list[Path] = []
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Lease:
        self.place.mkdir(parents=True, exist_ok=True)
        self.before = turns(self.place)
        if owner := holder(self.place):
            raise self._refusal(owner)
        self.turn = self.place / str(int(self.before[-1].name) + 1 if self.before else 1)
        try:
            self.turn.mkdir()
        except FileExistsError as error:
            raise self._refusal(holder(self.place)) from error
        if self.before and not _lease_of(self.before[-1]).get("ended"):
            logger.info("%s: going on where turn %s was left", printable(self.place.name), self.before[-1].name)
        self._write(ended=False)
        self._thread = threading.Thread(target=self._keep_beating, name="lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):  # a full or lost disk: then the lease runs out by itself
            self._write(ended=True)

    def beat(self) -> None:
        """Say that this holder is alive.

        Raises:
            LeaseLostError: another process has begun a turn of its own; whatever is not saved is theirs to do.
        """
        if turns(self.place)[-1:] != [self.turn]:
            raise LeaseLostError(
                f"another process took over {printable(str(self.place))}, because this one was not heard of for "
                f"{self.lease_s:g} s",
                hint="nothing is lost and nothing will stand twice; raise --lease if this machine is only slow",
            )
        with contextlib.suppress(OSError):  # a share that is away for a moment
            os.utime(self.turn / "lease")

    def _keep_beating(self) -> None:
        while not self._ending.wait(self.lease_s / _BEATS_A_LEASE):
            with contextlib.suppress(OSError):
                os.utime(self.turn / "lease")

    def _write(self, *, ended: bool) -> None:
        lease = {**me(), "lease_s": self.lease_s, "ended": ended}
        write_atomic(self.turn / "lease", json.dumps(lease).encode(), durable=False)

    def _refusal(self, owner: dict[str, Any]) -> UsageError:
        return UsageError(
            f"another process works on {printable(str(self.place))}: {describe(owner)}",
            code="LOCKED",
            hint=f"if it is gone, the place is free {owner.get('lease_s', self.lease_s):g} s after its last heartbeat",
        )


def turns(place: Path) -> list[Path]:
    """The folders of all who ever held a place, oldest first; none when there is no such place."""
    try:
        names = [name for name in os.listdir(place) if name.isdecimal()]
    except FileNotFoundError:
        return []
    return [place / name for name in sorted(names, key=int)]


def holder(place: Path) -> dict[str, Any]:
    """Who holds a place by a `Lease` now; {} when nobody does."""
    every = turns(place)
    owner = _lease_of(every[-1]) if every else {"ended": True}
    if owner.get("ended") or is_dead(owner):
        return {}
    age_s = file_system_time(place) - owner["seen"]
    return owner if age_s < owner.get("lease_s", LEASE_S) else {}


def _lease_of(turn: Path) -> dict[str, Any]:
    """What a turn's lease file says, with `seen`, its date. A turn without one has just begun, or died there."""
    try:
        # Opening makes a network file system ask the server; a bare stat may answer from memory.
        handle = os.open(turn / "lease", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return {"pid": "unknown", "seen": os.stat(turn).st_mtime}
    try:
        return {**parse_owner(os.read(handle, 4096)), "seen": os.fstat(handle).st_mtime}
    finally:
        os.close(handle)
