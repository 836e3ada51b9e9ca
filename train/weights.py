"""Weights on disk: strict loading that reads only what a rank holds, and export to one safetensors file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard

from train.config_files import OWN_FILE
from train.groups import ADAPTER

# BAGEL's `ema.safetensors` is, despite its name, the model that everybody loads. Scone's has the other name.
WEIGHT_FILES = ("model.safetensors", "ema.safetensors")
AUTOENCODER_FILE = "ae.safetensors"
TABLES = ("latent_pos_embed.pos_embed", "vit_pos_embed.pos_embed")
SHOWN = 8

Shape = tuple[int, ...]
Read = Callable[[int, int], Tensor]
Gather = Callable[[str, Tensor], Tensor]


class WeightsError(ValueError):
    """Weights that do not fit the model: *where: expected what, got what; the way out*."""


def weight_file(directory: Path) -> Path:
    """The model's weights in a directory.

    Raises:
        WeightsError: there are none.
    """
    for name in WEIGHT_FILES:
        if (directory / name).exists():
            return directory / name
    raise WeightsError(
        f"{directory}: expected {' or '.join(WEIGHT_FILES)}, found neither; "
        "download the whole model repository, or export a training run"
    )


def file_shapes(path: Path) -> dict[str, Shape]:
    """Every tensor of a safetensors file, from its header alone.

    Raises:
        WeightsError: it is missing, cut off, or no such file.
    """
    try:
        # Read for torch a file is mapped to be written to: more than a machine's memory would be refused.
        with safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path}: expected a whole safetensors file, got: {error}; download it again"
        ) from error


def check_shapes(where: str, expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> None:
    """Refuse any missing, unknown or differently shaped tensor; the two fixed tables may be what they like.

    Raises:
        WeightsError: naming the tensors.
    """
    problems = [
        *_list("lacks", sorted(set(expected) - set(found) - set(TABLES))),
        *_list("has unknown", sorted(set(found) - set(expected) - set(TABLES))),
        *_list(
            "has other shapes:",
            [
                f"{name} {list(found[name])} for {list(expected[name])}"
                for name in sorted(set(expected) & set(found) - set(TABLES))
                if found[name] != expected[name]
            ],
        ),
    ]
    if problems:
        lines = "\n  ".join(problems)
        raise WeightsError(
            f"{where}: expected the model's {len(expected)} tensors:\n  {lines}\n{_hint(expected, found)}"
        )


def _list(words: str, names: list[str]) -> Iterator[str]:
    if names:
        more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield f"{words} {', '.join(names[:SHOWN])}{more}"


def _hint(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> str:
    if not any("_moe_gen" in name for name in found):
        return "no generation expert: this is a plain language model; start from BAGEL-7B-MoT's weights"
    stripped = {name.partition(".")[2] for name in found}
    if len(stripped & set(expected)) > len(set(found) & set(expected)):
        return "the names carry a prefix: save the model itself, not what wraps it"
    return "weights and llm_config.json/vit_config.json must be from the same model"


def state_shapes(module: nn.Module) -> dict[str, Shape]:
    """Shapes of a module's whole state dict, whatever device it is on or how it is sharded."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def copy_rows(into: Tensor, read: Read) -> None:
    """Fill a tensor, or the rows of it that this rank holds, from `read(first, past_last)`."""
    with torch.no_grad():
        if not isinstance(into, DTensor):
            into.copy_(read(0, into.shape[0]))
            return
        local = into.to_local()
        if into.placements == (Shard(0),):
            size = -(
                -into.shape[0] // into.device_mesh.size()
            )  # as torch.chunk: the last shards may be short
            first = min(into.device_mesh.get_local_rank() * size, into.shape[0])
            if len(local):
                local.copy_(read(first, first + len(local)))
        else:
            local.copy_(read(0, into.shape[0]))


def load_file_into(module: nn.Module, path: Path) -> None:
    """Copy a safetensors file into a module that is already on its device, strictly.

    Only the rows that this rank holds are read, one tensor at a time, from the memory-mapped file: host
    memory stays at about the largest tensor, however many ranks load.

    Raises:
        WeightsError: naming every tensor that does not fit.
    """
    state = {name: value for name, value in module.state_dict().items() if ADAPTER not in name}
    check_shapes(str(path), {name: tuple(value.shape) for name, value in state.items()}, file_shapes(path))
    with safe_open(path, framework="pt") as file:
        for name, value in state.items():
            if name not in TABLES:
                source = file.get_slice(name)
                copy_rows(value, lambda first, last, source=source: source[first:last])


def save_streaming(
    path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype, gather: Gather | None = None
) -> None:
    """Write tensors (sharded ones gathered one by one, on every rank) to one safetensors file on rank 0.

    The file appears under its name only when it is whole. Host memory: one tensor.

    Args:
        path: of the file.
        tensors: by name.
        dtype: in the file.
        gather: makes a tensor whole; called on every rank, in order.
    """
    entries, end = {}, 0
    for name, value in tensors.items():
        size = value.numel() * dtype.itemsize
        entries[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(value.shape),
            "data_offsets": [end, end + size],
        }
        end += size
    header = json.dumps({"__metadata__": {"format": "pt"}} | entries).encode()
    header += b" " * (-len(header) % 8)
    partial = path.with_name(f".{path.name}.partial")
    with ExitStack() as stack:
        file = stack.enter_context(partial.open("wb")) if is_first() else None
        if file:
            file.write(len(header).to_bytes(8, "little") + header)
        for name, value in tensors.items():
            whole = (gather or _gathered)(name, value)
            if file:
                file.write(_bytes(whole.detach().to("cpu", dtype)))
        if file:
            file.flush()
            os.fsync(file.fileno())
    if is_first():
        partial.rename(path)


_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


def _bytes(value: Tensor) -> memoryview:
    return memoryview(value.contiguous().flatten().view(torch.uint8).numpy())


def _gathered(_name: str, value: Tensor) -> Tensor:
    return whole_tensor(value)


def whole_tensor(value: Tensor) -> Tensor:
    """A tensor gathered from all ranks, where it is sharded."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def local(value: Tensor) -> Tensor:
    """What of a tensor this rank holds, as a plain one.

    Number by number the same work on it as on the whole, past DTensor's dispatcher, which takes its time for
    every tensor and may leave objects behind (counted: ten at each `lerp_`, torch 2.13).
    """
    return value.to_local() if isinstance(value, DTensor) else value


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def copy_sidecars(source: Path, into: Path, extra: Mapping[str, Any]) -> None:
    """Copy what a model directory holds beside its weights; write `bakery.json` anew."""
    for path in sorted(source.iterdir()):
        is_sidecar = path.is_file() and path.name not in (*WEIGHT_FILES, OWN_FILE)
        if is_sidecar and not path.name.startswith("."):
            shutil.copyfile(path, into / path.name)
    (into / OWN_FILE).write_text(json.dumps(extra, indent=2) + "\n", "utf-8")


def export_name(source: Path) -> str:
    """The name under which the base model's own loader looks for weights."""
    return weight_file(source).name
