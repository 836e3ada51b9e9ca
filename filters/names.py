"""Names of a closed catalogue: how each looks, what it can be called; vendored by tools/fit_checks.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]
UNKNOWN = 0.0


@dataclass(frozen=True)
class Likeness:
    """How like a thing is to what it is claimed to be.

    Attributes:
        own: the best cosine to a picture of that name.
        lead: by how much that is above the best of any other name.
    """

    own: float
    lead: float


class Names:
    """The catalogue's names with a vector each; a name may stand for several designs."""

    def __init__(self, table: Mapping[str, NDArray[np.generic]]) -> None:
        self._basis = table["basis"].astype(np.float32)
        self._vectors = table["vectors"].astype(np.float32)
        self._names = [str(name) for name in table["names"]]
        self._nouns = [frozenset(str(nouns).split("/")) for nouns in table["nouns"]]
        self._colours = [str(colour) for colour in table["colours"]]
        self._groups = np.array([str(group) for group in table["groups"]])
        self._places: dict[str, list[int]] = {}
        for place, name in enumerate(self._names):
            self._places.setdefault(name, []).append(place)

    @classmethod
    def load(cls, path: Path) -> Names:
        """The vendored table; holds numbers and words only."""
        with np.load(path, allow_pickle=False) as found:
            return cls({name: found[name] for name in found.files})

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def nouns(self, name: str) -> frozenset[str]:
        """All that `name` can be called; empty where it is unknown."""
        return frozenset().union(*(self._nouns[place] for place in self._places.get(name, ())))

    def colour(self, name: str) -> str:
        """Its one colour; "" where it has none or is unknown."""
        return next((self._colours[place] for place in self._places.get(name, ())), "")

    def likeness(self, embedding: Array, name: str) -> Likeness:
        """How like an embedding (of `filters.sight`) is to a known name; things alike in all but colour are
        not told apart here."""
        shown = embedding @ self._basis
        cosines = self._vectors @ (shown / max(float(np.linalg.norm(shown)), 1e-6))
        places = self._places[name]
        own = float(cosines[places].max())
        others = ~np.isin(self._groups, self._groups[places])
        return Likeness(own=own, lead=own - float(cosines[others].max()))
