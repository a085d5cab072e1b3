"""The English of the cartoon world: which words say which fact, for writing and for reading alike.

In: nothing. Out: constants. The first entry of every tuple is the canonical wording (answers use only that one);
the others are synonyms that name exactly the same fact, so that a text can be read back without doubt.
"""

from __future__ import annotations

from cineloop.world import vocabulary as words

NUMBERS: dict[int, str] = {1: "one", 2: "two", 3: "three", 4: "four"}
SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "little"),
    "medium": ("medium", "medium-sized"),
    "large": ("large", "big"),
}
PLURALS: dict[str, str] = {kind: kind + "s" for kind in words.KINDS} | {
    "fish": "fish",
    "butterfly": "butterflies",
    "bus": "buses",
    "box": "boxes",
}
# Read but never written: what a reader should forgive.
KIND_SYNONYMS: dict[str, str] = {
    "puppy": "dog",
    "kitten": "cat",
    "bunny": "rabbit",
    "bunnies": "rabbit",
    "airplane": "plane",
    "airplanes": "plane",
    "ship": "boat",
    "ships": "boat",
    "cube": "box",
    "fishes": "fish",
}

# Verbs as base forms; the first word is inflected. "move" and "travel" mean the kind's own way of getting about.
VERBS: dict[str, tuple[str, ...]] = {
    "walk": ("walk", "stroll"),
    "run": ("run", "dash"),
    "drive": ("drive", "move", "travel"),
    "fly": ("fly", "move", "travel"),
    "sail": ("sail", "move", "travel"),
    "swim": ("swim", "move"),
    "roll": ("roll", "move"),
    "slide": ("slide", "glide", "move"),
    "jump": ("jump", "hop", "leap", "jump up and down"),
    "bounce": ("bounce", "bounce up and down"),
    "spin": ("spin", "spin around", "twirl"),
    "grow": ("grow", "get bigger", "become bigger"),
    "shrink": ("shrink", "get smaller", "become smaller"),
    "shake": ("shake", "wobble", "tremble"),
    "fall": ("fall", "fall down", "drop down"),
    "appear": ("appear", "show up", "pop up"),
    "vanish": ("vanish", "disappear"),
    "stop": ("stop", "stop moving", "come to a stop"),
    "turn": ("turn around", "turn back", "turn around and go back"),
    "stand": ("stand still", "stay still"),
    "recolor": ("turn",),  # the colours follow, see RECOLOR
    "chase": ("chase", "try to catch"),
    "overtake": ("overtake", "pass", "get ahead of"),
    "collide": ("bump into", "crash into", "hit", "collide with"),
    "meet": ("meet", "meet up with"),
    "hide": ("hide behind",),
}
RECOLOR: tuple[str, ...] = (
    "turn {to}",
    "turn from {old} to {to}",
    "change from {old} to {to}",
    "become {to}",
    "change color to {to}",
    "change color from {old} to {to}",
)
PASSIVES: dict[str, tuple[str, ...]] = {
    "chase": ("chased by",),
    "overtake": ("overtaken by", "passed by"),
    "collide": ("hit by",),
}
TRANSITIVE: tuple[str, ...] = words.INTERACTIONS
GENERIC_TRAVEL: tuple[str, ...] = ("move", "travel")  # which action it is follows from the kind
LEAD_UP: tuple[str, ...] = ("hide", "collide", "meet")  # "goes to the right and hides behind ..."

DIRECTION_WORDS: dict[str, tuple[str, ...]] = {
    "left": ("to the left", "toward the left", "left", "from right to left"),
    "right": ("to the right", "toward the right", "right", "from left to right"),
    "up": ("up", "upward"),
    "down": ("down", "downward"),
}
HEADING: dict[str, tuple[str, ...]] = {way: (f"going {way}", f"heading {way}") for way in words.DIRECTIONS}
SPEED_WORDS: dict[str, tuple[str, ...]] = {
    "slow": ("slowly", "at a slow pace"),
    "fast": ("quickly", "fast", "at high speed"),
}
BEFORE_VERB: dict[str, str] = {"slow": "slowly", "fast": "quickly"}

PLACE_NOUNS: dict[str, str] = {
    "beach": "beach",
    "forest": "forest",
    "woods": "forest",
    "city": "city",
    "town": "city",
    "desert": "desert",
    "snow": "snow",
    "snowy": "snow",
    "meadow": "meadow",
    "grass": "meadow",
    "grassy": "meadow",
    "room": "room",
    "indoors": "room",
    "space": "space",
}
PLACE_PHRASES: dict[str, tuple[str, ...]] = {
    "beach": ("on the beach", "on a beach", "at the beach"),
    "forest": ("in the forest", "in a forest", "in the woods"),
    "city": ("in the city", "in a city", "in town"),
    "desert": ("in the desert", "in a desert"),
    "snow": ("in the snow", "on the snow"),
    "meadow": ("in the meadow", "in a meadow", "in a grassy meadow"),
    "room": ("in the room", "in a room", "indoors"),
    "space": ("in space", "in outer space"),
}
PLACE_ACROSS: dict[str, str] = {
    "beach": "along the beach",
    "forest": "through the forest",
    "city": "through the city",
    "desert": "across the desert",
    "snow": "through the snow",
    "meadow": "across the meadow",
    "room": "across the room",
    "space": "through space",
}
PLACE_NAMES: dict[str, str] = {
    "beach": "a beach",
    "forest": "a forest",
    "city": "a city",
    "desert": "a desert",
    "snow": "a snowy place",
    "meadow": "a meadow",
    "room": "a room",
    "space": "outer space",
}

RELATION_WORDS: dict[str, tuple[str, ...]] = {
    "left of": ("to the left of", "left of"),
    "above": ("above", "over"),
    "behind": ("behind",),
    "inside": ("inside",),
}
# The same relation from the other side: "b <phrase> a".
INVERSE_WORDS: dict[str, tuple[str, ...]] = {
    "left of": ("to the right of", "right of"),
    "above": ("below", "under"),
    "behind": ("in front of",),
    "inside": ("around",),
}

# "the camera" + finite verb phrase; the first word is inflected.
CAMERA_VERBS: dict[str, tuple[str, ...]] = {
    "static": ("stay still", "hold still", "not move"),
    "pan left": ("pan left", "pan to the left", "turn to the left"),
    "pan right": ("pan right", "pan to the right", "turn to the right"),
    "zoom in": ("zoom in", "move closer"),
    "zoom out": ("zoom out", "move away"),
    "shake": ("shake",),
}
STYLE_NOUNS: dict[str, tuple[str, ...]] = {
    "flat": ("flat cartoon", "cartoon in flat colors"),
    "outline": ("cartoon with black outlines", "cartoon with thick outlines"),
    "pixel": ("pixel art cartoon", "pixel art video"),
    "pencil": ("pencil drawing", "pencil sketch"),
}
STYLE_HOW: dict[str, tuple[str, ...]] = {
    "flat": ("drawn in flat colors",),
    "outline": ("drawn with black outlines", "drawn with thick outlines"),
    "pixel": ("drawn in pixel art", "made of large pixels"),
    "pencil": ("drawn in pencil", "drawn with a pencil"),
}
STYLE_KEYS: dict[str, str] = {  # what gives a style away, for the forgiving reader; longest first
    "black outlines": "outline",
    "thick outlines": "outline",
    "outlines": "outline",
    "outlined": "outline",
    "flat": "flat",
    "pixel": "pixel",
    "pixels": "pixel",
    "pencil": "pencil",
}
CUTS: tuple[str, ...] = (
    "the scene cuts to",
    "the scene changes to",
    "the view switches to",
)
