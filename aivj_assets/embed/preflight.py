"""Before a batch is rendered: can the model that it will be embedded with be loaded? Seconds, not after the night."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from aivj_assets.contracts.checked_weights import CheckedWeights, CheckedWeightsFile
from aivj_assets.contracts.findings import Finding
from aivj_assets.embed.batch import require_embedding
from aivj_assets.embed.choose import EmbedderChoice, choose_dtype, load_model, weights_file
from aivj_assets.embed.model import library_versions
from aivj_assets.embed.precision import AUTO
from aivj_assets.errors import UserError

MODEL_FINDING = "model"
DIM_FIGURE = "vector_dim"


def look_at_model(
    choice: EmbedderChoice,
    environ: Mapping[str, str],
    *,
    device: str | None = None,
    precision: str = AUTO,
    known: Path | None = None,
) -> Finding:
    """Load the model, have it encode one picture and give its memory back; never raises what a user can cause.

    `known` is the file in which weights that were loaded are kept: they are not loaded again while their file has the
    same size and time. Weights that still lie on the hub are not fetched here: they give a warning. The figure
    `vector_dim` is the length of the model's vectors, where it was told.
    """
    named = f"{choice.model} ({choice.pretrained})"
    try:
        require_embedding(choice, environ, device=device, precision=precision)
        path = weights_file(choice, environ)
        if path is None:
            detail = (
                f"the weights of {named} are offered by the hub and not on this machine yet: embed a small batch first "
                "to have them here and checked"
            )
            return Finding(MODEL_FINDING, passed=False, detail=detail, severity="warning")
        wanted = _identity(choice, path, device, precision)
        checked = _read(known).find(wanted)
        if checked is not None:
            detail = f"{named} is as it was loaded at {checked.at}"
        else:
            checked = wanted.model_copy(update={"dim": _load_once(choice, environ, device, precision)})
            _keep(known, checked)
            detail = f"{named} was loaded and encodes"
    except UserError as error:
        return Finding(MODEL_FINDING, passed=False, detail=str(error))
    except OSError as error:
        detail = f"the weights of {named} cannot be read ({error.strerror or error}): mend the file, or name another"
        return Finding(MODEL_FINDING, passed=False, detail=detail)
    return Finding(MODEL_FINDING, passed=True, detail=detail, figures={DIM_FIGURE: checked.dim})


def _identity(choice: EmbedderChoice, path: Path, device: str | None, precision: str) -> CheckedWeights:
    state = path.stat()
    return CheckedWeights(
        path=str(path),
        size_bytes=state.st_size,
        mtime_ns=state.st_mtime_ns,
        model=choice.model,
        device=device or "auto",
        precision=precision,
        libraries=library_versions("torch", "open_clip_torch"),
    )


def _load_once(choice: EmbedderChoice, environ: Mapping[str, str], device: str | None, precision: str) -> int:
    """Return the length of the model's vectors; raises `UserError` when it does not load or encode."""
    try:
        dtype, _ = choose_dtype(choice, precision, device)
        model = load_model(choice, environ, device=device, dtype=dtype)
        size = model.card.preprocess.size
        gradient = np.linspace(0, 255, size * size * 3).astype(np.uint8).reshape(1, size, size, 3)
        vector = model.encode(gradient)[0]
        dim = model.card.dim
    except MemoryError:
        raise UserError(
            f"There is not enough memory for {choice.model}: close other programs, or choose a smaller model."
        ) from None
    finally:
        model = None  # type: ignore[assignment]
        _give_memory_back()
    if not np.isfinite(vector).all() or not np.any(vector):
        raise UserError(
            f"{choice.model} ({choice.pretrained}) gives no finite vector for a picture: its weights are damaged, get "
            "them again or name others."
        )
    return dim


def _give_memory_back() -> None:
    """Give freed weights back to the system: browsers need the memory next."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform.startswith("linux"):
        # glibc keeps half of a ViT-B-32 otherwise; other C libraries have no such call.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _read(known: Path | None) -> CheckedWeightsFile:
    if known is None:
        return CheckedWeightsFile()
    try:
        return CheckedWeightsFile.load(known)
    except UserError:
        # Not there yet, or damaged: then weights are loaded again.
        return CheckedWeightsFile()


def _keep(known: Path | None, checked: CheckedWeights) -> None:
    if known is not None:
        # A folder that cannot be written is another finding's matter.
        with suppress(OSError):
            _read(known).with_first(checked).save(known)
