"""Words for what clusters look like, beside each other: `dark blue, mirrored, slow`.

Words are relative to the library: a cluster is dark when its presets are darker than most presets that were measured.
The measure is the mean rank of the cluster's presets among all of them, 0..1 and 0.5 without any difference (the effect
size of Mann and Whitney's test, so that no figure needs a scale). A floor keeps a word from being said where it is
plainly untrue, however the library is made.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aivj_assets.style.appearance import COLOURS, FIGURES, NEUTRALS, Appearance

Floats = npt.NDArray[np.float64]

_LEAST_DIFFERENCE = 0.2
"""From 0.5, of a mean rank over a dozen presets: 2.4 standard deviations of chance."""
_NO_DIFFERENCE = 0.02
"""Of two mean ranks: a comparative for less would be made up."""
_MOST_WORDS = 3
"""Beside the colour."""
_WEAK = 0.65
"""Of that difference, for a cluster that has fewer than `_FEW_WORDS` words, its colour among them."""
_FEW_WORDS = 2
_GRAYS = (*NEUTRALS, "black and white", "gray on black", "white on black")
_MONOCHROME = 0.03
"""Mean chroma of OKLCH, outside of black, below which a cluster is called by its grays."""


@dataclass(frozen=True)
class _Word:
    """A word for one end of a figure. Of the words of one `group` only the strongest is said."""

    figure: str
    sign: int
    word: str
    group: str
    floor: float = -math.inf
    """The cluster's mean, times `sign`, below which the word is not said."""


_WORDS = (
    _Word("luma", -1, "dark", "light", floor=-0.4),
    _Word("luma", 1, "bright", "light", floor=0.3),
    _Word("darkness", 1, "on black", "light", floor=0.45),
    _Word("chroma", 1, "vivid", "chroma", floor=0.08),
    _Word("chroma", -1, "pale", "chroma", floor=-0.12),
    _Word("hue_variety", 1, "many colours", "variety", floor=0.4),
    _Word("detail", 1, "busy", "texture"),
    _Word("detail", -1, "smooth", "texture"),
    _Word("fineness", 1, "fine-grained", "texture", floor=0.15),
    _Word("fineness", -1, "broad shapes", "texture"),
    _Word("direction", 1, "horizontal", "direction", floor=0.2),
    _Word("direction", -1, "vertical", "direction", floor=0.2),
    _Word("contrast", 1, "high contrast", "contrast"),
    _Word("contrast", -1, "low contrast", "contrast"),
    _Word("left_right", 1, "mirrored", "symmetry", floor=0.4),
    _Word("left_right", -1, "asymmetric", "symmetry", floor=-0.25),
    _Word("top_bottom", 1, "mirrored", "symmetry", floor=0.4),
    _Word("rotation", 1, "kaleidoscopic", "symmetry", floor=0.1),
    _Word("rings", 1, "concentric", "symmetry", floor=0.25),
    _Word("center", 1, "bright middle", "center", floor=0.08),
    _Word("center", -1, "dark middle", "center", floor=0.05),
    _Word("motion", 1, "fast", "motion"),
    _Word("motion", -1, "slow", "motion"),
)
_COMPARATIVES = {
    "luma": ("darker", "brighter"),
    "contrast": ("less contrast", "more contrast"),
    "chroma": ("paler", "more vivid"),
    "hue_variety": ("fewer colours", "more colours"),
    "detail": ("smoother", "busier"),
    "fineness": ("broader", "finer"),
    "direction": ("more vertical", "more horizontal"),
    "left_right": ("less mirrored", "more mirrored"),
    "rotation": ("less kaleidoscopic", "more kaleidoscopic"),
    "rings": ("less concentric", "more concentric"),
    "center": ("darker middle", "brighter middle"),
    "motion": ("slower", "faster"),
    "darkness": ("less black", "more black"),
}
"""What is said of the lower and of the higher of two clusters whose words are equal."""
# How they stand in a label.
_ORDER = ("texture", "direction", "contrast", "symmetry", "center", "variety", "motion")


@dataclass(frozen=True)
class Description:
    """A label and the figures behind it: means over the cluster's presets, mean ranks 0..1 in the library, colours."""

    label: str
    figures: dict[str, float]
    ranks: dict[str, float]
    colours: dict[str, float]
    """Shares of the colour (chroma), or for a gray cluster of the pixels, largest first; below 0.1 left out."""
    presets: int
    """How many presets could be read."""


@dataclass(frozen=True)
class _Measured:
    cluster_id: str
    presets: int
    means: dict[str, float]
    ranks: dict[str, float]
    colour: str
    colours: dict[str, float]


def describe_clusters(appearances: Mapping[str, Appearance], *, taken: Collection[str] = ()) -> dict[str, Description]:
    """Return a description of each cluster that could be measured; labels differ wherever the clusters do.

    Two clusters with the same words, or one whose words are among `taken` (labels that other clusters have already),
    get a further word for the figure in which they differ most. Labels that are equal after that belong to clusters
    that no figure tells apart.
    """
    measured = _measure(appearances)
    words = {cluster.cluster_id: _chosen_words(cluster) for cluster in measured}
    labels = _told_apart({cluster.cluster_id: cluster for cluster in measured}, words, set(taken))
    return {
        cluster.cluster_id: Description(
            labels[cluster.cluster_id], cluster.means, cluster.ranks, cluster.colours, cluster.presets
        )
        for cluster in measured
    }


def _measure(appearances: Mapping[str, Appearance]) -> list[_Measured]:
    readable = {key: look for key, look in appearances.items() if look.presets}
    names = (*FIGURES, "motion")
    ranks = {name: _mean_ranks({key: _column(look, name) for key, look in readable.items()}) for name in names}
    found = []
    for key, look in readable.items():
        means = {name: _mean(_column(look, name)) for name in names}
        colour, colours = _colour_words(look)
        found.append(
            _Measured(
                key,
                len(look.presets),
                {name: value for name, value in means.items() if math.isfinite(value)},
                {name: ranks[name][key] for name in names},
                colour,
                colours,
            )
        )
    return found


def _column(look: Appearance, name: str) -> Floats:
    values: Floats = np.array([preset[name] for preset in look.presets])
    known: Floats = values[np.isfinite(values)]
    return known


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def _mean_ranks(columns: Mapping[str, Floats]) -> dict[str, float]:
    """Return each group's mean rank among all values, 0..1, equal values sharing a rank; 0.5 for an empty group.

    Every cluster weighs the same however many of its presets were measured.
    """
    everything = [values for values in columns.values() if len(values)]
    if not everything:
        return dict.fromkeys(columns, 0.5)
    values = np.concatenate(everything)
    weights = np.concatenate([np.full(len(part), 1 / len(part)) for part in everything])
    order = np.argsort(values, kind="stable")
    sorted_values, below = values[order], np.concatenate([[0.0], np.cumsum(weights[order])])
    total = below[-1]

    def rank(part: Floats) -> float:
        left = below[np.searchsorted(sorted_values, part, side="left")]
        right = below[np.searchsorted(sorted_values, part, side="right")]
        return float(((left + right) / 2 / total).mean())

    return {key: rank(part) if len(part) else 0.5 for key, part in columns.items()}


def _colour_words(look: Appearance) -> tuple[str, dict[str, float]]:
    """Return the colour that most presets of a cluster share, in words ("" where they share none), and all shares.

    Each preset counts by its own shares, the less the closer it is to gray, so that one vivid preset does not decide.
    """
    chroma = np.array([preset["chroma"] for preset in look.presets])
    if float(np.median(chroma)) < _MONOCHROME:
        shares = {name: float(np.mean([preset[name] for preset in look.presets])) for name in NEUTRALS}
        return _neutral_words(shares), _largest(shares)
    masses = np.array([[preset[name] for name in COLOURS] for preset in look.presets])
    own = masses / np.maximum(masses.sum(axis=1, keepdims=True), 1e-9)
    weights = np.minimum(1, chroma / (2 * _MONOCHROME))
    means = (own * weights[:, None]).sum(axis=0) / weights.sum()
    shares = dict(zip(COLOURS, means.tolist(), strict=True))
    (first, most), (second, next_most) = Counter(shares).most_common(2)
    common = float((own[:, COLOURS.index(first)] > 0.25).mean())
    if most >= 0.45 and common >= 0.5 and next_most < 0.3:
        return first, _largest(shares)
    both = own[:, COLOURS.index(first)] + own[:, COLOURS.index(second)]
    if most + next_most >= 0.55 and next_most >= 0.2 and float((both > 0.5).mean()) >= 0.6:
        # Always in one order: "red and pink" and "pink and red" would pass for two styles.
        return " and ".join(sorted((first, second), key=COLOURS.index)), _largest(shares)
    return "", _largest(shares)


def _neutral_words(shares: Mapping[str, float]) -> str:
    """Return the name of a colourless cluster, by what is not black in it unless nearly all is."""
    if shares["black"] >= 0.9:
        return "black"
    if shares["black"] >= 0.3 and shares["white"] >= 0.1:
        return "black and white"
    lit = "white" if shares["white"] > shares["gray"] else "gray"
    return f"{lit} on black" if shares["black"] >= 0.45 else lit


def _largest(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: share for name, share in Counter(shares).most_common() if share >= 0.1}


def _strength(word: _Word, cluster: _Measured) -> float:
    """Return how far a cluster's presets lie at the word's end of the figure, -0.5..0.5."""
    return (cluster.ranks[word.figure] - 0.5) * word.sign


def _is_true(word: _Word, cluster: _Measured) -> bool:
    return word.figure in cluster.means and cluster.means[word.figure] * word.sign >= word.floor


def _chosen_words(cluster: _Measured) -> list[_Word]:
    """Return the strongest words of a cluster, one a group, strongest first; weaker ones only where there are few."""
    # With few presets chance alone goes further.
    least = max(_LEAST_DIFFERENCE, min(0.35, 0.6 / math.sqrt(cluster.presets)))
    candidates = [word for word in _WORDS if _strength(word, cluster) >= least * _WEAK and _is_true(word, cluster)]
    candidates.sort(key=lambda word: -_strength(word, cluster))
    chosen: list[_Word] = []
    for word in candidates:
        parts = len(chosen) + bool(cluster.colour)
        enough = len(chosen) >= _MOST_WORDS or (_strength(word, cluster) < least and parts >= _FEW_WORDS)
        if not enough and not _says_nothing_new(word, chosen, cluster.colour):
            chosen.append(word)
    return chosen


def _says_nothing_new(word: _Word, chosen: Sequence[_Word], colour: str) -> bool:
    if word.group in {other.group for other in chosen}:
        return True
    if colour in _GRAYS:
        is_twice = word.word in {"on black", "dark"} and "black" in colour
        return word.group in {"chroma", "variety"} or is_twice or (word.word == "bright" and colour == "white")
    return bool(colour) and word.group == "variety"


def _as_label(cluster: _Measured, words: Sequence[_Word], further: Sequence[str]) -> str:
    said = {word.group: word.word for word in words}
    light, chroma, on_black = said.get("light"), said.get("chroma"), None
    if light == "on black":
        light, on_black = None, light
    colour = cluster.colour or ("colours" if on_black else None)
    hue = " ".join(part for part in (light, chroma, colour, on_black) if part)
    parts = [hue, *(said[group] for group in _ORDER if group in said), *further]
    return ", ".join(part for part in parts if part)


def _told_apart(
    clusters: Mapping[str, _Measured], words: Mapping[str, Sequence[_Word]], taken: set[str]
) -> dict[str, str]:
    """Return one label a cluster, with comparatives added where labels are equal."""
    further: dict[str, dict[str, str]] = {key: {} for key in clusters}
    labels = {key: _as_label(cluster, words[key], []) for key, cluster in clusters.items()}
    for _ in range(_MOST_WORDS):
        for label, count in Counter(labels.values()).items():
            if count > 1 or label in taken or not label:
                group = [key for key in clusters if labels[key] == label]
                said = {word.figure for key in group for word in words[key]}
                compared = {figure for key in group for figure in further[key]}
                for key, figure, word in _comparatives([clusters[key] for key in group], said, compared):
                    further[key][figure] = word
        labels = {key: _as_label(cluster, words[key], list(further[key].values())) for key, cluster in clusters.items()}
    return {key: label or "mixed" for key, label in labels.items()}


def _comparatives(
    group: Sequence[_Measured], said: Collection[str], compared: Collection[str]
) -> list[tuple[str, str, str]]:
    """Return (cluster id, figure, word) for the figure in which clusters of one label differ most.

    A cluster that is alone is held against the library. Figures that the label speaks of already come last, those that
    it compares already not at all.
    """
    spans = {}
    for figure in _COMPARATIVES:
        ranks = [cluster.ranks[figure] for cluster in group] + ([0.5] if len(group) == 1 else [])
        span = max(ranks) - min(ranks)
        known = all(figure in cluster.means for cluster in group)
        if known and figure not in compared and span >= _NO_DIFFERENCE:
            spans[figure] = (figure not in said, span, (max(ranks) + min(ranks)) / 2)
    if not spans:
        return []
    figure, (_, _, middle) = max(spans.items(), key=lambda item: item[1])
    low, high = _COMPARATIVES[figure]
    return [(cluster.cluster_id, figure, high if cluster.ranks[figure] > middle else low) for cluster in group]
