"""The one table from a step's name in a recipe to what it is."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from shards.settings import Settings

Kind = Literal["samples", "scores", "selection", "page"]


@dataclass(frozen=True)
class StepType:
    """A kind of step.

    Attributes:
        settings: where its settings class is, "module:class"; imported when a recipe names the step.
        kind: what its directory holds.
        inputs: roles it takes other steps in, each with the kinds it accepts; a role that ends in "*" takes
            any number.
        does: one line for `bakery check` and the README.
        is_costly: whether a sample that an earlier directory holds is copied from there, not made again.
    """

    settings: str
    kind: Kind
    inputs: dict[str, tuple[Kind, ...]]
    does: str
    is_costly: bool = False

    def settings_class(self) -> type[Settings]:
        """Import the settings class."""
        module, _, name = self.settings.partition(":")
        found: type[Settings] = getattr(import_module(module), name)
        return found


SETS: tuple[Kind, ...] = ("samples", "selection")

STEPS: dict[str, StepType] = {
    "import": StepType(
        "datagen.importers.webdataset_tar:ImportConfig",
        "samples",
        {},
        "reads tars of another hand into clean shards",
    ),
    "single_candidate": StepType(
        "datagen.single_candidate:SingleCandidateConfig",
        "samples",
        {},
        "renders base samples: 1 to 4 references, an instruction, a target",
        is_costly=True,
    ),
    "multi_candidate": StepType(
        "datagen.multi_candidate:MultiCandidateConfig",
        "samples",
        {"input": SETS},
        "makes references with several candidates, by swap and by add",
        is_costly=True,
    ),
    "judge": StepType(
        "filters.judge_step:JudgeConfig",
        "scores",
        {"input": SETS},
        "asks a rubric's questions; writes probabilities, drops nothing",
    ),
    "select": StepType(
        "filters.select:SelectConfig",
        "selection",
        {"input": SETS, "scores*": ("scores",)},
        "keeps samples by rules over scores; each other one has its reason",
    ),
    "pack": StepType(
        "shards.pack:PackConfig",
        "samples",
        {"input*": SETS},
        "copies kept samples into even, shuffled shards",
    ),
    "report": StepType(
        "filters.report:ReportConfig",
        "page",
        {"of*": ("samples", "scores", "selection")},
        "one page: funnel, books, scores, galleries, the judge against the truth",
    ),
}
