import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aivj_assets.contracts.cluster_labels import (
    MAX_LABEL_CHARS,
    ClusterLabel,
    ClusterLabels,
    LabelScore,
    LabelSource,
    clean_label,
    merged_labels,
    with_person_label,
    without_person_label,
)
from aivj_assets.errors import UserError

EARLY, LATE, LATER = "2026-01-31T12:00:00.000Z", "2026-02-01T12:00:00.000Z", "2026-02-02T12:00:00.000Z"
IDS = ["c00", "c01", "c07", "c100"]


def entry(
    label: str, source: LabelSource = "descriptive", *, at: str = EARLY, score: float | None = None
) -> ClusterLabel:
    return ClusterLabel(label=label, source=source, score=score, set_at=at, evidence={"means": {"luma": 0.2}})


def first_labels() -> ClusterLabels:
    computed = {"c00": entry("dark blue"), "c07": entry("tunnel", "zero-shot", score=0.4)}
    return merged_labels(None, computed, lineage="main", at=EARLY, unlabelled={"c01": "none of 3 frames can be read"})


def test_a_file_comes_back_as_it_was_written_and_says_null_where_there_is_no_score(tmp_path: Path) -> None:
    path = tmp_path / "cluster-labels.v0.json"
    labels = with_person_label(first_labels(), "c100", "Bühne 3", known_ids=IDS, at=LATE)
    labels.save(path)
    assert ClusterLabels.load(path) == labels
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["version"] == "v0"
    assert list(content["labels"]) == ["c00", "c07", "c100"]
    assert content["labels"]["c00"]["score"] is None
    assert content["labels"]["c07"] == {
        "label": "tunnel", "source": "zero-shot", "score": 0.4, "alternatives": [],
        "evidence": {"means": {"luma": 0.2}}, "setAt": EARLY,
    }  # fmt: skip
    assert content["labels"]["c100"]["source"] == "person"
    assert content["unlabelled"] == {"c01": "none of 3 frames can be read"}


def test_fields_of_other_tools_survive_a_person_and_a_merge(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    content = first_labels().to_json() | {"note": "mine"}
    content["labels"]["c00"]["colour"] = "#00f"
    path.write_text(json.dumps(content), encoding="utf-8")
    labels = with_person_label(ClusterLabels.load(path), "c07", "wormhole", known_ids=IDS, at=LATE)
    labels = merged_labels(labels, {}, lineage="main", at=LATER)
    assert labels.to_json()["note"] == "mine"
    assert labels.to_json()["labels"]["c00"]["colour"] == "#00f"


def test_a_persons_label_is_never_overwritten_and_keeps_what_was_suggested() -> None:
    labels = with_person_label(first_labels(), "c07", "  my   wormhole ", known_ids=IDS, at=LATE)
    mine = labels.labels["c07"]
    assert (mine.label, mine.source, mine.score, mine.set_at) == ("my wormhole", "person", None, LATE)
    assert mine.alternatives == [LabelScore(label="tunnel", score=0.4)]
    for keep_computed in (False, True):
        merged = merged_labels(
            labels, {"c07": entry("spiral", at=LATER)}, lineage="main", at=LATER, keep_computed=keep_computed
        )
        assert merged.labels["c07"] == mine


def test_a_second_word_of_a_person_replaces_the_first_and_the_same_word_changes_nothing() -> None:
    labels = with_person_label(first_labels(), "c07", "wormhole", known_ids=IDS, at=LATE)
    assert with_person_label(labels, "c07", "wormhole ", known_ids=IDS, at=LATER) is labels
    again = with_person_label(labels, "c07", "gate", known_ids=IDS, at=LATER).labels["c07"]
    assert (again.label, again.set_at) == ("gate", LATER)
    assert [other.label for other in again.alternatives] == ["tunnel"]


def test_a_person_may_take_a_label_back_and_the_next_computation_fills_it() -> None:
    labels = without_person_label(
        with_person_label(first_labels(), "c07", "wormhole", known_ids=IDS, at=LATE), "c07", at=LATER
    )
    assert "c07" not in labels.labels
    filled = merged_labels(labels, {"c07": entry("spiral")}, lineage="main", at=LATER, keep_computed=True)
    assert filled.labels["c07"].label == "spiral"
    with pytest.raises(UserError, match=r"No person has labelled cluster 'c00' of lineage 'main'\."):
        without_person_label(labels, "c00", at=LATER)


def test_a_retired_id_keeps_its_label() -> None:
    merged = merged_labels(first_labels(), {"c00": entry("dark teal", at=LATE)}, lineage="main", at=LATE)
    assert merged.labels["c07"] == first_labels().labels["c07"]
    assert merged.labels["c00"].label == "dark teal"
    assert merged.generated_at == LATE


def test_between_refits_computed_labels_only_fill_gaps() -> None:
    computed = {"c00": entry("dark teal", at=LATE), "c01": entry("bright", at=LATE)}
    merged = merged_labels(first_labels(), computed, lineage="main", at=LATE, keep_computed=True)
    assert merged.labels["c00"].label == "dark blue"
    assert merged.labels["c01"].label == "bright"
    assert merged.unlabelled == {}


def test_the_same_label_computed_again_keeps_the_time_at_which_it_was_set() -> None:
    merged = merged_labels(first_labels(), {"c00": entry("dark blue", at=LATE)}, lineage="main", at=LATE)
    assert merged.labels["c00"].set_at == EARLY


def test_an_id_without_readable_frames_keeps_an_older_label() -> None:
    merged = merged_labels(first_labels(), {}, lineage="main", at=LATE, unlabelled={"c00": "gone", "c100": "no frames"})
    assert merged.labels["c00"].label == "dark blue"
    assert merged.unlabelled == {"c01": "none of 3 frames can be read", "c100": "no frames"}


def test_mistakes_are_one_line() -> None:
    labels = first_labels()
    with pytest.raises(UserError, match=r"Lineage 'main' has no cluster 'c99'; it has c00 to c100 \(4 ids\)\."):
        with_person_label(labels, "c99", "x", known_ids=IDS, at=LATE)
    with pytest.raises(UserError, match="of lineage 'main', not of 'other'"):
        merged_labels(labels, {}, lineage="other", at=LATE)
    with pytest.raises(ValueError, match="c00"):
        merged_labels(labels, {"c00": entry("x", "person")}, lineage="main", at=LATE)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("two\nlines", r"U\+000A"),
        ("tab\there", r"U\+0009"),
        ("bell\a", r"U\+0007"),
        ("abc\u202etxt.exe", r"U\+202E"),
        ("next\u2028line", r"U\+2028"),
        ("half \ud83d", r"U\+D83D"),
        ("", "is empty"),
        (" \u00a0 ", "is empty"),
        ("\u200d", "is empty"),
        ("x" * (MAX_LABEL_CHARS + 1), "has 81 characters; at most 80"),
        ("x" * 10**7, "at most 80"),
    ],
)
def test_labels_that_are_refused(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as error:
        clean_label(text)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError):
        with_person_label(first_labels(), "c00", text, known_ids=IDS, at=LATE)


@pytest.mark.parametrize("text", ["<b>tunnel</b>", "流体", "می‌خواهم", "👩‍🚀 space", "c07", "x" * MAX_LABEL_CHARS])
def test_labels_that_are_taken_as_they_are(text: str) -> None:
    assert clean_label(f" {text}\n") == text


@given(st.text())
def test_a_clean_label_is_one_line_and_stays_clean(text: str) -> None:
    try:
        cleaned = clean_label(text)
    except UserError:
        return
    assert 1 <= len(cleaned) <= MAX_LABEL_CHARS
    assert cleaned.splitlines() == [cleaned]
    assert clean_label(cleaned) == cleaned


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (("labels", "c00", "label"), "two\nlines", "labels.c00.label"),
        (("labels", "c00", "source"), "guess", "labels.c00.source"),
        (("labels", "c00", "score"), 1.2, "labels.c00.score"),
        (("labels", "c00", "alternatives"), [{"label": "x", "score": -1}], "labels.c00.alternatives.0.score"),
        (("unlabelled", "cluster 3"), "why", "'cluster 3' is no cluster id"),
        (("version",), "v9", "version"),
    ],
)
def test_a_file_that_was_changed_by_hand_is_refused_with_the_place(
    tmp_path: Path, place: tuple[str, ...], value: object, problem: str
) -> None:
    content = first_labels().to_json()
    part = content
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match=problem) as error:
        ClusterLabels.load(path)
    assert str(path) in str(error.value)
