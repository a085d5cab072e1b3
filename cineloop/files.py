"""Files that are whole or absent: atomic writes, reads that never wait, content keys, and names that fit into JSON.

In: paths, bytes. Out: files written to a temporary name, flushed to disk and renamed, so a reader or a crash never
meets half a file; a short content key; and a reversible spelling of any POSIX file name as valid UTF-8.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from cineloop.errors import MissingDependencyError

TEMPORARY = ".cineloop-tmp-"  # how names of unfinished files begin; a crash leaves some, `sweep` removes them
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_WHOLE_BYTES = 4 << 20  # files up to here are hashed whole
_BLOCK_BYTES = 64 << 10
_NUM_BLOCKS = 16
_OPEN_ANYWAY = 256  # files a process holds open besides
_INHERITED = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")  # pipes opened by the caller, as by a shell's <(...)


def cache_home() -> Path:
    """The user's folder for caches: XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def escape_name(name: str) -> str:
    r"""Any file name as valid UTF-8 text: bytes that are no UTF-8 become ``\xNN``, a backslash is doubled.

    Python spells such bytes as lone surrogates (PEP 383), which JSON and terminals refuse. `unescape_name` undoes it.
    """
    return "".join(
        "\\\\" if c == "\\" else f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in name
    )


def unescape_name(text: str) -> str:
    """The file name that `escape_name` spelled as `text`."""
    return re.sub(r"\\(?:\\|x([0-9a-f]{2}))", lambda m: chr(0xDC00 + int(m.group(1), 16)) if m.group(1) else "\\", text)


def open_file(path: str | Path) -> BufferedReader:
    """A regular file, open for reading; never waits for a writer.

    Raises:
        OSError: it cannot be opened, or is a folder, a named pipe or a device.
    """
    name = os.fspath(path)
    if name.startswith(_INHERITED):
        return open(name, "rb")
    return os.fdopen(open_regular(name)[0], "rb")


def open_regular(path: str | bytes | os.PathLike[str]) -> tuple[int, os.stat_result]:
    """A descriptor of a regular file, and what the system knows of it. Raises as `open_file`."""
    # Not blocking: opening a pipe without a writer would block for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
        raise OSError(number, "not a regular file", os.fsdecode(path))
    return descriptor, status


def read_bytes(path: str | Path) -> bytes:
    """The content of a regular file. Raises OSError."""
    with open_file(path) as file:
        return file.read()


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write `data` so that `path` holds either its old content or all of the new one, whatever happens.

    Args:
        path: target; its folder is made when absent.
        data: the whole content.
        durable: wait until the content is on disk (fsync of file and folder). Turn off for what can be made again
            from a journal that was flushed first.

    Raises:
        MissingDependencyError: code DISK_FULL, the file system has no room left; no part of the file remains.
        OSError: any other failure.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        name = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
        with open(name, "xb") as file:
            temporary = name
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        if durable:
            sync(path.parent)
    except OSError as error:
        raise_if_full(error, path)
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A temporary folder for the length of the block; those that killed processes left are removed first.

    Args:
        prefix: how the names of all folders of this kind begin.
        parent: where; None for the system's place.
    """
    import fcntl

    parent = parent or Path(tempfile.gettempdir())
    for old in parent.glob(prefix + "*"):
        with contextlib.suppress(OSError):  # another user's, in use, or just made and not locked yet
            handle = os.open(old / "lock", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old, ignore_errors=True)
            finally:
                os.close(handle)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)  # the kernel releases it when the process dies
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove what crashes left of `write_atomic` in a folder without other writers."""
    for path in folder.glob(TEMPORARY + "*"):
        path.unlink(missing_ok=True)


def raise_if_full(error: OSError, path: Path) -> None:
    """Turn "no space left" into the environment error (exit 5) that names the path; return on anything else."""
    if error.errno in _FULL:
        raise MissingDependencyError(
            f"no space left while writing {escape_name(str(path))}: {error.strerror}",
            code="DISK_FULL",
            hint="free some space, then run the same command again; it continues where it stopped",
        ) from error


def sync(path: Path) -> None:
    """Flush a file's content to disk, or a folder's entries, so that a rename in it survives a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(path: Path) -> None:
    """`sync` of a file, or of a folder with all that is in it; hard links to other files are on the disk already."""
    paths = sorted(path.rglob("*")) if path.is_dir() else [path]
    for each in paths:
        if each.is_file() and each.stat().st_nlink == 1:
            sync(each)
    if path.is_dir():
        for folder in [each for each in paths if each.is_dir()] + [path]:
            sync(folder)


def replace_whole(written: Path, place: Path, old: Path) -> None:
    """Move a finished file or folder to its place on the same file system, in one step.

    Where either is a folder it takes two: what was there goes to `old` first. After a kill between the two it lies
    there and nowhere else; what is at `old` in the end is the caller's to remove.
    """
    if os.path.lexists(place) and (written.is_dir() or place.is_dir()):
        old.parent.mkdir(exist_ok=True)
        os.replace(place, old)
    os.replace(written, place)
    sync(place.parent)


def link_or_copy(file: Path, target: Path) -> None:
    """The file's bytes under another name, with its date: a link, or a copy on a file system that has no links or is
    another one. Raises OSError."""
    try:
        os.link(os.path.realpath(file), target)  # of a link the file it leads to: the link may be relative
    except OSError:
        shutil.copyfile(file, target)
        with contextlib.suppress(OSError):  # some mounts keep no dates
            shutil.copystat(file, target)


def content_key(file: Path | BufferedReader) -> str:
    """Short hash of a file's content: all of it up to 4 MiB, else its size and 16 blocks spread over it.

    Enough to tell a touched or copied file from a changed one without reading terabytes of video; not a checksum.

    Args:
        file: its path, or the file open at its start.
    """
    if not isinstance(file, BufferedReader):
        with open_file(file) as opened:
            return content_key(opened)
    digest = hashlib.blake2b(digest_size=12)
    size = os.fstat(file.fileno()).st_size
    digest.update(size.to_bytes(8, "little"))
    if size <= _WHOLE_BYTES:
        digest.update(file.read())
    else:
        for i in range(_NUM_BLOCKS):
            file.seek((size - _BLOCK_BYTES) * i // (_NUM_BLOCKS - 1))
            digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()


def text_key(data: bytes) -> str:
    """Short hash of bytes (a prompt, a written caption)."""
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def allow_open_files(count: int) -> None:
    """Let this process hold `count` more files open, as far as the system's limit goes; its soft one is often 1,024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OPEN_ANYWAY
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
