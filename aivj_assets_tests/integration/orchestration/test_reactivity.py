"""What stops a measurement of reactivity before anything is rendered: one line each."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from aivj_assets.contracts.reactivity import Reactivity
from aivj_assets.layout import DataRoot
from aivj_assets.orchestration.assets.reactivity import reactivity
from aivj_assets.orchestration.commands.reactivity import summary
from aivj_assets.orchestration.file_lock import held_lock
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.launch import explain_run
from aivj_assets.orchestration.partitions import PACKS
from aivj_assets.orchestration.resources import DataRootResource, RendererResource
from aivj_assets_tests.builders import NOW, style_index, write_batch
from aivj_assets_tests.integration.orchestration.conftest import Says


def problem(root: DataRoot) -> str:
    """Return why the asset of the pack cannot be made."""
    publication = dg.AssetSpec("publication", partitions_def=PACKS)
    with open_instance(root, {}) as instance:
        instance.add_dynamic_partitions(str(PACKS.name), ["pack"])
        result = dg.materialize(
            [reactivity, publication], partition_key="pack", instance=instance, raise_on_error=False,
            selection=["reactivity"],
            resources={"data_root": DataRootResource(path=str(root.path)), "renderer": RendererResource()},
        )  # fmt: skip
        assert not result.success
        (line,) = explain_run(instance, result.run_id)[0]
    return line


def test_a_pack_that_is_not_published_is_sent_there(root: DataRoot) -> None:
    write_batch(root, "pack", 6)
    assert problem(root) == "Pack 'pack' is not published, so that there is nothing to pick from: aivj run pack"


def test_presets_of_batches_that_are_not_accepted_are_never_tried(root: DataRoot) -> None:
    write_batch(root, "pack", 6)
    style_index("pack", {f"p{number:03d}": "calm" for number in range(6)}).save(root.published_files("pack")[-1])
    assert problem(root) == "Pack 'pack' has no published preset of an accepted batch: aivj publish pack first."
    assert not root.audio_style_dir("pack").exists()


@pytest.mark.parametrize("value", ["synthetic:polka", "gone.wav", "file:gone.wav"])
def test_a_sound_that_there_is_not_is_refused_before_anything_starts(root: DataRoot, says: Says, value: str) -> None:
    write_batch(root, "pack", 6)
    status, out, err = says("reactivity", "pack", "--audio", value)
    assert (status, out) == (2, "")
    assert err.startswith(f"Error: '{value}' is neither a sound (synthetic, synthetic:pulse, ")
    assert err.count("\n") == 1


def test_an_unknown_pack_is_one_line(root: DataRoot, says: Says) -> None:
    status, _, err = says("reactivity", "nobody")
    assert status == 2
    assert "nobody" in err
    assert err.count("\n") == 1


def test_the_summary_says_who_follows_who_does_not_hear_and_what_is_missing_whenever_it_was() -> None:
    score = {"score": 0.5, "control": 0.1, "other": 0.2, "p": 0.01, "motion_silence": 0.1, "motion_audio": 0.2}
    entries = [
        {"preset_id": "a", "cluster": "c00", "audios": [], "q": 0.01, "difference": 0.1, "reactive": True, **score},
        {"preset_id": "b", "cluster": "c01", "audios": [], "q": 0.9, "difference": 0.0, "reactive": False, **score},
    ]
    clusters = [
        {"cluster": f"c0{n}", "presets": 1, "reactive": 1 - n, "share_fraction": 1 - n, "mean_score": 0.5, "scores": {}}
        for n in (0, 1)
    ]
    method = {"envelopes": [], "lags_s": [], "shifts": 9, "alpha": 0.05, "min_difference": 0.002, "seed": 1}
    report = Reactivity.model_validate(
        {
            "generated_at": NOW, "pack": "pack", "seed": 1, "requested": 3, "batches": ["pack"], "parameters": {},
            "audios": [{"name": "pulse", "audio": "synthetic:pulse", "sha256": "0" * 64, "duration_s": 8}],
            "method": method, "entries": entries, "clusters": clusters, "reactive_fraction": 0.5, "duration_s": 61,
            "failed": [{"preset_id": "c", "cluster": "c00", "reasons": ["pulse: probe-timeout"]}],
            "left_out": {"pack/batch-0002": "it is not accepted"},
        }
    )  # fmt: skip
    later = report.model_copy(update={"generated_at": "2027-01-01T00:00:00.000Z", "duration_s": 9.0})
    assert later.digest == report.digest
    assert report.model_copy(update={"seed": 2}).digest != report.digest
    first, *more = summary(report)
    assert first.startswith("1 of 2 presets follow the sound (pulse beside silence; at most 5% of them by chance); ")
    assert first.endswith("; 1 do not hear it at all. 61 s.")
    assert more == [
        "1 presets could not be rendered under every sound.",
        "Clusters: 1 of 2 with every preset of the sample, 1 with none.",
        "Batch pack/batch-0002 does not count: it is not accepted",
    ]


def test_two_measurements_of_a_pack_do_not_meet(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    from aivj_assets.orchestration.assets import reactivity as module

    monkeypatch.setattr(module, "_LOCK_TIMEOUT_S", 0.1)
    place: Path = root.reactivity_lock("pack")
    refused = pytest.raises(module.UserError, match="another run measures its reactivity")
    with held_lock(place), refused, module._alone(root, "pack"):
        pass
