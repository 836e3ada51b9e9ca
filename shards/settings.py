"""Which settings of a step decide what: its hash, its plan alone, or only how it is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from shards.sample import Json
from shards.storage import Storage

_PLAN = {"decides": "plan"}
_RUN = {"decides": "run"}

# A setting that decides which samples are planned, but nothing inside one: changing it re-uses the rest.
PlanInt: TypeAlias = Annotated[int, Field(json_schema_extra=_PLAN)]
PlanFloat: TypeAlias = Annotated[float, Field(json_schema_extra=_PLAN)]
PLAN: Mapping[str, Any] = {"json_schema_extra": _PLAN}
# A setting that decides how and how fast a step runs; it stays out of every hash.
RUN: Mapping[str, Any] = {"json_schema_extra": _RUN}


class Settings(BaseModel):
    """Settings of a step: frozen, unknown names refused, and numbers that no hash can hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def computed(self) -> dict[str, Json]:
        """What the step's hash covers: all but `run` settings."""
        return self._without("run")

    def content(self) -> dict[str, Json]:
        """What decides a sample once it is planned: all but `run` and `plan` settings."""
        return self._without("run", "plan")

    def missing(self) -> list[str]:
        """What must be there and is not, for `bakery check`; nothing for a step that reads no source."""
        return []

    def problems_with(self, inputs: Mapping[str, Sequence[str]]) -> list[str]:  # noqa: ARG002, as above
        """What cannot work with these inputs (names of steps, by role), for the recipe's check."""
        return []

    def tables(self) -> Sequence[str] | None:
        """Names of the score tables that the step writes; None where only its run can tell."""
        return None

    def reads_tables(self) -> Sequence[str]:
        """Names of the score tables that the step asks of its `scores`, for the recipe's check."""
        return ()

    def prepared(self, storage: Storage) -> Self:  # noqa: ARG002, for settings that need it
        """What the workers are given, once the plan lies in the step's directory.

        Called by the driver on every run, so what it puts there is made again where it was lost.
        """
        return self

    def _without(self, *roles: str) -> dict[str, Json]:
        return self.model_dump(mode="json", exclude=self._with_role(roles))

    def _with_role(self, roles: Sequence[str]) -> dict[str, Any]:
        """Settings of these roles, those inside settings included, as `model_dump` excludes them."""
        found: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("decides") in roles:
                found[name] = True
            elif isinstance(value, Settings):
                found[name] = value._with_role(roles)
        return found
