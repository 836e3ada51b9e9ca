"""Writers of text: the one protocol that templates, a language model and a test's fake keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from shards.sample import EncodedImage, Json
from shards.stage import Reject

Fields: TypeAlias = Mapping[str, Json]


def accept(fields: Fields) -> None:
    """Take any answer of the right schema."""


@dataclass(frozen=True, kw_only=True)
class TextRequest:
    """What is to be written.

    Attributes:
        prompt: id of the prompt.
        facts: what the writer is told.
        known: what templates need beside, and a model must find out itself.
        images: that the writer is shown, in order.
        seed: 0 to 2**31 - 1.
        check: raises `BadTextError` for an answer that cannot be used; another seed is then tried.
    """

    prompt: str
    facts: Fields
    known: Fields = field(default_factory=dict)
    images: tuple[EncodedImage, ...] = ()
    seed: int
    check: Callable[[Fields], None] = accept


@dataclass(frozen=True, kw_only=True)
class Written:
    """An answer and what made it.

    Attributes:
        fields: as the prompt's schema has them.
        made_by: writer, model, prompt and its version, seed, and the attempts before that were no use.
    """

    fields: Fields
    made_by: Mapping[str, Json]


Text: TypeAlias = Written | Reject


class Writer(Protocol):
    """Writes many texts at once. Whatever is paid for lies in the ledger before it is returned."""

    def write(self, requests: Sequence[TextRequest]) -> list[Text]:
        """An answer to each request, in order, or why there is none."""

    def take_counts(self) -> dict[str, float]:
        """What was asked, and what was no use, since the last call."""

    def close(self) -> None:
        """End what it holds."""
