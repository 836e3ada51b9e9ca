"""Settings of the embedded judge, the in-process engine for composites of a closed catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from filters.rubrics import Question, RubricError
from shards.sample import Json
from shards.settings import Settings

if TYPE_CHECKING:
    from filters.embedded_engine import EmbeddedEngine

ASSETS = Path(__file__).parent / "assets"
NETWORK = ASSETS / "judge.onnx"
HEADS = ASSETS / "judge.json"

_GRADES = ("0", "1", "2", "3", "4")
_YES_NO = ("no", "yes")
ANSWERS: Mapping[str, tuple[str, ...]] = {
    "consistency": _GRADES,
    "instruction_following": _GRADES,
    "presence": _YES_NO,
    "identity": _YES_NO,
    "colour": _YES_NO,
    "copy_paste": _YES_NO,
}
"""The questions it can answer, and the labels it answers with."""


class EmbeddedEngineConfig(Settings):
    """The embedded judge has nothing to set: its weights are vendored, threads and batch are fixed at one.

    It judges what the embedded renderer makes: composites of the references' own subjects. It has learnt
    nothing of subjects redrawn by a generator, and is no vision-language model.
    """

    VERSION: ClassVar[int] = 1

    kind: Literal["embedded"] = "embedded"

    @property
    def identity(self) -> Mapping[str, Json]:
        """What its answers depend on: the code's version and the weights' hashes."""
        return {
            "engine": "embedded",
            "version": self.VERSION,
            "network": file_hash(NETWORK),
            "heads": file_hash(HEADS),
            "reads_claims": True,
        }

    def build(self) -> EmbeddedEngine:
        """The engine with its weights loaded; onnxruntime and scipy are imported here, not before."""
        from filters.embedded_engine import EmbeddedEngine

        return EmbeddedEngine.load(NETWORK, HEADS, self.identity)


def check_questions(questions: Iterable[Question]) -> None:
    """Refuse questions that the embedded judge has no answer to.

    Raises:
        RubricError: an unknown question, or one with other labels.
    """
    for question in questions:
        if question.id not in ANSWERS:
            raise RubricError(
                f"the embedded judge: expected a question of {', '.join(ANSWERS)}, got {question.id!r}; "
                "ask a served judge"
            )
        if sorted(question.labels) != sorted(ANSWERS[question.id]):
            raise RubricError(
                f"the embedded judge: {question.id}: expected the labels {', '.join(ANSWERS[question.id])}, "
                f"got {', '.join(question.labels)!r}; ask a served judge"
            )


@cache
def file_hash(path: Path) -> str:
    """sha256 of a vendored file, read once."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
