"""Labels of a lineage's clusters: computed for clusters that have none, from the frames of its batches."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.cluster_labels import ClusterLabels, merged_labels
from aivj_assets.contracts.clusters import cluster_id
from aivj_assets.contracts.frames_index import OkRecord, read_records
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.embed.lite0 import LITE0
from aivj_assets.embed.model import TorchModel
from aivj_assets.embed.search import text_vectors
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.orchestration.card_model import ModelOptions, load_model_of_card
from aivj_assets.orchestration.lineage.store import Lineage
from aivj_assets.style.appearance import PresetFrames, measure_clusters
from aivj_assets.style.labels import DEFAULT_LOGIT_SCALE, ZeroShot, compute_labels, zero_shot_labels
from aivj_assets.style.prompts import DEFAULT_PROMPTS, prompt_vectors, read_prompts

# Two halves of a cluster of that many presets share half of their words; a third frame adds nothing.
_PRESETS_A_CLUSTER, _FRAMES_A_PRESET = 24, 2
Say = Callable[[str], None]


def update_labels(root: DataRoot, lineage: Lineage, *, again: bool, say: Say) -> None:
    """Label the clusters of a version that have no label yet; with `again` (a major) all but a person's anew.

    Words tell how a cluster differs from the library's others, so all living clusters are measured; labels that are
    there stay, or the same cluster would be called otherwise after every batch. Bad or missing frames are passed over.
    """
    living = [cluster_id(int(number)) for number in lineage.version.state.numbers]
    before = ClusterLabels.load(lineage.folder.labels) if lineage.folder.labels.exists() else None
    known = {} if before is None else before.labels
    if not again and all(name in known for name in living):
        return
    say(f"Labelling {len(living)} clusters from frames of up to {_PRESETS_A_CLUSTER} presets each.")
    looks = measure_clusters(_drawn_frames(root, lineage))
    zero_shot = _zero_shot(root, lineage, living, say)
    # In a major only labels that nobody computes again are taken: those of retired ids, and a person's.
    taken = [
        entry.label for name, entry in known.items() if not again or name not in living or entry.source == "person"
    ]
    now = utc_now()
    found = compute_labels(looks, at=now, zero_shot=zero_shot, taken=taken)
    labels = merged_labels(
        before, found.labels, lineage=lineage.name, at=now, unlabelled=found.unlabelled, keep_computed=not again
    )
    labels.save_if_changed(lineage.folder.labels)


def _drawn_frames(root: DataRoot, lineage: Lineage) -> dict[str, list[PresetFrames]]:
    """Return frames of up to 24 presets a cluster, drawn by their content: the same for any order of batches."""
    version = lineage.version
    drawn: dict[str, str] = {}
    for place in np.argsort(version.shas):
        name = cluster_id(int(version.numbers[place]))
        drawn[version.shas[place].decode()] = name
    few: defaultdict[str, list[str]] = defaultdict(list)
    for sha, name in drawn.items():
        if len(few[name]) < _PRESETS_A_CLUSTER:
            few[name].append(sha)
    wanted = {sha for shas in few.values() for sha in shas}
    frames: dict[str, PresetFrames] = {}
    for batch in lineage.facts.batches:
        members = lineage.members(batch)
        here = {
            preset_id: sha
            for sha, preset_id in zip(members.preset_sha256, members.preset_ids, strict=True)
            if sha in wanted and sha not in frames
        }
        if here:
            frames |= _frames_of(root.batch(BatchKey.parse(batch.key)), here)
    return {name: [frames[sha] for sha in shas if sha in frames] for name, shas in few.items()}


def _frames_of(folder: BatchDir, wanted: Mapping[str, str]) -> dict[str, PresetFrames]:
    """Return {SHA-256: frames} of presets {preset id: SHA-256} of one batch; a batch whose index is lost has none."""
    try:
        records = read_records(folder.frames_index)
    except UserError:
        return {}
    found = {}
    for preset_id, sha in wanted.items():
        record = records.get(preset_id)
        if isinstance(record, OkRecord):
            paths = [_inside(folder, frame) for frame in record.frames[-_FRAMES_A_PRESET:]]
            found[sha] = PresetFrames(preset_id, paths, record.metrics.motion)
    return found


def _inside(folder: BatchDir, frame: str) -> Path:
    return folder.path.joinpath(*(part for part in PurePosixPath(frame).parts if part not in {"..", "/"}))


def _zero_shot(root: DataRoot, lineage: Lineage, living: list[str], say: Say) -> ZeroShot | None:
    """Rank the prompts for each cluster when the rows' model has a text side that can be loaded; None otherwise."""
    if lineage.facts.card.model.startswith(LITE0):
        return None
    try:
        model = _model(root, lineage)
    except UserError as error:
        say(f"Labels come from the frames alone: {error}")
        return None
    if model.encode_text is None:
        return None
    own = lineage.folder.prompts
    prompts = read_prompts(own if own.exists() else DEFAULT_PROMPTS)
    vectors = prompt_vectors(prompts, lambda texts: text_vectors(model, texts))
    scale = DEFAULT_LOGIT_SCALE if model.logit_scale is None else model.logit_scale
    ranked = zero_shot_labels(lineage.version.state.centroids, vectors, prompts, logit_scale=scale)
    return ZeroShot(dict(zip(living, ranked, strict=True)), lineage.facts.card.name)


def _model(root: DataRoot, lineage: Lineage) -> TorchModel:
    pack = BatchKey.parse(lineage.keys[-1]).pack
    return load_model_of_card(lineage.facts.card, ModelOptions(), PackSettings.of_pack(root, pack), os.environ)
