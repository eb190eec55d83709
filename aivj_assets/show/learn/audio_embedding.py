"""An audio embedding beside the window features: CLAP through transformers, or OpenL3; none comes with the package.

A log names its track by SHA-256, so the tracks are looked for by content in a folder. A pick is embedded from the
`WINDOW_S` seconds before it, as a window feature is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.audio_style_model import AudioEmbedding
from aivj_assets.contracts.audio_timeline import WINDOW_S
from aivj_assets.errors import UserError
from aivj_assets.layout import sha256_file, write_bytes_atomic
from aivj_assets.show.audio.source import Track, read_track
from aivj_assets.show.learn.evidence import Judged, Logs
from aivj_assets.show.learn.train import Material, embedding_inputs

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"})
NO_FILE = "judged picks whose track is not in the folder, heard without the audio embedding"
HUB_TIMEOUT_S = 5.0
_BATCH = 8
_TRUE = {"1", "true", "yes", "on"}
_INSTALL = "pip install 'aivj-assets[audio-embeddings]'"

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Embedder:
    """A loaded model: `embed` takes windows, float32 mono at `sample_rate_hz`, and returns float32 [n, dim]."""

    card: AudioEmbedding
    sample_rate_hz: int
    embed: Callable[[Sequence[Samples]], npt.NDArray[np.float32]]


def with_embeddings(material: Material, spec: str, folder: Path | None, cache_dir: Path) -> Material:
    """Return the material whose pairs hold an audio embedding where the folder has their track.

    Raises `UserError` when the model cannot be had or no track is found; vectors are kept under `cache_dir`.
    """
    if folder is None or not folder.is_dir():
        raise UserError("--audio-embedding needs --audio-dir, the folder with the tracks that were played.")
    wanted = {pair.track_sha256 for pair in material.logs.judged if pair.track_sha256}
    tracks = find_tracks(folder, wanted)
    if not tracks:
        raise UserError(f"{folder} holds none of the {len(wanted)} tracks of the shows (looked for by SHA-256).")
    embedder = load_embedder(spec)
    vectors: dict[tuple[str, float], npt.NDArray[np.float32]] = {}
    for sha256, path in sorted(tracks.items()):
        times = sorted({pair.time_s for pair in material.logs.judged if pair.track_sha256 == sha256})
        rows = _rows_of(path, sha256, times, embedder, cache_dir)
        vectors |= {(sha256, time_s): row for time_s, row in zip(times, rows, strict=True)}
    names, left_out = embedding_inputs(embedder.card), Counter(material.logs.left_out)
    judged = [_heard(pair, vectors, names) for pair in material.logs.judged]
    missing = sum(pair.track_sha256 not in tracks for pair in judged)
    left_out.update({NO_FILE: missing} if missing else {})
    return replace(material, logs=Logs(judged, material.logs.read, left_out), embedding=embedder.card)


def _heard(pair: Judged, vectors: Mapping[tuple[str, float], npt.NDArray[np.float32]], names: Sequence[str]) -> Judged:
    row = vectors.get((pair.track_sha256 or "", pair.time_s))
    return (
        pair
        if row is None
        else replace(pair, features={**pair.features, **dict(zip(names, row.tolist(), strict=True))})
    )


def find_tracks(folder: Path, wanted: Iterable[str]) -> dict[str, Path]:
    """Return {SHA-256: file} of the wanted tracks below a folder."""
    missing, found = set(wanted), dict[str, Path]()
    for path in sorted(folder.rglob("*")):
        if not missing:
            break
        if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
            sha256 = sha256_file(path)
            if sha256 in missing:
                missing.discard(sha256)
                found[sha256] = path
    return found


def _rows_of(
    path: Path, sha256: str, times: Sequence[float], embedder: Embedder, cache_dir: Path
) -> list[npt.NDArray[np.float32]]:
    """Return the embedding of the window before each time, from the cache where it is known."""
    kept = cache_dir / embedder.card.weights_sha256[:16] / f"{sha256}.npz"
    known = _known(kept)
    missing = [time_s for time_s in times if time_s not in known]
    if missing:
        track = read_track(path)
        for start in range(0, len(missing), _BATCH):
            some = missing[start : start + _BATCH]
            windows = [window_before(track, time_s, embedder.sample_rate_hz) for time_s in some]
            known |= dict(zip(some, embedder.embed(windows), strict=True))
        buffer = io.BytesIO()
        np.savez(buffer, times=np.array(list(known)), rows=np.stack(list(known.values())))
        write_bytes_atomic(kept, buffer.getvalue())
    return [known[time_s] for time_s in times]


def _known(path: Path) -> dict[float, npt.NDArray[np.float32]]:
    try:
        with np.load(path, allow_pickle=False) as loaded:
            return dict(zip(loaded["times"].tolist(), loaded["rows"], strict=True))
    except (OSError, ValueError, KeyError):
        return {}


def window_before(track: Track, time_s: float, sample_rate_hz: int) -> Samples:
    """Return the `WINDOW_S` seconds before a time at another rate, silence before the track's begin."""
    from scipy.signal import resample_poly

    length, end = round(WINDOW_S * track.sample_rate_hz), round(time_s * track.sample_rate_hz)
    end = min(max(end, 0), len(track.samples))
    heard = track.samples[max(0, end - length) : end]
    padded = np.concatenate([np.zeros(length - len(heard), np.float32), heard])
    if track.sample_rate_hz == sample_rate_hz:
        return padded
    divisor = int(np.gcd(track.sample_rate_hz, sample_rate_hz))
    up, down = sample_rate_hz // divisor, track.sample_rate_hz // divisor
    return np.asarray(resample_poly(padded, up, down), dtype=np.float32)


def load_embedder(spec: str) -> Embedder:
    """Return the model behind `clap:<name on the hub or folder>` or `openl3`; raises `UserError` in one line."""
    kind, _, name = spec.partition(":")
    if kind == "clap" and name:
        return _load_clap(name)
    if spec == "openl3":
        return _load_openl3()
    raise UserError(f"--audio-embedding {spec}: use clap:laion/clap-htsat-unfused, clap:<folder> or openl3.")


def _load_clap(name: str) -> Embedder:
    if importlib.util.find_spec("transformers") is None:
        raise UserError(f"CLAP needs the package transformers: {_INSTALL}.")
    import torch
    import transformers

    # Some versions are typed in part.
    hub: Any = transformers
    place = Path(name).expanduser()
    source = str(place) if place.is_dir() else name
    local = place.is_dir() or _hub_problem() is not None
    try:
        extractor: Any = hub.AutoFeatureExtractor.from_pretrained(source, local_files_only=local)
        model: Any = hub.ClapModel.from_pretrained(source, local_files_only=local).eval()
    except (OSError, ValueError, KeyError, ImportError) as error:
        why = _hub_problem() if not place.is_dir() else None
        first = why or " ".join(str(error).split())[:200]
        raise UserError(
            f"CLAP '{name}' cannot be loaded ({first}): give the folder of a checkpoint, clap:<folder>, or connect."
        ) from None
    rate = int(extractor.sampling_rate)

    def embed(windows: Sequence[Samples]) -> npt.NDArray[np.float32]:
        inputs = extractor(list(windows), sampling_rate=rate, return_tensors="pt")
        with torch.inference_mode():
            found = model.get_audio_features(**inputs)
        # Later versions of transformers return an object.
        rows = found if isinstance(found, torch.Tensor) else found.pooler_output
        unit = torch.nn.functional.normalize(rows, dim=-1)
        return np.asarray(unit.numpy(), dtype=np.float32)

    dim = int(embed([np.zeros(round(WINDOW_S * rate), np.float32)]).shape[1])
    shown = f"clap:{name if not place.is_dir() else place.name}"
    return Embedder(AudioEmbedding(model=shown, weights_sha256=_digest(model), dim=dim, window_s=WINDOW_S), rate, embed)


def _digest(model: Any) -> str:
    digest = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        digest.update(name.encode("utf-8"))
        digest.update(values.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _hub_problem() -> str | None:
    """Return why the model hub cannot be asked, None when something answers; takes `HUB_TIMEOUT_S` at most."""
    if any(os.environ.get(name, "").lower() in _TRUE for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")):
        return "HF_HUB_OFFLINE is set"
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    answers: list[str | None] = []

    def ask() -> None:
        import httpx

        try:
            httpx.head(endpoint, timeout=HUB_TIMEOUT_S)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            answers.append(f"{endpoint} cannot be reached: {str(error) or type(error).__name__}")
        else:
            answers.append(None)

    # In a thread: no timeout of an HTTP client bounds the look-up of a name.
    asked = threading.Thread(target=ask, daemon=True)
    asked.start()
    asked.join(HUB_TIMEOUT_S)
    return answers[0] if answers else f"{endpoint} did not answer within {HUB_TIMEOUT_S:g} s"


def _load_openl3() -> Embedder:
    if importlib.util.find_spec("openl3") is None:
        raise UserError("OpenL3 is not installed: pip install openl3 (it needs TensorFlow).")
    import openl3

    rate, dim = 48_000, 512

    def embed(windows: Sequence[Samples]) -> npt.NDArray[np.float32]:
        found, _ = openl3.get_audio_embedding(
            list(windows), rate, content_type="music", embedding_size=dim, hop_size=1.0, center=False, verbose=False
        )
        return np.stack([np.mean(frames, axis=0) for frames in found]).astype(np.float32)

    weights = hashlib.sha256(f"openl3 {openl3.__version__} music {dim}".encode()).hexdigest()
    return Embedder(AudioEmbedding(model="openl3", weights_sha256=weights, dim=dim, window_s=WINDOW_S), rate, embed)
