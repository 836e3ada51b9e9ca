"""Text as token ids: the checkpoint's own tokenizer, or plain bytes for the tiny model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer as FastTokenizer

from train.config import ConfigError, ModelConfig

FILE = "tokenizer.json"


class Tokenizer(Protocol):
    """Words to ids.

    Attributes:
        digest: changes whenever ids might; part of the name of cached lengths.
    """

    digest: str

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without the tokens that begin and end it."""


class ByteTokenizer:
    """The UTF-8 bytes themselves."""

    digest = "bytes"

    def encode(self, text: str) -> list[int]:
        """
        >>> ByteTokenizer().encode("an é")
        [97, 110, 32, 195, 169]
        """
        return list(text.encode())


class FileTokenizer:
    """The `tokenizer.json` of a checkpoint."""

    def __init__(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise ConfigError(
                f"{path}: expected the model's tokenizer, found no such file; copy it from the base model, "
                "or write it there with transformers' save_pretrained"
            ) from error
        self.digest = hashlib.sha256(data).hexdigest()[:12]
        self._tokenizer = FastTokenizer.from_buffer(data)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def load_tokenizer(directory: Path, config: ModelConfig) -> Tokenizer:
    """The tokenizer that the configuration names.

    Raises:
        ConfigError: its file is missing.
    """
    return ByteTokenizer() if config.tokenizer == "bytes" else FileTokenizer(directory / FILE)
