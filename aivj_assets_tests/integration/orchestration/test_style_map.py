"""`aivj map` and its asset over batches that ran through the hall: what is on the map, what stays, what is refused."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from aivj_assets.contracts.style_map import StyleMap, load_points
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.assets import style_map as asset_module
from aivj_assets.orchestration.assets.style_map import gather_map, make_map, style_map
from aivj_assets.orchestration.commands import pack as pack_command
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.launch import RunOutcome
from aivj_assets.orchestration.lineage.store import Lineage, lineage_of
from aivj_assets.orchestration.resources import DataRootResource
from aivj_assets_tests.builders import seed_storage
from aivj_assets_tests.house import House
from aivj_assets_tests.integration.orchestration.conftest import Says

FIRST, SECOND = BatchKey("big", "batch-0001"), BatchKey("big", "batch-0002")
LONE = BatchKey("lone")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    made = DataRoot(tmp_path_factory.mktemp("style-map") / "root")
    seed_storage(made, tmp_path_factory)
    with open_instance(made, {}) as instance:
        house = House(made, instance)
        for batch in (FIRST, SECOND, LONE):
            house.add(batch, 24)
        assert house.run(FIRST, "a").success
        assert house.run(LONE, "a").success
    return made


def files(root: DataRoot, pack: str) -> dict[str, bytes]:
    qa = root.style_map(pack).qa
    return {path.relative_to(qa).as_posix(): path.read_bytes() for path in qa.rglob("*") if path.is_file()}


def materialized(root: DataRoot, instance: dg.DagsterInstance, pack: str) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [style_map], partition_key=pack, instance=instance, raise_on_error=False,
        resources={"data_root": DataRootResource(path=str(root.path))},
    )  # fmt: skip


def test_the_command_maps_the_accepted_batches_and_the_next_map_begins_from_it(root: DataRoot, says: Says) -> None:
    status, out, err = says("map", "big")
    assert (status, err) == (0, "")
    place = root.style_map("big")
    made = StyleMap.load(place.files.facts)
    assert [(batch.batch, batch.presets) for batch in made.batches] == [(FIRST.key, 24)]
    assert list(made.left_out) == [SECOND.key]
    for words in ("Style map of 24 presets", f"Batch {SECOND} is not on it: ", "map.html"):
        assert words in out
    assert not root.style_map_progress("big").exists()
    with open_instance(root, {}) as instance:
        assert House(root, instance).run(SECOND, "a").success
        lineage = Lineage.open(lineage_of(root, "big"))
        assert lineage is not None
        mapped = gather_map(instance, root, "big")
        # Ids are those of the version in force, also for the batch that joined an earlier one.
        for batch in (FIRST, SECOND):
            known = lineage.batch(batch.key)
            assert known is not None
            wanted = lineage.ids_of(known)
            shown = dict(zip(mapped.points.ids, mapped.points.clusters, strict=True))
            assert {name: shown[name] for name in wanted} == wanted
        before = load_points(place.files)
        result = materialized(root, instance, "big")
        assert result.success
    (event,) = result.asset_materializations_for_node("style_map")
    grown = StyleMap.load(place.files.facts)
    assert (event.tags or {})["dagster/data_version"] == grown.digest
    assert (event.metadata["presets"].value, event.metadata["known_presets"].value) == (48, 24)
    assert str(event.metadata["page"].value) == str(place.page)
    assert (grown.presets, grown.begun_from, grown.lineage_version) == (48, 24, lineage.facts.number)
    assert set(load_points(place.files)) > set(before)
    assert "../batch-0002/qa-samples/index.html" in place.page.read_text(encoding="utf-8")


def test_nothing_moves_when_nothing_changed_and_the_review_page_leaves_the_map(root: DataRoot) -> None:
    with open_instance(root, {}) as instance:
        first = make_map(instance, root, "lone", seed=1)
        points = load_points(root.style_map("lone").files)
        again = make_map(instance, root, "lone", seed=1)
        assert (again.digest, load_points(root.style_map("lone").files)) == (first.digest, points)
        before = {name: data for name, data in files(root, "lone").items() if name.startswith("map")}
        # In a pack of one batch the review page lies in the same folder.
        assert House(root, instance).make(LONE, "qa_samples", checks=False).success
    after = files(root, "lone")
    assert {name: data for name, data in after.items() if name.startswith("map")} == before
    assert "index.html" in after
    assert '"page":"index.html"' in after["map.html"].decode("utf-8")


def test_what_breaks_off_leaves_the_map_before(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_instance(root, {}) as instance:
        make_map(instance, root, "lone", seed=1)
        before = files(root, "lone")

        def stopped(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        for name in ("lay_out", "write_map_side", "save_points"):
            with monkeypatch.context() as patch:
                patch.setattr(asset_module, name, stopped)
                with pytest.raises(KeyboardInterrupt):
                    # Another seed: else the places of the last map are taken.
                    make_map(instance, root, "lone", seed=2)
            assert files(root, "lone") == before
    assert not root.style_map_progress("lone").exists()


def test_broken_files_of_the_last_map_only_cost_its_places(root: DataRoot) -> None:
    side = root.style_map("lone").files
    with open_instance(root, {}) as instance:
        make_map(instance, root, "lone", seed=1)
        for broken in (b"", b"x", side.points.read_bytes()[:-4]):
            side.points.write_bytes(broken)
            assert make_map(instance, root, "lone", seed=1).begun_from == 0
        np.save(side.points, np.full((24, 2), np.nan), allow_pickle=False)
        assert load_points(side) == {}
        side.facts.write_text("{", encoding="utf-8")
        assert make_map(instance, root, "lone", seed=1).presets == 24


def test_a_frame_that_is_gone_leaves_an_empty_place(root: DataRoot) -> None:
    folder = root.batch(LONE).frames_dir
    frames = sorted(folder.rglob("frame-*"))
    hidden: list[tuple[Path, Path]] = [(path, path.with_suffix(".away")) for path in frames[:3]]
    for path, away in hidden:
        path.rename(away)
    try:
        with open_instance(root, {}) as instance:
            made = make_map(instance, root, "lone", seed=1)
    finally:
        for path, away in hidden:
            away.rename(path)
    assert made.presets == 24
    assert len(made.without_picture) == len({path.parent for path, _ in hidden})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["map", "nosuch"], "There is no pack 'nosuch'"), (["map", "a b"], "cannot name a pack")],
)
def test_a_mistake_on_the_command_line_is_one_line_and_status_2(says: Says, arguments: list[str], told: str) -> None:
    status, out, err = says(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert told in err


def test_a_pack_without_an_accepted_batch_is_refused_in_one_line(root: DataRoot) -> None:
    with open_instance(root, {}) as instance:
        House(root, instance).add(BatchKey("fresh"), 5)
        with pytest.raises(
            UserError, match=r"Pack 'fresh' has no accepted batch to map \(fresh: .*aivj run fresh"
        ) as refused:
            make_map(instance, root, "fresh", seed=1)
    assert "\n" not in str(refused.value)
    assert not root.style_map("fresh").page.exists()


def test_an_interruption_says_that_the_map_before_stays(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_command, "run_pack_job", lambda *_: RunOutcome("r", success=False, interrupted=True))
    assert says("map", "lone") == (130, "", "Stopped. An earlier map stays as it was.\n")
    monkeypatch.setattr(pack_command, "run_pack_job", lambda *_: RunOutcome("r", success=False, problems=["no row"]))
    assert says("map", "lone") == (1, "Failed: no row\n", "")
