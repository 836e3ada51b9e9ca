"""Drawing for a measurement: what both steps share that have an image model draw the targets of cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field, model_validator

from datagen.answered import check_answered, lacks_answers
from datagen.generators import Drawn, Generator, PictureRequest
from datagen.image_models import ImageModel
from shards.image import ImageError, check_image
from shards.sample import KEY_PATTERN, Candidate, EncodedImage, Json, Provenance, Sample
from shards.served_settings import slices_at_once
from shards.settings import RUN, PlanInt
from shards.stage import Reject, content_key, keyed_random
from shards.worker_step import WorkerStep

MOST_ROUNDS = 16
SMALLEST_PX, LARGEST_PX = 64, 2048


class DrawSettings(WorkerStep):
    """Settings of a step whose targets are drawn by the image model that is measured."""

    images: ImageModel = Field(description="the image model that draws; it edits")
    rounds: PlanInt = Field(
        default=1, ge=1, le=MOST_ROUNDS, description="pictures of each case, each from another seed"
    )
    seed: int = Field(default=0, ge=0, description="of the pictures; the recipe's seed unless set")
    samples_at_once: Annotated[int, Field(**RUN)] = Field(
        default=16, ge=1, le=512, description="pictures a worker has drawn at once"
    )
    tolerate_unanswered: Annotated[float, Field(**RUN)] = Field(
        default=0.02, ge=0, le=1, description="pictures that may get no answer, as a share of the samples"
    )

    @model_validator(mode="after")
    def _check_images(self) -> DrawSettings:
        if "edit" not in self.images.does:
            raise ValueError(f"images.does: expected edit in it, got {self.images.does!r}")
        return self

    @property
    def batch_size(self) -> int:
        """Samples in hand at once."""
        return self.samples_at_once

    @property
    def at_once(self) -> int:
        """Slices in a worker's hands."""
        return slices_at_once(self.images)

    def samples_each(self) -> int:
        """As `StepSettings`: a round a sample."""
        return self.rounds

    def check_counts(self, counts: Mapping[str, float], planned: int) -> None:
        """Stop a step early that cannot end well.

        Raises:
            UnansweredError: more pictures got no answer than are tolerated.
        """
        check_answered("draw", counts, planned, self.tolerate_unanswered)

    def asks_again(self, counts: Mapping[str, float], planned: int) -> bool:
        """Whether an earlier run stopped for want of answers."""
        return lacks_answers(counts, planned, self.tolerate_unanswered)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A sample that lacks its target.

    Attributes:
        key: of the sample.
        case_key: of what is drawn in several rounds; that of round 0.
        round: from 0.
        size_px: width and height of the target.
        provenance: of the sample, but for what is drawn.
    """

    key: str
    case_key: str
    round: int
    instruction: str
    references: tuple[EncodedImage, ...]
    subjects: tuple[tuple[Candidate, ...], ...]
    size_px: tuple[int, int]
    provenance: Provenance


def check_references(where: str, references: Sequence[EncodedImage]) -> None:
    """Look at every pixel before a server is asked about it.

    Raises:
        ImageError: naming the image.
    """
    for number, image in enumerate(references):
        try:
            check_image(image)
        except ImageError as error:
            raise ImageError(error.reason, f"{where}.ref{number}: {error}") from error


class Artist:
    """Draws the targets of cases.

    Args:
        generator: draws pictures.
        seed: of the step; with a case's key and round it gives a picture's own.
    """

    def __init__(self, generator: Generator, seed: int) -> None:
        self._generator = generator
        self._seed = seed
        self.close = generator.close
        self.take_counts = generator.take_counts

    def draw(self, cases: Sequence[Case | Reject]) -> list[Sample | Reject]:
        """A sample for each case, or why there is none; a reject stays one."""
        asked = [self._request(case) for case in cases if isinstance(case, Case)]
        drawn = iter(self._generator.draw(asked))
        return [_outcome(case, next(drawn)) if isinstance(case, Case) else case for case in cases]

    def _request(self, case: Case) -> PictureRequest:
        return PictureRequest(
            prompt=case.instruction,
            references=case.references,
            size_px=case.size_px,
            seed=keyed_random("draw", self._seed, case.case_key, case.round).randrange(1 << 31),
            may_copy=True,
        )


def _outcome(case: Case, drawn: Drawn) -> Sample | Reject:
    if isinstance(drawn, Reject):
        return drawn
    how: dict[str, Json] = {"case_key": case.case_key, "round": case.round, "target": drawn.made_by}
    return Sample(
        key=case.key,
        instruction=case.instruction,
        references=case.references,
        target=drawn.image,
        subjects=case.subjects,
        provenance=replace(case.provenance, origin={**case.provenance.origin, **how}),
    )


def round_keys(case_key: str, rounds: int) -> Iterator[tuple[int, str]]:
    """(round, key) of each round of a case: the case's own key, then KEY-r1, KEY-r2, ...

    >>> list(round_keys("fox-1", 3))
    [(0, 'fox-1'), (1, 'fox-1-r1'), (2, 'fox-1-r2')]

    A key that leaves no room gets one of its content.

    >>> list(round_keys("x" * 80, 2))[1]
    (1, 'drawn-d72f05bd8c39c52e')
    """
    yield 0, case_key
    for number in range(1, rounds):
        key = f"{case_key}-r{number}"
        yield number, key if KEY_PATTERN.fullmatch(key) else content_key("drawn", case_key, number)
