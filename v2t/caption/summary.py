"""What a captioning run did: counts, speed, and where the time went.

In: records as they are finished, seconds by activity. Out: a `Summary`: text for a person, a dict for `--json`.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from v2t.base.errors import EXIT_FAILED_ITEMS, EXIT_INTERRUPTED, EXIT_OK
from v2t.base.log import printable

_TIMES = {"model": "model", "decode": "waiting for frames", "write": "writing", "load": "loading the model"}
_NAMED_FAILURES = 5


@dataclass
class Summary:
    """Counts of clips, seconds and tokens of one run. `times` holds seconds by activity; the rest is set-up."""

    found: int = 0
    model: str = ""
    dry_run: bool = False
    planned: int = 0
    num_captioned: int = 0
    num_parts: int = 0
    failed_before: int = 0
    done_before: int = 0
    kept: int = 0
    interrupted: bool = False
    tokens: int = 0
    video_s: float = 0.0
    seconds: float = 0.0
    times: dict[str, float] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)
    _examples: dict[str, str] = field(default_factory=dict)
    _started: float = field(default_factory=time.perf_counter)

    @property
    def since_start_s(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._started

    @property
    def exit_code(self) -> int:
        """0, 3 when any clip of the selection stands as failed, 130 when stopped by the user."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        return EXIT_FAILED_ITEMS if self.failures or self.failed_before else EXIT_OK

    def add(self, row: dict[str, Any]) -> None:
        """Count one finished record."""
        for warning in row["warnings"]:
            code = warning.split(":", 1)[0]
            self.warnings[code] += 1
            self._examples.setdefault(code, warning)
        if row["status"] == "ok":
            self.num_captioned += 1
            self.tokens += row["tokens"]
            self.video_s += row["duration_s"] or 0.0
        else:
            self.failures.append({"id": row["id"], **row["error"]})

    def add_part(self, entry: dict[str, Any]) -> None:
        """Count one finished part of a video."""
        self.num_parts += entry["error"] is None

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-able values; speeds count the time after the model was loaded."""
        busy_s = max(self.seconds - self.times.get("load", 0.0), 1e-6)
        return {
            "found": self.found,
            "captioned": self.num_captioned,
            "parts": self.num_parts,
            "failed": len(self.failures),
            "failed_before": self.failed_before,
            "done_before": self.done_before,
            "kept_by_hand": self.kept,
            "planned": self.planned,
            "dry_run": self.dry_run,
            "interrupted": self.interrupted,
            "model": self.model,
            "seconds": round(self.seconds, 3),
            "seconds_by_activity": {name: round(value, 3) for name, value in self.times.items()},
            "videos_per_s": round(self.num_captioned / busy_s, 3),
            "video_seconds_per_s": round(self.video_s / busy_s, 3),
            "tokens_per_s": round(self.tokens / busy_s, 1),
            "tokens": self.tokens,
            "warnings": dict(self.warnings),
            "failures": self.failures,
            "exit_code": self.exit_code,
        }

    def lines(self) -> list[str]:
        """The summary for a person."""
        if self.dry_run:
            return [f"{self.found} clips: {self.planned} would be captioned, " + self._others()]
        lines = [f"{self.found} clips: {self.num_captioned} captioned, {len(self.failures)} failed, " + self._others()]
        if self.num_parts:
            lines[0] += f"; {self.num_parts} parts captioned now"
        if self.num_captioned:
            values = self.to_dict()
            spent = ", ".join(f"{text} {self.times[name]:.1f}" for name, text in _TIMES.items() if name in self.times)
            lines.append(f"{self.seconds:.1f} s: {spent}")
            lines.append(
                f"{values['videos_per_s']:.2f} videos/s, {values['video_seconds_per_s']:.1f} video-seconds/s, "
                f"{values['tokens_per_s']:.0f} tokens/s with {self.model}"
            )
        if self.failures or self.failed_before:
            lines.append("--retry-failed tries failed clips again")
        if self.interrupted:
            lines.append("stopped; the same command goes on from here")
        return lines

    def problems(self) -> list[str]:
        """Warnings and failures for a person, also one which asked for nothing else (-q)."""
        lines = []
        for code, count in self.warnings.most_common():
            more = f" (and {count - 1} more clips)" if count > 1 else ""
            lines.append(f"{printable(self._examples[code])}{more}")
        for failure in self.failures[:_NAMED_FAILURES]:
            hint = f" ({failure['hint']})" if failure["hint"] else ""
            lines.append(f"failed {failure['code']}: {printable(failure['id'])}: {printable(failure['message'])}{hint}")
        if len(self.failures) > _NAMED_FAILURES:
            lines.append(f"and {len(self.failures) - _NAMED_FAILURES} more; all are rows with status failed")
        return lines

    def _others(self) -> str:
        parts = [f"{self.done_before} done before"]
        if self.kept:
            parts.append(f"{self.kept} kept (captions by hand)")
        if self.failed_before:
            parts.append(f"{self.failed_before} failed before")
        return ", ".join(parts)
