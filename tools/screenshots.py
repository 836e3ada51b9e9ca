"""Takes the README's pictures of a report: `python -m tools.screenshots PAGE docs/images`."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

WIDTH_PX, TALLEST_PX, MARGIN_PX = 1280, 9000, 24
QUALITY = 82
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)

TABLES = ".scroll ~ .scroll ~ * { display: none }"  # of a benchmark's section: figures and differences


@dataclass(frozen=True)
class Shot:
    """One picture: which sections of the page it shows, and rules that hide some of those."""

    name: str
    sections: tuple[str, ...]
    hides: str = ""
    width_px: int = WIDTH_PX


def shots(html: str) -> list[Shot]:
    """The README's pictures of a demo's page, or that of a page with a benchmark."""
    sections = sections_of(html)
    if "benchmark-1" in sections:
        return [Shot("report-benchmark", ("benchmark-1",), hides=TABLES)]
    return demo_shots(sections[3 : sections.index("judge")])


def sections_of(html: str) -> list[str]:
    """Their names, in order."""
    return re.findall(r'<section aria-labelledby="([^"]+)"', html)


def demo_shots(selections: Sequence[str]) -> list[Shot]:
    """The gallery shows refusals of the first selection and what the last one kept."""
    judge = "#judge ~ h3 ~ h3, #judge ~ h3 ~ h3 ~ * { display: none }"
    looks = {selections[0]: "Refused", selections[-1]: "Kept"}
    gallery = ".card:nth-child(n + 4) { display: none }" + "\n".join(
        f'section[aria-labelledby="{name}"] > :not(h2, [data-of="{look}"]) {{ display: none }}'
        for name, look in looks.items()
    )
    return [
        Shot("report-funnel", ("funnel", "books")),
        Shot("report-gallery", tuple(looks), hides=gallery, width_px=960),
        Shot("report-truth", ("judge",), hides=judge),
    ]


def take(html: str, shot: Shot) -> Image.Image:
    """The page with nothing but the shot's sections, cut to what is there."""
    hidden = [name for name in sections_of(html) if name not in shot.sections]
    rules = [f'section[aria-labelledby="{name}"] {{ display: none }}' for name in hidden]
    rules += ["footer { display: none }", shot.hides]
    rules += [] if "funnel" in shot.sections else ["header.top { display: none } h2 { margin-top: 22px }"]
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder) / "page.html", Path(folder) / "page.png"
        page.write_text(html.replace("</style>", "\n".join(rules) + "</style>"), encoding="utf-8")
        command = ["chromium", *OPTIONS, f"--user-data-dir={folder}", f"--screenshot={picture}"]
        size = f"--window-size={shot.width_px},{TALLEST_PX}"
        subprocess.run([*command, size, page.as_uri()], check=True, capture_output=True, timeout=120)
        return cut(Image.open(picture).convert("RGB"))


def cut(image: Image.Image) -> Image.Image:
    """Without the empty page below."""
    blank = Image.new("RGB", image.size, image.getpixel((1, 1)))
    box = ImageChops.difference(image, blank).getbbox() or (0, 0, *image.size)
    return image.crop((0, 0, image.width, min(image.height, box[3] + MARGIN_PX)))


def save(image: Image.Image, path: Path) -> None:
    """As WebP: pictures and letters both stay sharp, in a few tens of KB."""
    image.save(path, quality=QUALITY, method=6)


def main() -> None:
    """Take every picture."""
    page, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    html = page.read_text(encoding="utf-8")
    for shot in shots(html):
        path = folder / f"{shot.name}.webp"
        save(take(html, shot), path)
        print(path, Image.open(path).size, path.stat().st_size)


if __name__ == "__main__":
    main()
