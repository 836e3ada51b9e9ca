"""Which emoji become subjects, and what the published tables do not say of them; decided by eye."""

from __future__ import annotations

import re

CONCRETE = {"Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects"}
# What else one may call a subject of a subgroup, narrow to broad.
NOUNS = {
    "face-costume": "character", "person": "person/character", "person-role": "person/character",
    "person-fantasy": "character", "animal-mammal": "animal", "animal-bird": "bird/animal",
    "animal-amphibian": "animal", "animal-reptile": "reptile/animal", "animal-marine": "sea creature/animal",
    "food-marine": "sea creature/animal", "animal-bug": "insect/animal", "plant-flower": "flower/plant",
    "plant-other": "plant", "food-fruit": "fruit", "food-vegetable": "vegetable", "food-prepared": "dish",
    "food-asian": "dish", "food-sweet": "sweet", "drink": "drink", "dishware": "piece of tableware",
    "place-building": "building", "place-religious": "building", "transport-ground": "vehicle",
    "transport-water": "vessel", "transport-air": "aircraft", "time": "timepiece", "event": "decoration",
    "award-medal": "award", "sport": "piece of sports gear", "game": "toy", "clothing": "piece of clothing",
    "sound": "sound device", "music": "music symbol", "musical-instrument": "instrument", "phone": "device",
    "computer": "device", "light & video": "device", "book-paper": "paper item", "money": "money item",
    "mail": "mail item", "writing": "writing tool", "office": "office item", "lock": "lock item",
    "tool": "tool", "science": "lab instrument", "medical": "medical item", "household": "household item",
    "sky & weather": "weather symbol",
}  # fmt: skip
# A subgroup of Unicode's holds things that nobody calls by its noun: rocks among buildings, a parachute among
# aircraft. What these are called instead, by noun; by their name alone where they have no other.
OTHER_NOUNS = {
    "animal": "snail, spider, scorpion, worm, dragon face, dragon",
    "plant": "bouquet",
    "nest": "empty nest, nest with eggs",
    "baked good": "bread, croissant, baguette bread, flatbread, pretzel, bagel, rice cracker",
    "sweet": "fortune cookie, moon cake, dango",
    "piece of food": "cheese wedge, piece of meat on a bone, poultry leg, cut of meat, bacon, egg, butter",
    "piece of tableware": "bowl with spoon, salt shaker, teapot",
    "container": "jar, amphora, oil drum",
    "statue": "Statue of Liberty, moai statue",
    "sign": "bus stop, stop sign, elevator, placard",
    "traffic light": "horizontal traffic light, vertical traffic light",
    "vehicle": "suspension railway, mountain cableway, aerial tramway",
    "spacecraft": "satellite, rocket, flying saucer",
    "piece of sports gear": "skateboard, roller skate, bullseye, pool 8 ball",
    "moon/celestial body": "new moon, waxing crescent moon, first quarter moon, waxing gibbous moon, "
    "full moon, waning gibbous moon, last quarter moon, waning crescent moon, crescent moon, new moon face, "
    "first quarter moon face, last quarter moon face, full moon face",
    "celestial body": "sun, sun with face, ringed planet, star, glowing star, shooting star, comet",
    "umbrella": "closed umbrella, umbrella, umbrella with rain drops, umbrella on ground",
    "snowman": "snowman, snowman without snow",
    "paper item": "admission tickets, ticket, red envelope, memo",
    "device": "video game, joystick, telescope, satellite antenna",
    "decoration": "mirror ball, piñata",
    "card suit": "spade suit, heart suit, diamond suit, club suit",
    "game piece": "chess pawn, mahjong red dragon, game die",
    "piece of eyewear": "glasses, sunglasses, goggles",
    "bag": "purse, handbag, clutch bag, backpack",
    "piece of jewellery": "ring, gem stone",
    "instrument": "postal horn",
    "sound device": "studio microphone, microphone, headphone, radio, level slider, control knobs",
    "light": "candle, light bulb, flashlight, red paper lantern, diya lamp, police car light",
    "data disk": "computer disk, floppy disk, optical disk, DVD",
    "magnifying glass": "magnifying glass tilted left, magnifying glass tilted right",
    "chart": "rising yen chart, rising chart, falling chart, bar chart",
    "weapon": "dagger, crossed swords, bomb, bow and arrow, boomerang",
    "chain": "chain link, chains",
    "": "mushroom, peanuts, chestnut, popcorn, canned food, takeout box, ice cube, building construction, "
    "brick wall, rock, log, fuel pump, wheel, motorway, railway track, construction, anchor, ring buoy, "
    "parachute, airplane seat, thermometer, milky way, fire, droplet, water wave, fireworks, sparkler, "
    "moon viewing ceremony, wrapped gift, crystal ball, magic wand, slot machine, joker card, "
    "flower playing cards, folding hand fan, shopping bags, hair pick, prayer beads, lipstick, "
    "videocassette, film frames, ballot box with ballot, shield, white cane, DNA strand, drop of blood, "
    "bubbles, shopping cart",
}
_NOUNS_OF = {name: nouns or name for nouns, names in OTHER_NOUNS.items() for name in names.split(", ")}
UNWANTED = {"kaaba"}  # a sanctuary is no toy to stand in a lobby
COSTUMES = {"clown face", "ogre", "goblin", "ghost", "alien", "robot"}
PEOPLE = {
    "baby", "boy", "girl", "man", "woman", "old man", "old woman", "health worker", "student", "teacher",
    "judge", "farmer", "cook", "mechanic", "factory worker", "office worker", "scientist", "technologist",
    "singer", "artist", "pilot", "astronaut", "firefighter", "police officer", "detective", "guard", "ninja",
    "construction worker", "prince", "princess", "Santa Claus", "Mrs. Claus", "superhero", "supervillain",
    "mage", "fairy", "vampire", "mermaid", "elf", "genie", "zombie", "troll",
}  # fmt: skip

# Emoji of one shape in several colours: (series, colour). A series is what its members are called.
_PALETTES = {
    "heart": "red pink orange yellow green blue purple brown black grey white",
    "circle": "red orange yellow green blue purple brown black white",
    "square": "red orange yellow green blue purple brown",
}
COLOUR_SERIES = {
    f"{colour} {series}": (series, colour)
    for series, colours in _PALETTES.items()
    for colour in colours.split()
} | {
    "light blue heart": ("heart", "light blue"),
    "black large square": ("square", "black"),
    "white large square": ("square", "white"),
    "closed book": ("book", "red"),
    "green book": ("book", "green"),
    "blue book": ("book", "blue"),
    "orange book": ("book", "orange"),
    "red apple": ("apple", "red"),
    "green apple": ("apple", "green"),
}
# Unicode's name is not what one would say of the picture.
RENAMED = {
    "black large square": "black square", "white large square": "white square", "closed book": "red book",
    "cooking": "frying pan with an egg", "wood": "log", "brick": "brick wall", "sake": "sake bottle and cup",
    "tennis": "tennis racket and ball", "bowling": "bowling ball and pins", "lacrosse": "lacrosse stick",
    "cricket game": "cricket bat and ball", "field hockey": "field hockey stick",
    "ping pong": "ping pong paddle",
    "ice hockey": "ice hockey stick", "badminton": "badminton racket", "camping": "campsite",
    "performing arts": "theatre masks", "locked": "padlock", "unlocked": "open padlock",
    "locked with pen": "padlock with pen", "locked with key": "padlock with key", "wedding": "wedding chapel",
    "high voltage": "lightning bolt", "oden": "oden skewer", "mate": "cup of mate", "ice": "ice cube",
    "link": "chain link", "salt": "salt shaker", "metro": "metro train", "light rail": "light rail train",
    "label": "price tag", "joker": "joker card", "dvd": "DVD",
    "globe showing Europe-Africa": "globe of Europe",
    "globe showing Americas": "globe of the Americas", "globe showing Asia-Australia": "globe of Asia",
    "hourglass done": "finished hourglass", "hourglass not done": "running hourglass",
    "1st place medal": "gold medal", "2nd place medal": "silver medal", "3rd place medal": "bronze medal",
    "chart increasing": "rising chart", "chart decreasing": "falling chart", "dna": "DNA strand",
    "chart increasing with yen": "rising yen chart", "x-ray": "x-ray picture", "moai": "moai statue",
    "Santa Claus": "Father Christmas", "Mrs. Claus": "Mother Christmas", "seat": "airplane seat",
    "shallow pan of food": "pan of paella", "mountain railway": "mountain railway train",
    "cyclone": "cyclone symbol", "leafy green": "head of lettuce", "meat on bone": "piece of meat on a bone",
    "garlic": "head of garlic", "ginger root": "piece of ginger", "broccoli": "head of broccoli",
}  # fmt: skip
CATEGORIES = {"heart": "Shapes", "geometric": "Shapes", "face-costume": "Fantasy"}

# Pictures too alike for one to be a wrong subject beside the other.
FAMILIES = {
    r"(o’clock|-thirty)$": "clock face",
    r"moon": "moon",
    r"^globe ": "globe",
    r"^speaker|muted speaker": "speaker",
    r"mailbox": "mailbox",
    r"^(e-mail|envelope|incoming envelope)": "envelope",
    r"^sun behind|^cloud with|^cloud$": "cloud",
    r"banknote": "banknote",
    r"^chart ": "chart",
    r"^lock|^unlocked": "lock",
    r"magnifying glass": "magnifying glass",
    r"hourglass": "hourglass",
    r"^(ice cream|soft ice cream)$": "ice cream",
    r"(snowman)": "snowman",
    r"(umbrella)": "umbrella",
    r"(train|metro|light rail|tram|monorail|railway|locomotive|station)": "train",
    r"(automobile|taxi|police car$|sport utility)": "car",
    r"bus$": "bus",
    r"^(dog|dog face|guide dog|service dog|poodle)$": "dog",
    r"^(cat|cat face|black cat)$": "cat",
    r"chick$": "chick",
    r"^(house|houses|house with garden|derelict house)$": "house",
    r"(file folder)$": "folder",
    r"(calendar)$": "calendar",
    r"(battery)$": "battery",
    r"(bell)( with slash)?$": "bell",
    r"place medal|sports medal": "medal",
    r"ticket": "ticket",
    r"pushpin": "pushpin",
    r"bookmark$": "bookmark",
    r"^(ox|cow|water buffalo|bison)$": "cattle",
    r"^(camel|two-hump camel)$": "camel",
    r"^(mouse|rat|mouse face)$": "mouse",
    r"^(beer mug|clinking beer mugs)$": "beer",
    r"^(camera|camera with flash)$": "camera",
    r"^(mobile phone|mobile phone with arrow)$": "mobile phone",
    r"^(telephone|telephone receiver)$": "telephone",
    r"^(optical disk|dvd)$": "disc",
    r"^(whale|spouting whale)$": "whale",
    r"newspaper$": "newspaper",
    r"^(mountain|snow-capped mountain|mount fuji)$": "mountain",
    r"^(page with curl|page facing up)$": "page",
    r"^(airplane|small airplane|airplane departure|airplane arrival)$": "airplane",
    r"^(star|glowing star)$": "star",
    r"^(baseball|softball)$": "baseball",
}
SCENE_SUBGROUPS = {"place-geographic"}
SCENES = {
    "foggy",
    "night with stars", "cityscape", "sunrise over mountains", "sunrise", "cityscape at dusk", "sunset",
    "bridge at night", "milky way", "moon viewing ceremony", "fireworks", "sparkler", "world map",
    "map of Japan",
    "railway track", "motorway", "hot springs", "construction", "joker", "national park",
}  # fmt: skip
NOT_CREATURES = {
    "paw prints",
    "feather",
    "wing",
    "spider web",
    "microbe",
    "coral",
    "spiral shell",
    "pig nose",
}
CREATURES = {"snowman", "snowman without snow", "teddy bear", "crab", "lobster", "shrimp", "squid"}

PLURAL = re.compile(
    r"^(glasses|sunglasses|goggles|jeans|gloves|socks|briefs|shorts|maracas|scissors|skis|chopsticks"
    r"|houses|books|grapes|cherries|blueberries|peanuts|beans|pancakes|french fries|prayer beads"
    r"|ballet shoes|chains|bubbles|paw prints|film frames|control knobs|clinking glasses"
    r"|clinking beer mugs|nesting dolls|Japanese dolls|shopping bags|woman’s clothes|admission tickets"
    r"|flower playing cards|musical notes|sparkles|linked paperclips|crossed swords|card index dividers"
    r"|performing arts)$"
)
MASS = re.compile(
    r"^(bread|bacon|butter|popcorn|green salad|spaghetti|sushi|falafel|cooked rice|curry rice|canned food"
    r"|shaved ice|yarn|thread|soap|fire|fog)$"
)


def is_wanted(group: str, subgroup: str, name: str) -> bool:
    """Whether an emoji shows one thing that can stand in a scene."""
    if name in UNWANTED:
        return False
    if group in CONCRETE or name in COLOUR_SERIES or name in COSTUMES:
        return True
    return group == "People & Body" and subgroup.startswith("person") and name in PEOPLE


def name_of(name: str) -> str:
    """The name to use in an instruction.

    >>> name_of("five-thirty"), name_of("closed book"), name_of("woman’s hat")
    ('clock showing five thirty', 'red book', "woman's hat")
    """
    plain = RENAMED.get(name, name).replace("’", "'")
    is_clock = plain.endswith((" o'clock", "-thirty"))
    return f"clock showing {plain.replace('-', ' ')}" if is_clock else plain


def kind_of(category: str, subgroup: str, name: str) -> str:
    """`character`, `object` or `scene`, the paper's three kinds of subject."""
    if name in SCENES or subgroup in SCENE_SUBGROUPS:
        return "scene"
    if name in NOT_CREATURES:
        return "object"
    if name in CREATURES or category in ("People & Body", "Fantasy") or subgroup.startswith("animal"):
        return "character"
    return "object"


def number_of(name: str) -> str:
    """`plural`, `mass`, `person` (a proper name) or "" for one countable thing."""
    if name in ("Santa Claus", "Mrs. Claus"):
        return "person"
    return "plural" if PLURAL.match(name) else "mass" if MASS.match(name) else ""


def nouns_of(subgroup: str, kind: str, name: str) -> str:
    """Its nouns between slashes; its name alone where its subgroup holds too different things.

    >>> nouns_of("animal-bird", "character", "owl"), nouns_of("place-building", "object", "log")
    ('bird/animal', 'log')
    """
    is_part = subgroup.startswith("animal") and kind == "object"  # a feather, a paw print
    return name if is_part else _NOUNS_OF.get(name) or NOUNS.get(subgroup, name)


def family_of(name: str) -> str:
    """The family of near-identical pictures that a subject belongs to, or ""."""
    return next((family for pattern, family in FAMILIES.items() if re.search(pattern, name)), "")
