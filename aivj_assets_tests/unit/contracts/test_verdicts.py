import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aivj_assets.contracts.verdicts import LineageVerdicts, VerdictsFile
from aivj_assets.errors import UserError

EARLY, LATE, LATER = "2026-03-01T10:00:00.000Z", "2026-03-01T12:00:00.000Z", "2026-03-02T12:00:00.000Z"


def verdicts(**more: Any) -> VerdictsFile:
    base = {"version": "v0", "generatedAt": LATE, "lineage": "main", "lineageVersion": 3, "batch": "big/batch-0001"}
    return VerdictsFile.model_validate({**base, **more})


def nothing() -> LineageVerdicts:
    return LineageVerdicts(generated_at="", lineage="main")


def test_the_later_statement_counts_and_the_other_is_kept() -> None:
    ann = verdicts(reviewer="Ann", clusters={"c07": {"verdict": "good", "label": "Tunnel", "at": EARLY}})
    ben = verdicts(reviewer="Ben", clusters={"c07": {"verdict": "bad", "note": "dull", "at": LATE}})
    for order in ((ann, ben), (ben, ann)):
        kept = nothing()
        for file in order:
            kept = kept.with_file(file, LATER)
        # The later one renamed nothing: the earlier label stays.
        assert kept.said("c07").words == ("bad", "Tunnel", "dull")
        assert [one.reviewer for one in kept.clusters["c07"]] == ["Ben", "Ann"]


def test_times_are_compared_as_moments_and_not_as_text() -> None:
    first = verdicts(clusters={"c07": {"verdict": "good", "at": "2026-03-01T23:30:00+14:00"}})
    second = verdicts(clusters={"c07": {"verdict": "bad", "at": "2026-03-01T10:00:00Z"}})
    assert nothing().with_file(second, LATER).with_file(first, LATER).said("c07").words[0] == "bad"


def test_a_page_that_exports_again_what_it_knew_makes_no_verdict_younger() -> None:
    kept = nothing().with_file(verdicts(reviewer="Ann", clusters={"c07": {"verdict": "good", "at": EARLY}}), LATER)
    again = verdicts(lineageVersion=9, reviewer="Ben", clusters={"c07": {"verdict": "good", "at": EARLY}})
    assert kept.with_file(again, LATER) == kept
    # Also with words beside it that came later.
    more = verdicts(lineageVersion=9, clusters={"c07": {"verdict": "good", "note": "n", "at": EARLY}})
    verdict = kept.with_file(more, LATER).said("c07").verdict
    assert verdict is not None
    assert (verdict.lineage_version, verdict.reviewer) == (3, "Ann")


def test_of_two_choices_on_a_group_the_later_one_counts_and_one_preset_stays() -> None:
    first = verdicts(generatedAt=EARLY, keep=[{"presets": ["a", "b", "c"], "keep": "a"}])
    second = verdicts(generatedAt=LATE, keep=[{"presets": ["a", "b"], "keep": "b"}])
    for order in itertools.permutations((first, second)):
        kept = nothing()
        for file in order:
            kept = kept.with_file(file, LATER)
        assert {name: one.reason for name, one in kept.dropped.items()} == {
            "a": "near-duplicate of b", "c": "near-duplicate of a",
        }  # fmt: skip
    # Blacklisted goes before kept.
    both = verdicts(keep=[{"presets": ["a", "b"], "keep": "a"}], blacklist=[{"presetId": "a", "reason": "misfit"}])
    assert set(nothing().with_file(both, LATER).dropped) == {"a", "b"}


texts = st.sampled_from([None, "Tunnel", "Bühne 3", "x"])
statements = st.fixed_dictionaries(
    {
        "verdict": st.sampled_from([None, "good", "mixed", "bad"]), "label": texts, "note": texts,
        "at": st.sampled_from([EARLY, LATE, LATER, "2026-03-01T13:00:00+01:00"]),
    }
)  # fmt: skip
presets = st.sampled_from(["a", "b", "c"])
groups = st.lists(presets, min_size=2, max_size=3, unique=True).map(lambda names: {"presets": names, "keep": names[-1]})
files = st.builds(
    verdicts,
    generatedAt=st.sampled_from([EARLY, LATE]),
    lineageVersion=st.integers(1, 3),
    reviewer=st.sampled_from([None, "Ann", "Ben"]),
    clusters=st.dictionaries(st.sampled_from(["c00", "c01", "c100"]), statements),
    keep=st.lists(groups, max_size=2),
    blacklist=st.lists(st.builds(lambda name, why: {"presetId": name, "reason": why}, presets, st.text()), max_size=2),
)


@given(st.lists(files, max_size=4), st.randoms(use_true_random=False))
def test_neither_the_order_of_files_nor_a_file_that_comes_twice_matters(given_files: Any, random: Any) -> None:
    shuffled = [*given_files, *given_files[:2]]
    random.shuffle(shuffled)
    kept, other = nothing(), nothing()
    for file in given_files:
        kept = kept.with_file(file, LATER)
    for file in shuffled:
        other = other.with_file(file, LATER)
    assert other.to_json() == kept.to_json()
    assert LineageVerdicts.model_validate(json.loads(json.dumps(kept.to_json()))) == kept


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"version": "v9"}, "version"),
        ({"clusters": {"7": {"verdict": "good", "at": EARLY}}}, "'7' is no cluster id"),
        ({"clusters": {"c07": {"verdict": "great", "at": EARLY}}}, "good"),
        ({"clusters": {"c07": {"verdict": "good", "at": "yesterday"}}}, "no time in ISO-8601"),
        ({"clusters": {"c07": {"label": "a\u202eb", "at": EARLY}}}, "control character U+202E"),
        ({"clusters": {"c07": {"label": "x" * 81, "at": EARLY}}}, "at most 80"),
        ({"keep": [{"presets": ["a", "b"], "keep": "z"}]}, "is kept but not in its group"),
        ({"lineageVersion": 0}, "lineageVersion"),
    ],
)
def test_what_is_not_as_agreed_is_told_in_one_line(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    path = tmp_path / "verdicts.json"
    base = {"version": "v0", "generatedAt": LATE, "lineage": "main", "lineageVersion": 3, "batch": "big"}
    path.write_text(json.dumps({**base, **more}), encoding="utf-8")
    with pytest.raises(UserError) as refused:
        VerdictsFile.load(path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_notes_become_one_line_and_empty_texts_nothing() -> None:
    entry = verdicts(clusters={"c07": {"note": " a\n\u202eb ", "label": "  ", "at": EARLY}}, reviewer=" ")
    assert (entry.clusters["c07"].note, entry.clusters["c07"].label, entry.reviewer) == ("a b", None, None)
