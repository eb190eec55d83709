"""What an adoption knows of an earlier tool's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aivj_assets.contracts.adoption import AdoptedClusters, Adoption, cluster_number, is_undeclared, undeclared_card
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchDir
from aivj_assets_tests.builders import embeddings_meta


@pytest.mark.parametrize(
    ("name", "number"),
    [("c00", 0), ("c07", 7), ("c123", 123), ("c7", None), ("c007", None), ("C07", None), ("c07 ", None), ("7", None),
     ("c\u0660\u0667", None), ("c" + "9" * 30, None)],
)  # fmt: skip
def test_only_ids_as_they_are_written_here_are_legal(name: str, number: int | None) -> None:
    assert cluster_number(name) == number


def test_the_card_of_an_unknown_model_is_that_of_these_rows_alone() -> None:
    rows = np.eye(3, 4, dtype=np.float32)
    card = undeclared_card(rows, 3)
    assert is_undeclared(card)
    assert card == undeclared_card(rows.copy(), 3)
    assert card != undeclared_card(rows[::-1], 3)
    assert not is_undeclared(embeddings_meta(3, 4).card)


def test_a_cluster_file_needs_its_assignments_alone(tmp_path: Path) -> None:
    path = tmp_path / "clusters.v0.json"
    path.write_text('{"assignments": {"a": "c01"}, "author": "somebody"}', encoding="utf-8")
    assert AdoptedClusters.load(path).assignments == {"a": "c01"}
    for wrong in ("{}", '{"assignments": {}}', '{"version": "v9", "assignments": {"a": "c01"}}'):
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(UserError, match="is not as agreed"):
            AdoptedClusters.load(path)


def test_a_batch_that_was_never_adopted_has_no_record(tmp_path: Path) -> None:
    assert Adoption.of(BatchDir(tmp_path)) is None
    Adoption.path_in(BatchDir(tmp_path)).write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"adoption\.json is not JSON"):
        Adoption.of(BatchDir(tmp_path))
