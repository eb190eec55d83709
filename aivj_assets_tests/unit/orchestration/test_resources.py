"""Which embedding model a run takes: the one named, else the pack's, else the machine's."""

import os
from pathlib import Path

import pytest

from aivj_assets.contracts.pack_settings import EmbedderSettings, PackSettings
from aivj_assets.embed.lite0 import LITE0
from aivj_assets.layout import BatchKey, DataRoot, write_json_atomic
from aivj_assets.orchestration.bench.embed import bench_choice
from aivj_assets.orchestration.commands.batch import BatchOptions, merged_settings
from aivj_assets.orchestration.resources import EmbedderResource, pack_choice

PACK = EmbedderSettings(model="ViT-L-14", pretrained="openai")
DEFAULT = ("ViT-B-32", "laion2b_s34b_b79k")


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DataRoot:
    # A copy: what a test sets is gone with it.
    own = {name: value for name, value in os.environ.items() if name not in {"AIVJ_EMBEDDER", "AIVJ_PRETRAINED"}}
    monkeypatch.setattr(os, "environ", own)
    return DataRoot(tmp_path)


@pytest.mark.parametrize(
    ("settings", "environ", "named", "expected"),
    [
        (EmbedderSettings(), {}, {}, DEFAULT),
        (EmbedderSettings(), {"AIVJ_EMBEDDER": "ViT-L-14", "AIVJ_PRETRAINED": " my.pt "}, {}, ("ViT-L-14", "my.pt")),
        (PACK, {"AIVJ_EMBEDDER": LITE0, "AIVJ_PRETRAINED": "my.pt"}, {}, ("ViT-L-14", "openai")),
        # The pack's weights are those of its model: they do not go with another one.
        (PACK, {}, {"model": "ViT-B-16"}, ("ViT-B-16", DEFAULT[1])),
        (PACK, {"AIVJ_PRETRAINED": "my.pt"}, {"model": "ViT-B-16"}, ("ViT-B-16", "my.pt")),
        (PACK, {}, {"model": "ViT-L-14"}, ("ViT-L-14", "openai")),
        (PACK, {}, {"pretrained": "laion400m_e32"}, ("ViT-L-14", "laion400m_e32")),
        (PACK, {"AIVJ_PRETRAINED": "my.pt"}, {"model": LITE0}, (LITE0, "imagenet")),
    ],
)
def test_what_is_named_comes_first_then_the_pack_s_then_the_machine_s(
    root: DataRoot,
    settings: EmbedderSettings,
    environ: dict[str, str],
    named: dict[str, str],
    expected: tuple[str, str],
) -> None:
    choice = pack_choice(settings, environ, **named)
    assert (choice.model, choice.pretrained) == expected

    os.environ.update(environ)
    # A run in the UI and one of the command line take the same.
    taken = EmbedderResource(**named).choose(PackSettings(embedder=settings))
    assert (taken.model, taken.pretrained) == expected
    write_json_atomic(root.pack_dir("pack") / "aivj-pack.json", {"embedder": settings.model_dump(exclude_none=True)})
    options = BatchOptions(embedder=named.get("model"), pretrained=named.get("pretrained"))
    taken = EmbedderResource().choose(merged_settings(root, "pack", options))
    assert (taken.model, taken.pretrained) == expected


def test_a_benchmark_without_a_word_takes_the_offline_model(root: DataRoot) -> None:
    os.environ["AIVJ_PRETRAINED"] = "my.pt"
    assert bench_choice(root, None, None, None).model == LITE0
    write_json_atomic(root.pack_dir("pack") / "aivj-pack.json", {"embedder": PACK.model_dump(exclude_none=True)})
    choice = bench_choice(root, BatchKey("pack"), None, None)
    assert (choice.model, choice.pretrained) == ("ViT-L-14", "openai")
