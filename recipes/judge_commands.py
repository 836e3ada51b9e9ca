"""Commands about judges: ask again, what it will cost, does it deserve belief, label by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recipes.schema import RecipeError, load_recipe
from recipes.terminal import LimitOption, console, ready
from shards.storage import Storage

commands = typer.Typer()

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="a recipe, e.g. recipes/demo_vllm.yaml")]
StepName = Annotated[str, typer.Argument(metavar="STEP", help="a judged step of it")]
OutOption = Annotated[
    str | None, typer.Option("--out", help="output directory or s3:// URI; out/<recipe's name> if unset")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="STEP.KEY=VALUE", help="change a setting; repeatable")
]


@commands.command()
def retry(
    recipe: RecipePath,
    step: StepName,
    status: Annotated[str, typer.Option(help="which replies: error or truncated")] = "error",
    out: OutOption = None,
    limit: LimitOption = None,
    changes: SetOption = None,
) -> None:
    """Ask again what an outage spoilt, under the same hash; what was paid is not asked."""
    from recipes.display import Display
    from recipes.retry import check_status, count_statuses
    from recipes.retry import retry as ask_again
    from recipes.run import Run

    check_status(status)
    loaded = load_recipe(recipe, changes or [], limit)
    storage = Storage(out or f"out/{loaded.name}")
    with Run(loaded, storage, Display(console, storage, loaded.name)) as run:
        gone, made = ask_again(run, loaded, storage, step, status)
    if not gone:
        console.print(
            f"{step}: no reply of status {status} that asking can mend; nothing to ask", highlight=False
        )
        return
    statuses = count_statuses(storage.child(made[step].directory))
    told = ", ".join(f"{count} {name}" for name, count in sorted(statuses.items()))
    console.print(f"{step}: {told}", highlight=False)
    for name in gone[:-1]:
        console.print(f"{name}: was made from the old replies and is gone; run the recipe to make it again")


def print_bills(
    recipe: Path, out: str | None, changes: list[str] | None, limit: int | None, samples: int
) -> None:
    """Ask a few samples of each judged step, and print what the whole will cost."""
    from recipes.bill import bills, describe

    loaded = load_recipe(recipe, changes or [], limit)
    found = list(bills(loaded, Storage(out or f"out/{loaded.name}"), samples))
    if not found:
        raise RecipeError([f"{recipe}: --sample: expected a judged step that is not finished, got none"])
    for bill in found:
        for line in describe(bill):
            console.print(line, highlight=False)


@commands.command()
def calibrate(
    recipe: RecipePath,
    step: StepName,
    labels: Annotated[
        Path | None, typer.Option(help="CSV of key,question,label; the truth of rendered samples if unset")
    ] = None,
    again: Annotated[
        int, typer.Option(min=0, help="ask so many samples a second time, to see how far answers are off")
    ] = 0,
    to: Annotated[Path | None, typer.Option("--to", help="JSON to write")] = None,
    out: OutOption = None,
    limit: LimitOption = None,
    changes: SetOption = None,
) -> None:
    """Tell whether a judge deserves belief: against truth or people, asked twice, and on controls."""
    from recipes.calibration import calibrate as measure
    from recipes.calibration import describe

    loaded = load_recipe(recipe, changes or [], limit)
    found = measure(loaded, Storage(out or f"out/{loaded.name}"), step, labels, again)
    for line in describe(found):
        console.print(line, highlight=False, soft_wrap=True)
    if to:
        found.write(ready(to))


@commands.command()
def explain(
    recipe: RecipePath,
    step: StepName,
    near: Annotated[
        str,
        typer.Option(
            metavar="QUESTION[=VALUE]",
            help="a question and the threshold of its score, e.g. consistency=3.5; with --key the question",
        ),
    ],
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--key", help="of a sample, as a report's gallery shows it, wherever its score; repeatable"
        ),
    ] = None,
    within: Annotated[
        float, typer.Option(min=0, help="how far from the threshold, in the score's own unit")
    ] = 0.5,
    most: Annotated[int, typer.Option(min=1, help="ask about so many samples, the nearest ones")] = 20,
    to: Annotated[Path | None, typer.Option("--to", help="JSON lines to write")] = None,
    out: OutOption = None,
    limit: LimitOption = None,
    changes: SetOption = None,
) -> None:
    """Have a served judge write down its reasons for scores near a threshold, or those of some samples."""
    from recipes.rationales import Near, describe, write_jsonl
    from recipes.rationales import explain as ask

    score, _, value = near.partition("=")
    try:
        which = keys or Near(threshold=float(value), within=within, most=most)
    except ValueError as error:
        raise RecipeError([f"--near {near}: expected QUESTION=NUMBER, got {value!r}"]) from error
    loaded = load_recipe(recipe, changes or [], limit)
    found = ask(loaded, Storage(out or f"out/{loaded.name}"), step, score, which)
    for line in describe(found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if to:
        write_jsonl(found, ready(to))


@commands.command()
def label(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="a finished directory of samples")],
    questions: Annotated[
        list[str], typer.Option("--question", help="id of a question of the rubric; repeatable")
    ],
    to: Annotated[Path, typer.Option("--to", help="CSV to write or go on with")] = Path("labels.csv"),
    samples: Annotated[int, typer.Option(min=1, help="how many samples, from all over the set")] = 50,
    port: Annotated[int, typer.Option(min=0, max=65535, help="of the page; 0 for any")] = 0,
) -> None:
    """Serve a page on this machine where a person answers a rubric's questions; it writes a CSV."""
    from filters.controls import draw_rows
    from filters.label_page import Labelling, LabelServer
    from filters.rubrics import pick_questions
    from shards.index import Directory
    from shards.manifest import read_manifest

    storage = Storage(directory.rstrip("/"))
    manifest = read_manifest(storage)
    if manifest is None or manifest.kind != "samples":
        found = f"one of {manifest.kind}" if manifest else "none"
        raise RecipeError([f"{directory}: expected a finished directory of samples, got {found}"])
    opened = Directory(storage)
    keys = [row.key for row in draw_rows(opened.rows(0), samples)]
    server = LabelServer(Labelling(opened, keys, pick_questions(questions), to), port)
    console.print(
        f"http://{server.server_address[0]!s}:{server.server_port}; ctrl-c ends it", highlight=False
    )
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        console.print(f"{to}", highlight=False)
    finally:
        server.server_close()
