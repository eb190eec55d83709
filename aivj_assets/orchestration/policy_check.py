"""The check of `publication` that holds the published policy against the published index. It is advice: it warns."""

from collections.abc import Iterator

import dagster as dg

from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.style import StyleIndex, StylePolicy
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot, check_pack_name
from aivj_assets.orchestration.check_specs import partitioned_check
from aivj_assets.orchestration.partitions import PACKS
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.style.policy_check import POLICY_FITS_INDEX, TierEvidence, check_policy, tier_evidence

_HEAD = (
    "tier", "presets", "clusters", "equal clusters", "shortest dwell (s)", "presets needed", "presets usable",
    "clusters needed", "what to relax",
)  # fmt: skip

_SPEC = partitioned_check(
    POLICY_FITS_INDEX,
    asset="publication",
    partitions_def=PACKS,
    description="Every tier has enough presets and clusters for the policy's cooldowns through a show of two "
    "hours. Assumed is the worst case: the whole show is in one tier and every preset leaves as soon as its dwell "
    "is over. A warning: the show goes on and relaxes rules; the result says which value of aivj-pack.json to set "
    "to what.",
)


@dg.multi_asset_check(name="publication_policy", specs=[_SPEC])
def policy_fits_index(
    context: dg.AssetCheckExecutionContext, data_root: DataRootResource
) -> Iterator[dg.AssetCheckResult]:
    """Hold the published policy against the published index, tier by tier."""
    evidence: list[TierEvidence] = []
    try:
        finding, evidence = published_policy(data_root.get(), check_pack_name(context.partition_key))
    except UserError as error:
        finding = Finding(POLICY_FITS_INDEX, False, str(error), severity="warning")
    if not finding.passed:
        context.log.warning(f"publication {POLICY_FITS_INDEX}: {finding.detail}")
    yield dg.AssetCheckResult(
        asset_key="publication",
        check_name=POLICY_FITS_INDEX,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{POLICY_FITS_INDEX}: {finding.detail}",
        metadata={
            **finding.figures,
            "tiers": dg.MetadataValue.md(markdown_table(_HEAD, [_row(tier) for tier in evidence])),
        },
    )


def published_policy(root: DataRoot, pack: str) -> tuple[Finding, list[TierEvidence]]:
    """Return what the check finds of a pack's published files, with the evidence; raises `UserError`."""
    policy, _, _, v1 = root.published_files(pack)
    selection, entries = StylePolicy.load(policy).selection, StyleIndex.load(v1).entries
    return check_policy(selection, entries), tier_evidence(selection, entries)


def _row(tier: TierEvidence) -> tuple[object, ...]:
    relaxed = ", ".join(f"{name} {value:g}" for name, value in tier.to_relax.items())
    return (
        tier.energy, tier.presets, tier.clusters, f"{tier.effective_clusters:.1f}", f"{tier.dwell_s:g}",
        tier.presets_needed, f"{tier.presets_usable:.0f}", tier.clusters_needed,
        relaxed or tier.problem or "nothing",
    )  # fmt: skip
