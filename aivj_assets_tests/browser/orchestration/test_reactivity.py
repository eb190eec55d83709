"""Presets that follow a sound and presets that only move, told apart by the asset in a real browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from aivj_assets.contracts.manifest import Manifest, ManifestPreset
from aivj_assets.contracts.progress import WorkProgress
from aivj_assets.contracts.reactivity import Reactivity
from aivj_assets.contracts.style import StylePolicy
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.assets.reactivity import reactivity
from aivj_assets.orchestration.instance import open_instance
from aivj_assets.orchestration.launch import explain_run
from aivj_assets.orchestration.partitions import PACKS
from aivj_assets.orchestration.reactivity_render import SampleRendering, hear
from aivj_assets.orchestration.resources import DataRootResource, RendererResource
from aivj_assets.render.environment import BrowserReport, RenderEnvironment
from aivj_assets_tests.builders import NOW, seed_storage, write_batch
from aivj_assets_tests.conftest import js_preset
from aivj_assets_tests.integration.orchestration.test_search import accept

pytestmark = pytest.mark.browser

PACK, SEED = "pack", 1
GRAY = "shader_body { ret = vec3(q1); }"
MADE = {
    "bass": js_preset("a.q1 = a.bass / 4;", comp=GRAY),
    "treble": js_preset("a.q1 = a.treb / 4;", comp=GRAY),
    "moves": js_preset("a.q1 = 0.5 + 0.5 * Math.sin(a.time * 7) * Math.sin(a.time * 2.3);", comp=GRAY),
    "still": js_preset("a.q1 = 0.4;", comp=GRAY),
    "random": js_preset("a.q1 = rand(1000) / 1000;", comp=GRAY),
    # It hears, and a beat makes it go another way; but where it goes has nothing to do with the sound.
    "startled": js_preset("a.q1 = rand(1000) / 1000; if (a.bass > 1.3) { a.q2 = rand(7); }", comp=GRAY),
}


@dataclass(frozen=True)
class Pack:
    """A data root with one accepted, published pack of the presets above."""

    root: DataRoot
    instance: dg.DagsterInstance


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pack]:
    root = DataRoot(tmp_path_factory.mktemp("reactivity") / "root")
    seed_storage(root, tmp_path_factory)
    with open_instance(root, {}) as instance:
        write_batch(root, PACK, len(MADE))
        for preset, text in zip(presets(root), MADE.values(), strict=True):
            root.preset_file(preset.rel_path).write_text(text, encoding="utf-8")
        folder = root.batch(BatchKey(PACK))
        folder.presets_report.write_text("{}", encoding="utf-8")
        StylePolicy(generated_at=NOW, pack=PACK, prefer_same_author_chance=1).save(folder.style_policy)
        accept(instance, root, PACK, "style_policy")
        shutil.copyfile(folder.style_index("v1"), root.published_files(PACK)[-1])
        instance.add_dynamic_partitions(str(PACKS.name), [PACK])
        yield Pack(root, instance)


def presets(root: DataRoot) -> list[ManifestPreset]:
    return Manifest.load(root.manifest(BatchKey(PACK))).presets


def frames_of(root: DataRoot) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.reactivity_work_dir(PACK).rglob("frame-*.png")}


def materialized(pack: Pack, config: dict[str, object]) -> dg.ExecuteInProcessResult:
    publication = dg.AssetSpec("publication", partitions_def=reactivity.partitions_def)
    return dg.materialize(
        [reactivity, publication], partition_key=PACK, instance=pack.instance, raise_on_error=False,
        selection=["reactivity"], run_config={"ops": {"reactivity": {"config": config}}},
        resources={"data_root": DataRootResource(path=str(pack.root.path)), "renderer": RendererResource()},
    )  # fmt: skip


def test_what_an_interrupted_run_rendered_is_kept(
    pack: Pack, render_environment: RenderEnvironment, browser_report: BrowserReport
) -> None:
    root, calls = pack.root, iter([None, None, None, "told to"])
    _, (sound, *_) = hear(root, render_environment, ["synthetic:pulse"], SEED)

    def rendering(stop: Iterator[str | None] | None) -> SampleRendering:
        return SampleRendering(
            root=root, pack=PACK, environment=render_environment, page=browser_report.page, seed=SEED,
            say=lambda _text: None, should_stop=lambda: next(stop) if stop else None,
        )  # fmt: skip

    with pytest.raises(UserError, match="rendering under silence was stopped; run again to go on"):
        rendering(calls).render(presets(root), [sound])
    before = frames_of(root)
    assert len(before) == 3 * 97
    progress = WorkProgress.under_way(root.reactivity_progress(PACK))
    assert progress is not None
    assert progress.total == 2 * len(MADE)
    rendered = rendering(None).render(presets(root), [sound])
    assert {path: time for path, time in frames_of(root).items() if path in before} == before
    assert set(rendered.pictures) == {"silence", "pulse"}
    assert {len(of_presets) for of_presets in rendered.pictures.values()} == {len(MADE)}


def test_followers_are_told_from_presets_that_only_move(pack: Pack) -> None:
    result = materialized(pack, {"sample": len(MADE), "seed": SEED})
    assert result.success, explain_run(pack.instance, result.run_id)
    root = pack.root
    report = Reactivity.load(root.reactivity(PACK))
    ids = dict(zip(MADE, (preset.id for preset in presets(root)), strict=True))
    found = {entry.preset_id: entry for entry in report.entries}
    assert {name: found[preset_id].reactive for name, preset_id in ids.items()} == {
        "bass": True, "treble": True, "moves": False, "still": False, "random": False, "startled": False,
    }  # fmt: skip
    for name in ("moves", "still", "random"):
        entry = found[ids[name]]
        assert (entry.difference, entry.score, entry.p) == (0, 0, 1)
    startled = found[ids["startled"]]
    assert startled.difference > 0.05
    assert startled.p > 0.05
    of_bass = {one.audio: one for one in found[ids["bass"]].audios}
    assert of_bass["pulse"].score > 0.6
    assert of_bass["pulse"].score > of_bass["pulse"].other
    assert [audio.name for audio in report.audios] == ["pulse", "bursts", "sweep"]
    assert all(audio.features and len(audio.sha256) == 64 for audio in report.audios)
    assert report.parameters["captureCount"] == 97
    assert "audio" not in report.parameters
    # Its pictures went; those of the batch were never touched.
    assert not root.reactivity_work_dir(PACK).exists()
    assert not root.reactivity_progress(PACK).exists()
    assert str(root.path) not in json.dumps(report.to_json())
    (event,) = result.asset_materializations_for_node("reactivity")
    assert event.metadata["reactive_fraction"].value == pytest.approx(2 / 6, abs=1e-6)
