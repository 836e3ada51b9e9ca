"""OmniContext's columns and its eight types of case."""

from __future__ import annotations

from datagen.unusable import UnusableError

# Source: facts/data.md 3.2.
NAMES = {
    "key": "key",
    "instruction": "instruction",
    "references": "input_images",
    "task": "task_type",
    "licence": "licence",
    "language": "instruction_language",
}
LANGUAGE = "instruction_language"
ENGLISH = "en"
TYPES = (
    "single_character",
    "single_object",
    "multi_character",
    "multi_object",
    "multi_character_object",
    "scene_character",
    "scene_object",
    "scene_character_object",
)


def check_type(value: object) -> str:
    """A case's type.

    Raises:
        UnusableError: it is none of the eight.
    """
    if value not in TYPES:
        raise UnusableError(
            "unknown_task", f"task_type: expected one of {', '.join(TYPES)}, got {value!r:.60}"
        )
    return str(value)
