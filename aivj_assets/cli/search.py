"""`aivj search` and `aivj similar`: find presets by text, by label, by a preset or by an image."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Annotated

import typer

from aivj_assets.cli.options import DeviceOption, RootOption, named_root
from aivj_assets.cli.terminal import console
from aivj_assets.errors import UserError

DEFAULT_COUNT, DEFAULT_COUNT_A_LABEL, MAX_COUNT = 24, 6, 1000

PackArgument = Annotated[str, typer.Argument(help="Pack, or one batch of it: <pack>/batch-0001.")]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", help="Write the page here; by default below artifacts/aivj/<pack>/search/.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; a page is then written only with --html.")]
EmbedderOption = Annotated[
    str | None, typer.Option("--embedder", help="Rarely needed: the model is that of the pack's embeddings.")
]
PretrainedOption = Annotated[
    str | None,
    typer.Option("--pretrained", help="Where the weights lie, for embeddings made from a local file or folder."),
]


def search(
    pack: PackArgument,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help='What to look for, e.g. "blue liquid tunnel". Several texts are one search by the mean of their '
            "vectors (a prompt ensemble): other words for the same thing make it steadier."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="A text file, one label a line: shows each label's best presets and, with --json, each "
            "preset's best label (zero-shot).",
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            min=1,
            max=MAX_COUNT,
            help=f"Presets to show; by default {DEFAULT_COUNT}, with --labels {DEFAULT_COUNT_A_LABEL} each.",
        ),
    ] = None,
    html: HtmlOption = None,
    as_json: JsonOption = False,
    embedder: EmbedderOption = None,
    pretrained: PretrainedOption = None,
    device: DeviceOption = "auto",
    root: RootOption = None,
) -> None:
    """Find presets by a text: a table, and a page with pictures. Needs embeddings of OpenCLIP."""
    from aivj_assets.orchestration.card_model import ModelOptions
    from aivj_assets.orchestration.commands.search import SearchRequest, label_presets, search_by_text

    asked = [text.strip() for text in texts or [] if text.strip()]
    if bool(asked) == (labels is not None):
        raise UserError(f'Give a text or --labels FILE, one of the two: aivj search {pack} "blue liquid tunnel".')
    shown = count or (DEFAULT_COUNT if labels is None else DEFAULT_COUNT_A_LABEL)
    request = SearchRequest(named_root(root), pack, shown, html, as_json, ModelOptions(embedder, pretrained, device))
    if labels is None:
        search_by_text(console, request, asked)
    else:
        label_presets(console, request, read_labels(labels))


def similar(
    pack: PackArgument,
    presets: Annotated[
        list[str] | None,
        typer.Argument(help="Preset id, or the whole name; several are one search by the mean of their vectors."),
    ] = None,
    image: Annotated[
        Path | None, typer.Option("--image", help="An image file in place of a preset; the model is loaded for it.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=MAX_COUNT, help="Presets to show.")] = DEFAULT_COUNT,
    html: HtmlOption = None,
    as_json: JsonOption = False,
    embedder: EmbedderOption = None,
    pretrained: PretrainedOption = None,
    device: DeviceOption = "auto",
    root: RootOption = None,
) -> None:
    """Find presets that look like a preset or an image: a table, and a page with pictures."""
    from aivj_assets.orchestration.card_model import ModelOptions
    from aivj_assets.orchestration.commands.search import (
        SearchRequest,
        similar_to_image,
        similar_to_presets,
    )

    asked = [preset.strip() for preset in presets or [] if preset.strip()]
    if bool(asked) == (image is not None):
        raise UserError(f"Give a preset's id or --image FILE, one of the two: aivj similar {pack} PRESET_ID.")
    request = SearchRequest(named_root(root), pack, count, html, as_json, ModelOptions(embedder, pretrained, device))
    if image is None:
        similar_to_presets(console, request, asked)
    else:
        similar_to_image(console, request, image)


def read_labels(path: Path) -> list[str]:
    """Return the labels of a text file, one a line, each once; raises `UserError` when there is none."""
    try:
        data = path.read_bytes()
        # As `>` of Windows PowerShell writes it.
        is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except OSError as error:
        raise UserError(f"--labels {path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise UserError(f"--labels {path} is no text in UTF-8; save it as UTF-8, one label a line.") from None
    labels = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not labels:
        raise UserError(f"--labels {path} holds no label; write one a line.")
    return labels
