"""The run configuration of `batch_job`, made from a pack's settings."""

from __future__ import annotations

from typing import Any

from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.orchestration.parameters import render_parameters


def batch_run_config(settings: PackSettings) -> dict[str, Any]:
    """Return Dagster's run config for a batch; raises `UserError` when a rendering parameter is not valid."""
    # As validated, so that "False" or 45000.0 from a command line reach Dagster in the types it asks for.
    fields = RenderParameters.model_fields.items()
    given = {name for name, info in fields if {name, info.alias} & settings.render.keys()}
    render = render_parameters(settings.render).model_dump(mode="json", by_alias=True, include=given)
    passed_on = {"model", "pretrained", "note", "device", "precision"}
    embedder = settings.embedder.model_dump(exclude_none=True, include=passed_on)
    clusters = settings.clusters.model_dump(exclude_none=True, include={"k", "reason", "seed", "k_limit", "strategy"})
    config: dict[str, Any] = {}
    ops: dict[str, Any] = {}
    if render:
        ops["frames"] = {"config": render}
    if clusters:
        ops["clusters"] = {"config": clusters}
    if ops:
        config["ops"] = ops
    if embedder:
        config["resources"] = {"embedder": {"config": embedder}}
    return config
