"""Which settings of a step decide what: its hash, its plan alone, or only how it is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from shards.sample import Json

_PLAN = {"decides": "plan"}
_RUN = {"decides": "run"}

# A setting that decides which samples are planned, but nothing inside one: changing it re-uses the rest.
PlanInt: TypeAlias = Annotated[int, Field(json_schema_extra=_PLAN)]
PlanFloat: TypeAlias = Annotated[float, Field(json_schema_extra=_PLAN)]
PLAN: Mapping[str, Any] = {"json_schema_extra": _PLAN}
# A setting that decides how and how fast a step runs; it stays out of every hash.
RUN: Mapping[str, Any] = {"json_schema_extra": _RUN}


class Settings(BaseModel):
    """Settings of a step, or of a part of one: frozen; unknown names, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def computed(self) -> dict[str, Json]:
        """What the step's hash covers: all but `run` settings."""
        return self._without("run")

    def content(self) -> dict[str, Json]:
        """What decides a sample once it is planned: all but `run` and `plan` settings."""
        return self._without("run", "plan")

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
