"""A stage's samples: where they are, which are held out, and their batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.batch import Batch, Noising, make_batch
from train.config import ModelConfig
from train.parallel import World
from train.plan import Pack, Plan, Step
from train.settings import TrainSettings
from train.source import Place, Source, place_size
from train.stages import Stage
from train.tokenizer import Tokenizer
from train.validate import hold_out


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What a stage reads.

    Attributes:
        sources: directories, by number.
        training, held: samples to train on, and to measure on.
        align: see `train.layout.make_layout`.
    """

    sources: Sequence[Source]
    training: Sequence[Place]
    held: Sequence[Place]
    config: ModelConfig
    tokenizer: Tokenizer
    stage: Stage
    seed: int
    align: int

    def counts(self) -> dict[str, Any]:
        """How many samples train and are held out, and how many each directory gives."""
        given = Counter(place.source for place in (*self.training, *self.held))
        directories = {source.given: given[number] for number, source in enumerate(self.sources)}
        return {"training": len(self.training), "held": len(self.held), "directories": directories}

    def plan(self, settings: TrainSettings) -> Plan:
        """The stage's packs and steps; `check` it before use."""
        language = self.config.language
        per_layer = 2 * language.hidden + 3 * language.intermediate
        return Plan(
            sizes=[place_size(place, self.config, self.stage.noise_draws) for place in self.training],
            seed=settings.seed,
            budget=settings.budget,
            packs_per_step=settings.packs_per_step,
            window=settings.window,
            # Operations of a token's matmuls, in those of a visible pair: 12 of (heads * head size) each.
            token_cost=6 * per_layer // 12,
        )

    def training_batch(self, step: Step, number: int, pack: Pack) -> Batch:
        """The batch of pack `number` of a step."""
        noising = Noising(
            key=(self.seed, "train", step.number, number),
            text_dropout=self.stage.text_dropout,
            image_dropout=self.stage.image_dropout,
            timestep_shift=self.stage.timestep_shift,
            noise_draws=self.stage.noise_draws,
        )
        return self._batch([self.training[sample] for sample in pack.samples], noising)

    def rehearsal_batch(self, pack: Pack) -> Batch:
        """A pack with nothing left out."""
        noising = Noising(key=(self.seed, "rehearsal"), noise_draws=self.stage.noise_draws)
        return self._batch([self.training[sample] for sample in pack.samples], noising)

    def held_batch(self, place: Place, times: tuple[float, ...]) -> Batch:
        """A held-out sample with one target at each time; the same noise at every validation."""
        noising = Noising(key=(self.seed, "held", place.key), noise_draws=len(times), times=times)
        return self._batch([place], noising)

    def _batch(self, places: Sequence[Place], noising: Noising) -> Batch:
        samples = [self.sources[place.source].read(place) for place in places]
        return make_batch(samples, self.config, self.tokenizer, noising, self.align)


def open_dataset(
    settings: TrainSettings, stage: Stage, config: ModelConfig, tokenizer: Tokenizer, world: World, align: int
) -> Dataset:
    """Open a stage's directories; samples of each are held out.

    Raises:
        ConfigError: a directory is not finished, or holds no samples.
    """
    sources = [Source(uri) for name in stage.data for uri in settings.data[name]]
    cache = Path(settings.out) / ".lengths"
    if not world.is_first:
        world.wait()  # the first rank counts tokens, the others read its cache
    places = [source.places(number, tokenizer, cache) for number, source in enumerate(sources)]
    if world.is_first:
        world.wait()
    count, never = settings.validation.samples, held_anywhere(settings)
    held = [{place.key: place for place in found} for found in places]
    return Dataset(
        sources=sources,
        training=[place for found in places for place in found if place.key not in never],
        held=[found[key] for found in held for key in hold_out(found, count)],
        config=config,
        tokenizer=tokenizer,
        stage=stage,
        seed=settings.seed,
        align=align,
    )


def held_anywhere(settings: TrainSettings) -> frozenset[str]:
    """Keys that any data set of the run holds out. A stage trains on none of them: what one stage is measured
    on, another must not have seen, where one set was selected from the other."""
    sources = [Source(uri) for name in settings.data for uri in settings.data[name]]
    return frozenset(
        key for source in sources for key in hold_out(source.keys(), settings.validation.samples)
    )
