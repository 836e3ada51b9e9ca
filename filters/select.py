"""Selection: scores and a policy become keep and reason; opens no image and calls no model."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator, model_validator

from filters.best import Flags, Floats, Numbers, Ranked, rank
from filters.checks import ALL, CHECKS, LIKENESS, POSITION
from filters.rubrics import load_questions
from filters.scored import BETWEEN, Samples, SelectError, read_samples, read_scores
from shards.books import Books
from shards.driver_step import DriverStep, Input, Result
from shards.manifest import record
from shards.sample import Json
from shards.selection import FILE, write_selection
from shards.settings import RUN
from shards.storage import Storage

VALUES = ("expected", "mode", "label_mass")

# Policies that a recipe names instead of writing their rules.
POLICIES: Mapping[str, Mapping[str, Json]] = {
    # arXiv 2512.12675, 5.1 and B.2: one overall score of 0 to 4, only 4 is kept.
    "paper": {"min_scores": {"consistency.mode": 4}},
    # The best N by expected value; following breaks near-ties of a judge that gives 4 to most. Its least
    # values keep out what is plainly wrong where N is larger than what is good.
    "refined": {
        "min_scores": {"consistency": 3, "instruction_following": 3},
        "best": 22_000,
        "order": ["consistency", "instruction_following"],
    },
    # Every check of `verify` passed, each answer that it rests on being on the right side.
    "verified": {"min_scores": dict.fromkeys(CHECKS, 0.5), "order": [ALL]},
}
KEPT = ""
YES = 0.5  # above it a score of 0 to 1 says so
ALL_THERE_ARE = (1 << 63) - 1


class SelectConfig(DriverStep):
    """Settings of `select`: a policy over scores.

    A score is named by its question, with `.mode` or `.label_mass` for those columns instead of the expected
    value. A question asked of every reference counts by its worst row: each row must pass.
    """

    VERSION: ClassVar[int] = 1

    policy: Annotated[Literal["paper", "refined", "verified"] | None, Field(**RUN)] = Field(
        default=None,
        description=f"rules by name, of {', '.join(POLICIES)}; what is set beside it counts",
    )
    min_scores: dict[str, float] = Field(default={}, description="the least value that is kept, by score")
    max_scores: dict[str, float] = Field(default={}, description="the largest value that is kept, by score")
    max_share: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={},
        max_length=1,
        description="a yes-or-no score: the share of what is kept that may have it; of those the best stay",
    )
    best: Annotated[int, Field(ge=1)] | dict[str, Annotated[int, Field(ge=0)]] | None = Field(
        default=None,
        description="keep at most so many, the best by `order`; with `by`, of each group, or by group; of "
        "several columns, groups of groups",
    )
    order: tuple[str, ...] = Field(default=(), description="scores that say what is better, first one first")
    by: str | tuple[str, ...] | None = Field(
        default=None, description="index column, or several; `best` then counts in each of their groups"
    )
    exact: bool = Field(
        default=False, description="whether a group that holds fewer than `best` ends the step"
    )

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        """The rules of a named policy under those that are set; a rule set beside it takes its place."""
        named = value.get("policy") if isinstance(value, Mapping) else None
        if not isinstance(named, str) or named not in POLICIES:
            return value
        return {**POLICIES[named], **cast("Mapping[str, Json]", value)}

    @field_validator("best", mode="before")
    @classmethod
    def _flatten(cls, best: object) -> object:
        """Groups of groups as one group each, named as `read_samples` names them."""
        return _flat(best) if isinstance(best, Mapping) else best

    @model_validator(mode="after")
    def _complete(self) -> SelectConfig:
        if not (self.min_scores or self.max_scores or self.max_share or self.best):
            raise ValueError("a rule: min_scores, max_scores, max_share or best")
        if isinstance(self.best, dict) and not self.by:
            raise ValueError("`by` beside `best` by group: which column names the groups")
        if self.by and not self.best:
            raise ValueError("`best` beside `by`: how many of each group")
        if self.exact and not self.best:
            raise ValueError("`best` beside `exact`: how many there are to be")
        if (self.best or self.max_share) and not self.order:
            rule = "best" if self.best else "max_share"
            raise ValueError(f"`order` beside `{rule}`: which scores say what is better")
        self._check_groups()
        self._check_scores()
        return self

    def _check_groups(self) -> None:
        if not isinstance(self.best, dict) or len(self.columns) < 2:
            return
        for group in self.best:
            if group.count(BETWEEN) != len(self.columns) - 1:
                told = BETWEEN.join(self.columns)
                raise ValueError(f"best: expected groups of {told}, one inside the other, got {group!r}")

    def _check_scores(self) -> None:
        wrong = [*self._misnamed(), *self._out_of_scale(), *self._no_kinds()]
        if wrong:
            raise ValueError("; ".join(wrong))

    def _misnamed(self) -> Iterator[str]:
        for name in self.scores:
            if name.partition(".")[2] not in ("", *VALUES):
                parts = ", ".join(VALUES)
                yield f"expected a score as question or question.{{{parts}}}, got {name!r}"

    def _out_of_scale(self) -> Iterator[str]:
        for rule, bounds in (("min_scores", self.min_scores), ("max_scores", self.max_scores)):
            for name, value in bounds.items():
                low, high = _scale(name)
                if not low <= value <= high:
                    words = f"expected {low:g} to {high:g}, got {value:g}: it would decide nothing"
                    yield f"{rule}.{name}: {words}"

    def _no_kinds(self) -> Iterator[str]:
        for name in self.max_share:
            if _scale(name) not in ((0, 1), (-math.inf, math.inf)):
                low, high = _scale(name)
                yield f"max_share.{name}: expected a score of 0 or 1, got one of {low:g} to {high:g}"

    def computed(self) -> dict[str, Json]:
        """The settings; a share only where one is set."""
        return {n: value for n, value in super().computed().items() if value or n != "max_share"}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it groups by."""
        return (self.by,) if isinstance(self.by, str) else self.by or ()

    @property
    def scores(self) -> list[str]:
        """Every score that the policy reads, once."""
        return list(dict.fromkeys([*self.min_scores, *self.max_scores, *self.max_share, *self.order]))

    def reads_tables(self) -> Sequence[str]:
        """The questions of its scores."""
        return [name.partition(".")[0] for name in self.scores]

    def make(self, inputs: Mapping[str, Sequence[Input]], target: Storage) -> Result:
        """Write `selection.parquet`."""
        samples, table = self.decide(inputs)
        short = shortfalls(samples, table, self) if self.exact else ()
        if short:
            raise ShortfallError(short)
        with target.scratch() as path:
            write_selection(table, path)
            target.publish(path, FILE)
        return Result(files={FILE: record(target, FILE)}, books=books(table))

    def decide(self, inputs: Mapping[str, Sequence[Input]]) -> tuple[Samples, pa.Table]:
        """The samples, and what is decided of each."""
        (of,) = inputs["input"]
        samples = read_samples(of, self.columns)
        scores = read_scores([i.storage for i in inputs["scores"]], self.scores)
        return samples, select(samples, scores, self)

    def most(self, group: str | None) -> int:
        """How many are kept of a group at most."""
        return self.best.get(group or "", 0) if isinstance(self.best, dict) else self.best or ALL_THERE_ARE


def _flat(groups: Mapping[str, object]) -> dict[str, object]:
    """Groups of groups by one name each.

    >>> _flat({"single": {"object": 5, "scene": 2}, "multi": 3})
    {'single/object': 5, 'single/scene': 2, 'multi': 3}
    """
    flat: dict[str, object] = {}
    for name, found in groups.items():
        inner = _flat(found) if isinstance(found, Mapping) else {"": found}
        flat |= {f"{name}{BETWEEN}{each}" if each else name: value for each, value in inner.items()}
    return flat


def _scale(score: str) -> tuple[float, float]:
    """The least and the largest value a score can have; no bounds for a question of another rubric."""
    question, _, column = score.partition(".")
    if column == "label_mass" or question in (*CHECKS, ALL, LIKENESS, POSITION):
        return 0, 1
    asked = load_questions().get(question)
    return (min(asked.labels.values()), max(asked.labels.values())) if asked else (-math.inf, math.inf)


def select(samples: Samples, scores: Mapping[str, pa.Table], policy: SelectConfig) -> pa.Table:
    """Decide every sample: key, keep, and the first rule that rejected it.

    Raises:
        SelectError: a sample has no score.
    """
    worst = {name: worst_of(samples, name, table) for name, table in scores.items()}
    reasons, of_sample = [KEPT], np.zeros(len(samples.keys), dtype=np.int32)
    for reason, is_rejected in _rules(worst, policy):
        of_sample[is_rejected & (of_sample == 0)] = len(reasons)
        reasons.append(reason)
    if policy.best or policy.max_share:
        for reason, places in _beyond(samples, worst, policy, of_sample == 0):
            of_sample[places] = len(reasons)
            reasons.append(reason)
    return pa.table(
        {
            "key": samples.keys,
            "keep": pa.array(of_sample == 0),
            "reason": pa.array(reasons, pa.string()).take(pa.array(of_sample)),
        }
    )


@dataclass(frozen=True)
class Worst:
    """Of each sample its lowest and highest value, and whether any of its replies could not be read."""

    low: Floats
    high: Floats
    unreadable: Flags


def worst_of(samples: Samples, name: str, table: pa.Table) -> Worst:
    """What counts of a score for each sample: its rows' extremes.

    Raises:
        SelectError: a sample has no score, or a row that is ok no value.
    """
    keys = table.column("key").combine_chunks()
    is_in_order = keys.equals(
        samples.keys
    )  # as most tables are: looking each key up costs half of a decision
    places = pa.array(np.arange(len(keys))) if is_in_order else pc.index_in(keys, value_set=samples.keys)
    ours = places.is_valid().to_numpy(zero_copy_only=False)
    at = places.fill_null(0).to_numpy(zero_copy_only=False)[ours]
    values = table.column("value").to_numpy()[ours].astype(np.float64)
    is_ok = pc.equal(table.column("status"), "ok").to_numpy()[ours]
    if np.isnan(values[is_ok]).any():
        key = samples.keys[int(at[is_ok][np.isnan(values[is_ok])][0])].as_py()
        raise SelectError(
            f"score {name!r}: expected a value where the status is ok, got none for {key!r}; judge it again"
        )
    count = np.bincount(at, minlength=len(samples.keys))
    if (count == 0).any():
        key = samples.keys[int(np.argmin(count))].as_py()
        raise SelectError(
            f"score {name!r}: expected a row for every sample, got none for {key!r} and "
            f"{int((count == 0).sum()) - 1} more; judge the same directory"
        )
    low, high = np.full(len(count), np.inf), np.full(len(count), -np.inf)
    np.minimum.at(low, at[is_ok], values[is_ok])
    np.maximum.at(high, at[is_ok], values[is_ok])
    unreadable = np.zeros(len(count), dtype=np.bool_)
    unreadable[at[~is_ok]] = True
    return Worst(low, high, unreadable)


def _rules(worst: Mapping[str, Worst], policy: SelectConfig) -> Iterator[tuple[str, Flags]]:
    for name, column in worst.items():
        yield f"{name} unreadable", column.unreadable
    for name, least in policy.min_scores.items():
        yield f"{name} < {least:g}", worst[name].low < least
    for name, largest in policy.max_scores.items():
        yield f"{name} > {largest:g}", worst[name].high > largest


def _beyond(
    samples: Samples, worst: Mapping[str, Worst], policy: SelectConfig, is_kept: Flags
) -> Iterator[tuple[str, Numbers]]:
    """Of the kept samples the places that a share or `best` leaves out, by reason."""
    ranked = _ranked(samples, worst, policy, np.flatnonzero(is_kept))
    may_be = np.ones(len(ranked.places), dtype=np.bool_)
    for name, share in policy.max_share.items():
        may_be = ranked.within_share(worst[name].high[ranked.places] > YES, share)
        yield f"{name} in more than {share:g} of the kept", ranked.places[~may_be]
    is_left = may_be & ~ranked.taken(may_be)
    most = ranked.most[ranked.group]
    for each in np.unique(most[is_left]):
        yield f"not among the best {each}", ranked.places[is_left & (most == each)]


def _ranked(samples: Samples, worst: Mapping[str, Worst], policy: SelectConfig, places: Numbers) -> Ranked:
    """Some samples by group and `order`; ties are broken by a hash of the key."""
    groups = samples.groups.dictionary_encode(null_encoding="encode")
    names = groups.dictionary.to_pylist()
    if isinstance(policy.best, dict) and names and not set(policy.best) & set(names):
        known, named = ", ".join(map(str, names)), ", ".join(policy.best)
        column = BETWEEN.join(policy.columns)
        raise SelectError(f"best: expected groups that {column} has ({known}), got {named}")
    return rank(
        places,
        [worst[name].low[places] for name in policy.order],
        [
            hashlib.blake2b(key.encode(), digest_size=8).digest()
            for key in samples.keys.take(places).to_pylist()
        ],
        groups.indices.to_numpy()[places],
        np.array([policy.most(name) for name in names], dtype=np.int64),
    )


@dataclass(frozen=True)
class Shortfall:
    """A group of which fewer were kept than there are to be.

    Attributes:
        group: its name; "" where there are no groups.
        wanted, kept: samples.
        read: samples of the group that were decided.
    """

    group: str
    wanted: int
    kept: int
    read: int

    @property
    def words(self) -> str:
        """E.g. "character+object: 12 of 20, 12 of 30 samples passed (40 %)"."""
        share = f" ({self.kept / self.read:.0%})" if self.read else ""
        name = f"{self.group}: " if self.group else ""
        return f"{name}{self.kept} of {self.wanted}, {self.kept} of {self.read} samples passed{share}"


class ShortfallError(SelectError):
    """Fewer samples than there are to be."""

    def __init__(self, short: Sequence[Shortfall]) -> None:
        told = "\n".join(f"  {each.words}" for each in short)
        super().__init__(
            f"select: expected exactly `best` samples, got fewer:\n{told}\n"
            "`bakery topup` plans as many more as that yield asks for"
        )
        self.short = tuple(short)


def shortfalls(samples: Samples, table: pa.Table, policy: SelectConfig) -> list[Shortfall]:
    """Groups of which fewer were kept than `best`, by name; where there are no samples, the whole is one."""
    groups = [group or "" for group in samples.groups.to_pylist()]
    kept = Counter(
        group for group, keep in zip(groups, table.column("keep").to_pylist(), strict=True) if keep
    )
    read = Counter(groups)
    named = policy.best if isinstance(policy.best, dict) else read or [""]
    return [
        Shortfall(group=group, wanted=policy.most(group), kept=kept[group], read=read[group])
        for group in sorted(named)
        if kept[group] < policy.most(group)
    ]


def books(table: pa.Table) -> Books:
    """The books of a selection: kept samples are made, rejected ones failed, by reason."""
    counted = pc.value_counts(table.column("reason")).to_pylist()
    reasons = {each["values"]: each["counts"] for each in counted}
    kept = reasons.pop(KEPT, 0)
    return Books(
        read=table.num_rows,
        used=table.num_rows,
        planned=table.num_rows,
        made=kept,
        failed=table.num_rows - kept,
        reasons=dict(sorted(reasons.items())),
    )


def changes(before: pa.Table, after: pa.Table) -> dict[str, Json]:
    """What a new selection keeps that the old one did not, and the other way round."""
    old = set(before.filter(before.column("keep")).column("key").to_pylist())
    new = set(after.filter(after.column("keep")).column("key").to_pylist())
    return {"kept_before": len(old), "kept_now": len(new), "came": len(new - old), "went": len(old - new)}
