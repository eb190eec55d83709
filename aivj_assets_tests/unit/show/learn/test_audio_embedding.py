"""CLAP from a folder (a tiny one of random weights), OpenL3 through its documented call, and what cannot be had."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from aivj_assets.contracts.audio_timeline import WINDOW_FEATURES, WINDOW_S
from aivj_assets.contracts.style import StyleEntry, StyleIndex
from aivj_assets.errors import UserError
from aivj_assets.layout import sha256_file
from aivj_assets.show.audio.source import read_track
from aivj_assets.show.learn import audio_embedding
from aivj_assets.show.learn.audio_embedding import NO_FILE, load_embedder, window_before, with_embeddings
from aivj_assets.show.learn.evidence import Judged, Logs
from aivj_assets.show.learn.train import Material, Options, train

RATE = 8_000


@pytest.fixture(scope="module")
def clap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clap")
    audio = {
        "spec_size": 64, "num_mel_bins": 16, "depths": [1, 1], "num_attention_heads": [1, 2], "hidden_size": 32,
        "patch_embeds_hidden_size": 16, "window_size": 4, "projection_dim": 12, "num_hidden_layers": 2,
        "patch_stride": [4, 4], "enable_fusion": False,
    }  # fmt: skip
    text = {"vocab_size": 16, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
            "intermediate_size": 8, "projection_dim": 12}  # fmt: skip
    config = transformers.ClapConfig(audio_config=audio, text_config=text, projection_dim=12)
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=16_000,
        max_length_s=8,
        truncation="rand_trunc",
        padding="repeatpad",
        hop_length=640,
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def heard(tmp_path: Path) -> Material:
    """Judged picks of two tracks, one of which lies in `tracks/` under another name."""
    folder = tmp_path / "tracks" / "deep"
    folder.mkdir(parents=True)
    samples = np.random.default_rng(0).normal(0, 0.1, RATE * 20).astype(np.float32)
    soundfile.write(folder / "renamed.wav", samples, RATE)
    sha = sha256_file(folder / "renamed.wav")
    judged = [
        Judged(
            dict.fromkeys(WINDOW_FEATURES, 0.5), "groove", f"c0{number % 2}", "p", True, 1.0, f"sha256:{one}",
            4.0 + number, one, "a" * 64,
        )
        for one in (sha, "0" * 64)
        for number in range(3)
    ]  # fmt: skip
    entries = [StyleEntry(preset_id=name, author_key=name, energy="groove", tags=[]) for name in ("c00", "c01")]
    index = StyleIndex(version="v1", generated_at="x", pack="pack", entries=entries)
    return Material("pack", index, "a" * 64, Logs(judged, 2))


def test_clap_hears_the_window_before_the_pick_and_a_model_that_needs_it_is_never_published(
    clap: Path, heard: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = with_embeddings(heard, f"clap:{clap}", tmp_path / "tracks", tmp_path / "cache")
    assert made.embedding is not None
    assert (made.embedding.dim, made.embedding.model) == (12, f"clap:{clap.name}")
    rows = [[pair.features[f"embedding.{n:04d}"] for n in range(12)] for pair in made.logs.judged[:3]]
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert not np.allclose(rows[0], rows[1])
    assert "embedding.0000" not in made.logs.judged[3].features
    assert made.logs.left_out[NO_FILE] == 3
    # A second time nothing is decoded.
    monkeypatch.setattr(audio_embedding, "read_track", lambda _path: pytest.fail("decoded again"))
    again = with_embeddings(heard, f"clap:{clap}", tmp_path / "tracks", tmp_path / "cache")
    assert again.logs.judged == made.logs.judged
    model = train(made, Options())
    assert model.audio_embedding == made.embedding
    assert model.inputs[:2] == ["embedding.0000", "embedding.0001"]
    assert not model.published


def test_a_window_holds_nothing_that_comes_after_the_pick(tmp_path: Path) -> None:
    samples = np.zeros(RATE * 20, np.float32)
    samples[RATE * 10 :] = 0.5
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    track = read_track(tmp_path / "a.wav")
    assert np.abs(window_before(track, 10.0, RATE)).max() == 0
    assert window_before(track, 18.0, RATE) == pytest.approx(0.5, abs=1e-3)
    assert len(window_before(track, 1.0, 48_000)) == WINDOW_S * 48_000


def test_openl3_is_asked_as_it_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def get_audio_embedding(audio: list[np.ndarray], sr: int, **options: Any) -> tuple[list[np.ndarray], list[Any]]:
        asked.update(sr=sr, **options)
        return [np.full((7, 512), window.mean(), np.float32) for window in audio], [None] * len(audio)

    module = types.ModuleType("openl3")
    module.__dict__.update(__version__="0.4.2", get_audio_embedding=get_audio_embedding)
    module.__spec__ = types.SimpleNamespace(name="openl3")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "openl3", module)
    found = load_embedder("openl3").embed([np.ones(8, np.float32), np.zeros(8, np.float32)])
    assert found.shape == (2, 512)
    assert found[0, 0] == 1
    assert (asked["sr"], asked["content_type"], asked["embedding_size"]) == (48_000, "music", 512)


@pytest.mark.parametrize(
    ("spec", "told"),
    [("openl3", "OpenL3 is not installed"), ("wav2vec", "use clap:laion/clap-htsat-unfused"), ("clap:", "use clap:")],
)
def test_what_is_not_there_is_one_line(spec: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        load_embedder(spec)


def test_a_hub_that_cannot_be_reached_is_one_line_within_seconds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(
        UserError, match=r"CLAP 'nobody/no-such-clap' cannot be loaded \(http://127.0.0.1:9 cannot be"
    ) as no:
        load_embedder("clap:nobody/no-such-clap")
    assert "\n" not in str(no.value)
    assert time.monotonic() - started < 30


def test_a_folder_without_the_tracks_is_one_line(heard: Material, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs --audio-dir"):
        with_embeddings(heard, "openl3", None, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds none of the 2 tracks"):
        with_embeddings(heard, "openl3", tmp_path / "empty", tmp_path)
