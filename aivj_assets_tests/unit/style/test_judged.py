import pytest

from aivj_assets.errors import UserError
from aivj_assets.style.judged import Judgement, label_slug

IDS = {"a": "c00", "b": "c00", "c": "c01"}


@pytest.mark.parametrize(
    ("label", "slug"),
    [
        ("Blue Tunnel", "blue-tunnel"), ("  gray, broader ", "gray-broader"), ("Bühne_3", "bühne-3"),
        ("青い トンネル", "青い-トンネル"), ("हिन्दी", "हिन्दी"), ("🎛️", None), ("a:b<script>", "a-b-script"),
        ("x" * 80, "x" * 60),
    ],
)  # fmt: skip
def test_a_label_becomes_a_tag_in_its_own_script(label: str, slug: str | None) -> None:
    assert label_slug(label) == slug


def test_bad_clusters_and_dropped_presets_are_left_out_or_marked() -> None:
    labels = {"c00": "Blue", "c01": "c01"}
    excluding = Judgement("exclude", {"c00": "bad", "c01": "good"}, labels, {})
    assert excluding.left_out("big", IDS) == {"a": "cluster c00 is bad", "b": "cluster c00 is bad"}
    assert excluding.tags() == {"c00": ["label:blue"]}
    marking = Judgement("mark", {"c00": "bad"}, labels, {"c": "misfit", "elsewhere": "misfit"})
    assert marking.left_out("big", IDS) == {"c": "misfit"}
    assert marking.tags() == {"c00": ["label:blue", "qa:bad"]}


def test_nothing_left_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"nothing would be left to publish.*c00.*stays as it is") as refused:
        Judgement("exclude", {"c00": "bad"}, {}, {"c": "misfit"}).left_out("big", IDS)
    assert "\n" not in str(refused.value)
