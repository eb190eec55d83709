"""A lineage's frozen card and parameters, and presets that could not be embedded, on the way through the whole hall.

Checks, guard and all assets are the project's own; only the two stages that need a browser or a model are stood in for.
"""

import json
import re
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from aivj_assets.cli import app as cli
from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.contracts.render_parameters import RenderParameters, pixel_parameters
from aivj_assets.contracts.run_meta import RunMeta
from aivj_assets.contracts.style import StyleIndex
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey
from aivj_assets.orchestration.parameters import effective_parameters
from aivj_assets.orchestration.profile import refreeze, settle_profile
from aivj_assets_tests.builders import PAGE, embeddings_meta, write_frames_meta
from aivj_assets_tests.house import House

ONE, TWO = BatchKey("big", "batch-0001"), BatchKey("big", "batch-0002")


PIXELS = pixel_parameters(RenderParameters(), PAGE)


def card(weights: str) -> ModelCard:
    return embeddings_meta(20, 16, weights_sha256=weights * 64).card


def test_a_pack_of_one_batch_changes_its_model_and_keeps_what_it_had(house: House) -> None:
    """As the demo does: the offline model first, OpenCLIP once there is network."""
    pack = BatchKey("solo")
    house.add(pack, 8)
    assert house.run(pack, "a").success
    frozen = house.profile().embedding
    assert frozen is not None
    assert (frozen.card, frozen.batch, house.profile().history) == (card("a"), "solo", [])
    # Nothing new: the profile is not touched.
    before = house.root.lineage("main").profile.read_bytes()
    settle_profile(house.instance, house.root, pack, card("a"), PIXELS)
    assert house.root.lineage("main").profile.read_bytes() == before
    assert house.run(pack, "b").success
    assert house.accepted(pack)
    assert house.frozen_weights() == "b"
    (old,) = house.profile().history
    assert (old.card, old.batch, old.frozen_at) == (card("a"), "solo", frozen.frozen_at)
    assert "no other accepted batch" in old.reason
    assert house.publish("solo").success
    assert len(house.published("solo")) == 4


def test_a_batch_of_another_model_is_refused_until_a_person_refreezes(
    house: House, invoke: Callable[..., tuple[int, str]]
) -> None:
    house.add(ONE, 8)
    house.add(TWO, 8)
    assert house.run(ONE, "a").success
    assert house.publish("big").success
    first = house.published()

    refused = house.run(TWO, "b")
    assert not refused.success
    (sentence,) = house.told(refused)[1]
    for part in (
        "frozen_card", "weights aaaaaaaa", "weights bbbbbbbb", "weightsSha256", str(ONE),
        "aivj profile big --refreeze big/batch-0002",
    ):  # fmt: skip
        assert part in sentence, part
    assert not house.root.batch(TWO).clusters.exists()
    assert house.frozen_weights() == "a"

    for reason in ("", " \n"):
        with pytest.raises(UserError, match="--reason"):
            refreeze(house.instance, house.root, TWO, reason)
    status, said = invoke("profile", "big", "--refreeze", "batch-0002", "--reason", "OpenCLIP can be had now")
    assert status == 0
    assert "big/batch-0001 carries another card" in said
    assert (house.frozen_weights(), [old.reason for old in house.profile().history]) == (
        "b",
        ["OpenCLIP can be had now"],
    )
    # The first batch has the old card: neither it alone nor both together are published.
    stopped = house.publish("big")
    assert not stopped.success
    assert "big/batch-0002 carries the frozen card" in house.told(stopped)[0][0]
    assert house.run(TWO, "b").success
    mixed = house.publish("big")
    assert not mixed.success
    assert re.search(r"never mix: batch big/batch-0001 .* batch big/batch-0002", house.told(mixed)[0][0])
    assert house.published() == first
    # Checked again it fails, embedded again it passes.
    assert not house.run(ONE, "a").success
    assert house.run(ONE, "b").success
    assert house.publish("big").success
    assert len(StyleIndex.load(house.root.published("big", "aivj-style-index.v1.json")).entries) == 16

    status, said = invoke("profile", "big", "--json")
    told = json.loads(said)
    assert status == 0
    assert told["embedding"]["card"]["weightsSha256"] == "b" * 64
    assert [(row["batch"], row["frozen"], row["accepted"]) for row in told["batches"]] == [
        (ONE.key, True, True), (TWO.key, True, True),
    ]  # fmt: skip
    assert [old["card"]["weightsSha256"][0] for old in told["history"]] == ["a"]


@pytest.fixture
def invoke(house: House) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        answer = CliRunner().invoke(cli.app, [*arguments, "--root", str(house.root.path)], env={"COLUMNS": "200"})
        return answer.exit_code, answer.output

    return run


def test_a_card_is_not_lent_by_a_batch_that_is_rejected_for_more(house: House) -> None:
    ids = house.add(TWO)
    house.add(ONE)
    with pytest.raises(UserError, match="it is not materialised"):
        refreeze(house.instance, house.root, TWO, "why not")
    assert house.run(ONE, "a").success
    assert not house.run(TWO, "b", left_out=dict.fromkeys(ids[:2], "frame-000.webp: missing on disk")).success
    with pytest.raises(UserError, match=r"cannot lend its card .* rejected by one_row_per_ok_preset;"):
        refreeze(house.instance, house.root, TWO, "why not")
    assert refreeze(house.instance, house.root, ONE, "the same") is False
    # Two batches on their way at once, whose checks saw nothing frozen yet: the one that is accepted first decides.
    with pytest.raises(UserError, match=r"Batch big/batch-0002: .*big/batch-0001 carries the frozen card"):
        settle_profile(house.instance, house.root, TWO, card("b"), None)
    assert (house.frozen_weights(), house.profile().history) == ("a", [])


def test_one_preset_without_a_row_goes_through_the_whole_hall(house: House) -> None:
    pack = BatchKey("solo")
    ids = house.add(pack)
    gone = {ids[4]: "frame-001.webp: missing on disk"}
    house.collapsed = True
    result = house.run(pack, "a", left_out=gone)
    assert result.success
    # A warning stops nothing and is told as one.
    problems, rejected, warnings = house.told(result)
    assert (problems, rejected) == ([], [])
    assert [sentence.partition(":")[0] for sentence in warnings] == ["collapse", "qa_reviewed"]
    assert house.accepted(pack)
    record = RunMeta.load(house.root.batch(pack).run_meta)
    assert {name: record.counts[name] for name in ("presets", "ok", "embedded", "leftOut", "indexed")} == {
        "presets": 20, "ok": 20, "embedded": 19, "leftOut": 1, "indexed": 19,
    }  # fmt: skip
    assert record.left_out_top == [("missing on disk", 1)]
    assert house.publish("solo").success
    published = StyleIndex.load(house.root.published("solo", "aivj-style-index.v1.json"))
    assert {entry.preset_id for entry in published.entries} == set(ids) - set(gone)
    assert sum(json.loads(house.root.batch(pack).clusters.read_bytes())["clusters"][n]["size"] for n in range(2)) == 19


def test_too_many_presets_without_a_row_reject_the_batch(house: House) -> None:
    pack = BatchKey("solo")
    ids = house.add(pack)
    result = house.run(pack, "a", left_out=dict.fromkeys(ids[:2], "frame-000.webp: cannot be decoded"))
    assert not result.success
    (sentence,) = house.told(result)[1]
    assert "18/20 = 0.9000, required >= 0.95" in sentence
    assert "2 left out with a reason" in sentence
    assert f"{ids[0]} (frame-000.webp: cannot be decoded)" in sentence
    assert not house.root.batch(pack).clusters.exists()
    assert house.profile().embedding is None


def test_a_broken_profile_rejects_and_says_which_file(house: House) -> None:
    pack = BatchKey("solo")
    house.add(pack)
    house.root.lineage("main").path.mkdir(parents=True)
    house.root.lineage("main").profile.write_text("{", encoding="utf-8")
    result = house.run(pack, "a")
    assert not result.success
    (sentence,) = house.told(result)[1]
    assert sentence.startswith("parameters_frozen: ")
    assert str(house.root.lineage("main").profile) in sentence


def test_pixel_parameters_are_frozen_by_the_first_accepted_batch_of_the_lineage(
    house: House, invoke: Callable[..., tuple[int, str]]
) -> None:
    """Across packs: a lineage goes through all of them."""
    other = BatchKey("small")
    for batch in (ONE, other):
        house.add(batch, 8)
    write_frames_meta(house.root, other.key, warmup_frames=90, timeout_ms=45_000)
    assert house.run(ONE, "a").success
    frozen = house.profile().pixels
    assert frozen is not None
    assert (frozen.parameters, frozen.batch) == (PIXELS, ONE.key)

    refused = house.run(other, "a")
    assert not refused.success
    (sentence,) = house.told(refused)[1]
    for part in ("parameters_frozen", "warmupFrames: 60 -> 90", str(ONE), "aivj profile small --refreeze small"):
        assert part in sentence, part
    # Operational parameters are recorded, never frozen.
    assert "timeoutMs" not in sentence
    assert not house.root.batch(other).embeddings.exists()

    status, said = invoke("profile", "small", "--refreeze", "small", "--reason", "longer warm-up from now on")
    assert status == 0, said
    assert "warmupFrames 90" in said
    assert f"{ONE} carries another pixel parameters" in said
    assert house.run(other, "a").success
    assert house.accepted(other)
    (old,) = house.profile().history
    assert (old.parameters, old.reason) == (PIXELS, "longer warm-up from now on")
    # Made again as it was, the first batch is now the one that differs.
    assert not house.run(ONE, "a").success
    told = json.loads(invoke("profile", "main", "--json")[1])
    assert [(row["batch"], row["pixelsFrozen"]) for row in told["batches"]] == [(ONE.key, False), ("small", True)]


def test_what_is_frozen_is_the_default_of_batches_that_say_nothing(house: House) -> None:
    house.add(ONE, 8)
    write_frames_meta(house.root, ONE.key, warmup_frames=90)
    assert house.run(ONE, "a").success
    assert effective_parameters(house.root, "big", {}).warmup_frames == 90
    assert effective_parameters(house.root, "elsewhere", {"timeoutMs": 45_000}).warmup_frames == 90
    PackSettings(render={"warmup_frames": 75}).save_sparse(house.root.pack_dir("big") / "aivj-pack.json")
    assert effective_parameters(house.root, "big", {}).warmup_frames == 75
    assert effective_parameters(house.root, "big", {"warmupFrames": 80}).warmup_frames == 80


def test_the_only_batch_of_a_lineage_changes_its_parameters_and_keeps_what_it_had(house: House) -> None:
    pack = BatchKey("solo")
    house.add(pack, 8)
    assert house.run(pack, "a").success
    write_frames_meta(house.root, pack.key, warmup_frames=90)
    assert house.run(pack, "a").success
    frozen = house.profile().pixels
    assert frozen is not None
    assert frozen.parameters["warmupFrames"] == 90
    assert [old.parameters for old in house.profile().history] == [PIXELS]


def test_without_its_parameters_a_batch_is_rejected(house: House) -> None:
    pack = BatchKey("solo")
    house.add(pack, 8)
    house.root.batch(pack).frames_meta.write_text("{", encoding="utf-8")
    assert [line.partition(":")[0] for line in house.told(house.run(pack, "a"))[1]] == ["parameters_frozen"]
