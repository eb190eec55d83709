"""`aivj audio-style`: shows in, a model out that is published or refused, in Dagster's own storage."""

from __future__ import annotations

import json

import dagster as dg
import pytest

from aivj_assets.contracts.audio_style_model import AudioStyleModel
from aivj_assets.contracts.style import ENERGIES, StyleEntry, StyleIndex
from aivj_assets.layout import AUDIO_STYLE_NAME, DataRoot, style_index_name
from aivj_assets.orchestration.assets.audio_style_model import audio_style_model, audio_style_publication
from aivj_assets.orchestration.guard import latest_evaluation
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.launch import explain_run
from aivj_assets.orchestration.partitions import PACKS
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.show.learn.style_model import StyleModel
from aivj_assets_tests.builders import NOW, write_manifest
from aivj_assets_tests.integration.orchestration.conftest import Says
from aivj_assets_tests.show_logs import Show, Taste, taste_of_audio, taste_of_tier

PACK = "pack"
CLUSTERS = ["c00", "c01", "c02", "c05"]
TRACKS = 8


def publish_index(root: DataRoot) -> None:
    """Write an index in which each cluster has five presets, of all tiers."""
    write_manifest(root, PACK, ["p"], files=False)
    entries = [
        StyleEntry(preset_id=f"{cluster}-p{number}", author_key=cluster, energy=ENERGIES[number % 3], tags=[])
        for cluster in CLUSTERS
        for number in range(6)
    ]
    StyleIndex(version="v1", generated_at=NOW, pack=PACK, entries=entries).save(
        root.published(PACK, style_index_name("v1"))
    )


def play(root: DataRoot, taste: Taste | None, *, tracks: int = TRACKS, picks: int = 50) -> None:
    """Put the shows of a person in the place of those that lie there."""
    for old in root.shows_dir(PACK).glob("*.jsonl"):
        old.unlink()
    for number in range(tracks):
        Show(CLUSTERS, taste, track=f"track-{number}", seed=3, picks=picks, noise=0.05).save(root.shows_dir(PACK))


def run(root: DataRoot, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions(str(PACKS.name), [PACK])
    return dg.materialize(
        [audio_style_model, audio_style_publication], partition_key=PACK, instance=instance, raise_on_error=False,
        resources={"data_root": DataRootResource(path=str(root.path))},
    )  # fmt: skip


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    (event,) = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}


def test_shows_in_which_the_audio_explains_the_style_publish_a_model_and_others_take_it_back(root: DataRoot) -> None:
    publish_index(root)
    published = root.published(PACK, AUDIO_STYLE_NAME)
    with open_instance(root, {}) as instance:
        play(root, taste_of_audio(4))
        first = run(root, instance)
        assert first.success
        verdict = latest_evaluation(instance, "audio_style_model", "model_beats_baseline", PACK)
        assert verdict is not None
        assert verdict.passed
        assert metadata(first, "audio_style_publication")["model"] == "published"
        table = str(metadata(first, "audio_style_model")["compared"])
        assert "style frequency in each tier" in table
        model = StyleModel.load(published)
        bass = {"lowMean": 0.7, "brightnessMean": 0.2}
        bright = {"lowMean": 0.1, "brightnessMean": 0.9}
        assert model.probabilities(bass, "groove")["c02"] > 0.4
        assert model.probabilities(bright, "groove")["c01"] > 0.4
        assert "retrieval" not in json.loads(published.read_text(encoding="utf-8"))

        before = published.read_bytes(), root.audio_style_model(PACK).read_bytes()
        again = run(root, instance)
        assert metadata(again, "audio_style_model")["trained_anew"] is False
        assert (published.read_bytes(), root.audio_style_model(PACK).read_bytes()) == before

        play(root, taste_of_tier(4))
        confounded = run(root, instance)
        assert confounded.success
        assert metadata(confounded, "audio_style_publication")["model"] == "withdrawn"
        assert not published.exists()
        assert "not surely better than the frequency of styles in each tier" in str(
            metadata(confounded, "audio_style_model")["verdict"]
        )


def test_a_person_whose_skips_have_nothing_to_do_with_the_style_is_not_followed(root: DataRoot) -> None:
    publish_index(root)
    play(root, None)
    with open_instance(root, {}) as instance:
        result = run(root, instance)
        assert result.success
        verdict = latest_evaluation(instance, "audio_style_model", "model_beats_baseline", PACK)
        assert verdict is not None
        assert not verdict.passed
        assert metadata(result, "audio_style_publication")["model"] == "not published"
    assert not root.published(PACK, AUDIO_STYLE_NAME).exists()


def test_a_model_that_was_changed_by_hand_is_withdrawn(root: DataRoot) -> None:
    publish_index(root)
    play(root, taste_of_audio(4))
    with open_instance(root, {}) as instance:
        run(root, instance)
        path = root.audio_style_model(PACK)
        path.write_text(path.read_text(encoding="utf-8").replace('"clip": 6.0', '"clip": 5.0'), encoding="utf-8")
        result = dg.materialize(
            [audio_style_publication], partition_key=PACK, instance=instance, raise_on_error=False,
            resources={"data_root": DataRootResource(path=str(root.path))},
        )  # fmt: skip
        assert metadata(result, "audio_style_publication")["model"] == "withdrawn"
        assert "file was changed" in str(metadata(result, "audio_style_publication")["because"])
    assert not root.published(PACK, AUDIO_STYLE_NAME).exists()


def test_shows_that_nobody_judged_are_one_line_and_what_is_published_stays(root: DataRoot) -> None:
    publish_index(root)
    published = root.published(PACK, AUDIO_STYLE_NAME)
    published.write_text("{}", encoding="utf-8")
    Show(CLUSTERS, taste_of_audio(4), source="rehearsal").save(root.shows_dir(PACK))
    with open_instance(root, {}) as instance:
        result = run(root, instance)
        (problem,) = explain_run(instance, result.run_id)[0]
    assert problem.startswith("Pack 'pack' has nothing to learn from (0 logs of shows, no pick that a person judged)")
    assert "aivj show pack" in problem
    assert published.read_text(encoding="utf-8") == "{}"


def test_the_command_prints_the_table_and_the_verdict_of_one_track(root: DataRoot, says: Says) -> None:
    publish_index(root)
    play(root, taste_of_audio(4), tracks=1)
    Show(CLUSTERS, taste_of_audio(4), track="track-0", seed=9).save(root.shows_dir(PACK))
    status, out, err = says("audio-style", PACK)
    assert (status, err) == (1, "")
    assert "The rule stays: persons judged picks of 1 track, and fewer than 5" in " ".join(out.split())
    made = AudioStyleModel.load(root.audio_style_model(PACK))
    assert (made.evaluation.groups, made.published, made.evidence.logs) == (1, False, 2)
    assert not root.published(PACK, AUDIO_STYLE_NAME).exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nosuch"], "There is no pack 'nosuch'"),
        ([PACK], "Pack 'pack' has no log of a show to learn from: play one with aivj show pack"),
        ([PACK, "--model", "forest"], "--model forest: use logistic or mlp"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_status_2(
    root: DataRoot, says: Says, arguments: list[str], told: str
) -> None:
    publish_index(root)
    status, out, err = says("audio-style", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert told in err
