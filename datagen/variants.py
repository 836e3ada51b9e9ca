"""Variants: what is wanted of a parent, and what a method made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from shards.sample import Json, Sample

Method: TypeAlias = Literal["swap", "add"]
Relation: TypeAlias = Literal["cross", "intra"]
CLEAN = "none"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One variant of a parent, as it was planned.

    Attributes:
        key: of what is to be made.
        method: how.
        relation: between the chosen candidate and the others: `cross` if its name alone picks it, `intra`
            if another one can be called the same.
        turn: how often the parent served this method and relation before.
        may_use_position: whether the phrase may rest on a position alone.
        fault: what is to be wrong; "none" for nothing.
    """

    key: str
    method: Method
    relation: Relation
    turn: int = 0
    may_use_position: bool = True
    fault: str = CLEAN

    def as_json(self) -> Mapping[str, Json]:
        """For a plan."""
        return {
            "method": self.method,
            "relation": self.relation,
            "turn": self.turn,
            "position": self.may_use_position,
            "fault": self.fault,
        }


def read_wanted(key: str, spec: Mapping[str, Json]) -> Wanted:
    """What `as_json` wrote.

    >>> wanted = Wanted(key="multi-0", method="add", relation="intra")
    >>> read_wanted("multi-0", wanted.as_json()) == wanted
    True
    """
    return Wanted(
        key=key,
        method=cast(Method, spec["method"]),
        relation=cast(Relation, spec["relation"]),
        turn=cast(int, spec["turn"]),
        may_use_position=bool(spec["position"]),
        fault=str(spec["fault"]),
    )


@dataclass(frozen=True, kw_only=True)
class Made:
    """A variant before its provenance is known.

    Attributes:
        sample: with the parent's provenance.
        case: its case.
        origin: how it was made.
        truth: what its pictures really show.
    """

    sample: Sample
    case: str
    origin: Mapping[str, Json]
    truth: Mapping[str, Json]
