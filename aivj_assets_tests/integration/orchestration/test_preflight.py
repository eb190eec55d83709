"""What a batch is refused for before anything of it changes, on a real instance."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.frames_index import read_records, write_records
from aivj_assets.contracts.manifest import Manifest
from aivj_assets.contracts.render_parameters import RenderParameters
from aivj_assets.embed.choose import EmbedderChoice
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.preflight import (
    Preflight,
    findings_table,
    look_before_rendering,
    needs_of_batch,
    preflight_metadata,
    verdict,
)
from aivj_assets.render.environment import RenderEnvironment
from aivj_assets_tests.builders import write_index, write_manifest

BATCH = BatchKey("pack")
IDS = [f"p{number}" for number in range(20)]


@pytest.fixture
def instance(root: DataRoot) -> Iterator[dg.DagsterInstance]:
    write_manifest(root, "pack", IDS)
    with open_instance(root, {}) as opened:
        yield opened


def no_browser() -> RenderEnvironment:
    raise UserError("No browser was found: install one.")


def look(
    instance: dg.DagsterInstance, root: DataRoot, parameters: RenderParameters | None = None, model: str = "none.pt"
) -> Preflight:
    return look_before_rendering(
        instance,
        root,
        BATCH,
        Manifest.load(root.manifest(BATCH)).presets,
        parameters or RenderParameters(),
        environment=no_browser,
        choose=lambda: EmbedderChoice("ViT-B-32", model),
        device="cpu",
        precision="auto",
    )


def named(found: Preflight) -> dict[str, str]:
    return {finding.name: verdict(finding) for finding in found.findings}


def test_all_that_stops_a_batch_is_one_line_and_nothing_is_made(instance: dg.DagsterInstance, root: DataRoot) -> None:
    root.own_dir.write_text("a file")
    found = look(instance, root)
    with pytest.raises(UserError) as caught:
        found.require()
    text = str(caught.value)
    assert text.startswith("Batch pack was not started and nothing was changed. write access: ")
    for part in (".aivj is a file", "; model: 'none.pt' is neither", "; browser: No browser was found: install one."):
        assert part in text
    assert "\n" not in text
    assert not root.batch(BATCH).path.exists()
    assert list(root.path.rglob("*preflight*")) == []


def test_a_clock_that_was_set_back_stops_the_batch(instance: dg.DagsterInstance, root: DataRoot) -> None:
    folder = write_index(root, "pack", IDS)
    assert named(look(instance, root))["clock"] == "ok"
    records = read_records(folder.frames_index)
    ahead = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    records["p3"] = records["p3"].model_copy(update={"at": ahead})
    # Not merged yet: a log of a rendering that was stopped counts too.
    write_records(folder.shard_logs_dir / "s0000_1.jsonl", [records["p3"]])
    assert named(look(instance, root))["clock"] == "failed"
    assert named(look(instance, root, RenderParameters(resume=False)))["clock"] == "warning"
    assert (folder.shard_logs_dir / "s0000_1.jsonl").exists()


def test_a_materialisation_of_the_future_stops_the_batch(
    instance: dg.DagsterInstance, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("frames", partition="pack"))
    assert named(look(instance, root))["clock"] == "ok"

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(days=1)

    monkeypatch.setattr("aivj_assets.orchestration.preflight.datetime", Yesterday)
    (clock,) = [finding for finding in look(instance, root).findings if finding.name == "clock"]
    assert not clock.passed
    assert "the batch's last materialisation is of" in clock.detail


def test_an_index_that_cannot_be_read_is_a_finding_with_its_line(instance: dg.DagsterInstance, root: DataRoot) -> None:
    folder = write_index(root, "pack", IDS)
    folder.frames_index.write_bytes(b"{}\n" + folder.frames_index.read_bytes())
    found = look(instance, root)
    assert named(found)["index"] == "failed"
    with pytest.raises(UserError, match=r"index: .*line 1 is not as agreed"):
        found.require()


def needed(root: DataRoot, **parameters: object) -> dict[str, int]:
    folder = root.batch(BATCH)
    needs = needs_of_batch(
        root,
        folder,
        Manifest.load(root.manifest(BATCH)).presets,
        read_records(folder.frames_index),
        parameters=RenderParameters.model_validate(parameters),
        digest="now",
        storage=Path("storage"),
        dim=512,
    )
    return {need.what: need.size_bytes for need in needs}


def test_the_need_is_what_has_no_record_of_today(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIVJ_EMBEDDING_CACHE_GB", raising=False)
    write_manifest(root, "pack", IDS)
    whole = needed(root)
    assert whole["frames"] == pytest.approx(20 * 40_000, rel=0.01)
    assert whole["embeddings"] == 20 * 512 * 4
    assert whole["vectors kept by content"] == 20 * 3 * 512 * 4
    folder = write_index(root, "pack", IDS)
    records = read_records(folder.frames_index)
    # Of another fingerprint: rendered again, and what lies there gives way.
    assert 0 < needed(root)["frames"] < whole["frames"]
    write_records(
        folder.frames_index, [record.model_copy(update={"fingerprint": "now"}) for record in records.values()]
    )
    assert needed(root) == {}
    assert needed(root, resume=False)["embeddings"] == whole["embeddings"]
    monkeypatch.setenv("AIVJ_EMBEDDING_CACHE_GB", "0")
    assert needed(root, resume=False)["vectors kept by content"] == 0


def test_the_table_shows_every_finding_and_how_long_it_took() -> None:
    findings = [
        Finding("disk", passed=True, detail="enough | more"),
        Finding("WebGL", passed=False, detail="software", severity="warning"),
        Finding("clock", passed=False, detail="1970"),
    ]
    table = findings_table(findings)
    assert [line.split(" | ")[1] for line in table.splitlines()[2:]] == ["ok", "warning", "failed"]
    shown = preflight_metadata(Preflight(BATCH, findings, None, 2.345).facts())["preflight"]
    assert shown.value == f"{table}\n\nin 2.3 s"
