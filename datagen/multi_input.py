"""Multi-input samples: three or four inputs of a planned case type, then one output made from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from datagen import ideas
from datagen.answered import check_answered, lacks_answers
from datagen.cases import MULTI_INPUT_CASES, shuffled
from datagen.chat_writer import ChatWriterConfig, fingerprint
from datagen.encoding import rendered_bytes
from datagen.faults import CLEAN, FAULTS
from datagen.generated import GeneratedBuilder
from datagen.image_models import ImageModel
from datagen.instructions import STYLES
from datagen.quotas import normal, share_out
from datagen.settings import BuilderSettings, check_shares, in_order_of
from datagen.single_candidate import SingleCandidateBuilder, SingleCandidateConfig
from datagen.template_writer import TemplateWriterConfig
from shards.ledger import Ledger
from shards.sample import Json, Sample
from shards.served_settings import slices_at_once
from shards.settings import PLAN, RUN, PlanFloat
from shards.stage import IndexRow, Planned, Reject, Stage, Work, content_key, keyed_random

SOURCE = "multi_input"
EVEN_CASES = dict.fromkeys(MULTI_INPUT_CASES, 1.0)
EVEN_STYLES = dict.fromkeys(STYLES, 1.0)


class MultiInputConfig(BuilderSettings):
    """How many samples of which case types, and what draws them."""

    VERSION: ClassVar[int] = 6
    FAULTS: ClassVar[Sequence[str]] = FAULTS

    prefix: str = Field(
        default="input", pattern=r"^[a-z0-9_-]{1,32}$", description="of the keys; one for each such step"
    )
    size_px: int = Field(default=512, ge=128, le=1536, description="side of every image")
    cases: Annotated[Mapping[str, float], Field(**PLAN), in_order_of(MULTI_INPUT_CASES)] = Field(
        default=EVEN_CASES, description=f"how often each case type comes, of {', '.join(MULTI_INPUT_CASES)}"
    )
    ordered: PlanFloat = Field(
        default=0.15, ge=0, le=1, description="share of instructions that fix who stands left and right"
    )
    terse: PlanFloat = Field(
        default=0.15, ge=0, le=1, description='share of instructions like "Combine in a picture."'
    )
    inputs: ImageModel | None = Field(
        default=None, description="what draws the inputs from words; the embedded renderer unless set"
    )
    output: ImageModel | None = Field(
        default=None, description="what draws the output from the inputs; set it with `inputs`"
    )
    writer: ChatWriterConfig | None = Field(
        default=None, description="plans in words for image models and writes; templates unless set"
    )
    styles: Annotated[Mapping[str, float], Field(**PLAN), in_order_of(STYLES)] = Field(
        default=EVEN_STYLES, description=f"how often images are called so, of {', '.join(STYLES)}"
    )
    samples_at_once: Annotated[int, Field(**RUN)] = Field(
        default=16, ge=1, le=512, description="samples a worker has drawn at once by image models"
    )
    tolerate_unanswered: Annotated[float, Field(**RUN)] = Field(
        default=0.02, ge=0, le=1, description="pictures that may get no answer, as a share of the samples"
    )

    @model_validator(mode="after")
    def _check_cases(self) -> MultiInputConfig:
        check_shares("cases", self.cases, list(MULTI_INPUT_CASES))
        check_shares("styles", self.styles, list(STYLES))
        for name, weights in (("cases", self.cases), ("styles", self.styles)):
            if not any(weights.values()):
                raise ValueError(f"{name}: expected one above 0, got none")
        return self

    @model_validator(mode="after")
    def _check_generators(self) -> MultiInputConfig:
        if (self.inputs is None) != (self.output is None):
            raise ValueError("inputs, output: expected both or neither; the renderer cannot edit for a model")
        if self.inputs and "generate" not in self.inputs.does:
            raise ValueError(f"inputs.does: expected generate in it, got {self.inputs.does!r}")
        if self.output and "edit" not in self.output.does:
            raise ValueError(f"output.does: expected edit in it, got {self.output.does!r}")
        if self.writer and not self.inputs:
            raise ValueError(
                "writer: expected inputs and output beside it; the renderer has words of its own"
            )
        if self.inputs and self.faults:
            raise ValueError("faults: expected none with image models: only the renderer can make them")
        return self

    def sample_bytes(self) -> float | None:
        """As `StepSettings`, of rendered pictures; what a model draws nobody can tell."""
        inputs = sum(len(MULTI_INPUT_CASES[case]) * share for case, share in self.cases.items())
        return None if self.inputs else rendered_bytes(inputs / sum(self.cases.values()) + 1, self.size_px)

    @property
    def batch_size(self) -> int:
        """Samples in hand at once."""
        return self.samples_at_once if self.inputs else super().batch_size

    @property
    def at_once(self) -> int:
        """Slices in a worker's hands."""
        return slices_at_once(self.writer, self.inputs, self.output) if self.inputs else 1

    def computed(self) -> dict[str, Json]:
        """As `BuilderSettings`, the lists that image models draw from, and prompts."""
        return {**super().computed(), "ideas": ideas.fingerprint(), "prompts": fingerprint(self.writer)}

    def content(self) -> dict[str, Json]:
        """As `BuilderSettings`, the lists that image models draw from, and prompts."""
        return {**super().content(), "ideas": ideas.fingerprint(), "prompts": fingerprint(self.writer)}

    def plan(self, rows: Iterable[IndexRow] = ()) -> Iterator[Planned]:  # noqa: ARG002, made from nothing
        """`samples` samples, case types in exact shares. Of a longer plan the first ones are the same."""
        cases, styles = (share_out(normal(weights), rest="") for weights in (self.cases, self.styles))
        faults = share_out(self.faults, rest=CLEAN)
        for number in range(self.samples):
            key = content_key(self.prefix, self.seed, number)
            spec = self._spec(number, next(cases), next(faults))
            yield Planned(key=key, spec={**spec, "style": next(styles)} if self.inputs else spec)

    def _spec(self, number: int, case: str, fault: str) -> Mapping[str, Json]:
        random = keyed_random(self.prefix, self.seed, number, "plan")
        kinds = shuffled(random, MULTI_INPUT_CASES[case])
        is_ordered = random.random() < self.ordered or fault == "swapped_order"
        return {
            "number": number,
            "case": case,
            "kinds": kinds,
            "ordered": is_ordered,
            "terse": random.random() < self.terse,
            "fault": fault,
        }

    def build(self, ledger: Ledger) -> Stage:
        """The stage: with image models where they are set, else with the embedded renderer."""
        if self.inputs and self.output:
            writer = (self.writer or TemplateWriterConfig()).build(ledger)
            return GeneratedBuilder(
                SOURCE, self, writer, self.inputs.build(ledger), self.output.build(ledger)
            )
        return RenderedMultiInput(self)

    def check_counts(self, counts: Mapping[str, float], planned: int) -> None:
        """Stop a step early that cannot end well.

        Raises:
            UnansweredError: more pictures got no answer than are tolerated.
        """
        check_answered(SOURCE, counts, planned, self.tolerate_unanswered)

    def asks_again(self, counts: Mapping[str, float], planned: int) -> bool:
        """Whether an earlier run stopped for want of answers."""
        return lacks_answers(counts, planned, self.tolerate_unanswered)


class RenderedMultiInput(Stage):
    """Multi-input samples of the closed catalogue, with a known truth."""

    def __init__(self, config: MultiInputConfig) -> None:
        shared = set(SingleCandidateConfig.model_fields) & set(MultiInputConfig.model_fields) - {"cases"}
        self._builder = SingleCandidateBuilder(
            SingleCandidateConfig(**{name: getattr(config, name) for name in shared})
        )

    def __call__(self, batch: Sequence[Work]) -> list[Sample | Reject]:
        return [self._own(self._builder.make(work)) for work in batch]

    def _own(self, made: Sample | Reject) -> Sample | Reject:
        if isinstance(made, Reject):
            return made
        return replace(made, provenance=replace(made.provenance, source=SOURCE))
