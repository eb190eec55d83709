"""What `aivj reactivity` does: the asset of the pack in a run of its own, and its result in the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from aivj_assets.contracts.reactivity import Reactivity
from aivj_assets.contracts.render_parameters import FILE_PREFIX, SOUNDS
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.commands.pack import make_pack_asset


def reactivity_and_show(
    console: Console,
    root: DataRoot,
    pack: str,
    *,
    sample: int,
    audio: Sequence[str],
    seed: int | None,
    as_json: bool,
) -> int:
    """Measure a sample of a pack and print what came of it; returns the exit status. Raises `UserError`."""
    sounds = [_absolute(value) for value in audio]
    made = make_pack_asset(
        console, root, pack, "reactivity", {"sample": sample, "audio": sounds or None, "seed": seed},
        progress_file=root.reactivity_progress(pack), title="Rendering under each sound",
        stopped="What is rendered is kept; the same command goes on from there.", quiet=as_json,
    )  # fmt: skip
    if not made:
        return 1
    report = Reactivity.load(root.reactivity(pack))
    if as_json:
        console.file.write(json.dumps(report.to_json(), indent=2) + "\n")
        return 0
    for line in summary(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"File: {root.reactivity(pack)}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _absolute(value: str) -> str:
    """Return a sound as the run's own process finds it; raises `UserError` for what is neither a sound nor a file."""
    if value in SOUNDS:
        return value
    path = Path(value.removeprefix(FILE_PREFIX)).expanduser()
    if not path.is_file():
        raise UserError(f"'{value}' is neither a sound ({', '.join(SOUNDS)}) nor a file.")
    return f"{FILE_PREFIX}{path.resolve()}"


def summary(report: Reactivity) -> list[str]:
    """Return what is said of a sample, a line each."""
    tried, reactive = len(report.entries), sum(entry.reactive for entry in report.entries)
    deaf = sum(entry.difference == 0 for entry in report.entries)
    names = ", ".join(audio.name for audio in report.audios)
    chance = f"at most {report.method.alpha:.0%} of them by chance"
    follow = f"{reactive} of {tried} presets follow the sound ({names} beside silence; {chance})"
    lines = [f"{follow}; {deaf} do not hear it at all. {report.duration_s:.0f} s."]
    if report.failed:
        lines.append(f"{len(report.failed)} presets could not be rendered under every sound.")
    full = [one.cluster for one in report.clusters if one.reactive == one.presets]
    none = [one.cluster for one in report.clusters if one.reactive == 0]
    lines.append(
        f"Clusters: {len(full)} of {len(report.clusters)} with every preset of the sample, {len(none)} with none."
    )
    lines += [f"Batch {batch} does not count: {why}" for batch, why in report.left_out.items()]
    return lines
