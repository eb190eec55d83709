"""What `aivj audio-style` does: training, check and publication in one run, and the result in the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from aivj_assets.contracts.audio_style_model import AudioStyleModel
from aivj_assets.errors import UserError
from aivj_assets.layout import AUDIO_STYLE_NAME, DataRoot
from aivj_assets.orchestration.assets.audio_style_model import MODEL
from aivj_assets.orchestration.commands.pack import make_pack_asset
from aivj_assets.report.audio_style import print_audio_style
from aivj_assets.report.console import require_pack


def audio_style_and_show(
    console: Console, root: DataRoot, pack: str, config: Mapping[str, Any], *, as_json: bool
) -> int:
    """Train a pack's model and print its verdict; returns 0 when it is published, 1 when the rule stays.

    Raises `UserError` for an unknown pack and for one that has nothing to learn from.
    """
    require_pack(root, pack)
    others = config.get("bootstrap_energy") or config.get("reactivity")
    if not others and next(root.shows_dir(pack).glob("*.jsonl"), None) is None:
        raise UserError(
            f"Pack '{pack}' has no log of a show to learn from: play one with aivj show {pack}, skip what does not fit "
            "and mark or hold what does."
        )
    made = make_pack_asset(
        console, root, pack, MODEL, config, progress_file=root.audio_style_progress(pack), title="Training",
        stopped="An earlier model stays as it was.", quiet=as_json,
    )  # fmt: skip
    if not made:
        return 1
    model = AudioStyleModel.load(root.audio_style_model(pack))
    if as_json:
        console.file.write(json.dumps(model.to_json(), indent=2) + "\n")
    else:
        print_audio_style(console, model)
        shown = root.published(pack, AUDIO_STYLE_NAME) if model.published else root.audio_style_model(pack)
        console.print(f"Model: {shown}", markup=False, highlight=False, soft_wrap=True)
    return 0 if model.published else 1
