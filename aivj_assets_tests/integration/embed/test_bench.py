"""`aivj bench embed` and `aivj cache`: what a user sees, with a tiny model and with the offline one."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from aivj_assets.cli import app as cli
from aivj_assets.contracts import embeddings
from aivj_assets.contracts.frames_index import OkRecord, read_records
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets_tests.builders import write_index, write_manifest
from aivj_assets_tests.embedding_builders import TINY_NAME

IDS = [f"pack-{number:02d}" for number in range(12)]


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    made = DataRoot(tmp_path / "root")
    write_manifest(made, "pack", IDS, files=False)
    write_index(made, "pack", IDS, captures=3)
    return made


def says(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["aivj", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


def bench(capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    file = tmp_path / "figures.json"
    status, out, err = says(capsys, "bench", "embed", *arguments, "--json", str(file))
    assert (status, err) == (0, "")
    return json.loads(file.read_text(encoding="utf-8")), out


def test_the_rates_stand_beside_each_other(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures, out = bench(
        capsys, tmp_path, "--embedder", TINY_NAME, "--pretrained", str(checkpoint), "--images", "48", "--device", "cpu"
    )
    assert (figures["images"], figures["presets"]) == (48, 16)
    assert figures["ratio"] == pytest.approx(figures["endToEndImagesPerS"] / figures["forwardImagesPerS"], rel=0.02)
    assert figures["ratioReached"] == (figures["ratio"] >= 0.9)
    assert len(figures["forwardBlocksImagesPerS"]) == 2
    assert figures["knownImagesPerS"] > 0
    assert figures["peakRssBytes"] > 10**8
    assert figures["precision"]["dtype"] in out
    assert f"{figures['endToEndImagesPerS']:.1f}" in out
    assert re.search(r"end to end / model alone: \d", out)


def test_the_frames_of_a_batch_are_used_as_they_are(
    checkpoint: Path, root: DataRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(root.path.rglob("*"))
    figures, _ = bench(
        capsys, tmp_path, "pack", "--root", str(root.path), "--embedder", TINY_NAME, "--pretrained", str(checkpoint)
    )
    assert figures["presets"] == 12
    assert sorted(root.path.rglob("*")) == before


def test_a_first_frame_that_is_torn_is_passed_over(
    checkpoint: Path, root: DataRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = read_records(root.batch(BatchKey("pack")).frames_index)[IDS[0]]
    assert isinstance(first, OkRecord)
    path = root.batch(BatchKey("pack")).path / first.frames[0]
    path.write_bytes(path.read_bytes()[:40])
    figures, _ = bench(
        capsys, tmp_path, "pack", "--root", str(root.path), "--embedder", TINY_NAME, "--pretrained", str(checkpoint),
        "--device", "auto",
    )  # fmt: skip
    assert (figures["presets"], figures["leftOut"]) == (11, 1)
    assert figures["readAndDecodeMs"] > 0


@pytest.fixture
def mapped_files_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where a file whose rows are mapped cannot be replaced."""

    def replace_unmapped(source: Path, target: Path) -> None:
        mapped = {line.rpartition(" ")[2] for line in Path("/proc/self/maps").read_text().splitlines()}
        if str(target) in mapped:
            raise PermissionError(13, "a mapped file cannot be replaced", str(target))
        source.replace(target)

    monkeypatch.setattr(embeddings, "replace_file", replace_unmapped)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the maps of a process are Linux's")
@pytest.mark.usefixtures("mapped_files_stay")
@pytest.mark.parametrize("more", [[], ["--quality"]])
def test_no_file_is_replaced_while_it_is_mapped(
    checkpoint: Path, root: DataRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    for _ in range(2):
        figures, _ = bench(
            capsys, tmp_path, "pack", *more, "--root", str(root.path), "--embedder", TINY_NAME,
            "--pretrained", str(checkpoint),
        )  # fmt: skip
        assert figures["presets"] == 12


def test_quality_is_told_by_group_and_keeps_the_vectors(
    checkpoint: Path, root: DataRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures, out = bench(
        capsys, tmp_path, "pack", "--quality", "--root", str(root.path), "--embedder", TINY_NAME,
        "--pretrained", str(checkpoint),
    )  # fmt: skip
    group = figures["groups"]["all"]
    assert group["presets"] == 12
    assert 0 <= group["retrievalAt1"] <= 1
    assert "R@1" in out
    assert not (root.path / "artifacts" / "aivj" / "pack" / "embeddings.npy").exists()

    shown = says(capsys, "cache", "show", "--root", str(root.path))[1]
    assert re.search(rf"{TINY_NAME} \(float32\): [1-9]\d* frames", shown)
    assert "of 8 GB" in shown
    assert "Removed 0.000 GB" in says(capsys, "cache", "clear", "--unused-for", "1", "--root", str(root.path))[1]
    assert list(root.embedding_cache_dir.rglob("*.npz"))
    says(capsys, "cache", "clear", "--root", str(root.path))
    assert not list(root.embedding_cache_dir.rglob("*.npz"))
    assert TINY_NAME not in says(capsys, "cache", "show", "--root", str(root.path))[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--quality"], "name a rendered batch"),
        (["nosuch"], "There is no batch 'nosuch'"),
        (["empty"], "is not rendered; run it first: aivj run empty"),
        (["pack", "--device", "quantum"], "no device of PyTorch"),
        (["pack", "--precision", "int3"], "no precision"),
        (["pack", "--embedder", "ViT-Z"], "no model 'ViT-Z'"),
    ],
)
def test_a_mistake_is_one_line(
    root: DataRoot, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    write_manifest(root, "empty", ["empty-1"], files=False)
    status, _, err = says(capsys, "bench", "embed", *arguments, "--root", str(root.path))
    assert status == cli.EXIT_USER
    assert words in err
    assert err.count("\n") == 1
