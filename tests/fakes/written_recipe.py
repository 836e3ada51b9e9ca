"""A recipe as a person writes one, and what is wrong with it."""

from pathlib import Path

import pytest

from recipes.schema import RecipeError, load_recipe

GOOD = """
name: small
seed: 3
steps:
  base: {step: single_candidate, samples: 4}
  packed: {step: pack, input: base}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def errors_of(folder: Path, text: str, *changes: str) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(folder, text), changes)
    return caught.value.errors
