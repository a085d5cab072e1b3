"""Clips that fit: the cut that gives a trainer exactly the frames, rate and size of one of its buckets.

In: rules, what is known of a clip. Out: a `Cut`, or the fault for which there is none; limits of a curation by the same
rules. Pictures are turned as they are shown and pixels made square; the clip's beginning is kept.
"""

from __future__ import annotations

from dataclasses import replace

from cineloop.errors import ItemError
from v2t_eval.clips.cut import Cut
from v2t_eval.trainers.rules import TrainerRules
from v2t_eval.trainers.settings import CheckSetConfig
from v2t_eval.trainers.sizes import area_buckets, buckets, centre_crop, enlargement, listed_bucket, lost_share

_RATES = (
    8.0,
    10.0,
    12.0,
    12.5,
    15.0,
    16.0,
    24000 / 1001,
    24.0,
    25.0,
    30000 / 1001,
    30.0,
    48.0,
    50.0,
    60000 / 1001,
    60.0,
)
_NEAR = 0.015  # share by which a file's mean rate may miss the one it was made at
_USUAL_FPS = 24.0  # of films, where the trainer takes any rate and that of a film is not known yet
_FEWER = 0.05  # share by which a film may have fewer frames a second than the trainer
_SLACK = 0.05  # of a frame, by which a clip may be too short: times are rounded


def fitted_cut(
    rules: TrainerRules,
    cut: Cut,
    size: tuple[int, int],
    fps: float,
    *,
    rate: float | None = None,
    pixel: float = 1.0,
    config: CheckSetConfig | None = None,
    keep: frozenset[str] = frozenset(),
) -> Cut:
    """The cut as the trainer wants it.

    Args:
        rules: of the trainer.
        cut: the part of the film, with its crop or none.
        size: (width, height) of the film as it is shown.
        fps: of the film.
        rate: that clips get where the trainer takes any; None for that of the film.
        pixel: width over height of a pixel.
        config: how much may be cropped and enlarged.
        keep: codes that are no errors.

    Raises:
        ItemError: TOO_SHORT, FRAMES_REPEATED (the film has fewer frames a second), CROPPED or TOO_SMALL.
    """
    config = config or CheckSetConfig()
    x, y, width, height = cut.crop or (0, 0, *size)
    rate = rules.fps or common_rate(rate or fps)
    if fps < rate * (1 - _FEWER) and "FRAMES_REPEATED" not in keep:
        raise ItemError(f"{fps:.3f} frames a second, and {rate:g} are wanted", code="FRAMES_REPEATED")
    there = int((cut.end_s - cut.start_s) * rate + _SLACK)
    shown = (round(width * pixel), height)
    bucket = _bucket(rules, shown, there)
    if bucket is None:
        raise ItemError(f"{there} frames at {rate:g} a second, and the least bucket has {min(rules.counts)}",
                        code="TOO_SHORT")  # fmt: skip
    wide, high, count = bucket
    lost = lost_share(rules, *shown, (wide, high))
    if lost > config.most_cropped and "CROPPED" not in keep:
        raise ItemError(f"{lost:.0%} of {shown[0]}x{shown[1]} would be cropped for {wide}x{high}", code="CROPPED")
    times = enlargement(*shown, (wide, high))
    if times > config.most_enlarged and "TOO_SMALL" not in keep:
        raise ItemError(f"{shown[0]}x{shown[1]} would be enlarged {times:.2f} times", code="TOO_SMALL")
    left, top, part_wide, part_high = centre_crop(width, height, (wide, high), pixel)
    crop = (x + left, y + top, part_wide, part_high)
    return replace(cut, crop=crop, fps=rate, num_frames=count, size=(high, wide), copy=False)


def common_rate(fps: float) -> float:
    """The usual rate nearest to that of a file, which containers round; its own where none is near."""
    nearest = min(_RATES, key=lambda rate: abs(rate / fps - 1))
    return nearest if abs(nearest / fps - 1) <= _NEAR else fps


def _bucket(rules: TrainerRules, size: tuple[int, int], there: int) -> tuple[int, int, int] | None:
    """Width, height and frames of the bucket for so many frames; None where none has as few."""
    own, settings = rules.own, rules.settings
    if settings.take in ("full", "auto"):
        counts = [own.on_grid(min(there, settings.most_frames or there))]
    else:
        counts = [count for count in map(own.on_grid, rules.counts) if count <= there]
    if not counts or there < max(counts) or max(counts) < rules.frames.least_take:
        return None
    if not settings.sizes:
        return (*buckets(rules, *size)[-1], max(counts))
    bucket = listed_bucket(rules, *size, there)
    return None if bucket is None or bucket[2] > there else (bucket[0], bucket[1], own.on_grid(bucket[2]))


def curation_sets(rules: TrainerRules, config: CheckSetConfig | None = None) -> list[str]:
    """Settings of a curation's recipe, as `a.b=c`, so that its clips fit: length of shots, duration, sides, aspect."""
    config = config or CheckSetConfig()
    fps = rules.fps or _USUAL_FPS
    least_s, most_s = min(rules.counts) / fps, max(rules.counts) / fps
    sizes = _sizes(rules)
    aspects = [width / height for width, height in sizes]
    keeps = 1 - config.most_cropped
    # Of listed sizes the smallest side; else that of the bucket for 16:9, since a narrower one wants less.
    side = min(map(min, rules.settings.sizes or [buckets(rules, 1920, 1080)[-1]])) / config.most_enlarged
    return [
        # Longer shots become equal parts, each of which must still be long enough.
        f"settings.split.shortest_s={least_s:.4f}",
        f"settings.split.longest_s={max(2 * most_s, least_s + 0.1):.4f}",
        f"limits.duration_s.least={least_s - _SLACK / fps:.4f}",
        "limits.film_frames.least=2",
        "limits.damaged.most=0",
        "limits.hdr.most=0",
        f"limits.short_side.least={side if rules.sizes.upscales else min(rules.settings.resolution) / 2:.0f}",
        f"limits.aspect.least={min(aspects) * keeps:.4f}",
        f"limits.aspect.most={max(aspects) / keeps:.4f}",
    ]


def _sizes(rules: TrainerRules) -> list[tuple[int, int]]:
    """Every size a clip may get; of buckets that follow the clip's own aspect two of 1 to 3."""
    if rules.settings.sizes:
        return list(rules.settings.sizes)
    if rules.sizes.how == "area":
        return area_buckets(rules.settings.resolution, rules.own.multiple)
    ends = rules.settings.aspects[:2] if rules.settings.aspects else (1 / 3, 3.0)
    return [buckets(rules, round(720 * aspect), 720)[-1] for aspect in ends]
