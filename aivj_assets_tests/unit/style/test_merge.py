import dataclasses
from collections.abc import Mapping

import pytest

from aivj_assets.contracts.lineage import EnergyCuts
from aivj_assets.contracts.style import Energy
from aivj_assets.errors import UserError
from aivj_assets.style.energy import energy_by_cuts
from aivj_assets.style.merge import AcceptedBatch, PackIndex, merge_batches, settle_cuts
from aivj_assets_tests.builders import NOW, embeddings_meta, style_index


def batch(key: str, motion: Mapping[str, float], *, energy: Energy = "calm") -> AcceptedBatch:
    energies: dict[str, Energy] = dict.fromkeys(motion, energy)
    return AcceptedBatch(
        batch=key,
        fingerprint="f" * 16,
        card=embeddings_meta(len(motion), 8).card,
        v1=style_index("big", energies),
        v0=style_index("big", energies, version="v0"),
        motion=motion,
    )


SLOW = batch("big/batch-0001", {"a": 0.01, "b": 0.02, "c": 0.03}, energy="peak")
FAST = batch("big/batch-0002", {"d": 0.4, "e": 0.5, "f": 0.6}, energy="groove")


def merged_of(*batches: AcceptedBatch, cuts: tuple[float | None, float | None] = (0.02, 0.4)) -> PackIndex:
    motion = {name: value for one in batches for name, value in one.motion.items()}
    clusters = {name: f"c{number:02d}" for number, name in enumerate(motion)}
    return merge_batches("big", batches, NOW, clusters=clusters, tiers=energy_by_cuts(motion, *cuts))


def test_energies_and_ids_are_those_of_the_whole_pack() -> None:
    merged = merged_of(SLOW, FAST)
    assert {entry.preset_id: entry.energy for entry in merged.v1.entries} == {
        "a": "calm", "b": "calm", "c": "groove", "d": "groove", "e": "peak", "f": "peak",
    }  # fmt: skip
    assert [(entry.author_key, entry.tags) for entry in merged.v1.entries[:2]] == [
        ("c00", ["cluster:c00", "energy:calm"]), ("c01", ["cluster:c01", "energy:calm"]),
    ]  # fmt: skip
    assert {entry.author_key for entry in merged.v0.entries} == {"c00"}


def settled(motion: Mapping[str, float], known: EnergyCuts | None, *, major_since: bool = False) -> EnergyCuts:
    return settle_cuts("big", motion, known, major_since=major_since, lineage_version=7, at=NOW)


def even(count: int, low: float = 0.0, high: float = 1.0) -> dict[str, float]:
    return {f"p{number:03d}": low + (high - low) * number / (count - 1) for number in range(count)}


def test_cut_points_stay_until_a_tier_leaves_its_range_or_a_major_comes() -> None:
    first = settled(even(99), None)
    assert (first.drawn_from, first.presets, first.flips, first.reason) == ("big", 99, 0, "the first of the lineage")
    assert energy_by_cuts(even(99), first.calm_max, first.groove_max).counts == {"calm": 33, "groove": 33, "peak": 33}
    # Another batch moves a little more: the points stay and nobody's energy changes.
    grown = even(99) | {f"q{name}": value for name, value in even(30, 0.4, 1.0).items()}
    assert settled(grown, first) is first
    # A whole batch of fast ones: calm falls below a quarter of the pack.
    fast = even(99) | {f"q{name}": value for name, value in even(90, 0.6, 1.0).items()}
    drawn = settled(fast, first)
    assert "calm holds 17.5% of 189 presets" in drawn.reason
    assert drawn.calm_max is not None
    assert first.calm_max is not None
    assert drawn.calm_max > first.calm_max
    before = energy_by_cuts(fast, first.calm_max, first.groove_max).energies
    after = energy_by_cuts(fast, drawn.calm_max, drawn.groove_max).energies
    assert drawn.flips == sum(before[name] != after[name] for name in fast) > 0
    # A major is a reason by itself.
    after_major = settled(grown, first, major_since=True)
    assert (after_major.reason, after_major.lineage_version) == ("the lineage has had a major", 7)


def test_presets_that_move_alike_share_an_energy_and_their_cut_points_are_not_drawn_for_ever() -> None:
    still = dict.fromkeys((f"s{number}" for number in range(60)), 0.0) | even(40, 0.1, 1.0)
    first = settled(still, None)
    tiers = energy_by_cuts(still, first.calm_max, first.groove_max)
    assert {tiers.energies[name] for name in still if name.startswith("s")} == {"calm"}
    assert settled(still, first) is first
    alike = settled(dict.fromkeys("abc", 0.3), None)
    assert (alike.calm_max, alike.groove_max) == (None, None)
    assert energy_by_cuts({"a": 0.3}, None, None).counts == {"calm": 0, "groove": 1, "peak": 0}


def test_an_indexed_preset_without_a_cluster_is_named() -> None:
    with pytest.raises(UserError, match=r"1 indexed presets have no cluster in the lineage, e.g. 'c'"):
        merge_batches(
            "big", [SLOW], NOW, clusters={"a": "c00", "b": "c00"}, tiers=energy_by_cuts(SLOW.motion, 0.1, 0.2)
        )


def test_the_fallback_index_keeps_its_energies_from_titles() -> None:
    merged = merged_of(SLOW, FAST)
    assert [(entry.preset_id, entry.energy) for entry in merged.v0.entries] == [
        (preset_id, "peak") for preset_id in "abc"
    ] + [(preset_id, "groove") for preset_id in "def"]
    assert (merged.v0.version, merged.v1.version, merged.v1.pack) == ("v0", "v1", "big")


def test_the_files_say_what_they_were_made_of() -> None:
    merged = merged_of(SLOW, FAST)
    assert merged.v1.to_json()["batches"] == [
        {"batch": "big/batch-0001", "fingerprint": "f" * 16},
        {"batch": "big/batch-0002", "fingerprint": "f" * 16},
    ]


def test_merging_leaves_the_batches_as_they_are() -> None:
    merged_of(SLOW, FAST)
    assert {entry.energy for entry in SLOW.v1.entries} == {"peak"}
    assert SLOW.v1.entries[0].tags == ["cluster:c00", "energy:peak"]


def test_nothing_accepted_nothing_published() -> None:
    with pytest.raises(UserError, match="no accepted batch"):
        merged_of()


def test_frames_of_two_fingerprints_never_lie_in_one_index() -> None:
    with pytest.raises(UserError, match="never lie in one index"):
        merged_of(SLOW, dataclasses.replace(FAST, fingerprint="0" * 16))


def test_rows_of_two_models_never_mix() -> None:
    other = dataclasses.replace(FAST, card=embeddings_meta(3, 8, weights_sha256="f" * 64).card)
    with pytest.raises(UserError, match="never mix") as raised:
        merged_of(SLOW, other)
    for part in ("batch big/batch-0001", "batch big/batch-0002", "weightsSha256", "aivj profile big"):
        assert part in str(raised.value), part


def test_a_preset_in_two_batches_is_named_with_both() -> None:
    twice = batch("big/batch-0003", {"b": 0.5})
    with pytest.raises(UserError, match=r"'b' is in big/batch-0001 and in big/batch-0003"):
        merged_of(SLOW, FAST, twice)
