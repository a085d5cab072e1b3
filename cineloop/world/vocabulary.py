"""The words of the cartoon world: kinds, colours, sizes, places, styles, cameras, actions, and who can do what.

In: nothing. Out: constants only, in a fixed order (their index is the class number in training targets).
"""

from __future__ import annotations

# kind -> (family, how it gets about)
KINDS: dict[str, tuple[str, str]] = {
    "boy": ("person", "walk"),
    "girl": ("person", "walk"),
    "robot": ("person", "walk"),
    "dog": ("animal", "walk"),
    "cat": ("animal", "walk"),
    "rabbit": ("animal", "walk"),
    "elephant": ("animal", "walk"),
    "bird": ("animal", "fly"),
    "butterfly": ("animal", "fly"),
    "fish": ("animal", "swim"),
    "car": ("vehicle", "drive"),
    "truck": ("vehicle", "drive"),
    "bus": ("vehicle", "drive"),
    "boat": ("vehicle", "sail"),
    "plane": ("vehicle", "fly"),
    "rocket": ("vehicle", "fly"),
    "balloon": ("vehicle", "fly"),
    "ball": ("shape", "roll"),
    "box": ("shape", "slide"),
    "star": ("shape", "slide"),
    "heart": ("shape", "slide"),
    "triangle": ("shape", "slide"),
}

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "orange": (250, 140, 20),
    "yellow": (250, 220, 40),
    "green": (50, 165, 60),
    "blue": (40, 90, 220),
    "purple": (135, 60, 190),
    "pink": (250, 140, 190),
    "brown": (130, 80, 40),
    "black": (45, 45, 50),
    "white": (245, 245, 245),
}

SIZES: dict[str, float] = {"small": 0.25, "medium": 0.37, "large": 0.54}  # fraction of the frame's height
PLACES: tuple[str, ...] = ("beach", "forest", "city", "desert", "snow", "meadow", "room", "space")
STYLES: tuple[str, ...] = ("flat", "outline", "pixel", "pencil")
CAMERAS: tuple[str, ...] = ("static", "pan left", "pan right", "zoom in", "zoom out", "shake")
DIRECTIONS: tuple[str, ...] = ("left", "right", "up", "down")
SPEEDS: tuple[str, ...] = ("slow", "fast")
RELATIONS: tuple[str, ...] = ("left of", "above", "behind", "inside")

# Travelling actions name how the actor gets about; a legged actor walks when slow and runs when fast.
TRAVEL: tuple[str, ...] = ("walk", "run", "drive", "fly", "sail", "swim", "roll", "slide")
IN_PLACE: tuple[str, ...] = ("jump", "bounce", "spin", "grow", "shrink", "shake")
MOMENTS: tuple[str, ...] = ("fall", "appear", "vanish", "recolor")
AFTER_TRAVEL: tuple[str, ...] = ("stop", "turn")
INTERACTIONS: tuple[str, ...] = ("chase", "overtake", "collide", "meet", "hide")
ACTIONS: tuple[str, ...] = (*TRAVEL, *IN_PLACE, *MOMENTS, *AFTER_TRAVEL, *INTERACTIONS, "stand")

JUMPERS = tuple(k for k, (_, way) in KINDS.items() if way == "walk") + ("fish",)
BOUNCERS = ("ball", "balloon", "star", "heart", "box", "triangle")
FLYERS = tuple(k for k, (_, way) in KINDS.items() if way in ("fly", "swim"))
CONTAINERS = ("box", "heart", "ball", "star")  # big enough to have something drawn inside


def travel_action(kind: str, speed: str) -> str:
    """The travelling action of `kind` at `speed`, one of `TRAVEL`."""
    way = KINDS[kind][1]
    return ("run" if speed == "fast" else "walk") if way == "walk" else way


def actions_of(kind: str) -> tuple[str, ...]:
    """Every action a single actor of `kind` can do, `AFTER_TRAVEL` and interactions left out."""
    own = [travel_action(kind, "slow"), "spin", "grow", "shrink", "shake", "fall", "appear", "vanish", "recolor"]
    if travel_action(kind, "fast") not in own:
        own.append(travel_action(kind, "fast"))
    if kind in JUMPERS:
        own.append("jump")
    if kind in BOUNCERS:
        own.append("bounce")
    return tuple(own)
