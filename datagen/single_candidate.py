"""Base samples: each reference shows one subject, the target shows them together; faults on demand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Annotated, ClassVar, cast

from pydantic import Field, model_validator

from datagen.cases import CASES, is_possible, kinds_of
from datagen.catalogue import EMBEDDED, CatalogueError, Subject, load_catalogue
from datagen.claims import Claim, draw_claim
from datagen.encoding import encode_jpeg, rendered_bytes
from datagen.faults import CLEAN, COPY_PASTE, DAMAGED, FAULTS, Stagehand, apply_fault, damage, needs_order
from datagen.instructions import write_instruction
from datagen.panoramas import load_panoramas
from datagen.quotas import share_out
from datagen.renderer import Figure, Renderer, draw_backdrop, view_backdrop
from datagen.settings import BuilderSettings, Name, check_shares, in_order_of
from shards.image import ImageError, check_sample
from shards.ledger import Ledger
from shards.sample import Candidate, EncodedImage, Json, Provenance, Sample
from shards.settings import PLAN, PlanFloat
from shards.stage import IndexRow, Planned, Reject, Stage, Work, content_key, keyed_random

SOURCE = "single_candidate"
REFERENCES = {1: 0.35, 2: 0.35, 3: 0.2, 4: 0.1}
EVEN_CASES = dict.fromkeys(CASES, 1.0)


class SingleCandidateConfig(BuilderSettings):
    """How many base samples of which cases, from which subjects, with which faults."""

    VERSION: ClassVar[int] = 1
    FAULTS: ClassVar[Sequence[str]] = FAULTS

    prefix: str = Field(
        default="base", pattern=r"^[a-z0-9_-]{1,32}$", description="of the keys; one for each such step"
    )
    size_px: int = Field(default=512, ge=128, le=2048, description="side of every image")
    references: Annotated[Mapping[int, float], Field(**PLAN), in_order_of(REFERENCES)] = Field(
        default=REFERENCES, description="how often a sample has 1, 2, 3, 4 references"
    )
    cases: Annotated[Mapping[str, float], Field(**PLAN), in_order_of(CASES)] = Field(
        default=EVEN_CASES, description=f"how often each case is drawn, of {', '.join(CASES)}"
    )
    ordered: PlanFloat = Field(
        default=0.3, ge=0, le=1, description="share of instructions that fix who stands left and right"
    )
    terse: PlanFloat = Field(
        default=0.1, ge=0, le=1, description='share of instructions like "Combine in a picture."'
    )

    @model_validator(mode="after")
    def _check_cases(self) -> SingleCandidateConfig:
        check_shares("cases", self.cases, list(CASES))
        check_shares("references", self.references, range(1, 5))
        for number in self.references:
            if not any(is_possible(case, number) for case, weight in self.cases.items() if weight):
                raise ValueError(f"cases: expected one that {number!r} references can show; add `object`")
        if any(needs_order(fault) for fault in self.faults) and not any(n > 1 for n in self._orderable()):
            raise ValueError("faults.swapped_order: expected cases of two subjects or more to be possible")
        return self

    def sample_bytes(self) -> float:
        """As `StepSettings`; pictures are rendered."""
        often = sum(self.references.values()) or 1
        references = sum(number * share for number, share in self.references.items()) / often
        return rendered_bytes(references + 1, self.size_px)

    def _orderable(self) -> list[int]:
        """Per possible pair of case and number of references, how many subjects stand in the target."""
        return [
            number - ("scene" in CASES[case])
            for number, often in self.references.items()
            for case, weight in self.cases.items()
            if often and weight and is_possible(case, number)
        ]

    def plan(self, rows: Iterable[IndexRow] = ()) -> Iterator[Planned]:  # noqa: ARG002, made from nothing
        """`samples` samples. Of a longer plan the first ones are the same."""
        self.check_catalogue()
        if self.catalogue != EMBEDDED:
            load_catalogue(self.catalogue, self.split).check_pictures()
        faults = share_out(self.faults, rest=CLEAN)
        for number in range(self.samples):
            yield Planned(
                key=content_key(self.prefix, self.seed, number), spec=self._spec(number, next(faults))
            )

    def check_catalogue(self) -> None:
        """As `BuilderSettings`; nor one without a kind of subject that the cases need."""
        catalogue = load_catalogue(self.catalogue, self.split)
        for case, weight in self.cases.items():
            for kind in CASES[case]:
                if weight and kind != "scene" and not catalogue.of_kind(kind):
                    raise CatalogueError(
                        f"catalogue {self.catalogue}: expected subjects of kind {kind!r} for the case "
                        f"{case!r}, got none; leave the case out of `cases`, or add kind={kind} to attributes"
                    )

    def _spec(self, number: int, fault: str) -> Mapping[str, Json]:
        """What the plan decides for one sample; drawn again until the fault can exist in it."""
        random = keyed_random(self.prefix, self.seed, number, "plan")
        while True:
            references = _draw(random, self.references)
            possible = {case: weight for case, weight in self.cases.items() if is_possible(case, references)}
            case = _draw(random, possible)
            is_ordered = needs_order(fault) or random.random() < self.ordered
            is_terse = random.random() < self.terse
            if not needs_order(fault) or references - ("scene" in CASES[case]) > 1:
                break
        return {
            "number": number,
            "references": references,
            "case": case,
            "ordered": is_ordered,
            "terse": is_terse,
            "fault": fault,
        }

    def build(self, ledger: Ledger | None = None) -> SingleCandidateBuilder:  # noqa: ARG002, nothing is paid
        """The stage, with its catalogue."""
        return SingleCandidateBuilder(self)


def _draw(random: Random, weights: Mapping[Name, float]) -> Name:
    return random.choices(list(weights), list(weights.values()))[0]


class SingleCandidateBuilder(Stage):
    """Makes what is planned: a claim, its references, a target with or without a fault, an instruction."""

    def __init__(self, config: SingleCandidateConfig) -> None:
        self._config = config
        self._panoramas = load_panoramas(config.split)
        self._renderer = Renderer(load_catalogue(config.catalogue, config.split), config.size_px)

    def __call__(self, batch: Sequence[Work]) -> list[Sample | Reject]:
        return [self.make(work) for work in batch]

    def make(self, work: Work) -> Sample | Reject:
        """One sample; a reject where the catalogue cannot serve the plan, or an image cannot be read back."""
        try:
            sample = self._sample(work)
            check_sample(sample)
        except LookupError as error:
            return Reject(reason="no_such_subject", detail=str(error))
        except ImageError as error:
            return Reject(reason=error.reason, detail=str(error))
        return sample

    def _sample(self, work: Work) -> Sample:
        claim = self._claim(work)
        references = [
            self._reference(self._random(work, "reference", number), subject, claim)
            for number, subject in enumerate(claim.subjects)
        ]
        target = self._target(work, claim, references)
        sample = Sample(
            key=work.key,
            instruction=write_instruction(self._random(work, "instruction"), claim.wish()),
            references=tuple(reference.image for reference in references),
            target=target.image,
            subjects=tuple(_candidates(claim, reference) for reference in references),
            provenance=self._provenance(work, claim, references, target),
        )
        return _damaged(self._random(work, "damage"), sample) if _fault(work) == DAMAGED else sample

    def _random(self, work: Work, *what: Json) -> Random:
        """A stream for one part of a sample, so that a fault in one part changes no other."""
        return keyed_random(self._config.prefix, self._config.seed, work.spec["number"], *what)

    def _claim(self, work: Work) -> Claim:
        random = self._random(work, "claim")
        return draw_claim(
            random,
            self._renderer.catalogue,
            self._panoramas,
            kinds=_kinds(random, work),
            is_ordered=bool(work.spec["ordered"]),
            is_terse=bool(work.spec["terse"]),
        )

    def _reference(self, random: Random, subject: Subject | None, claim: Claim) -> Reference:
        if subject is None:
            assert claim.scene_view is not None
            backdrop = view_backdrop(claim.scene_view, self._config.size_px)
            image = encode_jpeg(backdrop.picture)
            return Reference(image=image, figure=None, background={"view": asdict(claim.scene_view)})
        backdrop, background = draw_backdrop(random, self._panoramas, self._config.size_px)
        image, figure = self._renderer.draw_reference(random, subject, backdrop)
        return Reference(image=image, figure=figure, background=background)

    def _target(self, work: Work, claim: Claim, references: Sequence[Reference]) -> Target:
        random = self._random(work, "target")
        figures = self._renderer.place(random, claim.placed, ordered=claim.is_ordered)
        if _fault(work) == COPY_PASTE:
            return _copied(self._random(work, "fault"), figures, references)
        stagehand = Stagehand(
            random=self._random(work, "fault"), renderer=self._renderer, claim=claim, figures=figures
        )
        shown = apply_fault(_fault(work), stagehand)
        backdrop = view_backdrop(claim.view, self._config.size_px)
        image = encode_jpeg(self._renderer.draw(backdrop, shown.figures))
        return Target(image=image, claimed=figures, shown=shown.figures, truth=shown.truth)

    def _provenance(
        self, work: Work, claim: Claim, references: Sequence[Reference], target: Target
    ) -> Provenance:
        figures = [reference.figure for reference in references]
        return Provenance(
            source=SOURCE,
            licence=self._config.pictures_licence,
            task="composition_single" if len(references) == 1 else "composition_multi",
            case=str(work.spec["case"]),
            origin={
                "number": work.spec["number"],
                "seed": self._config.seed,
                "view": asdict(claim.view),
                "target": [figure.as_json() for figure in target.claimed],
                "references": [
                    {"figure": figure.as_json() if figure else None, **reference.background}
                    for figure, reference in zip(figures, references, strict=True)
                ],
                "ordered": claim.is_ordered,
            },
            truth={
                "fault": _fault(work),
                **target.truth,
                "references": [[figure.subject] if figure else [] for figure in figures],
                "target": [figure.as_json() for figure in target.shown],
            },
        )


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One reference image as made: its bytes, what it shows, and on what background."""

    image: EncodedImage
    figure: Figure | None
    background: Mapping[str, Json]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A target as made: its bytes, what it is claimed to show, what it shows, and what else is true."""

    image: EncodedImage
    claimed: tuple[Figure, ...]
    shown: tuple[Figure, ...]
    truth: Mapping[str, Json]


def _kinds(random: Random, work: Work) -> Sequence[str]:
    """The kind of each reference, as planned, or drawn to fit the planned case."""
    if "kinds" in work.spec:
        return cast(Sequence[str], work.spec["kinds"])
    return kinds_of(random, str(work.spec["case"]), cast(int, work.spec["references"]))


def _fault(work: Work) -> str:
    return str(work.spec["fault"])


def _copied(random: Random, figures: tuple[Figure, ...], references: Sequence[Reference]) -> Target:
    """A target that is one whole reference."""
    number = random.choice([number for number, reference in enumerate(references) if reference.figure])
    copied = references[number]
    shown = (copied.figure,) if copied.figure else ()
    return Target(image=copied.image, claimed=figures, shown=shown, truth={"copied_reference": number})


def _candidates(claim: Claim, reference: Reference) -> tuple[Candidate, ...]:
    """What a reference is said to show; a scene is its panorama, everywhere, without a box."""
    if reference.figure is None:
        caption = claim.panorama.caption
        return (Candidate(name=caption, category="scene", phrase=caption),)
    subject = next(subject for subject in claim.placed if subject.id == reference.figure.subject)
    return (
        Candidate(
            name=subject.name, category=subject.category, phrase=subject.definite, box=reference.figure.box
        ),
    )


def _damaged(random: Random, sample: Sample) -> Sample:
    """`sample` with the bytes of one image spoilt."""
    number = random.randrange(len(sample.references) + 1)
    images = [*sample.references, sample.target]
    images[number] = replace(images[number], data=damage(random, images[number].data))
    return replace(sample, references=tuple(images[:-1]), target=images[-1])
