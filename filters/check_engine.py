"""The in-process verifier: measures what `verify` asks, of samples whose names are of the known catalogue."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from PIL import Image

from filters.alignment import overlay
from filters.checks import SCENE
from filters.colour import compare_colours, hue_histogram, intersection
from filters.cutouts import Cutout
from filters.embedded import HEADS, NETWORK
from filters.embedded_checks import CHECK_HEADS, NAMES
from filters.embedded_engine import DIGITS
from filters.features import Network, decode
from filters.heads import Heads, read_heads, sigmoid
from filters.judge import Request, describe, reply_bytes
from filters.likeness import moved
from filters.matching import Match, match
from filters.names import Names
from filters.observations import NOTHING, Numbers, colour_numbers, copy_distance, subject_numbers
from filters.raw import Edited
from filters.referring import Known, describes
from filters.sight import Eye, Sight
from filters.wording import number_fault
from shards.image import ImageError
from shards.sample import Candidate, EncodedImage, Json, Sample

YES, NO, OPEN = 0.99, 0.01, 0.5


class CheckEngine:
    """An `OneByOne` engine (see filters/judge.py); its label mass is always 1."""

    def __init__(
        self, eye: Eye, names: Names, heads: Heads, copies: Heads, identity: Mapping[str, Json]
    ) -> None:
        self.identity = identity
        self._eye = eye
        self._names = names
        self._heads = heads
        self._copies = copies

    @classmethod
    def load(cls, identity: Mapping[str, Json]) -> CheckEngine:
        """The engine of the vendored files."""
        text = HEADS.read_text(encoding="utf-8")
        mean = np.array(json.loads(text)["mean_embedding"], dtype=np.float32)
        heads = read_heads(CHECK_HEADS.read_text(encoding="utf-8"))
        return cls(Eye(Network(NETWORK), mean), Names.load(NAMES), heads, read_heads(text), identity)

    def answer(self, sample: Sample, requests: Sequence[Request]) -> list[bytes]:
        """One reply a request; all are errors where an image cannot be decoded."""
        seen = CheckObservation(self._eye, self._names, sample)
        try:
            return [self._reply(seen, request) for request in requests]
        except ImageError as error:
            return [reply_bytes({}, 0.0, status="error", measured={"detail": str(error)}) for _ in requests]

    def _reply(self, seen: CheckObservation, request: Request) -> bytes:
        yes, numbers = self._yes(seen, request)
        yes = round(yes, DIGITS)
        measured = {name: round(value, 4) for name, value in numbers.items()}
        return reply_bytes({"no": round(1 - yes, DIGITS), "yes": yes}, 1.0, measured=measured)

    def _yes(self, seen: CheckObservation, request: Request) -> tuple[float, Numbers]:
        """Probability of yes, and what it was measured from."""
        reference, candidate = request.reference, request.candidate
        if request.question == "phrase_describes":
            return seen.phrase(reference, candidate), {}
        if request.question == "numbers_right":
            return (NO if number_fault(seen.sample.instruction, seen.sample.subjects) else YES), {}
        if request.question == "copy_paste":
            numbers: Numbers = {"copy": seen.copy}
            return sigmoid(self._copies.by_name["copy_paste"].log_odds(numbers)), numbers
        head, found = {
            "candidate_present": ("present", seen.present),
            "target_shows": ("shows", seen.shown),
        }.get(request.question, ("kept", seen.kept))
        measured = found(reference, candidate)
        return (
            (OPEN, {})
            if measured is None
            else (sigmoid(self._heads.by_name[head].log_odds(measured)), measured)
        )


@dataclass(frozen=True)
class CheckObservation:
    """What is measured of one sample, each part when it is first asked for."""

    eye: Eye
    names: Names
    sample: Sample

    @cached_property
    def pictures(self) -> list[Image.Image]:
        return [decode(image) for image in self.sample.references]

    @cached_property
    def sight(self) -> Sight:
        return self.eye.see(decode(self.sample.target))

    @cached_property
    def copy(self) -> float:
        """How far the target is from the nearest reference, as the embedded judge counts it."""
        target = decode(self.sample.target)
        return float(np.log1p(min(copy_distance(picture, target) for picture in self.pictures)))

    @cached_property
    def cutouts(self) -> dict[tuple[int, int], Cutout]:
        """Every candidate that is no scene, cut out of its reference, where it could be found."""
        found: dict[tuple[int, int], Cutout] = {}
        for reference, candidates in enumerate(self.sample.subjects):
            for number, candidate in enumerate(candidates):
                if candidate.category == SCENE:
                    continue
                cutout = self._cut(self.pictures[reference], candidate, alone=len(candidates) == 1)
                if cutout is not None:
                    found[reference, number] = cutout
        return found

    def _cut(self, picture: Image.Image, candidate: Candidate, *, alone: bool) -> Cutout | None:
        """By its claimed box; without one, the only thing, or the thing most like its name."""
        box = candidate.box
        if box and box[0] < box[2] and box[1] < box[3]:
            return self.eye.see_box(picture, box)
        if alone or candidate.name not in self.names:
            return self.eye.see_single(picture) if alone else None
        things = self.eye.see(picture).things
        return max(things, key=lambda t: self.names.likeness(t.embedding, candidate.name).own, default=None)

    def present(self, reference: int, number: int) -> Numbers | None:
        """Of a candidate in its reference; None where its name is unknown."""
        name = self.sample.subjects[reference][number].name
        cutout = self.cutouts.get((reference, number))
        if name not in self.names:
            return None
        if cutout is None:
            return {"own": -1.0, "lead": -1.0, "solid": 0.0}
        likeness = self.names.likeness(cutout.embedding, name)
        return {"own": likeness.own, "lead": likeness.lead, "solid": float(cutout.alpha.mean())}

    @cached_property
    def matches(self) -> dict[tuple[int, int], Match]:
        """Each candidate with what stands for it in the target, if anything does: a thing goes to the
        candidate that it is most like."""
        places = list(self.cutouts)
        found = match(
            [self.cutouts[place] for place in places],
            self.sight.things,
            lambda numbers: self.eye.rejoin(self.sight, numbers),
        )
        return dict(zip(places, found, strict=True))

    def shown(self, reference: int, number: int) -> Numbers | None:
        """Of a candidate in the target."""
        cutout = self.cutouts.get((reference, number))
        if cutout is None:
            return None
        return subject_numbers(cutout, self.matches[reference, number], self.sight, ())

    def kept(self, reference: int, number: int) -> Numbers | None:  # noqa: ARG002, one a reference
        """Of the target's candidate in a reference against the raw one; without that, against the target."""
        chosen = next((n for n, c in enumerate(self.sample.subjects[reference]) if c.is_target), None)
        now = self.cutouts.get((reference, chosen)) if chosen is not None else None
        raw = self.sample.raw.get(reference) if isinstance(self.sample, Edited) else None
        if now is None or chosen is None:
            return None
        if raw is None:
            return aligned(now, self.matches[reference, chosen].thing)
        return self._kept_of(raw, reference, self.sample.subjects[reference][chosen], now)

    def _kept_of(self, raw: EncodedImage, reference: int, chosen: Candidate, now: Cutout) -> Numbers:
        """The best of the claimed place and of all things found: an editor may have shifted it, or given
        back another size."""
        picture = decode(raw)
        if chosen.box:
            chosen = replace(chosen, box=moved(chosen.box, self.pictures[reference], picture))
        before = self._cut(picture, chosen, alone=True)
        best = aligned(before, now)
        if best["likeness"] > SAME or before is None:
            return best
        things = self.eye.see(self.pictures[reference]).things
        return max([best, *(aligned(before, thing) for thing in things)], key=lambda n: n["likeness"])

    def phrase(self, reference: int, number: int) -> float:
        """Whether the phrase of a reference's target can mean a candidate of it."""
        candidates = self.sample.subjects[reference]
        known = [
            Known(nouns=self.names.nouns(c.name), colour=self.names.colour(c.name), box=c.box)
            for c in candidates
        ]
        width = self.pictures[reference].width
        fits = describes(describe(candidates), number, known, width)
        return OPEN if fits is None else YES if fits else NO


SAME = 0.9  # likeness from which a crop at the claimed place is not searched for elsewhere


def aligned(before: Cutout | None, now: Cutout | None) -> dict[str, float]:
    """Two cut-outs laid over each other: likeness of features, shapes, shades and colours."""
    if before is None or now is None:
        return {name: NOTHING[name] for name in KEPT}
    found = overlay(before, now)
    return {
        "likeness": float(before.embedding @ now.embedding),
        "hue": intersection(hue_histogram(before), hue_histogram(now)),
        "shape": found.shape,
        "shade": found.shade,
        **colour_numbers(compare_colours(found, now)),
    }


KEPT = ("likeness", "hue", "shape", "shade", "raw", "residual", "chroma", "worst", "tint")
