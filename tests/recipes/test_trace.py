"""`bakery why` and `bakery show`: a sample's whole way, that of what it was made from included."""

import re
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from command_line import bakery
from filters.fake_server import MODEL, Behaviour, FakeServer
from recipes.display import Display
from recipes.run import Run
from recipes.schema import load_recipe
from recipes.trace import Way, finished, made_from
from shards.finish import read_rejects
from shards.index import Directory
from shards.manifest import Manifest, write_manifest
from shards.storage import Storage

RECIPE = """
name: traced
seed: 5
run: {{workers: 1}}
steps:
  zz_base: {{step: single_candidate, samples: 12, size_px: 128, faults: {{damaged_file: 0.2}}}}
  judged:
    step: judge
    input: zz_base
    questions: [consistency]
    engine: {{kind: served, model: {model}, revision: r1, endpoints: ["{url}"]}}
  kept: {{step: select, input: zz_base, scores: judged, max_scores: {{consistency: 3.99}}}}
  multi: {{step: multi_candidate, input: kept, samples: 3, intra: 0, rounds: 3}}
  checked:
    step: judge
    input: multi
    questions: [candidate_present]
    engine: {{kind: served, model: {model}, revision: r1, endpoints: ["{url}"]}}
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """An output whose step names are in another order than its line."""
    folder = tmp_path_factory.mktemp("traced")
    out = Storage(str(folder / "out"))
    with FakeServer(Behaviour()) as server:
        (folder / "r.yaml").write_text(RECIPE.format(model=MODEL, url=server.url))
        with Run(load_recipe(folder / "r.yaml"), out, Display(Console(quiet=True), out, "traced")) as run:
            run.execute()
    return out


def a_child(out: Storage) -> tuple[str, str]:
    """Keys of a multi-candidate sample and of the one that it was made from."""
    (name,) = (name for name in out.folders() if name.startswith("multi-"))
    opened = Directory(out.child(name))
    key = next(iter(opened.places))
    (parent,) = opened[key].provenance.parents
    return key, parent


def test_a_sample_s_way_begins_with_that_of_what_it_was_made_from(out: Storage) -> None:
    key, parent = a_child(out)
    lines = Way(out).lines(key)
    told = [line.strip().partition("-")[0] for line in lines if line.startswith("  ")]
    assert [line for line in lines if not line.startswith("  ")] == [parent, key]
    assert list(dict.fromkeys(told)) == ["zz_base", "judged", "kept", "multi", "checked"]
    assert any(line.endswith(": kept") and "kept-" in line for line in lines[: lines.index(key)])


def test_each_candidate_s_score_says_whose_it_is(out: Storage) -> None:
    key, _ = a_child(out)
    scores = [line for line in Way(out).lines(key) if ": candidate_present of image " in line]
    assert len(scores) >= 2
    assert len({line.split("candidate_present")[1].split(":")[0] for line in scores}) == len(scores)


def test_a_sample_that_was_rejected_has_a_way_and_is_shown_with_the_reason_only(out: Storage) -> None:
    (name,) = (name for name in out.folders() if name.startswith("zz_base-"))
    reject = read_rejects(out.child(name))[0]
    way = Way(out)
    assert way.lines(reject["key"])[1].startswith(f"  {name}: rejected: undecodable: ")
    assert way.find(reject["key"]) is None
    assert "got none; it was rejected there: undecodable: " in way.unknown(reject["key"])


def test_a_bad_file_is_named_with_its_reason_when_the_run_is_done(tmp_path: Path) -> None:
    rows = ["Show a car.,a.png,b.png", "Show a bus.,bad.jpg,b.png", *("Show a dog.,gone.png,b.png",) * 3]
    (tmp_path / "set.csv").write_text("\n".join(["instruction,references,target", *rows]))
    (tmp_path / "bad.jpg").write_text("no picture")
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (64, 64), colour).save(tmp_path / name)
    recipe = "steps: {base: {step: import_table, path: ., clean: {min_side_px: 8}}}"
    (tmp_path / "r.yaml").write_text(f"name: bad\nrun: {{workers: 1}}\n{recipe}\n")
    done = bakery(tmp_path, "run", "r.yaml")
    assert re.search(
        r"^base: folder-\w+: undecodable: set.csv:3 \(bad.jpg, b.png\): .*got b'no p", done.stdout, re.M
    )
    assert "base: set.csv:4: missing_image: gone.png: expected a file of the set" in done.stdout
    assert "base: set.csv:6" not in done.stdout
    assert "base: 1 more in " in done.stdout
    assert "rejects.parquet, and on a report's page" in done.stdout
    assert (
        "rejected: missing_image: gone.png"
        in bakery(tmp_path, "why", "out/bad", "set.csv:6", columns=80).stdout
    )


def test_words_in_brackets_and_of_any_language_are_printed_as_they_are(tmp_path: Path) -> None:
    """A terminal's markup would take brackets for its own."""
    words = "Show the [red] car [/b] \u5728\u96ea\u5730\u91cc"
    (tmp_path / "set.csv").write_text(
        f"instruction,references,target\n{words},a.png,b.png\n", encoding="utf-8"
    )
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (64, 64), colour).save(tmp_path / name)
    recipe = "steps: {base: {step: import_table, path: ., clean: {min_side_px: 8}}}"
    (tmp_path / "r.yaml").write_text(f"name: words\nrun: {{workers: 1}}\n{recipe}\n")
    assert bakery(tmp_path, "run", "r.yaml").returncode == 0
    (name,) = (path for path in (tmp_path / "out/words").glob("base-*"))
    (key,) = Directory(Storage(str(name))).places
    assert f"instruction: {words}\n" in bakery(tmp_path, "show", "out/words", key, columns=80).stdout


def test_the_last_made_comes_first_whatever_the_names_and_what_reads_none_of_them_never(
    tmp_path: Path,
) -> None:
    out = Storage(str(tmp_path))
    base, judged, kept, alone = (f"{name}-000000000000" for name in ("base", "judged", "a_kept", "alone"))
    packed, trained = "b_packed-000000000000", "c_trained-000000000000"
    reads: dict[str, list[str]] = {
        base: [],
        judged: [base],
        kept: [base, judged],
        packed: [kept],
        trained: [packed, kept],
        alone: ["gone-000000000000"],
    }
    for name, parents in reads.items():
        step = name.partition("-")[0]
        made = Manifest(
            name=step, type="t", kind="page", hash="0" * 64, config={},
            parents={"of": parents[:1], "to": parents[1:]},
        )  # fmt: skip
        write_manifest(out.child(name), made)
    directories = finished(out)
    assert {found.name: found.reads for found in directories} == {n: set(r) for n, r in reads.items()}
    assert made_from(directories, [judged]) == [trained, packed, kept, judged]
    assert made_from(directories, [packed, kept]) == [trained, packed, kept]
    assert made_from(directories, [base])[-2:] == [judged, base]
    assert made_from(directories, ["gone-000000000000"]) == [alone]
    assert made_from(directories, []) == []
