import dataclasses
from collections.abc import Mapping

import pytest

from aivj_assets.contracts.style import Energy
from aivj_assets.errors import UserError
from aivj_assets.style.merge import AcceptedBatch, merge_batches
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


def test_energy_is_cut_anew_over_the_whole_pack() -> None:
    merged = merge_batches("big", [SLOW, FAST], NOW)
    assert {entry.preset_id: entry.energy for entry in merged.v1.entries} == {
        "a": "calm", "b": "calm", "c": "groove", "d": "groove", "e": "peak", "f": "peak",
    }  # fmt: skip
    assert merged.v1.entries[0].tags == ["cluster:c00", "energy:calm"]
    assert merged.tiers.counts == {"calm": 2, "groove": 2, "peak": 2}


def test_the_fallback_index_keeps_its_energies_from_titles() -> None:
    merged = merge_batches("big", [SLOW, FAST], NOW)
    assert [(entry.preset_id, entry.energy) for entry in merged.v0.entries] == [
        (preset_id, "peak") for preset_id in "abc"
    ] + [(preset_id, "groove") for preset_id in "def"]
    assert (merged.v0.version, merged.v1.version, merged.v1.pack) == ("v0", "v1", "big")


def test_the_files_say_what_they_were_made_of() -> None:
    merged = merge_batches("big", [SLOW, FAST], NOW)
    assert merged.v1.to_json()["batches"] == [
        {"batch": "big/batch-0001", "fingerprint": "f" * 16},
        {"batch": "big/batch-0002", "fingerprint": "f" * 16},
    ]


def test_merging_leaves_the_batches_as_they_are() -> None:
    merge_batches("big", [SLOW, FAST], NOW)
    assert {entry.energy for entry in SLOW.v1.entries} == {"peak"}
    assert SLOW.v1.entries[0].tags == ["cluster:c00", "energy:peak"]


def test_nothing_accepted_nothing_published() -> None:
    with pytest.raises(UserError, match="no accepted batch"):
        merge_batches("big", [], NOW)


def test_frames_of_two_fingerprints_never_lie_in_one_index() -> None:
    with pytest.raises(UserError, match="never lie in one index"):
        merge_batches("big", [SLOW, dataclasses.replace(FAST, fingerprint="0" * 16)], NOW)


def test_rows_of_two_models_never_mix() -> None:
    other = dataclasses.replace(FAST, card=embeddings_meta(3, 8, weights_sha256="f" * 64).card)
    with pytest.raises(UserError, match="never mix") as raised:
        merge_batches("big", [SLOW, other], NOW)
    for part in ("batch big/batch-0001", "batch big/batch-0002", "weightsSha256", "aivj profile big"):
        assert part in str(raised.value), part


def test_a_preset_in_two_batches_is_named_with_both() -> None:
    twice = batch("big/batch-0003", {"b": 0.5})
    with pytest.raises(UserError, match=r"'b' is in big/batch-0001 and in big/batch-0003"):
        merge_batches("big", [SLOW, FAST, twice], NOW)
