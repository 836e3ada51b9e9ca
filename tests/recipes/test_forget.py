"""What is taken down goes from every directory, with what was made of it, and never comes back."""

import io
import re
import shutil
from pathlib import Path

import published_sets
import pytest
from rich.console import Console
from typer.testing import CliRunner

from recipes import forget as takedown
from recipes.cli import app
from recipes.display import Display
from recipes.run import Run
from recipes.schema import RecipeError, load_recipe
from recipes.standalone import Rules, select_directory
from recipes.trace import STEP_DIRECTORY, delete_directory, finished
from shards.finish import read_rejects
from shards.forgotten import read_forgotten
from shards.index import Directory
from shards.manifest import Manifest
from shards.storage import Storage
from shards.tar import TarWriter

RECIPE = """
name: small
run: {workers: 1}
steps:
  scone: {step: import_scone_parquet, path: SET/scone, licence: mit}
  table: {step: import_table, path: SET/table}
  scores: {step: published_scores, input: table}
  mixed: {step: mix, input: [scone, table], counts: {folder: 2, Scone-S2I-57K: 3}}
  alone: {step: pack, input: table}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    published_sets.scone_parquet(tmp_path / "scone")
    published_sets.folder(tmp_path / "table")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("SET", str(tmp_path)))
    return path


def run(recipe: Path) -> dict[str, Manifest]:
    out = Storage(str(recipe.parent / "out"))
    loaded = load_recipe(recipe)
    with Run(loaded, out, Display(Console(quiet=True), out, loaded.name)) as made:
        return made.execute()


def keys(recipe: Path, manifest: Manifest) -> set[str]:
    return set(Directory(Storage(str(recipe.parent / "out" / manifest.directory))).places)


def forget(recipe: Path, *options: str) -> str:
    result = CliRunner().invoke(app, ["forget", str(recipe.parent / "out"), *options])
    assert result.exit_code == 0, result.exception
    return result.output


def test_a_selection_under_a_name_of_its_own_goes_too_and_gc_leaves_it(recipe: Path) -> None:
    made = run(recipe)
    out = recipe.parent / "out"
    scores = str(out / made["scores"].directory)
    question = made["scores"].files.keys() - {"rejects.parquet"}
    (name,) = (each.split("/")[1].removesuffix(".parquet") for each in question)
    for _ in range(2):  # the second takes the place of the first
        select_directory([scores], Storage(str(out / "mine")), Rules(least=[f"{name}=0"]))
    told = CliRunner().invoke(app, ["gc", str(out), str(recipe)])
    assert "nothing could go" in told.output
    with pytest.raises(RecipeError, match="or one that `bakery select` wrote, got a step of a recipe"):
        rules = Rules(least=[f"{name}=0"])
        select_directory([scores], Storage(str(out / made["table"].directory)), rules)
    key = min(keys(recipe, made["table"]))
    (recipe.parent / "gone.txt").write_text(key)
    forget(recipe, "--keys", str(recipe.parent / "gone.txt"), "--delete")
    assert not (out / "mine").exists()


def test_a_key_goes_with_all_that_was_made_of_it_and_does_not_come_back(recipe: Path) -> None:
    made = run(recipe)
    key = sorted(keys(recipe, made["mixed"]) & keys(recipe, made["table"]))[0]
    (recipe.parent / "keys.txt").write_bytes(f"\ufeff{key}\r\n\r\n".encode())  # as other systems write it
    told = forget(recipe, "--keys", str(recipe.parent / "keys.txt"))
    assert "say --delete" in told
    assert len(finished(Storage(str(recipe.parent / "out")))) == 5
    forget(recipe, "--keys", str(recipe.parent / "keys.txt"), "--delete")
    left = {found.manifest.name for found in finished(Storage(str(recipe.parent / "out")))}
    assert left == {"scone"}
    again = run(recipe)
    assert not any(key in keys(recipe, again[name]) for name in ("table", "mixed", "alone"))
    rejects = read_rejects(Storage(str(recipe.parent / "out" / again["table"].directory)))
    assert [row["key"] for row in rejects if row["reason"] == "forgotten"] == [key]


@pytest.mark.parametrize("last", ["", "/manifest.json"], ids=["a whole directory", "a manifest"])
def test_a_takedown_that_breaks_off_again_and_again_leaves_nothing(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    recipe.write_text(recipe.read_text() + "  zine: {step: report}\n")  # by name after all that it shows
    made = run(recipe)
    out = Storage(str(recipe.parent / "out"))
    key = min(keys(recipe, made["mixed"]) & keys(recipe, made["table"]))

    def break_off(out: Storage, name: str) -> None:
        delete_directory(out, name) if not last else out.delete(f"{name}{last}")
        raise RuntimeError("the power went")

    def take_down() -> None:
        found = takedown.descendants(out, [key], None)
        takedown.forget(out, found, None, takedown.affected(out, found))

    with monkeypatch.context() as broken:
        broken.setattr("recipes.forget.delete_directory", break_off)
        for _ in range(5):
            with pytest.raises(RuntimeError, match="the power went"):
                take_down()
    take_down()
    assert [name for name in out.folders() if STEP_DIRECTORY.fullmatch(name)] == [made["scone"].directory]


def test_a_source_goes_whole_and_a_new_import_of_it_stays_empty(recipe: Path) -> None:
    run(recipe)
    forget(recipe, "--source", "Scone-S2I-57K", "--delete")
    out = Storage(str(recipe.parent / "out"))
    assert {found.manifest.name for found in finished(out)} == {"table", "scores", "alone"}
    assert read_forgotten(out).sources == {"Scone-S2I-57K"}
    loaded = load_recipe(recipe, ["scone.prefix=other", "mixed.counts={folder: 2}"])
    with Run(loaded, out, Display(Console(quiet=True), out, loaded.name)) as made:
        again = made.execute()
    assert again["scone"].books.made == 0
    assert again["scone"].books.reasons == {"forgotten": 7}


def test_what_steps_hand_on_is_read_once(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe.write_text(recipe.read_text() + "  again: {step: pack, input: mixed}\n")
    made = run(recipe)
    texts: list[bytes] = []
    text = Directory.text

    def counted(self: Directory, shard: int, row: int) -> bytes:
        texts.append(text(self, shard, row))
        return texts[-1]

    monkeypatch.setattr(Directory, "text", counted)
    forget(recipe, "--source", "folder")
    handed_on = keys(recipe, made["mixed"]) | keys(recipe, made["alone"])
    assert len(texts) == len(set(texts)) == len(handed_on)


def test_a_source_that_is_not_there_names_those_that_are(recipe: Path) -> None:
    run(recipe)
    assert "nothing here is of Scone; there are Scone-S2I-57K, folder" in forget(recipe, "--source", "Scone")


def test_all_that_is_missing_is_told_before_the_first_step(recipe: Path) -> None:
    recipe.write_text(
        recipe.read_text().replace("/table}", "/nowhere}")
        + "  clean: {step: dedup, input: mixed, benchmarks: {bench: $NO_SUCH_BENCHMARK}}\n"
    )
    with pytest.raises(RecipeError) as caught:
        run(recipe)
    assert len(caught.value.errors) == 2
    assert "steps.table: " in caught.value.errors[0]
    assert "nowhere: expected a folder, got none" in caught.value.errors[0]
    assert "steps.clean: benchmarks.bench: " in caught.value.errors[1]
    assert finished(Storage(str(recipe.parent / "out"))) == []


def test_keys_that_no_directory_holds_are_told_as_they_may_be_misspelt(recipe: Path) -> None:
    held = min(keys(recipe, run(recipe)["table"]))
    (recipe.parent / "keys.txt").write_text(f"{held}\nnot-here\n")
    told = " ".join(forget(recipe, "--keys", str(recipe.parent / "keys.txt")).split())
    assert told.startswith("in no directory: 1 of the keys, like not-here ")
    assert held not in told


def test_a_step_whose_plan_refuses_says_how_many_it_made_of_how_many(recipe: Path) -> None:
    run(recipe)
    forget(recipe, "--source", "Scone-S2I-57K", "--delete")
    out = Storage(str(recipe.parent / "out"))
    loaded = load_recipe(recipe, ["mixed.counts={folder: 2}"])
    console = Console(record=True, width=120, quiet=False, file=io.StringIO())
    with Run(loaded, out, Display(console, out, loaded.name)) as made:
        made.execute()
    assert "scone: 0 of 7, 7 rejected" in console.export_text()


def test_a_source_stays_away_whatever_brings_it(recipe: Path) -> None:
    """A tar by the name of its step, our own samples in a tar or directory by what they say of themselves."""
    made = run(recipe)
    out = recipe.parent / "out"
    shutil.copytree(out / made["mixed"].directory, recipe.parent / "copy")
    with TarWriter(recipe.parent / "plain.tar") as tar:
        sample = Directory(Storage(str(recipe.parent / "copy")))[min(keys(recipe, made["table"]))]
        for name, data in (("json", b'{"instruction": "a cup"}'), ("ref0.png", sample.references[0].data)):
            tar.add(f"one.{name}", data)
        tar.add("one.target.png", sample.target.data)
    tars = f"{recipe.parent}/copy/shards/*.tar"
    recipe.write_text(
        recipe.read_text().split("steps:")[0]
        + f"""steps:
  plain: {{step: import, paths: ["{recipe.parent}/plain.tar"], source: mine}}
  ours: {{step: import, paths: ["{tars}"], source: ours}}
  copy: {{step: import_directory, path: {recipe.parent}/copy}}
"""
    )
    assert {name: each.books.made for name, each in run(recipe).items()} == {"plain": 1, "ours": 5, "copy": 5}
    for source in ("mine", "Scone-S2I-57K"):
        forget(recipe, "--source", source, "--delete")
    forgotten = Storage(str(out)).read("forgotten.json")
    Storage(str(out)).write("forgotten.json", re.sub(rb'"keys":\[.*?\]', b'"keys":[]', forgotten))
    again = run(recipe)
    assert {name: each.books.made for name, each in again.items()} == {"plain": 0, "ours": 2, "copy": 2}
    assert [again[name].books.reasons["forgotten"] for name in again] == [1, 3, 3]
