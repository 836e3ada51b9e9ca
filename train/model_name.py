"""The name that a checkpoint is served under: it says which weights draw."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import xxhash

from shards.checksum import checksum
from shards.sample import canonical_json
from train.bridge_config import BridgeConfig
from train.config import ConfigError, ModelConfig
from train.tokenizer import FILE as TOKENIZER_FILE
from train.weights import AUTOENCODER_FILE, weight_file

DRAWING = 1
"""Raised when the same weights draw other pictures than before: pictures in a ledger are then others'."""
SHOWN = 8  # digits of the hash: 2 of 1,000 models have the same ones once in 10,000 such collections
BLOCK_BYTES = 16 << 20
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
EXPORTED = "model"  # what every stage calls the folder of its model


def model_name(
    checkpoint: Path, config: ModelConfig, bridge: BridgeConfig | None = None, *, label: str = ""
) -> str:
    """LABEL-xxxxxxxx: the second half follows from all that decides a picture and that no request says.

    That is every byte of the weights (the autoencoder's too), the tokenizer, the model's configuration, and
    the bridge where it is applied. The bytes are read whole. Headers and sampled bytes would take no time but
    may not tell a checkpoint from the one before, where a step moved few weights: an embedding's rows of
    words that a set does not use never change, and bfloat16 swallows small steps. Loading reads the same file
    after it, from memory where it fits there.

    Args:
        checkpoint: a model directory.
        config: of the model, as it is drawn with.
        bridge: where it is applied; None where it is not.
        label: the first half; the directory's name unless given, the one above where it is `model`.

    Raises:
        ConfigError: the label cannot be in a name.
    """
    decides = {
        "drawing": DRAWING,
        "weights": _file_hash(weight_file(checkpoint)),
        "autoencoder": _file_hash(checkpoint / AUTOENCODER_FILE) if config.autoencoder == "flux" else None,
        "tokenizer": _file_hash(checkpoint / TOKENIZER_FILE) if config.tokenizer == "files" else None,
        "config": asdict(config),
        "bridge": asdict(bridge) if bridge else None,
    }
    return f"{_label(checkpoint, label)}-{checksum(canonical_json(decides)).hex()[:SHOWN]}"


def _label(checkpoint: Path, label: str) -> str:
    if label and not NAME.fullmatch(label):
        raise ConfigError(f"--name: expected letters, digits and . _ - in it, got {label!r}")
    folder = checkpoint.resolve()
    words = folder.parent.name if folder.name == EXPORTED else folder.name
    return label or re.sub(r"[^A-Za-z0-9._-]+", "-", words).strip("-._") or EXPORTED


def _file_hash(path: Path) -> str:
    found, block = xxhash.xxh3_128(), memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            found.update(block[:count])
    return found.hexdigest()
