"""The one table from a step's name in a recipe to what it is."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from shards.step import StepSettings

Kind = Literal["samples", "scores", "selection", "model", "page"]


@dataclass(frozen=True)
class StepType:
    """A kind of step.

    Attributes:
        settings: where its settings class is, "module:class"; imported when a recipe names the step.
        kind: what its directory holds.
        inputs: roles it takes other steps in, each with the kinds it accepts; a role that ends in "*" takes
            any number, one that ends in "?" none or more.
        does: one line for `bakery check` and the README.
        is_costly: whether a sample that an earlier directory holds is copied from there, not made again.
    """

    settings: str
    kind: Kind
    inputs: dict[str, tuple[Kind, ...]]
    does: str
    is_costly: bool = False

    def settings_class(self) -> type[StepSettings]:
        """Import the settings class."""
        module, _, name = self.settings.partition(":")
        found: type[StepSettings] = getattr(import_module(module), name)
        return found


SETS: tuple[Kind, ...] = ("samples", "selection")
JUDGES = ("judge", "verify")
"""Types whose steps ask a judge: what has a bill beforehand and can be calibrated after."""

STEPS: dict[str, StepType] = {
    "import": StepType(
        "datagen.importers.webdataset_tar:ImportConfig",
        "samples",
        {},
        "reads tars of another hand into clean shards",
    ),
    "import_table": StepType(
        "datagen.importers.table:TableSettings",
        "samples",
        {},
        "reads a folder of pictures with a CSV or jsonl",
    ),
    "import_jsonl": StepType(
        "datagen.importers.jsonl:JsonlSettings",
        "samples",
        {},
        "reads OmniGen2-style jsonl, pictures loose or in archives",
    ),
    "import_parquet": StepType(
        "datagen.importers.parquet:HfSettings",
        "samples",
        {},
        "reads parquet with pictures as structs, binary or base64",
    ),
    "import_directory": StepType(
        "datagen.importers.directory:DirectorySettings",
        "samples",
        {},
        "copies samples of a finished directory of another output",
    ),
    "import_scone_parquet": StepType(
        "datagen.importers.scone_parquet:SconeParquetSettings",
        "samples",
        {},
        "reads Scone-S2I-57K as released",
    ),
    "import_musar_gen": StepType(
        "datagen.importers.musar_gen:MusarGenSettings",
        "samples",
        {},
        "reads MUSAR-Gen; writes instructions that name both images",
    ),
    "import_subjects200k": StepType(
        "datagen.importers.subjects200k:Subjects200kSettings",
        "samples",
        {},
        "reads Subjects200K; cuts its composites apart",
    ),
    "import_uno_1m": StepType(
        "datagen.importers.uno_1m:Uno1mSettings",
        "samples",
        {},
        "reads UNO-1M; recomputes its scores",
    ),
    "import_echo_4o": StepType(
        "datagen.importers.echo_4o:Echo4oSettings",
        "samples",
        {},
        "reads Echo-4o-Image",
    ),
    "import_x2i": StepType(
        "datagen.importers.x2i:X2iSettings",
        "samples",
        {},
        "reads X2I-subject-driven, split archives as one stream",
    ),
    "single_candidate": StepType(
        "datagen.single_candidate:SingleCandidateConfig",
        "samples",
        {},
        "renders base samples: 1 to 4 references, an instruction, a target",
        is_costly=True,
    ),
    "describe": StepType(
        "datagen.describe:DescribeConfig",
        "samples",
        {"input": SETS},
        "names the subject and kind of every reference, and with them the case",
        is_costly=True,
    ),
    "multi_input": StepType(
        "datagen.multi_input:MultiInputConfig",
        "samples",
        {},
        "makes samples of 3 and 4 references in planned case types, rendered or by image models",
        is_costly=True,
    ),
    "multi_candidate": StepType(
        "datagen.multi_candidate:MultiCandidateConfig",
        "samples",
        {"input": SETS},
        "makes references with several candidates, by swap and by add",
        is_costly=True,
    ),
    "draw": StepType(
        "datagen.draw:DrawConfig",
        "samples",
        {"input": SETS},
        "has an image model draw each sample's target anew, so that the model can be judged",
        is_costly=True,
    ),
    "draw_benchmark": StepType(
        "datagen.draw_benchmark:DrawBenchmarkConfig",
        "samples",
        {},
        "has an image model draw the cases of SconeEval or OmniContext",
    ),
    "judge": StepType(
        "filters.judge_step:JudgeConfig",
        "scores",
        {"input": SETS},
        "asks a rubric's questions; writes probabilities, drops nothing",
    ),
    "verify": StepType(
        "filters.verify:VerifyConfig",
        "scores",
        {"input": SETS},
        "checks multi-candidate samples: original kept, candidates, phrase, numbers, target; drops nothing",
    ),
    "select": StepType(
        "filters.select:SelectConfig",
        "selection",
        {"input": SETS, "scores*": ("scores",)},
        "keeps samples by rules over scores; each other one has its reason",
    ),
    "split": StepType(
        "filters.split:SplitConfig",
        "selection",
        {"input": SETS},
        "holds a share of a set out, by keys, or keeps what is left to train on",
    ),
    "published_scores": StepType(
        "datagen.published_scores:PublishedScoresConfig",
        "scores",
        {"input": SETS},
        "makes tables of the scores that a set was published with, for select",
    ),
    "mix": StepType(
        "shards.mix:MixConfig",
        "samples",
        {"input*": SETS},
        "draws an exact number from several sets, by weight or count, balanced",
    ),
    "fingerprint": StepType(
        "filters.fingerprint:FingerprintConfig",
        "scores",
        {"input": SETS},
        "hashes or embeds every picture, for dedup",
    ),
    "dedup": StepType(
        "filters.dedup:DedupConfig",
        "selection",
        {"input": SETS, "prints?": ("scores",), "scores?": ("scores",), "against?": (*SETS, "scores")},
        "keeps the best of equal and near samples; drops those that benchmarks hold",
    ),
    "evaluate": StepType(
        "filters.evaluate:EvaluateConfig",
        "scores",
        {"input": SETS, "scores*": ("scores",)},
        "makes a benchmark's figures of what judges found: composition, distinction, with intervals",
    ),
    "pack": StepType(
        "shards.pack:PackConfig",
        "samples",
        {"input*": SETS},
        "copies kept samples into even, shuffled shards",
    ),
    "train": StepType(
        "train.step:TrainConfig",
        "model",
        {"base?": SETS, "refined?": SETS, "multi_candidate?": SETS, "multi_input?": SETS},
        "trains a model through the stages; leaves each stage's model, log, curves and pictures",
    ),
    "report": StepType(
        "filters.report:ReportConfig",
        "page",
        {"of*": ("samples", "scores", "selection", "model")},
        "one page: funnel, books, scores, galleries, the judge against the truth",
    ),
}
