"""Caption a side: the captioner gets the files under neutral names, and nothing else.

In: a `Side` and the folder of the round trip (or of its ceiling). Out: the side's trips with captions or errors;
`shown.jsonl`, the manifest for the captioner (name and path only), and `captions/`, as `v2t caption`
writes it.
"""

from __future__ import annotations

from pathlib import Path

from cineloop.errors import Notice
from cineloop.manifest import write_manifest
from v2t.backends import VideoLM
from v2t.caption.run import read_records
from v2t.caption.run import run as caption
from v2t.caption.settings import CaptionConfig
from v2t_eval.roundtrip.settings import RoundtripConfig
from v2t_eval.roundtrip.trip import Side

SHOWN = "shown.jsonl"


def add_captions(
    side: Side,
    config: RoundtripConfig,
    out: Path,
    *,
    captioner: VideoLM | None = None,
    show_progress: bool = False,
) -> None:
    """Caption clips without a caption and record captions and failures in the trips.

    Raises:
        KeyboardInterrupt: stopped; what was captioned is kept. CineloopError: see `v2t.caption.run.run`.
    """
    there = [trip for trip in side.trips if trip.path is not None]
    if not there:
        return
    rows = []
    for trip in there:
        path = trip.path.relative_to(out).as_posix() if trip.path is not None else ""
        spans = {"start_s": trip.start_s, "end_s": trip.end_s}
        rows.append({"id": trip.name, "path": path} | {k: v for k, v in spans.items() if v is not None})
    write_manifest(rows, out / SHOWN)
    settings = CaptionConfig(
        model=config.captioner, style=config.style, format=("jsonl",), device=config.device,
        overwrite=config.overwrite, retry_failed=config.retry_failed,
        on_outside="warn",  # generated clips count as they are; the report counts these warnings
    )  # fmt: skip
    summary = caption(
        [str(out / SHOWN)], out / "captions", settings, captioner=captioner, show_progress=show_progress
    )  # fmt: skip
    if summary.interrupted:
        raise KeyboardInterrupt
    records = {row["id"]: row for row in read_records(out / "captions")}
    for trip in there:
        record = records.get(trip.name, {"status": "failed"})
        trip.warnings = tuple(map(Notice.read, record.get("warnings") or ()))
        if record["status"] == "ok":
            trip.caption = record["caption"]
        else:
            trip.error = record.get("error") or {"code": "NO_CAPTION", "message": "the clip has no caption", "hint": ""}
