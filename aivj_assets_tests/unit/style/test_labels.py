import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aivj_assets.contracts.cluster_labels import LabelScore, clean_label
from aivj_assets.errors import UserError
from aivj_assets.style.appearance import COLOURS, FIGURES, NEUTRALS, Appearance
from aivj_assets.style.describe import describe_clusters
from aivj_assets.style.labels import ZeroShot, compute_labels, zero_shot_labels
from aivj_assets.style.prompts import TEMPLATES, Prompt, Vectors, prompt_vectors, read_prompts

AT = "2026-01-31T12:00:00.000Z"
NEUTRAL_FIGURES = dict.fromkeys(FIGURES, 0.2) | {"luma": 0.35, "motion": 0.1}


def look(count: int = 12, *, seed: int = 0, **figures: float) -> Appearance:
    """A cluster of presets that scatter evenly around `figures`, else around what every cluster of the library is."""
    rng = np.random.default_rng(seed)
    values = dict.fromkeys((*COLOURS, *NEUTRALS), 0.03) | NEUTRAL_FIGURES | figures
    columns = {name: value + rng.permutation(np.linspace(-0.03, 0.03, count)) for name, value in values.items()}
    return Appearance(tuple({name: float(columns[name][row]) for name in columns} for row in range(count)))


def library(**special: Appearance) -> dict[str, Appearance]:
    """The special clusters among ten plain ones."""
    plain = {f"c{number:02d}": look(seed=number) for number in range(10, 20)}
    return {**special, **plain}


def parts(label: str) -> set[str]:
    return set(label.split(", "))


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        ({"luma": 0.05}, "dark"), ({"luma": 0.8}, "bright"), ({"darkness": 0.9}, "colours on black"),
        ({"chroma": 0.3}, "vivid"), ({"chroma": 0.08}, "pale"), ({"hue_variety": 0.9}, "many colours"),
        ({"detail": 0.5}, "busy"), ({"detail": 0.01}, "smooth"), ({"fineness": 0.8}, "fine-grained"),
        ({"fineness": 0.01}, "broad shapes"), ({"contrast": 0.45}, "high contrast"),
        ({"contrast": 0.01}, "low contrast"), ({"left_right": 0.95}, "mirrored"), ({"top_bottom": 0.95}, "mirrored"),
        ({"left_right": -0.3}, "asymmetric"), ({"rotation": 0.9}, "kaleidoscopic"), ({"rings": 0.9}, "concentric"),
        ({"center": 0.6}, "bright middle"), ({"center": -0.5}, "dark middle"), ({"motion": 0.5}, "fast"),
        ({"motion": 0.0}, "slow"), ({"direction": 0.9}, "horizontal"), ({"direction": -0.9}, "vertical"),
    ],
)  # fmt: skip
def test_what_sets_a_cluster_apart_is_said_first_of_all(figures: dict[str, float], word: str) -> None:
    described = describe_clusters(library(c00=look(seed=1, **figures)))
    assert word in parts(described["c00"].label)
    plain = [key for key in described if key != "c00"]
    assert sum(word in parts(described[key].label) for key in plain) <= 2


def test_a_label_reads_as_light_colour_form_motion() -> None:
    cluster = look(seed=1, luma=0.05, blue=0.5, left_right=0.95, motion=0.0)
    assert describe_clusters(library(c00=cluster))["c00"].label == "dark blue, mirrored, slow"


def test_words_are_relative_but_never_plainly_untrue() -> None:
    # Twice as bright as the rest, and still no bright picture; not as symmetric as the rest, and still a mirror image.
    dim = {f"c{number:02d}": look(seed=number, luma=0.02, left_right=1.0) for number in range(10, 20)}
    label = describe_clusters({"c00": look(seed=1, luma=0.12, left_right=0.7), **dim})["c00"].label
    assert not {"bright", "asymmetric"} & parts(label)


@pytest.mark.parametrize(
    ("colours", "word"),
    [
        ({"blue": 0.6}, "blue"),
        ({"red": 0.3, "orange": 0.25}, "red and orange"),
        ({"orange": 0.3, "red": 0.25}, "red and orange"),
        (dict.fromkeys(COLOURS, 0.1), ""),
    ],
)
def test_colours_are_named_where_they_are_shared(colours: dict[str, float], word: str) -> None:
    label = describe_clusters(library(c00=look(seed=1, detail=0.9, **colours)))["c00"].label
    assert label == (f"{word}, busy" if word else "busy")


def test_presets_of_different_colours_share_none() -> None:
    mixed = Appearance(tuple(look(1, seed=n, **{name: 0.6}).presets[0] for n, name in enumerate(COLOURS)))
    label = describe_clusters(library(c00=mixed))["c00"].label
    assert not {"red", "blue", "green"} & set(label.replace(",", "").split())


@pytest.mark.parametrize(
    ("shares", "word"),
    [
        ({"black": 0.97}, "black"),
        ({"gray": 0.8}, "gray"),
        ({"white": 0.8}, "white"),
        ({"black": 0.5, "white": 0.4}, "black and white"),
        ({"black": 0.7, "gray": 0.2}, "gray on black"),
    ],
)
def test_clusters_without_colour_are_called_by_their_grays(shares: dict[str, float], word: str) -> None:
    presets = look(seed=1).presets
    plain = dict.fromkeys((*COLOURS, *NEUTRALS), 0.0) | {"chroma": 0.005, "luma": 0.35}
    gray = Appearance(tuple({**preset, **plain, **shares} for preset in presets))
    assert word in parts(describe_clusters(library(c00=gray))["c00"].label)


def test_equal_words_are_told_apart_by_what_differs_most() -> None:
    near = look(seed=1, luma=0.05, motion=0.11)
    far = look(seed=2, luma=0.05, motion=0.13)
    described = describe_clusters(library(c00=near, c01=far))
    assert described["c00"].label != described["c01"].label
    assert described["c00"].label.startswith("dark")
    assert described["c01"].label.startswith("dark")


def test_labels_that_others_have_already_are_not_given_again() -> None:
    looks = library(c00=look(seed=1, luma=0.05, motion=0.105))
    first = describe_clusters(looks)["c00"].label
    again = describe_clusters(looks, taken={first})["c00"].label
    assert (first, again) == ("dark", "dark, faster")


def test_hardly_two_of_sixty_clusters_share_a_label() -> None:
    rng = np.random.default_rng(5)
    names = (*FIGURES, "motion")
    looks = {
        f"c{number:02d}": look(
            seed=number, **{name: float(rng.uniform(0, 1)) for name in rng.choice(names, 2, replace=False)}
        )
        for number in range(60)
    }
    labels = [words.label for words in describe_clusters(looks).values()]
    assert len(set(labels)) >= 54
    assert all(clean_label(label) == label for label in labels)


def test_a_description_does_not_depend_on_the_order_of_clusters_or_presets() -> None:
    looks = library(c00=look(seed=1, luma=0.05), c01=look(seed=2, luma=0.06))
    turned = {key: Appearance(value.presets[::-1]) for key, value in reversed(looks.items())}
    one, other = describe_clusters(looks), describe_clusters(turned)
    assert {key: words.label for key, words in one.items()} == {key: words.label for key, words in other.items()}


def test_motion_that_is_unknown_is_not_spoken_of() -> None:
    still = Appearance(tuple({**preset, "motion": math.nan} for preset in look(seed=1).presets))
    described = describe_clusters({"c00": still, "c01": look(seed=2, motion=0.5), "c02": look(seed=3, motion=0.0)})
    assert not {"slow", "fast", "slower", "faster"} & parts(described["c00"].label)
    assert "motion" not in described["c00"].figures
    assert described["c01"].figures["motion"] == pytest.approx(0.5, abs=0.05)


def test_one_cluster_alone_still_has_a_label() -> None:
    assert describe_clusters({"c00": look(seed=1, blue=0.6)})["c00"].label == "blue"
    assert describe_clusters({"c00": look(seed=1)})["c00"].label == "mixed"
    assert describe_clusters({}) == {}


def test_the_evidence_is_what_the_words_rest_on() -> None:
    words = describe_clusters(library(c00=look(seed=1, luma=0.05, blue=0.6)))["c00"]
    assert words.figures["luma"] == pytest.approx(0.05, abs=0.02)
    assert words.ranks["luma"] < 0.1
    assert next(iter(words.colours)) == "blue"
    assert words.presets == 12


# --- the list of prompts


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_list_in_the_package_names_what_a_vj_would() -> None:
    prompts = read_prompts()
    labels = [prompt.label for prompt in prompts]
    assert {"tunnel", "kaleidoscope", "liquid", "particles", "waveform", "fractal", "grid", "fire"} <= set(labels)
    assert 30 <= len(labels) <= 80
    assert all(prompt.phrases for prompt in prompts)


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    text = "\ufeff# mine\n\ntunnel: a tunnel | a pipe  # round\n  Ölfilm \r\nred: 100% {red}: deep red\n"
    assert read_prompts(write(tmp_path / "mine.txt", text)) == [
        Prompt("tunnel", ("a tunnel", "a pipe")),
        Prompt("Ölfilm", ("Ölfilm",)),
        Prompt("red", ("100% {red}: deep red",)),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("fire\ntunnel: a | | b", "line 2: a prompt of 'tunnel' is empty"),
        ("fire\ntunnel:", "line 2: a prompt of 'tunnel' is empty"),
        ("fire\n\n: a tunnel", "line 3: there is no label before the colon"),
        ("fire\nfog\nFire: x", "line 3: the label 'Fire' stands in line 1 already"),
        ("fire\n" + "x" * 81, "line 2: The label has 81 characters"),
        ("fire\ntunnel: " + "x" * 201, "line 2: a prompt of 'tunnel' has 201 characters; at most 200"),
        ("fire\nbad\u202elabel: x", r"line 2: The label holds the control character U\+202E"),
        ("# nothing", "holds 0 labels; at least two"),
        ("fire", "holds 1 labels; at least two"),
    ],
)
def test_mistakes_in_a_list_name_the_file_and_the_line(tmp_path: Path, text: str, problem: str) -> None:
    path = write(tmp_path / "mine.txt", text)
    with pytest.raises(UserError, match=problem) as error:
        read_prompts(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_list_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("Öl\nFeuer".encode("latin-1"))
    (tmp_path / "folder").mkdir()
    for name, problem in (("latin.txt", "not UTF-8"), ("nowhere.txt", "does not exist"), ("folder", "cannot be read")):
        with pytest.raises(UserError, match=problem):
            read_prompts(tmp_path / name)


def test_prompts_are_averaged_as_unit_vectors_over_phrases_and_templates() -> None:
    seen: list[str] = []

    def encode(texts: list[str]) -> Vectors:
        seen.extend(texts)
        # "a pipe" is three times as long as "a tunnel": lengths must not weigh.
        return np.array([[0, 3] if "pipe" in text else [1, 0] for text in texts], np.float32)

    prompts = [Prompt("tunnel", ("a tunnel", "a pipe")), Prompt("{}", ("a {red} pipe",))]
    vectors = prompt_vectors(prompts, encode, templates=("{}", "a picture of {}."))
    assert seen == [
        "a tunnel", "a picture of a tunnel.", "a pipe", "a picture of a pipe.",
        "a {red} pipe", "a picture of a {red} pipe.",
    ]  # fmt: skip
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [[0.5**0.5, 0.5**0.5], [0, 1]], atol=1e-6)


def test_a_text_without_a_vector_is_named() -> None:
    def encode(texts: list[str]) -> Vectors:
        return np.array([[math.nan, 1] if "fog" in text else [1, 0] for text in texts], np.float32)

    with pytest.raises(UserError, match=r"no finite vector for the text 'fog'"):
        prompt_vectors([Prompt("fire", ("fire",)), Prompt("fog", ("fog",))], encode)


def test_many_texts_are_encoded_in_parts() -> None:
    sizes: list[int] = []

    def encode(texts: list[str]) -> Vectors:
        sizes.append(len(texts))
        return np.ones((len(texts), 4), np.float32)

    prompts = read_prompts()
    assert prompt_vectors(prompts, encode).shape == (len(prompts), 4)
    assert sum(sizes) == len(TEMPLATES) * sum(len(prompt.phrases) for prompt in prompts)
    assert max(sizes) <= 128


# --- zero-shot

PROMPTS = [Prompt(name, (name,)) for name in ("tunnel", "fire", "computer graphics")]


def test_a_label_that_fits_every_cluster_best_tells_nothing_and_does_not_win() -> None:
    texts = np.array([[1, 0, 0.2], [0, 1, 0.2], [0.3, 0.3, 1]], np.float32)
    centroids = np.array([[0.3, 0, 1], [0, 0.3, 1]], np.float32)
    plain = centroids @ (texts / np.linalg.norm(texts, axis=1, keepdims=True)).T
    assert plain.argmax(axis=1).tolist() == [2, 2]
    ranked = zero_shot_labels(centroids, texts, PROMPTS)
    assert [labels[0].label for labels in ranked] == ["tunnel", "fire"]
    assert all(sum(entry.score for entry in labels) == pytest.approx(1, abs=1e-5) for labels in ranked)
    assert all(labels == sorted(labels, key=lambda entry: -entry.score) for labels in ranked)
    assert all(len(labels) == 3 for labels in ranked)


def test_the_length_of_vectors_and_what_all_clusters_share_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(3, 8)).astype(np.float32)
    centroids = rng.normal(size=(5, 8)).astype(np.float32)
    one = zero_shot_labels(centroids, texts, PROMPTS, logit_scale=5)
    other = zero_shot_labels(centroids * 7, texts * 0.1, PROMPTS, logit_scale=5)
    for left, right in zip(one, other, strict=True):
        assert [entry.label for entry in left] == [entry.label for entry in right]
        assert [entry.score for entry in left] == pytest.approx([entry.score for entry in right], abs=1e-5)


def test_a_higher_logit_scale_is_surer_and_equal_clusters_are_not_sure_at_all() -> None:
    texts = np.eye(3, dtype=np.float32)
    centroids = np.array([[1, 0.5, 0.5], [0.5, 1, 0.5]], np.float32)
    low, high = (zero_shot_labels(centroids, texts, PROMPTS, logit_scale=scale)[0][0].score for scale in (1, 20))
    assert low < high
    same = zero_shot_labels(np.ones((2, 3), np.float32), texts, PROMPTS)
    assert [entry.score for entry in same[0]] == pytest.approx([1 / 3] * 3, abs=1e-5)
    assert [entry.label for entry in same[0]] == ["tunnel", "fire", "computer graphics"]


def test_a_single_cluster_is_held_against_the_texts_alone() -> None:
    (ranked,) = zero_shot_labels(np.array([[0, 1, 0.1]], np.float32), np.eye(3, dtype=np.float32), PROMPTS)
    assert ranked[0].label == "fire"


def test_vectors_of_another_model_are_refused() -> None:
    texts = np.eye(3, dtype=np.float32)
    with pytest.raises(UserError, match="Centroids have 4 dimensions, the text vectors 3"):
        zero_shot_labels(np.eye(4, dtype=np.float32), texts, PROMPTS)
    broken = np.eye(3, dtype=np.float32)
    broken[1] = math.nan
    with pytest.raises(UserError, match="centroid in row 1 is no direction"):
        zero_shot_labels(broken, texts, PROMPTS)
    for scale in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UserError, match="logit scale"):
            zero_shot_labels(texts, texts, PROMPTS, logit_scale=scale)


# --- both together


def ranking(best: str, score: float, *others: str) -> list[LabelScore]:
    rest = (1 - score) / len(others)
    return [LabelScore(label=best, score=score), *(LabelScore(label=name, score=rest) for name in others)]


OTHERS = ("grid", "fog", "cells", "fire", "stars", "liquid")


def computed(make: Callable[[], dict[str, Appearance]], **ranked: list[LabelScore]) -> dict[str, tuple[str, str]]:
    zero_shot = ZeroShot(ranked, "ViT-B-32 (test)")
    found = compute_labels(make(), at=AT, zero_shot=zero_shot)
    return {key: (entry.source, entry.label) for key, entry in found.labels.items()}


def test_sure_zero_shot_labels_come_first_and_unsure_ones_give_way_to_words() -> None:
    looks = library(c00=look(seed=1, luma=0.05), c01=look(seed=2, luma=0.8))
    labels = computed(lambda: looks, c00=ranking("tunnel", 0.6, *OTHERS), c01=ranking("tunnel", 0.2, *OTHERS))
    assert labels["c00"] == ("zero-shot", "tunnel")
    assert labels["c01"][0] == "descriptive"
    assert labels["c01"][1].startswith("bright")


def test_a_zero_shot_label_of_two_clusters_is_told_apart_by_words() -> None:
    looks = library(c00=look(seed=1, luma=0.05), c01=look(seed=2, luma=0.8))
    labels = computed(lambda: looks, c00=ranking("tunnel", 0.6, *OTHERS), c01=ranking("tunnel", 0.7, *OTHERS))
    assert labels["c00"] == ("zero-shot", "tunnel (dark)")
    assert labels["c01"] == ("zero-shot", "tunnel (bright)")


def test_labels_carry_score_alternatives_and_evidence() -> None:
    zero_shot = ZeroShot({"c00": ranking("tunnel", 0.6, *OTHERS)}, "ViT-B-32 (test)")
    found = compute_labels(library(c00=look(seed=1, luma=0.05)), at=AT, zero_shot=zero_shot)
    entry = found.labels["c00"]
    assert (entry.score, entry.set_at) == (0.6, AT)
    assert [other.label for other in entry.alternatives] == ["grid", "fog", "cells", "fire"]
    assert entry.evidence["model"] == "ViT-B-32 (test)"
    assert entry.evidence["means"]["luma"] == pytest.approx(0.05, abs=0.02)
    plain = found.labels["c10"]
    assert (plain.source, plain.score) == ("descriptive", None)
    assert set(plain.evidence) == {"words", "colours", "means", "ranks", "presets"}


def test_a_cluster_of_which_nothing_can_be_read_has_a_reason_instead_of_a_label() -> None:
    looks = library(c00=Appearance((), "none of 3 frames can be read (a, frame-000.webp: missing on disk)", 3))
    found = compute_labels(looks, at=AT)
    assert "c00" not in found.labels
    assert found.unlabelled == {"c00": "none of 3 frames can be read (a, frame-000.webp: missing on disk)"}
    with_text = compute_labels(looks, at=AT, zero_shot=ZeroShot({"c00": ranking("fog", 0.7, "grid", "fire")}, "m"))
    assert with_text.labels["c00"].label == "fog"
    assert with_text.unlabelled == {}


def test_long_labels_of_a_list_stay_within_the_files_limit() -> None:
    name = "x" * 78
    looks = library(c00=look(seed=1, luma=0.05), c01=look(seed=2, luma=0.8))
    labels = computed(lambda: looks, c00=ranking(name, 0.6, *OTHERS), c01=ranking(name, 0.7, *OTHERS))
    assert labels["c00"] == labels["c01"] == ("zero-shot", name)
