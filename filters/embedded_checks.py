"""Settings of the embedded verifier: measured answers to `verify`'s questions, for a closed catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from filters.embedded import ASSETS, HEADS, NETWORK, file_hash
from shards.sample import Json
from shards.settings import Settings

if TYPE_CHECKING:
    from filters.check_engine import CheckEngine

NAMES = ASSETS / "names.npz"
CHECK_HEADS = ASSETS / "checks.json"


class EmbeddedChecksConfig(Settings):
    """The embedded verifier has nothing to set; see `EmbeddedEngineConfig` for what such a judge is.

    It knows the names of one closed catalogue by how they look, and reads phrases made of those names and of
    a colour, a size or a position. Of other names it says 0.5.
    """

    VERSION: ClassVar[int] = 1

    kind: Literal["embedded"] = "embedded"

    @property
    def identity(self) -> Mapping[str, Json]:
        """What its answers depend on: the code's version and the hashes of what is vendored."""
        files = {"network": NETWORK, "heads": HEADS, "names": NAMES, "checks": CHECK_HEADS}
        hashes: dict[str, Json] = {name: file_hash(path) for name, path in files.items()}
        return {"engine": "embedded checks", "version": self.VERSION, **hashes, "reads_claims": True}

    def build(self) -> CheckEngine:
        """The engine with its weights loaded; onnxruntime and scipy are imported here, not before."""
        from filters.check_engine import CheckEngine

        return CheckEngine.load(self.identity)
