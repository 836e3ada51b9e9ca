"""Add: an editor adds candidates to a parent's references; the target stays as it is.

Source: Scone (arXiv 2512.12675), section 5.1 and supplement B.3, multi-subject cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random

from datagen.catalogue import Catalogue
from datagen.edits import Edit, edit_reference
from datagen.encoding import encode_jpeg
from datagen.faults import replaced
from datagen.instructions import Mention, Wish, rephrase, write_instruction
from datagen.mentions import named_images, renumber
from datagen.parents import Parent, UnfitParentError
from datagen.phrases import ambiguous_phrase
from datagen.renderer import Figure, Renderer, view_backdrop
from datagen.spoil import Materials, spoil
from datagen.variants import Made, Wanted
from shards.sample import EncodedImage, Json, Sample

EDIT_SHARE = 0.6  # of a parent's references are edited; at least one


def add(random: Random, renderer: Renderer, distractors: Catalogue, parent: Parent, wanted: Wanted) -> Made:
    """The parent with more candidates in at least one of its references.

    Raises:
        UnfitParentError: nothing can be added, or the instruction cannot be made to fit.
    """
    edits = _edits(random, renderer, distractors, parent, wanted)
    if wanted.fault == "ambiguous_phrase":
        edits = {
            n: replace(edit, phrase=ambiguous_phrase(edit.chosen, edit.added)) for n, edit in edits.items()
        }
    is_target_wrong = wanted.fault == "target_shows_distractor"
    figures = _wrong_figures(renderer, parent, edits) if is_target_wrong else parent.figures
    made = Made(
        sample=Sample(
            key=wanted.key,
            instruction=_instruction(random, parent, edits, wanted),
            references=_references(parent, {} if wanted.fault == "nothing_added" else edits),
            target=_drawn(renderer, parent, figures) if is_target_wrong else parent.sample.target,
            subjects=tuple(
                edits[number].candidates() if number in edits else candidates
                for number, candidates in enumerate(parent.sample.subjects)
            ),
            provenance=parent.sample.provenance,
        ),
        case=parent.sample.provenance.case,
        origin=_origin(parent, edits),
        truth=_truth(parent, {} if wanted.fault == "nothing_added" else edits, figures),
    )
    return spoil(wanted.fault, Materials(random=random, renderer=renderer, parent=parent, edits=edits), made)


def _edits(
    random: Random, renderer: Renderer, distractors: Catalogue, parent: Parent, wanted: Wanted
) -> dict[int, Edit]:
    placed = parent.placed
    number_wanted = max(1, sum(random.random() < EDIT_SHARE for _ in placed))
    edits: dict[int, Edit] = {}
    for number in random.sample(sorted(placed), len(placed)):
        if len(edits) == number_wanted:
            break
        avoid = [seen.subject for n, seen in placed.items() if n != number]
        avoid += [seen.subject for edit in edits.values() for seen in edit.added]
        image = parent.sample.references[number]
        edit = edit_reference(random, renderer, distractors, image, placed[number], avoid, wanted)
        if edit:
            edits[number] = edit
    if not edits:
        names = ", ".join(seen.subject.name for seen in placed.values())
        raise UnfitParentError(
            f"no_{wanted.relation}_candidate", f"{parent.sample.key}: none fits beside {names}"
        )
    return edits


def _references(parent: Parent, edits: Mapping[int, Edit]) -> tuple[EncodedImage, ...]:
    images = enumerate(parent.sample.references)
    return tuple(edits[number].image if number in edits else image for number, image in images)


def _instruction(random: Random, parent: Parent, edits: Mapping[int, Edit], wanted: Wanted) -> str:
    """The parent's instruction with the new phrases in the place of names; written anew if it names none."""
    phrases = {parent.sample.subjects[n][0].phrase: edit.phrase.text for n, edit in edits.items()}
    instruction = rephrase(parent.sample.instruction, phrases) or _written_anew(random, parent, edits)
    return _misnumbered(random, parent, instruction) if wanted.fault == "wrong_index" else instruction


def _written_anew(random: Random, parent: Parent, edits: Mapping[int, Edit]) -> str:
    if parent.place is None:
        raise UnfitParentError("names_no_subject", f"{parent.sample.key}: {parent.sample.instruction!r}")
    phrases = {n: parent.sample.subjects[n][0].phrase for n in parent.placed}
    phrases |= {n: edit.phrase.text for n, edit in edits.items()}
    scene = next((n + 1 for n, seen in enumerate(parent.seen) if seen is None), None)
    mentions = [Mention(phrase, number + 1) for number, phrase in phrases.items()]
    return write_instruction(
        random, Wish(mentions=mentions, place="" if scene else parent.place, scene_image=scene)
    )


def _misnumbered(random: Random, parent: Parent, instruction: str) -> str:
    """Two image numbers exchanged."""
    numbers = sorted(named_images(instruction))
    if len(numbers) < 2:
        raise UnfitParentError("names_too_few_images", f"{parent.sample.key}: {instruction!r}")
    first, second = random.sample(numbers, 2)
    return renumber(instruction, {first: second, second: first})


def _wrong_figures(renderer: Renderer, parent: Parent, edits: Mapping[int, Edit]) -> tuple[Figure, ...]:
    """What the target shows where a distractor takes the place of the chosen candidate."""
    number, edit = next(iter(edits.items()))
    place = sorted(parent.placed).index(number)
    if place >= len(parent.figures):
        raise UnfitParentError("no_layout", f"{parent.sample.key}: expected to know what the target shows")
    return replaced(renderer, parent.figures, place, edit.added[0].subject)


def _drawn(renderer: Renderer, parent: Parent, figures: tuple[Figure, ...]) -> EncodedImage:
    if parent.view is None:
        raise UnfitParentError("no_layout", f"{parent.sample.key}: expected the target's view")
    return encode_jpeg(renderer.draw(view_backdrop(parent.view, renderer.side_px), figures))


def _origin(parent: Parent, edits: Mapping[int, Edit]) -> Mapping[str, Json]:
    return {
        "editor": "embedded",
        "edits": [
            {
                "reference": number,
                "cue": edit.phrase.cue,
                "phrase": edit.phrase.text,
                "added": [figure.as_json() for figure in edit.figures],
            }
            for number, edit in edits.items()
        ],
        "target": parent.sample.provenance.origin.get("target", []),
    }


def _truth(parent: Parent, edits: Mapping[int, Edit], figures: tuple[Figure, ...]) -> Mapping[str, Json]:
    shown: list[list[str]] = []
    for number, seen in enumerate(parent.seen):
        added = [other.subject.id for other in edits[number].added] if number in edits else []
        shown.append([seen.subject.id, *added] if seen else [])
    return {"references": shown, "target": [figure.as_json() for figure in figures]}
