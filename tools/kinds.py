"""Which emoji become subjects, and what the published tables do not say of them; decided by eye."""

from __future__ import annotations

import re

CONCRETE = {"Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects"}
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
RENAMED = {
    "black large square": "black square",
    "white large square": "white square",
    "closed book": "red book",
}
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
    r"|houses|books"
    r"|grapes|cherries|blueberries|peanuts|beans|pancakes|french fries|prayer beads|ballet shoes"
    r"|chains|bubbles"
    r"|paw prints|film frames|control knobs|clinking glasses|clinking beer mugs|nesting dolls|Japanese dolls"
    r"|shopping bags|woman’s clothes|admission tickets|flower playing cards|musical notes|sparkles"
    r"|index dividers|linked paperclips|crossed swords|card index dividers|performing arts|open hands)$"
)
MASS = re.compile(
    r"^(bread|bacon|butter|salt|popcorn|garlic|broccoli|ginger root|leafy green|green salad|spaghetti"
    r"|sushi|sake"
    r"|oden|falafel|fondue|cooked rice|curry rice|canned food|ice|shaved ice|mate|honey pot|wood|yarn|thread"
    r"|soap|dna|confetti ball|fire|fog|tennis|bowling|badminton|lacrosse|ping pong|ice hockey|field hockey"
    r"|cooking|camping|pouring liquid|shallow pan of food|meat on bone|Santa Claus|Mrs. Claus)$"
)


def is_wanted(group: str, subgroup: str, name: str) -> bool:
    """Whether an emoji shows one thing that can stand in a scene."""
    if name in UNWANTED:
        return False
    if group in CONCRETE or name in COLOUR_SERIES or name in COSTUMES:
        return True
    return group == "People & Body" and subgroup.startswith("person") and name in PEOPLE


def name_of(name: str) -> str:
    """The name to use, e.g. "red book" where Unicode's name hides the colour, and a plain apostrophe."""
    return RENAMED.get(name, name).replace("’", "'")


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
    """`plural`, `mass` (no article) or "" for one countable thing."""
    return "plural" if PLURAL.match(name) else "mass" if MASS.match(name) else ""


def family_of(name: str) -> str:
    """The family of near-identical pictures that a subject belongs to, or ""."""
    return next((family for pattern, family in FAMILIES.items() if re.search(pattern, name)), "")
