import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import bakery
from recipes.check import expectations
from recipes.schema import load_recipe
from shards.storage import Storage

RECIPE = """
name: small
run: {workers: 1}
steps:
  base: {step: single_candidate, samples: 3, size_px: 128}
  packed: {step: pack, input: base}
"""
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a small recipe was run."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "small.yaml").write_text(RECIPE)
    done = bakery(folder, "run", "small.yaml")
    assert done.returncode == 0, done.stderr
    return folder


def a_key(folder: Path) -> str:
    from shards.index import Directory
    from shards.storage import Storage

    (base,) = (folder / "out/small").glob("base-*")
    return next(iter(Directory(Storage(str(base))).places))


HEAVY = ("ray", "torch", "pandas", "onnxruntime", "sklearn", "scipy")


def imported_by(folder: Path, *words: str) -> tuple[str, list[str]]:
    """What a command prints, and which heavy packages it has imported at its end."""
    code = (
        f"import sys; sys.argv = ['bakery', *{list(words)!r}]\n"
        "import recipes.cli\n"
        "try: recipes.cli.main()\n"
        "except SystemExit: pass\n"
        f"print('imported:', *(name for name in {HEAVY!r} if name in sys.modules))"
    )
    env = os.environ | {"COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    printed, _, names = done.stdout.rpartition("imported:")
    return printed, names.split()


def test_check_prints_counts_and_imports_neither_ray_nor_torch(made: Path) -> None:
    printed, heavy = imported_by(made, "check", "small.yaml")
    assert "finished" in printed
    assert heavy == []


def test_check_of_every_kind_of_step_is_as_light(tmp_path: Path) -> None:
    printed, heavy = imported_by(tmp_path, "check", str(ROOT / "recipes/demo.yaml"))
    assert "multi_candidate" in printed
    assert heavy == []


def test_a_report_takes_no_longer_to_import_than_to_write(made: Path) -> None:
    """scikit-learn's metrics alone would take longer than a whole page."""
    printed, heavy = imported_by(made, "report", "out/small")
    assert "report.html" in printed
    assert not {"ray", "torch", "onnxruntime", "sklearn", "scipy"} & set(heavy)


def test_an_error_is_words_and_exit_code_1_without_a_traceback(made: Path) -> None:
    done = bakery(made, "check", "smal.yaml")
    assert done.returncode == 1
    assert "there are small.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_step_of_only_lists_the_known(made: Path) -> None:
    done = bakery(made, "run", "small.yaml", "--only", "bose")
    assert done.returncode == 1
    assert "expected a step of base, packed, got 'bose'" in done.stderr


def test_ls_and_status_tell_what_is_there(made: Path) -> None:
    assert "single_candidate" in bakery(made, "ls", "out/small").stdout
    status = bakery(made, "status", "out/small").stdout
    assert "small: not running" in status
    assert "3/3" in status


def test_status_of_nothing_is_an_error(made: Path) -> None:
    done = bakery(made, "status", "nowhere")
    assert done.returncode == 1
    assert "expected an output" in done.stderr


@pytest.mark.parametrize(
    "words", [("ls",), ("report",), ("show", "key"), ("gc", "small.yaml"), ("forget", "--source", "x")]
)
def test_a_misspelt_output_is_told_and_not_made(made: Path, words: tuple[str, ...]) -> None:
    command, *more = words
    done = bakery(made, command, "out/smal", *more)
    assert done.returncode == 1
    assert "out/smal: expected an output of `bakery run`, got no such folder; there are" in done.stderr
    assert "out/small" in done.stderr
    assert not (made / "out/smal").exists()


def test_diff_says_what_and_why(made: Path) -> None:
    done = bakery(made, "diff", "small.yaml", "small.yaml", "--set", "base.samples=5")
    assert "base: would be made again" in done.stdout
    assert "settings.samples: 3 -> 5" in done.stdout
    assert "reads base, which changed" in done.stdout
    assert bakery(made, "diff", "small.yaml", "small.yaml").stdout == "nothing would be made again\n"


def test_show_writes_a_sheet_and_why_tells_the_way(made: Path) -> None:
    key = a_key(made)
    shown = bakery(made, "show", "out/small", key)
    assert "instruction: " in shown.stdout
    assert (made / f"{key}.png").read_bytes().startswith(b"\x89PNG")
    told = bakery(made, "why", "out/small", key).stdout
    assert "base-" in told
    assert "packed-" in told


def test_why_of_an_unknown_key_names_near_ones(made: Path) -> None:
    done = bakery(made, "why", "out/small", "base-0")
    assert done.returncode == 1
    assert "expected a key of its 3 samples, got 'base-0'; near: base-" in done.stderr


def test_gc_says_first_and_deletes_when_told(made: Path) -> None:
    assert bakery(made, "run", "small.yaml", "--set", "base.samples=4").returncode == 0
    said = bakery(made, "gc", "out/small", "small.yaml").stdout
    assert said.count("no recipe given names it") == 2
    assert "could go" in said
    assert "deleted" in bakery(made, "gc", "out/small", "small.yaml", "--delete").stdout
    assert "nothing could go" in bakery(made, "gc", "out/small", "small.yaml").stdout
    assert "finished" in bakery(made, "check", "small.yaml").stdout


def test_version_is_told(made: Path) -> None:
    from importlib.metadata import version

    assert bakery(made, "--version").stdout == f"bakery {version('scone-bakery')}\n"


def test_a_run_that_cannot_begin_leaves_nothing_and_gc_drops_nothing_for_it(made: Path) -> None:
    (made / "away.yaml").write_text(
        "steps: {away: {step: import_table, path: $NOT_SET_AT_ALL, licence: mit}}"
    )
    done = bakery(made, "run", "away.yaml")
    assert done.returncode == 1
    assert "steps.away: " in done.stderr
    assert "NOT_SET_AT_ALL" in done.stderr
    assert not (made / "out/away").exists()
    done = bakery(made, "gc", "out/small", "away.yaml", "--delete")
    assert done.returncode == 1
    assert "nothing was dropped" in done.stderr
    assert "finished" in bakery(made, "check", "small.yaml").stdout


def test_ls_of_a_folder_without_an_output_is_an_error(made: Path) -> None:
    done = bakery(made, "ls", ".")
    assert done.returncode == 1
    assert "expected an output with finished directories, got none in it" in done.stderr


def test_doctor_finds_a_folder_that_shadows_a_package(made: Path) -> None:
    assert bakery(made, "doctor").returncode == 0
    (made / "filters").mkdir()
    done = bakery(made, "doctor")
    (made / "filters").rmdir()
    assert done.returncode == 1
    assert "LOOK" in done.stdout
    assert "filters" in done.stdout


def test_doctor_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for out in ("there", "new/deep"):
        done = bakery(tmp_path, "doctor", "--out", out)
        assert f"{out} can be written" in done.stdout
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["there"]


def test_doctor_tells_of_this_machine_also_where_there_is_no_cluster(tmp_path: Path) -> None:
    done = bakery(tmp_path, "doctor", "--ray-address", "127.0.0.1:1")
    assert done.returncode == 1
    assert "ok    import shards finds ours" in done.stdout
    assert "LOOK  ray: expected a cluster at 127.0.0.1:1, got: " in done.stdout


def test_doctor_says_of_a_folder_that_cannot_be_written_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = bakery(tmp_path, "doctor", "--out", "file/out")
    assert done.returncode == 1
    assert "LOOK  file/out cannot be written: " in done.stdout


def test_a_plan_s_sizes_are_near_what_is_made_and_unknown_ones_are_not_made_up(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "name: sized\nrun: {workers: 2}\nsteps:\n"
        "  base: {step: single_candidate, samples: 24}\n"
        "  packed: {step: pack, input: base}\n"
    )
    recipe = load_recipe(tmp_path / "r.yaml")
    out = Storage(str(tmp_path / "out/sized"))
    planned = [found.size_bytes for found in expectations(recipe, out)]
    assert bakery(tmp_path, "run", "r.yaml").returncode == 0
    made = [found.size_bytes for found in expectations(recipe, out)]
    for size, true in zip(planned, made, strict=True):
        assert 0.7 < size / true < 1.4
    path = tmp_path / "j.yaml"
    path.write_text("steps: {base: {step: import_jsonl, path: $NOT_SET_AT_ALL, licence: mit, sample: 70000}}")
    (found,) = expectations(load_recipe(path), out)
    assert (found.most, found.size_bytes) == (70_000, None)
    assert "≤ 70000" in bakery(tmp_path, "check", "j.yaml").stdout
    path.write_text("steps: {base: {step: single_candidate, samples: 70000, size_px: 1024}}")
    assert "~29." in (told := bakery(tmp_path, "check", "j.yaml").stdout)
    assert " GB" in told
