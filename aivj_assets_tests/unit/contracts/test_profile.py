import json
from pathlib import Path

import pytest

from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.contracts.profile import PackProfile
from aivj_assets.errors import UserError
from aivj_assets.layout import DataRoot
from aivj_assets_tests.builders import embeddings_meta


def card(weights: str) -> ModelCard:
    return embeddings_meta(1, 4, weights_sha256=weights * 64).card


def test_a_pack_without_a_file_has_nothing_frozen(tmp_path: Path) -> None:
    profile = PackProfile.of_pack(DataRoot(tmp_path), "pack")
    assert (profile.embedding, profile.history) == (None, [])


def test_what_is_replaced_is_kept_in_order_with_its_reason(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    profile = PackProfile().with_card(card("a"), "big/batch-0001", "unused: nothing is replaced")
    profile = profile.with_card(card("b"), "big/batch-0002", "better weights").with_card(card("c"), "big", "once more")
    profile.save(root.profile("big"))
    read = PackProfile.of_pack(root, "big")
    assert read == profile
    assert read.embedding is not None
    assert (read.embedding.card, read.embedding.batch) == (card("c"), "big")
    assert [(old.card, old.batch, old.reason) for old in read.history] == [
        (card("a"), "big/batch-0001", "better weights"),
        (card("b"), "big/batch-0002", "once more"),
    ]
    assert all(old.frozen_at <= old.replaced_at for old in read.history)
    content = json.loads(root.profile("big").read_bytes())
    assert set(content) == {"version", "embedding", "history"}
    assert set(content["embedding"]) == {"card", "batch", "frozenAt"}
    assert set(content["history"][0]) == {"card", "batch", "frozenAt", "replacedAt", "reason"}
    assert root.profile("big") == tmp_path / "artifacts" / "aivj" / "big" / "profile.json"


def test_fields_of_others_survive_a_new_card(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    PackProfile().with_card(card("a"), "big", "").save(root.profile("big"))
    content = json.loads(root.profile("big").read_bytes()) | {"pixels": {"fingerprint": "0123"}}
    root.profile("big").write_text(json.dumps(content), encoding="utf-8")
    PackProfile.of_pack(root, "big").with_card(card("b"), "big", "why").save(root.profile("big"))
    assert json.loads(root.profile("big").read_bytes())["pixels"] == {"fingerprint": "0123"}


@pytest.mark.parametrize("text", ["", "{", '{"version": "v9"}', '{"version": "v0", "embedding": {"batch": "x"}}'])
def test_a_malformed_profile_is_one_line_that_names_the_file(tmp_path: Path, text: str) -> None:
    root = DataRoot(tmp_path)
    root.profile("big").parent.mkdir(parents=True)
    root.profile("big").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="mend it, or delete it") as raised:
        PackProfile.of_pack(root, "big")
    assert str(root.profile("big")) in str(raised.value)
    assert "\n" not in str(raised.value)
