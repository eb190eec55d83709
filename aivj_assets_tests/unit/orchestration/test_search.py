from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.contracts.frames_index import OkRecord
from aivj_assets.contracts.pack_settings import EmbedderSettings, PackSettings
from aivj_assets.embed.lite0 import LITE0, LITE0_PRETRAINED
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir
from aivj_assets.orchestration.card_model import ModelOptions, query_choice
from aivj_assets.orchestration.search_rows import closest, shown_picture
from aivj_assets_tests.builders import embeddings_meta, ok_record


def card(model: str = "ViT-B-32", pretrained: str = "laion2b_s34b_b79k") -> ModelCard:
    return embeddings_meta(1, 8, model=model, pretrained=pretrained).card


def choice(
    rows: ModelCard, *, settings: str | None = None, environ: dict[str, str] | None = None, **options: Any
) -> tuple[str, str]:
    pack = PackSettings(embedder=EmbedderSettings(pretrained=settings))
    made = query_choice(rows, ModelOptions(**options), pack, environ or {})
    return made.model, made.pretrained


@pytest.mark.parametrize(
    ("model", "pretrained"), [("ViT-L-14", "openai"), ("hf-hub:owner/name", "hub"), (LITE0, LITE0_PRETRAINED)]
)
def test_a_model_with_a_name_is_loaded_by_it_whatever_the_machine_s_default(model: str, pretrained: str) -> None:
    other = {"AIVJ_PRETRAINED": "some.pt", "AIVJ_EMBEDDER": "openclip"}
    assert choice(card(model, pretrained), settings="other_tag", environ=other) == (model, pretrained)


@pytest.mark.parametrize("embedder", [None, "auto", LITE0])
@pytest.mark.parametrize("model", [LITE0, f"{LITE0}+colour"])
def test_any_variant_of_the_offline_model_is_the_offline_model(model: str, embedder: str | None) -> None:
    assert choice(card(model, "x"), embedder=embedder) == (LITE0, LITE0_PRETRAINED)


@pytest.mark.parametrize("embedder", ["openclip", "auto", "ViT-L-14"])
def test_the_rows_own_model_may_be_named(embedder: str) -> None:
    assert choice(card("ViT-L-14", "openai"), embedder=embedder) == ("ViT-L-14", "openai")
    named = choice(card("ViT-L-14", "local:a.pt"), embedder=embedder, pretrained="b/renamed.pt")
    assert named == ("ViT-L-14", "b/renamed.pt")


@pytest.mark.parametrize(("rows", "embedder"), [(card(), "ViT-L-14"), (card(), LITE0), (card(LITE0, "x"), "openclip")])
def test_another_model_is_refused_before_it_is_loaded(rows: ModelCard, embedder: str) -> None:
    with pytest.raises(UserError, match=f"are of {rows.model} .*--embedder {embedder} is another model"):
        choice(rows, embedder=embedder)


def test_local_weights_are_found_in_the_pack_s_settings_or_the_environment_by_their_name(tmp_path: Path) -> None:
    rows = card("ViT-B-32", "local:my weights.pt")
    here, there = str(tmp_path / "my weights.pt"), str(tmp_path / "x" / "my weights.pt")
    assert choice(rows, settings=here, environ={"AIVJ_PRETRAINED": there}) == ("ViT-B-32", here)
    assert choice(rows, settings="laion2b_s34b_b79k", environ={"AIVJ_PRETRAINED": there}) == ("ViT-B-32", there)
    assert choice(rows, settings=here, pretrained=there) == ("ViT-B-32", there)
    with pytest.raises(UserError, match=r"weights 'my weights.pt', .*--pretrained, or set AIVJ_PRETRAINED"):
        choice(rows, settings="laion2b_s34b_b79k", environ={"AIVJ_PRETRAINED": str(tmp_path / "other.pt")})


def test_a_local_folder_is_found_by_the_folder_s_name(tmp_path: Path) -> None:
    rows = card("local:my-clip", "local:open_clip_model.safetensors")
    folder = tmp_path / "my-clip"
    folder.mkdir()
    assert choice(rows, environ={"AIVJ_PRETRAINED": f"{folder}/"})[1] == f"{folder}/"
    with pytest.raises(UserError, match="local weights 'my-clip'"):
        choice(rows, environ={"AIVJ_PRETRAINED": str(tmp_path / "open_clip_model.safetensors")})


IDS = ["live-geiss-sunsets-dc9472", "live-geiss-octopus-5444e3", "live-flexi-fishies-e03bef", "live-185-014f4e"]
LABELS = {"live-flexi-fishies-e03bef": "Flexi - Fishies!", "live-185-014f4e": "日本 - ночь"}


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("live-geis-octopus-5444e3", "live-geiss-octopus-5444e3"),
        ("Live-Geiss-Sunsets", "live-geiss-sunsets-dc9472"),
        ("flexi fishies", "live-flexi-fishies-e03bef"),
        ("185", "live-185-014f4e"),
        ("日本 ночь", "live-185-014f4e"),
    ],
)
def test_a_mistyped_id_or_name_brings_the_closest_first(typed: str, first: str) -> None:
    assert closest(typed, IDS, LABELS)[0] == first


@pytest.mark.parametrize("typed", ["", "q", "qqqqqqqqqqqqqqqq"])
def test_what_is_like_nothing_brings_nothing(typed: str) -> None:
    assert closest(typed, IDS, LABELS) == []


def test_the_second_capture_is_shown_and_only_from_inside_the_batch(tmp_path: Path) -> None:
    folder = BatchDir(tmp_path / "batch")
    record = ok_record("a", "pack")
    assert shown_picture(folder, record) == folder.path / record.frames[1]
    one = ok_record("a", "pack", captures=1)
    assert shown_picture(folder, one) == folder.path / one.frames[0]
    outside = OkRecord.model_validate({**record.model_dump(), "frames": ["../secret.webp"]})
    assert shown_picture(folder, outside) is None
    assert shown_picture(folder, None) is None
