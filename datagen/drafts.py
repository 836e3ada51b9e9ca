"""Drafts: samples made in waves of requests, so that those of a whole batch are in flight together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from datagen.generators import Generator, Picture, PictureRequest
from datagen.parents import UnfitParentError
from datagen.variants import Made
from datagen.writers import TextRequest, Writer, Written
from shards.stage import Reject

Wave: TypeAlias = Literal["edit", "identify", "locate", "phrases", "instruction"]
WAVES: tuple[Wave, ...] = ("edit", "identify", "locate", "phrases", "instruction")


class Draft(Protocol):
    """A sample on its way. A wave that needs nothing asks for nothing."""

    def pictures(self) -> Sequence[PictureRequest]:
        """What is to be drawn for it."""

    def take_pictures(self, pictures: Sequence[Picture]) -> None:
        """The pictures, in order."""

    def texts(self, wave: Wave) -> Sequence[TextRequest]:
        """What is to be written for it in this wave."""

    def take_texts(self, wave: Wave, texts: Sequence[Written]) -> None:
        """The texts, in order. Raises `UnfitParentError` if no sample can come of them."""

    def made(self) -> Made:
        """The sample, after the last wave."""


def make_all(
    drafts: Mapping[int, Draft], writer: Writer, editor: Generator | None
) -> dict[int, Made | Reject]:
    """What becomes of each draft."""
    live = dict(drafts)
    outcomes: dict[int, Made | Reject] = {}
    for wave in WAVES:
        if wave == "edit":
            asked: dict[int, Sequence[Any]] = {n: draft.pictures() for n, draft in live.items()}
            ask: Callable[[Sequence[Any]], list[Any]] = editor.draw if editor else _no_editor
        else:
            asked = {n: draft.texts(wave) for n, draft in live.items()}
            ask = writer.write
        answers = iter(ask([request for requests in asked.values() for request in requests]))
        for n, requests in asked.items():
            found = [next(answers) for _ in requests]
            if requests and (reject := _take(live[n], wave, found)):
                outcomes[n] = reject
                del live[n]
    return outcomes | {n: draft.made() for n, draft in live.items()}


def _no_editor(requests: Sequence[PictureRequest]) -> list[Picture]:
    assert not requests, "the settings ask for an editor wherever something is added"
    return []


def _take(draft: Draft, wave: Wave, answers: Sequence[Picture | Written | Reject]) -> Reject | None:
    """Hand a draft its answers; why it ends here, if it does."""
    if rejects := [answer for answer in answers if isinstance(answer, Reject)]:
        return rejects[0]
    try:
        if wave == "edit":
            draft.take_pictures([answer for answer in answers if isinstance(answer, Picture)])
        else:
            draft.take_texts(wave, [answer for answer in answers if isinstance(answer, Written)])
    except UnfitParentError as error:
        return Reject(reason=error.reason, detail=str(error))
    return None
