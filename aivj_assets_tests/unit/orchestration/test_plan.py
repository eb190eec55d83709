"""A plan that another run has overtaken renders nothing."""

import json
from pathlib import Path

import pytest

from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir
from aivj_assets.orchestration.assets.frames import _require_current_plan


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", json.dumps({"planId": "other", "todo": 3})])
def test_only_the_latest_plan_is_carried_out(tmp_path: Path, content: str | None) -> None:
    folder = BatchDir(tmp_path)
    folder.shard_logs_dir.mkdir()
    if content is not None:
        folder.render_plan.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="out of date"):
        _require_current_plan(folder, "mine")
    folder.render_plan.write_text(json.dumps({"planId": "mine"}), encoding="utf-8")
    _require_current_plan(folder, "mine")
