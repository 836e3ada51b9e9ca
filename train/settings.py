"""What a training recipe sets; checked whole, without torch, before anything is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from shards.setting_faults import fault_lines, flags, unknown
from shards.settings import RUN, Settings
from shards.yaml_file import YamlError, read_yaml
from train.bridge_config import BRIDGE_PRESETS, BridgeConfig
from train.config import ConfigError, ModelConfig
from train.guidance import SamplerConfig
from train.stages import FOUR_STEPS, Share, Stage, stage_preset

TINY_BASE = "tiny"  # as `base`: a small untrained model, written into the run's own directory


class LoraSettings(Settings):
    """Adapters in place of whole weights: one GPU of 48 or 80 GB. Not the paper's setting."""

    rank: int = Field(default=64, gt=0)
    alpha: float = Field(default=64.0, gt=0, description="adapters count alpha / rank times")


class Validation(Settings):
    """Held-out samples, and what is measured on them."""

    samples: int = Field(default=64, ge=0, description="held out of each data set, chosen by key")
    every: int = Field(default=200, gt=0, description="steps")
    times: tuple[Share, ...] = Field(default=(0.1, 0.3, 0.5, 0.7, 0.9), min_length=1)
    images: int = Field(default=4, ge=0, description="held-out samples drawn as pictures")
    image_steps: int = Field(default=50, gt=1)


class Training(Settings):
    """How a model is trained, whatever it starts from and reads.

    Attributes:
        overrides: settings changed, by stage name or for `all`.
        bridge: settings changed of every stage's bridge preset.
        packs_per_step: over all ranks; ranks must divide it.
        window: samples that a pack is chosen from.
        checkpointing: activations kept, `none`, `full` or `attention`.
        is_compiled: none compiles on GPUs only.
    """

    flavour: Literal["released", "paper", "recommended"] = "recommended"
    stages: tuple[str, ...] = Field(default=FOUR_STEPS, min_length=1)
    overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)
    bridge: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    budget: int = Field(default=26_496, gt=0, description="tokens of a pack")
    packs_per_step: int = Field(default=8, gt=0)
    window: int = Field(default=64, gt=0)
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    checkpointing: Literal["none", "full", "attention"] = Field(default="full", **RUN)
    is_compiled: bool | None = Field(default=None, **RUN)
    moments: Literal["float32", "bfloat16"] = Field(
        default="float32", description="what Adam's moments are held in; bfloat16 halves their memory"
    )
    lora: LoraSettings | None = None
    validation: Validation = Validation()
    log_every: int = Field(default=1, gt=0)
    save_every: int = Field(default=500, gt=0, **RUN)
    keep: int = Field(default=2, gt=0, description="checkpoints", **RUN)
    loaders: int = Field(default=4, gt=0, description="threads that read and resize images, per rank", **RUN)
    ranks: int = Field(default=1, gt=0, description="processes, one a GPU; several are started by Ray", **RUN)
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", **RUN)
    load_timeout_s: int = Field(
        default=3600, gt=0, description="a rank waits so long for another: loading, first step, export", **RUN
    )
    step_timeout_s: int = Field(
        default=1200, gt=0, description="and so long: later steps, validation, checkpoints", **RUN
    )
    cpu_threads: int | None = Field(
        default=None, gt=0, description="that multiply, per rank; another number may round sums otherwise"
    )

    def stage(self, name: str) -> Stage:
        """A stage with what this run changes of it.

        Raises:
            ConfigError: no such stage, or a change is none of its settings.
        """
        changes = {**self.overrides.get("all", {}), **self.overrides.get(name, {})}
        preset = stage_preset(self.flavour, name)
        try:
            return Stage.model_validate(preset.model_dump() | changes)
        except ValidationError as error:
            raise ConfigError(
                "\n".join(fault_lines(f"overrides.{name}.", Stage.model_fields, error))
            ) from error

    def bridge_of(self, stage: Stage) -> BridgeConfig | None:
        """The bridge of a stage, or None."""
        if stage.bridge is None:
            return None
        preset = BRIDGE_PRESETS[stage.bridge]
        if faults := list(unknown(self.bridge, vars(preset), "bridge.")):
            raise ConfigError("\n".join(faults))
        try:
            return TypeAdapter(BridgeConfig).validate_python(vars(preset) | self.bridge)
        except ValidationError as error:
            raise ConfigError("\n".join(fault_lines("bridge.", vars(preset), error))) from error

    def sampler(self) -> SamplerConfig:
        """How the run draws its sample images."""
        return SamplerConfig(steps=self.validation.image_steps)

    def problems(self, model: ModelConfig, data: Collection[str]) -> list[str]:
        """Everything that cannot work, at once; sizes of samples are checked by the plan.

        Args:
            model: that is trained.
            data: names of the data sets that there are (see `train.stages.DATA`).
        """
        found = model.problems()
        for name in sorted(set(self.overrides) - {"all", *self.stages}):
            found.append(f"overrides: expected all or a stage of {', '.join(self.stages)}, got {name!r}")
        if self.packs_per_step % self.ranks:
            found.append(
                f"packs_per_step: expected a multiple of the {self.ranks} ranks, got {self.packs_per_step!r}"
            )
        for name in self.stages:
            found += self._stage_problems(name, model, data)
        return found

    def _stage_problems(self, name: str, model: ModelConfig, data: Collection[str]) -> list[str]:
        try:
            stage = self.stage(name)
            bridge = self.bridge_of(stage) if stage.bridge in BRIDGE_PRESETS else None
        except ConfigError as error:
            return [str(error)]
        found = stage.problems()
        missing = [part for part in stage.data if part not in data]
        if missing:
            found.append(
                f"stage {name}: data: expected directories of {', '.join(missing)}, got none; name them in "
                "data, or change the stage's data under overrides"
            )
        if self.lora is not None and not {"und_layers", "gen_layers"} & set(stage.trains):
            found.append(f"stage {name}: trains: expected layers for lora to adapt, got {stage.trains!r}")
        return found if bridge is None else found + bridge.problems(model.language)


class TrainSettings(Training):
    """A training run: from a base model, through stages, to a model that loads where the base loads.

    Attributes:
        base: model directory (BAGEL-7B-MoT's layout), or `tiny`.
        out: where each stage's directory goes.
        data: finished directories or selections, by the names that stages read (see `train.stages.DATA`).
    """

    base: str
    out: str
    data: dict[str, tuple[str, ...]]


def load_settings(path: Path, changes: Mapping[str, Any] | None = None) -> TrainSettings:
    """The settings of a training recipe (YAML), with changes; `data.base` changes one name inside `data`.

    Raises:
        ConfigError: with every unknown name and impossible value, one a line.
    """
    try:
        values = read_yaml(path, "a training recipe")
    except YamlError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected settings by name, got {values!r:.60}")
    if "steps" in values:
        raise ConfigError(f"{path}: expected a training recipe, got a recipe of steps; `bakery run` runs it")
    changed, fields = _changed(values, changes or {}), TrainSettings.model_fields
    faults = list(flags(changed, fields, f"{path}: "))
    try:
        settings = TrainSettings.model_validate(changed)
    except ValidationError as error:
        raise ConfigError("\n".join([*faults, *fault_lines(f"{path}: ", fields, error)])) from error
    if faults:
        raise ConfigError("\n".join(faults))
    return settings


def _changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values with changes by dotted name.

    >>> _changed({"data": {"base": ["a"], "refined": ["b"]}}, {"data.base": ["c"], "seed": 2})
    {'data': {'base': ['c'], 'refined': ['b']}, 'seed': 2}
    """
    found = dict(values)
    for name, value in changes.items():
        first, dot, rest = name.partition(".")
        below = found.get(first)
        found[first] = _changed(below if isinstance(below, Mapping) else {}, {rest: value}) if dot else value
    return found
