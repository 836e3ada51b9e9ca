"""Samples drawn by image models: each input from words, then the output from the inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol, cast

from datagen.generators import Drawn, Generator, Picture, PictureRequest
from datagen.ideas import Idea, draw_idea, draw_place, output_prompt
from datagen.instructions import Mention, Wish, write_instruction
from shards.sample import Candidate, Json, Provenance, Sample
from shards.stage import Reject, Work, keyed_random


class Planner(Protocol):
    """The settings that a draft is made by."""

    @property
    def prefix(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def size_px(self) -> int: ...
    @property
    def licence(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A sample before its pictures.

    Attributes:
        work: the planned sample.
        ideas: per input what it shows.
        wish: what the output is to show.
        instruction: the sample's own.
        told: the instruction that the editing model gets, every subject named.
    """

    work: Work
    ideas: Sequence[Idea]
    wish: Wish
    instruction: str
    told: str


class GeneratedBuilder:
    """Makes samples of planned kinds with two generators.

    Args:
        source: name of the step.
        config: its settings.
        inputs: draws from words.
        output: draws from words and references.
    """

    def __init__(self, source: str, config: Planner, inputs: Generator, output: Generator) -> None:
        self._source = source
        self._config = config
        self._inputs = inputs
        self._output = output

    def close(self) -> None:
        """End both generators."""
        self._inputs.close()
        self._output.close()

    def take_counts(self) -> dict[str, float]:
        """What both generators counted since the last call."""
        return dict(Counter(self._inputs.take_counts()) + Counter(self._output.take_counts()))

    def __call__(self, batch: Sequence[Work]) -> list[Sample | Reject]:
        drafts = [self._draft(work) for work in batch]
        shown = iter(self._inputs.draw([r for draft in drafts for r in self._requests(draft)]))
        inputs = [[next(shown) for _ in draft.ideas] for draft in drafts]
        whole = {n: found for n, drawn in enumerate(inputs) if (found := _pictures(drawn))}
        asked = [self._output_request(drafts[n], pictures) for n, pictures in whole.items()]
        outputs = dict(zip(whole, self._output.draw(asked), strict=True))
        return [
            self._outcome(draft, whole[n], outputs[n]) if n in whole else _first_reject(inputs[n])
            for n, draft in enumerate(drafts)
        ]

    def _random(self, work: Work, *what: Json) -> Random:
        return keyed_random(self._config.prefix, self._config.seed, work.spec["number"], *what)

    def _draft(self, work: Work) -> Draft:
        random = self._random(work, "draft")
        ideas: list[Idea] = []
        for kind in cast(Sequence[str], work.spec["kinds"]):
            ideas.append(draw_idea(random, kind, ideas))
        named = list(enumerate(ideas, start=1))
        scene = next((number for number, idea in named if idea.kind == "scene"), None)
        wish = Wish(
            mentions=[Mention(idea.phrase, number) for number, idea in named if idea.kind != "scene"],
            place="" if scene else draw_place(random),
            scene_image=scene,
            is_ordered=bool(work.spec["ordered"]),
        )
        return Draft(
            work=work,
            ideas=ideas,
            wish=wish,
            instruction=write_instruction(random, _terse(wish) if work.spec["terse"] else wish),
            told=output_prompt(write_instruction(random, wish), ideas),
        )

    def _requests(self, draft: Draft) -> list[PictureRequest]:
        return [self._request(draft, idea.prompt, "input", number) for number, idea in enumerate(draft.ideas)]

    def _output_request(self, draft: Draft, inputs: Sequence[Picture]) -> PictureRequest:
        request = self._request(draft, draft.told, "output")
        references = tuple(picture.image for picture in inputs)
        return PictureRequest(
            prompt=request.prompt, references=references, size_px=request.size_px, seed=request.seed
        )

    def _request(self, draft: Draft, prompt: str, *what: Json) -> PictureRequest:
        side_px = self._config.size_px
        seed = self._random(draft.work, "seed", *what).randrange(1 << 31)
        return PictureRequest(prompt=prompt, size_px=(side_px, side_px), seed=seed)

    def _outcome(self, draft: Draft, inputs: Sequence[Picture], output: Drawn) -> Sample | Reject:
        if isinstance(output, Reject):
            return output
        return Sample(
            key=draft.work.key,
            instruction=draft.instruction,
            references=tuple(picture.image for picture in inputs),
            target=output.image,
            subjects=tuple(
                (Candidate(name=idea.noun, category=idea.kind, phrase=idea.phrase),) for idea in draft.ideas
            ),
            provenance=Provenance(
                source=self._source,
                licence=self._config.licence,
                task="composition_multi",
                case=str(draft.work.spec["case"]),
                origin=self._origin(draft, inputs, output),
            ),
        )

    def _origin(self, draft: Draft, inputs: Sequence[Picture], output: Picture) -> Mapping[str, Json]:
        return {
            "number": draft.work.spec["number"],
            "seed": self._config.seed,
            "references": [picture.made_by for picture in inputs],
            "target": output.made_by,
            "ordered": draft.wish.is_ordered,
        }


def _terse(wish: Wish) -> Wish:
    """The same without names, where the images tell all that is asked."""
    return Wish(
        mentions=wish.mentions,
        place=wish.place,
        scene_image=wish.scene_image,
        is_ordered=wish.is_ordered,
        is_terse=wish.scene_image is None,
    )


def _pictures(drawn: Sequence[Drawn]) -> list[Picture]:
    """All of them, or none where one is missing."""
    found = [picture for picture in drawn if isinstance(picture, Picture)]
    return found if len(found) == len(drawn) else []


def _first_reject(drawn: Sequence[Drawn]) -> Reject:
    number, reject = next((n, d) for n, d in enumerate(drawn, start=1) if isinstance(d, Reject))
    return Reject(reason=reject.reason, detail=f"input {number}: {reject.detail}")
