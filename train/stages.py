"""The training steps of the paper, in three flavours, and why each differs from the others."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shards.settings import Settings
from train.bridge_config import BRIDGE_PRESETS
from train.config import ConfigError
from train.groups import GEN, UND, check_groups

DATA = ("base", "refined", "multi_candidate", "multi_input")
DISTINCTION_DATA = ("refined", "multi_candidate", "multi_input")
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class Stage(Settings):
    """One training step: what trains, on what, for how long, with which loss.

    Attributes:
        trains: parameter groups of `train.groups`.
        data: names of the run's data sets; each sample once an epoch.
        bridge: preset of `train.bridge_config`, or none.
        text_dropout, image_dropout: chance that a sample's text, or each half of a reference, is left out.
        timestep_shift: moves the drawn times towards noise.
        ema: decay of the weights' running mean; none keeps no mean.
    """

    name: str
    trains: tuple[str, ...]
    data: tuple[str, ...]
    steps: int = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    bridge: str | None = None
    lr: float = Field(default=2e-5, gt=0)
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    eps: float = Field(default=1e-15, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    text_dropout: Share = 0.1
    image_dropout: Share = 0.0
    timestep_shift: float = Field(default=1.0, gt=0)
    noise_draws: int = Field(
        default=1, gt=0, description="targets per sample, each with its own noise and time"
    )
    ema: float | None = Field(default=None, gt=0, lt=1)
    may_end_in_warmup: bool = False

    def problems(self) -> list[str]:
        """What cannot be trained like this."""
        where = f"stage {self.name}"
        found = check_groups(f"{where}: trains", self.trains)
        found += [
            f"{where}: data: expected {', '.join(DATA)}, got {name!r}"
            for name in self.data
            if name not in DATA
        ]
        if not self.data:
            found.append(f"{where}: data: expected at least one data set, got none")
        if self.bridge is not None and self.bridge not in BRIDGE_PRESETS:
            found.append(
                f"{where}: bridge: expected {', '.join(BRIDGE_PRESETS)} or null, got {self.bridge!r}"
            )
        if self.warmup_steps >= self.steps and not self.may_end_in_warmup:
            found.append(
                f"{where}: warmup_steps: expected less than {self.steps} steps, got {self.warmup_steps!r}; "
                "the learning rate would never be reached"
            )
        return found


def warmed_lr(stage: Stage, step: int) -> float:
    """The learning rate of a step (from 0): linear to `lr` over the warm-up, then constant."""
    return stage.lr * min(1.0, (step + 1) / (stage.warmup_steps + 1))


# Released: the scripts as they run. Warm-up is left at its default of 2000, so that stage II's 1000 steps end
# at half the rate; stage II reads refined data alone; its first step also trains the time embedder; its last
# one trains two modules and no expert, without the bridge (facts D1-D4, D6).
_RELEASED = (
    Stage(name="stage1_base", trains=(*UND, *GEN), data=("base",), steps=6000, warmup_steps=2000),
    Stage(
        name="stage1_refined",
        trains=(*UND, *GEN),
        data=("refined",),
        steps=2000,
        warmup_steps=2000,
        may_end_in_warmup=True,
    ),
    Stage(
        name="stage2_und",
        trains=(*UND, "time_embedder"),
        data=("refined",),
        steps=1000,
        warmup_steps=2000,
        may_end_in_warmup=True,
        bridge="released",
    ),
    Stage(
        name="stage2_joint",
        trains=("embed_tokens", "time_embedder"),
        data=("refined",),
        steps=1000,
        warmup_steps=2000,
        may_end_in_warmup=True,
    ),
    Stage(
        name="direct_joint",
        trains=(*UND, *GEN),
        data=("multi_candidate",),
        steps=2000,
        warmup_steps=2000,
        may_end_in_warmup=True,
    ),
)

# Paper: what paper and README say. Both give the rate and the steps but no warm-up: 20 steps, enough for
# Adam's second moments. Stage II reads refined, multi-candidate and multi-input data (the released 22K and
# 35K), trains the understanding expert alone and then both, with the bridge in both steps. Like the release
# otherwise: times unshifted, no image dropout, no EMA.
_PAPER = (
    Stage(name="stage1_base", trains=(*UND, *GEN), data=("base",), steps=6000, warmup_steps=20),
    Stage(name="stage1_refined", trains=(*UND, *GEN), data=("refined",), steps=2000, warmup_steps=20),
    Stage(name="stage2_und", trains=UND, data=DISTINCTION_DATA, steps=1000, warmup_steps=20, bridge="paper"),
    Stage(
        name="stage2_joint",
        trains=(*UND, *GEN),
        data=DISTINCTION_DATA,
        steps=1000,
        warmup_steps=20,
        bridge="paper",
    ),
    Stage(name="direct_joint", trains=(*UND, *GEN), data=("multi_candidate",), steps=2000, warmup_steps=20),
)

# Recommended: the paper's steps with what BAGEL's own fine-tuning and the sampler ask for: times shifted by
# 4.0 (BAGEL's CT/SFT; facts D8), a tenth of image halves dropped because sampling uses image guidance (D7),
# an EMA of 0.995 (BAGEL's SFT; D10), warm-up of 5 %. Not measured at 7B by this project.
_RECOMMENDED = tuple(
    stage.model_copy(
        update={
            "warmup_steps": stage.steps // 20,
            "timestep_shift": 4.0,
            "image_dropout": 0.1,
            "ema": 0.995,
            "bridge": stage.bridge and "recommended",
        }
    )
    for stage in _PAPER
)

STAGES: dict[str, tuple[Stage, ...]] = {
    "released": _RELEASED,
    "paper": _PAPER,
    "recommended": _RECOMMENDED,
}
FOUR_STEPS = ("stage1_base", "stage1_refined", "stage2_und", "stage2_joint")


def stage_preset(flavour: str, name: str) -> Stage:
    """A stage of a flavour.

    Raises:
        ConfigError: there is no such flavour or stage.
    """
    if flavour not in STAGES:
        raise ConfigError(f"flavour: expected one of {', '.join(STAGES)}, got {flavour!r}")
    by_name = {stage.name: stage for stage in STAGES[flavour]}
    if name not in by_name:
        raise ConfigError(f"stages: expected names of {', '.join(by_name)}, got {name!r}")
    return by_name[name]
