"""The project's definitions with the stand-in engine for the browser: what the benchmark's runs load."""

import dagster as dg

from aivj_assets.definitions import build_definitions
from aivj_assets.orchestration.bench.scale.stand_in import StandInRenderer


@dg.definitions
def defs() -> dg.Definitions:
    """Return the code location of the benchmark."""
    return build_definitions({"renderer": StandInRenderer()})
