"""Which image models a recipe may name: one behind the images API, or one in the worker's own process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import Discriminator, Tag

from datagen.diffusers_engine import DiffusersConfig
from datagen.images_api import ImagesApiConfig


def _kind(value: object) -> str:
    found = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return str(found or "images_api")


ImageModel: TypeAlias = Annotated[
    Annotated[ImagesApiConfig, Tag("images_api")] | Annotated[DiffusersConfig, Tag("diffusers")],
    Discriminator(_kind),
]
"""`kind: images_api`, which need not be written, or `kind: diffusers`."""
