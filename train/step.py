"""Training as a step of a recipe: finished directories in, a directory of models, curves and pictures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from shards.books import Books
from shards.driver_step import DriverStep, Input, Result
from shards.listing import list_files, listing_digest
from shards.manifest import record
from shards.sample import Json
from shards.settings import RUN
from shards.storage import Storage
from train.config import TINY, ConfigError, ModelConfig
from train.config_files import read_config
from train.settings import TINY_BASE, Training, TrainSettings
from train.stages import DATA


class StoppedError(RuntimeError):
    """Training was asked to stop and did, after a checkpoint."""


class TrainConfig(DriverStep, Training):
    """Settings of `train`.

    Weights, curves and pictures are the same bytes again on one kind of machine with the same software: they
    hang on no engine, worker or interruption. The log has times in it, and so differs.
    """

    VERSION: ClassVar[int] = 4

    model: str = Field(
        default=TINY_BASE, description="directory to start from (BAGEL-7B-MoT's layout), or tiny", **RUN
    )
    cpu_threads: int | None = Field(
        default=2, gt=0, description="that multiply, per rank; another number may round sums otherwise"
    )

    def computed(self) -> dict[str, Json]:
        """The hash covers the model it starts from: names, sizes and bytes of its files, not their place."""
        start = TINY_BASE if self.model == TINY_BASE else self._listing()
        return {**super().computed(), "model": start}

    def _listing(self) -> str:
        storage = Storage(self.model)
        return listing_digest(storage, list_files(storage)) if storage.exists() else "no listing"

    def missing(self) -> list[str]:
        """A model directory that is not there."""
        try:
            self._config()
        except ConfigError as error:
            return [str(error)]
        return []

    def problems_with(self, inputs: Mapping[str, Sequence[str]]) -> list[str]:
        """What cannot be trained; a model directory that is not there yet is `missing`, not a problem."""
        model = TINY if self.missing() else self._config()
        return self.problems(model, [name for name in DATA if inputs.get(name)])

    def _config(self) -> ModelConfig:
        return TINY if self.model == TINY_BASE else read_config(Path(self.model))

    def make(self, inputs: Mapping[str, Sequence[Input]], target: Storage) -> Result:
        """Train, from the last checkpoint where an earlier run broke off.

        Raises:
            StoppedError: a signal asked for it; the next run goes on.
            ConfigError: the target is no disk, or a sample does not fit the budget.
        """
        from train.curves import write_curves
        from train.launch import launch

        if not target.is_local:
            raise ConfigError(
                f"{target.uri}: expected a disk that every rank sees, got an object store; run the sets "
                "there, then `bakery train` on a disk"
            )
        out = Path(target.path())
        data = {role: tuple(each.storage.uri for each in found) for role, found in inputs.items() if found}
        own = {name: getattr(self, name) for name in Training.model_fields}
        settings = TrainSettings(base=self.model, out=str(out), data=data, **own)
        if launch(settings) != 0:
            raise StoppedError(f"{target.uri}: stopped after a checkpoint; run the same command to go on")
        used = sum(write_curves(out, settings).values())
        for name in (".ray", ".lengths"):  # only going on needs them
            target.delete(name)
        read = sum(each.manifest.books.made for found in inputs.values() for each in found)
        books = Books(read=read, used=used, unused=read - used, planned=used, made=used)
        return Result(files={name: record(target, name) for name in _names(out)}, books=books)


def _names(out: Path) -> list[str]:
    found = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    return sorted(str(name) for name in found if not name.parts[0].startswith(".") and name.name[0] != ".")
