"""Summary of a captioning run: counts, speed, and seconds by activity.

In: records as they are finished, seconds by activity. Out: a `CaptionSummary`: text for a person, a dict for `--json`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from logging import INFO, WARNING
from typing import Any

from cineloop.errors import EXIT_FAILED_ITEMS, EXIT_INTERRUPTED, EXIT_OK, Notice
from cineloop.log import plural, printable
from v2t.backends import OUT_OF_DOMAIN

_TIMES = {"model": "model", "decode": "waiting for frames", "write": "writing", "load": "loading the model"}
_NAMED_FAILURES = 5


@dataclass
class CaptionSummary:
    """Counts of clips, seconds and tokens of one run. `times` holds seconds by activity; the rest is set-up."""

    num_clips: int = 0
    model: str = ""
    dry_run: bool = False
    is_kept: bool = True  # in a folder that the next run resumes
    verb: str = "captioned"  # what is done to a clip
    planned: int = 0
    num_captioned: int = 0
    num_parts: int = 0
    failed_before: int = 0
    done_before: int = 0
    kept: int = 0
    twice: int = 0  # clips or parts that two workers of a cluster captioned
    interrupted: bool = False
    tokens: int = 0
    video_s: float = 0.0
    seconds: float = 0.0
    times: dict[str, float] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)
    _outside_failed: list[str] = field(default_factory=list)
    _outside_captioned: list[str] = field(default_factory=list)
    _examples: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @property
    def exit_code(self) -> int:
        """0, 3 if any clip of the selection failed, 130 if stopped by the user."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        return EXIT_FAILED_ITEMS if self.failures or self.failed_before else EXIT_OK

    def count_plan(self, actions: Iterable[str]) -> None:
        """Count the actions planned for the clips, see `v2t.caption.run.make_plan`."""
        counts = Counter(actions)
        self.num_clips = counts.total()
        self.done_before, self.kept, self.failed_before = counts["done"], counts["kept"], counts["failed"]

    def add(self, row: dict[str, Any]) -> None:
        """Count a record once it is saved."""
        if row["status"] != "ok" and row["error"]["code"] == OUT_OF_DOMAIN:
            self._outside_failed.append(row["id"])
        elif any(warning["code"] == OUT_OF_DOMAIN for warning in row["warnings"]):
            self._outside_captioned.append(row["id"])
        for warning in map(Notice.read, row["warnings"]):
            self.warnings[warning.code] += 1
            self._examples.setdefault(warning.code, str(warning))
        if row["status"] == "ok":
            self.num_captioned += 1
            self.tokens += row["tokens"]
            self.video_s += row["duration_s"] or 0.0
        else:
            self.failures.append({"id": row["id"], **row["error"]})

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON-able values; speeds count the time after the model was loaded."""
        busy_s = max(self.seconds - self.times.get("load", 0.0), 1e-6)
        return {
            "found": self.num_clips,
            "captioned": self.num_captioned,
            "parts": self.num_parts,
            "failed": len(self.failures),
            "failed_before": self.failed_before,
            "done_before": self.done_before,
            "kept_by_hand": self.kept,
            "captioned_twice": self.twice,
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

    def report(self) -> list[tuple[int, str]]:
        """The lines of the summary with their levels of `logging`: errors and warnings are of level WARNING."""
        counts = {
            self.verb: self.num_captioned,
            "failed": len(self.failures),
            "done before": self.done_before,
            "kept (edited by hand)": self.kept,
            "failed before": self.failed_before,
        }
        if self.dry_run:
            counts = {f"would be {self.verb}": self.planned, **dict(list(counts.items())[2:])}
        always = (self.verb, "failed", f"would be {self.verb}")
        head = ", ".join(f"{count} {what}" for what, count in counts.items() if count or what in always)
        head = f"{plural(self.num_clips, 'clip')}: {head}"
        if self.dry_run:
            return [(INFO, head)]
        if self.num_parts:
            head += f"; {plural(self.num_parts, 'part')} {self.verb} now"
        speed = []
        if self.num_captioned:
            values, busy_s = self.to_dict(), self.seconds - self.times.get("load", 0.0)
            spent = ", ".join(f"{text} {self.times[name]:.1f}" for name, text in _TIMES.items() if name in self.times)
            speed = [
                f"{self.seconds:.1f} s: {spent}",
                f"{rate(self.num_captioned, busy_s, 'video')}, {values['video_seconds_per_s']:.1f} video-seconds/s, "
                f"{values['tokens_per_s']:.0f} tokens/s with {self.model}",
            ]
        after = ["--retry-failed tries failed clips again"] if self.failures or self.failed_before else []
        after += [f"{self.twice} captioned twice after a lost worker, one record of each"] if self.twice else []
        after += ["stopped; the same command resumes here"] if self.interrupted else []
        if not self.is_kept:
            after = ["stopped; with -o the next run resumes here"] if self.interrupted else []
        return [*((WARNING, line) for line in self._problems()), *((INFO, line) for line in (*speed, head, *after))]

    def _problems(self) -> list[str]:
        """Failures and warnings; first clips outside the model's domain, whose captions would be, or are, invented."""
        lines = []
        for ids, what in (
            (self._outside_failed, " and have no caption: {}; name a --model for them, or --on-outside warn"),
            (self._outside_captioned, " and got captions not to be trusted: {}; name a --model for them"),
        ):
            if ids:
                more = f" and {len(ids) - _NAMED_FAILURES} more" if len(ids) > _NAMED_FAILURES else ""
                names = ", ".join(printable(name) for name in ids[:_NAMED_FAILURES]) + more
                verb = "is" if len(ids) == 1 else "are"
                lines.append(
                    f"{plural(len(ids), 'clip')} {verb} outside the domain of {self.model}{what.format(names)}"
                )
        failures = [failure for failure in self.failures if failure["code"] != OUT_OF_DOMAIN]
        for failure in failures[:_NAMED_FAILURES]:
            hint = f" ({failure['hint']})" if failure["hint"] else ""
            lines.append(f"failed {failure['code']}: {printable(failure['id'])}: {printable(failure['message'])}{hint}")
        if len(failures) > _NAMED_FAILURES:
            lines.append(f"and {len(failures) - _NAMED_FAILURES} more; all are rows with status failed")
        for code, count in self.warnings.most_common():
            if code != OUT_OF_DOMAIN:
                others = f" (and {plural(count - 1, 'more clip')})" if count > 1 else ""
                lines.append(f"warning {printable(self._examples[code])}{others}")
        return lines


def rate(count: int, seconds: float, noun: str) -> str:
    """How fast: `2.5 videos/s`, or where that is less than one, `4.0 s a video`."""
    if not count:
        return f"no {noun} captioned yet"
    per_s = count / max(seconds, 1e-6)
    return f"{per_s:.1f} {noun}s/s" if per_s >= 1 else f"{1 / per_s:.1f} s a {noun}"
