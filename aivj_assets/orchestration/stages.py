"""The stages of a batch, declared once: what each needs, which files it makes, which checks gate it.

Assets take their dependencies from here, the guard its questions, the run record its inputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aivj_assets.contracts.gates import GATES
from aivj_assets.contracts.profile import FROZEN_CARD, PARAMETERS_FROZEN
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot, sha256_file

EMBEDDING_CHECKS = ("shape", "finite", "unit_norm", "unique_ids", "one_row_per_ok_preset", FROZEN_CARD)
EMBEDDING_WARNINGS = ("near_black_inputs", "collapse")
CLUSTER_CHECKS = (
    "every_preset_assigned_once", "no_empty_cluster", "cluster_ids_legal", "centroids_unit_length",
    "published_ids_kept",
)  # fmt: skip
CLUSTER_WARNINGS = ("largest_cluster_share", "centroid_drift", "far_from_centroids")
QA_WARNINGS = ("qa_reviewed", "near_duplicates", "misfits")
STYLE_INDEX_CHECKS = ("contract", "coverage", "no_duplicates", "energies_legal")


@dataclass(frozen=True)
class Stage:
    """A per-batch asset: its inputs, its files (in a fixed order) and the checks that block what follows."""

    name: str
    inputs: tuple[str, ...]
    files: Callable[[DataRoot, BatchKey, BatchDir], tuple[Path, ...]]
    blocking_checks: tuple[str, ...] = ()
    warning_checks: tuple[str, ...] = ()


_STAGES = (
    Stage("presets", (), lambda root, batch, folder: (root.manifest(batch), folder.presets_report)),
    Stage(
        "frames",
        ("presets",),
        lambda _root, _batch, folder: (folder.frames_index, folder.frames_meta),
        (*(gate.name for gate in GATES), PARAMETERS_FROZEN),
    ),
    Stage(
        "embeddings",
        ("presets", "frames"),
        lambda _root, _batch, folder: (folder.embeddings, folder.embedding_ids, folder.embeddings_meta),
        EMBEDDING_CHECKS,
        EMBEDDING_WARNINGS,
    ),
    Stage(
        "clusters",
        ("embeddings",),
        lambda _root, _batch, folder: (folder.clusters, folder.centroids),
        CLUSTER_CHECKS,
        CLUSTER_WARNINGS,
    ),
    Stage(
        "style_index",
        ("presets", "frames", "clusters"),
        lambda _root, _batch, folder: (folder.style_index("v1"), folder.style_index("v0")),
        STYLE_INDEX_CHECKS,
    ),
    Stage("style_policy", ("style_index",), lambda _root, _batch, folder: (folder.style_policy,)),
    Stage(
        "qa_samples",
        ("presets", "frames", "embeddings", "clusters", "style_index"),
        lambda _root, _batch, folder: (folder.qa_dir / "index.json", folder.qa_dir / "index.html"),
        warning_checks=QA_WARNINGS,
    ),
    Stage(
        "run_record",
        ("presets", "frames", "embeddings", "clusters", "style_index", "style_policy", "qa_samples"),
        lambda _root, _batch, folder: (folder.run_meta,),
    ),
)
STAGES: dict[str, Stage] = {stage.name: stage for stage in _STAGES}
# What publication takes from a batch; a batch whose chain up to here is accepted is an accepted batch.
PUBLISHED_STAGE = "style_policy"


def content_version(root: DataRoot, batch: BatchKey, stage: Stage) -> str:
    """Return the SHA-256 over a stage's files: its data version. Raises `UserError` when a file is missing."""
    return files_version(root, batch, stage, root.batch(batch))


def files_version(root: DataRoot, batch: BatchKey, stage: Stage, folder: BatchDir) -> str:
    """Return the content version of a stage's files that lie in `folder` (made to take the batch folder's place)."""
    digest = hashlib.sha256()
    for path in stage.files(root, batch, folder):
        try:
            digest.update(f"{path.name}:{sha256_file(path)}\n".encode())
        except OSError as error:
            raise UserError(
                f"Batch {batch}: {path} of '{stage.name}' cannot be read ({error.strerror}); "
                f"materialise {stage.name} again."
            ) from None
    return digest.hexdigest()


def ancestors(stage_name: str) -> list[str]:
    """Return every stage that `stage_name` rests on, however far up, in the order in which they are made."""
    above: set[str] = set()
    queue = list(STAGES[stage_name].inputs)
    while queue:
        name = queue.pop()
        if name not in above:
            above.add(name)
            queue += STAGES[name].inputs
    return [name for name in STAGES if name in above]
