"""What the UI shows of embeddings: figures, and two pictures small enough for Dagster's event log."""

import base64
import hashlib
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aivj_assets.contracts.embeddings import Embeddings, Precision, load_embeddings, save_embeddings
from aivj_assets.contracts.frames_index import read_records
from aivj_assets.embed.cache import FrameVectorCache
from aivj_assets.embed.embed import FrameSource
from aivj_assets.layout import BatchDir, BatchKey, DataRoot
from aivj_assets.orchestration import embedding_facts as module
from aivj_assets.orchestration.embedding_facts import embedding_facts, neighbour_sheet
from aivj_assets.report.pictures import Tile
from aivj_assets_tests.builders import embeddings_meta, write_index, write_manifest

BATCH = BatchKey("pack")


def make(root: DataRoot, count: int, *, left_out: int = 0) -> tuple[BatchDir, Embeddings]:
    """Presets on a circle: the neighbours of a preset are those with the numbers beside its own."""
    ids = [f"p{number:03d}" for number in range(count + left_out)]
    write_manifest(root, "pack", ids, files=False, labels={preset_id: f"The {preset_id}" for preset_id in ids})
    folder = write_index(root, "pack", ids, captures=2)
    angles = np.linspace(0, np.pi, count, endpoint=False)
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    missing = dict.fromkeys(ids[count:], "frame-001.webp: missing on disk")
    meta = embeddings_meta(count, 2, left_out=missing, images_per_s=12.5, device="cpu")
    save_embeddings(folder, Embeddings(rows, ids[:count], meta))
    return folder, load_embeddings(folder)


def source_of(folder: BatchDir, embeddings: Embeddings) -> FrameSource:
    records = read_records(folder.frames_index)
    return FrameSource.of_batch(folder, records, embeddings.preset_ids, frames_index_sha256="f" * 64)


def decoded(markdown: str) -> Image.Image:
    found = re.fullmatch(r"!\[[^\[\]]*\]\(data:image/webp;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert found
    return Image.open(io.BytesIO(base64.b64decode(found[1])))


def test_figures_and_pictures(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    folder, embeddings = make(root, 40, left_out=30)
    facts = embedding_facts(root, BATCH, source_of(folder, embeddings), embeddings)
    expected = {
        "model": "test-model", "dim": 2, "presets": 40, "left_out": 30, "images_per_s": 12.5, "device": "cpu",
        "precision": "float32",
    }  # fmt: skip
    assert {name: facts[name] for name in expected} == expected
    # A half circle: sin varies by less than cos.
    angles = np.linspace(0, np.pi, 40, endpoint=False)
    spread = np.linalg.eigvalsh(np.cov(np.stack([np.cos(angles), np.sin(angles)])))
    assert facts["effective_dimension"] == pytest.approx(spread.sum() ** 2 / (spread**2).sum(), abs=0.01)
    assert facts["near_identical_fraction"] == 0.0
    assert facts["card"].value == embeddings.meta.card.to_json()
    # No frame's vector is known here: what needs them is left open, the rest is there.
    assert "retrieval_at_1" not in facts
    assert "| all | 40 | - | 0.0% |" in facts["quality"].value
    assert "R@1 '-': the frames' vectors are not kept." in facts["quality"].value
    # What a person wants first: which model, how many, how good; lists that fill a screen at the end.
    names = list(facts)
    assert names[:4] == ["model", "pretrained", "presets", "left_out"]
    assert names.index("quality") < names.index("nearest_neighbours") < names.index("device")
    assert names[-2:] == ["left_out_examples", "card"]
    examples = facts["left_out_examples"].value
    assert len(examples) == 20
    assert set(examples.values()) == {"frame-001.webp: missing on disk"}
    assert decoded(facts["cosines"].value).size == (720, 300)
    sheet = decoded(facts["nearest_neighbours"].value)
    assert sheet.width > 6 * 160
    assert sum(len(str(getattr(value, "value", value))) for value in facts.values()) < 300_000


def test_the_frames_vectors_tell_how_well_presets_are_found_again(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    folder, embeddings = make(root, 12)
    records = read_records(folder.frames_index)
    cache = FrameVectorCache(root.embedding_cache_dir, embeddings.meta.card, embeddings.meta.dtype)
    for row, preset_id in enumerate(embeddings.preset_ids):
        for position, name in enumerate(records[preset_id].frames):  # type: ignore[union-attr]
            # A file of its own, and a vector beside the row's; the last preset's second frame lies far away, so
            # that its first one has a neighbour of another preset.
            data = f"{preset_id} {position}".encode()
            (folder.path / name).write_bytes(data)
            angle = row * np.pi / 12 + 0.01 * position + (1.5 if (row, position) == (11, 1) else 0.0)
            vector = np.array([np.cos(angle), np.sin(angle)], np.float32)
            cache.put(hashlib.sha1(data, usedforsecurity=False).digest(), vector)
    cache.flush()
    facts = embedding_facts(root, BATCH, source_of(folder, embeddings), embeddings)
    assert facts["retrieval_at_1"] == pytest.approx(23 / 24, abs=1e-4)
    assert "| all | 12 | 0.958 |" in facts["quality"].value
    assert "not dark" in facts["quality"].value
    assert "not kept" not in facts["quality"].value
    # Nothing is shown that says nothing.
    assert not {"note", "left_out_examples", "computed_frames"} & set(facts)


def test_the_precision_is_told_with_its_reason_and_agreement(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    folder, embeddings = make(root, 4)
    found = Precision(dtype="bfloat16", reason="this CPU has amx_bf16", cosine_to_float32=0.99987, sample_frames=16)
    meta = embeddings.meta.model_copy(update={"precision": found})
    facts = embedding_facts(root, BATCH, source_of(folder, embeddings), replace(embeddings, meta=meta))
    assert facts["precision"] == "bfloat16 (this CPU has amx_bf16, cosine to float32 0.999870)"


def shown_tiles(
    folder: BatchDir, embeddings: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, list[Tile], int]:
    seen = {}

    def sheet(_folder: Path, sections: list, *, columns: int, tile: tuple[int, int]) -> Image.Image:  # type: ignore[type-arg]
        seen["sections"], seen["columns"] = sections, columns
        return Image.new("RGB", tile)

    monkeypatch.setattr(module, "sectioned_sheet", sheet)
    labels = {preset_id: f"The {preset_id}" for preset_id in embeddings.preset_ids}
    neighbour_sheet(folder, embeddings, read_records(folder.frames_index), labels)
    ((heading, tiles),) = seen["sections"]
    return heading, tiles, seen["columns"]


def test_each_row_is_a_preset_and_its_nearest_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, embeddings = make(DataRoot(tmp_path), 40)
    heading, tiles, columns = shown_tiles(folder, embeddings, monkeypatch)
    assert heading == "6 of 40 presets, each with its 5 nearest to the right, by cosine"
    assert (columns, len(tiles)) == (6, 36)
    records = read_records(folder.frames_index)
    asked = set()
    for start in range(0, 36, 6):
        query, *nearest = tiles[start : start + 6]
        number = int(query.caption.removeprefix("The p"))
        asked.add(number)
        assert query.path == records[f"p{number:03d}"].frames[1]  # type: ignore[union-attr]
        cosines = [float(tile.caption.partition(":")[0]) for tile in nearest]
        found = [int(tile.caption.partition(": The p")[2]) for tile in nearest]
        expected = sorted((other for other in range(40) if other != number), key=lambda other: abs(other - number))
        assert [abs(other - number) for other in found] == [abs(other - number) for other in expected[:5]]
        assert cosines == [round(float(np.cos(abs(other - number) * np.pi / 40)), 3) for other in found]
    assert len(asked) == 6


@pytest.mark.parametrize("count", [1, 2, 4])
def test_small_batches_show_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    root = DataRoot(tmp_path)
    folder, embeddings = make(root, count)
    facts = embedding_facts(root, BATCH, source_of(folder, embeddings), embeddings)
    assert decoded(facts["nearest_neighbours"].value).width > 160
    assert len(shown_tiles(folder, embeddings, monkeypatch)[1]) == count * count


def test_a_frame_that_is_gone_is_a_crossed_tile(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    folder, embeddings = make(root, 3)
    for path in folder.frames_dir.rglob("*.webp"):
        path.unlink()
    assert (
        decoded(
            embedding_facts(root, BATCH, source_of(folder, embeddings), embeddings)["nearest_neighbours"].value
        ).width
        > 160
    )
