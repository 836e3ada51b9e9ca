"""What both builders are told: how many, of which catalogue, with which faults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, ClassVar, TypeVar

from pydantic import AfterValidator, Field, field_validator, model_validator

from datagen.catalogue import EMBEDDED, CatalogueError, Split, fingerprint, load_catalogue
from shards.sample import Json
from shards.settings import PLAN, PlanInt
from shards.worker_step import WorkerStep

Name = TypeVar("Name", int, str)

EMBEDDED_LICENCE = "MIT AND Apache-2.0 AND CC0-1.0"


class BuilderSettings(WorkerStep):
    """Settings of a step that makes samples from a catalogue."""

    FAULTS: ClassVar[Sequence[str]] = ()

    samples: PlanInt = Field(ge=1, description="how many to make, faulty ones included")
    seed: int = Field(default=0, ge=0, description="of all that is random; the recipe's seed unless set")
    faults: Annotated[Mapping[str, float], Field(**PLAN)] = Field(
        default={}, description="share of the samples with each fault; of 400, 0.1 are exactly 40"
    )
    catalogue: str = Field(default=EMBEDDED, description="`embedded`, or a folder of pictures and a CSV")
    split: Split = Field(
        default="all", description="all subjects and panoramas, or one side of the fixed split"
    )
    licence: str = Field(default="unknown", description="of the pictures of a catalogue of one's own")

    @property
    def batch_size(self) -> int:
        """One at a time: a sample takes about 0.1 s."""
        return 1

    @property
    def pictures_licence(self) -> str:
        """Of what is made from the catalogue's pictures and the panoramas."""
        return EMBEDDED_LICENCE if self.catalogue == EMBEDDED else f"{self.licence} AND CC0-1.0"

    def missing(self) -> list[str]:
        """What a catalogue of one's own lacks: every bad row of its table. Its pictures are not opened."""
        try:
            self.check_catalogue()
        except CatalogueError as error:
            return str(error).splitlines()
        return []

    def check_catalogue(self) -> None:
        """Refuse a catalogue that cannot be built from.

        Raises:
            CatalogueError: the folder, its table or rows of it cannot be used.
        """
        load_catalogue(self.catalogue, self.split)

    def computed(self) -> dict[str, Json]:
        """As `Settings`; a catalogue counts by its content, wherever it lies."""
        return {**super().computed(), "catalogue": fingerprint(self.catalogue)}

    def content(self) -> dict[str, Json]:
        """As `Settings`; a catalogue counts by its content, wherever it lies."""
        return {**super().content(), "catalogue": fingerprint(self.catalogue)}

    @field_validator("faults")
    @classmethod
    def _order_faults(cls, faults: Mapping[str, float]) -> Mapping[str, float]:
        return in_order(faults, cls.FAULTS)

    @model_validator(mode="after")
    def _check_faults(self) -> BuilderSettings:
        check_shares("faults", self.faults, self.FAULTS)
        if sum(self.faults.values()) > 1 + 1e-9:
            raise ValueError(
                f"faults: expected shares of at most 1 together, got {sum(self.faults.values())!r}"
            )
        return self


def in_order(shares: Mapping[Name, float], known: Iterable[Name]) -> Mapping[Name, float]:
    """Shares in one order, whatever the recipe's: a plan follows it, and the step's hash does not know it.

    >>> list(in_order({"b": 0.2, "a": 0.1}, ["a", "b", "c"]))
    ['a', 'b']
    """
    return {name: shares[name] for name in known if name in shares} | dict(shares)


def in_order_of(known: Iterable[Name]) -> AfterValidator:
    """For the annotation of a field that holds shares: `in_order` of these names."""
    names = tuple(known)
    return AfterValidator(lambda shares: in_order(shares, names))


def check_shares(
    field: str, shares: Mapping[str, float] | Mapping[int, float], known: Sequence[str | int]
) -> None:
    """Refuse unknown names and negative shares.

    >>> check_shares("faults", {"blur": 0.1}, ["wrong_subject"])
    Traceback (most recent call last):
    ...
    ValueError: faults: expected names of wrong_subject, got 'blur'
    """
    for name, share in shares.items():
        if name not in known:
            raise ValueError(f"{field}: expected names of {', '.join(map(str, known))}, got {name!r}")
        if share < 0:
            raise ValueError(f"{field}.{name}: expected 0 or more, got {share!r}")
