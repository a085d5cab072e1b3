"""Vocabulary of the prompt grammar: names of visible things, verbs, colours, places, numbers, and words that are not
names of things.

In: nothing. Out: sets of words for `v2t_eval.judge.grammar.free_text`. Words outside these lists are not asked about,
so a missing name loses a question and never makes a wrong one; times of day, moods and film terms are left out on
purpose.
Written for this project; kinds of actor of the cartoon world and the usual objects of detection and prompt collections
are among them, and the places of the cartoon world and of prompt collections.
"""

from __future__ import annotations

from cineloop.world import vocabulary

_PERSONS = """
    person man woman boy girl child baby kid toddler teenager adult lady gentleman guy people crowd couple family friend
    actor actress artist astronaut athlete baker ballerina barista boxer bride builder butcher carpenter chef clown
    cook couple cowboy cyclist dancer detective diver doctor driver drummer elf emperor farmer firefighter fisherman
    florist gardener grandfather grandmother groom guard guitarist hiker hunter jogger judge king queen knight lifeguard
    magician mechanic mermaid monk musician ninja nurse officer painter pianist pilot pirate policeman policewoman
    prince princess robot runner sailor samurai santa scientist sculptor singer skateboarder skater skier snowboarder
    snowman soldier spy student surfer surgeon swimmer tailor teacher tourist vampire vendor violinist waiter waitress
    warrior witch wizard worker zombie alien ghost angel monster dragon unicorn fairy dwarf spider-man superhero
    pedestrian shopper passenger bartender blacksmith potter weaver shepherd spaceman viking geisha
"""
_ANIMALS = """
    animal ant antelope ape bat bear beaver bee beetle bird bison bull butterfly calf camel cat caterpillar chick
    chicken chimpanzee cobra corgi cow coyote crab crane crocodile crow cub deer dinosaur dog dolphin donkey dove duck
    duckling eagle elephant elk falcon ferret fish flamingo fly fox frog gazelle gecko giraffe goat goldfish goose
    gorilla hamster hawk hedgehog hen hippo horse hummingbird husky iguana insect jaguar jellyfish kangaroo kitten koala
    ladybug lamb leopard lion lizard llama lobster lynx mammoth meerkat mole monkey moose mosquito moth mouse octopus
    orangutan ostrich otter owl ox panda panther parrot peacock pelican penguin pig pigeon piglet pony poodle puffin
    puppy rabbit raccoon ram rat raven reindeer retriever rhino rhinoceros robin rooster salmon seagull seahorse seal
    shark sheep shrimp skunk sloth snail snake sparrow spider squid squirrel starfish stingray stork swan tiger toad
    tortoise toucan turkey turtle wasp whale wolf woodpecker worm yak zebra dalmatian labrador beagle chihuahua pug
    golden-retriever bunny kitty t-rex bumblebee dragonfly
"""
_VEHICLES = """
    aeroplane airplane airship ambulance bicycle bike blimp boat bulldozer bus cab canoe car carriage cart chariot drone
    ferry forklift gondola helicopter jeep jet kayak limousine lorry minivan moped motorbike motorboat motorcycle plane
    raft rocket rover sailboat satellite scooter ship skateboard sled sleigh snowmobile spacecraft spaceship speedboat
    submarine surfboard tank taxi tractor trailer train tram tricycle trolley truck van vehicle wagon wheelchair yacht
    convertible pickup locomotive
"""
_OBJECTS = """
    accordion anchor apple apron armchair armor arrow ax axe backpack bag bagel ball balloon banana bandage banjo banner
    barrel baseball basket basketball bathtub bead bed bell belt bench bin binoculars blackboard blade blanket blender
    blouse board bonfire book bookcase bookshelf boot bottle bouquet bow bowl box bracelet branch brick broccoli broom
    brush bubble bucket burger bush button cabinet cabin cactus cage cake camera-lens campfire can candle candy cane cap
    cape carpet carrot castle cauldron ceiling cello chair chalkboard chandelier chess chessboard chest chimney clock
    cloak cloud coat coconut coin comb comet compass computer cone cookie couch counter cradle crater crayon crown cube
    cup cupboard cupcake curtain cushion dart deck desk diamond dice dish doll doughnut donut door doorway drawer dress
    drum dumpling earring easel egg eggplant envelope fan feather fence fern fireplace firework flag flashlight flute
    flower flowerpot fork fountain frame frisbee fruit fur garland gate gem gift gingerbread glass globe glove goblet
    goggles gong gown grape graffiti guitar gun hamburger hammer hammock handbag harp hat headphone heart helmet
    hoodie hook hourglass hut iceberg icicle igloo instrument jacket jar jeans jug kettle key keyboard kimono kite knife
    knob ladder lamp lamppost lantern laptop leaf leash lemon lens letter lighthouse lily log lollipop loom machine
    mailbox mango map marble mask mat matchstick medal melon meteor microphone microscope microwave mirror mitten moon
    mop motor muffin mug mushroom nail necklace necktie nest net newspaper notebook oar onion orange orchid oven paddle
    paintbrush painting pan pancake parachute parasol parcel peach pear pearl pen pencil pepper petal phone photograph
    piano pickle pie pillow pineapple pinwheel pipe pitcher pizza planet plant plate plow pot potato present propeller
    pumpkin puppet purse puzzle pyramid quilt racket radio railing rainbow rake refrigerator ribbon ring rock rope rose
    rug ruler saddle sail sandcastle sandal sandwich saucer saw saxophone scarf scissors screwdriver seashell
    seed shawl shell shelf shield shirt shoe shovel shrub sign sink skeleton skirt skis skull skyline sleeve slipper
    snowball snowboard snowflake sock sofa spaghetti spear spoon spotlight stage stairs staff star statue steak stick
    stone stool stopwatch stove straw strawberry suit suitcase sun sunflower sunglasses surfboard swing sword syringe
    table tablet tapestry target teacup teapot telescope television tent throne tie tile tire toaster toilet tomato
    toothbrush torch totem towel tower toy tray tree triangle trombone trophy trumpet trunk tshirt tulip turban tuxedo
    typewriter ukulele umbrella uniform vase vegetable veil vest vine violin wall wallet wardrobe watch watering-can
    watermelon wheel whistle window windmill wreath xylophone sunset sunrise wave explosion lightning flame
    sculpture skyscraper bridge house barn building pier dock lantern road roof chessboard cliff hill boulder pebble
    puddle riverbank waterfall volcano galaxy nebula asteroid spacesuit raincoat trench-coat dish counter bar-stool
    cigarette cigar candlestick scroll potion wand cauldron chain spice noodle bread-loaf croissant waffle sushi taco
    face eye hand arm leg foot head nose mouth ear hair beard mustache tail wing paw beak horn finger shoulder smile
    bookshop signpost billboard streetlight bench screen monitor smartphone camera-crew
"""
_COMPOUNDS = """
    air balloon, baseball bat, baseball glove, cell phone, cherry blossom, coral reef, dining table, fire hydrant, fire
    truck, golden retriever, hair dryer, hair drier, hot air balloon, hot dog, light bulb, parking meter, polar bear,
    potted plant, remote control, sea lion, soap bubble, sports ball, sports car, steam train, stop sign, street lamp,
    street light, tennis racket, traffic light, trench coat, washing machine, wine glass, wine bottle, guinea pig, sea
    turtle, ferris wheel, rubber duck, paper boat, school bus, rocking chair
"""
_MASS = """
    beer bread broth butter cheese chocolate coffee confetti cream dirt dough dust fire fog food foliage frost grass
    hay honey ice ink ivy jam jewelry juice lava lipstick litter makeup meat milk mist mud neon oil paint paper pasta
    pollen popcorn rain rice rubble rust salad salt sand sauce seaweed smoke snow soap soup steam sugar tea thread
    water wheat wine wood wool yarn armor clothing furniture hair fur spaghetti lightning graffiti broccoli
"""
# Verbs of visible actions in the base form; irregular forms need no entry, since prompts are written in the present.
_VERBS = """
    appear approach arrange arrive ascend bake balance bark bask bathe beat begin bend billow bite blend blink bloom
    blossom blow bob boil bounce bow brew brush build burn burst bury canter carry carve catch charge chase cheer chew
    chop circle clap clean climb collapse collect come cook crash crawl creep cross cruise cry cuddle curl cut cycle
    dance dart dash descend dig dip disappear dive dodge doze drag draw dream dribble drift drill drink drip drive drop
    drum eat embrace emerge enter erupt escape examine exercise exit expand explode explore face fade fall feed fetch
    fight fill fish fix flap flash flicker flip float flow flutter fly fold follow freeze frolic gallop gather gaze
    giggle glance gleam glide glow grab graze grin grind grip groom grow hang harvest hatch hide hit hold hop hover hug
    hunt hurry ignite jog juggle jump kick kiss knead kneel knit knock land lap laugh launch lead lean leap lick lie
    lift light listen load look lounge make march massage meditate meet melt mend milk mix move nap nibble nod open
    orbit pack paddle paint parade park pass patrol pause peck pedal peek peel perch perform pet photograph pick pilot
    plant play plow point polish pose pounce pour practice prance pray press prowl pull pump punch push race raise reach
    read relax rest ride ring rise roam roar roast roll rotate row rub run rush sail saw scamper scatter scream sculpt
    seal search sell serve sew shake sharpen shave shine shiver shoot shop shout show shrink shuffle sing sip sit skate
    sketch ski skip slam sleep slice slide slip slither smell smile smoke snap sneak sneeze sniff snore snowboard soak
    soar spark sparkle speak spill spin splash spray spread sprint sprout squeeze stack stand stare step stir stomp stop
    stretch strike stroll strum study stumble surf surface swallow sway sweep swim swing swirl swoop take talk tap taste
    teach tease throw tie tiptoe toast toss touch tour tow trace travel tread trek trip trot tumble turn twirl twist
    type unfold unwrap vanish visit wade wag wait wake walk wander warm wash watch water wave wear weave weep whisk
    whisper whistle win wink wobble work wrap wrestle write yawn zoom
"""
# Kinetics classes, and so prompts of VBench, that are not gerunds: "a person is push up".
_ACTIVITIES = """
    archery, capoeira, cartwheel, clean and jerk, front raises, high jump, high kick, javelin throw, long jump,
    lunge, parkour, pole vault, pull ups, push up, push ups, rock scissors paper, shot put, side kick, sit ups,
    situp, squat, squats, tai chi, triple jump, yoga, zumba
"""
# Phrases read as one word, so that no name is taken from them.
_PHRASES = """
    depth of field, lens flare, hand in hand, side by side, golden hour, point of view, bird's eye, hand in paw,
    face to face, back and forth, from left to right, from right to left
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> list[str]:
    return [" ".join(phrase.split()) for phrase in text.split(",")]


COMPOUNDS = frozenset(tuple(name.split()) for name in _COMPOUNDS.split(","))
MASS = _words(_MASS)
PLURAL_ONLY = _words("goggles jeans scissors skis stairs sunglasses binoculars glasses pants shorts headphones")
NOUNS = (
    _words(_PERSONS)
    | _words(_ANIMALS)
    | _words(_VEHICLES)
    | _words(_OBJECTS)
    | MASS
    | PLURAL_ONLY
    | frozenset(vocabulary.KINDS)
)
VERBS = _words(_VERBS)
# Words after which the rest of a clause is negated.
NEGATIONS = _words("no not without never none neither nor cannot barely hardly don't doesn't isn't aren't can't won't")
ACTIVITIES = frozenset(_phrases(_ACTIVITIES))
GROUPS = _words(
    "group flock herd pack swarm bunch crowd pair number handful dozens hundreds thousands school family row"
)
INVARIANT = _words("fish sheep deer bison moose samurai salmon shrimp squid elk geisha ninja")  # singular and plural
PHRASES = tuple(_phrases(_PHRASES))
MANY = _words("several many some few various multiple numerous countless these those all")
COLORS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray", "silver", "gold",
    "beige",
)  # fmt: skip
NUMBERS = {"a": 1, "an": 1, "the": 1, "another": 1}
NUMBERS |= {word: n for n, word in enumerate("one two three four five six seven eight nine ten".split(), 1)}
PLACES = frozenset(
    _phrases("""
    airport, alley, amusement park, aquarium, arch, arena, art gallery, attic, backyard, bakery, ballroom, bank, bar,
    barn, basement, bathroom, bay, beach, bedroom, boat deck, botanical garden, bridge, building, cafeteria, campsite,
    campus, canyon, carrousel, castle, cave, cellar, cemetery, church, city, classroom, cliff, coast, construction site,
    corridor, country, courtyard, crosswalk, desert, downtown, driveway, factory, farm, field, food court, football
    field, forest, forest road, fountain, garage, garden, gas station, glacier, golf course, gym, harbor, highway, hill,
    hospital, hotel, house, iceberg, indoor gymnasium, indoor library, indoor movie theater, indoor museum, industrial
    area, island, jail cell, jungle, kitchen, lake, library, lighthouse, living room, mansion, market, marsh, meadow,
    mountain, mountains, movie theater, museum, nursery, ocean, office, palace, park, parking lot, pharmacy, phone
    booth, playground, pond, pool, raceway, restaurant, river, road, room, school, science museum, sea, shore, shower,
    ski slope, sky, skyscraper, snow, space, stadium, staircase, station, street, studio, subway, supermarket, swamp,
    swimming pool, temple, tower, town, train railway, train station platform, underwater coral reef, valley, village,
    volcano, waterfall, windmill, woods, yard, zoo
""")
)
# Attributes: how a thing looks, not what it is.
PLAIN = frozenset(
    _phrases("""
    aerial, ancient, beautiful, big, bright, busy, crowded, cute, dark, elderly, empty, fluffy, giant, grassy, happy,
    huge, large, light, little, lone, long, medium, medium-sized, modern, new, old, open, quiet, sad, sandy, shiny,
    short, single, small, snowy, sunny, tall, tiny, wide, wild, young
""")
)
# Nouns about the picture, not its content.
NO_THINGS = frozenset(
    _phrases("""
    background, bottom, camera, clip, close-up, distance, frame, front, left, middle, motion, photo, picture, right,
    scene, shot, side, style, tableau, top, video, view, way
""")
)
# Nouns that end in -ing.
THINGS_ON_ING = frozenset(
    _phrases("""
    building, ceiling, clothing, earring, evening, icing, king, lightning, living, morning, painting, pudding, railing,
    ring, spring, string, swing, thing, wedding, wing
""")
)
# Never part of a name: a noun phrase ends before them. The marks `,.;:` end it too.
STOPS = frozenset(
    _phrases("""
    above, across, after, against, along, amid, among, before, beyond, during, like, off, past, toward, towards, upon,
    within, without, and, are, around, as, at, behind, below, beside, between, by, for, from, has, have, her, his, in,
    inside, into, is, its, near, next, of, on, onto, or, over, that, their, then, through, to, under, was, were, which,
    while, who, with
""")
)
IRREGULAR = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse", "geese": "goose",
    "feet": "foot", "teeth": "tooth", "knives": "knife", "wolves": "wolf", "leaves": "leaf", "sheep": "sheep",
    "buses": "bus", "skis": "skis", "scissors": "scissors", "glasses": "glasses", "bus": "bus",
    "grass": "grass", "glass": "glass", "dress": "dress", "tennis": "tennis", "canvas": "canvas",
}  # fmt: skip
