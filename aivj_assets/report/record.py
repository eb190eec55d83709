"""The run record: everything that decided a batch, its figures and verdicts, in one file."""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic.alias_generators import to_camel

from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.embeddings import EmbeddingsMeta
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.gates import GateVerdict, evaluate_gates, measure_folder
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.qa_duplicates import DUPLICATES_NAME, QaDuplicates
from aivj_assets.contracts.run_meta import GateLine, QaVerdict, RunMeta
from aivj_assets.contracts.style import ENERGIES, StyleIndex
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, BatchKey, DataRoot

_PACKAGES = (
    "aivj-assets", "dagster", "playwright", "numpy", "scipy", "scikit-learn", "torch", "torchvision", "open_clip_torch",
    "pandas", "pillow",
)  # fmt: skip
_TOP_REASONS = 10


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that can change a result; those not installed are left out."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def gate_lines(verdicts: list[GateVerdict]) -> list[GateLine]:
    """Return verdicts in the form of the run record."""
    return [
        GateLine(
            gate=verdict.gate.name,
            rule=verdict.gate.rule,
            value=verdict.value,
            comparison=verdict.gate.comparison,
            threshold=verdict.gate.threshold,
            passed=verdict.passed,
            evidence={to_camel(name): value for name, value in verdict.evidence.items()},
        )
        for verdict in verdicts
    ]


def left_out_reasons(left_out: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return why ok presets have no embedding, the commonest first; which of a preset's frames does not count."""
    return Counter(re.sub(r"^frame-\d+\.\w+: ", "", reason) for reason in left_out.values()).most_common()


def build_run_record(
    root: DataRoot,
    batch: BatchKey,
    *,
    run_id: str,
    durations_s: Mapping[str, float],
    inputs: Mapping[str, str],
    qa: QaVerdict | None = None,
) -> RunMeta:
    """Gather a finished batch's record from its files.

    `qa` is what the verdicts on its clusters come to; without any, a verdict that a person wrote into an earlier
    record is kept. Raises `UserError` when a file is missing or malformed.
    """
    folder = root.batch(batch)
    frames = FramesMeta.load(folder.frames_meta)
    embedding = EmbeddingsMeta.load(folder.embeddings_meta)
    clusters = Clusters.load(folder.clusters)
    index = StyleIndex.load(folder.style_index("v1"))
    manifest = Manifest.load(root.manifest(batch))
    figures = measure_folder(manifest, folder)
    energies = Counter(entry.energy for entry in index.entries)
    return RunMeta(
        generated_at=utc_now(),
        batch=batch.key,
        run_id=run_id,
        fingerprint=frames.fingerprint,
        pixel_parameters=frames.pixel_parameters,
        operational_parameters=frames.operational_parameters,
        renderer_class=frames.renderer_class,
        browser_version=frames.browser_version,
        packages=package_versions(),
        platform={"system": platform.platform(), "python": platform.python_version(), "machine": platform.machine()},
        counts={
            "presets": figures.total,
            "ok": figures.ok,
            "failed": figures.failed,
            # A preset whose first frame has gone since it was rendered is failed and left out.
            "embedded": embedding.count,
            "leftOut": len(embedding.left_out),
            "uniqueFirstFrames": figures.unique_first_frames or 0,
            "indexed": len(index.entries),
            **_duplicate_counts(folder),
        },
        failure_reasons_top=list(figures.failure_reasons.items())[:_TOP_REASONS],
        gates=gate_lines(evaluate_gates(figures)),
        embedding_model=embedding.card.to_json(),
        left_out_top=left_out_reasons(embedding.left_out)[:_TOP_REASONS],
        k=clusters.k,
        k_reason=clusters.k_reason,
        lineage=clusters.lineage,
        energies={energy: energies[energy] for energy in ENERGIES},
        durations_s=dict(durations_s),
        inputs_sha256=dict(inputs),
        qa=qa or _earlier_verdict(folder.run_meta),
    )


def _duplicate_counts(folder: BatchDir) -> dict[str, int]:
    """Return how many presets are unique, copies, near-duplicates and misfits; nothing where none were looked for."""
    path = folder.qa_dir / DUPLICATES_NAME
    if not path.exists():
        return {}
    counts = QaDuplicates.load(path).counts
    return {
        "unique": counts.unique,
        "exactDuplicates": counts.exact_duplicates,
        "nearDuplicates": counts.near_duplicates,
        "misfits": counts.misfits,
    }


def _earlier_verdict(path: Path) -> QaVerdict:
    if not path.exists():
        return QaVerdict()
    try:
        earlier = RunMeta.load(path).qa
    except UserError as error:
        raise UserError(f"{error} It holds the QA verdict: mend it, or delete it to start a new record.") from None
    return earlier if earlier.counts is None else QaVerdict()
