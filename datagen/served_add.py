"""Add by an editor and a writer: a sample's references get more candidates; its target stays as it is.

Source: Scone (arXiv 2512.12675), section 5.1 and supplement B.3, Fig. 17.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import cast

from datagen.candidate_boxes import Sought, ask_boxes, read_boxes
from datagen.candidate_phrases import Worded, ask_phrases, read_phrases
from datagen.distractor_ideas import Distractor, draw_distractor_ideas, edit_prompt, wording
from datagen.drafts import Wave
from datagen.generators import Picture, PictureRequest, fitted
from datagen.kinds import Named, name_all
from datagen.layout import Box
from datagen.mentions import images_named
from datagen.naming import is_ambiguous
from datagen.parents import UnfitParentError
from datagen.text_checks import (
    BadTextError,
    check_english,
    check_images_exist,
    check_instruction,
)
from datagen.variants import Made, Wanted
from datagen.writers import Fields, TextRequest, Written
from shards.sample import Candidate, EncodedImage, Json, Sample


@dataclass(kw_only=True)
class Edited:
    """A reference that is edited.

    Attributes:
        chosen: the subject it had.
        added: what is to be added.
        picture: what the editor made of it.
        boxes: where `chosen` stands in it, then each added one; none where nobody looked.
        located_by: what found the boxes.
        worded: words for `chosen`, then for each added one.
        texts: what wrote the phrases.
    """

    chosen: Named
    added: list[Distractor]
    picture: Picture | None = None
    boxes: Sequence[Box] = ()
    located_by: Mapping[str, Json] = field(default_factory=dict)
    worded: list[Worded] = field(default_factory=list)
    texts: Mapping[str, Json] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Of all candidates, the chosen one first."""
        return [self.chosen.name, *(other.name for other in self.added)]

    @property
    def image(self) -> EncodedImage:
        """The reference as it is now."""
        assert self.picture is not None
        return self.picture.image


class AddDraft:
    """An add on its way.

    Args:
        random: decides.
        parent: the sample.
        wanted: the variant.
        largest_px: side above which a reference is asked for smaller.
        locates: whether the writer is asked where candidates stand.

    Raises:
        UnfitParentError: a subject of the parent has no name or kind, or its instruction is not English
            or names an image that there is not.
    """

    def __init__(
        self, random: Random, parent: Sample, wanted: Wanted, largest_px: int, *, locates: bool
    ) -> None:
        self._random = random
        self._parent = parent
        self._wanted = wanted
        self._largest_px = largest_px
        self._locates = locates
        _check_parent(parent)
        self._named = name_all(parent)
        self._edits = self._draw_edits()
        self._instruction = parent.instruction
        self._rewritten: Mapping[str, Json] = {}

    def _draw_edits(self) -> dict[int, Edited]:
        placed = [n for n, named in enumerate(self._named) if named.kind != "scene"]
        if not placed:
            raise UnfitParentError("no_subject", f"{self._parent.key}: expected more than a scene")
        number = max(1, sum(self._random.random() < wording()["edit_share"] for _ in placed))
        taken = [named.name for named in self._named]
        edits = {}
        for n in sorted(self._random.sample(placed, number)):
            chosen = self._named[n]
            besides = [name for other, name in enumerate(taken) if other != n]
            try:
                added = draw_distractor_ideas(
                    self._random, chosen.kind, chosen.name, self._wanted.relation, besides
                )
            except LookupError as error:
                raise UnfitParentError("no_distractor", f"{self._parent.key}: {error}") from error
            taken += [other.name for other in added]
            edits[n] = Edited(chosen=chosen, added=added)
        return edits

    # Waves

    def pictures(self) -> Sequence[PictureRequest]:
        """An edit of each reference that gets more candidates."""
        return [self._edit(self._parent.references[n], edit) for n, edit in self._edits.items()]

    def _edit(self, image: EncodedImage, edit: Edited) -> PictureRequest:
        return PictureRequest(
            prompt=edit_prompt(f"the {edit.chosen.name}", edit.added),
            references=(image,),
            size_px=fitted(image, self._largest_px),
            seed=self._random.randrange(1 << 31),
            keeps_scene=True,
        )

    def take_pictures(self, pictures: Sequence[Picture]) -> None:
        """The edited references, in order."""
        for edit, picture in zip(self._edits.values(), pictures, strict=True):
            edit.picture = picture

    def texts(self, wave: Wave) -> Sequence[TextRequest]:
        """Boxes, phrases where a name does not tell, and an instruction that holds them."""
        if wave == "locate":
            return [self._boxes(n) for n in self._edits] if self._locates else []
        if wave == "phrases":
            return [self._phrases(n) for n, edit in self._edits.items() if self._needs_phrase(edit)]
        return [self._rewrite()] if wave == "instruction" and self._needs_rewrite() else []

    def take_texts(self, wave: Wave, texts: Sequence[Written]) -> None:
        """The answers, in order."""
        if wave == "instruction":
            self._instruction = str(texts[0].fields["instruction"])
            self._rewritten = texts[0].made_by
            return
        if wave == "locate":
            for edit, text in zip(self._edits.values(), texts, strict=True):
                edit.boxes, edit.located_by = read_boxes(text.fields, edit.image), text.made_by
            return
        asked = [edit for edit in self._edits.values() if self._needs_phrase(edit)]
        for edit, text in zip(asked, texts, strict=True):
            edit.worded, edit.texts = read_phrases(text.fields, edit.names), text.made_by

    def _boxes(self, number: int) -> TextRequest:
        return ask_boxes(*self._shown(number), self._wanted.key, number)

    def _shown(self, number: int) -> tuple[list[Sought], tuple[EncodedImage, ...], int]:
        """The candidates of an edited reference, the raw and the edited image, and the latter's number."""
        edit = self._edits[number]
        added = [Sought(name=added.name, look=added.look) for added in edit.added]
        images = (self._parent.references[number], edit.image)
        return [Sought(name=edit.chosen.name, image=1), *added], images, 2

    def _needs_phrase(self, edit: Edited) -> bool:
        """Within a kind, and where another one's name could mean it too."""
        return self._wanted.relation == "intra" or is_ambiguous(edit.chosen.name, edit.names[1:])

    def _phrases(self, number: int) -> TextRequest:
        seed = self._random.randrange(1 << 31)
        may_use_position = self._wanted.may_use_position
        return ask_phrases(*self._shown(number), seed, may_use_position=may_use_position)

    def _worded(self, edit: Edited) -> list[Worded]:
        return edit.worded or [
            Worded(edit.chosen.phrase, "name"),
            *(Worded(f"the {other.name}", "name") for other in edit.added),
        ]

    def _needs_rewrite(self) -> bool:
        """The instruction stays where it names every edited subject by words that fit only it."""
        return any(
            self._needs_phrase(edit) or not _is_named(edit.chosen, self._parent.instruction)
            for edit in self._edits.values()
        )

    def _rewrite(self) -> TextRequest:
        phrases: list[Json] = [
            {"image": n + 1, "was": _was(edit.chosen, self._parent.instruction), "phrase": phrase}
            for n, edit in self._edits.items()
            if (phrase := self._worded(edit)[0].phrase)
        ]
        must = [str(cast("Mapping[str, Json]", entry)["phrase"]) for entry in phrases]
        numbers = {n + 1 for n in self._edits} if len(self._parent.references) > 1 else set()
        return TextRequest(
            prompt="rewrite",
            facts={"instruction": self._parent.instruction, "phrases": phrases},
            seed=self._random.randrange(1 << 31),
            check=partial(_check_rewritten, self._parent, must, numbers),
        )

    def made(self) -> Made:
        """The sample."""
        references = enumerate(self._parent.references)
        return Made(
            sample=replace(
                self._parent,
                key=self._wanted.key,
                instruction=self._instruction,
                references=tuple(
                    self._edits[n].image if n in self._edits else image for n, image in references
                ),
                subjects=tuple(
                    self._candidates(self._edits[n]) if n in self._edits else candidates
                    for n, candidates in enumerate(self._parent.subjects)
                ),
            ),
            case="",
            origin=self._origin(),
            truth={},
        )

    def _candidates(self, edit: Edited) -> tuple[Candidate, ...]:
        names = [(edit.chosen.name, edit.chosen.category), *((each.name, each.kind) for each in edit.added)]
        boxes: Sequence[Box | None] = edit.boxes or [None] * len(names)
        return tuple(
            Candidate(name=name, category=category, phrase=worded.phrase, is_target=n == 0, box=box)
            for n, ((name, category), worded, box) in enumerate(
                zip(names, self._worded(edit), boxes, strict=True)
            )
        )

    def _origin(self) -> Mapping[str, Json]:
        edits: list[Json] = []
        for n, edit in self._edits.items():
            assert edit.picture is not None
            worded = self._worded(edit)[0]
            edits.append(
                {
                    "reference": n,
                    "raw_sha256": hashlib.sha256(self._parent.references[n].data).hexdigest(),
                    "cue": worded.cue,
                    "phrase": worded.phrase,
                    "added": [{"name": a.name, "kind": a.kind, "look": a.look} for a in edit.added],
                    "made_by": edit.picture.made_by,
                    "texts": edit.texts,
                    **({"located_by": edit.located_by} if edit.located_by else {}),
                }
            )
        return {"edits": edits, "texts": {"instruction": self._rewritten}}


def _check_parent(parent: Sample) -> None:
    try:
        check_english(parent.instruction, f"{parent.key}: instruction")
        check_images_exist(parent.instruction, len(parent.references))
    except BadTextError as error:
        raise UnfitParentError(error.reason, f"{parent.key}: {error}") from error


def _is_named(named: Named, instruction: str) -> bool:
    return any(
        re.search(rf"\b{re.escape(words)}\b", instruction, re.I) for words in (named.phrase, named.name)
    )


def _was(named: Named, instruction: str) -> str:
    """The words that an instruction has for a subject, as far as they are known."""
    return (
        named.phrase
        if re.search(rf"\b{re.escape(named.phrase)}\b", instruction, re.I)
        else f"the {named.name}"
    )


def _check_rewritten(parent: Sample, must: Sequence[str], numbers: set[int], fields: Fields) -> None:
    text = str(fields["instruction"])
    check_instruction(text, len(parent.references), must=must)
    lost = (images_named(parent.instruction) | numbers) - images_named(text)
    if lost:
        raise BadTextError(
            "left_out", f"instruction: expected images {sorted(lost)} named, got {text!r:.200}"
        )
