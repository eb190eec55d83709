"""Ranking by cosine, against plain NumPy on the same vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from aivj_assets.contracts.embeddings import ModelCard
from aivj_assets.embed import search
from aivj_assets.embed.search import (
    best_matches,
    cosines,
    image_vector,
    mean_direction,
    rank_labels,
    require_model_of_rows,
    text_vectors,
)
from aivj_assets.errors import UserError
from aivj_assets_tests.builders import embeddings_meta

DIM = 24


def unit_rows(count: int, seed: int = 1) -> npt.NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def card(**more: Any) -> ModelCard:
    return embeddings_meta(1, DIM, **more).card


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_BLOCK_ROWS", 7)
    monkeypatch.setattr(search, "_LABELS_AT_ONCE", 3)


@pytest.mark.usefixtures("small_blocks")
def test_cosines_of_parts_in_blocks_are_those_of_all_rows_at_once() -> None:
    parts, queries = [unit_rows(20, 1), unit_rows(0, 2), unit_rows(13, 3)], unit_rows(4, 4)
    found = cosines(parts, queries)
    assert found.dtype == np.float32
    assert np.allclose(found, np.concatenate(parts).astype(np.float64) @ queries.T.astype(np.float64), atol=1e-6)


def test_the_best_come_first_and_some_are_passed_over() -> None:
    rows = unit_rows(50)
    ids = [f"p{number:02d}" for number in range(50)]
    scores = cosines([rows], rows[7:8])[:, 0]
    wanted = [row for row in np.argsort(-scores).tolist() if row != 7][:10]
    found = best_matches(scores, ids, 10, without=[7])
    assert [match.row for match in found] == wanted
    assert [match.cosine for match in found] == pytest.approx(scores[wanted].tolist(), abs=1e-6)
    assert len(best_matches(scores, ids, 100, without=[7, 7])) == 49
    assert best_matches(scores[:1], ids[:1], 5, without=[0]) == []


def test_equal_rows_stand_by_their_ids_wherever_they_lie_and_however_they_were_rounded() -> None:
    rng = np.random.default_rng(2)
    row = unit_rows(1)[0]
    ids = rng.permutation([f"p{number:02d}" for number in range(30)]).tolist()
    scores = cosines([np.tile(row, (30, 1))], row[None])[:, 0] + rng.uniform(-2e-7, 2e-7, 30).astype(np.float32)
    found = best_matches(scores, ids, 8)
    assert [ids[match.row] for match in found] == [f"p{number:02d}" for number in range(8)]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("labels", [1, 2, 8])
def test_labels_against_presets_one_way_and_the_other(labels: int) -> None:
    parts, vectors = [unit_rows(20, 1), unit_rows(15, 3)], unit_rows(labels, 4)
    ids = [f"p{number:02d}" for number in range(35)]
    plain = np.concatenate(parts) @ vectors.T
    found = rank_labels(parts, vectors, ids, 5)
    assert found.best_label.tolist() == plain.argmax(axis=1).tolist()
    assert np.allclose(found.cosine, plain.max(axis=1), atol=1e-6)
    if labels == 1:
        assert np.isnan(found.margin).all()
    else:
        ordered = np.sort(plain, axis=1)
        assert np.allclose(found.margin, ordered[:, -1] - ordered[:, -2], atol=1e-6)
    for number in range(labels):
        assert [match.row for match in found.best_presets[number]] == np.argsort(-plain[:, number])[:5].tolist()


def test_a_label_given_twice_is_no_better_than_its_first() -> None:
    vectors = unit_rows(2, 4)[[0, 0, 1]]
    found = rank_labels([unit_rows(20)], vectors, [str(number) for number in range(20)], 1)
    assert set(found.best_label.tolist()) <= {0, 2}
    assert found.margin[found.best_label == 0].max() == 0


@dataclass(frozen=True)
class FakeModel:
    """Vectors by the letters of a text, and by the mean colour of an image."""

    card: ModelCard
    encode_text: Any

    def prepare(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        assert image.size == (16, 16)
        assert image.mode == "RGB"
        return np.asarray(image)

    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return images.reshape(len(images), -1, 3).mean(axis=1).astype(np.float32)


def letters(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    return np.array([[text.count("a"), text.count("b"), 0] for text in texts], np.float32) * 7


def test_texts_become_unit_vectors_and_their_mean_a_direction() -> None:
    vectors = text_vectors(FakeModel(card(), letters), ["aaa", "b"])
    assert vectors.tolist() == [[1, 0, 0], [0, 1, 0]]
    # Each text counts alike, however long its vector was.
    assert mean_direction(vectors).tolist() == pytest.approx([0.5**0.5, 0.5**0.5, 0])
    with pytest.raises(UserError, match="cancels itself out"):
        mean_direction(np.array([[1, 0], [-1, 0]], np.float32))


def test_a_text_or_model_that_gives_no_vector_is_one_line() -> None:
    with pytest.raises(UserError, match="no finite vector for the text 'xyz'"):
        text_vectors(FakeModel(card(), letters), ["a", "xyz"])
    with pytest.raises(UserError, match="test-model has no text side"):
        text_vectors(FakeModel(card(), None), ["a"])


@pytest.mark.parametrize(("mode", "size"), [("RGBA", (64, 36)), ("L", (3, 90)), ("P", (16, 16))])
def test_an_image_of_any_size_and_mode_is_squeezed_as_frames_are(mode: str, size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (90, 90, 90)).convert(mode)
    assert image_vector(FakeModel(card(), None), image).tolist() == pytest.approx([3**-0.5] * 3, abs=0.01)


def test_the_whole_width_of_an_image_counts() -> None:
    image = Image.new("RGB", (160, 90), (255, 0, 0))
    image.paste((0, 0, 255), (0, 0, 30, 90))
    # Cropping to the middle would take the blue edge away.
    assert image_vector(FakeModel(card(), None), image)[2] > 0.1


@pytest.mark.parametrize("more", [{"max_frames_per_preset": 1}, {"pretrained": "local:renamed.pt"}, {"pooling": "x"}])
def test_what_does_not_change_a_single_vector_does_not_matter(more: dict[str, Any]) -> None:
    require_model_of_rows(card(), card(**more))


@pytest.mark.parametrize(
    ("more", "field"),
    [({"weights_sha256": "a" * 64}, "weightsSha256"), ({"model": "ViT-L-14"}, "model"), ({"activation": "x"}, "activ")],
)
def test_another_model_is_refused_and_both_are_named(more: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as refused:
        require_model_of_rows(card(), card(**more))
    told = str(refused.value)
    assert "test-model (test-weights, weights 00000000)" in told
    assert (
        f"{more.get('model', 'test-model')} (test-weights, weights {more.get('weights_sha256', '0' * 64)[:8]})" in told
    )
    assert f"different: {field}" in told
    assert "\n" not in told
