"""MUSAR-Gen: parquet, always two references; its prompts are templates, written anew as instructions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from datagen.importers.parquet import ParquetSettings, Row, image_bytes, text_in
from datagen.importers.stage import Raw
from datagen.unusable import UnusableError
from shards.sample import Candidate
from shards.stage import keyed_random

IMAGES = ("cond_img_0", "cond_img_1", "tgt_img")
TEXTS = ("cond_prompt_0", "cond_prompt_1", "prompt")
# Source: facts/data.md 4, the README of guozinan126/MUSAR.
SCENE = re.compile(r"\bin (?:the|a|an) (?P<scene>[^,.]{2,120}?)(?: scene)?,", re.IGNORECASE)
FORMS = (
    "Put {one} from image 1 and {other} from image 2 together{scene}.",
    "{one} of the first image stands with {other} of the second image{scene}.",
    "Show {one} (image 1) next to {other} (image 2){scene}.",
    "A picture of {one} in photo 1 and {other} in photo 2, side by side{scene}.",
)


class MusarGenSettings(ParquetSettings):
    """Settings of `import_musar_gen`."""

    VERSION: ClassVar[int] = 4
    SOURCE: ClassVar[str] = "MUSAR-Gen"
    LICENCE: ClassVar[str] = "apache-2.0"

    # Elsewhere a seed decides which records are drawn; here also which words a sample has.
    seed: int = Field(
        default=0, ge=0, description="of the drawing and the wording; the recipe's seed unless set"
    )

    instruction: Literal["rewritten", "published"] = Field(
        default="rewritten", description="an instruction that names both images, or the prompt as published"
    )

    @property
    def needed(self) -> Sequence[str]:
        """Columns that the files must have."""
        return [self.columns.get(name, name) for name in (*IMAGES, *TEXTS)]

    @property
    def metadata(self) -> Sequence[str]:
        """The texts."""
        return [self.columns.get(name, name) for name in TEXTS]

    def raw(self, row: Row) -> Raw:
        """A record with its pictures."""
        first, second, prompt = (text_in(row[self.columns.get(name, name)], name) for name in TEXTS)
        for name, subject in zip(TEXTS, (first, second), strict=False):
            if not subject.strip(" ."):
                raise UnusableError(
                    "bad_metadata", f"{name}: expected the name of a subject, got {subject!r}"
                )
        rewritten = self.instruction == "rewritten"
        return Raw(
            instruction=instruction_of(first, second, prompt, self.seed) if rewritten else prompt,
            images=[image_bytes(row[self.columns.get(name, name)], name) for name in IMAGES],
            origin={"prompt": prompt} if rewritten else {},
            subjects=[[Candidate(name=first.strip(" ."))], [Candidate(name=second.strip(" ."))]],
            case="object+object",
        )


def instruction_of(first: str, second: str, prompt: str, seed: int) -> str:
    """An instruction that says which subject is of which image, and where they are to be.

    >>> instruction_of("a cup", "a lamp", "Two objects. in the kitchen scene, a cup and ...", 1)
    'A cup of the first image stands with a lamp of the second image in the kitchen.'
    """
    found = SCENE.search(prompt)
    scene = f" in the {found['scene'].strip()}" if found else ""
    form = keyed_random("musar-gen", seed, first, second, prompt).choice(FORMS)
    text = form.format(one=first.strip(" ."), other=second.strip(" ."), scene=scene)
    return text[:1].upper() + text[1:]
