"""Swap by a writer: a sample's target becomes the reference, one of its inputs the target; no new pixels.

Unlike `swap`, it knows no layout: candidates are the sample's subjects, and the writer, shown both images,
says which of them the target is. Where it says another one, there is no sample.

Source: Scone (arXiv 2512.12675), section 5.1 and supplement B.3, Fig. 16a.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import cast

from datagen.candidate_boxes import Sought, ask_boxes, read_boxes
from datagen.candidate_phrases import Worded, ask_phrases, read_phrases
from datagen.drafts import Wave
from datagen.generators import Picture, PictureRequest
from datagen.instructions import STYLES
from datagen.kinds import Named, name_all
from datagen.layout import Box
from datagen.naming import is_ambiguous
from datagen.parents import UnfitParentError
from datagen.text_checks import check_instruction
from datagen.variants import Made, Wanted
from datagen.writers import Fields, TextRequest, Written
from shards.sample import Candidate, EncodedImage, Json, Sample


class SwapDraft:
    """A swap on its way.

    Args:
        random: decides.
        parent: a sample of several subjects.
        wanted: the variant.
        kind: of the subject that becomes the target.
        style: how the instruction calls the image.
        locates: whether the writer is asked where candidates stand.

    Raises:
        UnfitParentError: none of the parent's subjects is of the kind and has the wanted relation.
    """

    def __init__(
        self, random: Random, parent: Sample, wanted: Wanted, kind: str, style: str, *, locates: bool
    ) -> None:
        self._random = random
        self._parent = parent
        self._wanted = wanted
        self._called = STYLES[style](1)
        self._locates = locates
        named = name_all(parent)
        self._placed = {n: each for n, each in enumerate(named) if each.kind != "scene"}
        self._chosen = _choose(random, parent.key, self._placed, wanted, kind)
        self._worded: dict[int, Worded] = {
            n: Worded(f"the {c.name}", "name") for n, c in self._placed.items()
        }
        self._boxes: dict[int, Box] = {}
        self._instruction = ""
        self._written: dict[str, Json] = {}

    def pictures(self) -> Sequence[PictureRequest]:
        """None: no new pixels."""
        return ()

    def take_pictures(self, pictures: Sequence[Picture]) -> None:
        """None were asked for."""

    def texts(self, wave: Wave) -> Sequence[TextRequest]:
        """One a wave; a phrase only where the name does not tell."""
        if wave == "identify":
            return [self._identify()]
        if wave == "locate":
            return [self._locate()] if self._locates else []
        if wave == "phrases":
            return [self._phrases()] if self._needs_phrase else []
        return [self._alone()] if wave == "instruction" else []

    def take_texts(self, wave: Wave, texts: Sequence[Written]) -> None:
        """The answers.

        Raises:
            UnfitParentError: the writer sees another subject in the target, or none.
        """
        (text,) = texts
        self._written[wave] = text.made_by
        if wave == "identify":
            self._check_identified(cast(int, text.fields["subject"]))
        elif wave == "locate":
            boxes = read_boxes(text.fields, self._parent.target)
            self._boxes = dict(zip(self._candidates, boxes, strict=True))
        elif wave == "phrases":
            names = [candidate.name for candidate in self._candidates.values()]
            self._worded = dict(zip(self._candidates, read_phrases(text.fields, names), strict=True))
        else:
            self._instruction = str(text.fields["instruction"])

    @property
    def _candidates(self) -> dict[int, Named]:
        """Those of the new reference, the chosen one first."""
        others = {n: each for n, each in self._placed.items() if n != self._chosen}
        return {self._chosen: self._placed[self._chosen], **others}

    @property
    def _needs_phrase(self) -> bool:
        """Within a kind, and where another one's name could mean it too."""
        first, *others = (candidate.name for candidate in self._candidates.values())
        return self._wanted.relation == "intra" or is_ambiguous(first, others)

    def _seed(self) -> int:
        return self._random.randrange(1 << 31)

    def _identify(self) -> TextRequest:
        """Names that several subjects have are listed once; which of them is which, their boxes tell."""
        names = self._names
        chosen = self._placed[self._chosen].name.lower()
        listed: list[Json] = [{"number": n, "name": name} for n, name in enumerate(names.values(), start=1)]
        return TextRequest(
            prompt="identify",
            facts={"subjects": listed},
            known={"subject": list(names).index(chosen) + 1},
            images=(self._parent.target, self._parent.references[self._chosen]),
            seed=self._seed(),
        )

    @property
    def _names(self) -> dict[str, str]:
        """What subjects are called, each name once, in order, by its small letters."""
        return {each.name.lower(): each.name for each in self._placed.values()}

    def _check_identified(self, number: int) -> None:
        wanted, names = self._placed[self._chosen].name, list(self._names.values())
        if not 1 <= number <= len(names):
            raise UnfitParentError(
                "not_identified",
                f"{self._parent.key}: expected to see {wanted!r} in both images, got {number}",
            )
        if names[number - 1].lower() != wanted.lower():
            raise UnfitParentError(
                "other_identified",
                f"{self._parent.key}: expected the target to show {wanted!r}, got {names[number - 1]!r}",
            )

    def _locate(self) -> TextRequest:
        return ask_boxes(*self._shown, self._wanted.key)

    def _phrases(self) -> TextRequest:
        may_use_position = self._wanted.may_use_position
        return ask_phrases(*self._shown, self._seed(), may_use_position=may_use_position)

    @property
    def _shown(self) -> tuple[list[Sought], tuple[EncodedImage, ...], int]:
        """The candidates, each told by the reference that shows it alone; the images; the new reference's
        number."""
        candidates = self._candidates
        sought = [Sought(name=c.name, image=n) for n, c in enumerate(candidates.values(), start=2)]
        return sought, (self._parent.target, *(self._parent.references[n] for n in candidates)), 1

    def _alone(self) -> TextRequest:
        phrase = self._worded[self._chosen].phrase
        return TextRequest(
            prompt="alone",
            facts={"phrase": phrase, "called": self._called},
            images=(self._parent.target, self._parent.references[self._chosen]),
            seed=self._seed(),
            check=partial(_check_alone, self._called, phrase),
        )

    def made(self) -> Made:
        """The sample."""
        worded = self._worded[self._chosen]
        candidates = tuple(
            Candidate(
                name=candidate.name,
                category=candidate.category,
                phrase=self._worded[number].phrase,
                is_target=number == self._chosen,
                box=self._boxes.get(number),
            )
            for number, candidate in self._candidates.items()
        )
        return Made(
            sample=Sample(
                key=self._wanted.key,
                instruction=self._instruction,
                references=(self._parent.target,),
                target=self._parent.references[self._chosen],
                subjects=(candidates,),
                provenance=self._parent.provenance,
            ),
            case=self._placed[self._chosen].kind,
            origin={
                "chosen": self._chosen,
                "cue": worded.cue,
                "phrase": worded.phrase,
                "texts": self._written,
            },
            truth={},
        )


def _choose(random: Random, key: str, placed: dict[int, Named], wanted: Wanted, kind: str) -> int:
    """A subject of the kind and relation; another one each turn."""
    kinds = [candidate.kind for candidate in placed.values()]
    is_relation = (kinds.count(kind) > 1) == (wanted.relation == "intra")
    fitting = [n for n, candidate in placed.items() if candidate.kind == kind]
    if len(placed) < 2 or not fitting or not is_relation:
        shown = ", ".join(f"{c.name} ({c.kind})" for c in placed.values())
        raise UnfitParentError(
            f"no_{wanted.relation}_candidate", f"{key}: expected a {kind} beside others, got {shown}"
        )
    return random.sample(fitting, len(fitting))[wanted.turn % len(fitting)]


def _check_alone(called: str, phrase: str, fields: Fields) -> None:
    check_instruction(str(fields["instruction"]), 1, called=[called], must=[phrase])
