"""Asset checks: the gates of `frames` from their one declaration, and the contracts of what follows.

All are partitioned; those that a stage declares as blocking are of severity ERROR, the others warn. A figure that
cannot be computed does not pass.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg

from aivj_assets.cluster.checks import check_clusters
from aivj_assets.contracts.clusters import Clusters, load_centroids
from aivj_assets.contracts.embeddings import load_embeddings, read_embedding_ids
from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.frames_index import OkRecord, read_records
from aivj_assets.contracts.frames_meta import FramesMeta
from aivj_assets.contracts.gates import GATES, OK_RATE, evaluate_gates, measure_folder
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.profile import FROZEN_CARD, PARAMETERS_FROZEN
from aivj_assets.contracts.style import ENERGIES, StyleIndex
from aivj_assets.embed.checks import check_collapse, check_embeddings, check_inputs
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.check_specs import partitioned_check
from aivj_assets.orchestration.lineage.findings import lineage_findings
from aivj_assets.orchestration.near_duplicates import duplicate_findings
from aivj_assets.orchestration.partitions import BATCHES
from aivj_assets.orchestration.policy_check import policy_fits_index
from aivj_assets.orchestration.profile import frozen_card_finding, frozen_pixels_finding, known_pixels
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.stages import STAGES
from aivj_assets.orchestration.step import user_errors
from aivj_assets.orchestration.verdicts.known import reviewed_finding
from aivj_assets.qa.conclusion import QA_REVIEWED
from aivj_assets.style.index import check_style_index

CheckResults = Iterator[dg.AssetCheckResult]
ContractCheck = Callable[[dg.DagsterInstance, DataRoot, BatchKey], Sequence[Finding]]
DESCRIPTIONS = {
    "frames": {
        **{gate.name: f"{gate.rule} {gate.comparison} {gate.threshold:g}. If not: {gate.remedy}" for gate in GATES},
        PARAMETERS_FROZEN: "The pixel parameters are the lineage's: pictures of two kinds never mix. If not: render "
        "the batch with the lineage's, or make its own the lineage's with aivj profile PACK --refreeze BATCH.",
    },
    "embeddings": {
        "shape": "As many rows as ids, as many columns as the model card says.",
        "finite": "No value is NaN or infinite.",
        "unit_norm": "Every row has length 1.",
        "unique_ids": "No preset has two rows.",
        "one_row_per_ok_preset": "Every ok preset has a row, or a reason why it was left out; rows / presets of the "
        f"manifest {OK_RATE.comparison} {OK_RATE.threshold:g}. If not: materialise frames again.",
        FROZEN_CARD: "The model card is the lineage's: rows of two models never mix. If not: embed the batch with the "
        "lineage's model, or make its card the lineage's with aivj profile PACK --refreeze BATCH.",
        "near_black_inputs": "Few of the embedded presets are black. A warning: look at the contact sheet of frames.",
        "collapse": "Rows differ in many directions (effective dimension). A warning: are the weights trained, and do "
        "the frames differ?",
    },
    "clusters": {
        "every_preset_assigned_once": "Every embedded preset is in one cluster, and no other preset.",
        "no_empty_cluster": "Every cluster holds as many presets as it says, and at least one.",
        "cluster_ids_legal": "Ids are c and two or more digits, each once, as many as k.",
        "centroids_unit_length": "Every cluster has a centroid of length 1.",
        "published_ids_kept": "No published preset has another cluster than before, unless the migration table of a "
        "declared minor or major accounts for it.",
        "largest_cluster_share": "No cluster holds most of the presets. A warning: try another k.",
        "centroid_drift": "No centroid has turned far with this batch. A warning: look at the cluster's sheet.",
        "far_from_centroids": "Few presets are far from every centroid. A warning: aivj lineage major founds clusters "
        "for styles that births did not find.",
    },
    "style_index": {
        "contract": "Both files are what the app reads.",
        "coverage": "Every embedded preset has an entry, and no other preset.",
        "no_duplicates": "No preset has two entries.",
        "energies_legal": f"Every entry's energy is one of {', '.join(ENERGIES)}.",
    },
    "qa_samples": {
        QA_REVIEWED: "A person has judged enough clusters, and how many presets are in good ones. A warning: judge "
        "them on the QA page, export, then aivj qa import verdicts.json, which evaluates this check anew.",
        "near_duplicates": "Few presets show what another one shows. A warning: keep one of each group on the QA page, "
        "export, and aivj qa import.",
        "misfits": "Few presets are black or of one colour in every capture. A warning: look at them on the QA page; "
        "dark presets exist.",
    },
}
"""{stage: {check: what it asks, and what to do when it fails}}, as the UI shows it."""


def _specs(stage: str) -> list[dg.AssetCheckSpec]:
    declared = STAGES[stage]
    return [
        partitioned_check(
            name,
            asset=stage,
            blocking=name in declared.blocking_checks,
            partitions_def=BATCHES,
            description=DESCRIPTIONS[stage][name],
        )
        for name in (*declared.blocking_checks, *declared.warning_checks)
    ]


_FRAMES_SPECS = _specs("frames")


@dg.multi_asset_check(name="frames_gates", specs=_FRAMES_SPECS)
def frames_gates(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> CheckResults:
    """Apply every gate to the batch's index and the frames on disk, and hold its pixel parameters to the lineage's."""
    with user_errors():
        root = data_root.get()
        batch = BatchKey.parse(context.partition_key)
        figures = measure_folder(Manifest.load(root.manifest(batch)), root.batch(batch))
    for verdict in evaluate_gates(figures):
        gate = verdict.gate
        context.log.log("INFO" if verdict.passed else "ERROR", f"Batch {batch}: {verdict.sentence}")
        yield dg.AssetCheckResult(
            asset_key="frames",
            check_name=gate.name,
            passed=verdict.passed,
            severity=dg.AssetCheckSeverity.ERROR,
            description=verdict.sentence,
            metadata={
                "value": dg.MetadataValue.null() if verdict.value is None else round(verdict.value, 6),
                "threshold": f"{gate.comparison} {gate.threshold:g}",
                "rule": gate.rule,
                "what_to_try": gate.remedy,
                **{name: _metadata(value) for name, value in verdict.evidence.items()},
                "failure_reasons": dg.MetadataValue.json(figures.failure_reasons),
            },
        )
    try:
        pixels = known_pixels(FramesMeta.load(root.batch(batch).frames_meta))
        frozen = frozen_pixels_finding(context.instance, root, batch, pixels)
    except UserError as error:
        frozen = Finding(PARAMETERS_FROZEN, False, str(error))
    (spec,) = (spec for spec in _FRAMES_SPECS if spec.name == PARAMETERS_FROZEN)
    yield _result(context, spec, [frozen])


def _metadata(value: float | int | str | None) -> Any:
    return dg.MetadataValue.null() if value is None else value


def _contract_check(stage: str, findings_of: ContractCheck) -> dg.AssetChecksDefinition:
    """Make the partitioned checks of a stage from a function that returns its findings."""
    specs = _specs(stage)

    @dg.multi_asset_check(name=f"{stage}_contract", specs=specs)
    def contract(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> CheckResults:
        root = data_root.get()
        batch = BatchKey.parse(context.partition_key)
        try:
            findings: Sequence[Finding] = findings_of(context.instance, root, batch)
        except UserError as error:
            findings = [Finding(spec.name, False, str(error)) for spec in specs]
        for spec in specs:
            yield _result(context, spec, [finding for finding in findings if finding.name == spec.name])

    return contract


def _result(
    context: dg.AssetCheckExecutionContext, spec: dg.AssetCheckSpec, findings: Sequence[Finding]
) -> dg.AssetCheckResult:
    """Make one check's result from the findings of its name; a check without a finding fails."""
    passed = bool(findings) and all(finding.passed for finding in findings)
    detail = "; ".join(finding.detail for finding in findings) or "the check gave no result"
    if not passed:
        context.log.log(
            "ERROR" if spec.blocking else "WARNING", f"{spec.asset_key.to_user_string()} {spec.name}: {detail}"
        )
    return dg.AssetCheckResult(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR if spec.blocking else dg.AssetCheckSeverity.WARN,
        description=f"{spec.name}: {detail}",
        # The description says the rest.
        metadata={name: round(value, 6) for finding in findings for name, value in finding.figures.items()},
    )


def _embedding_findings(instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> Sequence[Finding]:
    folder = root.batch(batch)
    embeddings = load_embeddings(folder)
    manifest = Manifest.load(root.manifest(batch))
    records = read_records(folder.frames_index)
    ok = [preset.id for preset in manifest.presets if isinstance(records.get(preset.id), OkRecord)]
    return [
        *check_embeddings(embeddings, ok, presets=len(manifest.presets)),
        frozen_card_finding(instance, root, batch, embeddings.meta.card),
        check_inputs(embeddings, records),
        check_collapse(embeddings),
    ]


def _cluster_findings(_instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> Sequence[Finding]:
    folder = root.batch(batch)
    made, centroids = Clusters.load(folder.clusters), load_centroids(folder.centroids)
    return [
        *check_clusters(made, centroids, read_embedding_ids(folder.embedding_ids)),
        *lineage_findings(root, batch, made),
    ]


def _style_findings(_instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> Sequence[Finding]:
    folder = root.batch(batch)
    ids = read_embedding_ids(folder.embedding_ids)
    findings: list[Finding] = []
    for version in ("v1", "v0"):
        findings += check_style_index(StyleIndex.load(folder.style_index(version)), ids)
    return findings


def _qa_findings(_instance: dg.DagsterInstance, root: DataRoot, batch: BatchKey) -> Sequence[Finding]:
    return [reviewed_finding(root, batch), *duplicate_findings(root.batch(batch))]


CHECKS = [
    frames_gates,
    _contract_check("embeddings", _embedding_findings),
    _contract_check("clusters", _cluster_findings),
    _contract_check("style_index", _style_findings),
    _contract_check("qa_samples", _qa_findings),
    policy_fits_index,
]
