"""Edits: one reference image with more candidates than it had, and words that still pick the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from datagen.catalogue import Catalogue, Subject
from datagen.distractors import draw_distractors
from datagen.parents import width_px
from datagen.phrases import Phrase, Seen, choose_phrase, referring_phrases
from datagen.renderer import Figure, Renderer
from datagen.variants import Wanted
from shards.sample import Candidate, EncodedImage

SECOND_SHARE = 0.2  # of edited references get two distractors where there is room


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A reference and what was added to it.

    Attributes:
        image: as it is now.
        chosen: the candidate it had.
        added: the new ones.
        figures: the new ones as the editor drew them.
        phrase: words for `chosen` alone.
    """

    image: EncodedImage
    chosen: Seen
    added: tuple[Seen, ...] = ()
    figures: tuple[Figure, ...] = ()
    phrase: Phrase

    def candidates(self) -> tuple[Candidate, ...]:
        """All that the reference is said to show, the chosen one first."""
        distractors = [self._candidate(seen, self._words(seen), is_target=False) for seen in self.added]
        return (self._candidate(self.chosen, self.phrase.text, is_target=True), *distractors)

    def _candidate(self, seen: Seen, phrase: str, *, is_target: bool) -> Candidate:
        subject = seen.subject
        return Candidate(
            name=subject.name, category=subject.category, phrase=phrase, is_target=is_target, box=seen.box
        )

    def _words(self, seen: Seen) -> str:
        others = [other for other in (self.chosen, *self.added) if other is not seen]
        found = list(referring_phrases(seen, others, width_px(self.image)))
        return found[-1].text if found else ""


def edit_reference(
    random: Random,
    renderer: Renderer,
    distractors: Catalogue,
    image: EncodedImage,
    chosen: Seen,
    avoid: Sequence[Subject],
    wanted: Wanted,
) -> Edit | None:
    """`image` with one or two distractors; None where there is no room, or no words fit `chosen` alone."""
    edit = Edit(image=image, chosen=chosen, phrase=Phrase("", "name"))
    number = 2 if random.random() < SECOND_SHARE else 1
    for distractor in draw_distractors(random, distractors, chosen.subject, wanted.relation, avoid):
        edit = _with_distractor(random, renderer, edit, distractor, wanted) or edit
        if len(edit.added) == number:
            break
    return edit if edit.added else None


def _with_distractor(
    random: Random, renderer: Renderer, edit: Edit, distractor: Subject, wanted: Wanted
) -> Edit | None:
    drawn = renderer.paste(random, edit.image, distractor, [seen.box for seen in (edit.chosen, *edit.added)])
    if drawn is None:
        return None
    image, figure = drawn
    added = (*edit.added, Seen(subject=distractor, box=figure.box))
    found = list(referring_phrases(edit.chosen, added, width_px(image)))
    phrase = _suited(random, found, wanted)
    figures = (*edit.figures, figure)
    return replace(edit, image=image, added=added, figures=figures, phrase=phrase) if phrase else None


def _suited(random: Random, phrases: Sequence[Phrase], wanted: Wanted) -> Phrase | None:
    """Across categories the name itself; within one a cue, as the name is another's too or nearly so."""
    if wanted.relation == "cross":
        return next((phrase for phrase in phrases if phrase.cue == "name"), None)
    cued = [phrase for phrase in phrases if phrase.cue != "name"]
    return choose_phrase(random, cued, may_use_position=wanted.may_use_position)
