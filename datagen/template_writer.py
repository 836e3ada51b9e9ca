"""The embedded writer: templates and what a sample claims, in the place of a language model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Literal, cast

from datagen.ideas import draw_place, idea_of
from datagen.instructions import Mention, Wish, rephrase, write_alone, write_instruction
from datagen.naming import is_ambiguous
from datagen.text_checks import BadTextError
from datagen.writers import Fields, Text, TextRequest, Written
from shards.ledger import Ledger
from shards.sample import Json
from shards.settings import Settings
from shards.stage import Reject, keyed_random

VERSION = 1


class TemplateWriterConfig(Settings):
    """Templates; nothing is asked of anybody."""

    kind: Literal["templates"] = "templates"

    def build(self, ledger: Ledger) -> TemplateWriter:  # noqa: ARG002, nothing is paid
        """The writer."""
        return TemplateWriter()


class TemplateWriter:
    """Writes what templates can: it looks at no image, and knows what the sample claims."""

    def write(self, requests: Sequence[TextRequest]) -> list[Text]:
        """An answer to each request, in order, or why there is none."""
        return [self._write(request) for request in requests]

    def _write(self, request: TextRequest) -> Text:
        random = keyed_random("templates", request.prompt, request.seed)
        try:
            fields = WRITES[request.prompt](random, request.facts, request.known)
            request.check(fields)
        except BadTextError as error:
            return Reject(reason=error.reason, detail=f"{request.prompt}: {error}")
        return Written(
            fields=fields, made_by={"writer": "templates", "version": VERSION, "seed": request.seed}
        )

    def take_counts(self) -> dict[str, float]:
        """Nothing costs anything."""
        return {}

    def close(self) -> None:
        """Nothing is held."""


def _case_plan(random: Random, facts: Fields, known: Fields) -> Fields:  # noqa: ARG001
    inputs = [idea_of(str(entry["kind"]), entry["attributes"]) for entry in _entries(facts["inputs"])]
    return {
        "inputs": [{"name": idea.noun, "prompt": idea.prompt} for idea in inputs],
        "place": draw_place(random),
    }


def _instruction(random: Random, facts: Fields, known: Fields) -> Fields:  # noqa: ARG001
    subjects = _entries(facts["subjects"])
    scene = cast("Mapping[str, Any] | None", facts["scene"])
    called = {entry["image"]: str(entry["called"]) for entry in [*subjects, *([scene] if scene else [])]}
    wish = Wish(
        mentions=[Mention(str(entry["subject"]), entry["image"]) for entry in subjects],
        place=str(facts["place"]),
        scene_image=scene["image"] if scene else None,
        is_ordered=bool(facts["ordered"]),
    )
    return {"instruction": write_instruction(random, wish, called.__getitem__)}


def _terse(random: Random, facts: Fields, known: Fields) -> Fields:  # noqa: ARG001
    mentions = [Mention("", number) for number in range(1, cast(int, facts["images"]) + 1)]
    wish = Wish(mentions=mentions, place=str(facts["place"]), is_terse=True)
    return {"instruction": write_instruction(random, wish)}


def _extract(random: Random, facts: Fields, known: Fields) -> Fields:  # noqa: ARG001
    return {"subjects": known["subjects"], "scene": ""}


def _identify(random: Random, facts: Fields, known: Fields) -> Fields:  # noqa: ARG001
    return {"subject": known["subject"]}


def _phrases(random: Random, facts: Fields, known: Fields) -> Fields:  # noqa: ARG001
    """The bare name, where it is nobody else's."""
    names = [str(entry["name"]) for entry in _entries(facts["subjects"])]
    for number, name in enumerate(names):
        if is_ambiguous(name, [*names[:number], *names[number + 1 :]]):
            raise BadTextError("no_phrase", f"no words tell {name!r} from {', '.join(names)}")
    return {"phrases": [{"phrase": f"the {name}", "cue": "attribute"} for name in names]}


def _rewrite(random: Random, facts: Fields, known: Fields) -> Fields:  # noqa: ARG001
    phrases = {str(entry["was"]): str(entry["phrase"]) for entry in _entries(facts["phrases"])}
    text = rephrase(str(facts["instruction"]), phrases)
    if text is None:
        raise BadTextError(
            "names_no_subject", f"none of {', '.join(phrases)} once in {facts['instruction']!r:.200}"
        )
    return {"instruction": text}


def _alone(random: Random, facts: Fields, known: Fields) -> Fields:
    mention = Mention(str(facts["phrase"]), 1)
    place = str(known.get("place") or "on a plain background")
    return {"instruction": write_alone(random, mention, place, lambda _: str(facts["called"]))}


def _entries(value: Json) -> list[Mapping[str, Any]]:
    return list(cast("Sequence[Mapping[str, Any]]", value))


WRITES: Mapping[str, Callable[[Random, Fields, Fields], Fields]] = {
    "case_plan": _case_plan,
    "instruction": _instruction,
    "terse": _terse,
    "extract": _extract,
    "identify": _identify,
    "phrases": _phrases,
    "rewrite": _rewrite,
    "alone": _alone,
}
