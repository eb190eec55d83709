"""What persons said, as publication takes it, and whether what is published says the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import dagster as dg

from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.contracts.quality_blacklist import QualityBlacklist
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.lineage.store import lineage_of
from aivj_assets.orchestration.pictures import markdown_table
from aivj_assets.orchestration.verdicts.known import Judged
from aivj_assets.packs.blacklist import unwanted_presets
from aivj_assets.packs.rendered import RenderedBatch
from aivj_assets.style.judged import Judgement

QA_FIELD = "qa"
_SHOWN = 50


def judgement_of(root: DataRoot, pack: str, batches: Sequence[RenderedBatch]) -> Judgement:
    """Return what counts when a pack is published; raises `UserError` where verdicts or settings are malformed.

    A blacklist that is malformed is told when it would be written: what imported verdicts drop is known without it.
    """
    judged = Judged.open(root, lineage_of(root, pack).name)
    bad = PackSettings.of_pack(root, pack).qa.bad
    if judged is None:
        return Judgement(bad)
    dropped: dict[str, str] = {}
    with suppress(UserError):
        dropped = unwanted_presets(QualityBlacklist.of_pack(root, pack), batches)
    dropped |= {name: decision.reason for name, decision in judged.verdicts.dropped.items()}
    verdicts = {name: one.verdict for name, one in judged.known.items() if one.verdict is not None}
    return Judgement(bad, verdicts, judged.lineage.labels, dropped)


def told_of_qa(judgement: Judgement, left_out: Mapping[str, str], ids: Mapping[str, str]) -> dict[str, Any]:
    """Return what the published cluster file says of it: what bad clusters become, what is left out and how many."""
    bad = judgement.excluded_clusters
    sizes = Counter(ids[name] for name in left_out if ids[name] in bad)
    return {
        "bad": judgement.bad,
        "presetsLeftOut": len(left_out),
        "clustersLeftOut": [
            {"id": name, "label": judgement.labels.get(name, name), "presets": sizes[name]} for name in sorted(sizes)
        ],
        "presetsDropped": sorted(name for name in left_out if name in judgement.dropped),
    }


def says_what_persons_say(root: DataRoot, judged: Judged, pack: str) -> bool:
    """Whether what is published of a pack has the verdicts, labels and dropped presets of now.

    Raises `UserError` where the pack's settings are malformed.
    """
    try:
        published = Clusters.load(root.published_files(pack)[1])
    except UserError:
        return False
    told = (published.model_extra or {}).get(QA_FIELD)
    if not isinstance(told, dict):
        return False
    now = judgement_of(root, pack, ())
    left_out = {str(line.get("id")): line.get("label") for line in told.get("clustersLeftOut", ())}
    shown = {cluster.id: (cluster.label, cluster.verdict) for cluster in published.clusters}
    living = judged.lineage.labels
    dropped = set(judged.verdicts.dropped)
    return (
        told.get("bad") == now.bad
        and not now.excluded_clusters & shown.keys()
        and left_out.keys() <= now.excluded_clusters
        and all(living.get(name) == label for name, label in left_out.items())
        and all(said == (living.get(name), now.verdicts.get(name)) for name, said in shown.items())
        and not dropped & published.assignments.keys()
        and not {name for name, decision in judged.verdicts.presets.items() if decision.choice == "keep"}.intersection(
            told.get("presetsDropped", ())
        )
    )


def qa_facts(judgement: Judgement, left_out: Mapping[str, str]) -> dict[str, Any]:
    """Return what the publication's metadata says of verdicts: how many clusters are which, what left and why."""
    counts = Counter(judgement.verdicts.values())
    reasons = Counter(left_out.values()).most_common(_SHOWN)
    return {
        "verdicts": ", ".join(f"{counts[mark]} {mark}" for mark in ("good", "mixed", "bad")),
        "bad_clusters": judgement.bad,
        "presets_left_out_by_persons": len(left_out),
        "left_out_by_persons": dg.MetadataValue.md(markdown_table(("why", "presets"), reasons) if reasons else "none"),
    }
