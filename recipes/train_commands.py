"""Commands about models: train on what was built, draw, serve, look at what the bridge finds relevant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recipes.schema import RecipeError
from recipes.terminal import console
from shards.yaml_file import YamlError, parse_yaml

commands = typer.Typer()

Checkpoint = Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="a model directory")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto for whichever there is")]
CpuThreads = Annotated[
    int, typer.Option(min=1, help="that multiply on a CPU; other numbers give other bytes")
]
Bridge = Annotated[bool, typer.Option(help="apply the bridge while sampling")]
Steps = Annotated[int, typer.Option(min=2, help="points in time of the sampler; more take longer")]
Size = Annotated[
    int,
    typer.Option(
        min=64, max=1024, help="pixels a side, as wished; the model's resize rule has the last word"
    ),
]


@commands.command()
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="a training recipe")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a setting; repeatable")
    ] = None,
) -> None:
    """Train every stage of a recipe; stopped at any point, the same command goes on."""
    from train.main import main_train

    raise typer.Exit(main_train(recipe, _changes(changes or [])))


def print_forecast(recipe: Path, changes: list[str]) -> None:
    """What each stage of a training recipe will take."""
    from recipes.forecast_table import print_forecasts
    from train.main import main_check

    print_forecasts(console, *main_check(recipe, _changes(changes)))


def _changes(changes: list[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise RecipeError([f"--set {change}: expected KEY=VALUE, got no value"])
        try:
            found[name] = parse_yaml(text)
        except YamlError as error:
            raise RecipeError([f"--set {change}: expected a value in YAML, got: {error}"]) from error
    return found


@commands.command()
def generate(
    checkpoint: Checkpoint,
    instruction: Annotated[str, typer.Argument(metavar="INSTRUCTION", help="what to draw")],
    references: Annotated[list[Path], typer.Option("--ref", help="reference image; repeatable, in order")],
    to: Annotated[Path, typer.Option("--to", help="PNG to write")] = Path("generated.png"),
    size_px: Size = 1024,
    seed: Annotated[int, typer.Option(help="of the noise: the same seed draws the same picture")] = 0,
    steps: Steps = 50,
    bridge: Bridge = False,
    device: Device = "auto",
    cpu_threads: CpuThreads = 1,
) -> None:
    """Draw one image from references and an instruction."""
    from train.main import main_generate

    into = main_generate(
        checkpoint,
        references,
        instruction,
        to,
        size=(size_px, size_px),
        seed=seed,
        steps=steps,
        uses_bridge=bridge,
        device=device,
        cpu_threads=cpu_threads,
    )
    console.print(f"{into}", highlight=False)


@commands.command()
def serve(
    checkpoint: Checkpoint,
    host: Annotated[
        str, typer.Option(help="to listen at; other machines reach any but the default")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free")] = 8000,
    label: Annotated[
        str, typer.Option("--name", help="first half of the model's name; the directory's if unset")
    ] = "",
    steps: Steps = 50,
    bridge: Bridge = False,
    vit_px: Annotated[
        int | None, typer.Option(help="longest side of references for the ViT; as in training if unset")
    ] = None,
    device: Device = "auto",
    cpu_threads: CpuThreads = 1,
    places: Annotated[int, typer.Option(min=1, help="pictures that may wait or be drawn")] = 16,
    show_name: Annotated[bool, typer.Option("--show-name", help="print the model's name and end")] = False,
) -> None:
    """Serve a checkpoint behind the OpenAI images API, one picture at a time."""
    from train.serve import Serving, main_serve

    serving = Serving(
        checkpoint=checkpoint,
        host=host,
        port=port,
        label=label,
        steps=steps,
        uses_bridge=bridge,
        vit_px=vit_px,
        device=device,
        cpu_threads=cpu_threads,
        places=places,
    )
    if show_name:
        console.print(serving.name(), highlight=False)
    else:
        raise typer.Exit(main_serve(serving))


@commands.command()
def relevance(
    checkpoint: Checkpoint,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="a finished directory or selection")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="a sample's key")],
    to: Annotated[Path, typer.Option("--to", help="PNG to write")] = Path("relevance.png"),
    device: Device = "auto",
) -> None:
    """Draw what a model finds relevant in a sample's references, per layer and expert."""
    from train.main import main_relevance

    console.print(f"{main_relevance(checkpoint, directory, key, to, device=device)}", highlight=False)
