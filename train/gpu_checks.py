"""Everything that wants a GPU to be seen, as one command: `python -m train.gpu_checks`, a JSON line each.

Needs torch, numpy, Pillow, pyarrow, safetensors and tokenizers; `miniature` pydantic, PyYAML and xxhash too,
`beside` transformers. Neither Ray nor vLLM nor anything else. On a CPU the same checks run tiny, in seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from train.speed import BRIDGE, Bench

FLEX_APART = 2e-5  # float32, gradients of flex against dense; sums come in another order
COMPILED_APART = 1e-4
VIT_APART = {"cpu": 0.0, "cuda": 2e-2}  # of the largest value; bfloat16 on GPUs
RELEASED_APART = {"cpu": 1e-5, "cuda": 3e-2}  # of the values' own size; bfloat16 on GPUs
Line = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What a check may read.

    Attributes:
        golden: the released code's test vectors.
        released: a checkout of the released code, where there is one.
    """

    bench: Bench
    golden: Path
    released: Path | None


def golden(options: Options) -> Iterator[Line]:
    """The released code's test vectors in float32 on the device."""
    from train.golden import run_directory

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for name, checks in run_directory(options.golden, options.bench.device):
        errors = {check.name: check.error for check in checks}
        yield {"set": name, "errors": errors, "is_passed": all(check.is_passed for check in checks)}


def flex(options: Options) -> Iterator[Line]:
    """Flex attention through our block masks against dense masks: outputs, and on a GPU gradients."""
    from train.checks_parts import flex_apart

    for is_bridged in (False, True):
        apart = flex_apart(options.bench, is_bridged=is_bridged)
        yield {"bridge": is_bridged, **apart, "is_passed": all(v <= FLEX_APART for v in apart.values())}


def vit(options: Options) -> Iterator[Line]:
    """The ViT's attention in one call (bfloat16 on GPUs) against image by image in float32."""
    from train.checks_parts import vit_apart

    apart = vit_apart(options.bench)
    yield {**apart, "is_passed": all(value <= VIT_APART[options.bench.device] for value in apart.values())}


def compiled(options: Options) -> Iterator[Line]:
    """Compiled layers against plain ones, and how many graphs packs of four lengths need."""
    from train.checks_parts import compiled_apart

    found = compiled_apart(options.bench)
    yield {**found, "is_passed": found["apart"] <= COMPILED_APART and found["new_graphs"] == 0}


def slice_speed(options: Options) -> Iterator[Line]:
    """Step time, tokens a second, MFU and memory of four layers, the bridge off and on."""
    from train.speed import make_slice, measure

    model = make_slice(options.bench)
    for name, samples in options.bench.packs.items():
        off, on = (measure(options.bench, model, name, samples, bridge) for bridge in (None, BRIDGE))
        yield off
        yield {**on, "bridge_overhead": round(on["ms"] / off["ms"] - 1, 4)}


def beside(options: Options) -> Iterator[Line]:
    """Our layers beside the released ones: how far apart, how many times as fast."""
    if options.released is None:
        return
    from train.beside import compare, load_released, make_sides

    bench = options.bench
    sides = make_sides(load_released(options.released, in_float32=not bench.is_gpu), bench)
    for name, samples in bench.packs.items():
        for is_bridged in (False, True):
            found = compare(sides, bench, name, samples, is_bridged=is_bridged)
            apart = max(found["output_apart"], found["gradient_apart"])
            yield {**found, "is_passed": apart <= RELEASED_APART[bench.device]}


def miniature(options: Options) -> Iterator[Line]:
    """A training run of the tiny model: two stages, stopped and gone on with, losses and a picture."""
    from train.checks_parts import miniature_run

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        found = miniature_run(options.bench, Path(folder))
    yield {**found, "is_passed": found["is_same_after_a_stop"] and found["is_finite"]}


CHECKS: dict[str, Callable[[Options], Iterator[Line]]] = {
    "golden": golden,
    "flex": flex,
    "vit": vit,
    "compiled": compiled,
    "miniature": miniature,
    "slice": slice_speed,
    "beside": beside,
}


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each thing checked; 1 if one is past its tolerance or failed."""
    parser = argparse.ArgumentParser(prog="python -m train.gpu_checks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None, help="the GPU where there is one")
    parser.add_argument("--golden", type=Path, default=Path("tests/train/golden"))
    parser.add_argument("--released", type=Path, help="a checkout of the released code, for `beside`")
    parser.add_argument("--repeats", type=int, default=10, help="of each timing")
    given = parser.parse_args(arguments)
    device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    options = Options(Bench(device, given.repeats), given.golden, given.released)
    _print({"check": "machine", "on": options.bench.name, "torch": torch.__version__})
    passed = [_run(name, options) for name in given.only]
    return 0 if all(passed) else 1


def _run(name: str, options: Options) -> bool:
    """Run one check; a failure is a line, so that the others run."""
    began, is_passed = time.perf_counter(), True
    try:
        for line in CHECKS[name](options):
            is_passed &= bool(line.get("is_passed", True))
            _print({"check": name, **line})
    except Exception as error:  # noqa: BLE001, what a GPU run that cannot be repeated soon must not lose
        is_passed = False
        _print({"check": name, "is_passed": False, "error": f"{type(error).__name__}: {error}"})
        traceback.print_exc()
    _print({"check": name, "seconds": round(time.perf_counter() - began, 1)})
    return is_passed


def _print(line: Line) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
