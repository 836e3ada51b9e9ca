"""Settings of a served model: which endpoints answer for it, and how they are spoken to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from shards.endpoints import PoolSettings
from shards.server import published_urls
from shards.settings import RUN, Settings
from shards.storage import Storage


class ServedSettings(Settings):
    """A model behind HTTP. What is declared of it is trusted, and probed; where it runs is in no hash."""

    model: str = Field(min_length=1, description="name that the endpoints serve")
    revision: str = Field(min_length=1, description="of the model's weights; no server tells it")
    endpoints: Annotated[tuple[str, ...], Field(**RUN)] = Field(
        default=("http://127.0.0.1:8000",), min_length=1, description="servers that exist"
    )
    server: Annotated[str, Field(**RUN)] = Field(
        default="", description="of the recipe's `resources`, started for the run; instead of endpoints"
    )
    endpoints_at: Annotated[str, Field(**RUN)] = Field(
        default="", description="folder where servers publish their addresses as they come"
    )
    in_flight: Annotated[int, Field(**RUN)] = Field(
        default=32, ge=1, le=1024, description="at once at each endpoint, for each worker"
    )
    timeout_s: Annotated[float, Field(**RUN)] = Field(default=120, gt=0, description="of one request")
    attempts: Annotated[int, Field(**RUN)] = Field(
        default=6, ge=1, description="at one request, those not counted that found a server busy"
    )
    outage_s: Annotated[float, Field(**RUN)] = Field(
        default=120, gt=0, description="how long all endpoints may be silent, their start included, or busy"
    )
    api_key_env: Annotated[str, Field(**RUN)] = Field(
        default="", description="environment variable that holds the key; the key itself is written nowhere"
    )

    @field_validator("endpoints")
    @classmethod
    def _plain(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not url.startswith(("http://", "https://")) or set(url) & set("@?#"):
                raise ValueError(
                    "URLs like http://127.0.0.1:8000, without a key in them; api_key_env names the variable "
                    "that holds one"
                )
        return tuple(url.rstrip("/").removesuffix("/v1") for url in urls)

    def pool_settings(self) -> PoolSettings:
        """How to speak to the endpoints."""
        return PoolSettings(
            in_flight=self.in_flight,
            timeout_s=self.timeout_s,
            attempts=self.attempts,
            outage_s=self.outage_s,
            api_key_env=self.api_key_env,
            server=self.server,
        )

    def find_endpoints(self) -> list[str]:
        """Servers that came since, or came back elsewhere."""
        return published_urls(Storage(self.endpoints_at), self.server) if self.endpoints_at else []


def slices_at_once(*models: object) -> int:
    """How many slices a worker has in hand that waits for these: two where all of them are behind HTTP, so
    that the one's requests follow the other's without a gap. None is no model."""
    return 2 if all(isinstance(model, ServedSettings) for model in models if model is not None) else 1
