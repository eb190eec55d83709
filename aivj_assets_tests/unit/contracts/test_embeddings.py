import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aivj_assets.contracts.embeddings import (
    Embeddings,
    EmbeddingsWriter,
    load_embeddings,
    read_embedding_ids,
    save_embeddings,
)
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir
from aivj_assets_tests.builders import embeddings_meta

IDS = ["p1", "weird  id", "ünï\u2028code"]


@pytest.fixture
def folder(tmp_path: Path) -> BatchDir:
    vectors = np.eye(3, 4, dtype=np.float32)
    made = BatchDir(tmp_path / "batch")
    save_embeddings(made, Embeddings(vectors, IDS, embeddings_meta(3, 4)))
    return made


def test_vectors_ids_and_card_read_back(folder: BatchDir) -> None:
    loaded = load_embeddings(folder)
    assert loaded.vectors.dtype == np.float32
    assert np.array_equal(loaded.vectors, np.eye(3, 4))
    assert loaded.preset_ids == IDS
    assert loaded.meta.model == "test-model"
    assert folder.embedding_ids.read_bytes() == "p1\nweird  id\nünï\u2028code\n".encode()


def test_the_card_is_what_decides_the_numbers() -> None:
    first = embeddings_meta(3, 4)
    assert embeddings_meta(900, 4, device="cuda", duration_s=9.0, generated_at="later").card == first.card
    assert embeddings_meta(3, 4, weights_sha256="f" * 64).card != first.card
    assert embeddings_meta(3, 4, max_frames_per_preset=1).card != first.card


def test_float64_rows_are_stored_as_float32(tmp_path: Path) -> None:
    folder = BatchDir(tmp_path)
    save_embeddings(folder, Embeddings(np.eye(1, 2), ["a"], embeddings_meta(1, 2)))  # type: ignore[arg-type]
    assert load_embeddings(folder).vectors.dtype == np.float32


def test_an_interrupted_rewrite_leaves_no_card(folder: BatchDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aivj_assets.contracts.embeddings.write_text_atomic", disk_full)
    with pytest.raises(OSError, match="No space"):
        save_embeddings(folder, Embeddings(np.eye(2, 4, dtype=np.float32), ["a", "b"], embeddings_meta(2, 4)))
    with pytest.raises(UserError, match=r"embeddings\.meta\.json does not exist"):
        load_embeddings(folder)


def test_files_that_disagree_are_refused(folder: BatchDir) -> None:
    folder.embedding_ids.write_bytes(b"p1\np2\n")
    with pytest.raises(UserError, match=r"float32 \(3, 4\), but .* float32 \(2, 4\); materialise embeddings again"):
        load_embeddings(folder)


@pytest.mark.parametrize("content", [b"", b"not numpy", b"\x93NUMPY\x01\x00"])
def test_broken_vectors_are_one_line(folder: BatchDir, content: bytes) -> None:
    folder.embeddings.write_bytes(content)
    with pytest.raises(UserError, match="materialise embeddings again") as raised:
        load_embeddings(folder)
    assert "\n" not in str(raised.value)


def test_pickled_vectors_are_not_loaded(folder: BatchDir) -> None:
    np.save(folder.embeddings, np.array([{"a": 1}] * 3, dtype=object), allow_pickle=True)
    with pytest.raises(UserError):
        load_embeddings(folder)


def test_vectors_of_another_type_are_refused(folder: BatchDir) -> None:
    np.save(folder.embeddings, np.eye(3, 4))
    with pytest.raises(UserError, match="float64"):
        load_embeddings(folder)


def test_no_ids_no_rows(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_bytes(b"")
    assert read_embedding_ids(tmp_path / "ids.txt") == []


def test_the_file_is_what_numpy_itself_writes(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    folder = BatchDir(tmp_path)
    with EmbeddingsWriter(folder, 5, 7) as writer:
        for row in (4, 0, 3, 1, 2):
            writer.write(row, rows[row])
        writer.commit([0, 2, 4], ["a", "b", "c"], embeddings_meta(3, 7))
    np.save(tmp_path / "expected.npy", rows[[0, 2, 4]])
    assert folder.embeddings.read_bytes() == (tmp_path / "expected.npy").read_bytes()
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_row_that_has_no_place_is_refused(tmp_path: Path) -> None:
    with EmbeddingsWriter(BatchDir(tmp_path), 2, 3) as writer:
        for row, size in ((2, 3), (-1, 3), (0, 4), (0, 1)):
            with pytest.raises(ValueError, match="no place"):
                writer.write(row, np.ones(size))


@pytest.mark.skipif(os.name == "nt", reason="Windows tells no blocks, and makes no file with holes unless asked")
def test_a_full_disk_is_met_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddingsWriter(BatchDir(tmp_path), 3000, 64):
        (temporary,) = tmp_path.glob(".*.tmp")
        assert temporary.stat().st_blocks * 512 >= 3000 * 64 * 4

    def disk_full(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aivj_assets.contracts.embeddings._write_header", disk_full)
    with pytest.raises(OSError, match="No space"):
        EmbeddingsWriter(BatchDir(tmp_path), 3000, 64)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no kernel that tells a process's peak")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    # Not `ru_maxrss`: a process inherits its parent's.
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from aivj_assets.contracts.embeddings import EmbeddingsWriter; from aivj_assets.layout import BatchDir\n"
        "def peak_kb(): return int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])\n"
        "row, before = np.ones(1024, np.float32), peak_kb()\n"
        "with EmbeddingsWriter(BatchDir(Path(sys.argv[1])), 50_000, 1024) as writer:\n"
        "    for number in range(50_000): writer.write(number, row)\n"
        "print(1024 * (peak_kb() - before))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    grown_bytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown_bytes < 50e6 < 50_000 * 1024 * 4


def test_a_file_that_is_in_use_leaves_the_old_rows(folder: BatchDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_use(*_arguments: object) -> None:
        raise PermissionError(13, "Access is denied")

    monkeypatch.setattr("aivj_assets.contracts.embeddings.replace_file", in_use)
    with pytest.raises(UserError, match=r"embeddings\.npy cannot be replaced .*close the programs"):
        save_embeddings(folder, Embeddings(np.eye(2, 4, dtype=np.float32), ["a", "b"], embeddings_meta(2, 4)))
    assert load_embeddings(folder).preset_ids == IDS
    assert not list(folder.path.glob(".*.tmp"))
