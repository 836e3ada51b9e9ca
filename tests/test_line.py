"""The line, end to end: the demo's own recipe at a small size, on both engines and after kills."""

import gc
import hashlib
import os
import shutil
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import webdataset
from rich.console import Console

from filters.checks import QUESTIONS
from programs import Program
from recipes.display import Display
from recipes.run import Run
from recipes.schema import load_recipe
from recipes.standalone import Rules, select_directory
from shards.index import Directory
from shards.ledger import Ledger
from shards.manifest import Manifest
from shards.storage import Storage
from shards.tables import read_table

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "recipes/demo.yaml"
SMALL = (
    "base.samples=24",
    "base.size_px=256",
    "multi.samples=10",
    "base.shard_size=10",
    "packed.shard_size=8",
    "trained.stages=[stage1_base, stage2_joint]",
    "trained.budget=900",  # a sample of the size that so few can hold at the most
    "trained.packs_per_step=1",
    "trained.overrides={all: {steps: 2, warmup_steps: 0}, stage2_joint: {data: [refined, multi_candidate]}}",
    "trained.save_every=1",
    "trained.validation={samples: 1, every: 2, images: 1, image_steps: 2, times: [0.5]}",
)
LOCAL = ("run.engine=local",)


def run(out: Path, *changes: str, until: str | None = None) -> dict[str, Manifest]:
    recipe = load_recipe(DEMO, [*SMALL, *changes])
    storage = Storage(str(out))
    with Run(recipe, storage, Display(Console(quiet=True), storage, recipe.name)) as made:
        return made.execute(until=until)


def digests(out: Path) -> dict[str, str]:
    """Every shard, index, table, selection and list of rejects of an output; weights, curves and pictures."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.suffix in (".tar", ".parquet", ".safetensors", ".png") or path.name == "curves.json"
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Manifest]]:
    """The demo in small, by one local worker, undisturbed."""
    out = tmp_path_factory.mktemp("line")
    return out, run(out, *LOCAL, "run.workers=1")


def test_two_workers_and_other_slices_make_the_same_bytes(
    made: tuple[Path, dict[str, Manifest]], tmp_path: Path
) -> None:
    run(tmp_path, *LOCAL, "run.workers=2", "run.slice_size=8", until="packed")
    before = {name: digest for name, digest in digests(made[0]).items() if not name.startswith("trained-")}
    assert digests(tmp_path) == before


@pytest.mark.ray
def test_ray_makes_the_same_bytes_in_two_processes(
    made: tuple[Path, dict[str, Manifest]], tmp_path: Path
) -> None:
    manifests = run(tmp_path, "run.engine=ray", "run.workers=2", "run.slice_size=2")
    assert digests(tmp_path) == digests(made[0])
    assert manifests["base"].stats["processes"] == 2


def test_a_run_that_is_killed_goes_on_to_the_same_bytes(
    made: tuple[Path, dict[str, Manifest]], tmp_path: Path
) -> None:
    command = ["-m", "recipes.cli", "run", DEMO, "--out", tmp_path / "out"]
    for change in (*SMALL, *LOCAL, "run.workers=2"):
        command += ["--set", change]
    with ExitStack() as runs:
        for _ in range(3):
            program = runs.enter_context(Program(*command))
            wait_for_work(tmp_path / "out", program)
            os.kill(program.pid, signal.SIGKILL)  # alone: the next run may meet its workers
    run(tmp_path / "out", *LOCAL, "run.workers=2")
    assert digests(tmp_path / "out") == digests(made[0])


def wait_for_work(out: Path, program: Program) -> None:
    """Until the run has committed something that was not there."""
    before = committed(out)
    while program.is_running() and committed(out) <= before:
        time.sleep(0.02)
    time.sleep(0.3)


def committed(out: Path) -> int:
    """Slices and replies that are there; folders may go meanwhile, which `rglob` does not bear."""
    return sum(name.endswith(".arrow") for _, _, names in os.walk(out) for name in names)


def test_a_new_threshold_asks_nothing_and_makes_only_what_changed(
    made: tuple[Path, dict[str, Manifest]], tmp_path: Path
) -> None:
    run(tmp_path, *LOCAL, "run.workers=1", until="packed")
    paid = len(Ledger(Storage(str(tmp_path / "ledger"))))
    again = run(tmp_path, *LOCAL, "run.workers=1", "refined.min_scores.consistency=1.0", until="packed")
    asked = len(Ledger(Storage(str(tmp_path / "ledger")))) - paid
    multi = again["multi"]
    assert multi.hash != made[1]["multi"].hash
    copied = multi.stats["copied"]
    assert isinstance(copied, int)
    assert copied > 0
    known = set(Directory(Storage(str(tmp_path / made[1]["multi"].directory))).places)
    checked = Storage(str(tmp_path / again["multi_checked"].directory))
    keys = [key for name in QUESTIONS for key in read_table(checked, name, ["key"]).column("key").to_pylist()]
    assert 0 < asked <= sum(key not in known for key in keys) < len(keys)
    assert again["base_judged"].hash == made[1]["base_judged"].hash


def test_deciding_anew_needs_no_tar(made: tuple[Path, dict[str, Manifest]], tmp_path: Path) -> None:
    out, manifests = made
    shutil.copytree(out, tmp_path / "out", ignore=shutil.ignore_patterns("*.tar", "ledger"))
    judged = str(tmp_path / "out" / manifests["base_judged"].directory)
    rules = Rules(least=["consistency=2.5", "instruction_following=2.5"])
    told = select_directory([judged], Storage(str(tmp_path / "out/again")), rules)
    assert told[0].startswith(f"kept {manifests['refined'].books.made} of {manifests['refined'].books.read} ")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_packed_shards(made: tuple[Path, dict[str, Manifest]]) -> None:
    out, manifests = made
    packed = out / manifests["packed"].directory / "shards"
    urls = [str(path) for path in sorted(packed.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    gc.collect()  # webdataset leaves its files to the collector: here, and not in a later test
    assert len(samples) == manifests["packed"].books.made
    for sample in samples:
        assert {"json", "ref0.jpg", "target.jpg"} <= set(sample)


def test_every_step_s_books_balance_and_every_loss_has_a_reason(
    made: tuple[Path, dict[str, Manifest]],
) -> None:
    for manifest in made[1].values():
        manifest.books.check(manifest.name)
    base, judged = made[1]["base"].books, made[1]["base_judged"].books
    assert base.made == judged.read == made[1]["refined"].books.read


def test_the_page_ends_with_the_training_run(made: tuple[Path, dict[str, Manifest]]) -> None:
    out, manifests = made
    page = (out / manifests["page"].directory / "report.html").read_text()
    assert "<html" in page
    for stage in ("stage1 base", "stage2 joint"):
        assert f"<h3>{stage}</h3>" in page
    assert "bridge: share of reference tokens kept" in page
    assert page.count("data:image/png;base64,") == 2 * 2, "of each stage a sample as given and as drawn"


def test_every_stage_leaves_a_model_and_all_handed_on_samples_were_read(
    made: tuple[Path, dict[str, Manifest]],
) -> None:
    out, manifests = made
    trained = out / manifests["trained"].directory
    stages = ("stage1_base", "stage2_joint")
    assert set(digests(trained)) >= {f"{stage}/model/model.safetensors" for stage in stages}
    books = manifests["trained"].books
    sets = [manifests[name].books.made for name in ("base", "refined", "multi_refined")]
    assert books.made == books.read == sum(sets)
