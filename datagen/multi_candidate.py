"""Multi-candidate samples, made from single-candidate ones by `swap` and by `add`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from datagen import distractor_ideas, prompts
from datagen.add import add
from datagen.answered import check_answered, lacks_answers
from datagen.cases import CASES
from datagen.catalogue import load_catalogue
from datagen.chat_writer import ChatWriterConfig
from datagen.image_models import ImageModel
from datagen.instructions import STYLES
from datagen.kinds import ADD_CASES, SWAP_CASES
from datagen.parents import Parent, UnfitParentError, read_parent
from datagen.renderer import Renderer
from datagen.served_candidates import ServedCandidates
from datagen.served_plan import CASES as CELL_CASES
from datagen.served_plan import plan_served
from datagen.settings import BuilderSettings, check_shares, in_order_of
from datagen.spoil import COPY_PASTE, EDITED, TWO_CANDIDATES
from datagen.swap import swap
from datagen.template_writer import TemplateWriterConfig
from datagen.variants import CLEAN, Made, Method, Relation, Wanted, read_wanted
from shards.image import ImageError, check_sample
from shards.ledger import Ledger
from shards.sample import Json, Provenance, Sample, canonical_json
from shards.served_settings import slices_at_once
from shards.settings import PLAN, RUN, PlanFloat, PlanInt
from shards.stage import IndexRow, Planned, Reject, Stage, Work, content_key, keyed_random

SOURCE = "multi_candidate"
EVEN_CASES = dict.fromkeys(CELL_CASES, 1.0)
EVEN_STYLES = dict.fromkeys(STYLES, 1.0)
SERVED = ("cases", "styles", "writer", "editor", "edit_px", "locate")  # settings that only models read
FAULTS = (
    "target_shows_distractor",
    "ambiguous_phrase",
    "nothing_added",
    "wrong_index",
    *EDITED,
    TWO_CANDIDATES,
    COPY_PASTE,
)
"""`target_shows_distractor`: the target shows another candidate than the instruction picks.
`ambiguous_phrase`: the words fit another candidate too. `nothing_added`: a claimed candidate is not there.
`wrong_index`: two image numbers in the instruction are exchanged. The others: see datagen/spoil.py."""


class MultiCandidateConfig(BuilderSettings):
    """How many multi-candidate samples, by which methods, from which catalogue's distractors.

    `samples` is what is planned; fewer where the parents do not reach.
    """

    VERSION: ClassVar[int] = 5
    FAULTS: ClassVar[Sequence[str]] = FAULTS

    prefix: str = Field(
        default="multi", pattern=r"^[a-z0-9_-]{1,32}$", description="of the keys; one for each such step"
    )
    swap: PlanFloat = Field(default=0.4, ge=0, le=1, description="share made by swap; the rest by add")
    intra: PlanFloat = Field(
        default=0.5, ge=0, le=1, description="share whose candidates can be called the same; of each method"
    )
    position: PlanFloat = Field(
        default=0.35, ge=0, le=1, description="at most this share of phrases rests on a position alone"
    )
    rounds: PlanInt = Field(
        default=2, ge=1, le=16, description="how often a parent may serve each method and relation"
    )

    cases: Annotated[Mapping[str, float], Field(**PLAN)] = Field(
        default=EVEN_CASES,
        description=f"with models: how often a case type comes; {', '.join(SWAP_CASES)} by swap, "
        f"{', '.join(ADD_CASES)} by add",
    )
    styles: Annotated[Mapping[str, float], Field(**PLAN), in_order_of(STYLES)] = Field(
        default=EVEN_STYLES,
        description=f"with models: how often images are called so, of {', '.join(STYLES)}",
    )
    writer: ChatWriterConfig | None = Field(
        default=None, description="a language model that looks, and writes phrases and instructions"
    )
    editor: ImageModel | None = Field(
        default=None, description="an image model that adds candidates; the embedded renderer unless set"
    )
    edit_px: int = Field(default=1024, ge=128, le=2048, description="the longest side of an edited reference")
    locate: bool = Field(
        default=True, description="with a writer that looks: have it say where candidates stand"
    )
    samples_at_once: Annotated[int, Field(**RUN)] = Field(
        default=32, ge=1, le=512, description="samples a worker has made at once by models"
    )
    tolerate_unanswered: Annotated[float, Field(**RUN)] = Field(
        default=0.02, ge=0, le=1, description="requests that may get no answer, as a share of the samples"
    )

    @model_validator(mode="after")
    def _check_models(self) -> MultiCandidateConfig:
        check_shares("cases", self.cases, CELL_CASES)
        check_shares("styles", self.styles, list(STYLES))
        if not any(self.styles.values()):
            raise ValueError("styles: expected one above 0, got none")
        for part, names in ((self.swap, SWAP_CASES), (1 - self.swap, ADD_CASES)):
            if part > 0 and not any(self.cases.get(name, 0) for name in names):
                raise ValueError(f"cases: expected one of {', '.join(names)}, got none; or set `swap`")
        if self.is_served and self.faults:
            raise ValueError("faults: expected none with models: only the renderer can make them")
        if self.editor and "edit" not in self.editor.does:
            raise ValueError(f"editor.does: expected edit in it, got {self.editor.does!r}")
        if self.writer and not self.editor and self.swap < 1:
            raise ValueError(f"editor: expected one beside `writer`, got none; or swap: 1, not {self.swap!r}")
        return self

    @property
    def is_served(self) -> bool:
        """Whether models make the samples."""
        return bool(self.writer or self.editor)

    @property
    def locates(self) -> bool:
        """Whether the writer is asked where candidates stand; templates cannot look."""
        return self.locate and self.writer is not None

    @property
    def batch_size(self) -> int:
        """Samples in hand at once."""
        return self.samples_at_once if self.is_served else super().batch_size

    @property
    def at_once(self) -> int:
        """Slices in a worker's hands."""
        return slices_at_once(self.writer, self.editor) if self.is_served else 1

    def computed(self) -> dict[str, Json]:
        """As `BuilderSettings`; of models only where they are set."""
        return self._with_wordings(super().computed())

    def content(self) -> dict[str, Json]:
        """As `BuilderSettings`; of models only where they are set."""
        return self._with_wordings(super().content())

    def _with_wordings(self, settings: dict[str, Json]) -> dict[str, Json]:
        if not self.is_served:
            return {name: value for name, value in settings.items() if name not in SERVED}
        return {**settings, "prompts": prompts.fingerprint(), "editing": distractor_ideas.fingerprint()}

    def check_counts(self, counts: Mapping[str, float], planned: int) -> None:
        """Stop a step early that cannot end well.

        Raises:
            UnansweredError: more requests got no answer than are tolerated.
        """
        check_answered(SOURCE, counts, planned, self.tolerate_unanswered)

    def asks_again(self, counts: Mapping[str, float], planned: int) -> bool:
        """Whether an earlier run stopped for want of answers."""
        return lacks_answers(counts, planned, self.tolerate_unanswered)

    def plan(self, rows: Iterable[IndexRow]) -> Iterator[Planned]:
        """Up to `samples` variants of single-candidate `rows`, in the order of their keys.

        Parents are taken by hash, for each method and relation anew: one that goes, goes alone, and the next
        takes its place.
        """
        if self.is_served:
            yield from plan_served(self, rows)
            return
        parents = {row.key: row for row in rows if row.task.startswith("composition")}
        variants = self._variants(list(parents.values()))
        variants = self._with_positions(self._with_faults(variants))
        for variant in sorted(variants, key=lambda variant: variant.wanted.key):
            yield Planned(key=variant.wanted.key, spec=variant.wanted.as_json(), parents=(variant.parent,))

    def _variants(self, parents: Sequence[IndexRow]) -> list[Variant]:
        found = []
        for (method, relation), number in self._numbers().items():
            fitting = [parent for parent in parents if _can_serve(parent, method, relation)]
            taken: list[Variant] = []
            for turn in range(self.rounds if fitting else 0):
                if len(taken) >= number:
                    break
                variants = [self._variant(parent, method, relation, turn) for parent in fitting]
                variants.sort(key=lambda v: (_rank(v), self._hash("parent", v.wanted.key)))
                taken += variants[: number - len(taken)]
            found += taken
        return found

    def _numbers(self) -> dict[tuple[Method, Relation], int]:
        """How many of each; together `samples`."""
        swaps = round(self.samples * self.swap)
        adds = self.samples - swaps
        intra_swaps, intra_adds = round(swaps * self.intra), round(adds * self.intra)
        return {
            ("swap", "cross"): swaps - intra_swaps,
            ("swap", "intra"): intra_swaps,
            ("add", "cross"): adds - intra_adds,
            ("add", "intra"): intra_adds,
        }

    def _variant(self, parent: IndexRow, method: Method, relation: Relation, turn: int) -> Variant:
        key = content_key(self.prefix, self.seed, method, relation, parent.key, turn)
        wanted = Wanted(key=key, method=method, relation=relation, turn=turn, may_use_position=False)
        return Variant(parent=parent, wanted=wanted)

    def _with_faults(self, variants: Sequence[Variant]) -> list[Variant]:
        """The first in hash order that can have a fault get it, as many as its share of the plan."""
        by_key = {variant.wanted.key: variant for variant in variants}
        for fault, share in self.faults.items():
            fitting = [v for v in by_key.values() if v.wanted.fault == CLEAN and _can_have(v, fault)]
            fitting.sort(key=lambda v: self._hash(fault, v.wanted.key))
            for variant in fitting[: round(share * len(variants))]:
                by_key[variant.wanted.key] = variant.but(fault=fault)
        return list(by_key.values())

    def _with_positions(self, variants: Sequence[Variant]) -> list[Variant]:
        ordered = sorted(variants, key=lambda v: self._hash("position", v.wanted.key))
        allowed = int(self.position * len(variants))
        return [v.but(may_use_position=number < allowed) for number, v in enumerate(ordered)]

    def _hash(self, *parts: Json) -> bytes:
        return hashlib.sha256(canonical_json([self.seed, *parts])).digest()

    def build(self, ledger: Ledger | None = None) -> Stage:
        """The stage: with models where they are set, else with the embedded renderer and its catalogue."""
        if not self.is_served:
            return MultiCandidateBuilder(self)
        assert ledger is not None, "what models are paid for lies in a ledger"
        writer = (self.writer or TemplateWriterConfig()).build(ledger)
        editor = self.editor.build(ledger) if self.editor else None
        return ServedCandidates(SOURCE, self, writer, editor)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What is wanted of a parent, while it is planned."""

    parent: IndexRow
    wanted: Wanted

    def but(self, **changes: str | bool) -> Variant:
        """The same with something else wanted."""
        return replace(self, wanted=replace(self.wanted, **changes))  # type: ignore[arg-type]


def _placed(row: IndexRow) -> int:
    """How many subjects stand in a row's target."""
    return row.references - ("scene" in CASES.get(row.case, ()))


def _can_serve(row: IndexRow, method: Method, relation: Relation) -> bool:
    """Whether a row is worth trying; whether it holds the relation is known on the worker only."""
    if method == "add":
        return _placed(row) >= 1
    kinds = [kind for kind in CASES.get(row.case, ("object",)) if kind != "scene"]
    return _placed(row) > (len(kinds) if relation == "intra" else 1)


def _rank(variant: Variant) -> int:
    """Which parents to try first for a swap: two characters are often both animals, while a character and an
    object are never called the same."""
    is_mixed = variant.parent.case.startswith("character+object")
    is_likely = {
        ("swap", "cross"): is_mixed,
        ("swap", "intra"): not is_mixed and variant.parent.case.startswith("character"),
    }
    return 0 if is_likely.get((variant.wanted.method, variant.wanted.relation), True) else 1


def _can_have(variant: Variant, fault: str) -> bool:
    if fault == "ambiguous_phrase":
        return variant.wanted.relation == "intra"
    if fault in ("nothing_added", *EDITED):
        return variant.wanted.method == "add"
    if fault == "wrong_index":
        return variant.wanted.method == "add" and variant.parent.references > 1
    return True


class MultiCandidateBuilder(Stage):
    """Makes variants of parents by the method that was planned."""

    def __init__(self, config: MultiCandidateConfig) -> None:
        self._config = config
        self._catalogue = load_catalogue(config.catalogue)
        self._distractors = load_catalogue(config.catalogue, config.split)
        self._renderer = Renderer(self._catalogue)

    def __call__(self, batch: Sequence[Work]) -> list[Sample | Reject]:
        return [self.make(work) for work in batch]

    def make(self, work: Work) -> Sample | Reject:
        """One variant; a reject where the parent cannot serve."""
        wanted = read_wanted(work.key, work.spec)
        try:
            parent = read_parent(work.parents[0], self._catalogue)
            sample = self._with_provenance(self._variant(parent, wanted), parent, wanted)
            check_sample(sample)
        except UnfitParentError as error:
            return Reject(reason=error.reason, detail=str(error))
        except ImageError as error:
            return Reject(reason=error.reason, detail=str(error))
        return sample

    def _variant(self, parent: Parent, wanted: Wanted) -> Made:
        random = keyed_random(self._config.prefix, self._config.seed, wanted.key)
        if wanted.method == "swap":
            return swap(random, self._renderer, parent, wanted)
        return add(random, self._renderer, self._distractors, parent, wanted)

    def _with_provenance(self, made: Made, parent: Parent, wanted: Wanted) -> Sample:
        """The variant with what it is and is from. A fault of the parent is a fault of the variant."""
        inherited = wanted.fault == CLEAN and parent.fault != CLEAN
        counted = "single" if len(made.sample.references) == 1 else "multi"
        provenance = Provenance(
            source=SOURCE,
            licence=self._licence(parent, wanted),
            task=f"distinction_{counted}_{wanted.relation}",
            case=made.case,
            parents=(parent.sample.key,),
            origin={"method": wanted.method, "parent_source": parent.sample.provenance.source, **made.origin},
            truth={
                "fault": parent.fault if inherited else wanted.fault,
                "inherited": inherited,
                **made.truth,
            },
        )
        return replace(made.sample, provenance=provenance)

    def _licence(self, parent: Parent, wanted: Wanted) -> str:
        """The parent's; with that of the added pictures where it does not say it yet."""
        licence, added = parent.sample.provenance.licence, self._config.pictures_licence
        return licence if wanted.method == "swap" or added in licence else f"{licence} AND {added}"
