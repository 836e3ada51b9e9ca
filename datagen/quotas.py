"""Exact shares: which of a row of planned samples is of which kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import ceil


def normal(weights: Mapping[str, float]) -> dict[str, Fraction]:
    """Weights as shares of 1.

    >>> normal({"a": 3, "b": 1})
    {'a': Fraction(3, 4), 'b': Fraction(1, 4)}
    """
    total = sum(Fraction(str(weight)) for weight in weights.values())
    return {name: Fraction(str(weight)) / total for name, weight in weights.items()}


def share_out(shares: Mapping[str, float | Fraction], rest: str) -> Iterator[str]:
    """A name for each sample, endlessly, in the given shares; `rest` takes what they leave.

    Any first n hold share x n of each name, to within one, and exactly where that is whole. So a plan that
    grows keeps what it had. Earliest deadline first: the j-th of a name is due when share x n reaches j.

    >>> from itertools import islice
    >>> list(islice(share_out({"a": 0.25, "b": 0.25}, rest="-"), 8))
    ['-', 'a', 'b', '-', '-', 'a', 'b', '-']

    Source: S. Baruah et al., "Proportionate progress: a notion of fairness in resource allocation", 1996.
    """
    exact = {name: Fraction(str(share)) for name, share in shares.items() if share > 0}
    left = Fraction(1) - sum(exact.values(), Fraction(0))
    if left > 0:
        exact[rest] = left
    given = dict.fromkeys(exact, 0)
    number = 0
    while True:
        ready = [name for name in exact if given[name] <= exact[name] * number]
        name = min(ready, key=lambda name: ceil((given[name] + 1) / exact[name]))
        given[name] += 1
        number += 1
        yield name
