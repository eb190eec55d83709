"""What a rejected, stale or tampered batch can reach: nothing, in whatever run it is tried."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from aivj_assets.contracts.manifest import Manifest
from aivj_assets.layout import BatchKey
from aivj_assets.orchestration.stages import STAGES

DOWNSTREAM = [name for name in STAGES if name not in ("presets", "frames")]


def rewrite_manifest(cli, pack: str, change) -> None:
    path = cli.root.manifest(BatchKey(pack))
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")


def test_a_pack_of_one_preset_in_many_copies_is_rejected_and_stays_so(fresh, presets_source, tmp_path) -> None:
    one = sorted((presets_source / "presets" / "converted").glob("Flexi*.json"))[0]
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
    assert not folder.embeddings.exists()
    # A later run that asks for a downstream asset alone is refused too, however far down.
    for stage in ("embeddings", "run_record"):
        alone = fresh.run("same", "--only", stage)
        assert alone.returncode == 1
        assert "rejected by top_same" in alone.stdout
        assert "Traceback" not in alone.stdout + alone.stderr
    assert fresh("publish", "same").returncode == 1
    assert not list(fresh.root.pack_dir("same").glob("aivj-*"))
    told = fresh("gates", "same")
    assert told.returncode == 1
    assert "rejected" in told.stdout


@pytest.mark.parametrize("stage", DOWNSTREAM)
def test_tampered_frames_stop_every_asset_below(copied, stage) -> None:
    index = copied.batch("live").frames_index
    lines = index.read_text(encoding="utf-8").splitlines(keepends=True)
    index.write_text("".join(lines[:-1]), encoding="utf-8", newline="\n")
    done = copied.run("live", "--only", stage)
    assert done.returncode == 1
    assert "refuses 'frames': its files have changed since they were materialised" in done.stdout


def test_a_changed_manifest_makes_everything_below_stale(copied) -> None:
    rewrite_manifest(copied, "live", lambda manifest: manifest["presets"].pop())
    assert copied.run("live", "--only", "presets").returncode == 0
    done = copied.run("live", "--only", "style_policy")
    assert done.returncode == 1
    assert "refuses 'frames': it is stale: 'presets' has changed since" in done.stdout


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


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda text: text[:-30], "is not JSON"),
        (lambda text: text.replace('"v3"', '"v9"', 1), "version"),
        (lambda text: json.dumps({**json.loads(text), "presets": json.loads(text)["presets"] * 2}), "more than once"),
    ],
    ids=["torn", "unknown-version", "duplicate-ids"],
)
def test_a_bad_manifest_is_one_line_and_nothing_is_rendered(fresh, presets_source, spoil, line) -> None:
    assert fresh("pack", "import", str(presets_source), "--pack", "bad", "--limit", "2").returncode == 0
    path = fresh.root.manifest(BatchKey("bad"))
    path.write_text(spoil(path.read_text(encoding="utf-8")), encoding="utf-8")
    done = fresh.run("bad")
    assert done.returncode != 0
    assert line in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not fresh.batch("bad").frames_index.exists()


def test_an_unreachable_hub_is_an_error_before_anything_is_rendered(fresh, presets_source, monkeypatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(fresh.root.path / "empty-cache"))
    assert fresh("pack", "import", str(presets_source), "--pack", "hub", "--limit", "2").returncode == 0
    done = fresh("run", "hub", "--embedder", "openclip")
    assert done.returncode == 1
    assert "HF_ENDPOINT" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not fresh.batch("hub").frames_dir.exists()
