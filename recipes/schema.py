"""Recipes: YAML read into steps and their settings; every error at once, each with the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recipes.drawn import benchmarks_trained_on, scored_elsewhere
from recipes.servers import ServerSettings, asked_servers
from recipes.steps import STEPS, StepType
from recipes.wiring import Wiring, in_order, wire
from shards.sample import KEY_PATTERN
from shards.setting_faults import fault_lines, flags, unknown
from shards.step import StepSettings
from shards.worker_step import WorkerStep
from shards.yaml_file import YamlError, parse_yaml, read_yaml


class RecipeError(ValueError):
    """A recipe that cannot be run; the message lists every error, a line each."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)


class RunSettings(BaseModel):
    """How a recipe is run; no result depends on it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    engine: Literal["local", "ray"] = Field(default="local", description="who runs the work")
    workers: int | None = Field(
        default=None, ge=1, description="worker processes; the machine's cores if unset"
    )
    slice_size: int = Field(default=16, ge=1, le=4096, description="planned samples a worker takes at once")
    ray_address: str | None = Field(default=None, description="of a Ray cluster to join")
    cpus_per_worker: float = Field(default=1, gt=0)
    gpus_per_worker: float = Field(default=0, ge=0)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a recipe, checked.

    Attributes:
        name: in the recipe; the directory's name begins with it.
        type: key of `STEPS`.
        inputs: names of the steps it reads, by role.
        settings: its own settings.
        shard_size: samples in a shard.
        limit: of the plan only the first so many samples; None for all.
        run: how it is run.
    """

    name: str
    type: str
    inputs: Mapping[str, tuple[str, ...]]
    settings: StepSettings
    shard_size: int
    limit: int | None
    run: RunSettings

    @property
    def step_type(self) -> StepType:
        """What `STEPS` says of its type."""
        return STEPS[self.type]

    @property
    def is_of_workers(self) -> bool:
        """Whether workers make it; the driver makes the others by itself."""
        return isinstance(self.settings, WorkerStep)

    @property
    def reads(self) -> list[str]:
        """All steps it reads, in order of roles."""
        return [name for names in self.inputs.values() for name in names]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A checked recipe; `steps` in an order in which each comes after what it reads.

    `changes` are those of --set that it was read with.
    """

    name: str
    seed: int
    steps: Mapping[str, Step]
    path: Path
    run: RunSettings = field(default_factory=RunSettings)
    resources: Mapping[str, ServerSettings] = field(default_factory=dict)
    changes: tuple[str, ...] = ()


TOP = ("name", "seed", "run", "resources", "steps")
OWN = ("step", "shard_size", "run")


def load_recipe(path: Path, overrides: Sequence[str] = (), limit: int | None = None) -> Recipe:
    """Read and check a recipe.

    Args:
        path: of the YAML file.
        overrides: `step.key=value`, `run.key=value` or `seed=value`, the value in YAML.
        limit: every step plans at most so many samples.

    Raises:
        RecipeError: all that is wrong with it.
    """
    value, errors = _read(path), list[str]()
    for override in overrides:
        _apply(value, override, errors)
    errors += [f"{path}: {hint}" for hint in unknown(value, TOP, "")]
    name = value.get("name", path.stem)
    if not isinstance(name, str) or not name.strip() or "/" in name or name in (".", ".."):
        errors.append(f"{path}: name: expected a name for a folder of out/, got {name!r:.80}")
    seed = value.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        errors.append(f"{path}: seed: expected a whole number, got {seed!r}")
        seed = 0  # once is enough: steps take it over
    shared_run = value.get("run") or {}
    run = read_settings(RunSettings, shared_run, f"{path}: run", errors)
    shared = {"seed": seed, "limit": limit, "run": shared_run if run else {}}
    steps = _steps(path, value.get("steps"), shared, errors)
    resources = _resources(path, value.get("resources") or {}, steps, errors)
    if errors:
        raise RecipeError(errors)
    return Recipe(
        name=str(name),
        seed=int(seed),
        steps=steps,
        path=path,
        run=run or RunSettings(),
        resources=resources,
        changes=tuple(overrides),
    )


def _resources(
    path: Path, value: object, steps: Mapping[str, Step], errors: list[str]
) -> dict[str, ServerSettings]:
    """Servers by name, and that every server a step asks for is among them."""
    if not isinstance(value, Mapping):
        errors.append(f"{path}: resources: expected servers by name, got {value!r:.60}")
        return {}
    found = {
        str(name): read_settings(ServerSettings, entry, f"{path}: resources.{name}", errors)
        for name, entry in value.items()
    }
    errors.extend(
        f"{path}: resources: expected names of [a-z0-9_-], got {name!r}"
        for name in found
        if not KEY_PATTERN.fullmatch(name)
    )
    for step in steps.values():
        for setting, served in asked_servers(step.settings):
            if served.server not in found:
                place = f"{path}: steps.{step.name}.{setting}.server"
                hint = f"{next(unknown({served.server: 0}, found, ''))} under resources" if found else ""
                errors.append(f"{place}: {hint or f'expected resources with {served.server}, got none'}")
    return found


def is_training(path: Path) -> bool:
    """Whether a file is a recipe of training, not of steps; no error where it is neither."""
    try:
        return _is_training(read_yaml(path, "a recipe"))
    except YamlError:
        return False


def _is_training(value: object) -> bool:
    return isinstance(value, dict) and "steps" not in value and bool({"stages", "out", "data"} & set(value))


def _read(path: Path) -> dict[str, Any]:
    try:
        value = read_yaml(path, "a recipe")
    except YamlError as error:
        raise RecipeError([str(error)]) from error
    if not isinstance(value, dict):
        raise RecipeError([f"{path}: expected a recipe with {', '.join(TOP)}, got {value!r:.60}"])
    if _is_training(value):
        raise RecipeError(
            [f"{path}: expected a recipe of steps, got one of training; `bakery check` or `train` takes it"]
        )
    return value


def _apply(value: dict[str, Any], override: str, errors: list[str]) -> None:
    """Set `a.b=c`; a first word that is no top-level name is a step."""
    path, equals, text = override.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        errors.append(f"--set {override}: expected step.key=value, got no value or no key")
        return
    if names[0] not in TOP:
        steps = value.get("steps")
        if isinstance(steps, dict) and names[0] not in steps:
            errors.extend(
                f"--set {override}: {hint}" for hint in unknown({names[0]: 0}, [*map(str, steps), *TOP], "")
            )
            return
        names = ["steps", *names]
    try:
        new = parse_yaml(text)
    except YamlError as error:
        errors.append(f"--set {override}: expected a value in YAML, got: {error}")
        return
    at = value
    for name in names[:-1]:
        at = at.setdefault(name, {})
        if not isinstance(at, dict):
            errors.append(f"--set {override}: expected {name} to hold settings, got {at!r:.60}")
            return
    at[names[-1]] = new


def read_settings(model: type[Any], value: object, where: str, errors: list[str]) -> Any:  # noqa: ANN401, a `model`
    """The model of a mapping, or None with its errors noted."""
    if not isinstance(value, Mapping):
        errors.append(f"{where}: expected settings, got {value!r:.60}")
        return None
    errors.extend(flags(value, model.model_fields, f"{where}."))
    try:
        return model.model_validate(dict(value))
    except ValidationError as error:
        errors.extend(fault_lines(f"{where}.", model.model_fields, error))
        return None


def _steps(path: Path, value: object, shared: Mapping[str, Any], errors: list[str]) -> dict[str, Step]:
    """The steps, each after what it reads; those that are well, where there are errors."""
    if not isinstance(value, Mapping) or not value:
        errors.append(f"{path}: steps: expected steps by name, got {value!r:.60}")
        return {}
    before = len(errors)
    wirings = wire(str(path), value, errors)
    is_wired = len(errors) == before
    found = {}
    for name, entry in value.items():
        step = _step(f"{path}: steps.{name}", str(name), entry, wirings.get(str(name)), shared, errors)
        if step:
            found[step.name] = step
    for name, step in found.items():
        errors.extend(f"{path}: steps.{name}: {problem}" for problem in _problems(step, found))
    return {name: found[name] for name in in_order(wirings) if name in found} if is_wired else found


def _step(
    where: str, name: str, entry: object, wiring: Wiring | None, shared: Mapping[str, Any], errors: list[str]
) -> Step | None:
    if not KEY_PATTERN.fullmatch(name) or len(name) > 40:
        errors.append(f"{where}: expected a name of 1 to 40 of [a-z0-9_-], got {name!r}")
    if wiring is None:  # which is told already
        return None
    entry = cast(Mapping[str, Any], entry)
    step_type, model = wiring.step_type, wiring.step_type.settings_class()
    own = {key: each for key, each in entry.items() if key not in (*OWN, *wiring.inputs)}
    errors.extend(unknown(own, [*model.model_fields, *OWN, *wiring.inputs], f"{where}."))
    own = {key: each for key, each in own.items() if key in model.model_fields}
    if "seed" in model.model_fields:
        own.setdefault("seed", shared["seed"])
    before = len(errors)
    settings = read_settings(model, own, where, errors)
    run = _run(f"{where}.run", entry.get("run") or {}, shared["run"], errors)
    shard_size = entry.get("shard_size", 500)
    if not isinstance(shard_size, int) or isinstance(shard_size, bool) or not 1 <= shard_size <= 100_000:
        errors.append(f"{where}.shard_size: expected a whole number of 1 to 100000, got {shard_size!r}")
    if len(errors) > before:
        return None
    return Step(
        name=name,
        type=entry["step"],
        inputs={role: names or () for role, names in wiring.inputs.items()},
        settings=settings,
        shard_size=shard_size,
        limit=shared["limit"] if step_type.kind == "samples" else None,
        run=run,
    )


def _run(where: str, own: object, shared: Mapping[str, Any], errors: list[str]) -> Any:  # noqa: ANN401
    """How a step is run: as its recipe says, but for what it sets itself."""
    if isinstance(own, Mapping):
        if own.get("ray_address", shared.get("ray_address")) != shared.get("ray_address"):
            errors.append(f"{where}.ray_address: expected the recipe's own, as a run joins one cluster")
        own = {**shared, **own}
    return read_settings(RunSettings, own, where, errors)


def _problems(step: Step, steps: Mapping[str, Step]) -> Iterator[str]:
    """What cannot work with the steps it reads."""
    yield from step.settings.problems_with(step.inputs)
    yield from _unscored(step, steps)
    yield from scored_elsewhere(step, steps)
    yield from benchmarks_trained_on(step, steps)


def _unscored(step: Step, steps: Mapping[str, Step]) -> Iterator[str]:
    """Scores that no step it reads will make: told now, not after hours of judging."""
    asked = step.settings.reads_tables()
    made = [
        steps[name].settings.tables() if name in steps else None for name in step.inputs.get("scores", ())
    ]
    if asked and made and None not in made:
        known = [name for names in made if names is not None for name in names]
        yield from (f"score {hint}" for hint in unknown(dict.fromkeys(asked), known, ""))
