import pytest

from aivj_assets.contracts.pack_settings import QaSettings
from aivj_assets.contracts.verdicts import QaMark
from aivj_assets.qa.conclusion import KnownVerdict, check_reviewed, conclude

SIZES = {f"c{number:02d}": 10 for number in range(10)}


def known(marks: str, *, changed: int = 0) -> dict[str, KnownVerdict]:
    """Return a verdict for each letter (g, m, b; - none), the first `changed` of them asked for again."""
    words: dict[str, QaMark] = {"g": "good", "m": "mixed", "b": "bad"}
    return {
        f"c{place:02d}": KnownVerdict(
            words[mark], None, None, f"2026-03-{place + 1:02d}T10:00:00Z", "changed" if place < changed else True, "Ann"
        )
        for place, mark in enumerate(marks)
        if mark != "-"
    }


@pytest.mark.parametrize(
    ("marks", "verdict"),
    [
        ("gggggggggg", "good"), ("ggggggggmb", "good"), ("gggggggmmb", "mixed"), ("mmmmmmmmmm", "mixed"),
        ("bbbbbmmmmm", "mixed"), ("bbbbbbgggg", "bad"), ("ggggggggg-", "good"), ("gggggggg--", None), ("", None),
    ],
)  # fmt: skip
def test_a_batch_is_judged_by_the_share_of_its_presets_once_most_clusters_are(marks: str, verdict: str | None) -> None:
    qa = conclude(SIZES, known(marks), QaSettings())
    assert (qa.state, qa.verdict) == ("open" if verdict is None else "reviewed", verdict)
    assert check_reviewed(qa, QaSettings()).passed == (verdict is not None)


def test_large_clusters_weigh_more_than_small_ones() -> None:
    assert conclude({"c00": 90, "c01": 5, "c02": 5}, known("gbb"), QaSettings()).verdict == "good"


def test_clusters_that_changed_are_not_reviewed_and_told() -> None:
    qa = conclude(SIZES, known("gggggggggg", changed=3), QaSettings())
    assert qa.state == "open"
    assert qa.counts is not None
    assert (qa.counts["reviewed"], qa.counts["askedAgain"], qa.reviewed_fraction) == (7, 3, 0.7)
    finding = check_reviewed(qa, QaSettings())
    assert finding.severity == "warning"
    assert "7 of 10 clusters are reviewed (at least 90% are asked for)" in finding.detail
    assert "3 changed much since they were judged" in finding.detail
    assert "aivj qa import" in finding.detail
    # A pack may ask for less.
    assert conclude(SIZES, known("gggggggggg", changed=3), QaSettings(reviewed_fraction=0.7)).state == "reviewed"


def test_reviewers_and_the_last_moment_are_told() -> None:
    qa = conclude(SIZES, known("gggggggggg"), QaSettings())
    assert (qa.reviewer, qa.reviewed_at) == ("Ann", "2026-03-10T10:00:00Z")
    assert qa.note == "10 of 10 clusters judged (10 good, 0 mixed, 0 bad), 100% of their presets in good ones"
