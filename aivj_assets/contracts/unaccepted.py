"""The mark of what was made past the gates: in JSON files the field `unaccepted`, on the review page a line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.errors import UserError
from aivj_assets.layout import write_json_atomic

UNACCEPTED = "unaccepted"


class Unaccepted(ContractModel):
    """Why a person had something made of a batch that is not accepted, and what was passed over."""

    reason: str
    run_id: str
    passed_over: dict[str, str]
    """{stage: why it is not accepted}."""

    @property
    def sentence(self) -> str:
        """The mark as one line."""
        stages = "; ".join(f"'{stage}': {problem}" for stage, problem in self.passed_over.items())
        return f"Made past the gates ({self.reason}), never to be published. Not accepted: {stages}."


def mark_files(paths: Iterable[Path], mark: Unaccepted | None) -> None:
    """Put the mark into JSON files, or with None take an earlier one out; files that say so already stay untouched."""
    wanted = None if mark is None else mark.to_json()
    for path in paths:
        if path.suffix != ".json":
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            if mark is None:
                # There is no mark in it; that it cannot be read is told by whoever reads it.
                continue
            raise UserError(f"{path} cannot be marked: {error}.") from None
        if not isinstance(content, dict) or content.get(UNACCEPTED) == wanted:
            continue
        content.pop(UNACCEPTED, None)
        write_json_atomic(path, content if wanted is None else {**content, UNACCEPTED: wanted})


def is_marked(content: ContractFile) -> bool:
    """Whether a file that was read carries the mark."""
    return UNACCEPTED in (content.model_extra or {})
