"""How right the energy tier is on sets whose sections are known, beside simpler ways of telling it.

Baselines: fixed thresholds of the absolute root mean square; its rank over the whole track, which is not causal; always
the commonest tier. Both thresholds and the smoothing that goes with them are the best for the tuning seeds, so that
they lose for what they are and not for how they were set. Evaluated seeds begin at `HELD_OUT_SEED`: nothing was set on
them. Beats: F-measure with a window of 70 ms, one to one, from 5 s on, as `mir_eval.beat` defines it (Raffel et al.
2014).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aivj_assets.contracts.audio_timeline import AudioTimeline
from aivj_assets.contracts.style import ENERGIES, Energy
from aivj_assets.errors import UserError
from aivj_assets.show.audio.features import FeatureExtractor
from aivj_assets.show.audio.source import Track
from aivj_assets.show.audio.spectrum import ROWS_A_SECOND, Floats
from aivj_assets.show.generate import HELD_OUT_SEED, STYLES, GeneratedTrack, Section, Style, generate_set
from aivj_assets.show.timeline import analyse

Method = Literal["ours", "absoluteRms", "rmsRank", "commonest"]
METHODS: tuple[Method, ...] = ("ours", "absoluteRms", "rmsRank", "commonest")
BASELINES: tuple[Method, ...] = METHODS[1:]
Tiers = NDArray[np.int64]

TUNING_SEEDS = range(12)
TUNING_MINUTES = 5.0
BEAT_WINDOW_S, BEATS_FROM_S = 0.07, 5.0
TEMPO_TOLERANCE = 0.04
_SMOOTH_S = (0.4, 2.0, 4.0, 8.0)
_CUTS = np.linspace(0.02, 0.98, 49)
_RESAMPLES = 2000
SPEED_MINUTES, SPEED_RATE_HZ = 10.0, 44_100


@dataclass(frozen=True)
class Truth:
    """What is known of a track: the tier of each row as an index of `ENERGIES`, and its sections."""

    tiers: Tiers
    sections: list[Section]


@dataclass(frozen=True)
class Tuned:
    """The best thresholds of the baselines on the tuning seeds."""

    absolute: tuple[float, float]
    """Root mean square that is still calm, still groove."""
    absolute_smooth_s: float
    rank: tuple[float, float]
    rank_smooth_s: float
    commonest: Energy


@dataclass(frozen=True)
class TierScore:
    """How right a method is on one track."""

    accuracy: float
    """Share of rows with the true tier."""
    balanced: float
    """Mean recall of the tiers that occur."""
    recall: dict[str, float]
    confusion: list[list[int]]
    """[true][told] rows, in the order of `ENERGIES`."""
    delay_s: float | None
    """Median time from a section's begin until its tier is told for a second on end, of sections that change the tier;
    those that never get it count with their length. None without such sections."""
    changes_an_hour: float


@dataclass(frozen=True)
class BeatScore:
    """How right tempo and beats are on one track."""

    tempo_right: float
    """Share of rows with a tempo within 4 % of the true one."""
    tempo_right_octave: float
    """The same when half and double count as right."""
    tempo_error: float
    """Median of |told / true - 1| over rows with a tempo, the nearest of half, same, double."""
    f_measure: float
    bar_f_measure: float


@dataclass(frozen=True)
class TrackScore:
    """One track's figures."""

    name: str
    style: str
    seconds: float
    methods: dict[Method, TierScore]
    beats: BeatScore | None


@dataclass
class TierBench:
    """All figures of a run."""

    minutes: float
    tuned: Tuned
    tracks: list[TrackScore] = field(default_factory=list)
    speed: dict[str, float] = field(default_factory=dict)

    def styles(self) -> list[str]:
        """Return the styles in the order met."""
        return list(dict.fromkeys(track.style for track in self.tracks))

    def of(self, style: str) -> list[TrackScore]:
        """Return the tracks of a style."""
        return [track for track in self.tracks if track.style == style]

    def interval(self, style: str, method: Method) -> tuple[float, float, float]:
        """Return (mean, low, high) frame accuracy over a style's tracks, 95 % by bootstrap over tracks."""
        return bootstrap([track.methods[method].accuracy for track in self.of(style)])

    def lead(self, style: str) -> tuple[Method, tuple[float, float, float]]:
        """Return the best baseline and our lead over it, paired by track: (mean, low, high)."""
        best = max(BASELINES, key=lambda method: self.interval(style, method)[0])
        leads = [track.methods["ours"].accuracy - track.methods[best].accuracy for track in self.of(style)]
        return best, bootstrap(leads)

    def to_json(self) -> dict[str, Any]:
        """Return all figures as JSON."""
        return {
            "minutes": self.minutes,
            "heldOutFromSeed": HELD_OUT_SEED,
            "tuned": vars(self.tuned),
            "styles": {
                style: {
                    **{method: self.interval(style, method) for method in METHODS},
                    "leadOver": self.lead(style)[0],
                    "lead": self.lead(style)[1],
                }
                for style in self.styles()
            },
            "tracks": [
                {
                    "name": track.name,
                    "style": track.style,
                    "seconds": track.seconds,
                    "methods": {method: vars(score) for method, score in track.methods.items()},
                    "beats": vars(track.beats) if track.beats else None,
                }
                for track in self.tracks
            ],
            "speed": self.speed,
        }


def bench_tiers(
    seeds: int,
    minutes: float,
    *,
    styles: Iterable[Style] = STYLES,
    progress: Callable[[str], None] = lambda _text: None,
) -> TierBench:
    """Score `seeds` held-out sets of each style, `minutes` long, and measure the speed of the features."""
    progress("setting the baselines on the tuning seeds")
    bench = TierBench(minutes, tune_baselines())
    for style in styles:
        for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + seeds):
            progress(f"{style}, seed {seed}")
            bench.tracks.append(score_set(generate_set(60 * minutes, seed, style=style), bench.tuned))
    progress("speed")
    bench.speed = measure_speed()
    return bench


def tune_baselines(seeds: Iterable[int] = TUNING_SEEDS, minutes: float = TUNING_MINUTES) -> Tuned:
    """Return the thresholds and smoothing with the best frame accuracy over `house` sets of the tuning seeds."""
    levels: list[Floats] = []
    truths: list[Tiers] = []
    for seed in seeds:
        track = generate_set(60 * minutes, seed)
        levels.append(row_rms(track))
        truths.append(truth_of(track, len(levels[-1])).tiers)
    truth = np.concatenate(truths)
    best: dict[str, tuple[float, tuple[float, float], float]] = {}
    for smooth_s in _SMOOTH_S:
        smooth = [trailing_mean(level, smooth_s) for level in levels]
        loud = np.concatenate(smooth)
        for name, values in (("absolute", loud), ("rank", np.concatenate([ranks(level) for level in smooth]))):
            found = (*_best_cuts(values, truth), smooth_s)
            if name not in best or found[0] > best[name][0]:
                best[name] = found
    commonest = ENERGIES[int(np.argmax(np.bincount(truth, minlength=len(ENERGIES))))]
    return Tuned(best["absolute"][1], best["absolute"][2], best["rank"][1], best["rank"][2], commonest)


def score_set(track: GeneratedTrack, tuned: Tuned) -> TrackScore:
    """Score a generated set."""
    timeline = analyse(track.track())
    beats = beat_score(timeline, track.beats_s, track.tempo_bpm) if len(track.beats_s) else None
    return score_timeline(timeline, truth_of(track, timeline.rows), tuned, style=track.style, beats=beats)


def score_labelled(track: Track, sections: list[Section], tuned: Tuned) -> TrackScore:
    """Score a track whose sections a person labelled."""
    timeline = analyse(track)
    middles = np.array(timeline.columns["timeS"]) - 0.5 / ROWS_A_SECOND
    starts = np.array([section.start_s for section in sections])
    index = np.clip(np.searchsorted(starts, middles, side="right") - 1, 0, None)
    tiers = np.array([ENERGIES.index(sections[place].tier) for place in index.tolist()])
    return score_timeline(timeline, Truth(tiers, sections), tuned, style="labelled", beats=None)


def score_timeline(
    timeline: AudioTimeline, truth: Truth, tuned: Tuned, *, style: str, beats: BeatScore | None
) -> TrackScore:
    """Score a timeline's tiers and the baselines, which hear its `rms`."""
    level = np.array(timeline.columns["rms"])
    rank = ranks(trailing_mean(level, tuned.rank_smooth_s))
    told: dict[Method, Tiers] = {
        "ours": np.array([ENERGIES.index(tier) for tier in timeline.tiers]),
        "absoluteRms": _cut(trailing_mean(level, tuned.absolute_smooth_s), tuned.absolute),
        "rmsRank": _cut(rank, tuned.rank),
        "commonest": np.full(timeline.rows, ENERGIES.index(tuned.commonest)),
    }
    scores = {method: tier_score(told[method], truth) for method in METHODS}
    return TrackScore(timeline.track.name, style, timeline.rows / ROWS_A_SECOND, scores, beats)


def truth_of(track: GeneratedTrack, rows: int) -> Truth:
    """Return the truth of a generated set; a row's tier is that of the middle of its sound."""
    middles = (np.arange(rows) + 0.5) / ROWS_A_SECOND
    return Truth(np.array([ENERGIES.index(tier) for tier in track.tiers_at(middles)]), track.sections)


def tier_score(told: Tiers, truth: Truth) -> TierScore:
    """Compare the tiers told, [rows], with the truth."""
    count = len(ENERGIES)
    confusion = np.bincount(truth.tiers * count + told, minlength=count * count).reshape(count, count)
    occurring = confusion.sum(axis=1) > 0
    recall = np.diag(confusion) / np.maximum(confusion.sum(axis=1), 1)
    changes = int(np.count_nonzero(np.diff(told)))
    return TierScore(
        float(np.trace(confusion) / max(1, len(told))),
        float(recall[occurring].mean()) if occurring.any() else 0.0,
        {tier: float(recall[index]) for index, tier in enumerate(ENERGIES) if occurring[index]},
        confusion.tolist(),
        _delay_s(told, truth.sections),
        changes * 3600 * ROWS_A_SECOND / max(1, len(told)),
    )


def _delay_s(told: Tiers, sections: Sequence[Section]) -> float | None:
    delays: list[float] = []
    for before, section in pairwise(sections):
        if before.tier == section.tier:
            continue
        begin, end = (round(time_s * ROWS_A_SECOND) for time_s in (section.start_s, section.end_s))
        same = told[begin:end] == ENERGIES.index(section.tier)
        held = min(ROWS_A_SECOND, len(same))
        runs = np.convolve(same, np.ones(held, np.int64), "valid") if held else np.zeros(0, np.int64)
        right = np.flatnonzero(runs == held)
        delays.append((float(right[0]) if len(right) else end - begin) / ROWS_A_SECOND)
    return float(np.median(delays)) if delays else None


def beat_score(timeline: AudioTimeline, beats_s: Floats, tempo_bpm: float) -> BeatScore:
    """Compare beats and tempo of a timeline with the truth."""
    times = np.array(timeline.columns["timeS"])
    told = np.array(timeline.columns["tempoBpm"])
    ratio = told[told > 0] / tempo_bpm
    nearest = np.min(np.abs(ratio[:, None] / np.array([0.5, 1.0, 2.0]) - 1), axis=1) if len(ratio) else np.ones(1)
    return BeatScore(
        float(np.count_nonzero(np.abs(ratio - 1) < TEMPO_TOLERANCE) / max(1, len(told))),
        float(np.count_nonzero(nearest < TEMPO_TOLERANCE) / max(1, len(told))),
        float(np.median(nearest)),
        f_measure(times[np.array(timeline.columns["beat"]) > 0], beats_s),
        f_measure(times[np.array(timeline.columns["bar"]) > 0], beats_s[::4]),
    )


def f_measure(told_s: Floats, true_s: Floats, window_s: float = BEAT_WINDOW_S) -> float:
    """Return the F-measure of event times, s, sorted: pairs within the window, each event in one pair at most."""
    told, true = told_s[told_s >= BEATS_FROM_S], true_s[true_s >= BEATS_FROM_S]
    hits = first = second = 0
    while first < len(told) and second < len(true):
        apart = float(told[first] - true[second])
        if abs(apart) <= window_s:
            hits += 1
        first += apart <= window_s
        second += apart >= -window_s
    return 2 * hits / (len(told) + len(true)) if len(told) + len(true) else 0.0


def row_rms(track: GeneratedTrack) -> Floats:
    """Return the root mean square of each row, as the features have it."""
    rate, count = track.sample_rate_hz, len(track.samples)
    rows = count * ROWS_A_SECOND // rate
    edges = (np.arange(rows + 1) * rate) // ROWS_A_SECOND
    sums = np.add.reduceat(np.square(track.samples[: edges[-1]], dtype=np.float64), edges[:-1])
    return np.asarray(np.sqrt(sums / np.diff(edges)))


def trailing_mean(values: Floats, smooth_s: float) -> Floats:
    """Return the mean of the last `smooth_s` seconds of rows, of those that there are at the begin."""
    width = round(smooth_s * ROWS_A_SECOND)
    sums = np.cumsum(np.concatenate([np.zeros(1), values]))
    end = np.arange(1, len(values) + 1)
    begin = np.maximum(0, end - width)
    return np.asarray((sums[end] - sums[begin]) / (end - begin))


def ranks(values: Floats) -> Floats:
    """Return each value's rank among all, 0..1."""
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return np.asarray(order / max(1, len(values) - 1))


def _cut(values: Floats, cuts: tuple[float, float]) -> Tiers:
    return np.asarray(np.searchsorted(np.array(cuts), values, side="left"))


def _best_cuts(values: Floats, truth: Tiers) -> tuple[float, tuple[float, float]]:
    """Return the best accuracy and the cuts that give it, among pairs of quantiles."""
    cuts = np.quantile(values, _CUTS)
    # Rows of each tier below each cut: accuracy of a pair is then three differences.
    below = np.stack([np.searchsorted(np.sort(values[truth == tier]), cuts, side="right") for tier in range(3)])
    peaks = int(np.count_nonzero(truth == 2))
    right = below[0][:, None] + (below[1][None, :] - below[1][:, None]) + (peaks - below[2])[None, :]
    right = np.where(np.arange(len(cuts))[:, None] <= np.arange(len(cuts))[None, :], right, -1)
    low, high = np.unravel_index(int(np.argmax(right)), right.shape)
    return float(right[low, high]) / len(values), (float(cuts[low]), float(cuts[high]))


def bootstrap(values: Sequence[float]) -> tuple[float, float, float]:
    """Return (mean, low, high): 95 % interval of the mean by 2,000 resamples (Efron 1979), seeded."""
    array = np.array(values)
    means = array[np.random.default_rng(1).integers(0, len(array), (_RESAMPLES, len(array)))].mean(axis=1)
    return float(array.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def measure_speed(minutes: float = SPEED_MINUTES, sample_rate_hz: int = SPEED_RATE_HZ) -> dict[str, float]:
    """Return how much faster than it plays a set is heard: by processor time (one core) and by the clock."""
    track = generate_set(60 * minutes, HELD_OUT_SEED, sample_rate_hz=sample_rate_hz).track()
    extractor = FeatureExtractor(sample_rate_hz)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    rows = sum(len(extractor.push(block)) for block in track.blocks())
    seconds, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    if rows == 0:
        raise UserError(f"{minutes:g} minutes are too short to measure: give more.")
    return {
        "minutes": minutes,
        "sampleRateHz": float(sample_rate_hz),
        "cpuS": cpu_s,
        "clockS": seconds,
        "timesRealtime": track.duration_s / cpu_s,
        "timesRealtimeClock": track.duration_s / seconds,
    }
