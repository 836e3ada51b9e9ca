"""Which step of a recipe reads which, told of every step of a known type, whatever else is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from typing import cast

from recipes.steps import STEPS, StepType
from shards.setting_faults import unknown


@dataclass(frozen=True)
class Wiring:
    """A step's type, and the names of the steps it reads by role; None where what is written are no names."""

    step_type: StepType
    inputs: Mapping[str, tuple[str, ...] | None]

    @property
    def reads(self) -> tuple[str, ...]:
        """All steps it reads, in order of roles."""
        return tuple(name for names in self.inputs.values() for name in names or ())


def wire(path: str, steps: Mapping[object, object], errors: list[str]) -> dict[str, Wiring]:
    """The wiring of all steps whose type is known; what is wrong with any is noted.

    Args:
        path: of the recipe, for the messages.
        steps: as written.
        errors: takes what is wrong.
    """
    found = {}
    for name, entry in steps.items():
        wiring = _wired(f"{path}: steps.{name}", entry, errors)
        if wiring:
            found[str(name)] = wiring
    _read_all(found)
    for name in found:
        errors.extend(_bad_inputs(f"{path}: steps.{name}", name, found, [str(name) for name in steps]))
    try:
        TopologicalSorter({name: wiring.reads for name, wiring in found.items()}).prepare()
    except CycleError as error:
        errors.append(f"{path}: steps: expected no cycle, got {' -> '.join(error.args[1])}")
    return found


def in_order(wirings: Mapping[str, Wiring]) -> list[str]:
    """Names of steps that are wired well, each after what it reads, otherwise as written."""
    names = list(wirings)
    places = {name: place for place, name in enumerate(names)}
    sorter = TopologicalSorter({name: wiring.reads for name, wiring in wirings.items()})
    sorter.prepare()
    ready: list[int] = []
    ordered: list[str] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heappush(ready, places[name])
        ordered.append(names[heappop(ready)])
        sorter.done(ordered[-1])
    return ordered


def _wired(where: str, entry: object, errors: list[str]) -> Wiring | None:
    if not isinstance(entry, Mapping):
        errors.append(f"{where}: expected settings, got {entry!r:.60}")
        return None
    kind = entry.get("step")
    if not isinstance(kind, str):
        errors.append(f"{where}.step: expected a type of step, got {kind!r:.60}; known: {', '.join(STEPS)}")
        return None
    if kind not in STEPS:
        errors.extend(f"{where}.step: {hint}" for hint in unknown({kind: 0}, STEPS, ""))
        return None
    roles = [role.rstrip("*?") for role in STEPS[kind].inputs]
    return Wiring(STEPS[kind], {role: _names(f"{where}.{role}", entry.get(role), errors) for role in roles})


def _names(where: str, value: object, errors: list[str]) -> tuple[str, ...] | None:
    if value is None:
        return ()
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) for name in names):
        errors.append(f"{where}: expected the name of a step or a list of names, got {value!r:.60}")
        return None
    return tuple(cast(list[str], names))


def _read_all(wirings: dict[str, Wiring]) -> None:
    """A page that names no steps is about all that are no pages."""
    others = tuple(name for name, wiring in wirings.items() if wiring.step_type.kind != "page")
    for name, wiring in wirings.items():
        if wiring.step_type.kind == "page" and not wiring.reads:
            wirings[name] = replace(wiring, inputs={"of": others})


def _bad_inputs(where: str, step: str, wirings: Mapping[str, Wiring], written: list[str]) -> Iterator[str]:
    for role, kinds in wirings[step].step_type.inputs.items():
        names = wirings[step].inputs[role.rstrip("*?")]
        place = f"{where}.{role.rstrip('*?')}"
        if names is None:
            continue
        if not names and not role.endswith("?"):
            yield f"{place}: expected the name of a step that makes {' or '.join(kinds)}, got none"
        if len(names) > 1 and not role.endswith(("*", "?")):
            yield f"{place}: expected one step, got {', '.join(names)}"
        for name in names:
            if name not in written:
                yield f"{place}: {next(unknown({name: 0}, [n for n in written if n != step], ''))}"
            elif name in wirings and wirings[name].step_type.kind not in kinds:
                made = wirings[name].step_type.kind
                wanted = " or ".join(kinds)
                yield f"{place}: expected a step that makes {wanted}, got {name}, which makes {made}"
