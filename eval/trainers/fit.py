"""Fit: what a trainer makes of one clip, and what it loses of it.

In: rules, footage, what a clip may lose. Out: `ClipFit`, the bucket, the frames, seconds and speed, and findings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from v2t_eval.trainers.findings import Effect, SetFinding
from v2t_eval.trainers.footage import Footage
from v2t_eval.trainers.frames import TakenFrames, take_frames, union_s
from v2t_eval.trainers.rules import TrainerRules
from v2t_eval.trainers.settings import CheckSetConfig
from v2t_eval.trainers.sizes import Size, buckets, enlargement, listed_bucket, lost_share

_DAMAGE = frozenset(("TRUNCATED", "TIMES_ASSUMED", "TIMES_REPEATED"))
_SAME_RATE = 0.005  # share by which rates may differ: 23.976 counts as 24


@dataclass(frozen=True, kw_only=True)
class ClipFit:
    """What becomes of a clip.

    Attributes:
        sizes: (width, height) of its buckets, several where the trainer has several resolutions; none of a dropped one.
        num_frames: frames of a run; num_runs: how many runs are taken of it.
        kept_s, duration_s: seconds that any run shows, and of the clip.
        kept_end_s: end of the first run, in seconds of the clip.
        speed: seconds of the clip that a second of the training shows; 1 where that is not known.
        findings: what is wrong.
    """

    sizes: tuple[Size, ...] = ()
    num_frames: int = 0
    num_runs: int = 0
    kept_s: float = 0.0
    duration_s: float = 0.0
    kept_end_s: float = 0.0
    speed: float = 1.0
    findings: list[SetFinding] = field(default_factory=list)

    @property
    def lost_s(self) -> float:
        """Seconds that are not trained on."""
        return max(0.0, self.duration_s - self.kept_s)

    @property
    def lost_share(self) -> float:
        """Their share of the clip."""
        return self.lost_s / self.duration_s if self.duration_s else 0.0


def fit_clip(rules: TrainerRules, footage: Footage, config: CheckSetConfig) -> ClipFit:
    """What the trainer makes of a clip by itself; what depends on the set is not looked at."""
    shown = (footage.info.width, footage.info.height)
    picture = footage.stored_size if rules.files.turned == "as-stored" else shown
    by = footage.stored_size if rules.files.bucket_by == "stored" else shown
    frames = take_frames(rules, footage.num_frames, footage.trainer_fps, by)
    findings = list(_file_findings(rules, footage, by, frames))
    if not frames.runs:
        findings.append(_too_short(rules, footage, frames))
        return ClipFit(duration_s=footage.info.duration_s, findings=findings)
    listed = listed_bucket(rules, *by, frames.num_seen) if rules.settings.sizes else None
    sizes = [(listed[0], listed[1])] if listed is not None else buckets(rules, *by)
    run = frames.runs[0]
    ends = np.append(footage.times_s[1:], footage.info.duration_s)
    kept_end_s, span_s = float(ends[run[-1]]), float(ends[run[-1]] - footage.times_s[run[0]])
    speed = _speed(rules, footage, len(run), span_s)
    fit = ClipFit(
        sizes=tuple(sizes),
        num_frames=len(run),
        num_runs=len(frames.runs),
        kept_s=union_s(frames.runs, footage.times_s, footage.info.duration_s),
        duration_s=footage.info.duration_s,
        kept_end_s=kept_end_s,
        speed=speed,
        findings=findings,
    )
    findings += _frame_findings(rules, footage, frames, fit, config)
    findings += _picture_findings(rules, picture, fit, config)
    return fit


def _speed(rules: TrainerRules, footage: Footage, num_frames: int, span_s: float) -> float:
    """Seconds of the clip in a second of the training."""
    fps = rules.fps or (footage.trainer_fps if rules.settings.take in ("spread", "shrink") else None)
    return 1.0 if fps is None else span_s * fps / num_frames


def _too_short(rules: TrainerRules, footage: Footage, frames: TakenFrames) -> SetFinding:
    least, there = min(rules.counts), footage.num_frames
    at = "" if frames.num_seen == there else f", {frames.num_seen} of them at {rules.fps:g} a second"
    return SetFinding(
        code="TOO_SHORT", effect="dropped", message=f"{there} frames{at}, and the least bucket has {least}"
    )


def _file_findings(rules: TrainerRules, footage: Footage, by: Size, frames: TakenFrames) -> Iterator[SetFinding]:
    """Damage, counts that are not true, what the file asks of players."""
    info, codes = footage.info, {notice.code for notice in footage.info.warnings}
    lost = info.num_frames - footage.num_frames
    if codes & _DAMAGE or lost:
        why = ", ".join(str(notice.message) for notice in info.warnings if notice.code in _DAMAGE)
        why = why or f"{lost} of {info.num_frames} frames cannot be decoded"
        yield SetFinding(code="DAMAGED", effect="changed", message=why)
    if rules.frames.decoded_count == "claimed" and footage.claimed_frames > footage.num_frames:
        asked = take_frames(rules, footage.claimed_frames, footage.trainer_fps, by)
        effect: Effect = "note"
        if rules.frames.short == "dropped" and asked.runs and asked.wanted > frames.num_seen:
            effect = "stops"
        message = f"the container claims {footage.claimed_frames} frames, {footage.num_frames} can be decoded"
        yield SetFinding(code="COUNT_MISMATCH", effect=effect, message=message)
    if footage.first_stream is not None:
        wide, high = footage.first_stream
        message = f"of its video streams the trainer takes the first, {wide}x{high}; what follows is of the one shown"
        yield SetFinding(code="OTHER_STREAM", effect="changed", message=message)
    if info.rotation and rules.files.turned == "as-stored":
        yield SetFinding(code="TURNED", effect="changed", message=f"it is to be turned by {info.rotation} degrees")
    if abs(info.sample_aspect - 1) > 0.01:
        yield SetFinding(
            code="PIXEL_ASPECT", effect="changed", message=f"a pixel is {info.sample_aspect:.3f} wide to 1"
        )
    if "HDR_NOT_TONEMAPPED" in codes:
        yield SetFinding(code="HDR", effect="changed", message="PQ or HLG, read without tone mapping")


def _frame_findings(
    rules: TrainerRules, footage: Footage, frames: TakenFrames, fit: ClipFit, config: CheckSetConfig
) -> Iterator[SetFinding]:
    """Rate, speed, repeated, lost and uneven frames."""
    count, fps, whole = footage.num_frames, footage.trainer_fps, rules.settings.take in ("spread", "shrink")
    if frames.wanted > count:
        then = "shown more than once" if frames.repeated else "taken as they are"
        message = f"{count} frames, {then}, and the bucket has {frames.wanted}"
        yield SetFinding(code="TOO_SHORT", effect="changed", message=message)
    if fit.num_frames != rules.own.on_grid(fit.num_frames):
        message = f"{fit.num_frames} frames, and {rules.model} has {rules.own.step}·k+{rules.own.rest}"
        yield SetFinding(code="OFF_GRID", effect="changed", message=message)
    if whole and abs(math.log(fit.speed)) > math.log1p(config.most_retimed):
        message = f"{fit.kept_s:.2f} s are spread over {fit.num_frames} frames: {fit.speed:.2f} times as fast"
        yield SetFinding(code="RETIMED", effect="changed", message=message)
    stated = rules.settings.source_fps if rules.frames.rate == "thinned" else None
    wanted = stated or rules.fps
    if rules.frames.rate != "even" and not whole and wanted is not None and abs(fps / wanted - 1) > _SAME_RATE:
        speed = f"{fit.speed:.2f} times as fast" if fit.speed > 1 else f"at {fit.speed:.2f} of its speed"
        what = f"source_fps says {stated:g}" if stated else f"{rules.model} counts on {wanted:g}"
        yield SetFinding(
            code="WRONG_RATE", effect="changed", message=f"{fps:.3f} frames a second, {what}: it plays {speed}"
        )
    if frames.repeated and frames.wanted <= count:
        message = f"{frames.repeated} of {fit.num_frames} frames repeat the one before: {fps:.3f} are fewer than wanted"
        yield SetFinding(code="FRAMES_REPEATED", effect="changed", message=message)
    if (share := frames.unevenness) > config.most_uneven:
        message = f"{share:.0%} of the steps between frames differ from the usual one: {fps:.3f} a second do not divide"
        yield SetFinding(code="UNEVEN_STEPS", effect="changed", message=message)
    if (share := footage.varying_share) > config.most_uneven:
        message = f"{share:.0%} of the times between frames differ from the usual one"
        yield SetFinding(code="VARIABLE_RATE", effect="changed", message=message)
    if fit.lost_share > config.most_lost:
        message = f"{fit.lost_s:.2f} of {fit.duration_s:.2f} s ({fit.lost_share:.0%}) are not trained on"
        yield SetFinding(code="FRAMES_LOST", effect="changed", message=message)


def _picture_findings(rules: TrainerRules, picture: Size, fit: ClipFit, config: CheckSetConfig) -> Iterator[SetFinding]:
    """Sizes: too small, cropped, stretched."""
    size = fit.sizes[-1]
    lost = lost_share(rules, *picture, size)
    given = f"{picture[0]}x{picture[1]}"
    if rules.sizes.fit == "stretch" and lost > config.most_stretched:
        message = f"{given} is stretched to {size[0]}x{size[1]}: the aspect changes by {lost:.0%}"
        yield SetFinding(code="DISTORTED", effect="changed", message=message)
    if rules.sizes.fit == "crop" and lost > config.most_cropped:
        message = f"{given} is cropped to {size[0]}x{size[1]}: {lost:.0%} of the picture is lost"
        yield SetFinding(code="CROPPED", effect="changed", message=message)
    times = enlargement(*picture, size)
    if not rules.sizes.upscales:  # the bucket is as small as the clip
        times = max(rules.settings.resolution) / math.sqrt(picture[0] * picture[1])
    if times > config.most_enlarged:
        then = f"enlarged {times:.2f} times to {size[0]}x{size[1]}" if rules.sizes.upscales else (
            f"of {1 / times**2:.0%} of the area asked for: a bucket of its own, {size[0]}x{size[1]}")  # fmt: skip
        yield SetFinding(code="TOO_SMALL", effect="changed", message=f"{given} is {then}")
