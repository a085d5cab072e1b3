"""`report.html`: one page that holds all it shows, opens from disk, and lets one look at the clips behind the numbers.

In: `Scores`, strips of frames, links to the files. Out: UTF-8 HTML of bounded size (about 16 MB at 1,000 clips and
beyond: more clips get smaller strips and less text). The summary is plain HTML and stands without script; the list of
clips is made by `scores.js` from JSON in the page. What makes it inert stands in `v2t_eval.report.inert`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cineloop.errors import EXIT_OK
from cineloop.files import unescape_name
from v2t_eval.metric import Figure
from v2t_eval.report.clips import Drawn, clip_entries
from v2t_eval.report.inert import address, fill, inert_json
from v2t_eval.report.summary import (
    Row,
    chosen,
    counted,
    decimals,
    figure_texts,
    number,
    percent,
    problems,
    rows,
    title,
    verdict,
)
from v2t_eval.report.thumbnails import Strips
from v2t_eval.scores import Scored, Scores

_STRIPS_BYTES = 10_000_000  # of a page, before base64
_MAX_STRIP_BYTES = 9_000
_NUM_BINS = 24


def strip_bytes(num_clips: int) -> int:
    """Greatest size of one strip on a page of `num_clips`."""
    return min(_MAX_STRIP_BYTES, _STRIPS_BYTES // max(num_clips, 1))


def links(clips: Sequence[Scored], root: Path, folder: Path) -> dict[str, str]:
    """Addresses of the clips' files relative to the page in `folder`, by id, for those that are there."""
    found = {}
    for clip in clips:
        if clip.path is not None:
            path = root / unescape_name(clip.path)
            if path.is_file():
                found[clip.id] = address(path, folder)
    return found


def render(
    scores: Scores,
    *,
    strips: Strips | None = None,
    links: Mapping[str, str] | None = None,
    beside: tuple[str, ...] = (),
) -> bytes:
    """The page.

    Args:
        scores: what was found.
        strips: frames to show, by id of the clip; or why there are none.
        links: addresses of the clips' files relative to the page, by id.
        beside: names of further files in the page's folder to point at.
    """
    from markupsafe import Markup

    found = rows(scores)
    by = chosen(found)
    drawn = Drawn(strips=strips or {}, links=links or {})
    data = {
        "metrics": [_column(row) for row in found if row.values],
        "chosen": [row.name for row in found if row.values].index(by.name) if by else -1,
        "clips": clip_entries(scores, found, drawn),
    }
    return fill(
        "scores",
        {"percent": percent, "counted": counted},
        data=Markup(inert_json(data)),
        title=title(scores),
        verdict=verdict(scores),
        complete=scores.exit_code == EXIT_OK,
        scores=scores,
        metrics=[_metric(row) for row in found],
        problems=problems(scores),
        broken=[one for one in scores.skipped if not one.found_nothing],
        idle=[one for one in scores.skipped if one.found_nothing],
        beside=beside,
    )


def _column(row: Row) -> dict[str, Any]:
    """What the script is told of a metric that scores single clips."""
    least, most = min(row.values.values()), max(row.values.values())
    return {"name": row.name, "up": row.result.higher_is_better, "decimals": min(6, decimals(most - least) + 1)}


def _metric(row: Row) -> dict[str, Any]:
    """What the template shows of a metric."""
    value, low, high = row.texts()
    others = {key: figure for key, figure in row.result.figures.items() if key != row.result.headline}
    return {
        "row": row,
        "result": row.result,
        "value": value,
        "low": low,
        "high": high,
        "address": "#" + urlencode({"metric": row.name}),
        "bar": _bar(row, row.figure) if row.figure else None,
        "histogram": _histogram(list(row.values.values())) if row.values else None,
        "figures": [(key, *figure_texts(figure), figure) for key, figure in others.items()],
    }


def _bar(row: Row, figure: Figure) -> dict[str, Any]:
    """Where value and interval lie within the metric's range, in percent; an open end is set a little beyond them."""
    least, most = row.result.value_range
    room = 0.25 * max(figure.high - figure.low, abs(figure.value), 1e-9)
    start = least if math.isfinite(least) else min(figure.low, 0.0) - room
    end = most if math.isfinite(most) else max(figure.high, 0.0) + room

    def place(number: float) -> float:
        return round(100 * min(max((number - start) / (end - start), 0.0), 1.0), 2)

    return {
        "low": place(figure.low),
        "value": place(figure.value),
        "width": max(1.0, round(place(figure.high) - place(figure.low), 2)),
        "start": f"{least:g}" if math.isfinite(least) else "open",
        "end": f"{most:g}" if math.isfinite(most) else "open",
    }


def _histogram(values: Sequence[float]) -> dict[str, Any]:
    """Counts of `_NUM_BINS` equal bins from the least to the greatest value, as heights in percent."""
    least, most = min(values), max(values)
    counts = [0] * _NUM_BINS
    for value in values:
        share = (value - least) / (most - least) if most > least else 0.5
        counts[min(_NUM_BINS - 1, int(share * _NUM_BINS))] += 1
    highest = max(counts)
    bars = [(i, round(100 * count / highest, 1), count) for i, count in enumerate(counts) if count]
    ends = [number(end, decimals(most - least)) for end in (least, most)]
    return {"bars": bars, "num_bins": _NUM_BINS, "least": ends[0], "most": ends[1], "n": len(values)}
