"""Words of prompts in plain English: colours, places, numbers, and words that are not names of things.

In: nothing. Out: constants for `v2t_eval.judge.free_text`. Places are those that prompt collections ask for, and the
places of the cartoon world.
"""

from __future__ import annotations


def _listed(text: str) -> frozenset[str]:
    return frozenset(" ".join(word.split()) for word in text.split(","))


COLORS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray", "silver", "gold",
    "beige",
)  # fmt: skip
NUMBERS = {"a": 1, "an": 1, "the": 1, "another": 1}
NUMBERS |= {word: n for n, word in enumerate("one two three four five six seven eight nine ten".split(), 1)}
PLACES = _listed("""
    airport, alley, amusement park, aquarium, arch, arena, art gallery, attic, backyard, bakery, ballroom, bank,
    bar, barn, basement, bathroom, bay, beach, bedroom, boat deck, botanical garden, bridge, building,
    cafeteria, campsite, campus, canyon, carrousel, castle, cave, cellar, cemetery, church, city, classroom,
    cliff, coast, construction site, corridor, country, courtyard, crosswalk, desert, downtown, driveway,
    factory, farm, field, food court, football field, forest, forest road, fountain, garage, garden, gas
    station, glacier, golf course, gym, harbor, highway, hill, hospital, hotel, house, iceberg, indoor
    gymnasium, indoor library, indoor movie theater, indoor museum, industrial area, island, jail cell, jungle,
    kitchen, lake, library, lighthouse, living room, mansion, market, marsh, meadow, mountain, mountains, movie
    theater, museum, nursery, ocean, office, palace, park, parking lot, pharmacy, phone booth, playground, pond,
    pool, raceway, restaurant, river, road, room, school, science museum, sea, shore, shower, ski slope, sky,
    skyscraper, snow, space, stadium, staircase, station, street, studio, subway, supermarket, swamp, swimming
    pool, temple, tower, town, train railway, train station platform, underwater coral reef, valley, village,
    volcano, waterfall, windmill, woods, yard, zoo
""")
# Attributes: how a thing looks, not what it is.
PLAIN = _listed("""
    aerial, ancient, beautiful, big, bright, busy, crowded, cute, dark, elderly, empty, fluffy, giant, grassy, happy,
    huge, large,
    light, little, lone, long, medium, medium-sized, modern, new, old, open, quiet, sad, sandy, shiny, short,
    single, small, snowy, sunny, tall, tiny, wide, wild, young
""")
# Nouns about the picture, not its content.
NO_THINGS = _listed("""
    background, bottom, camera, clip, close-up, distance, frame, front, left, middle, motion, photo, picture,
    right, scene, shot, side, style, tableau, top, video, view, way
""")
# Nouns that end in -ing.
THINGS_ON_ING = _listed("""
    building, ceiling, clothing, earring, evening, icing, king, lightning, living, morning, painting, pudding,
    railing, ring, spring, string, swing, thing, wedding, wing
""")
# Never part of a name: a noun phrase ends before them. The marks `,.;:` end it too.
STOPS = _listed("""
    above, across, after, against, along, amid, among, before, beyond, during, like, off, past, toward, towards, upon,
    within, without, and, are, around, as, at, behind, below, beside, between, by, for, from, has,
    have, her, his, in, inside, into, is, its, near, next, of, on, onto, or, over, that, their, then, through,
    to, under, was, were, which, while, who, with
""")
IRREGULAR = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse", "geese": "goose",
    "feet": "foot", "teeth": "tooth", "knives": "knife", "wolves": "wolf", "leaves": "leaf", "sheep": "sheep",
    "buses": "bus", "skis": "skis", "scissors": "scissors", "glasses": "glasses", "bus": "bus",
    "grass": "grass", "glass": "glass", "dress": "dress", "tennis": "tennis", "canvas": "canvas",
}  # fmt: skip
