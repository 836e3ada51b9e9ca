"""Referring phrases: each fits the chosen candidate and none of the others."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from datagen.catalogue import Subject, load_catalogue
from datagen.layout import centre_x
from datagen.phrases import Phrase, Seen, ambiguous_phrase, choose_phrase, referring_phrases, shared_noun

CATALOGUE = load_catalogue()
NAMED = {s.name: s for s in CATALOGUE}
ANIMALS = [
    NAMED[name]
    for name in (
        "fox",
        "pig",
        "crocodile",
        "owl",
        "flamingo",
        "polar bear",
        "red heart",
        "blue heart",
        "pencil",
    )
]
SIDE = st.integers(20, 300)


@st.composite
def candidates(draw: st.DrawFn) -> list[Seen]:
    """Two to four different subjects with boxes in a picture of 512 px."""
    subjects = draw(st.lists(st.sampled_from(ANIMALS), min_size=2, max_size=4, unique_by=lambda s: s.id))
    seen = []
    for subject in subjects:
        left, top = draw(st.integers(0, 200)), draw(st.integers(0, 200))
        seen.append(Seen(subject=subject, box=(left, top, left + draw(SIDE), top + draw(SIDE))))
    return seen


def fits(phrase: Phrase, candidate: Seen, image: list[Seen]) -> bool:
    """Whether a reader who sees `image` would take `phrase` for `candidate`, judged by its words alone."""
    words = phrase.text.removeprefix("the ")
    noun = next((n for n in sorted(candidate.subject.nouns, key=len, reverse=True) if n in words), None)
    if noun is None:
        return False
    called_so = [seen for seen in image if noun in seen.subject.nouns]
    cue = words.replace(noun, "").split()
    if any(word in cue for word in ("larger", "largest")):
        return all(candidate.area_px >= seen.area_px for seen in called_so)
    if any(word in cue for word in ("smaller", "smallest")):
        return all(candidate.area_px <= seen.area_px for seen in called_so)
    centres = [centre_x(seen.box) for seen in called_so]
    if any(word.startswith("left") for word in cue):
        return centre_x(candidate.box) == min(centres)
    if any(word.startswith("right") for word in cue):
        return centre_x(candidate.box) == max(centres)
    if "middle" in cue:
        return min(centres) < centre_x(candidate.box) < max(centres)
    return not cue or " ".join(cue) == candidate.colour


@given(candidates())
def test_every_phrase_fits_the_chosen_candidate_and_no_other(image):
    for number, chosen in enumerate(image):
        others = [*image[:number], *image[number + 1 :]]
        for phrase in referring_phrases(chosen, others, 512):
            assert [seen for seen in image if fits(phrase, seen, image)] == [chosen], phrase


@given(candidates())
def test_ambiguous_phrase_fits_another_candidate_too(image):
    chosen, others = image[0], image[1:]
    if any(shared_noun(chosen.subject, other.subject) for other in others):
        phrase = ambiguous_phrase(chosen, others)
        assert len([seen for seen in image if fits(phrase, seen, image)]) > 1


def test_name_alone_picks_a_subject_across_categories():
    fox, pencil = (
        Seen(subject=NAMED["fox"], box=(0, 0, 9, 9)),
        Seen(subject=NAMED["pencil"], box=(20, 0, 29, 9)),
    )
    assert list(referring_phrases(fox, [pencil], 64)) == [Phrase("the fox", "name")]


def test_twin_of_the_same_name_is_never_told_apart_by_name():
    twin = CATALOGUE.twin(NAMED["fox"])
    assert twin is not None
    fox, other = Seen(subject=NAMED["fox"], box=(0, 0, 30, 30)), Seen(subject=twin, box=(40, 0, 50, 10))
    cues = {phrase.cue for phrase in referring_phrases(fox, [other], 64)}
    assert cues == {"size", "position"}


def test_colours_that_look_alike_make_no_phrase():
    red, pink = (
        Seen(subject=NAMED[name], box=box)
        for name, box in (("red heart", (0, 0, 9, 9)), ("pink heart", (1, 0, 10, 9)))
    )
    assert all(phrase.cue != "attribute" for phrase in referring_phrases(red, [pink], 64))


def test_what_is_larger_is_larger_than_all_that_can_be_called_so():
    owl, flamingo, fox = (
        Seen(subject=NAMED[name], box=(0, 0, side, side))
        for name, side in (("owl", 60), ("flamingo", 90), ("fox", 30))
    )
    assert all(phrase.cue != "size" for phrase in referring_phrases(owl, [flamingo, fox], 64))


def test_position_is_used_only_where_it_may_be():
    phrases = [Phrase("the left-hand animal", "position"), Phrase("the fox", "name")]
    assert choose_phrase(Random(0), phrases, may_use_position=True) == phrases[0]
    assert choose_phrase(Random(0), phrases, may_use_position=False) == phrases[1]
    assert choose_phrase(Random(0), phrases[:1], may_use_position=False) is None


def test_subject_of_a_foreign_catalogue_can_be_called_by_name_and_subgroup():
    mug = Subject(id="mug", name="mug", category="kitchen", subgroup="drinkware", file="mug.png")
    assert mug.nouns == ("mug", "drinkware")
