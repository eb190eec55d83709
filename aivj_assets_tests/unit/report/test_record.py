from pathlib import Path

import pytest

from aivj_assets.contracts.embeddings import EmbeddingsMeta
from aivj_assets.contracts.run_meta import QaVerdict, RunMeta
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.report.record import build_run_record, package_versions
from aivj_assets_tests.builders import write_batch, write_index

BATCH = BatchKey("pack")


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    root = DataRoot(tmp_path)
    write_batch(root, "pack", 20)
    return root


def record(root: DataRoot) -> RunMeta:
    return build_run_record(root, BATCH, run_id="run-1", durations_s={"frames": 12.5}, inputs={"frames": "a" * 64})


def test_the_record_holds_what_decided_the_batch(root: DataRoot) -> None:
    made = record(root)
    assert (made.batch, made.run_id, made.durations_s, made.inputs_sha256) == (
        "pack",
        "run-1",
        {"frames": 12.5},
        {"frames": "a" * 64},
    )
    assert made.pixel_parameters["renderer"] == "llvmpipe (test)"
    assert made.pixel_parameters["warmupFrames"] == 60
    assert made.operational_parameters["timeoutMs"] == 30_000
    assert (made.renderer_class, made.browser_version, made.embedding_model["model"]) == (
        "llvmpipe",
        "140.0",
        "test-model",
    )
    assert (made.k, made.k_reason) == (2, "as asked")
    assert made.counts == {
        "presets": 20,
        "ok": 20,
        "failed": 0,
        "embedded": 20,
        "leftOut": 0,
        "uniqueFirstFrames": 20,
        "indexed": 20,
    }
    assert made.energies == {"calm": 7, "groove": 7, "peak": 6}
    assert made.packages["dagster"].startswith("1.13.")
    assert set(made.platform) == {"system", "python", "machine"}


def test_presets_without_an_embedding_are_counted_by_reason(root: DataRoot) -> None:
    path = root.batch(BATCH).embeddings_meta
    left_out = {
        "p000": "frame-001.webp: missing on disk",
        "p001": "frame-000.webp: missing on disk",
        "p002": "odd: one",
    }
    EmbeddingsMeta.load(path).model_copy(update={"left_out": left_out, "count": 17}).save(path)
    made = record(root)
    assert (made.counts["embedded"], made.counts["leftOut"]) == (17, 3)
    assert made.left_out_top == [("missing on disk", 2), ("odd: one", 1)]


def test_a_record_of_an_earlier_version_still_reads(root: DataRoot, tmp_path: Path) -> None:
    content = record(root).to_json()
    del content["leftOutTop"]
    assert RunMeta.model_validate(content).left_out_top == []


def test_every_gate_is_recorded_with_value_threshold_and_verdict(root: DataRoot) -> None:
    write_index(
        root, "pack", [f"p{number:03d}" for number in range(20)], failed={"p000": "watchdog", "p001": "watchdog"}
    )
    made = record(root)
    lines = {line.gate: (line.value, line.comparison, line.threshold, line.passed) for line in made.gates}
    assert lines == {
        "ok_rate": (0.9, ">=", 0.95, False),
        "top_same": (1 / 18, "<", 0.2, True),
        "luma_range": (0.7, ">", 0.3, True),
        "motion_range": (0.39, ">", 0.05, True),
    }
    assert made.failure_reasons_top == [("watchdog", 2)]
    assert made.gates[0].evidence == {"ok": 18, "failed": 2, "presets": 20}


def test_the_record_survives_its_file(root: DataRoot, tmp_path: Path) -> None:
    made = record(root)
    made.save(tmp_path / "run-meta.json")
    assert RunMeta.load(tmp_path / "run-meta.json") == made


def test_a_person_s_verdict_outlives_a_new_run(root: DataRoot) -> None:
    path = root.batch(BATCH).run_meta
    first = record(root)
    assert first.qa.state == "open"
    verdict = QaVerdict(state="reviewed", verdict="mixed", reviewer="Ada", reviewed_at="2026-02-01", note="c01 is dull")
    first.model_copy(update={"qa": verdict}).save(path)
    assert record(root).qa == verdict


def test_only_the_commonest_reasons_are_listed(root: DataRoot) -> None:
    ids = [f"p{number:03d}" for number in range(20)]
    failed = {preset_id: f"reason-{number}" for number, preset_id in enumerate(ids[:12])} | {"p012": "reason-3"}
    write_index(root, "pack", ids, failed=failed)
    top = record(root).failure_reasons_top
    assert len(top) == 10
    assert top[0] == ("reason-3", 2)


@pytest.mark.parametrize("name", ["frames_meta", "embeddings_meta", "clusters"])
def test_a_missing_file_is_named(root: DataRoot, name: str) -> None:
    path: Path = getattr(root.batch(BATCH), name)
    path.unlink()
    with pytest.raises(UserError, match="does not exist") as raised:
        record(root)
    assert str(path) in str(raised.value)


def test_versions_are_those_installed() -> None:
    found = package_versions()
    assert {"dagster", "numpy", "torch", "pillow"} <= set(found)
    assert all(text[0].isdigit() for text in found.values())
