"""A page of a training run: loss curves, the bridge, held-out losses, pictures. One file, no script."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, HEIGHT, LEFT, BOTTOM = 460, 180, 46, 22
PAGE = "page.html"
MOST_PX = 288  # height of a picture in the page, which shows half as many
GIVEN = "given"  # in place of a step: a sample's references and target, as they are
COLOURS = ("#3f77c9", "#c2571a")
CURVES = (
    {"loss": "loss"},
    {"norm": "gradient norm"},
    {"bridge_relevance": "bridge: mean relevance"},
    {
        "bridge_keep_frac": "bridge: share of reference tokens kept",
        "bridge_hidden_frac": "share of references hidden",
    },
)
STYLE = """
:root { color-scheme: light dark; --line: light-dark(#ddd, #3a3f45); --dim: light-dark(#555, #a3a9b0);
        --plane: light-dark(#fafafa, #1d2126) }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1000px; margin: 2rem auto; padding: 0 1rem;
       color: light-dark(#1b1b1b, #e6e6e6); background: light-dark(#fff, #131619) }
h2 { margin: 2.2rem 0 .6rem; border-top: 1px solid var(--line); padding-top: 1rem }
figure { display: inline-block; margin: 0 1rem 1rem 0; max-width: 100% }
figcaption { color: var(--dim); font-size: 13px }
.wide { overflow-x: auto }
td, th { padding: .15rem .8rem; text-align: right; font-weight: normal; white-space: nowrap }
img { height: 144px; margin-right: 4px; max-width: 100%; object-fit: contain }
svg { background: var(--plane); max-width: 100%; height: auto }
text { fill: var(--dim) }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px }
"""

Line = Mapping[str, Any]


def write_page(out: Path, stages: Sequence[str]) -> Path:
    """Write `page.html` over the stages that have begun, and return where it is."""
    parts = [_stage(out / name, name) for name in stages if (out / name / "log.jsonl").exists()]
    page = out / PAGE
    title = "Training"
    page.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>{title}</title><style>{STYLE}</style>"
        f"<h1>{title}</h1>{''.join(parts)}</html>\n",
        "utf-8",
    )
    return page


def read_log(path: Path) -> dict[str, list[dict[str, Any]]]:
    """A log's lines by kind. After a restart a step is told again; its last telling counts."""
    by_kind: dict[str, dict[int, dict[str, Any]]] = {}
    for text in path.read_text("utf-8").splitlines():
        line = json.loads(text)
        by_kind.setdefault(line["kind"], {})[line["step"]] = line
    return {kind: [lines[step] for step in sorted(lines)] for kind, lines in by_kind.items()}


def _stage(folder: Path, name: str) -> str:
    log = read_log(folder / "log.jsonl")
    lines, held = log.get("train", []), log.get("held", [])
    curves = "".join(_curve(names, lines) for names in CURVES)
    last = lines[-1] if lines else {}
    facts = f"{last.get('step', 0)} steps, {last.get('tokens_per_s', 0):,.0f} tokens a second at the end"
    return f"<h2>{escape(name)}</h2><p>{facts}</p>{curves}{_held(held)}{_pictures(folder / 'samples')}"


def _curve(names: Mapping[str, str], lines: Sequence[Line]) -> str:
    """A figure of what these names of the log have, each with its words below."""
    series = {
        name: [(line["step"], line[name]) for line in lines if line.get(name) is not None] for name in names
    }
    points = [point for found in series.values() for point in found]
    if len(points) < 2:
        return ""
    low, high = min(y for _, y in points), max(y for _, y in points)
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    drawn = "".join(
        f'<polyline fill="none" stroke="{colour}" points="{_path(found, (first, last), (low, high))}"/>'
        for colour, found in zip(COLOURS, series.values(), strict=False)
    )
    labels = (
        f'<text x="2" y="12">{high:.3g}</text><text x="2" y="{HEIGHT - BOTTOM}">{low:.3g}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 4}">{first}</text>'
        f'<text x="{WIDTH - 40}" y="{HEIGHT - 4}">{last}</text>'
    )
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" font-size="11">{labels}{drawn}</svg>'
    keys = (f'<span class="key" style="background:{colour}"></span> ' for colour in COLOURS)
    told = ", ".join(
        f"{key if len(names) > 1 else ''}{escape(words)}"
        for key, words in zip(keys, names.values(), strict=False)
    )
    return f"<figure>{svg}<figcaption>{told}</figcaption></figure>"


def _path(points: Sequence[tuple[int, float]], across: tuple[int, int], up: tuple[float, float]) -> str:
    wide, tall = max(across[1] - across[0], 1), max(up[1] - up[0], 1e-12)
    return " ".join(
        f"{LEFT + (WIDTH - LEFT - 6) * (x - across[0]) / wide:.1f},"
        f"{(HEIGHT - BOTTOM) - (HEIGHT - BOTTOM - 8) * (y - up[0]) / tall:.1f}"
        for x, y in points
    )


def _held(held: Sequence[Line]) -> str:
    """The last held-out losses: a row without the bridge, one with it, a column a bin."""
    if not held:
        return ""
    last = held[-1]
    bins = [name for name in last if name.startswith("loss")]
    rows = []
    for title, prefix in (("without bridge", ""), ("with bridge", "bridge_")):
        cells = [last.get(f"{prefix}{name}") for name in bins]
        if any(cell is not None for cell in cells):
            rows.append(f"<tr><th>{title}</th>{''.join(_cell(cell) for cell in cells)}</tr>")
    head = "".join(f"<th>{escape(_bin_name(name))}</th>" for name in bins)
    first = f"<tr><th>held out, step {last['step']}{_weights(last)}</th>{head}</tr>"
    return f"<div class=wide><table>{first}{''.join(rows)}</table></div>"


def _weights(line: Line) -> str:
    return f" ({escape(str(line['weights']))} weights)" if "weights" in line else ""


def _cell(value: float | None) -> str:
    return "<td></td>" if value is None else f"<td>{value:.4f}</td>"


def _bin_name(name: str) -> str:
    return name.replace("loss_t", "t = ").replace("loss_refs", "refs ").replace("loss", "all")


def _pictures(folder: Path) -> str:
    """Sample images, a figure a step."""
    steps: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.png")):
        steps.setdefault(path.name.partition("-")[0], []).append(path)
    return "".join(
        f"<figure>{''.join(map(_picture, steps[step]))}<figcaption>{_when(step)}</figcaption></figure>"
        for step in sorted(steps, key=lambda step: (step != GIVEN, step))
    )


def _when(step: str) -> str:
    return "references, then target" if step == GIVEN else f"after step {int(step)}"


def _picture(path: Path) -> str:
    kind, data = _shown(path)
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<img src="{source}" alt="{escape(path.stem)}" title="{escape(path.stem)}">'


def _shown(path: Path) -> tuple[str, bytes]:
    """A picture as the page holds it: a file of a few hundred pixels as it is, a larger one scaled down."""
    with Image.open(path) as image:
        if image.height <= MOST_PX:
            return "png", path.read_bytes()
        # Four a validation at 1024 px are hundreds of megabytes over a stage of 6000 steps.
        small, file = image.convert("RGB"), io.BytesIO()
        small.thumbnail((image.width, MOST_PX))
        small.save(file, "JPEG", quality=85)
    return "jpeg", file.getvalue()
