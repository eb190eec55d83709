"""The beat clock: beats at a tempo and phase that the onsets correct, bars of four beats, phrases of four bars.

A causal relative of Stark's BTrack (2011): beats are foretold, so that one is told in time although its onset is
heard late, and they go on through a short break.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from aivj_assets.show.audio.bars import BarCounter
from aivj_assets.show.audio.onsets import ONSET_DELAY_S, RowOnsets
from aivj_assets.show.audio.sections import NewSection
from aivj_assets.show.audio.spectrum import FRAMES_A_ROW, FRAMES_A_SECOND
from aivj_assets.show.audio.tempo import TempoEstimator

_UPDATE_ROWS = 10
_DELAY_FRAMES = ONSET_DELAY_S * FRAMES_A_SECOND
_HOLD_S = 8.0
_LOST_BELOW = 0.03
_NEAR_PERIOD = 0.04
_PATIENCE = 3


@dataclass
class _Clock:
    period: float
    """Frames a beat."""
    next_beat: float
    """Frame at which the next beat lies."""
    last_beat: float


@dataclass(frozen=True)
class RowBeats:
    """Beats of a row."""

    beat: bool
    bar: bool
    phrase: bool
    tempo_bpm: float
    """0 while unknown."""
    confidence: float
    """0..1."""


@dataclass
class BeatTracker:
    """Beats, bars and phrases from onset strength, a row at a time."""

    _tempo: TempoEstimator = field(default_factory=TempoEstimator)
    _clock: _Clock | None = None
    _confidence: float = 0.0
    _rows: int = 0
    _odd_tempo: int = 0
    _odd_phase: int = 0
    _bars: BarCounter = field(default_factory=BarCounter)

    def push(self, onsets: RowOnsets, section: NewSection | None) -> RowBeats:
        """Take a row's onset strength, and the section if one was just noticed."""
        self._tempo.push(onsets.accent)
        self._bars.hear(float(onsets.low_flux.max()), onsets.white)
        self._rows += 1
        now = float(self._rows * FRAMES_A_ROW)
        if self._rows % _UPDATE_ROWS == 0:
            self._update(now)
        clock = self._clock
        if section is not None and clock is not None:
            began = now - section.rows_ago * FRAMES_A_ROW
            self._bars.section(round((clock.next_beat - began) / clock.period))
        if clock is None:
            return RowBeats(beat=False, bar=False, phrase=False, tempo_bpm=0.0, confidence=0.0)
        beat = clock.next_beat <= now + FRAMES_A_ROW / 2
        bar = phrase = False
        if beat:
            clock.last_beat = clock.next_beat
            clock.next_beat = max(clock.next_beat + clock.period, now + FRAMES_A_ROW)
            bar, phrase = self._bars.beat()
        return RowBeats(beat, bar, phrase, 60 * FRAMES_A_SECOND / clock.period, self._confidence)

    def _update(self, now: float) -> None:
        clock = self._clock
        estimate = self._tempo.estimate(clock.period if clock else None)
        faded = self._confidence * float(np.exp(-_UPDATE_ROWS * FRAMES_A_ROW / FRAMES_A_SECOND / _HOLD_S))
        self._confidence = max(estimate.confidence if estimate else 0.0, faded)
        if self._confidence < _LOST_BELOW:
            self._clock = None
            self._bars.restart()
            return
        if estimate is None or estimate.confidence < _LOST_BELOW:
            return
        if clock is None:
            back = self._best_back(estimate.period)
            self._clock = _Clock(estimate.period, now - back + estimate.period, now - back)
            self._forward(self._clock, now)
            return
        self._follow_tempo(clock, estimate.period, estimate.confidence)
        self._follow_phase(clock, now)

    def _best_back(self, period: float) -> float:
        scores, step = self._tempo.phase(period)
        return float(np.argmax(scores)) * step + _DELAY_FRAMES

    def _follow_tempo(self, clock: _Clock, period: float, confidence: float) -> None:
        if abs(period / clock.period - 1) < _NEAR_PERIOD:
            clock.period += 0.4 * (period - clock.period)
            self._odd_tempo = 0
            return
        self._odd_tempo += 1
        if self._odd_tempo >= _PATIENCE and confidence >= 0.6 * self._confidence:
            clock.period = period
            self._odd_tempo = 0
            self._odd_phase = _PATIENCE

    def _follow_phase(self, clock: _Clock, now: float) -> None:
        scores, step = self._tempo.phase(clock.period)
        count = len(scores)
        expected = ((now - clock.last_beat - _DELAY_FRAMES) / step) % count
        best = int(np.argmax(scores))
        here = float(scores[round(expected) % count])
        # How much later (in phases) the beats truly lie, -half..half of a beat.
        late = (expected - best + count / 2) % count - count / 2
        if abs(late) <= 0.12 * count:
            self._odd_phase = 0
            clock.next_beat += 0.35 * late * step
        elif float(scores[best]) > 1.3 * here:
            self._odd_phase += 1
            if self._odd_phase >= _PATIENCE:
                self._odd_phase = 0
                clock.next_beat += late * step
        self._forward(clock, now)

    @staticmethod
    def _forward(clock: _Clock, now: float) -> None:
        """Keep the next beat ahead of now and at least 0.6 of a beat after the last."""
        while clock.next_beat <= max(now - FRAMES_A_ROW / 2, clock.last_beat + 0.6 * clock.period):
            clock.next_beat += clock.period
