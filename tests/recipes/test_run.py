import hashlib
import json
import multiprocessing
from pathlib import Path

import pytest
from rich.console import Console

from recipes.display import Display, read_status
from recipes.run import Run
from recipes.schema import load_recipe
from shards.index import Directory
from shards.lease import Lease, LeaseError
from shards.manifest import Manifest, ManifestError
from shards.storage import Storage

RECIPE = """
name: small
seed: 3
run: {workers: 1, slice_size: 3}
steps:
  base: {step: single_candidate, samples: 8, size_px: 128, shard_size: 5}
  packed: {step: pack, input: base, shard_size: 4}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def run(recipe: Path, *changes: str, **how: object) -> dict[str, Manifest]:
    out = Storage(str(recipe.parent / "out"))
    loaded = load_recipe(recipe, changes, limit=how.pop("limit", None))
    with Run(loaded, out, Display(Console(quiet=True), out, loaded.name)) as made:
        return made.execute(**how)


def digests(folder: Path) -> dict[str, str]:
    """Every file of an output that the promise of bytes covers."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".tar", ".parquet")
    }


def opened(recipe: Path, manifest: Manifest) -> Directory:
    return Directory(Storage(str(recipe.parent / "out" / manifest.directory)))


def test_a_finished_step_is_not_made_again(recipe: Path) -> None:
    run(recipe)
    stamps = {path: path.stat().st_mtime_ns for path in recipe.parent.rglob("*.tar")}
    again = run(recipe)
    assert {path: path.stat().st_mtime_ns for path in recipe.parent.rglob("*.tar")} == stamps
    assert set(again) == {"base", "packed"}
    status = read_status(Storage(str(recipe.parent / "out")))
    assert status is not None
    assert [step["state"] for step in status["steps"]] == ["kept", "kept"]


def test_shards_follow_the_plan_and_packing_keeps_every_byte_but_the_order(recipe: Path) -> None:
    made = run(recipe)
    assert list(made["base"].shards) == [5, 3]
    assert list(made["packed"].shards) == [4, 4]
    base, packed = opened(recipe, made["base"]), opened(recipe, made["packed"])
    assert list(base.places) != list(packed.places)
    assert {key: base[key] for key in base.places} == {key: packed[key] for key in packed.places}


def test_workers_and_slices_change_no_byte(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    run(recipe)
    other = tmp_path_factory.mktemp("other") / "recipe.yaml"
    other.write_text(RECIPE)
    run(other, "run.workers=2", "run.slice_size=2")
    assert digests(recipe.parent) == digests(other.parent)


def test_a_larger_plan_copies_what_there_is(recipe: Path) -> None:
    first = run(recipe, only=["base"])
    more = run(recipe, "base.samples=11", only=["base"])
    assert more["base"].hash != first["base"].hash
    assert more["base"].stats["copied"] == 8
    small, large = opened(recipe, first["base"]), opened(recipe, more["base"])
    assert {key: large[key] for key in small.places} == {key: small[key] for key in small.places}


def test_a_copy_is_what_would_have_been_made(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    run(recipe, only=["base"])
    copied = run(recipe, "base.samples=11", only=["base"])["base"].directory
    fresh = tmp_path_factory.mktemp("fresh") / "recipe.yaml"
    fresh.write_text(RECIPE)
    run(fresh, "base.samples=11", only=["base"])
    assert digests(recipe.parent / "out" / copied) == digests(fresh.parent / "out" / copied)


def test_a_run_setting_is_not_part_of_the_hash(recipe: Path) -> None:
    first, second = run(recipe), run(recipe, "run.slice_size=7")
    assert {name: m.hash for name, m in first.items()} == {name: m.hash for name, m in second.items()}


def test_limit_plans_fewer_samples(recipe: Path) -> None:
    made = run(recipe, limit=3)
    assert made["base"].books.made == 3
    assert made["packed"].books.read == 3


def test_a_plan_is_gone_on_with_while_its_inputs_are_what_they_were(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        broken.setattr("recipes.run.finish", lambda *_: 1 / 0)
        run(recipe)
    assert run(recipe)["base"].stats["resumed"] == 8


def test_one_engine_runs_at_a_time(recipe: Path) -> None:
    """Idle workers of another step's engine would hold the places of a cluster for ever."""
    out = Storage(str(recipe.parent / "out"))
    recipe.write_text(RECIPE.replace("input: base,", "input: base, run: {workers: 2},"))
    seen = set()

    def children(*_: object) -> None:
        seen.add(len([each for each in multiprocessing.active_children() if each.name.startswith("Spawn")]))

    with Run(load_recipe(recipe), out, Display(Console(quiet=True), out, "small")) as made:
        monkeyed = made._display.observe
        made._display.observe = lambda *words: (children(), monkeyed(*words))  # type: ignore[assignment]
        made.execute()
    assert max(seen) <= 2


def test_a_run_stops_soon_after_another_took_its_lease(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only when a step of hours is finished: both would pay for the same replies."""
    out = Storage(str(recipe.parent / "out"))
    with Run(load_recipe(recipe), out, Display(Console(quiet=True), out, "small")) as made:
        Lease(out)._write()  # as one that believed this run dead
        with pytest.raises(LeaseError):
            made._lease.check()
        monkeypatch.setattr("recipes.run.finish", lambda *_: pytest.fail("the step went on to its end"))
        with pytest.raises(LeaseError, match="this run stops"):
            made.execute()
    (out_folder,) = (recipe.parent / "out").glob("base-*")
    assert not (out_folder / "work/done").exists()


def test_until_stops_after_a_step(recipe: Path) -> None:
    assert list(run(recipe, until="base")) == ["base"]


def test_only_a_step_whose_inputs_are_missing_says_so(recipe: Path) -> None:
    with pytest.raises(ManifestError, match=r"base-.*: expected a finished directory, got none"):
        run(recipe, only=["packed"])


@pytest.mark.parametrize("name", ["shards/00000.tar", "index/00001.parquet", "rejects.parquet"])
def test_a_file_that_changed_is_named(recipe: Path, name: str) -> None:
    made = run(recipe, until="base")["base"]
    path = recipe.parent / "out" / made.directory / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ManifestError, match=name.replace(".", r"\.")):
        run(recipe)


def test_a_file_that_went_is_named(recipe: Path) -> None:
    made = run(recipe, until="base")["base"]
    (recipe.parent / "out" / made.directory / "shards/00001.tar").unlink()
    with pytest.raises(
        ManifestError, match=r"00001\.tar: expected the file that the manifest names, got none"
    ):
        run(recipe)


def test_a_second_run_says_who_owns_the_output(recipe: Path) -> None:
    with Lease(Storage(str(recipe.parent / "out"))), pytest.raises(LeaseError, match="expected no other run"):
        run(recipe)


def test_books_are_in_the_manifest_and_nothing_of_the_work_stays(recipe: Path) -> None:
    made = run(recipe)
    base = recipe.parent / "out" / made["base"].directory
    value = json.loads((base / "manifest.json").read_text())
    assert value["books"]["planned"] == value["books"]["made"] == 8
    assert sorted(path.name for path in base.iterdir()) == [
        "index",
        "manifest.json",
        "rejects.parquet",
        "shards",
    ]


def test_a_damaged_sample_is_a_reject_with_a_reason(recipe: Path) -> None:
    made = run(recipe, "base.faults={damaged_file: 0.25}", until="base")["base"]
    assert made.books.made == 6
    assert sum(made.books.reasons.values()) == made.books.failed == 2
