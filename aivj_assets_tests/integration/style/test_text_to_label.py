"""From texts to labels with an OpenCLIP model: its tokenizer, both towers and a list of prompts; frames on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from aivj_assets.contracts.cluster_labels import ClusterLabels, merged_labels, with_person_label
from aivj_assets.embed.model import TorchModel
from aivj_assets.embed.openclip import load_openclip
from aivj_assets.embed.search import text_vectors
from aivj_assets.errors import UserError
from aivj_assets.style.appearance import PresetFrames, measure_clusters
from aivj_assets.style.labels import ZeroShot, compute_labels, zero_shot_labels
from aivj_assets.style.prompts import TEMPLATES, Prompt, Vectors, prompt_vectors, read_prompts
from aivj_assets_tests.embedding_builders import TINY, picture

NAME = "aivj-tiny-words"
AT, LATER = "2026-01-31T12:00:00.000Z", "2026-02-01T12:00:00.000Z"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights made here; the tokenizer's own vocabulary, so that texts go through it as with any model of the hub."""
    folder = tmp_path_factory.mktemp("tiny-words")
    config: dict[str, Any] = json.loads(json.dumps(TINY))
    config["text_cfg"] |= {"context_length": 32, "vocab_size": 49408}
    (folder / f"{NAME}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{NAME}.json")
    torch.manual_seed(11)
    network = open_clip.create_model(NAME)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            # Freshly made towers answer every input alike; the temperature stays as it is.
            if name != "logit_scale":
                parameter.mul_(4)
    torch.save(network.state_dict(), folder / "tiny.pt")
    return folder / "tiny.pt"


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> TorchModel:
    return load_openclip(NAME, str(checkpoint), environ={}, device="cpu")


def encode(model: TorchModel) -> Any:
    return lambda texts: text_vectors(model, texts)


def test_prompt_vectors_are_those_of_openclips_own_zero_shot_classifier(model: TorchModel, checkpoint: Path) -> None:
    names = ["tunnel", "kaleidoscope", "liquid", "fire"]
    network, _, _ = open_clip.create_model_and_transforms(NAME, pretrained=str(checkpoint))
    expected = open_clip.build_zero_shot_classifier(
        network.eval(), open_clip.get_tokenizer(NAME), names, list(TEMPLATES), num_classes_per_batch=None
    )
    vectors = prompt_vectors([Prompt(name, (name,)) for name in names], encode(model))
    np.testing.assert_allclose(vectors, expected.detach().numpy().T, atol=1e-5)


def test_every_prompt_finds_its_own_cluster_where_plain_cosines_do_not(model: TorchModel) -> None:
    names = {"tunnel", "kaleidoscope", "liquid", "particles", "waveform", "fractal", "grid", "fire"}
    prompts = [prompt for prompt in read_prompts() if prompt.label in names]
    vectors = prompt_vectors(prompts, encode(model))
    # Pictures lie in a cone far from all texts; what sets clusters apart is small beside it.
    cone = np.ones(model.card.dim) / model.card.dim**0.5
    centroids = (cone + 0.3 * vectors).astype(np.float32)
    ranked = zero_shot_labels(centroids, vectors, prompts)
    assert [labels[0].label for labels in ranked] == [prompt.label for prompt in prompts]
    unit = centroids / np.linalg.norm(centroids, axis=1, keepdims=True)
    assert np.mean((unit @ vectors.T).argmax(axis=1) == np.arange(len(prompts))) < 0.5


def write_frames(folder: Path, seeds: range) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"frame-{number:03d}.webp" for number in range(len(seeds))]
    for path, seed in zip(paths, seeds, strict=True):
        picture(seed).save(path, quality=92)
    return paths


def mean_vector(model: TorchModel, paths: list[Path]) -> Vectors:
    from PIL import Image

    rows = model.encode(np.stack([model.prepare(Image.open(path)) for path in paths]))
    mean: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
    return mean


def test_from_frames_and_a_list_of_ones_own_to_the_file_and_back(model: TorchModel, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("waves: coloured waves | sine waves\nstripes\ngrid: a square grid\n")
    frames = {
        f"c{number:02d}": write_frames(tmp_path / f"c{number}", range(10 * number, 10 * number + 4))
        for number in range(3)
    }
    (tmp_path / "c2" / "frame-003.webp").write_bytes(b"RIFF")
    frames["c02"] = frames["c02"][:3]
    looks = measure_clusters(
        {key: [PresetFrames(f"{key}-{path.stem}", [path], 0.1) for path in paths] for key, paths in frames.items()}
    )
    prompts = read_prompts(tmp_path / "mine.txt")
    centroids = np.stack([mean_vector(model, paths) for paths in frames.values()])
    ranked = zero_shot_labels(centroids, prompt_vectors(prompts, encode(model)), prompts)
    zero_shot = ZeroShot(dict(zip(frames, ranked, strict=True)), model.card.name)
    # Weights made here know nothing: every best label is taken.
    found = compute_labels(looks, at=AT, zero_shot=zero_shot, min_lift=1)
    assert found.unlabelled == {}
    names = {prompt.label for prompt in prompts}
    for entry in found.labels.values():
        assert entry.source == "zero-shot"
        assert entry.label.partition(" (")[0] in names
        assert entry.evidence["model"] == model.card.name
    labels = merged_labels(None, found.labels, lineage="main", at=AT)
    labels = with_person_label(labels, "c01", "my waves", known_ids=list(frames), at=LATER)
    path = tmp_path / "cluster-labels.v0.json"
    labels.save(path)
    again = merged_labels(ClusterLabels.load(path), found.labels, lineage="main", at=LATER)
    assert again == labels
    assert again.labels["c01"].label == "my waves"
    assert again.labels["c01"].alternatives[0].label == found.labels["c01"].label


def test_centroids_of_another_model_are_refused(model: TorchModel) -> None:
    prompts = read_prompts()
    vectors = prompt_vectors(prompts, encode(model))
    with pytest.raises(UserError, match="labels need the model that made the embeddings"):
        zero_shot_labels(np.ones((2, 1280), np.float32), vectors, prompts)
