"""Files that tell how far work under way has come; torn or missing, there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from aivj_assets.contracts.base import ContractFile
from aivj_assets.errors import UserError


class UnderWay(ContractFile):
    """A file that lies there while something is made."""

    @classmethod
    def under_way(cls, path: Path) -> Self | None:
        """Read the file; None when nothing is under way or the file is torn."""
        try:
            return cls.load(path)
        except UserError:
            return None


class WorkProgress(UnderWay):
    """How much of how much is done: presets of an embedding, fits of a k report."""

    done: int
    total: int


class RenderProgress(UnderWay):
    """`frames-shards/plan.json`: which plan is carried out, over how many presets, and how many it has to render."""

    plan_id: str = ""
    total: int = 0
    todo: int = 0
