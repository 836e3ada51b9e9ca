"""A benchmark's figures worked out anew from the files of a run, by none of the code that made them."""

import io
import json
import math
import random
import statistics
import tarfile
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from evaluated_sets import answer, case, write_answers, write_drawn, write_evaluation
from shards.sample import Candidate
from shards.storage import Storage

TASKS = (
    *(f"composition_{number}" for number in ("single", "multi")),
    *(f"distinction_{number}_{kind}" for number in ("single", "multi") for kind in ("cross", "intra")),
)
QUESTIONS = ("instruction_following", "consistency")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Six subtasks of 20 to 30 cases in three rounds, with candidates and answers drawn by lot."""
    lot = random.Random(3)
    out = Storage(str(tmp_path_factory.mktemp("by_hand")))
    samples, rows = [], {name: [] for name in (*QUESTIONS, "target_shows")}
    for number in range(150):
        task = TASKS[number % 6]
        listed = tuple(
            tuple(
                Candidate(name=f"thing {n}", is_target=lot.random() < 0.5) for n in range(lot.randint(1, 3))
            )
            for _ in range(1 + ("multi" in task))
        )
        if lot.random() < 0.2 and number > 12:
            continue
        for round_ in range(3):
            sample = case(number, task, round_, subjects=listed)
            samples.append(sample)
            for name in QUESTIONS:
                rows[name].append(lost(answer(sample.key, 4 * lot.betavariate(4, 2)), lot))
            rows["target_shows"] += [
                lost(answer(sample.key, float(lot.random() < 0.6), reference=r, candidate=c), lot)
                for r, some in enumerate(listed)
                for c in range(len(some))
                if task.startswith("distinction")
            ]
    drawn = write_drawn(out, samples)
    judged = write_answers(out, drawn, rows)
    step = write_evaluation(out, drawn, judged, tolerate_unreadable=0.3, resamples=2000)
    return drawn.storage.path(), judged.storage.path(), step.storage.path()


def lost(row, lot):
    return row | {"status": "error", "mode": None, "expected": None} if lot.random() < 0.03 else row


def by_hand(drawn, judged):
    """Of each subtask its cases' composition and distinction, from the tar's JSON and the judge's tables."""
    said = {
        name: {
            (row["key"], row["reference"], row["candidate"]): row
            for row in pq.read_table(f"{judged}/scores/{name}.parquet").to_pylist()
        }
        for name in (*QUESTIONS, "target_shows")
    }
    found = {part: defaultdict(lambda: defaultdict(list)) for part in ("composition", "distinction")}
    with tarfile.open(f"{drawn}/shards/00000.tar") as tar:
        for member in tar:
            if not member.name.endswith(".json"):
                continue
            told = json.load(io.TextIOWrapper(tar.extractfile(member)))
            key, origin = member.name.partition(".")[0], told["provenance"]["origin"]
            task = told["provenance"]["task"]
            grades = [said[name][key, -1, -1]["expected"] for name in QUESTIONS]
            if None not in grades:
                of_ten = [grade / 4 * 10 for grade in grades]
                found["composition"][task][origin["case_key"]].append(math.sqrt(of_ten[0] * of_ten[1]))
            pairs = [
                (candidate["is_target"], said["target_shows"][key, r, c]["mode"])
                for r, some in enumerate(told["subjects"])
                for c, candidate in enumerate(some)
                if task.startswith("distinction")
            ]
            if pairs and all(shown is not None for _, shown in pairs):
                both = sum(wanted and shown == 1 for wanted, shown in pairs)
                either = sum(bool(wanted) + (shown == 1) for wanted, shown in pairs)
                right = sum(wanted == (shown == 1) for wanted, shown in pairs) / len(pairs)
                f1 = 2 * both / either if either else 1.0
                found["distinction"][task][origin["case_key"]].append(10 * (right + f1) / 2)
    return {
        part: {task: [statistics.mean(rounds) for rounds in cases.values()] for task, cases in tasks.items()}
        for part, tasks in found.items()
    }


def test_the_figures_are_those_that_the_files_give_by_hand(run):
    drawn, judged, scored = run
    cases = by_hand(drawn, judged)
    written = json.loads(Path(scored, "evaluation.json").read_text())
    for part in ("composition", "distinction"):
        told = {task: held[part] for task, held in written["subtasks"].items() if part in held}
        assert {task: figure["n"] for task, figure in told.items()} == {
            task: len(values) for task, values in cases[part].items()
        }
        for task, values in cases[part].items():
            assert told[task]["value"] == pytest.approx(statistics.mean(values), abs=1e-6)
    com, dis = (
        statistics.mean(map(statistics.mean, cases[part].values())) for part in ("composition", "distinction")
    )
    totals = {name: figure["value"] for name, figure in written["totals"].items()}
    assert totals == pytest.approx({"COM": com, "DIS": dis, "Overall": (com + dis) / 2}, abs=1e-6)
    assert (len(cases["composition"]), len(cases["distinction"])) == (6, 4)


def test_an_interval_is_as_wide_as_the_spread_of_the_cases_makes_it(run):
    """Of a mean of independent means the width is 2 x 1.96 standard errors; 2,000 resamples show it."""
    drawn, judged, scored = run
    written = json.loads(Path(scored, "evaluation.json").read_text())
    for part, total in (("composition", "COM"), ("distinction", "DIS")):
        cases = by_hand(drawn, judged)[part].values()
        error = math.sqrt(sum(statistics.pvariance(values) / len(values) for values in cases)) / len(cases)
        figure = written["totals"][total]
        assert figure["high"] - figure["low"] == pytest.approx(2 * 1.96 * error, rel=0.1)
