"""Batches join a lineage on disk: in any order, again, changed, killed on the way; acts of a person; broken files."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from aivj_assets.cli import app as cli
from aivj_assets.contracts.cluster_labels import ClusterLabels
from aivj_assets.contracts.clusters import Clusters
from aivj_assets.contracts.embeddings import Embeddings, load_embeddings, save_embeddings
from aivj_assets.contracts.frames_index import OkRecord, read_records, write_records
from aivj_assets.contracts.lineage import RemovedBatches, load_migration
from aivj_assets.contracts.pack_settings import set_lineage
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.commands.lineage import label_cluster
from aivj_assets.orchestration.lineage import join as lineage_join
from aivj_assets.orchestration.lineage.acts import LineageActConfig, perform, replay
from aivj_assets.orchestration.lineage.findings import PUBLISHED_IDS_KEPT, lineage_findings
from aivj_assets.orchestration.lineage.join import ClusterChoice, JoinedBatch, Joining, ids_are_current
from aivj_assets.orchestration.lineage.store import Lineage, lineage_of
from aivj_assets_tests.builders import embeddings_meta, write_frames_meta, write_index, write_manifest
from aivj_assets_tests.lineage_builders import names, sha, style_rows

COUNT = 40


class Library:
    """Batches of presets of known styles in a data root; each joins when it is told to."""

    def __init__(self, root: DataRoot) -> None:
        self.root = root

    def add(self, key: str, ids: list[str], rows: np.ndarray[Any, Any], *, weights: str = "0") -> BatchKey:
        """Write a batch up to its embeddings; the content of preset `x` is the same in every batch."""
        batch = BatchKey.parse(key)
        write_manifest(self.root, key, ids, files=False)
        folder = write_index(self.root, key, ids, captures=1)
        records = [
            record.model_copy(update={"preset_sha256": sha(record.preset_id)})
            for record in read_records(folder.frames_index).values()
            if isinstance(record, OkRecord)
        ]
        write_records(folder.frames_index, records)
        write_frames_meta(self.root, key)
        meta = embeddings_meta(len(ids), rows.shape[1], weights_sha256=weights * 64)
        save_embeddings(folder, Embeddings(rows, ids, meta))
        return batch

    def styles(self, key: str, prefix: str, styles: list[int], *, seed: int) -> BatchKey:
        return self.add(key, names(prefix, len(styles)), style_rows(styles, seed=seed))

    def join(self, batch: BatchKey, **choice: Any) -> JoinedBatch:
        folder = lineage_of(self.root, batch.pack)
        embeddings = load_embeddings(self.root.batch(batch))
        return Joining(self.root, folder, batch, embeddings, ClusterChoice(**choice)).join()

    def lineage(self, name: str = "main") -> Lineage:
        opened = Lineage.open(self.root.lineage(name))
        assert opened is not None
        return opened

    def ids(self, batch: BatchKey) -> dict[str, str]:
        return Clusters.load(self.root.batch(batch).clusters).assignments

    def act(self, act: str, **more: Any) -> Any:
        return perform(self.root, LineageActConfig(act=act, reason="a test", **more))


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(DataRoot(tmp_path / "root"))


def five(library: Library) -> list[BatchKey]:
    """Return five batches of one pack, each with presets of styles 0 to 3; the last two bring a style of their own."""
    made = []
    for number in range(1, 6):
        mixed = [style for style in range(4) for _ in range(COUNT)] + ([3 + number] * 2 * COUNT if number > 3 else [])
        made.append(library.styles(f"big/batch-{number:04d}", f"b{number}-", mixed, seed=number))
    return made


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [1, 3, 4, 0, 2]])
def test_each_batch_extends_the_head_whatever_their_order(library: Library, order: list[int]) -> None:
    batches = five(library)
    published: dict[str, str] = {}
    for place in order:
        library.join(batches[place], k=4, k_limit=9)
        now = {
            name: cluster
            for batch in library.lineage().facts.batches
            for name, cluster in library.lineage().ids_of(batch).items()
        }
        assert published.items() <= now.items()
        published = now
        assert ids_are_current(library.root, batches[place])
        assert all(
            finding.passed
            for finding in lineage_findings(
                library.root, batches[place], Clusters.load(library.root.batch(batches[place]).clusters)
            )
            if finding.severity == "error"
        )
    lineage = library.lineage()
    assert lineage.keys == [batches[place].key for place in order]
    assert len(lineage.version) == len(published) == 5 * 4 * COUNT + 2 * 2 * COUNT
    # Styles are told apart: those of the first batch, and those that came later.
    for prefix, places in (("b1-", [0, 40, 80, 120]), ("b4-", [0, 160]), ("b5-", [0, 160])):
        assert len({published[f"{prefix}{place:03d}"] for place in places}) == len(places)
    assert published["b1-000"] == published["b5-000"]
    # The order is recorded: the chain of `previous`, and a replay gives every version again.
    before = [Clusters.load(library.root.batch(batches[place]).clusters).previous for place in order]
    assert before == [None, *(batches[place].key for place in order[:-1])]
    assert replay(lineage.folder) == []


def test_a_batch_again_leaves_every_file_as_it_was(library: Library) -> None:
    batches = five(library)
    for batch in batches:
        library.join(batch, k=4)
    before = {batch: library.root.batch(batch).clusters.read_bytes() for batch in batches}
    again = library.join(batches[2], k=4)
    assert again.act is None
    assert library.lineage().facts.number == 5
    assert {batch: library.root.batch(batch).clusters.read_bytes() for batch in batches} == before
    # Its file lost, it is written as it was, but for the larger lineage that it tells of.
    library.root.batch(batches[2]).clusters.unlink()
    library.join(batches[2], k=4)
    assert library.ids(batches[2]) == json.loads(before[batches[2]])["assignments"]


def test_packs_of_one_library_share_their_presets_ids(library: Library) -> None:
    small = library.styles("lib-2k", "p", [style for style in range(4) for _ in range(COUNT)], seed=1)
    first = library.join(small, k=4)
    rows = np.asarray(load_embeddings(library.root.batch(small)).vectors)
    large = library.add(
        "lib-15k", [*names("q", COUNT), *names("p", 4 * COUNT)], np.concatenate([style_rows([6] * COUNT, seed=9), rows])
    )
    joined = library.join(large, k=4)
    assert joined.act is not None
    assert len(joined.act.brought) == COUNT
    known = {name: cluster for name, cluster in joined.clusters.assignments.items() if name.startswith("p")}
    assert known == first.clusters.assignments
    assert (library.lineage().facts.batches[1].presets, library.lineage().facts.batches[1].brought) == (
        5 * COUNT,
        COUNT,
    )
    # Another lineage is another world.
    (library.root.pack_dir("own") / "aivj-pack.json").parent.mkdir(parents=True)
    (library.root.pack_dir("own") / "aivj-pack.json").write_text('{"lineage": "mine"}', encoding="utf-8")
    own = library.join(library.styles("own", "p", [5] * COUNT, seed=3), k=2)
    assert own.clusters.assignments["p000"] in {"c00", "c01"}
    assert library.root.find_lineages() == ["main", "mine"]


def test_removed_a_batch_stays_out_until_it_is_let_in_again(library: Library) -> None:
    batches = five(library)
    for batch in batches[:3]:
        library.join(batch, k=4)
    others = {batch: library.lineage().ids_of(library.lineage().batch(batch.key)) for batch in batches[:2]}  # type: ignore[arg-type]
    done = library.act("remove", batch=batches[2].key)
    assert (done.packs, len(library.lineage().version)) == (["big"], 2 * 4 * COUNT)
    assert library.lineage().keys == [batch.key for batch in batches[:2]]
    assert {batch: library.lineage().ids_of(library.lineage().batch(batch.key)) for batch in batches[:2]} == others  # type: ignore[arg-type]
    assert library.root.batch(batches[2]).embeddings.exists()
    with pytest.raises(
        UserError, match=r"was removed from lineage 'main' \(a test\).*aivj lineage readmit big/batch-0003"
    ):
        library.join(batches[2], k=4)
    with pytest.raises(UserError, match="was not removed"):
        library.act("readmit", batch=batches[1].key)
    library.act("readmit", batch=batches[2].key)
    library.join(batches[2], k=4)
    assert library.lineage().keys == [batch.key for batch in batches[:3]]
    assert RemovedBatches.of(library.lineage().folder).batches == {}
    assert replay(library.lineage().folder) == []


def test_a_major_changes_ids_by_its_table_and_the_batch_s_files_follow(library: Library) -> None:
    # A style of its own in the second batch has to join others: the limit lets nothing be founded.
    plain = [style for style in range(3) for _ in range(300)]
    first = library.styles("big/batch-0001", "a", plain, seed=1)
    library.join(first, k=3, k_limit=3)
    second = library.styles("big/batch-0002", "b", [*plain, *[9] * 60], seed=2)
    library.join(second, k=3, k_limit=3)
    done = library.act("major", lineage="main", k_limit=6)
    facts = library.lineage().facts
    assert (facts.kind, facts.reason, facts.parent) == ("major", "a test", 2)
    assert facts.births
    assert 0 < facts.changed <= 0.05 * facts.presets
    assert "published ids" in done.sentence
    table = load_migration(library.lineage().folder, facts.number)
    assert table is not None
    assert len(table.presets) == facts.changed == sum(line.presets for line in table.clusters)
    assert {line.preset_id[0] for line in table.presets} <= {"a", "b"}
    assert replay(library.lineage().folder) == []
    stale = [batch for batch in (first, second) if not ids_are_current(library.root, batch)]
    assert stale
    for batch in stale:
        library.join(batch)
        assert ids_are_current(library.root, batch)
    # A table that lacks a line does not account for its change, nor does one that was tampered with.
    path = library.lineage().folder.version(facts.number) / "migration.json"
    whole = path.read_bytes()
    content = json.loads(whole)
    content["presets"] = content["presets"][1:]
    path.write_text(json.dumps(content), encoding="utf-8")
    kept = _kept_finding(library, stale[0])
    assert not kept.passed
    assert "changes the cluster of 1 published presets" in kept.detail
    path.write_bytes(whole)
    assert _kept_finding(library, stale[0]).passed


def _kept_finding(library: Library, batch: BatchKey) -> Any:
    found = lineage_findings(library.root, batch, Clusters.load(library.root.batch(batch).clusters))
    return next(finding for finding in found if finding.name == PUBLISHED_IDS_KEPT)


def test_strategies_that_would_change_published_ids_are_refused_and_change_nothing(library: Library) -> None:
    first, second, *_ = five(library)
    library.join(first, k=4)
    head = library.lineage().folder.head.read_bytes()
    for strategy in ("versioned", "hungarian"):
        if strategy == "hungarian":
            # Two styles of the second batch are one cluster of the first: the fit cuts otherwise.
            second = library.styles("big/batch-0002", "n", [0] * 10 + [8] * 150 + [9] * 150, seed=8)
        with pytest.raises(
            UserError,
            match=rf"strategy '{strategy}' changes the cluster of \d+ published presets.*take strategy lineage",
        ):
            library.join(second, k=4, strategy=strategy)
        assert library.lineage().folder.head.read_bytes() == head
        assert not library.root.batch(second).clusters.exists()
    library.join(second, k=4, strategy="minor")
    assert library.lineage().facts.kind == "minor"


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"k": 7}, r"Lineage 'main' began with k 4, not 7"),
        ({"strategy": "major"}, r"strategies lineage, minor, warm_start, hungarian, versioned, not 'major'"),
        ({"strategy": "best"}, r"not 'best'"),
        ({"k_limit": 2}, r"k limit 2 is below the 4 clusters"),
    ],
)
def test_what_a_batch_may_not_choose(library: Library, choice: dict[str, Any], said: str) -> None:
    first, second, *_ = five(library)
    library.join(first, k=4)
    with pytest.raises(UserError, match=said):
        library.join(second, **choice)
    assert library.lineage().facts.number == 1


def test_the_only_batch_of_a_lineage_decides_anew(library: Library) -> None:
    first = library.styles("solo", "p", [style for style in range(6) for _ in range(COUNT)], seed=1)
    assert library.join(first, k=3).lineage.version.state.numbers.tolist() == [0, 1, 2]
    again = library.join(first, k=6)
    assert again.lineage.version.state.numbers.tolist() == [3, 4, 5, 6, 7, 8]
    assert [line.id for line in again.lineage.facts.retirements] == ["c00", "c01", "c02"]
    assert "k 6" in again.lineage.facts.retirements[0].reason
    # The same k again changes nothing, no k at all neither.
    assert library.join(first, k=6).act is None
    assert library.join(first).act is None
    # Rendered from another collection, nothing of it is known.
    other = library.styles("solo", "other", [1] * COUNT + [2] * COUNT, seed=3)
    assert library.join(other, k=2).lineage.version.state.numbers.tolist() == [9, 10]
    assert replay(library.lineage().folder) == []


def test_a_pack_begins_again_with_another_k_in_another_lineage(library: Library) -> None:
    first, second, *_ = five(library)
    for batch in (first, second):
        library.join(batch, k=4)
    set_lineage(library.root, "big", "finer")
    for batch in (first, second):
        assert not ids_are_current(library.root, batch)
        library.join(batch, k=6)
        assert ids_are_current(library.root, batch)
    assert (library.lineage("finer").facts.requested_k, library.lineage("finer").keys) == (6, [first.key, second.key])
    assert library.lineage("main").facts.number == 2


def test_small_packs_get_fewer_clusters_and_room_for_births(library: Library) -> None:
    joined = library.join(library.styles("small", "p", [0] * 30 + [1] * 34, seed=1))
    assert (joined.lineage.version.state.k, joined.lineage.facts.requested_k) == (8, 64)
    assert joined.lineage.version.state.parameters.limit == 128
    assert "about 8" in (joined.clusters.k_reason or "")


def test_equal_pictures_make_one_cluster_and_few_different_ones_no_empty_one(library: Library) -> None:
    same = library.join(library.add("same", names("s", 40), np.tile(style_rows([0], seed=1), (40, 1))))
    assert [cluster.size for cluster in same.clusters.clusters] == [40]
    library.root.lineage("main").head.unlink()
    few = library.join(library.add("few", names("f", 90), style_rows([0, 1, 2], seed=1)[np.arange(90) % 3]), k=8)
    assert [cluster.size for cluster in few.clusters.clusters] == [30, 30, 30]
    assert "3 different embeddings" in (few.clusters.k_reason or "")


def test_rows_that_cannot_be_clustered_leave_the_lineage_as_it_is(library: Library) -> None:
    first = library.styles("big/batch-0001", "a", [0] * 40 + [1] * 40, seed=1)
    library.join(first, k=2)
    bad = style_rows([0] * 40, seed=2)
    bad[3] = np.nan
    with pytest.raises(UserError, match=r"1 of 40 embeddings of batch big/batch-0002 are not finite"):
        library.join(library.add("big/batch-0002", names("b", 40), bad), k=2)
    assert library.lineage().facts.number == 1


def test_another_model_is_refused_with_both_named_whatever_becomes_of_the_batches(library: Library) -> None:
    first = library.styles("lib-2k", "a", [0] * 40 + [1] * 40, seed=1)
    library.join(first, k=2)
    other = library.add("lib-15k", names("b", 40), style_rows([0] * 40, seed=2), weights="1")
    said = r"test-weights, weights 11111111.* lineage 'main' by .*weights 00000000.*batch lib-2k carries that"
    with pytest.raises(UserError, match=said):
        library.join(other)
    # Nor when that batch's folder is lost: its ids are published.
    shutil.rmtree(library.root.batch(first).path)
    with pytest.raises(UserError, match=said):
        library.join(other)
    assert library.lineage().facts.number == 1
    # The only batch of a lineage may change its model: ids count on.
    alone = library.add("lib-2k", names("a", 80), style_rows([0] * 40 + [1] * 40, seed=1), weights="1")
    assert library.join(alone, k=2).lineage.version.state.numbers.tolist() == [2, 3]


BROKEN: list[tuple[str, Callable[[Path], object], str]] = [
    ("head.json", lambda path: path.write_text("{", encoding="utf-8"), "is not JSON.*mend it"),
    (
        "versions/v0002/state.npz",
        lambda path: path.write_bytes(path.read_bytes()[:-10]),
        "is not what lineage.json says",
    ),
    ("versions/v0002/lineage.json", lambda path: path.unlink(), "does not exist"),
    ("versions/v0002", shutil.rmtree, "of version 2 is missing; bring it back"),
    ("versions/v0001/members.json", lambda path: path.write_text("[]", encoding="utf-8"), "is not as agreed"),
]


@pytest.mark.parametrize(("name", "damage", "said"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_broken_files_are_named_and_nothing_changes(
    library: Library, name: str, damage: Callable[[Path], object], said: str
) -> None:
    first, second, third, *_ = five(library)
    for batch in (first, second):
        library.join(batch, k=4)
    damage(library.root.lineage("main").path / name)
    before = sorted(str(path) for path in library.root.lineage("main").path.rglob("*"))
    with pytest.raises(UserError, match=said):
        library.join(third, k=4)
    assert not library.root.batch(third).clusters.exists()
    assert sorted(str(path) for path in library.root.lineage("main").path.rglob("*")) == before


@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_killed_at_any_write_the_same_join_gives_the_same_version(library: Library, tmp_path: Path) -> None:
    first, second, *_ = five(library)
    library.join(first, k=4)
    start = library.root.path
    shutil.copytree(start, tmp_path / "undisturbed")
    whole = Library(DataRoot(tmp_path / "undisturbed"))
    whole.join(second, k=4)
    seen = set()
    for number in range(1, 40):
        copy = Library(DataRoot(tmp_path / f"killed{number}"))
        shutil.copytree(start, copy.root.path)
        if not _killed_at_write(copy, second, number):
            break
        seen.add(copy.lineage().facts.number)
        copy.join(second, k=4)
        assert copy.root.batch(second).clusters.read_bytes() == whole.root.batch(second).clusters.read_bytes()
        assert copy.lineage().facts.number == 2
        for name, array in copy.lineage().version.to_plain()[1].items():
            assert np.array_equal(array, whole.lineage().version.to_plain()[1][name]), name
        assert replay(copy.lineage().folder) == []
        # Nothing of the killed attempt is left.
        assert sorted(path.name for path in copy.lineage().folder.versions_dir.iterdir()) == ["v0001", "v0002"]
    assert number > 6
    assert seen == {1, 2}


def _killed_at_write(library: Library, batch: BatchKey, number: int) -> bool:
    """Join in a process of its own that ends, as by kill -9, after its n-th rename; False when it ended by itself."""
    pid = os.fork()
    if pid == 0:
        calls = 0
        replace = Path.replace

        def counted(self: Path, target: Any) -> Path:
            nonlocal calls
            calls += 1
            made = replace(self, target)
            if calls == number:
                os._exit(9)
            return made

        Path.replace = counted  # type: ignore[method-assign]
        try:
            library.join(batch, k=4)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 9


def test_two_runs_never_extend_the_same_version(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = five(library)
    library.join(first, k=4)
    monkeypatch.setattr(lineage_join, "LINEAGE_TIMEOUT_S", 0.1)
    from filelock import FileLock

    with FileLock(library.lineage().folder.lock), pytest.raises(UserError, match="stays locked"):
        library.join(second, k=4)
    assert library.lineage().facts.number == 1


def labels_of(library: Library) -> dict[str, Any]:
    return dict(ClusterLabels.load(library.lineage().folder.labels).labels)


def test_clusters_are_labelled_once_and_a_persons_word_goes_first(library: Library) -> None:
    first, _, _, late, _ = five(library)
    joined = library.join(first, k=4, k_limit=6)
    labels = labels_of(library)
    assert set(labels) == {"c00", "c01", "c02", "c03"}
    assert {entry.source for entry in labels.values()} == {"descriptive"}
    assert {cluster.id: cluster.label for cluster in joined.clusters.clusters} == {
        name: entry.label for name, entry in labels.items()
    }
    # A person names one; the next batch founds a cluster, which gets a label, and no other label changes.
    console = Console(file=io.StringIO(), width=200)
    label_cluster(console, library.root, "main", "c01", "  blue   tunnel ")
    assert "c01 of lineage main: blue tunnel" in console.file.getvalue()  # type: ignore[attr-defined]
    library.join(late, k=4)
    after = labels_of(library)
    assert set(after) == {*labels, "c04"}
    assert (after["c01"].label, after["c01"].source) == ("blue tunnel", "person")
    assert all(after[name] == labels[name] for name in ("c00", "c02", "c03"))
    made = Clusters.load(library.root.batch(late).clusters)
    assert {cluster.label for cluster in made.clusters} == {entry.label for entry in after.values()}
    # A major computes anew, but for the person's.
    library.act("major", lineage="main")
    assert labels_of(library)["c01"].label == "blue tunnel"
    # Taken back, the cluster is described again.
    label_cluster(console, library.root, "main", "c01", None)
    assert labels_of(library)["c01"].source == "descriptive"
    for cluster, text, said in (
        ("c99", "x", "has no cluster 'c99'"),
        ("c00", "a\nb", "control character"),
        ("c00", " ", "empty"),
    ):
        with pytest.raises(UserError, match=said):
            label_cluster(console, library.root, "main", cluster, text)


def test_clusters_of_a_batch_whose_frames_are_lost_are_called_by_their_ids(library: Library) -> None:
    first, *_ = five(library)
    shutil.rmtree(library.root.batch(first).frames_dir)
    joined = library.join(first, k=4)
    assert [cluster.label for cluster in joined.clusters.clusters] == ["c00", "c01", "c02", "c03"]
    assert set(ClusterLabels.load(library.lineage().folder.labels).unlabelled) == {"c00", "c01", "c02", "c03"}


def test_the_versions_are_shown_and_replayed_from_the_command_line(
    library: Library, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *_ = five(library)
    for batch in (first, second):
        library.join(batch, k=4)
    library.act("remove", batch=second.key)

    def aivj(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["aivj", "lineage", *arguments, "--root", str(library.root.path)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out + told.err

    status, said = aivj("show")
    assert status == 0
    assert "version 3, 160 presets in 4 clusters, 1 batches" in said
    assert "big/batch-0002 was removed" in said
    assert "version 3: a test" in said
    status, said = aivj("show", "--json")
    told = json.loads(said)
    assert [line["kind"] for line in told["versions"]] == ["first", "extend", "removal"]
    assert "state" not in told["versions"][0]
    assert aivj("replay") == (0, "3 versions replayed in their order: the same to the last bit.\n")
    # A row that was tampered with: the replay says which version does not come out again.
    path = library.lineage().folder.version(2) / "rows.npy"
    rows = np.load(path)
    rows[:40] = rows[40:80]
    np.save(path, rows)
    status, said = aivj("replay")
    assert status == 1
    assert "Differs: version 2 (extend) differs in" in said
    for arguments, line in (
        (["show", "nosuch"], "There is no lineage 'nosuch' (known: main)"),
        (["show", "../x"], "cannot name a lineage"),
        (["major", "nosuch", "--reason", "x"], "There is no lineage 'nosuch'"),
        (["remove", "big/batch-0009", "--reason", "x"], "has no batch big/batch-0009 (it has: big/batch-0001)"),
        (["remove", "big/9", "--reason", "x"], "'big/9' is no batch"),
        (["major", "--reason", "  "], "Say why: --reason TEXT"),
        (["readmit", "big/batch-0001"], "Batch big/batch-0001 was not removed"),
    ):
        status, said = aivj(*arguments)
        assert (status, said.count("\n")) == (cli.EXIT_USER, 1), said
        assert line in said
