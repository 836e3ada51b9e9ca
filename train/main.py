"""What `bakery train`, `generate` and `relevance` call."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.config import ConfigError
from train.config_files import read_config
from train.settings import TrainSettings, load_settings


def main_train(path: Path, changes: Mapping[str, Any] | None = None) -> int:
    """Train every stage of a recipe, one after the other; finished ones are skipped. 0 when all are done.

    Several ranks are started by Ray, unless torchrun started this process.

    Raises:
        ConfigError: with everything that is wrong with the recipe, before anything is loaded.
    """
    settings = check_recipe(path, changes)
    from train.launch import launch  # Ray and torch are needed from here on only

    return launch(settings)


def check_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> TrainSettings:
    """A training recipe, checked as far as is possible without its data.

    Raises:
        ConfigError: with every problem, one a line.
    """
    settings = load_settings(path, changes)
    problems = settings.problems(read_config(Path(settings.base)))
    if problems:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems))
    return settings


if __name__ == "__main__":
    try:
        raise SystemExit(main_train(Path(sys.argv[1])))
    except ConfigError as problem:
        sys.stderr.write(f"{problem}\n")
        raise SystemExit(2) from problem
