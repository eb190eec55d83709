"""What verdicts on clusters come to for a batch: how much is reviewed, how much is good, the batch's own verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.pack_settings import QaSettings
from aivj_assets.contracts.run_meta import QaVerdict
from aivj_assets.contracts.verdicts import QA_MARKS, QaMark, moment

QA_REVIEWED = "qa_reviewed"
GOOD_FRACTION = 0.75
"""A batch is good when at least this share of its judged presets is in good clusters: a show draws three good ones
before one that is not."""
BAD_FRACTION = 0.5
"""A batch is bad when more than this share of its judged presets is in bad clusters; else it is mixed."""


@dataclass(frozen=True)
class KnownVerdict:
    """What counts of a cluster. `carried` is "changed" where the verdict is asked for again, and `why` says why."""

    verdict: QaMark | None
    label: str | None
    note: str | None
    at: str
    carried: Literal[True, "changed"]
    reviewer: str | None = None
    why: str | None = None

    @property
    def holds(self) -> bool:
        """Whether there is a verdict that need not be asked for again."""
        return self.verdict is not None and self.carried is True


def conclude(sizes: Mapping[str, int], known: Mapping[str, KnownVerdict], settings: QaSettings) -> QaVerdict:
    """Return a batch's conclusion from {cluster: presets of the batch in it} and what is known of clusters.

    Reviewed is a batch when the share of its clusters that have a verdict that holds is at least the pack's
    `qa.reviewedFraction`. The verdict is by the share of judged presets in good and in bad clusters.
    """
    judged = {name: known[name] for name in sizes if name in known and known[name].holds}
    again = [name for name in sizes if name in known and known[name].carried == "changed"]
    presets: Counter[str] = Counter()
    clusters: Counter[str] = Counter()
    for name, one in judged.items():
        presets[str(one.verdict)] += sizes[name]
        clusters[str(one.verdict)] += 1
    seen, total = sum(presets.values()), sum(sizes.values())
    reviewed_fraction = len(judged) / len(sizes) if sizes else 0.0
    reviewed = bool(judged) and reviewed_fraction >= settings.reviewed_fraction
    reviewers = sorted({one.reviewer for one in judged.values() if one.reviewer})
    return QaVerdict(
        state="reviewed" if reviewed else "open",
        verdict=_verdict(presets, seen) if reviewed else None,
        reviewer=", ".join(reviewers) or None,
        reviewed_at=max((one.at for one in judged.values()), default=None, key=moment) if reviewed else None,
        note=_note(len(judged), len(sizes), clusters, presets["good"] / seen if seen else None, len(again)),
        reviewed_fraction=round(reviewed_fraction, 4),
        good_fraction=round(presets["good"] / total, 4) if total else 0.0,
        counts={
            "clusters": len(sizes),
            "reviewed": len(judged),
            "askedAgain": len(again),
            **{mark: clusters[mark] for mark in QA_MARKS},
            "presets": total,
            "presetsReviewed": seen,
            **{f"presets{mark.capitalize()}": presets[mark] for mark in QA_MARKS},
        },
    )


def _verdict(presets: Mapping[str, int], seen: int) -> QaMark:
    if presets["good"] >= GOOD_FRACTION * seen:
        return "good"
    return "bad" if presets["bad"] > BAD_FRACTION * seen else "mixed"


def _note(judged: int, total: int, clusters: Mapping[str, int], good: float | None, again: int) -> str:
    marks = ", ".join(f"{clusters[mark]} {mark}" for mark in QA_MARKS)
    text = f"{judged} of {total} clusters judged" + (f" ({marks})" if judged else "")
    if good is not None:
        text += f", {good:.0%} of their presets in good ones"
    return text + (f"; {again} changed much since and are asked for again" if again else "")


def check_reviewed(qa: QaVerdict, settings: QaSettings) -> Finding:
    """Hold a conclusion against the share of clusters that a person should have judged. A warning."""
    counts: Mapping[str, int] = qa.counts or {}
    reviewed, clusters, again = (counts.get(name, 0) for name in ("reviewed", "clusters", "askedAgain"))
    detail = f"{reviewed} of {clusters} clusters are reviewed (at least {settings.reviewed_fraction:.0%} are asked for)"
    if reviewed:
        detail += f", {qa.good_fraction or 0:.0%} of the batch's presets are in good ones"
    if again:
        detail += f"; {again} changed much since they were judged"
    if qa.state == "open":
        detail += "; judge them on the QA page, export, then: aivj qa import verdicts.json"
    figures = {"reviewed_fraction": qa.reviewed_fraction or 0.0, "good_fraction": qa.good_fraction or 0.0}
    return Finding(QA_REVIEWED, qa.state == "reviewed", detail, "warning", {**figures, "asked_again": again})
