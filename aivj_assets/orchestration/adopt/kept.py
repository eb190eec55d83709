"""Keeping what was adopted: a run of the whole job would render the batch anew, and its lineage would begin again."""

from __future__ import annotations

from aivj_assets.contracts.adoption import Adoption
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot


def require_not_adopted(root: DataRoot, batch: BatchKey, fingerprint: str, *, resume: bool = True) -> None:
    """Raise `UserError` before adopted frames are thrown away because this machine renders others.

    `fingerprint` is what would be rendered now; whoever says `resume` false means it.
    """
    folder = root.batch(batch)
    record = Adoption.of(folder)
    if record is None or not resume or not folder.frames_meta.exists():
        return
    stored = FramesMeta.load(folder.frames_meta)
    if stored.index_sha256 != record.index_sha256 or stored.fingerprint == fingerprint:
        return
    raise UserError(
        f"Batch {batch} was adopted from {record.adopted_from}, and this machine would render other pictures "
        f"(fingerprint {fingerprint}, adopted {stored.fingerprint}): its frames, rows and cluster ids would be thrown "
        f"away. What follows clusters is made by --only (style_index, style_policy, qa_samples, run_record); to render "
        f"it anew all the same: aivj run {batch} --set resume=false."
    )
