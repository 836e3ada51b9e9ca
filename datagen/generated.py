"""Samples drawn by image models: a plan in words, each input from words, the output from the inputs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Protocol, cast

from datagen.generators import Drawn, Generator, Picture, PictureRequest
from datagen.ideas import Idea, draw_attributes, output_prompt
from datagen.instructions import STYLES
from datagen.mentions import images_named
from datagen.naming import is_ambiguous, name_of
from datagen.text_checks import (
    BadTextError,
    check_bound,
    check_english,
    check_instruction,
    check_line,
    check_order,
)
from datagen.writers import Fields, TextRequest, Writer, Written
from shards.sample import Candidate, Json, Provenance, Sample
from shards.stage import Reject, Stage, Work, keyed_random


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
        instruction: the sample's own.
        told: what the editing model is told, every subject named.
        written_by: what wrote the plan and the instruction.
    """

    work: Work
    ideas: Sequence[Idea]
    instruction: str
    told: str
    written_by: Mapping[str, Json]


class GeneratedBuilder(Stage):
    """Makes samples of planned kinds with a writer and two generators.

    Args:
        source: name of the step.
        config: its settings.
        writer: plans in words, and writes the instruction.
        inputs: draws from words.
        output: draws from words and references.
    """

    def __init__(
        self, source: str, config: Planner, writer: Writer, inputs: Generator, output: Generator
    ) -> None:
        self._source = source
        self._config = config
        self._writer = writer
        self._inputs = inputs
        self._output = output

    def close(self) -> None:
        """End the writer and both generators."""
        for each in (self._writer, self._inputs, self._output):
            each.close()

    def take_counts(self) -> dict[str, float]:
        """What all three counted since the last call."""
        counted: Counter[str] = Counter()
        for each in (self._writer, self._inputs, self._output):
            counted.update(cast(Mapping[str, int], each.take_counts()))
        return dict(counted)

    def __call__(self, batch: Sequence[Work]) -> list[Sample | Reject]:
        outcomes: dict[int, Sample | Reject] = {}
        drafts = self._drafts(batch, outcomes)
        shown = iter(self._inputs.draw([r for draft in drafts.values() for r in self._requests(draft)]))
        inputs = {n: [next(shown) for _ in draft.ideas] for n, draft in drafts.items()}
        outcomes |= {n: _first_reject(drawn) for n, drawn in inputs.items() if not _pictures(drawn)}
        whole = {n: found for n, drawn in inputs.items() if (found := _pictures(drawn))}
        outputs = self._output.draw([self._output_request(drafts[n], found) for n, found in whole.items()])
        for (n, found), output in zip(whole.items(), outputs, strict=True):
            outcomes[n] = self._outcome(drafts[n], found, output)
        return [outcomes[n] for n in range(len(batch))]

    def _random(self, work: Work, *what: Json) -> Random:
        return keyed_random(self._config.prefix, self._config.seed, work.spec["number"], *what)

    # In words

    def _drafts(self, batch: Sequence[Work], outcomes: dict[int, Sample | Reject]) -> dict[int, Draft]:
        """What is to be drawn, by place in the batch; the rejects go to `outcomes`."""
        plans = self._write({n: self._plan(work) for n, work in enumerate(batch)}, outcomes)
        asked = {n: self._instruction(batch[n], plan.fields) for n, plan in plans.items()}
        told = self._write(asked, outcomes)
        terse = {n: self._terse(batch[n], plans[n].fields) for n in told if _is_terse(batch[n])}
        own = told | self._write(terse, outcomes)
        return {n: self._draft(batch[n], plans[n], told[n], own[n]) for n in told if n not in outcomes}

    def _write(
        self, asked: Mapping[int, TextRequest], outcomes: dict[int, Sample | Reject]
    ) -> dict[int, Written]:
        """What was written; the rejects go to `outcomes`."""
        found = dict(zip(asked, self._writer.write(list(asked.values())), strict=True))
        outcomes |= {n: text for n, text in found.items() if isinstance(text, Reject)}
        return {n: text for n, text in found.items() if isinstance(text, Written)}

    def _plan(self, work: Work) -> TextRequest:
        random = self._random(work, "plan in words")
        inputs: list[dict[str, Any]] = []
        for kind in cast(Sequence[str], work.spec["kinds"]):
            taken = [entry["attributes"]["noun"] for entry in inputs]
            inputs.append({"kind": kind, "attributes": draw_attributes(random, kind, taken)})
        return TextRequest(
            prompt="case_plan",
            facts={"inputs": inputs},
            seed=random.randrange(1 << 31),
            check=partial(_check_plan, len(inputs)),
        )

    def _instruction(self, work: Work, plan: Fields) -> TextRequest:
        """What is asked of every sample, of those too whose own instruction will be terse."""
        count = _count(work)
        kinds = cast(Sequence[str], work.spec["kinds"])
        subjects: list[Json] = []
        scene: Json = None
        for number, (kind, name) in enumerate(zip(kinds, _names(plan), strict=True), start=1):
            entry: Json = {"subject": f"the {name}", "image": number, "called": count(number)}
            if kind == "scene":
                scene = entry
            else:
                subjects.append(entry)
        is_ordered = bool(work.spec["ordered"])
        row = [str(cast("Mapping[str, Json]", entry)["called"]) for entry in subjects] if is_ordered else []
        return TextRequest(
            prompt="instruction",
            facts={
                "subjects": subjects,
                "scene": scene,
                "place": "" if scene else _place(plan),
                "ordered": is_ordered,
            },
            seed=self._random(work, "instruction").randrange(1 << 31),
            check=partial(_check_own, {name: count(n) for n, name in enumerate(_names(plan), start=1)}, row),
        )

    def _terse(self, work: Work, plan: Fields) -> TextRequest:
        """What is asked of a sample whose own instruction is to name nothing."""
        names, place = _names(plan), _place(plan)
        return TextRequest(
            prompt="terse",
            facts={"images": len(names), "place": place},
            seed=self._random(work, "terse").randrange(1 << 31),
            check=partial(_check_terse, names, place),
        )

    def _draft(self, work: Work, plan: Written, told: Written, own: Written) -> Draft:
        """`told`: the instruction that names all; `own`: the sample's."""
        kinds = cast(Sequence[str], work.spec["kinds"])
        prompts = [str(entry["prompt"]) for entry in _inputs(plan.fields)]
        ideas = [
            Idea(kind=kind, noun=name, prompt=prompt)
            for kind, name, prompt in zip(kinds, _names(plan.fields), prompts, strict=True)
        ]
        written = {"plan": plan.made_by, "instruction": told.made_by}
        return Draft(
            work=work,
            ideas=ideas,
            instruction=str(own.fields["instruction"]),
            told=output_prompt(str(told.fields["instruction"]), ideas),
            written_by=written if own is told else {**written, "terse": own.made_by},
        )

    # In pictures

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
            "style": draft.work.spec["style"],
            "texts": draft.written_by,
            "references": [picture.made_by for picture in inputs],
            "target": output.made_by,
            "ordered": draft.work.spec["ordered"],
        }


def _count(work: Work) -> Callable[[int], str]:
    return STYLES[str(work.spec["style"])]


def _is_terse(work: Work) -> bool:
    """Where nothing must be named: no order, no image that is a place."""
    kinds = cast(Sequence[str], work.spec["kinds"])
    return bool(work.spec["terse"]) and not work.spec["ordered"] and "scene" not in kinds


def _inputs(plan: Fields) -> Sequence[Mapping[str, Json]]:
    return cast("Sequence[Mapping[str, Json]]", plan["inputs"])


def _names(plan: Fields) -> list[str]:
    """What the inputs are called, without an article."""
    return [name_of(str(entry["name"])) for entry in _inputs(plan)]


def _place(plan: Fields) -> str:
    """Where the picture is set, as it stands in an instruction."""
    return str(plan["place"]).rstrip(" .,;:!")


def _check_plan(inputs: int, fields: Fields) -> None:
    if len(_inputs(fields)) != inputs:
        raise BadTextError("wrong_number", f"inputs: expected {inputs}, got {len(_inputs(fields))}")
    names = _names(fields)
    for number, (name, entry) in enumerate(zip(names, _inputs(fields), strict=True)):
        check_line(name, f"inputs[{number}].name", 60)
        check_english(name, f"inputs[{number}].name")
        check_line(str(entry["prompt"]), f"inputs[{number}].prompt", 400)
        check_english(str(entry["prompt"]), f"inputs[{number}].prompt")
        if is_ambiguous(name, names[:number]):
            raise BadTextError("ambiguous_name", f"inputs: expected names told apart, got {', '.join(names)}")
    check_line(_place(fields), "place", 80)
    check_english(_place(fields), "place")


def _check_own(called: Mapping[str, str], row: Sequence[str], fields: Fields) -> None:
    """`called`: each image by its subject's name; `row`: those whose subjects stand from left to right."""
    text = str(fields["instruction"])
    check_instruction(text, len(called), called=list(called.values()))
    check_bound(text, called)
    if len(row) > 1:
        check_order(text, row)


def _check_terse(names: Sequence[str], place: str, fields: Fields) -> None:
    text = str(fields["instruction"])
    check_instruction(text, len(names), must=[place])
    words = set(re.findall(r"\w+", text.lower().replace(place.lower(), "")))
    named = [name for name in names if words.issuperset(name.lower().split())]
    if named or images_named(text):
        raise BadTextError(
            "names_a_subject", f"instruction: expected no subject or image in it, got {text!r:.200}"
        )


def _pictures(drawn: Sequence[Drawn]) -> list[Picture]:
    """All of them, or none where one is missing."""
    found = [picture for picture in drawn if isinstance(picture, Picture)]
    return found if len(found) == len(drawn) else []


def _first_reject(drawn: Sequence[Drawn]) -> Reject:
    number, reject = next((n, d) for n, d in enumerate(drawn, start=1) if isinstance(d, Reject))
    return Reject(reason=reject.reason, detail=f"input {number}: {reject.detail}")
