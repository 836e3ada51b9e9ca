"""X2I-subject-driven: jsonl files in the root, pictures in tar.gz archives, the big ones cut into parts."""

from __future__ import annotations

from typing import ClassVar

from datagen.importers.jsonl import JsonlSettings


class X2iSettings(JsonlSettings):
    """Settings of `import_x2i`.

    Source: facts/data.md 4. How a record's path and a member's name relate is not known for every part of
    the set; an archive that holds nothing of what its records name is an error that shows both.
    """

    SOURCE: ClassVar[str] = "X2I-subject-driven"
    LICENCE: ClassVar[str] = "apache-2.0"
