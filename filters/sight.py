"""Finds things in pictures: a target's, and the one thing that a reference is claimed to give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from filters.cutouts import FRAME_PX, OUTSIDE, SHRINK, Cutout, crop_frame, cut, cut_framed
from filters.features import Maps, Network, fit, to_pixels
from filters.proposals import Proposal, join, propose

TARGET_PX = 512
REFERENCE_PX = 256  # a reference shows one thing, large; where its box is claimed, only that is looked at
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Sight:
    """A picture and what was found in it.

    Attributes:
        picture: as the network saw it.
        maps: what the network made of it.
        proposals: where things are.
        things: their cut-outs.
    """

    picture: Image.Image
    maps: Maps
    proposals: tuple[Proposal, ...]
    things: tuple[Cutout, ...]

    def certainty(self, number: int) -> float:
        """Mean log-odds over one of the things."""
        return float(self.maps.log_odds[self.proposals[number].mask].mean())


class Eye:
    """The network and the mean of the catalogue's embeddings; not centred, embeddings stay as pooled."""

    def __init__(self, network: Network, mean: Array, *, is_centred: bool = True) -> None:
        self._network = network
        self._mean = mean if is_centred else None

    def see(self, picture: Image.Image, side_px: int = TARGET_PX) -> Sight:
        """Everything in a picture."""
        seen = fit(picture, side_px)
        maps = self._network.look(to_pixels(seen))
        proposals = tuple(propose(maps.log_odds))
        things = tuple(self._cut(seen, proposal, maps) for proposal in proposals)
        return Sight(seen, maps, proposals, things)

    def rejoin(self, sight: Sight, numbers: Sequence[int]) -> Cutout:
        """Several of the things as one."""
        return self._cut(sight.picture, join([sight.proposals[number] for number in numbers]), sight.maps)

    def see_box(self, picture: Image.Image, box: tuple[int, int, int, int]) -> Cutout:
        """The thing in a claimed box, in pixels of `picture`."""
        colours = crop_frame(picture, box)
        log_odds = self._network.look(colours).log_odds
        return cut_framed(colours, log_odds, box, picture.size, self._network, self._mean)

    def see_whole(self, picture: Image.Image, box: tuple[int, int, int, int]) -> Cutout:
        """All that is in a box, whether the network takes it for a subject or not."""
        colours = crop_frame(picture, box)
        sure = np.full((FRAME_PX // SHRINK,) * 2, -OUTSIDE, dtype=np.float32)
        return cut_framed(colours, sure, box, picture.size, self._network, self._mean)

    def see_single(self, picture: Image.Image) -> Cutout | None:
        """All that a picture shows, as one thing; None where it shows none."""
        seen = fit(picture, REFERENCE_PX)
        maps = self._network.look(to_pixels(seen))
        proposals = propose(maps.log_odds)
        return self._cut(seen, join(proposals), maps) if proposals else None

    def features(self, picture: Image.Image) -> Array:
        """The network's coarse map of a whole picture, [1280, H/32, W/32]."""
        return self._network.look(to_pixels(fit(picture, TARGET_PX))).features

    def _cut(self, seen: Image.Image, proposal: Proposal, maps: Maps) -> Cutout:
        return cut(seen, proposal, maps.log_odds, self._network, self._mean)
