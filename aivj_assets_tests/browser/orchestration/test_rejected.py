"""What a rejected, stale or tampered batch can reach: nothing, in whatever run it is tried."""

from __future__ import annotations

import json
import os
import shutil

import dagster as dg
import pytest

from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.definitions import ASSETS
from aivj_assets.layout import BatchKey
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.launch import explain_run
from aivj_assets.orchestration.resources import DataRootResource, EmbedderResource, GuardResource, RendererResource
from aivj_assets.orchestration.stages import STAGES

DOWNSTREAM = [name for name in STAGES if name not in ("presets", "frames")]


def rewrite_manifest(cli, pack: str, change) -> None:
    path = cli.root.manifest(BatchKey(pack))
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def materialise_alone(cli, batch: str, stage: str) -> tuple[bool, list[str]]:
    """Materialise one asset of a batch in a run of its own, as the UI's button does; returns success and reasons."""
    with open_instance(cli.root, {}) as instance:
        done = dg.materialize(
            ASSETS,
            selection=[stage],
            partition_key=batch,
            instance=instance,
            resources={
                "data_root": DataRootResource(path=str(cli.root.path)),
                "guard": GuardResource(),
                "renderer": RendererResource(),
                "embedder": EmbedderResource(model="efficientnet-lite0"),
            },
            raise_on_error=False,
        )
        return done.success, explain_run(instance, done.run_id)[0]


def test_a_pack_of_one_preset_in_many_copies_is_rejected_and_stays_so(fresh, presets_source, tmp_path) -> None:
    one = min((presets_source / "presets" / "converted").glob("Flexi*.json"))
    source = tmp_path / "same"
    source.mkdir()
    for number in range(8):
        shutil.copyfile(one, source / f"copy {number}.json")
    assert fresh("pack", "import", str(source), "--pack", "same").returncode == 0
    done = fresh.run("same")
    assert done.returncode == 1
    assert "top_same is 1" in done.stdout
    assert "luma_range is 0" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    folder = fresh.batch("same")
    assert folder.frames_index.exists()
    # A later run that asks for a downstream asset alone is refused too, however far down.
    alone = fresh.run("same", "--only", "embeddings")
    assert alone.returncode == 1
    assert "'embeddings' refuses 'frames': it is rejected by top_same" in alone.stdout
    assert "Traceback" not in alone.stdout + alone.stderr
    for stage in DOWNSTREAM:
        success, problems = materialise_alone(fresh, "same", stage)
        assert not success
        assert "rejected by top_same" in problems[0]
    success, problems = materialise_alone(fresh, "same", "publication")
    assert not success
    assert "no accepted batch" in problems[0]
    assert not folder.embeddings.exists()
    assert not list(fresh.root.pack_dir("same").glob("aivj-*"))
    told = fresh("gates", "same")
    assert told.returncode == 1
    assert "rejected" in told.stdout
    # No parameter helps copies of one preset, and the command says so.
    remedy = fresh("remedy", "same")
    assert remedy.returncode == 1
    assert "are copies of 1: import with --dedupe" in remedy.stdout
    # A person may look all the same: marked, unpublished, as rejected as before.
    looked = fresh.run("same", "--allow-unaccepted", "what are they?")
    assert looked.returncode == 0, looked.stdout
    assert "never published" in looked.stdout
    assert json.loads(folder.run_meta.read_bytes())["unaccepted"]["reason"] == "what are they?"
    assert not list(fresh.root.pack_dir("same").glob("aivj-*"))
    assert not fresh.root.find_lineages()
    assert fresh("gates", "same").returncode == 1


def test_each_asset_alone_refuses_frames_that_were_tampered_with(copied) -> None:
    index = copied.batch("live").frames_index
    lines = index.read_text(encoding="utf-8").splitlines(keepends=True)
    index.write_text("".join(lines[:-1]), encoding="utf-8", newline="\n")
    for stage in DOWNSTREAM:
        success, problems = materialise_alone(copied, "live", stage)
        assert not success, stage
        assert "refuses 'frames': its files have changed since they were materialised" in problems[0]


def test_a_changed_manifest_makes_everything_below_stale(copied) -> None:
    rewrite_manifest(copied, "live", lambda manifest: manifest["presets"].pop())
    assert materialise_alone(copied, "live", "presets") == (True, [])
    for stage in DOWNSTREAM:
        success, problems = materialise_alone(copied, "live", stage)
        assert not success, stage
        assert "refuses 'frames': it is stale: 'presets' has changed since" in problems[0]


def test_an_asset_alone_is_made_again_when_all_above_it_is_accepted(copied) -> None:
    copied.batch("live").style_policy.unlink()
    assert materialise_alone(copied, "live", "style_policy") == (True, [])
    assert copied.batch("live").style_policy.exists()


def test_a_packs_settings_hold_for_every_button_and_ids_are_not_used_for_other_styles(copied) -> None:
    before = Clusters.load(copied.batch("live").clusters)
    assert materialise_alone(copied, "live", "clusters") == (True, [])
    assert Clusters.load(copied.batch("live").clusters) == before
    settings = copied.root.pack_dir("live") / "aivj-pack.json"
    settings.write_text(json.dumps({"clusters": {"k": 4}}), encoding="utf-8")
    assert materialise_alone(copied, "live", "clusters") == (True, [])
    after = Clusters.load(copied.batch("live").clusters)
    assert after.k == 4
    assert {cluster.id for cluster in after.clusters}.isdisjoint({cluster.id for cluster in before.clusters})


def test_frames_materialised_again_count_only_after_their_checks_ran_again(copied) -> None:
    """In a run without the checks nothing says that the new frames hold the gates."""
    with open_instance(copied.root, {}) as instance:
        frames = instance.fetch_materializations(dg.AssetKey("frames"), limit=1).records[0].asset_materialization
        assert frames is not None
        instance.report_runless_asset_event(frames)
    success, problems = materialise_alone(copied, "live", "embeddings")
    assert not success
    assert "has no result for the current materialisation" in problems[0]


def test_half_broken_presets_count_in_the_ok_rate_and_each_has_its_reason(fresh, presets_source) -> None:
    imported = fresh("pack", "import", str(presets_source), "--pack", "half", "--limit", "8", "--seed", "2")
    assert imported.returncode == 0
    manifest = Manifest.load(fresh.root.manifest(BatchKey("half")))
    files = [fresh.root.preset_file(preset.rel_path) for preset in manifest.presets]
    files[0].unlink()
    files[1].write_bytes(b"")
    files[2].write_bytes(b"\0" * 100)
    with files[3].open("wb") as file:
        os.truncate(file.fileno(), 50 * 1024 * 1024)
    rewrite_manifest(fresh, "half", lambda data: data["presets"][4].update(relPath="../../outside.json"))
    files[5].write_text("{ no preset", encoding="utf-8")
    done = fresh.run("half")
    assert done.returncode == 1
    assert "ok_rate is 0.25" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    records = [json.loads(line) for line in fresh.batch("half").frames_index.read_text(encoding="utf-8").splitlines()]
    assert [record.get("reasons", ["ok"])[0] for record in records] == [
        "read-failed",
        "empty",
        "binary-nul",
        "read-failed",
        "read-failed",
        "preset-load-failed",
        "ok",
        "ok",
    ]


def test_a_torn_manifest_is_one_line_and_nothing_is_rendered(fresh, presets_source) -> None:
    assert fresh("pack", "import", str(presets_source), "--pack", "bad", "--limit", "2").returncode == 0
    path = fresh.root.manifest(BatchKey("bad"))
    path.write_text(path.read_text(encoding="utf-8")[:-30], encoding="utf-8")
    done = fresh.run("bad")
    assert done.returncode == 2
    assert "is not JSON" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not fresh.batch("bad").path.exists()


def test_an_unreachable_hub_is_an_error_before_anything_is_rendered(fresh, presets_source, monkeypatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(fresh.root.path / "empty-cache"))
    assert fresh("pack", "import", str(presets_source), "--pack", "hub", "--limit", "2").returncode == 0
    done = fresh("run", "hub", "--embedder", "openclip")
    # A user's mistake, told before a run is started: one line.
    assert done.returncode == 2
    assert "HF_ENDPOINT" in done.stderr
    assert "local checkpoint" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert not fresh.batch("hub").frames_dir.exists()


@pytest.mark.parametrize("setting", ["warmupFrame=3", "captureCount=none", "fixedStepFps=0"])
def test_a_wrong_rendering_parameter_is_one_line(fresh, presets_source, setting) -> None:
    assert fresh("pack", "import", str(presets_source), "--pack", "set", "--limit", "1").returncode == 0
    done = fresh("run", "set", "--set", setting)
    assert done.returncode == 2
    assert setting.partition("=")[0] in done.stderr
    assert "Traceback" not in done.stderr
