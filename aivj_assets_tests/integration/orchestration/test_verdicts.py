"""Verdicts of the QA page over real runs: imported, they change what is published, and only that."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from aivj_assets.cli import app as cli
from aivj_assets.cluster.rows import FloatRows
from aivj_assets.contracts.cluster_labels import ClusterLabels
from aivj_assets.contracts.run_meta import RunMeta
from aivj_assets.contracts.verdicts import LineageVerdicts
from aivj_assets.definitions import build_definitions
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.batch_status import batch_status
from aivj_assets.orchestration.commands.verdicts import packs_to_publish
from aivj_assets.orchestration.guard import Evaluation, latest_evaluation, latest_materialization
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.lineage.acts import LineageActConfig, perform
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets.orchestration.reuse import is_published
from aivj_assets.orchestration.verdicts.intake import Stored, import_files
from aivj_assets.orchestration.verdicts.known import Judged, known_verdicts
from aivj_assets.orchestration.verdicts.record import bring_up_to_date
from aivj_assets.orchestration.verdicts.sensor import import_qa_verdicts
from aivj_assets_tests.builders import seed_storage
from aivj_assets_tests.house import House
from aivj_assets_tests.lineage_builders import style_rows

ONE, TWO = BatchKey("big", "batch-0001"), BatchKey("big", "batch-0002")
EARLY, LATE, LATER = "2026-03-01T10:00:00.000Z", "2026-03-01T12:00:00.000Z", "2026-03-02T12:00:00.000Z"


def rows_of_one() -> FloatRows:
    return style_rows([1, 0] * 8, seed=0)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """One batch of 16 presets in two styles, accepted and published: each test works on a copy."""
    root = DataRoot(tmp_path_factory.mktemp("verdicts") / "root")
    seed_storage(root, tmp_path_factory)
    with open_instance(root, {}) as instance:
        house = House(root, instance)
        house.add(ONE, 16)
        house.rows[ONE.key] = rows_of_one()
        assert house.run(ONE, "a").success
        assert house.publish("big").success
    return root


@pytest.fixture
def house(published: DataRoot, tmp_path: Path) -> Iterator[House]:
    shutil.copytree(published.path, tmp_path / "root")
    root = DataRoot(tmp_path / "root")
    with open_instance(root, {}) as instance:
        copied = House(root, instance)
        copied.rows[ONE.key] = rows_of_one()
        yield copied


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of verdicts, {cluster: what is said of it at 10 o'clock}."""
    numbers = itertools.count()

    def written(clusters: dict[str, dict[str, Any]], at: str = EARLY, **more: Any) -> Path:
        path = tmp_path / f"verdicts-{next(numbers)}.json"
        told = {
            name: {"verdict": None, "label": None, "note": None, "at": at, **said} for name, said in clusters.items()
        }
        base = {
            "version": "v0", "generatedAt": at, "lineage": "main", "lineageVersion": 1, "batch": ONE.key,
            "reviewer": "Ann", "clusters": told, "keep": [], "blacklist": [],
        }  # fmt: skip
        path.write_text(json.dumps({**base, **more}), encoding="utf-8")
        return path

    return written


def imported(house: House, *paths: Path) -> Stored:
    """Import as the command does, short of publishing."""
    (stored,) = import_files(house.root, paths)
    assert bring_up_to_date(house.instance, judged(house), pytest.fail) == ([ONE] if stored.changed else [])
    return stored


def judged(house: House) -> Judged:
    found = Judged.open(house.root, "main")
    assert found is not None
    return found


def files(house: House) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the published clusters and style index v1, with all four files of one publication."""
    read = {name: json.loads(data) for name, data in house.published().items()}
    assert len({content["publication"] for content in read.values()}) == 1
    return read["aivj-clusters.v0.json"], read["aivj-style-index.v1.json"]


def reviewed(house: House, batch: BatchKey = ONE) -> Evaluation:
    found = latest_evaluation(house.instance, "qa_samples", "qa_reviewed", batch.key)
    assert found is not None
    return found


def everything(root: DataRoot) -> dict[str, bytes]:
    places = [root.path / "artifacts", root.path / "public"]
    loose = [root.execution_status, root.todos]
    listed = [path for place in places for path in place.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path): path.read_bytes() for path in [*listed, *loose]}


def test_an_import_changes_index_clusters_record_check_and_diary_and_the_batch_stays_accepted(
    house: House, write: Callable[..., Path]
) -> None:
    root = house.root
    clusters, index = files(house)
    of = clusters["assignments"]
    assert {of[f"batch-0001-p{place:03d}"] for place in range(0, 16, 2)} == {"c00"}
    assert not reviewed(house).passed
    assert "[ ] big/batch-0001: QA open" in root.todos.read_text(encoding="utf-8")
    assert batch_status(house.instance, root, ONE).qa_told == "open"

    path = write(
        {"c00": {"verdict": "good", "label": "Blue Tunnel"}, "c01": {"verdict": "bad", "note": "dull"}},
        keep=[{"presets": ["batch-0001-p000", "batch-0001-p002", "batch-0001-p004"], "keep": "batch-0001-p002"}],
        blacklist=[{"presetId": "batch-0001-p006", "reason": "misfit"}, {"presetId": "elsewhere", "reason": "x"}],
    )
    stored = imported(house, path)
    assert (stored.clusters, stored.labels) == (["c00", "c01"], {"c00": "Blue Tunnel"})
    assert stored.dropped == ["batch-0001-p000", "batch-0001-p004", "batch-0001-p006"]
    assert "has 'elsewhere'; passed over" in stored.told[0]
    assert packs_to_publish(house.instance, judged(house)) == ["big"]
    assert not is_published(root, "big")
    assert house.publish("big").success
    assert packs_to_publish(house.instance, judged(house)) == []
    assert is_published(root, "big")

    after, fewer = files(house)
    left = {entry["presetId"]: entry for entry in fewer["entries"]}
    gone = {"batch-0001-p000", "batch-0001-p004", "batch-0001-p006"}
    assert (
        left.keys() == {name for name, cluster in of.items() if cluster == "c00"} - gone == after["assignments"].keys()
    )
    for entry in index["entries"]:
        if entry["presetId"] in left:
            kept = [tag for tag in entry["tags"] if not tag.startswith("label:")]
            assert left[entry["presetId"]]["tags"] == [*kept, "label:blue-tunnel"]
    (cluster,) = after["clusters"]
    assert (cluster["id"], cluster["label"], cluster["verdict"], cluster["size"]) == ("c00", "Blue Tunnel", "good", 5)
    assert after["qa"]["clustersLeftOut"] == [
        {"id": "c01", "label": after["qa"]["clustersLeftOut"][0]["label"], "presets": 8}
    ]
    listed = json.loads(root.quality_blacklist("big").read_text(encoding="utf-8"))
    assert set(listed["badIds"]) == gone
    assert listed["badReasonsByRelPath"]["big/files/batch-0001-p006.json"] == ["misfit"]

    assert house.accepted(ONE)
    qa = RunMeta.load(root.batch(ONE).run_meta).qa
    assert (qa.state, qa.verdict, qa.reviewer, qa.good_fraction) == ("reviewed", "mixed", "Ann", 0.5)
    found = latest_materialization(house.instance, "run_record", ONE.key)
    assert found is not None
    assert found[1].metadata["qa"].value == "mixed"
    assert reviewed(house).passed
    assert reviewed(house).metadata["good_fraction"] == 0.5
    assert "- [x] big/batch-0001: QA mixed by Ann" in root.todos.read_text(encoding="utf-8")
    status = batch_status(house.instance, root, ONE)
    assert (status.qa_told, [check.check for check in status.warnings if check.check == "qa_reviewed"]) == (
        "mixed, 100% reviewed", [],
    )  # fmt: skip

    # The same file again: not a byte, not an event.
    before, event = everything(root), found[0]
    assert not imported(house, path).changed
    assert everything(root) == before
    again = latest_materialization(house.instance, "run_record", ONE.key)
    assert again is not None
    assert again[0] == event
    # A run keeps what was concluded, and a dropped preset stays dropped.
    assert house.run(ONE, "a").success
    assert house.accepted(ONE)
    assert RunMeta.load(root.batch(ONE).run_meta).qa == qa
    assert house.publish("big").success
    assert files(house)[1]["entries"] == fewer["entries"]


def test_a_pack_may_mark_bad_clusters_and_one_without_a_good_one_stays_as_published(
    house: House, write: Callable[..., Path]
) -> None:
    before = house.published()
    imported(house, write({"c00": {"verdict": "bad"}, "c01": {"verdict": "bad"}}))
    refused = house.publish("big")
    assert not refused.success
    (said,) = house.told(refused)[0]
    assert "nothing would be left to publish" in said
    assert "c00, c01" in said
    assert house.published() == before

    (house.root.pack_dir("big") / "aivj-pack.json").write_text('{"qa": {"bad": "mark"}}', encoding="utf-8")
    marked = house.publish("big")
    assert marked.success
    clusters, index = files(house)
    assert len(index["entries"]) == 16
    assert all("qa:bad" in entry["tags"] for entry in index["entries"])
    assert {one["verdict"] for one in clusters["clusters"]} == {"bad"}
    # A later look: the mark goes.
    imported(house, write({"c00": {"verdict": "good"}}, at=LATE))
    assert house.publish("big").success
    tagged = {entry["authorKey"]: "qa:bad" in entry["tags"] for entry in files(house)[1]["entries"]}
    assert tagged == {"c00": False, "c01": True}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"lineage": "other"}, "there is no lineage 'other' (known: main)"),
        ({"lineage": "../main"}, "cannot name a lineage"),
        ({"lineageVersion": 2}, "of version 2 of lineage 'main', which is at version 1"),
        ({"clusters": {"c77": {"verdict": "good", "at": EARLY}}}, "has never had 'c77'"),
        ({"batch": "big/../x"}, "is no batch"),
        ({"generatedAt": "2199-01-01T00:00:00Z"}, "is from the future"),
        ({"version": "v9"}, "is not as agreed"),
    ],
)
def test_a_file_that_cannot_be_imported_stores_nothing_also_of_the_files_beside_it(
    house: House, write: Callable[..., Path], more: dict[str, Any], said: str
) -> None:
    good, bad = write({"c00": {"verdict": "good", "label": "Blue"}}), write({})
    bad.write_text(json.dumps({**json.loads(bad.read_text(encoding="utf-8")), **more}), encoding="utf-8")
    before = everything(house.root)
    with pytest.raises(UserError) as refused:
        import_files(house.root, [good, bad])
    assert said in str(refused.value)
    assert str(bad) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert everything(house.root) == before


def test_a_malformed_blacklist_stops_an_import_before_anything_is_stored(
    house: House, write: Callable[..., Path]
) -> None:
    house.root.quality_blacklist("big").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"Mend it, or move it away"):
        import_files(house.root, [write({}, blacklist=[{"presetId": "batch-0001-p000", "reason": "misfit"}])])
    assert not house.root.lineage("main").verdicts.exists()


def test_the_order_of_two_reviewers_files_does_not_matter(
    house: House, write: Callable[..., Path], tmp_path: Path
) -> None:
    ann = write(
        {"c00": {"verdict": "good", "label": "Blue"}, "c01": {"verdict": "mixed"}}, at=EARLY,
        keep=[{"presets": ["batch-0001-p000", "batch-0001-p002"], "keep": "batch-0001-p000"}],
    )  # fmt: skip
    ben = write(
        {"c00": {"verdict": "bad", "note": "dull"}}, at=LATE, reviewer="Ben",
        keep=[{"presets": ["batch-0001-p000", "batch-0001-p002"], "keep": "batch-0001-p002"}],
    )  # fmt: skip
    cem = write({"c01": {"label": "Red"}, "c00": {"label": "Deep blue"}}, at=LATER, reviewer=None)
    outcomes = []
    for number, order in enumerate(itertools.permutations((ann, ben, cem))):
        copy = DataRoot(tmp_path / f"copy-{number}")
        shutil.copytree(house.root.path, copy.path)
        for path in order:
            import_files(copy, [path])
        listed = json.loads(copy.quality_blacklist("big").read_text(encoding="utf-8"))
        labels = ClusterLabels.load(copy.lineage("main").labels).labels
        kept = LineageVerdicts.of(copy.lineage("main")).to_json()
        outcomes.append(
            (
                {**kept, "generatedAt": None},
                {name: (entry.label, entry.set_at) for name, entry in labels.items()},
                {**listed, "generatedAt": None},
            )
        )
    assert all(outcome == outcomes[0] for outcome in outcomes)
    kept, labels, listed = outcomes[0]
    assert [one["reviewer"] for one in kept["clusters"]["c00"] if "reviewer" in one] == ["Ben", "Ann"]
    assert labels == {"c00": ("Deep blue", LATER), "c01": ("Red", LATER)}
    assert listed["badIds"] == ["batch-0001-p000"]


def test_a_verdict_carries_over_is_asked_again_when_its_cluster_grew_and_stays_with_a_retired_id(
    house: House, write: Callable[..., Path]
) -> None:
    imported(house, write({"c00": {"verdict": "good"}, "c01": {"verdict": "bad"}}))
    # 2 of 10 are new in c00, 6 of 14 in c01.
    house.add(TWO, 8)
    house.rows[TWO.key] = style_rows([1] * 2 + [0] * 6, seed=5)
    assert house.run(TWO, "a").success
    known = known_verdicts(house.root, TWO)
    assert {name: (one["verdict"], one["carried"]) for name, one in known.items()} == {
        "c00": ("good", True), "c01": ("bad", "changed"),
    }  # fmt: skip
    assert known["c01"]["why"] == "43% of its presets are new since"
    assert not reviewed(house, TWO).passed
    assert "1 changed much since they were judged" in (reviewed(house, TWO).description or "")
    # The publication tells it of the batch that was reviewed, too; bad stays bad until it is judged again.
    assert house.publish("big").success
    assert {entry["authorKey"] for entry in files(house)[1]["entries"]} == {"c00"}
    assert not reviewed(house, ONE).passed
    assert RunMeta.load(house.root.batch(ONE).run_meta).qa.state == "open"
    assert house.accepted(ONE)
    assert "[ ] big/batch-0001: QA open: 1 of 2 clusters judged" in house.root.todos.read_text(encoding="utf-8")

    import_files(house.root, [write({"c01": {"verdict": "good"}}, at=LATE, lineageVersion=2)])
    assert set(bring_up_to_date(house.instance, judged(house), pytest.fail)) == {ONE, TWO}
    assert {one["carried"] for one in known_verdicts(house.root, ONE).values()} == {True}
    assert reviewed(house, TWO).passed

    # A batch that left is told, and its verdicts count all the same.
    perform(house.root, LineageActConfig(act="remove", batch=TWO.key, reason="taste"))
    gone = write({"c00": {"verdict": "mixed"}}, at=LATER, lineageVersion=2, batch=TWO.key)
    (stored,) = import_files(house.root, [gone])
    assert stored.told == [f"{gone.name}: batch {TWO} is not in lineage 'main' any more; its verdicts count."]
    assert judged(house).known["c00"].verdict == "mixed"


def tick(house: House, repository: dg.RepositoryDefinition, cursor: str | None) -> SensorExecutionData:
    with dg.build_sensor_context(
        instance_ref=house.instance.get_ref(), cursor=cursor, repository_def=repository,
        resources={"data_root": DataRootResource(path=str(house.root.path))},
    ) as context:  # fmt: skip
        return import_qa_verdicts.evaluate_tick(context)


def test_files_in_the_inbox_are_imported_once_and_what_they_change_is_published(
    house: House, write: Callable[..., Path]
) -> None:
    repository = build_definitions().get_repository_def()
    inbox = house.root.lineage("main").inbox
    assert not tick(house, repository, None).run_requests
    inbox.mkdir()
    shutil.copy(write({"c00": {"verdict": "good"}}), inbox / "ann.json")
    (inbox / "half.json").write_text('{"version": "v0", "gen', encoding="utf-8")
    first = tick(house, repository, None)
    (request,) = first.run_requests or []
    assert (request.partition_key, str(request.run_key).startswith("big:verdicts-")) == ("big", True)
    assert judged(house).known["c00"].verdict == "good"
    assert house.publish("big").success

    assert not tick(house, repository, first.cursor).run_requests
    # The rest of it arrives; a lost cursor asks for nothing that is done.
    shutil.copy(write({"c01": {"verdict": "bad"}}, at=LATE), inbox / "half.json")
    second = tick(house, repository, first.cursor)
    (request,) = second.run_requests or []
    assert house.publish("big").success
    assert {entry["authorKey"] for entry in files(house)[1]["entries"]} == {"c00"}
    assert not tick(house, repository, None).run_requests


def test_the_command_line_imports_publishes_and_shows(
    house: House, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIVJ_ROOT", str(house.root.path))
    monkeypatch.setenv("COLUMNS", "200")

    def said(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["aivj", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), "".join(capfd.readouterr())

    path = write({"c00": {"verdict": "good", "label": "[bold]Tunnel"}, "c01": {"verdict": "bad", "note": "dull"}})
    status, text = said("qa", "import", str(path))
    assert status == 0, text
    assert "Lineage main: 2 clusters, 1 renamed." in text
    assert "big/batch-0001: 2 of 2 clusters judged (1 good, 0 mixed, 1 bad)" in text
    assert "Publishing 'big'" in text
    assert len(files(house)[1]["entries"]) == 8
    status, text = said("qa", "import", str(path))
    assert (status, text.splitlines()) == (0, ["Lineage main: nothing new."])
    status, text = said("qa", "show", "big")
    assert status == 0
    assert "[bold]Tunnel" in text
    assert "big/batch-0001: mixed, 2 of 2 clusters judged" in text
    dropped = write({}, at=LATE, blacklist=[{"presetId": "batch-0001-p000", "reason": "misfit"}])
    assert "1 presets blacklisted" in said("qa", "import", str(dropped))[1]
    assert len(files(house)[1]["entries"]) == 7
    assert "drops 'batch-0001-p002'" in said("qa", "restore", "big", "batch-0001-p000", "batch-0001-p002")[1]
    assert said("qa", "restore", "big", "batch-0001-p000")[0] == 0
    assert len(files(house)[1]["entries"]) == 8
    # The file that dropped it is older than that.
    assert "nothing new" in said("qa", "import", str(dropped))[1]
    assert json.loads(house.root.quality_blacklist("big").read_text(encoding="utf-8"))["badIds"] == []

    path.write_text("{", encoding="utf-8")
    status, text = said("qa", "import", str(path))
    assert status != 0
    assert f"{path} is not JSON" in text
    assert "Traceback" not in text
