"""`k-report.json`: figures over a sweep of k for a pack's accepted batches, and the k that they suggest."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import Field

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.contracts.style import Energy


class Measured(ContractModel):
    """A figure beside its control: what clusters of the same sizes filled at random would have."""

    value: float
    control: float


class KFigures(ContractModel):
    """The figures of one k."""

    k: int = Field(ge=2)
    presets_per_cluster: float = Field(description="presets of the pack / k")
    smallest_cluster: int = Field(ge=0)
    largest_cluster: int = Field(ge=1)
    largest_share_fraction: float = Field(ge=0, le=1)
    balance: float = Field(ge=0, le=1, description="entropy of the sizes / log k; 1 when all are equal")
    full_sheets_fraction: float = Field(ge=0, le=1, description="clusters that fill a sheet of `sheetPresets`")
    clusters_by_energy: dict[Energy, int] = Field(description="clusters with `tierPresets` presets of that energy")
    inertia: Measured = Field(description="sum over presets of the squared distance to the own centroid")
    explained_fraction: float = Field(description="1 - inertia / control: 0 as good as chance, 1 all alike")
    cohesion_median: Measured = Field(description="mean cosine to the own centroid, median over clusters")
    cohesion_worst_decile: Measured = Field(description="the same, 10% quantile over clusters")
    silhouette: Measured = Field(description="by cosine, -1..1, over `silhouetteRows`")
    davies_bouldin: Measured = Field(description="Euclidean on unit rows, 0 and above, lower is better")
    stability_ari: Measured = Field(description="mean adjusted Rand index of fits on samples, common presets")
    duration_s: float


class KLeftOut(ContractModel):
    """A k that was asked for and not tried."""

    k: int
    why: str


class KReportBatch(ContractModel):
    """A batch whose presets count."""

    batch: str
    presets: int
    embeddings_sha256: str


class KSampling(ContractModel):
    """How many presets each figure rests on."""

    fit_rows: int = Field(description="presets that centroids are fitted on; all are then assigned to them")
    restarts: int
    silhouette_rows: int
    stability_fits: int
    stability_fraction: float = Field(description="share of `fitRows` in each of the stability fits")
    control_draws: int


class KUse(ContractModel):
    """What a show and a review ask of clusters."""

    presets_per_cluster_min: int = Field(description="a k with fewer presets a cluster is left out")
    sheet_presets: int = Field(description="presets that a person is shown of a cluster")
    tier_presets: int = Field(description="presets of an energy that make a cluster count for it")
    cluster_cooldown_switches: int


class KRecommendation(ContractModel):
    """The k that the figures suggest; a person decides."""

    k: int
    reason: str
    against: list[str] = Field(default_factory=list, description="why each larger k was not taken")


class KNote(ContractModel):
    """What a figure, or some that go together, can and cannot tell."""

    name: str
    title: str
    tells: str
    cannot_tell: str


K_NOTES = (
    KNote(
        name="explained",
        title="Explained beyond chance",
        tells="How much of the presets' differences the clusters take away, beyond random clusters of the same sizes; "
        "where it stops growing, more clusters split what already looks alike.",
        cannot_tell="It names no k by itself: where styles blend into each other it grows on and on.",
    ),
    KNote(
        name="cohesion",
        title="Cohesion of the sheets",
        tells="How alike the presets of one cluster are (mean cosine to their centroid): in the median cluster, and in "
        "the worst tenth.",
        cannot_tell="It rises with k even without structure, as its control shows, and cosines of two models do not "
        "compare: whether a sheet looks like one style only looking at it tells.",
    ),
    KNote(
        name="use",
        title="Sheets and cooldowns",
        tells="What a person and a show get: clusters that fill a review sheet, and clusters of each energy among "
        "which the show can change before one comes back.",
        cannot_tell="Whether the clusters are styles: random ones of the same sizes would do as well.",
    ),
    KNote(
        name="balance",
        title="Size balance",
        tells="Whether a few clusters swallow the library: 1 when all are equally large.",
        cannot_tell="Anything of how they look. It has no control, since random clusters of the same sizes have the "
        "same balance.",
    ),
    KNote(
        name="silhouette",
        title="Silhouette",
        tells="Whether presets lie nearer to their own cluster than to the next one, -1 to 1.",
        cannot_tell="The number of styles: with 100 overlapping ones, simulated, it favoured far too small a k, and in "
        "many dimensions it is low for every k.",
    ),
    KNote(
        name="stability",
        title="Stability (adjusted Rand index)",
        tells="Whether other presets of the same library would give the same clusters: 1 the same, 0 as by chance.",
        cannot_tell="Whether k is large enough: a few crude groups are the most stable, with 100 simulated styles it "
        "favoured too small a k. Low everywhere means blending styles, not useless clusters.",
    ),
    KNote(
        name="daviesBouldin",
        title="Davies-Bouldin index",
        tells="How far each cluster overlaps with the one most like it, on average; lower is better.",
        cannot_tell="Much about k: in the simulation it was flat around the truth, and one small odd cluster can raise "
        "it.",
    ),
    KNote(
        name="inertia",
        title="Inertia",
        tells="What k-means makes small: the sum over presets of the squared distance to the own centroid.",
        cannot_tell="A good k: it falls with every cluster more, also without structure. What it lacks of the control, "
        "as a share, is the first curve.",
    ),
)
"""In the order in which they are shown: what decides first."""


class KReport(ContractFile):
    """The report over a pack."""

    version: Literal["v0"] = "v0"
    generated_at: str
    pack: str
    batches: list[KReportBatch]
    left_out: dict[str, str] = Field(default_factory=dict, description="batches that do not count: {batch: why}")
    presets: int
    dim: int
    model: str
    seed: int
    sampling: KSampling
    use: KUse
    figures: list[KFigures] = Field(min_length=1)
    ks_left_out: list[KLeftOut] = Field(default_factory=list)
    recommendation: KRecommendation
    notes: list[KNote] = Field(default_factory=lambda: list(K_NOTES))
    libraries: dict[str, str]
    duration_s: float

    @property
    def digest(self) -> str:
        """SHA-256 over all that the rows, the k and the seed decide: without times."""
        counted = self.to_json()
        for name in ("generatedAt", "durationS"):
            counted.pop(name)
        for figures in counted["figures"]:
            figures.pop("durationS")
        return hashlib.sha256(json.dumps(counted, sort_keys=True).encode("utf-8")).hexdigest()
