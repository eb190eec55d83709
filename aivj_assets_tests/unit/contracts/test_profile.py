import json
from pathlib import Path

import pytest

from aivj_assets.contracts.embeddings import ModelCard, Preprocessing
from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.profile import (
    CARD,
    PIXELS,
    FrozenCard,
    FrozenPixels,
    LineageProfile,
    check_frozen,
    pixels_name,
)
from aivj_assets.contracts.render_parameters import RenderParameters, pixel_parameters
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets_tests.builders import NOW, PAGE, embeddings_meta


def card(weights: str, size: int = 16) -> ModelCard:
    preprocess = Preprocessing(size=size, interpolation="bicubic", mean=[0.5] * 3, std=[0.5] * 3)
    return embeddings_meta(1, 4, weights_sha256=weights * 64, preprocess=preprocess).card


def test_a_pack_without_a_file_has_nothing_frozen(tmp_path: Path) -> None:
    profile = LineageProfile.of(DataRoot(tmp_path).lineage("main"))
    assert (profile.embedding, profile.history) == (None, [])


def test_what_is_replaced_is_kept_in_order_with_its_reason(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    profile = LineageProfile().with_card(card("a"), "big/batch-0001", "unused: nothing is replaced")
    profile = profile.with_card(card("b"), "big/batch-0002", "better weights").with_card(card("c"), "big", "once more")
    profile.save(root.lineage("main").profile)
    read = LineageProfile.of(root.lineage("main"))
    assert read == profile
    assert read.embedding is not None
    assert (read.embedding.card, read.embedding.batch) == (card("c"), "big")
    assert [(old.card, old.batch, old.reason) for old in read.history] == [
        (card("a"), "big/batch-0001", "better weights"),
        (card("b"), "big/batch-0002", "once more"),
    ]
    assert all(old.frozen_at <= old.replaced_at for old in read.history)
    content = json.loads(root.lineage("main").profile.read_bytes())
    assert set(content) == {"version", "embedding", "history"}
    assert set(content["embedding"]) == {"card", "batch", "frozenAt"}
    assert set(content["history"][0]) == {"card", "batch", "frozenAt", "replacedAt", "reason"}
    assert root.lineage("main").profile == tmp_path / "artifacts" / "lineages" / "main" / "profile.json"


def test_fields_of_others_survive_a_new_card(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    LineageProfile().with_card(card("a"), "big", "").save(root.lineage("main").profile)
    content = json.loads(root.lineage("main").profile.read_bytes()) | {"lighting": {"lamps": 3}}
    root.lineage("main").profile.write_text(json.dumps(content), encoding="utf-8")
    LineageProfile.of(root.lineage("main")).with_card(card("b"), "big", "why").save(root.lineage("main").profile)
    assert json.loads(root.lineage("main").profile.read_bytes())["lighting"] == {"lamps": 3}


@pytest.mark.parametrize("text", ["", "{", '{"version": "v9"}', '{"version": "v0", "embedding": {"batch": "x"}}'])
def test_a_malformed_profile_is_one_line_that_names_the_file(tmp_path: Path, text: str) -> None:
    root = DataRoot(tmp_path)
    root.lineage("main").profile.parent.mkdir(parents=True)
    root.lineage("main").profile.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="mend it, or delete it") as raised:
        LineageProfile.of(root.lineage("main"))
    assert str(root.lineage("main").profile) in str(raised.value)
    assert "\n" not in str(raised.value)


FROZEN = FrozenCard(card=card("a"), batch="big/batch-0001", frozen_at=NOW)


def against(own: ModelCard, frozen: FrozenCard | None, held_by: str | None = None) -> Finding:
    return check_frozen(
        CARD, "main", "big/batch-0002", name=own.name, values=own.to_json(), frozen=frozen, held_by=held_by
    )


def test_the_first_card_and_the_same_card_pass() -> None:
    assert against(card("a"), None).passed
    assert against(card("a"), FROZEN).passed


def test_another_card_passes_only_when_nobody_holds_the_frozen_one() -> None:
    free = against(card("b"), FROZEN)
    assert free.passed
    assert "this batch's will be" in free.detail
    held = against(card("b", size=32), FROZEN, "big/batch-0003")
    assert (held.name, held.passed, held.severity) == ("frozen_card", False, "error")
    for part in (
        FROZEN.card.name, card("b", size=32).name, "lineage main", "big/batch-0001",
        "big/batch-0003 carries the frozen card", "weightsSha256: aaaaaaaaaaaa.. -> bbbbbbbbbbbb..",
        "preprocess.size: 16 -> 32", "aivj profile big --refreeze big/batch-0002 --reason",
    ):  # fmt: skip
        assert part in held.detail, part
    assert "interpolation" not in held.detail
    assert "\n" not in held.detail


def test_other_pixel_parameters_are_listed_field_by_field() -> None:
    usual = pixel_parameters(RenderParameters(), PAGE)
    elsewhere = PAGE.model_copy(update={"renderer": "ANGLE (NVIDIA, GeForce RTX 4070 Direct3D11 vs_5_0 ps_5_0, D3D11)"})
    other = pixel_parameters(RenderParameters(warmup_frames=90), elsewhere)
    frozen = FrozenPixels(parameters=usual, batch="big/batch-0001", frozen_at=NOW)
    held = check_frozen(
        PIXELS, "main", "big/batch-0002", name=pixels_name(other), values=other, frozen=frozen, held_by="big/batch-0001"
    )
    assert (held.name, held.passed) == ("parameters_frozen", False)
    # A renderer's name is told whole: it is what a person has to go by.
    for part in (
        "warmupFrames: 60 -> 90",
        f"renderer: {PAGE.renderer} -> {elsewhere.renderer}",
        "render big/batch-0002",
    ):
        assert part.lower() in held.detail.lower(), part
    assert "captureEvery" not in held.detail
    same = check_frozen(PIXELS, "main", "b", name=pixels_name(usual), values=usual, frozen=frozen, held_by="x")
    assert same.passed


def test_of_frozen_parameters_those_that_a_person_sets_are_defaults_for_others() -> None:
    usual = pixel_parameters(RenderParameters(warmup_frames=90, bpm=140), PAGE)
    settings = FrozenPixels(parameters=usual, batch="big", frozen_at=NOW).settings
    assert (settings["warmupFrames"], settings["bpm"], settings["probeUrl"]) == (90, 140, None)
    assert not {"engine", "engineVersion", "pageVersion", "renderer"} & set(settings)
    assert RenderParameters.model_validate(settings).warmup_frames == 90
