"""Every way to name OpenCLIP weights: a file, a Hugging Face folder, a repository of the hub. The text side with it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from aivj_assets.embed.choose import EmbedderChoice, check_model_available, load_model
from aivj_assets.embed.hub import cached_weights, download_weights
from aivj_assets.embed.model import TorchModel
from aivj_assets.embed.openclip import CONFIG_NAME, find_checkpoint, load_openclip
from aivj_assets.errors import UserError
from aivj_assets_tests.embedding_builders import TINY, TINY_NAME, picture

PREPROCESS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "interpolation": "bilinear", "resize_mode": "squash"}
ENDPOINT = "http://hub.invalid"


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A folder as OpenCLIP saves one for the hub, with an architecture and a preprocessing of its own."""
    made = tmp_path / "my-clip"
    made.mkdir()
    config = {"model_cfg": {**TINY, "quick_gelu": True}, "preprocess_cfg": PREPROCESS}
    (made / CONFIG_NAME).write_text(json.dumps(config))
    save_file(torch.load(checkpoint, weights_only=True), made / "open_clip_model.safetensors")
    return made


def inputs(model: TorchModel) -> np.ndarray:
    return np.stack([model.prepare(picture(seed)) for seed in range(3)])


def expected(folder: Path, images: np.ndarray) -> np.ndarray:
    """What OpenCLIP itself gives, told in its own way where the folder is."""
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    network.eval()
    with torch.inference_mode():
        rows = [network.encode_image(transform(picture(seed)).unsqueeze(0))[0].numpy() for seed in range(len(images))]
    return np.stack(rows)


def test_a_hugging_face_folder_brings_architecture_and_preprocessing(folder: Path, tiny: TorchModel) -> None:
    model = load_model(EmbedderChoice("ViT-B-32", str(folder)), {}, device="cpu")
    card = model.card
    assert (card.model, card.pretrained, card.dim) == ("local:my-clip", "local:open_clip_model.safetensors", 32)
    assert card.activation == "quick_gelu"
    assert (card.preprocess.mean, card.preprocess.resize_mode) == (PREPROCESS["mean"], "squash")
    assert card.preprocess.interpolation == "bilinear"
    images = inputs(model)
    np.testing.assert_allclose(model.encode(images), expected(folder, images), atol=1e-5)
    assert np.abs(model.encode(images) - tiny.encode(inputs(tiny))).max() > 1e-3


def test_a_folder_of_several_files_loads_the_one_whose_digest_is_in_the_card(folder: Path) -> None:
    alone = load_model(EmbedderChoice("ViT-B-32", str(folder)), {}, device="cpu")
    other = {name: tensor * 2 for name, tensor in open_clip.create_model(TINY_NAME).state_dict().items()}
    torch.save(other, folder / "open_clip_pytorch_model.bin")
    torch.save(other, folder / "pytorch_model.bin")
    model = load_model(EmbedderChoice("ViT-B-32", str(folder)), {}, device="cpu")
    assert model.card == alone.card
    np.testing.assert_array_equal(model.encode(inputs(model)), alone.encode(inputs(alone)))


def test_loading_a_folder_does_not_warn_of_random_weights(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_openclip("any", str(folder), environ={}, device="cpu")
    assert "random" not in caplog.text


def test_a_folder_that_is_none_of_openclip_is_told(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=f"holds no {CONFIG_NAME}"):
        check_model_available(EmbedderChoice("ViT-B-32", str(empty)), {})
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(UserError, match="holds no weights; expected one of"):
        check_model_available(EmbedderChoice("ViT-B-32", str(folder)), {})
    (folder / "open_clip_model.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="cannot be loaded as weights of OpenCLIP local:my-clip"):
        load_model(EmbedderChoice("ViT-B-32", str(folder)), {})
    (folder / CONFIG_NAME).write_text("{")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(EmbedderChoice("ViT-B-32", str(folder)), {})


def put_in_cache(folder: Path, cache: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Lay files of a folder into the hub's cache as its client does."""
    repository = cache / "models--somebody--my-clip"
    snapshot = repository / "snapshots" / ("d" * 40)
    snapshot.mkdir(parents=True, exist_ok=True)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text("d" * 40)
    for name in names:
        (snapshot / name).write_bytes((folder / name).read_bytes())
    return {"HF_HUB_CACHE": str(cache), "HF_ENDPOINT": ENDPOINT}


def test_a_repository_of_the_hub_loads_from_its_cache(folder: Path, tmp_path: Path) -> None:
    choice = EmbedderChoice("hf-hub:somebody/my-clip")
    variables = put_in_cache(folder, tmp_path / "hub", ("open_clip_model.safetensors",))
    # Weights without their configuration are not enough, and the hub cannot be reached.
    with pytest.raises(UserError, match="HF_ENDPOINT"):
        load_model(choice, variables, device="cpu")
    put_in_cache(folder, tmp_path / "hub", (CONFIG_NAME,))
    model = load_model(choice, variables, device="cpu")
    assert (model.card.model, model.card.pretrained, model.card.dim) == ("hf-hub:somebody/my-clip", "hub", 32)
    images = inputs(model)
    np.testing.assert_allclose(model.encode(images), expected(folder, images), atol=1e-5)


def test_a_repository_is_downloaded_with_its_configuration(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def hub(repository: str, name: str, *, cache_dir: Path, endpoint: str) -> str:
        asked.append(name)
        put_in_cache(folder, Path(cache_dir), (name,))
        return str(Path(cache_dir) / "models--somebody--my-clip" / "snapshots" / ("d" * 40) / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", hub)
    weights = find_checkpoint("hf-hub:somebody/my-clip", "").hub
    assert weights is not None
    variables = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_ENDPOINT": ENDPOINT}
    path = download_weights(weights, variables)
    assert asked == ["open_clip_model.safetensors", CONFIG_NAME]
    assert cached_weights(weights, variables) == path


def test_a_tokenizer_from_the_hub_is_bounded_and_told(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / CONFIG_NAME).read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "somebody/words"
    (folder / CONFIG_NAME).write_text(json.dumps(config))
    variables = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_ENDPOINT": ENDPOINT}
    model = load_model(EmbedderChoice("ViT-B-32", str(folder)), variables, device="cpu")
    assert model.encode_text is not None
    with pytest.raises(UserError, match="The tokenizer somebody/words") as caught:
        model.encode_text(["blue"])
    assert ENDPOINT in str(caught.value)
    assert "\n" not in str(caught.value)


def test_half_precision_comes_from_openclips_own_loading(checkpoint: Path, tiny: TorchModel) -> None:
    model = load_model(EmbedderChoice(TINY_NAME, str(checkpoint)), {}, device="cpu", dtype="bfloat16")
    assert (model.dtype, model.card) == ("bfloat16", tiny.card)
    network = open_clip.create_model(TINY_NAME, pretrained=str(checkpoint), precision="bf16").eval()
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1) for values in (tiny.card.preprocess.mean, tiny.card.preprocess.std)
    )
    images = inputs(model)
    pixels = ((torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std).bfloat16()
    with torch.inference_mode():
        np.testing.assert_allclose(model.encode(images), network.encode_image(pixels).float().numpy(), rtol=1e-2)
    assert np.abs(model.encode(images) - tiny.encode(images)).max() > 1e-3  # it does run in another precision


def test_on_a_gpu_pictures_go_as_bytes_from_pinned_memory(tiny: TorchModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU here: the transfer is recorded and the rest runs on the CPU."""
    calls: list[Any] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        calls.append(("pinned", tensor.dtype))
        return tensor

    original = torch.Tensor.to

    def to(tensor: torch.Tensor, *where: Any, **more: Any) -> torch.Tensor:
        if where and isinstance(where[0], torch.device) and where[0].type == "cuda":
            calls.append(("moved", more))
            return tensor
        return original(tensor, *where, **more)

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)

    images = inputs(tiny)
    on_gpu = dataclasses.replace(tiny, torch_device=torch.device("cuda:0"))
    np.testing.assert_allclose(on_gpu.encode(images), tiny.encode(images), atol=1e-6)
    assert calls == [("pinned", torch.uint8), ("moved", {"non_blocking": True})]
    assert (on_gpu.passes_at_once, on_gpu.images_a_pass(64), on_gpu.device) == (2, 64, "cuda:0")
    assert tiny.images_a_pass(64) == 8
