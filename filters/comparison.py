"""Evaluations of one benchmark side by side, and how each differs from the first over the cases of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from filters.benchmarks import COM, COMPOSITION, DIS, OVERALL, SHOWN, Figure, Figures, figures, paired
from filters.evaluated import Evaluated

NOTE = (
    "Scores are one judge's answers to our wording, on the benchmark's scale and by its formulas: they "
    "compare models under the same judge, and do not compare with published tables."
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of every evaluation.

    Attributes:
        heading: of the column.
        measure: that it is the mean of; "" for Overall.
        subtask: that it is of; None for a total.
    """

    heading: str
    measure: str
    subtask: str | None = None

    def of(self, found: Figures) -> Figure | None:
        """The figure; None where it was not measured."""
        if self.subtask is None:
            return found.totals.get(self.heading)
        return found.subtasks.get(self.subtask, {}).get(self.measure)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An evaluation less the first one, over the cases of both.

    Attributes:
        label: of the evaluation.
        against: of the first one.
        cases: of both, with a composition score in each.
        changed: cases of both that say something else in each, so that their pictures do not compare.
        figures: of the cases' differences; None where the two do not compare.
        why: they do not.
    """

    label: str
    against: str
    cases: int
    changed: int
    figures: Figures | None
    why: str = ""

    @property
    def words(self) -> str:
        """How many cases it is of, or why there is none."""
        if self.why:
            return f"not compared: {self.why}"
        changed = f", {self.changed:,} more say something else in each" if self.changed else ""
        return f"{self.cases:,} cases of both{changed}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Evaluations that share cases, by label."""

    evaluations: Mapping[str, Evaluated]

    @property
    def columns(self) -> list[Column]:
        """The totals, then every subtask's composition, then every subtask's distinction."""
        totals = {OVERALL: "", COM: COMPOSITION, DIS: SHOWN}
        found = [Column(heading=total, measure=measure) for total, measure in totals.items()]
        return [*found, *self.of(COMPOSITION), *self.of(SHOWN)]

    def of(self, measure: str) -> list[Column]:
        """Of every subtask in which an evaluation has it, by name."""
        subtasks = [each.figures.subtasks for each in self.evaluations.values()]
        names = {name for found in subtasks for name, held in found.items() if measure in held}
        return [Column(heading=name or "unnamed", measure=measure, subtask=name) for name in sorted(names)]

    @property
    def differences(self) -> list[Difference]:
        """Of each evaluation but the first."""
        (first, base), *others = self.evaluations.items()
        return [_difference(label, other, first, base) for label, other in others]


def _difference(label: str, other: Evaluated, against: str, base: Evaluated) -> Difference:
    pairs = paired(base.cases, other.cases)
    why = _why_not(base.asked, other.asked)
    found = None if why else figures(pairs, base.resamples, base.seed)
    changed = len(set(base.cases.places) & set(other.cases.places)) - len(pairs.places)
    cases = pairs.count(COMPOSITION)
    return Difference(label=label, against=against, cases=cases, changed=changed, figures=found, why=why)


def _why_not(one: Mapping[str, object], two: Mapping[str, object]) -> str:
    """Which answers are another judge's, or to another question; "" where both asked the same.

    >>> _why_not({"shown": 1}, {"shown": 2, "prompt_following": 3})
    'another judge or wording of shown'
    """
    other = [role for role in one if role in two and one[role] != two[role]]
    return f"another judge or wording of {', '.join(other).replace('_', ' ')}" if other else ""


def comparisons(evaluations: Mapping[str, Evaluated]) -> list[Comparison]:
    """Evaluations by label, those together that share a case with the first of their group."""
    groups: list[dict[str, Evaluated]] = []
    for label, evaluated in evaluations.items():
        group = next((g for g in groups if _shares_cases(next(iter(g.values())), evaluated)), None)
        if group is None:
            groups.append({label: evaluated})
        else:
            group[label] = evaluated
    return [Comparison(evaluations=group) for group in groups]


def _shares_cases(one: Evaluated, two: Evaluated) -> bool:
    return one.by == two.by and bool(paired(one.cases, two.cases).places)


def signed_words(figure: Figure) -> str:
    """A difference with its interval, where that is known.

    >>> signed_words(Figure(value=-0.125, low=-0.3, high=0.05, n=9, fewest=4))
    '-0.12 (-0.30 to +0.05)'
    """
    spread = f" ({figure.low:+.2f} to {figure.high:+.2f})" if figure.has_interval else ""
    return f"{figure.value:+.2f}{spread}"


def sides(found: Sequence[Figure | None]) -> list[str]:
    """Of differences "good", "bad", or "" where the interval holds 0 or there is none.

    >>> sides([Figure(value=1, low=low, high=2, n=9, fewest=4) for low in (0.5, 0, -1)])
    ['good', '', '']
    >>> sides([Figure(value=-1, low=-2, high=high, n=9, fewest=4) for high in (-0.5, 0)] + [None])
    ['bad', '', '']
    """
    return [_side(figure) if figure and figure.has_interval else "" for figure in found]


def _side(figure: Figure) -> str:
    if figure.low <= 0 <= figure.high:
        return ""
    return "good" if figure.value > 0 else "bad"
