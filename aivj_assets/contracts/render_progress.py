"""`frames-shards/plan.json`: the rendering that a batch has under way."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from aivj_assets.contracts.base import ContractFile
from aivj_assets.errors import UserError


class RenderProgress(ContractFile):
    """Which plan is being carried out, over how many presets, and how many of them it has to render."""

    plan_id: str = ""
    total: int = 0
    todo: int = 0

    @classmethod
    def under_way(cls, path: Path) -> Self | None:
        """Read the file; None when no rendering is under way or the file is torn."""
        try:
            return cls.load(path)
        except UserError:
            return None
