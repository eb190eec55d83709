"""Run configuration made from the typed parameters, so that names and defaults are declared once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import dagster as dg
from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from aivj_assets.contracts.base import first_problem
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.contracts.profile import LineageProfile
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.sounds import with_kept_sound

_SCALARS: dict[Any, Any] = {bool: bool, int: int, float: float, str: str}


def _config_type(annotation: Any) -> Any:
    """Return Dagster's config type of a scalar, a literal or an optional of these."""
    if get_origin(annotation) is Literal:
        return str
    inner = [part for part in get_args(annotation) if part is not type(None)]
    if inner:
        return dg.Noneable(_config_type(inner[0]))
    return _SCALARS[annotation]


def _described(info: FieldInfo) -> str:
    choices = f" One of: {', '.join(get_args(info.annotation))}." if get_origin(info.annotation) is Literal else ""
    return f"{info.description or ''}{choices} Default: {info.default}.".strip()


def render_config_schema() -> dict[str, dg.Field]:
    """Return the config schema of `frames`: the rendering parameters under their contract names."""
    return {
        info.alias or name: dg.Field(
            _config_type(info.annotation),
            # No default here: what a run does not give comes from the pack's settings, then from the declaration.
            is_required=False,
            description=_described(info),
        )
        for name, info in RenderParameters.model_fields.items()
    }


def render_parameters(config: dict[str, Any]) -> RenderParameters:
    """Validate a run's `frames` configuration; raises `UserError` with the first problem."""
    names = [info.alias or name for name, info in RenderParameters.model_fields.items()]
    unknown = [name for name in config if name not in names and name not in RenderParameters.model_fields]
    if unknown:
        near = difflib.get_close_matches(to_camel(unknown[0]), names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."
        raise UserError(f"Rendering parameters: there is no '{unknown[0]}'; {hint}")
    try:
        return RenderParameters.model_validate(config)
    except ValidationError as error:
        raise UserError(f"Rendering parameters: {first_problem(error)}.") from None


def effective_parameters(root: DataRoot, pack: str, given: Mapping[str, Any]) -> RenderParameters:
    """Return what a run renders with: what it is `given`, else the pack's settings, else what its lineage has frozen.

    So a batch that says nothing is rendered as the others of its lineage are. A file that is named as the sound is
    decoded and kept. Raises `UserError`.
    """
    settings = PackSettings.of_pack(root, pack)
    frozen = frozen_settings(root, settings)
    return render_parameters(with_kept_sound(root, {**frozen, **_named(settings.render), **_named(given)}))


def frozen_settings(root: DataRoot, settings: PackSettings) -> dict[str, Any]:
    """Return the rendering parameters that a pack's lineage has frozen and that a person can set, by contract name."""
    pixels = LineageProfile.of(root.lineage(settings.lineage)).pixels
    return {} if pixels is None else pixels.settings


def _named(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters by their contract names, so that one given as `warmup_frames` replaces `warmupFrames`."""
    fields = RenderParameters.model_fields
    return {(fields[name].alias or name) if name in fields else name: value for name, value in config.items()}
