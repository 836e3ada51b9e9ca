"""The paper's recipes at a thousandth of their size, against fake servers: exact counts, killed or not."""

import hashlib
import os
import random
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from claims_judge import ClaimsJudge
from composed_samples import parent
from datagen.cases import MULTI_INPUT_CASES
from datagen.fake_chat_server import Behaviour as ChatBehaviour
from datagen.fake_chat_server import FakeChatServer
from datagen.fake_images_server import Behaviour as ImagesBehaviour
from datagen.fake_images_server import FakeImagesServer
from datagen.kinds import ADD_CASES, SWAP_CASES
from datagen.prompts import load_prompts
from filters.fake_server import Behaviour, FakeServer
from filters.judge_step import COMMIT_EVERY
from programs import Program
from recipes.display import Display
from recipes.run import Run
from recipes.schema import load_recipe
from shards.index import Directory, pack_sample, write_packed
from shards.ledger import request_hash
from shards.sample import canonical_json
from shards.selection import kept_keys
from shards.storage import Storage
from shards.tar import TarWriter

RECIPES = Path(__file__).parents[2] / "recipes"
BASE = """
name: base
run: {{workers: 2}}
steps:
  base: {{step: import, paths: ["{tar}"], source: composed}}
"""
WANTED = {
    f"distinction_{counted}_{relation}": dict.fromkeys(cases, 1)
    for relation in ("cross", "intra")
    for counted, cases in (("single", SWAP_CASES), ("multi", ADD_CASES))
}
CELLS = {(task, case): count for task, cases in WANTED.items() for case, count in cases.items()}
DRAWN = dict.fromkeys(MULTI_INPUT_CASES, 1) | dict.fromkeys([*MULTI_INPUT_CASES][:2], 2)
WORKERS, IN_FLIGHT = 2, 3
QUICK = {"in_flight": IN_FLIGHT, "timeout_s": 20, "outage_s": 20}


def run(recipe, out, until=None):
    storage = Storage(str(out))
    with Run(recipe, storage, Display(Console(quiet=True), storage, recipe.name)) as made:
        return made.execute(until=until)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A finished directory of 70 base samples, as BAKERY_BASE names it."""
    folder = tmp_path_factory.mktemp("base")
    with TarWriter(folder / "base.tar") as writer:
        for sample in map(parent, range(70)):
            write_packed(writer, pack_sample(sample, ""))
    (folder / "base.yaml").write_text(BASE.format(tar=folder / "base.tar"))
    made = run(load_recipe(folder / "base.yaml"), folder / "out")
    return folder / "out" / made["base"].directory


class Servers:
    """Fakes of all four models, and the changes that have a recipe ask them."""

    def __init__(self, stack, out, recipe):
        self.names, self.identities = {}, {}
        for step in recipe.steps.values():
            for field in ("writer", "inputs", "output", "editor", "engine"):
                served = getattr(step.settings, field, None)
                if getattr(served, "model", ""):
                    self.names[step.name, field] = served.model
                    if field != "engine":
                        self.identities[served.model] = served.identity
        models = {"chat": "", "images": [], "judge": ""}
        for (_, field), model in self.names.items():
            if field == "writer":
                models["chat"] = model
            elif field == "engine":
                models["judge"] = model
            elif model not in models["images"]:
                models["images"].append(model)
        self.chat = stack.enter_context(FakeChatServer(ChatBehaviour(model=models["chat"])))
        self.images = {
            model: stack.enter_context(FakeImagesServer(ImagesBehaviour(model=model, latency_s=0.02)))
            for model in models["images"]
        }
        self.judge = stack.enter_context(
            FakeServer(Behaviour(model=models["judge"], answer=ClaimsJudge(out), latency_s=0.01))
        )

    def asked(self):
        """Addresses in the ledger of all that was asked for, in order, by server."""
        found = {"judge": [bytes.fromhex(e.id) for e in self.judge.asked if not e.id.startswith("probe")]}
        found["chat"] = [
            text_address(self.identities[self.chat.chat.behaviour.model], e) for e in self.chat.asked
        ]
        for model, server in self.images.items():
            found[model] = [picture_address(self.identities[model], e) for e in server.asked]
        return found

    def changes(self):
        """Each model of each step at its fake."""
        for (step, field), model in self.names.items():
            server = {"writer": self.chat, "engine": self.judge}.get(field) or self.images[model]
            yield f"{step}.{field}.endpoints=['{server.url}']"
            for name, value in QUICK.items():
                yield f"{step}.{field}.{name}={value}"


def text_address(identity, asked):
    prompt = load_prompts()[asked.prompt]
    fields = {"writer": identity, "text": asked.text, "schema": prompt.schema, "images": list(asked.images)}
    return request_hash(canonical_json({**fields, "seed": asked.seed}))


def picture_address(identity, asked):
    size_px = [int(side) for side in asked.fields["size"].split("x")]
    fields = {"generator": identity, "prompt": asked.fields["prompt"], "references": list(asked.references)}
    return request_hash(canonical_json({**fields, "size_px": size_px, "seed": int(asked.fields["seed"])}))


SMALL = {
    "scone_multi_input_15k": (
        f"kept.best={dict.fromkeys(MULTI_INPUT_CASES, 1)}",
        "drawn.samples=26",
        "drawn.size_px=128",
        "judged.controls=0",
    ),
    "scone_multi_candidate_20k": (
        f"kept.best={WANTED}",
        "candidates.samples=28",
        "candidates.edit_px=128",
    ),
    "scone_full": (
        "refined.best=22",
        f"multi_candidate.best={WANTED}",
        f"multi_input.best={DRAWN}",
        "candidates.samples=28",
        "candidates.edit_px=128",
        "candidates.samples_at_once=4",
        "drawn.samples=26",
        "drawn.size_px=128",
        "drawn.samples_at_once=4",
        "base_judged.controls=2",
    ),
}


def small(name, base, out, stack, *changes):
    """A recipe at a thousandth, its servers, and all changes to it."""
    os.environ["BAKERY_BASE"] = os.environ["BAKERY_FILTERED"] = str(base)
    path = RECIPES / f"{name}.yaml"
    servers = Servers(stack, out, load_recipe(path))
    every = [*SMALL[name], "run.workers=2", "run.slice_size=4", *servers.changes(), *changes]
    return path, every, servers


def digests(out):
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.suffix in (".tar", ".parquet")
    }


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    """scone_full on Ray, undisturbed: where it lies, its manifests, its servers."""
    out = tmp_path_factory.mktemp("full") / "out"
    with ExitStack() as stack:
        path, changes, servers = small("scone_full", base, out, stack)
        yield out, run(load_recipe(path, changes), out), servers


@pytest.mark.ray
def test_the_whole_recipe_gives_exactly_the_planned_counts(whole):
    out, made, _ = whole
    assert made["refined"].books.made == 22
    assert made["multi_input"].books.made == 15
    assert made["packed"].books.made == 22 + 15 + len(CELLS)
    verified = kept_rows(out, made, "candidates", "multi_candidate")
    assert Counter((row.task, row.case) for row in verified) == CELLS
    assert all((row.references == 1) == row.task.startswith("distinction_single") for row in verified)
    drawn = kept_rows(out, made, "drawn", "multi_input")
    assert Counter(row.case for row in drawn) == DRAWN
    assert all(row.references == len(MULTI_INPUT_CASES[row.case]) for row in drawn)


def kept_rows(out, made, samples, selection):
    """Index rows of a step's samples that a selection keeps."""
    kept = kept_keys(Storage(str(out / made[selection].directory)))
    return [r for r in Directory(Storage(str(out / made[samples].directory))).rows() if r.key in kept]


@pytest.mark.ray
def test_every_kept_candidate_is_verified_and_the_page_shows_the_verdicts(whole):
    out, made, _ = whole
    assert made["multi_candidate"].books.failed > 0
    page = (out / made["page"].directory / "report.html").read_text()
    assert 'id="checks-1"' in page
    assert 'id="watch"' in page
    assert "object, intra ·" in page
    edited, drawn = page.partition('id="checks-1"')[2].split('id="checks-2"')
    assert "≈ original likeness" in edited
    assert "≈ original likeness" not in drawn  # of a set that nobody edited


@pytest.mark.ray
def test_every_one_of_several_candidates_has_a_box_by_which_the_judge_is_told_it(whole):
    out, made, servers = whole
    directory = Directory(Storage(str(out / made["candidates"].directory)))
    several = [found for key in directory.places for found in directory[key].subjects if len(found) > 1]
    assert several
    assert all(candidate.box for found in several for candidate in found)
    located = [asked for asked in servers.chat.asked if asked.prompt == "locate"]
    assert len(located) == len(several)
    asked = [each.prompt for each in servers.judge.asked if "mean it by the phrase" in each.prompt]
    assert len(asked) == sum(map(len, several))
    assert all("in the box from (" in prompt for prompt in asked)
    page = (out / made["page"].directory / "report.html").read_text()
    assert "≈ original likeness <b>" in page
    assert 'class="hide"' in page[page.index('id="checks-1"') :]  # boxes of distractors


@pytest.mark.ray
def test_nothing_is_asked_twice(whole):
    out, _, servers = whole
    paid = addresses(out)
    for name, asked in servers.asked().items():
        assert asked, name
        assert len(asked) == len(set(asked)), name
        assert paid.issuperset(asked), name  # so each was asked by its address


@pytest.mark.ray
@pytest.mark.timeout(900)  # it starts Ray twice, and a run six times
def test_killed_five_times_it_ends_in_the_same_bytes_and_pays_for_nothing_twice(whole, base, tmp_path):
    out = tmp_path / "out"
    draw = random.Random(0)
    with ExitStack() as stack:
        path, changes, servers = small("scone_full", base, out, stack)
        command = ["-W", "ignore", "-m", "recipes.cli", "run", path, "--out", out]
        for change in changes:
            command += ["--set", change]
        kills = 0
        for engine in ("local", "ray", "local", "ray", "local"):
            paid, before = addresses(out), servers.asked()
            engine_too = ["--set", f"run.engine={engine}"]
            with Program(*command, *engine_too) as program:
                wait_for_replies(out, program, draw.randrange(8, 40))
                kills += program.kill()
            assert not again(servers, before, paid)
        assert kills >= 4
        paid, before = addresses(out), servers.asked()
        run(load_recipe(path, [*changes, "run.engine=local"]), out)
        assert not again(servers, before, paid)
        assert digests(out) == digests(whole[0])
        for name, asked in servers.asked().items():
            # A judge commits so many at a time, in each of two slices that a worker has in hand.
            uncommitted = IN_FLIGHT + (2 * COMMIT_EVERY if name == "judge" else 0)
            assert len(asked) - len(set(asked)) <= kills * WORKERS * uncommitted, name


def again(servers, before, paid):
    """What was asked since, though it was committed."""
    return {
        name: found
        for name, asked in servers.asked().items()
        if (found := paid & {*asked[len(before[name]) :]})
    }


@pytest.mark.ray
@pytest.mark.parametrize(
    ("name", "count"),
    [("scone_multi_input_15k", len(MULTI_INPUT_CASES)), ("scone_multi_candidate_20k", len(CELLS))],
)
def test_a_recipe_of_one_set_gives_its_counts(name, count, base, tmp_path):
    out = tmp_path / "out"
    with ExitStack() as stack:
        path, changes, _ = small(name, base, out, stack)
        made = run(load_recipe(path, changes), out)
    assert made["kept"].books.made == made["packed"].books.made == count


def addresses(out):
    """Of every reply that is committed; segments may be merged while they are read."""
    while True:
        try:
            tables = [pa.ipc.open_file(path.read_bytes()).read_all() for path in out.glob("ledger/*.arrow")]
        except FileNotFoundError:
            continue
        return {address for table in tables for address in table.column("request").to_pylist()}


def wait_for_replies(out, program, count):
    """Until so many more replies are committed."""
    before = len(addresses(out))
    while program.is_running() and len(addresses(out)) < before + count:
        time.sleep(0.1)
