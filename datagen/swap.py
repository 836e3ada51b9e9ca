"""Swap: a parent's target becomes the reference, one of its references the target; no new pixels.

Source: Scone (arXiv 2512.12675), section 5.1 and supplement B.3, single-subject cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from datagen.instructions import Mention, write_alone
from datagen.parents import Parent, UnfitParentError, width_px
from datagen.phrases import Phrase, Seen, ambiguous_phrase, choose_phrase, referring_phrases, shared_noun
from datagen.renderer import Renderer
from datagen.spoil import Materials, spoil
from datagen.variants import Made, Wanted
from shards.sample import Candidate, Sample


def swap(random: Random, renderer: Renderer, parent: Parent, wanted: Wanted) -> Made:
    """One of the subjects of the parent's target, alone.

    Raises:
        UnfitParentError: the layout of the parent's target is unknown, or none of its subjects has the
            wanted relation to the others.
    """
    if len(parent.in_target) < 2:
        raise UnfitParentError("no_layout", f"{parent.sample.key}: expected two subjects and their boxes")
    chosen = _choose(random, parent, wanted)
    phrases = {number: _phrase(random, parent, number, wanted) for number in parent.in_target}
    if wanted.fault == "ambiguous_phrase":
        phrases[chosen] = ambiguous_phrase(parent.in_target[chosen], _others(parent, chosen))
    shown = chosen
    if wanted.fault == "target_shows_distractor":
        shown = random.choice([number for number in parent.in_target if number != chosen])
    sample = Sample(
        key=wanted.key,
        instruction=write_alone(random, Mention(phrases[chosen].text, 1), parent.background(chosen)),
        references=(parent.sample.target,),
        target=parent.sample.references[shown],
        subjects=(_candidates(parent, phrases, chosen),),
        provenance=parent.sample.provenance,
    )
    made = Made(
        sample=sample,
        case=parent.in_target[chosen].subject.kind,
        origin={"chosen": chosen, "cue": phrases[chosen].cue, "phrase": phrases[chosen].text},
        truth={
            "references": [[figure.subject for figure in parent.figures]],
            "target": [{"subject": parent.in_target[shown].subject.id}],
        },
    )
    return spoil(wanted.fault, Materials(random=random, renderer=renderer, parent=parent, edits={}), made)


def _choose(random: Random, parent: Parent, wanted: Wanted) -> int:
    """A candidate with the wanted relation; another one each turn."""
    fitting = [
        number
        for number, seen in parent.in_target.items()
        if (wanted.relation == "intra")
        == any(shared_noun(seen.subject, other.subject) for other in _others(parent, number))
    ]
    if not fitting:
        names = ", ".join(seen.subject.name for seen in parent.in_target.values())
        raise UnfitParentError(f"no_{wanted.relation}_candidate", f"{parent.sample.key}: none of {names}")
    return random.sample(fitting, len(fitting))[wanted.turn % len(fitting)]


def _others(parent: Parent, chosen: int) -> list[Seen]:
    return [seen for number, seen in parent.in_target.items() if number != chosen]


def _phrase(random: Random, parent: Parent, number: int, wanted: Wanted) -> Phrase:
    seen = parent.in_target[number]
    found = list(referring_phrases(seen, _others(parent, number), width_px(parent.sample.target)))
    phrase = choose_phrase(random, found, may_use_position=wanted.may_use_position)
    if phrase is None:
        raise UnfitParentError("no_phrase", f"{parent.sample.key}: no words fit only {seen.subject.name!r}")
    return phrase


def _candidates(parent: Parent, phrases: Mapping[int, Phrase], chosen: int) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(
            name=seen.subject.name,
            category=seen.subject.category,
            phrase=phrases[number].text,
            is_target=number == chosen,
            box=seen.box,
        )
        for number, seen in parent.in_target.items()
    )
