"""The journal of a curation: films come back as they were appended."""

from __future__ import annotations

from cineloop.journal import Journal
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.table import JOURNAL, Film, append, read_films


def film(id, rows, **more):
    return Film(id=id, size=3, mtime_ns=4, print="p", clips=rows, **more)


def row(id, start_s, **scores):
    return FilmClip(
        id=id, source=id.partition("#")[0], source_sha="a" * 64, width=64, height=48, fps=29.97, codec="h264",
        warnings=["VFR"], start_s=start_s, end_s=start_s + 1.1, begins="cut", ends="end",
        crop=[0, 2, 64, 40] if start_s else None, crop_reason="dark bars: top 2 px" if start_s else None,
        scores=scores,
    )  # fmt: skip


def test_films_come_back_as_they_were_appended_in_one_line_each(tmp_path):
    films = [
        film("ü.mp4", [row("ü.mp4#t=0", 0.1 + 0.2, a=1 / 3, b=None), row("ü.mp4#t=1", 1.0, a=5e-324, b=-0.0)]),
        film("no columns.mp4", [row("no columns.mp4#t=0", 0.0)]),
        film("failed.mp4", [], error={"code": "NOT_MEDIA", "message": "m", "hint": ""}),
    ]
    with Journal(tmp_path / JOURNAL) as journal:
        for each in films:
            append(journal, each)
    assert read_films(tmp_path) == {each.id: each for each in films}
    assert (tmp_path / JOURNAL).read_bytes().count(b"\n") == len(films)


def test_what_is_appended_later_counts_and_other_lines_do_not(tmp_path):
    with Journal(tmp_path / JOURNAL) as journal:
        journal.append([{"kind": "film", "id": "b.mp4", "clips": 0}])
        append(journal, film("a.mp4", [row("a.mp4#t=0", 0.0, a=1.0)]))
        append(journal, film("a.mp4", [row("a.mp4#t=0", 0.0, a=2.0)]))
    assert [each.clips[0].scores for each in read_films(tmp_path).values()] == [{"a": 2.0}]
