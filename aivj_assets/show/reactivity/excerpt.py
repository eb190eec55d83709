"""What is heard of a track: an excerpt at the rate of the render page."""

from __future__ import annotations

from math import gcd

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.sound_file import SOUND_RATE_HZ

_STEP_S = 1.0
_LEVEL_S = 0.05


def at_page_rate(samples: npt.NDArray[np.float32], rate_hz: int) -> npt.NDArray[np.float32]:
    """Return mono samples [n] at 44100/s (polyphase filter), loudest sample at full scale unless all is silence.

    Presets hear loudness relative to the recent past; 8 bits hold little of a track that was mixed quietly.
    """
    from scipy.signal import resample_poly

    common = gcd(rate_hz, SOUND_RATE_HZ)
    heard = samples
    if rate_hz != SOUND_RATE_HZ:
        heard = resample_poly(samples, SOUND_RATE_HZ // common, rate_hz // common).astype(np.float32)
    peak = float(np.abs(heard).max(initial=0.0))
    scaled: npt.NDArray[np.float32] = (heard / peak if peak > 0 else heard).astype(np.float32)
    return scaled


def liveliest_start_s(samples: npt.NDArray[np.float32], rate_hz: int, span_s: float) -> float:
    """Return where the span of a track begins in which loudness rises most, in all; whole seconds from its begin.

    A first minute of hiss or of one long tone would tell nothing of what follows a sound. 0 for a track no longer than
    the span.
    """
    block = max(1, round(_LEVEL_S * rate_hz))
    levels = np.sqrt(np.mean(samples[: len(samples) // block * block].reshape(-1, block).astype(float) ** 2, axis=1))
    rises = np.concatenate([[0.0], np.cumsum(np.maximum(0.0, np.diff(levels)))])
    span, step = round(span_s * rate_hz / block), round(_STEP_S * rate_hz / block)
    starts = np.arange(0, len(levels) - span, max(1, step))
    if len(starts) == 0:
        return 0.0
    gained = rises[starts + span] - rises[starts]
    return float(starts[int(gained.argmax())] * block / rate_hz)
