"""Options that several commands share, and the data root that they name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from aivj_assets.layout import DATA_ROOT_VARIABLE, DataRoot, resolve_data_root

RootOption = Annotated[
    Path | None, typer.Option("--root", help="Data root; by default AIVJ_ROOT, else the project's folder.")
]
EmbedderOption = Annotated[
    str | None,
    typer.Option(
        "--embedder",
        help="openclip, an OpenCLIP model name, hf-hub:owner/name, efficientnet-lite0 (offline), or auto (OpenCLIP "
        "when its weights can be had, else offline).",
    ),
]
PretrainedOption = Annotated[
    str | None,
    typer.Option("--pretrained", help="OpenCLIP weights: a tag, or the path of a checkpoint or Hugging Face folder."),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="Where the model runs: auto (CUDA where there is one), cpu or cuda.")
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="auto, float32, bfloat16 or float16 (CUDA); auto is the fastest whose vectors agree with float32's.",
    ),
]
AsJsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def named_root(root: Path | None) -> DataRoot:
    """Return the data root that `--root` names, else the machine's; for commands that start no other process."""
    return resolve_data_root(os.environ if root is None else {DATA_ROOT_VARIABLE: str(root)})


def data_root(root: Path | None) -> DataRoot:
    """Return the data root of a command and let the steps of its runs see the same one."""
    if root is not None:
        os.environ[DATA_ROOT_VARIABLE] = str(root.expanduser().resolve())
    return resolve_data_root(os.environ)
