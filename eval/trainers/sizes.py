"""Sizes: which bucket a trainer puts a picture into, and what it loses there.

In: rules, the width and height of a picture, the frames that there are. Out: (width, height), or with the frames of
the bucket where buckets are listed one by one. Letters: a = width/height.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from v2t_eval.trainers.rules import TrainerRules

Size = tuple[int, int]  # width, height


def buckets(rules: TrainerRules, width: int, height: int) -> list[Size]:
    """The size or, of several resolutions, sizes that a picture is brought to; not for buckets listed one by one."""
    multiple = rules.own.multiple
    if rules.sizes.how == "area":
        return [_nearest_by_ratio(area_buckets(rules.settings.resolution, multiple), width / height)]
    if rules.sizes.how == "aspects":
        return [_of_aspect(side, _nearest_aspect(rules, width / height), rules) for side in rules.settings.resolution]
    return [_own_size(width, height, side, multiple) for side in rules.settings.resolution]


def listed_bucket(rules: TrainerRules, width: int, height: int, num_frames: int) -> tuple[int, int, int] | None:
    """(width, height, frames) of the listed bucket for a picture with so many frames; None where none fits."""
    every = [(*size, count) for count in rules.counts for size in rules.settings.sizes]
    fitting = [bucket for bucket in every if bucket[2] <= num_frames]
    if rules.sizes.how == "given-by-aspect":
        return min(fitting, key=lambda b: (_log_gap(b, width, height), -b[2], -b[0] * b[1]), default=None)
    if fitting:
        most = max(bucket[2] for bucket in fitting)
        fitting = [bucket for bucket in fitting if bucket[2] == most]
    else:
        nearest = min(every, key=lambda b: abs(b[2] - num_frames))[2]
        fitting = [bucket for bucket in every if bucket[2] == nearest]
    return min(fitting, key=lambda b: (abs(b[0] / b[1] - width / height), -b[1], -b[0]))


def area_buckets(resolution: Sequence[int], multiple: int) -> list[Size]:
    """Sizes of about the area of `resolution` (width and height, or a side), sides in multiples, sorted."""
    area = resolution[0] * resolution[-1]
    side = math.isqrt(area)
    least = side // 2 - side // 2 % multiple
    sizes = set[Size]()
    for one in range(least, side + multiple, multiple):
        other = area // one - area // one % multiple
        sizes |= {(one, other), (other, one)}
    return sorted(sizes)


def lost_share(rules: TrainerRules, width: float, height: float, size: Size) -> float:
    """Share of the picture that is cropped away, or where it is stretched 1 - the ratio of the two aspects."""
    ratio = (width / height) / (size[0] / size[1])
    return 1 - min(ratio, 1 / ratio)


def enlargement(width: float, height: float, size: Size) -> float:
    """How many times larger the picture is shown in the bucket."""
    return max(size[0] / width, size[1] / height)


def centre_crop(width: int, height: int, size: Size, pixel: float = 1.0) -> tuple[int, int, int, int]:
    """x, y, width, height, even, of the largest part around the centre with the bucket's aspect; `pixel`: width over
    height of a stored pixel."""
    aspect = size[0] / size[1] / pixel
    wide = min(width, 2 * round(height * aspect / 2)) // 2 * 2
    high = min(height, 2 * round(width / aspect / 2)) // 2 * 2
    return (width - wide) // 4 * 2, (height - high) // 4 * 2, wide, high


def _nearest_by_ratio(sizes: Sequence[Size], aspect: float) -> Size:
    return min(sizes, key=lambda size: abs(size[0] / size[1] - aspect))  # the first of equals, as numpy's argmin


def _nearest_aspect(rules: TrainerRules, aspect: float) -> float:
    least, greatest, number = rules.settings.aspects or (1.0, 1.0, 1)
    known = sorted({round(float(each), 3) for each in np.geomspace(least, greatest, number)})
    return min(known, key=lambda each: abs(math.log(each) - math.log(aspect)))


def _of_aspect(side: int, aspect: float, rules: TrainerRules) -> Size:
    wide = math.sqrt(side**2 * aspect)
    size = (wide, side**2 / wide)
    for multiple in filter(None, (rules.own.multiple, rules.own.then)):
        size = (round(size[0] / multiple) * multiple, round(size[1] / multiple) * multiple)
    return int(size[0]), int(size[1])


def _own_size(width: int, height: int, side: int, multiple: int) -> Size:
    """The multiples nearest in area to the clip's own size, at most side²."""
    most = side * side
    wanted = min(width * height, most)
    scale = math.sqrt(wanted / (width * height)) / multiple
    wide, high = width * scale, height * scale
    choices = [(round_x(wide) * multiple, round_y(high) * multiple) for round_x in (math.floor, math.ceil)
               for round_y in (math.floor, math.ceil)]  # fmt: skip
    capped = [(w, h) for w, h in choices if w > 0 and h > 0 and w * h <= most]
    capped = capped or [(max(multiple, choices[0][0]), max(multiple, choices[0][1]))]
    return min(capped, key=lambda size: abs(size[0] * size[1] - wanted))


def _log_gap(bucket: tuple[int, int, int], width: int, height: int) -> float:
    return abs(math.log(width / height) - math.log(bucket[0] / bucket[1]))
