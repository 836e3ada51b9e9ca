"""Charts as inline SVG: histograms with their rules, intervals on a scale, lines from parent to child."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from filters.calibrate import Interval
from filters.distributions import BINS, Histogram
from filters.lineage import Edge
from filters.training import Curve

WIDTH, HEIGHT = 320, 156
LEFT, RIGHT, TOP, BOTTOM = 32, 8, 28, 20
END = HEIGHT - BOTTOM
VISIBLE = 2.0  # the least height of a bar that is not empty: a lone sample must be seen
TICKS = 4

SCALE_WIDTH, SCALE_HEIGHT = 170, 22
SCALE_FROM = 0.4


def histogram_chart(drawn: Histogram) -> Markup:
    """Bars of the first part upwards, of the second downwards; the rules as dashed lines with their words.

    Heights go by the square root of counts, one scale for both parts: scores crowd at one end, and the few
    elsewhere are what one looks for.
    """
    tops = [max(int(counts.max()), 1) for counts in drawn.parts.values()]
    unit = (END - TOP) / sum(math.sqrt(top) for top in tops)
    base = TOP + unit * math.sqrt(tops[0])
    bars = [
        _bar(drawn, name, number, int(count), base, unit)
        for name, counts in drawn.parts.items()
        for number, count in enumerate(counts)
        if count
    ]
    rules = [_rule(drawn, number) for number in range(len(drawn.rules))]
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg>').format(
        WIDTH, HEIGHT, drawn.words, _axes(drawn, base, tops), _joined(bars), _joined(rules)
    )


def _bar(drawn: Histogram, name: str, number: int, count: int, base: float, unit: float) -> Markup:
    step, (low, high) = (WIDTH - LEFT - RIGHT) / BINS, drawn.span
    height = max(VISIBLE, unit * math.sqrt(count))
    y = base - height if name == next(iter(drawn.parts)) else base
    words = f"{count:,} {name} from {low + (high - low) * number / BINS:.3g} on"
    return Markup(
        '<rect class="is-{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
    ).format(name, LEFT + number * step + 0.3, y, step - 0.6, height, words)


def _axes(drawn: Histogram, base: float, tops: Sequence[int]) -> Markup:
    """The line between the parts, values below, the highest counts at the left."""
    low, high = drawn.span
    values = [low + (high - low) * number / TICKS for number in range(TICKS + 1)]
    marks = [_words(_place(drawn, value), HEIGHT - 5, "middle", f"{value:g}") for value in values]
    marks += [
        _words(LEFT - 5, y + 4, "end", f"{top:,}") for y, top in zip((TOP, END - 4), tops, strict=False)
    ]
    return Markup('<line class="axis" x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}"/>{}').format(
        LEFT, base, WIDTH - RIGHT, base, _joined(marks)
    )


def _words(x: float, y: float, anchor: str, words: str) -> Markup:
    return Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, y, anchor, words
    )


def _rule(drawn: Histogram, number: int) -> Markup:
    rule = drawn.rules[number]
    x = _place(drawn, min(max(rule.value, drawn.span[0]), drawn.span[1]))
    anchor = "start" if x < WIDTH / 2 else "end"
    return Markup(
        '<line class="rule" x1="{:.1f}" y1="{}" x2="{:.1f}" y2="{}"/>'
        '<text class="rule-words" x="{:.1f}" y="{}" text-anchor="{}">{}</text>'
    ).format(
        *(x, TOP - 8, x, END, x + (4 if anchor == "start" else -4), TOP - 10 + 12 * number),
        *(anchor, rule.words),
    )


def _place(drawn: Histogram, value: float) -> float:
    low, high = drawn.span
    return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def curve_chart(curve: Curve) -> Markup:
    """A line over steps, with its least and largest value at the left."""
    (first, _), (last, _) = curve.points[0], curve.points[-1]
    low, high = curve.span
    unit_x, unit_y = (WIDTH - LEFT - 14) / max(last - first, 1), (END - 12) / max(high - low, 1e-12)
    line = " ".join(
        f"{LEFT + 10 + (x - first) * unit_x:.1f},{END - (y - low) * unit_y:.1f}" for x, y in curve.points
    )
    marks = [
        _words(LEFT + 6, 16, "end", f"{high:.3g}"),
        _words(LEFT + 6, END, "end", f"{low:.3g}"),
        _words(LEFT + 10, HEIGHT - 5, "start", f"{first:g}"),
        _words(WIDTH - 6, HEIGHT - 5, "end", f"step {last:g}"),
    ]
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}, from {:.3g} to {:.3g}">'
        '<line class="axis" x1="{}" y1="{}" x2="{}" y2="{}"/><polyline class="curve" points="{}"/>{}</svg>'
    ).format(
        *(WIDTH, HEIGHT, curve.title, curve.points[0][1], curve.points[-1][1]),
        *(LEFT + 10, END, WIDTH - 4, END, line, _joined(marks)),
    )


def interval_chart(interval: Interval) -> Markup:
    """A dot with its interval on a scale from `SCALE_FROM` to 1, chance (0.5) marked."""

    def place(value: float) -> float:
        return 6 + (max(value, SCALE_FROM) - SCALE_FROM) / (1 - SCALE_FROM) * (SCALE_WIDTH - 12)

    words = f"{interval.value:.3f}, 95 % interval {interval.low:.3f} to {interval.high:.3f}"
    middle = SCALE_HEIGHT / 2
    grid = [
        Markup('<line class="{}" x1="{:.1f}" y1="0" x2="{:.1f}" y2="{}"/>').format(
            "chance" if value == 0.5 else "grid", place(value), place(value), SCALE_HEIGHT
        )
        for value in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    ]
    return Markup(
        '<svg class="scale" viewBox="0 0 {} {}" role="img" aria-label="{}">{}'
        '<line class="whisker" x1="{:.1f}" y1="{}" x2="{:.1f}" y2="{}"/>'
        '<circle class="dot" cx="{:.1f}" cy="{}" r="5"/></svg>'
    ).format(
        *(SCALE_WIDTH, SCALE_HEIGHT, words, _joined(grid)),
        *(place(interval.low), middle, place(interval.high), middle, place(interval.value), middle),
    )


def lanes_chart(edges: Sequence[Edge], rows: Mapping[str, int]) -> Markup:
    """Lines from parent to child beside rows of one height; stretched to whatever height they come to.

    Args:
        edges: to draw; those that hand on scores are dashed.
        rows: the row of each directory.
    """
    longest = max((rows[edge.child] - rows[edge.parent] for edge in edges), default=1)
    lines = [_lane(edge, rows, longest) for edge in edges]
    return Markup(
        '<svg class="lanes" viewBox="0 0 100 {}" preserveAspectRatio="none" aria-hidden="true">{}</svg>'
    ).format(len(rows) * 100, _joined(lines))


def _lane(edge: Edge, rows: Mapping[str, int], longest: int) -> Markup:
    start, end = rows[edge.parent] * 100 + 50, rows[edge.child] * 100 + 50
    span = rows[edge.child] - rows[edge.parent]
    bulge = 100 - 124 * (span / longest) ** 0.7
    return Markup('<path class="lane{}" d="M100 {} C {:.1f} {} {:.1f} {} 100 {}"/>').format(
        " is-scores" if edge.role == "scores" else "",
        *(start, bulge, start + 25, bulge, end - 25, end),
    )


def _joined(parts: Sequence[Markup]) -> Markup:
    return Markup("").join(escape(part) for part in parts)
