"""The command line: `bakery run recipes/demo.yaml` and what one asks before and after it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from recipes import evaluate_commands, removal_commands, topup_commands, train_commands
from recipes.judge_commands import commands, print_bills
from recipes.schema import Recipe, RecipeError, is_training, load_recipe
from recipes.terminal import LimitOption, console, problems, ready
from shards.storage import Storage, size_words

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Builds, judges and curates training data for subject-driven image generation.",
)
app.add_typer(removal_commands.commands)
app.add_typer(commands)
app.add_typer(topup_commands.commands)
app.add_typer(train_commands.commands)
app.add_typer(evaluate_commands.commands)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="a recipe, e.g. recipes/demo.yaml")]
OutOption = Annotated[
    str | None, typer.Option("--out", help="output directory or s3:// URI; out/<recipe's name> if unset")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="STEP.KEY=VALUE", help="change a setting; repeatable")
]


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        console.print(f"bakery {version('scone-bakery')}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    is_asked: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="print it and end")
    ] = False,
) -> None:
    """Nothing but the options that no command has."""


def main() -> None:
    """Run the command line; a known failure is a message and exit code 1, not a traceback."""
    from recipes.errors import explain

    try:
        app()
    except Exception as error:  # noqa: BLE001, the one place where errors become words
        sys.exit(explain(error, problems))


def _load(path: Path, changes: list[str] | None, limit: int | None = None) -> Recipe:
    return load_recipe(path, changes or [], limit)


def _out(recipe: Recipe, out: str | None) -> Storage:
    return Storage(out or f"out/{recipe.name}")


@app.command()
def run(
    recipe: RecipePath,
    out: OutOption = None,
    only: Annotated[
        list[str] | None, typer.Option(help="make this step alone, by its name; repeatable")
    ] = None,
    until: Annotated[str | None, typer.Option(help="make steps up to this one, by its name")] = None,
    limit: LimitOption = None,
    changes: SetOption = None,
) -> None:
    """Make what is not finished, in order; killed at any point, the same command goes on."""
    from recipes.display import Display
    from recipes.run import Run
    from recipes.summary import summarize

    loaded = _load(recipe, changes, limit)
    _check_names(loaded, [*(only or []), *([until] if until else [])])
    storage = _out(loaded, out)
    made = Run(loaded, storage, Display(console, storage, loaded.name))
    made.check_sources(only or (), until)  # before anything is written: a run that cannot be leaves nothing
    try:
        with made:
            manifests = made.execute(only=only or (), until=until)
    except KeyboardInterrupt:
        problems.print("\nstopped; the same command goes on from here")
        raise typer.Exit(130) from None
    summarize(console, storage, manifests)


def _check_names(recipe: Recipe, names: list[str]) -> None:
    for name in names:
        if name not in recipe.steps:
            raise RecipeError([f"{recipe.path}: expected a step of {', '.join(recipe.steps)}, got {name!r}"])


@app.command()
def check(
    recipe: RecipePath,
    out: OutOption = None,
    limit: LimitOption = None,
    changes: SetOption = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="judge so many samples, and print what all will cost")
    ] = None,
) -> None:
    """Check a recipe and print its plan: counts, sizes, what is finished; for training, what it takes."""
    from recipes.check import expectations
    from recipes.drawn import cautions
    from recipes.servers import missing_for

    if is_training(recipe):
        if out or limit or sample:
            raise RecipeError([f"{recipe}: expected no --out, --limit or --sample with a recipe of training"])
        train_commands.print_forecast(recipe, changes or [])
        return
    if sample:
        print_bills(recipe, out, changes, limit, sample)
        return
    loaded = _load(recipe, changes, limit)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("step", "type", "reads", "samples", "size", "state", "directory"):
        is_number = name in ("samples", "size")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=name == "directory")
    for found in expectations(loaded, _out(loaded, out)):
        is_counted = found.step.step_type.kind != "page"
        table.add_row(
            found.step.name,
            found.step.type,
            ", ".join(found.step.reads),
            _count(found.most, is_exact=found.manifest is not None) if is_counted else "",
            _size(found.size_bytes, is_exact=found.manifest is not None) if is_counted else "",
            "finished" if found.manifest else "to make",
            found.directory,
        )
    console.print(table)
    for step in loaded.steps.values():
        for what in missing_for(loaded, step):
            console.print(f"missing for {step.name}: {what}", highlight=False, soft_wrap=True)
    for what in cautions(loaded):
        console.print(f"look at {what}", highlight=False, soft_wrap=True)


def _size(size_bytes: float | None, *, is_exact: bool) -> str:
    return "?" if size_bytes is None else f"{'' if is_exact else '~'}{size_words(size_bytes)}"


def _count(most: int | None, *, is_exact: bool) -> str:
    return "?" if most is None else f"{most}" if is_exact else f"≤ {most}"


@app.command()
def status(
    out: Annotated[str, typer.Argument(metavar="OUT", help="an output directory, e.g. out/demo")],
) -> None:
    """Show how far the last run into a directory is, and whether it is alive."""
    from recipes.display import read_status, status_table
    from recipes.trace import existing
    from shards.lease import STALE_S, is_held, read_owner

    storage = existing(out)
    found = read_status(storage)
    if found is None:
        raise RecipeError([f"{out}: expected an output that something ran into, got none"])
    owner = read_owner(storage)
    is_alive = owner is not None and is_held(owner, STALE_S)
    console.print(f"{found['recipe']}: {'running' if is_alive else 'not running'}, process {found['pid']}")
    console.print(status_table(found["steps"]))


@app.command(name="ls")
def list_directories(
    out: Annotated[str, typer.Argument(metavar="OUT", help="an output directory, e.g. out/demo")],
) -> None:
    """List what is finished in an output."""
    from recipes.trace import existing, finished

    directories = finished(existing(out))
    if not directories:
        raise RecipeError([f"{out}: expected an output with finished directories, got none in it"])
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("directory", no_wrap=True)
    table.add_column("type", no_wrap=True)
    for name in ("made", "rejected", "size", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("reads")
    for found in directories:
        manifest = found.manifest
        table.add_row(
            found.name,
            manifest.type,
            str(manifest.books.made),
            str(manifest.books.failed + manifest.books.refused),
            size_words(sum(record.size for record in manifest.files.values())),
            f"{manifest.stats.get('seconds', 0)}",
            ", ".join(name for names in manifest.parents.values() for name in names),
        )
    console.print(table)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="a recipe")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="the same, changed; or the same with --set")],
    changes: SetOption = None,
) -> None:
    """Show which steps of NEW a finished run of OLD does not spare, and why; --set changes NEW."""
    from recipes.check import differing

    found = differing(_load(old, None), _load(new, changes))
    for name, why in found:
        console.print(f"{name}: would be made again", highlight=False)
        for line in why:
            console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    if not found:
        console.print("nothing would be made again")


@app.command()
def select(
    scores: Annotated[
        list[str],
        typer.Argument(metavar="SCORES...", help="directories of scores, judged on the same samples"),
    ],
    to: Annotated[str, typer.Option("--out", help="where the selection goes")],
    least: Annotated[
        list[str] | None,
        typer.Option("--min", metavar="SCORE=VALUE", help="keep from this value on; repeatable"),
    ] = None,
    most: Annotated[
        list[str] | None,
        typer.Option("--max", metavar="SCORE=VALUE", help="keep up to this value; repeatable"),
    ] = None,
    best: Annotated[int | None, typer.Option(min=1, help="keep so many samples, the best by --order")] = None,
    order: Annotated[
        list[str] | None,
        typer.Option(
            help="score that says what is better, the first one first; those of --min if unset; repeatable"
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="column of the samples' index, e.g. case: --best counts in each group; repeatable"),
    ] = None,
    policy: Annotated[str | None, typer.Option(help="rules by name: paper, refined or verified")] = None,
) -> None:
    """Decide anew over scores that exist: no image is opened, no model is asked."""
    from recipes.standalone import Rules, select_directory

    rules = Rules(
        least=least or (), most=most or (), best=best, order=order or (), by=by or (), policy=policy
    )
    for line in select_directory(scores, Storage(to), rules):
        console.print(line, highlight=False)


@app.command()
def report(
    out: Annotated[str, typer.Argument(metavar="OUT", help="an output directory, e.g. out/demo")],
    to: Annotated[Path, typer.Option("--to", help="the page to write")] = Path("report.html"),
) -> None:
    """Write one page over all that is finished in an output."""
    from filters.report import write_page
    from recipes.trace import existing, finished
    from shards.driver_step import Input

    directories = [Input(storage=d.storage, manifest=d.manifest) for d in finished(existing(out))]
    if not directories:
        raise RecipeError([f"{out}: expected an output with finished directories, got none; run a recipe"])
    write_page(directories, ready(to))
    console.print(f"{to}", highlight=False)


@app.command()
def export(
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="a finished directory of samples, or a selection")
    ],
    to: Annotated[str, typer.Option("--out", help="an empty folder or s3:// URI")],
    form: Annotated[str, typer.Option("--format", help="scone-parquet, hf, omnigen2-jsonl or energon")],
    name: Annotated[str | None, typer.Option(help="of the set; the step's name if unset")] = None,
    gpus: Annotated[int, typer.Option(min=1, help="scone-parquet: GPUs of the training run")] = 8,
    workers: Annotated[int, typer.Option(min=1, help="scone-parquet: loader workers of a GPU")] = 3,
    rows_a_file: Annotated[int, typer.Option(min=1, help="scone-parquet: samples in a file, about")] = 1000,
    data_dir: Annotated[str, typer.Option(help="scone-parquet: where the trainer finds the files")] = "",
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help="hf: a file of `bakery calibrate --to`; repeatable"),
    ] = None,
) -> None:
    """Write a set as another trainer or hub reads it; pictures stay the bytes they are."""
    from datagen.exporters.scone_parquet import SconeOptions
    from recipes.export import export_directory

    options = SconeOptions(
        name=name or "", gpus=gpus, workers=workers, rows_a_file=rows_a_file, data_dir=data_dir
    )
    for line in export_directory(directory, to, form, options, calibration or ()):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def show(
    out: Annotated[str, typer.Argument(metavar="OUT", help="an output directory, e.g. out/demo")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="a sample's key")],
    to: Annotated[Path | None, typer.Option("--to", help="PNG to write; KEY.png if unset")] = None,
    within: Annotated[
        str, typer.Option("--in", help="step or directory, where several hold the key; the first unless set")
    ] = "",
) -> None:
    """Show a sample as text, and write its contact sheet."""
    from recipes.sheet import contact_sheet, describe
    from recipes.trace import Way, existing

    way = Way(existing(out))
    sample = way.find(key, within)
    if sample is None:
        raise RecipeError([way.unknown(key)])
    for line in describe(sample):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    path = ready(to or Path(f"{key}.png"))
    contact_sheet(sample).save(path)
    console.print(f"{path}", highlight=False)


@app.command()
def why(
    out: Annotated[str, typer.Argument(metavar="OUT", help="an output directory, e.g. out/demo")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="a sample's key")],
) -> None:
    """Tell a sample's whole way, and of what it was made from: origin, steps, scores, decisions."""
    from recipes.trace import Way, existing

    way = Way(existing(out))
    lines = way.lines(key)
    if not lines:
        raise RecipeError([way.unknown(key)])
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def doctor(
    out: Annotated[str, typer.Option("--out", help="where output will go")] = "out",
    ray_address: Annotated[
        str | None, typer.Option(help="of a cluster whose nodes to look at too, e.g. auto")
    ] = None,
) -> None:
    """Look for what would go wrong: versions on every node, shadowed modules, space, ports."""
    from recipes.doctor import examine

    findings = list(examine(Storage(out), ray_address))
    for finding in findings:
        console.print(
            f"{'ok  ' if finding.is_well else 'LOOK'}  {finding.what}", highlight=False, soft_wrap=True
        )
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
