"""Makes the embedded verifier's vendored files again: filters/assets/names.npz and checks.json.

    python -m tools.fit_checks [--heads-only]

1. Every subject of the catalogue, twins included, is drawn as references in views of the calibration
   panoramas; the mean embedding of each becomes its name's vector, in the first principal directions.
2. Multi-candidate samples with every fault, of the calibration split of subjects and panoramas only, half of
   them shifted and zoomed, are measured, and one logistic head a measured question is fitted.

The catalogue is closed: names of held-out subjects are known, their poses and places are not. Seeds
are fixed. About 12 CPU-minutes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from datagen.catalogue import Catalogue, Subject, load_catalogue
from datagen.panoramas import load_panoramas
from datagen.renderer import Renderer, draw_backdrop
from filters.check_engine import KEPT, CheckObservation
from filters.embedded import HEADS, NETWORK
from filters.embedded_checks import CHECK_HEADS, NAMES
from filters.features import Network, decode
from filters.heads import Head
from filters.multi_answers import multi_answer
from filters.names import Names
from filters.sight import Eye
from shards.stage import keyed_random
from tools.checked_samples import Part, edited_samples, map_checked
from tools.rendered_samples import PROCESSES

VIEWS, DIRECTIONS = 3, 128
SAMPLES, SEED, SHARE = 400, 41, 0.08
SMOOTHING = 1.0

INPUTS = {
    "present": ("own", "lead", "solid"),
    "shows": ("likeness", "lead", "hue", "shape", "shade", "certainty", "found"),
    "kept": KEPT,
}
Row = tuple[str, dict[str, float], float]


def main() -> None:
    """Write both files."""
    if "--heads-only" not in sys.argv[1:]:
        write_names()
    rows = [
        row
        for drifts in (False, True)
        for row in map_checked(look, "calibration", SAMPLES // 2, SEED + drifts, SHARE, drifts=drifts)
    ]
    heads = {name: fit(name, [row for row in rows if row[0] == name]) for name in INPUTS}
    content = {
        "heads": {n: {"inputs": h.inputs, "weights": h.weights, "bias": h.bias} for n, h in heads.items()}
    }
    CHECK_HEADS.write_text(json.dumps(content, indent=0) + "\n", encoding="utf-8")
    print(f"{len(rows)} rows; {NAMES.stat().st_size} and {CHECK_HEADS.stat().st_size} bytes")


def eye() -> Eye:
    """The embedded judge's, with its vendored mean."""
    mean = np.array(json.loads(HEADS.read_text(encoding="utf-8"))["mean_embedding"], dtype=np.float32)
    return Eye(Network(NETWORK), mean)


def write_names() -> None:
    """The table of names."""
    catalogue = load_catalogue()
    subjects = [s for one in catalogue.subjects for s in (one, catalogue.twin(one)) if s is not None]
    subjects = [subject for subject in subjects if subject.kind != "scene"]
    parts = [[s.id for s in subjects[start : start + 50]] for start in range(0, len(subjects), 50)]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        means = np.concatenate(list(pool.map(embed, parts)))
    _, _, directions = np.linalg.svd(means, full_matrices=False)
    basis = directions[:DIRECTIONS].T
    vectors = means @ basis
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = {
        "names": [s.name for s in subjects],
        "nouns": ["/".join(s.nouns) for s in subjects],
        "colours": [s.attributes.get("colour", "") for s in subjects],
        "groups": [_group(catalogue, s) for s in subjects],
    }
    table = {name: np.array(values) for name, values in words.items()}
    np.savez_compressed(NAMES, basis=basis.astype(np.float16), vectors=vectors.astype(np.float16), **table)


def _group(catalogue: Catalogue, subject: Subject) -> str:
    """A twin is in the group of what it is the twin of."""
    twin_of = subject.attributes.get("twin_of")
    return (catalogue.by_id(twin_of) if twin_of else subject).group


def embed(ids: Sequence[str]) -> NDArray[np.float32]:
    """The mean embedding of each subject as references show it, length 1."""
    look_at, catalogue, panoramas = eye(), load_catalogue(), load_panoramas("calibration")
    renderer = Renderer(catalogue)
    found = []
    for id_ in ids:
        views = []
        for view in range(VIEWS):
            random = keyed_random("names", id_, view)
            backdrop, _ = draw_backdrop(random, panoramas)
            image, figure = renderer.draw_reference(random, catalogue.by_id(id_), backdrop)
            views.append(look_at.see_box(decode(image), figure.box).embedding)
        mean = np.mean(views, axis=0)
        found.append(mean / np.linalg.norm(mean))
    return np.asarray(found, dtype=np.float32)


def look(part: Part) -> list[Row]:
    """What is measured of a part's samples, with the right answers."""
    look_at, names = eye(), Names.load(NAMES)
    return [
        row for sample in edited_samples(part) for row in rows_of(CheckObservation(look_at, names, sample))
    ]


def rows_of(seen: CheckObservation) -> list[Row]:
    """Numbers and right answers of one sample."""
    rows: list[Row] = []
    for reference, candidates in enumerate(seen.sample.subjects):
        asked = [("kept", "edit_raw_first", -1)] if reference in getattr(seen.sample, "raw", {}) else []
        for number in range(len(candidates)):
            asked += [("present", "candidate_present", number), ("shows", "target_shows", number)]
        for head, question, number in asked:
            right = multi_answer(question, seen.sample, reference, number)
            found = {"kept": seen.kept, "present": seen.present, "shows": seen.shown}[head](reference, number)
            if right is not None and found is not None:
                rows.append((head, dict(found), right))
    return rows


def fit(name: str, rows: Sequence[Row]) -> Head:
    """A logistic head; both sides weigh the same, as the rates of faults are ours."""
    inputs = INPUTS[name]
    values = np.array([[numbers[each] for each in inputs] for _, numbers, _ in rows])
    right = np.array([value for _, _, value in rows])
    spread = np.maximum(values.std(0), 1e-6)
    model = LogisticRegression(C=SMOOTHING, max_iter=2000, class_weight="balanced").fit(
        values / spread, right
    )
    weights = tuple(round(float(w), 5) for w in model.coef_[0] / spread)
    print(f"{name}: {int(right.sum())} of {len(right)} yes, {model.score(values / spread, right):.3f} right")
    return Head(inputs=inputs, weights=(weights,), bias=(round(float(model.intercept_[0]), 5),))


if __name__ == "__main__":
    main()
