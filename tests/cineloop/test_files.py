"""Files moved to their places whole, and linked."""

from __future__ import annotations

import os

import pytest

from cineloop import files


def write(path, text):
    """A file, or a folder that holds one."""
    if path.name.endswith(".d"):
        path.mkdir()
        path /= "inside"
    path.write_text(text)


def read(path):
    return (path / "inside" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("before", [None, "file", "file.d"])
@pytest.mark.parametrize("now", ["new", "new.d"])
def test_what_is_written_takes_its_place_whole(before, now, tmp_path):
    place, old = tmp_path / "place", tmp_path / "aside" / "old"
    if before:
        write(tmp_path / before, "before")
        os.replace(tmp_path / before, place)
    write(tmp_path / now, "now")
    files.sync_tree(tmp_path / now)
    files.replace_whole(tmp_path / now, place, old)
    assert read(place) == "now" and not (tmp_path / now).exists()
    kept = before is not None and (before.endswith(".d") or now.endswith(".d"))
    assert old.exists() == kept and (not kept or read(old) == "before")


@pytest.mark.parametrize("has_links", [True, False])
def test_a_copy_has_the_bytes_and_the_date_of_what_a_link_leads_to(has_links, tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "video").write_bytes(b"bytes")
    os.utime(tmp_path / "video", ns=(1, 10**18))
    (tmp_path / "sub" / "link").symlink_to("../video")
    if not has_links:

        def no_link(*paths):
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", no_link)
    files.link_or_copy(tmp_path / "sub" / "link", tmp_path / "target")
    target = (tmp_path / "target").lstat()
    assert (tmp_path / "target").read_bytes() == b"bytes" and target.st_mtime_ns == 10**18
    assert (target.st_ino == (tmp_path / "video").stat().st_ino) == has_links
