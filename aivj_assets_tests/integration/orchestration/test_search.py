"""`aivj search` and `aivj similar` on a split pack, with a small CLIP made here and Dagster's own storage."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt
import open_clip
import pytest
import torch
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from PIL import Image

from aivj_assets.cli import app as cli
from aivj_assets.contracts.embeddings import Embeddings, EmbeddingsMeta, ModelCard, load_embeddings, save_embeddings
from aivj_assets.contracts.frames_index import OkRecord, read_records
from aivj_assets.embed.lite0 import LITE0, LITE0_PRETRAINED
from aivj_assets.embed.openclip import load_openclip
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration import card_model
from aivj_assets.orchestration.guard import (
    INPUTS_METADATA,
    acceptance_problem,
    data_version_of,
    latest_materialization,
)
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.stages import STAGES, ancestors, content_version
from aivj_assets_tests.builders import (
    embeddings_meta,
    seed_storage,
    write_frames_meta,
    write_index,
    write_manifest,
)

MODEL = "aivj-tiny-search"
TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 48, "layers": 3, "width": 64, "patch_size": 12, "head_width": 32},
    # The tokenizer's own vocabulary: texts go through it as with any model of the hub.
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
PACK = "big"
FIRST, SECOND, THIRD = (f"{PACK}/batch-000{number}" for number in (1, 2, 3))
LITE, OTHER = "lite", "other"
FAILED = "one-05"
IDS = {
    FIRST: [f"one-{number:02d}" for number in range(20)],
    SECOND: [f"two-{number:02d}" for number in range(20)],
    THIRD: ["three-00", "three-01"],
    LITE: ["lite-00", "lite-01", "lite-02"],
    OTHER: ["other-00"],
}


def make_checkpoint(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    network = open_clip.create_model(MODEL)
    with torch.no_grad():
        for parameter in network.parameters():
            # Freshly made towers answer every image alike; larger weights make a mistake visible.
            parameter.mul_(4)
    torch.save(network.state_dict(), path)


def accept(instance: dg.DagsterInstance, root: DataRoot, key: str, upto: str = "embeddings") -> None:
    """Let Dagster's storage hold what a run that accepts a batch up to a stage leaves there."""
    for name in [*ancestors(upto), upto]:
        stage = STAGES[name]
        above = [latest_materialization(instance, needed, key) for needed in stage.inputs]
        inputs = {needed: data_version_of(found[1]) for needed, found in zip(stage.inputs, above, strict=True) if found}
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                name,
                partition=key,
                metadata={INPUTS_METADATA: dg.MetadataValue.json(inputs)},
                tags={"dagster/data_version": content_version(root, BatchKey.parse(key), stage)},
            )
        )
        record = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey(name), asset_partitions=[key]), limit=1
        ).records[0]
        for check in stage.blocking_checks:
            target = AssetCheckEvaluationTargetMaterializationData(
                storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
            )
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey(name), check_name=check, passed=True, partition=key,
                    target_materialization_data=target,
                )
            )  # fmt: skip
    assert acceptance_problem(instance, root, BatchKey.parse(key), "embeddings") is None


@dataclass(frozen=True)
class Made:
    root: DataRoot
    checkpoint: Path
    vectors: dict[str, npt.NDArray[np.float32]]
    """{presetId: row} of the two accepted batches."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("search")
    (folder / "config.json").write_text(json.dumps(TINY), encoding="utf-8")
    (folder / "config.json").rename(folder / f"{MODEL}.json")
    open_clip.add_model_config(folder / f"{MODEL}.json")
    make_checkpoint(folder / "tiny.pt", 7)
    model = load_openclip(MODEL, str(folder / "tiny.pt"), environ={}, device="cpu")
    root = DataRoot(folder / "root")
    seed_storage(root, tmp_path_factory)
    vectors: dict[str, npt.NDArray[np.float32]] = {}
    with open_instance(root, {}) as instance:
        for key, ids in IDS.items():
            labels = {preset_id: f"Geiss - Title {preset_id}" for preset_id in ids}
            write_manifest(root, key, ids, labels=labels)
            batch = write_index(root, key, ids, failed={FAILED: "watchdog"} if key == FIRST else None, captures=1)
            write_frames_meta(root, key)
            batch.presets_report.write_text("{}", encoding="utf-8")
            records = [each for each in read_records(batch.frames_index).values() if isinstance(each, OkRecord)]
            pictures = [model.prepare(Image.open(batch.path / record.frames[0])) for record in records]
            rows = model.encode(np.stack(pictures))
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            card = model.card
            if key == LITE:
                card = ModelCard.model_validate({**card.model_dump(), "model": LITE0, "pretrained": LITE0_PRETRAINED})
            meta = EmbeddingsMeta.model_validate({**embeddings_meta(len(rows), 32).model_dump(), **card.model_dump()})
            save_embeddings(batch, Embeddings(rows, [record.preset_id for record in records], meta))
            if key in {FIRST, SECOND, LITE}:
                accept(instance, root, key)
            if key in {FIRST, SECOND}:
                vectors |= {record.preset_id: row for record, row in zip(records, rows, strict=True)}
    return Made(root, folder / "tiny.pt", vectors)


@pytest.fixture
def says(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command on the data root as a shell would; returns status, output and error output."""
    monkeypatch.setenv("AIVJ_PRETRAINED", str(made.checkpoint))
    monkeypatch.delenv("AIVJ_EMBEDDER", raising=False)

    def run(*arguments: str, root: DataRoot = made.root) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["aivj", *arguments, "--root", str(root.path)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise AssertionError("no model is needed here")

    monkeypatch.setattr(card_model, "load_model", refuse)


@pytest.fixture(scope="module")
def unit_text(made: Made) -> Callable[[str], npt.NDArray[np.float32]]:
    """The plainest way to a text's vector: OpenCLIP's own tokenizer and model."""
    network = open_clip.create_model(MODEL, pretrained=str(made.checkpoint)).eval()
    tokenizer = open_clip.get_tokenizer(MODEL)

    def vector(text: str) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            return torch.nn.functional.normalize(network.encode_text(tokenizer([text])))[0].numpy()

    return vector


def nearest(made: Made, query: npt.NDArray[np.float32], count: int, *, without: tuple[str, ...] = ()) -> list[str]:
    cosine = {preset_id: float(row @ query) for preset_id, row in made.vectors.items() if preset_id not in without}
    return sorted(cosine, key=lambda preset_id: -cosine[preset_id])[:count]


def ids_of(told: dict[str, Any]) -> list[str]:
    return [match["presetId"] for match in told["matches"]]


def rows_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if line.startswith("│")]


def test_a_text_finds_presets_of_all_accepted_batches_as_openclip_itself_would(says, made, unit_text) -> None:
    status, out, err = says("search", PACK, "blue liquid tunnel", "--count", "7")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"Batch {THIRD} is left out: 'presets': it is not materialised")
    rows = rows_of(out)
    wanted = nearest(made, unit_text("blue liquid tunnel"), 7)
    assert [row[2] for row in rows] == wanted
    assert [row[0] for row in rows] == [str(rank) for rank in range(1, 8)]
    for _, cosine, preset_id, name, batch in rows:
        assert float(cosine) == pytest.approx(made.vectors[preset_id] @ unit_text("blue liquid tunnel"), abs=1e-3)
        assert name == f"Geiss - Title {preset_id}"
        assert preset_id in IDS[batch]
    page = Path(lines[-1].removeprefix("Page: "))
    assert page.parent == made.root.artifacts_dir / PACK / "search"
    assert page.name.startswith("blue-liquid-tunnel-")
    shown = page.read_text(encoding="utf-8")
    assert shown.count("data:image/webp;base64,") == 7
    positions = [shown.index(f">{preset_id}</code>") for preset_id in wanted]
    assert positions == sorted(positions)


def test_several_texts_are_one_search_by_their_mean(says, made, unit_text, tmp_path: Path) -> None:
    texts = ["blue", "a tunnel of water", "🔥 <script>"]
    page = tmp_path / "new folder" / "found.html"
    status, out, err = says("search", PACK, *texts, "--count", "5", "--json", "--html", str(page))
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert ids_of(told) == nearest(made, sum(map(unit_text, texts)), 5)
    assert told["page"] == str(page)
    assert told["texts"] == texts
    assert list(told["leftOut"]) == [THIRD]
    assert "<script" not in page.read_text(encoding="utf-8")


def test_labels_find_their_presets_and_presets_their_label(says, made, unit_text, tmp_path: Path) -> None:
    labels = ["tunnel", "plasma", "flowers in a garden", "ночь"]
    path = tmp_path / "labels.txt"
    path.write_text("\r\n".join(["", *labels, "  plasma  "]) + "\r\n", encoding="utf-16")
    status, out, err = says("search", PACK, "--labels", str(path), "--json", "--count", "3")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert told["page"] is None
    assert told["labels"] == labels
    vectors = np.stack([unit_text(label) for label in labels])
    for group, vector in zip(told["groups"], vectors, strict=True):
        assert ids_of(group) == nearest(made, vector, 3)
    best = {each["presetId"]: each["label"] for each in told["bestLabels"]}
    assert best == {preset_id: labels[int((vectors @ row).argmax())] for preset_id, row in made.vectors.items()}
    assert [group["suits"] for group in told["groups"]] == [list(best.values()).count(label) for label in labels]


@pytest.mark.usefixtures("no_model")
def test_similar_presets_come_from_the_rows_alone_the_preset_itself_first(says, made) -> None:
    status, out, err = says("similar", PACK, "two-03", "--count", "6")
    assert (status, err) == (0, "")
    rows = rows_of(out)
    assert rows[0][:3] == ["asked", "1.0000", "two-03"]
    assert [row[2] for row in rows[1:]] == nearest(made, made.vectors["two-03"], 6, without=("two-03",))
    told = json.loads(says("similar", PACK, "two-03", "Geiss - Title one-04", "two-03", "--json", "--count", "100")[1])
    assert told["presets"] == 39
    mean = made.vectors["two-03"] + made.vectors["one-04"]
    assert ids_of(told) == nearest(made, mean, 100, without=("two-03", "one-04"))
    alone = json.loads(says("similar", SECOND, "two-03", "--json", "--count", "1000")[1])
    assert sorted([*ids_of(alone), "two-03"]) == IDS[SECOND]


def test_a_picture_finds_the_preset_that_it_shows(says, made, tmp_path: Path) -> None:
    record = read_records(made.root.batch(BatchKey.parse(SECOND)).frames_index)["two-11"]
    assert isinstance(record, OkRecord)
    picture = made.root.batch(BatchKey.parse(SECOND)).path / record.frames[0]
    status, out, err = says("similar", PACK, "--image", str(picture), "--json", "--count", "1")
    assert (status, err) == (0, "")
    [match] = json.loads(out)["matches"]
    assert match["presetId"] == "two-11"
    assert match["cosine"] > 0.99
    shutil.copy(__file__, tmp_path / "no.png")
    status, out, err = says("similar", PACK, "--image", str(tmp_path / "no.png"))
    assert (status, out) == (2, "")
    assert "it is no image that can be read" in err


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["similar", PACK, "two-3"], "There is no preset 'two-3' among the 39 of 'big' (the closest: two-03,"),
        (["similar", FIRST, "two-03"], "There is no preset 'two-03' among the 19 of 'big/batch-0001'"),
        (["similar", PACK, FAILED], f"Preset '{FAILED}' has no embedding: it could not be rendered (watchdog)"),
        (["search", LITE, "blue"], "of efficientnet-lite0, which has no text side: `aivj similar` works"),
        (["search", OTHER, "blue"], "'other' has no batch with accepted embeddings (other: 'presets': it is not mat"),
        (["search", "nosuch", "blue"], "There is no pack 'nosuch'"),
        (["search", "../x", "blue"], "'../x' is no batch"),
        (["search", PACK, " "], "Give a text or --labels FILE, one of the two"),
        (["search", PACK, "a", "--labels", "x"], "Give a text or --labels FILE, one of the two"),
        (["search", PACK, "--labels", "nosuch.txt"], "--labels nosuch.txt cannot be read"),
        (["search", PACK, "a", "--embedder", "ViT-L-14"], "--embedder ViT-L-14 is another model"),
        (["similar", PACK], "Give a preset's id or --image FILE, one of the two"),
        (["similar", PACK, "one-01", "--html", __file__ + "/x"], "cannot be written"),
        (["similar", PACK, "--image", "nosuch.png"], "--image nosuch.png: No such file"),
    ],
)
def test_a_mistake_is_one_line(says, arguments: list[str], told: str) -> None:
    status, out, err = says(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("Error: ")
    assert told in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("no_model")
def test_similar_works_with_a_model_without_text(says) -> None:
    status, out, _ = says("similar", LITE, "lite-01", "--json")
    assert status == 0
    assert sorted(ids_of(json.loads(out))) == ["lite-00", "lite-02"]


def test_renamed_weights_are_the_same_and_others_are_refused_with_both_names(
    says, made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AIVJ_PRETRAINED")
    status, _, err = says("search", PACK, "blue")
    assert status == 2
    assert "the local weights 'tiny.pt', and nothing says where they lie" in err
    shutil.copy(made.checkpoint, tmp_path / "renamed.pt")
    assert says("search", PACK, "blue", "--json", "--pretrained", str(tmp_path / "renamed.pt"))[0] == 0
    make_checkpoint(tmp_path / "tiny.pt", 8)
    status, out, err = says("search", PACK, "blue", "--pretrained", str(tmp_path / "tiny.pt"))
    assert (status, out) == (2, "")
    assert "their vectors cannot be compared" in err
    assert err.count("(local:tiny.pt, weights ") == 2


@pytest.mark.usefixtures("no_model")
def test_batches_of_two_models_are_refused_together_and_searched_alone(says, made, tmp_path: Path) -> None:
    shutil.copytree(made.root.path, tmp_path / "copy")
    root = DataRoot(tmp_path / "copy")
    third = root.batch(BatchKey.parse(THIRD))
    rows = load_embeddings(third)
    meta = EmbeddingsMeta.model_validate({**rows.meta.model_dump(), "weights_sha256": "a" * 64})
    save_embeddings(third, Embeddings(np.array(rows.vectors), rows.preset_ids, meta))
    with open_instance(root, {}) as instance:
        accept(instance, root, THIRD)
    status, out, err = says("similar", PACK, "one-01", root=root)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"batch {FIRST} is {MODEL}" in err
    assert f"batch {THIRD} is {MODEL} (local:tiny.pt, weights aaaaaaaa" in err
    assert says("similar", THIRD, "three-00", "--json", root=root)[0] == 0


@pytest.mark.usefixtures("no_model")
def test_rows_that_were_changed_behind_dagster_s_back_do_not_count(says, made, tmp_path: Path) -> None:
    shutil.copytree(made.root.path, tmp_path / "copy")
    root = DataRoot(tmp_path / "copy")
    ids = root.batch(BatchKey.parse(FIRST)).embedding_ids
    ids.write_text(ids.read_text(encoding="utf-8").replace("one-00", "one-99"), encoding="utf-8")
    told = json.loads(says("similar", PACK, "two-00", "--json", root=root)[1])
    assert told["batches"] == [SECOND]
    assert "its files have changed since" in told["leftOut"][FIRST]


@pytest.mark.usefixtures("no_model")
def test_a_preset_whose_frame_is_gone_is_found_and_shown_without_a_picture(says, made, tmp_path: Path) -> None:
    shutil.copytree(made.root.path, tmp_path / "copy")
    root = DataRoot(tmp_path / "copy")
    for frame in root.batch(BatchKey(LITE)).frames_dir.rglob("*.webp"):
        frame.unlink()
    status, out, _ = says("similar", LITE, "lite-01", root=root)
    assert status == 0
    page = Path(out.splitlines()[-1].removeprefix("Page: ")).read_text(encoding="utf-8")
    assert page.count("no picture on disk") == 3
