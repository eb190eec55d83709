"""The list of labels for zero-shot labelling: how it is written, and one text vector a label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aivj_assets.contracts.cluster_labels import clean_label
from aivj_assets.errors import UserError

Vectors = npt.NDArray[np.float32]
EncodeTexts = Callable[[list[str]], Vectors]
"""Texts to vectors float32 [n, d], of any length; the text side of the model that made the centroids."""

DEFAULT_PROMPTS = Path(__file__).parent / "prompts.txt"
MAX_PROMPT_CHARS = 200
"""A text tower reads 77 tokens: what is longer is cut off without a word."""
MAX_FILE_BYTES = 2**20
_TEXTS_AT_ONCE = 128
TEMPLATES = (
    "{}",
    "a picture of {}.",
    "an abstract picture of {}.",
    "digital art of {}.",
    "a computer rendering of {}.",
    "a screenshot of a music visualizer showing {}.",
    "visuals of a VJ in a club: {}.",
    "a colorful psychedelic image of {}.",
)
"""What a prompt is put into. Renderings are neither photographs nor things: the templates name their kind."""


@dataclass(frozen=True)
class Prompt:
    """A label and the phrases that describe it to a text tower, at least one."""

    label: str
    phrases: tuple[str, ...]


def read_prompts(path: Path = DEFAULT_PROMPTS) -> list[Prompt]:
    """Read a list of labels, one a line: `label: phrase | phrase`, or `label` alone; `#` begins a comment.

    Raises `UserError` with the file and the line for a line that cannot be read, a label that stands there twice, or
    a list of fewer than two labels, between which there is nothing to choose.
    """
    prompts: list[Prompt] = []
    line_of: dict[str, int] = {}
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            prompt = _parse_line(text)
        except UserError as error:
            raise UserError(f"{path} line {number}: {error}") from None
        key = prompt.label.casefold()
        if key in line_of:
            raise UserError(f"{path} line {number}: the label '{prompt.label}' stands in line {line_of[key]} already.")
        line_of[key] = number
        prompts.append(prompt)
    if len(prompts) < 2:
        raise UserError(f"{path} holds {len(prompts)} labels; at least two are needed to choose between.")
    return prompts


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UserError(f"{path} is larger than {MAX_FILE_BYTES} bytes; a list of labels is short text.")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from None


def _parse_line(text: str) -> Prompt:
    name, colon, rest = text.partition(":")
    if not name.strip():
        raise UserError("there is no label before the colon; write label: prompt | prompt.")
    label = clean_label(name)
    phrases = [phrase.strip() for phrase in rest.split("|")] if colon else [label]
    if not all(phrases):
        raise UserError(f"a prompt of '{label}' is empty; write label: prompt | prompt.")
    for phrase in phrases:
        if len(phrase) > MAX_PROMPT_CHARS:
            raise UserError(f"a prompt of '{label}' has {len(phrase)} characters; at most {MAX_PROMPT_CHARS}.")
    return Prompt(label, tuple(phrases))


def prompt_vectors(
    prompts: Sequence[Prompt], encode_texts: EncodeTexts, *, templates: Sequence[str] = TEMPLATES
) -> Vectors:
    """Return one unit vector a prompt, float32 [p, d]: the normalised mean over its phrases in all templates.

    The ensemble is taken over normalised text vectors, as in Radford et al. 2021 ("Learning Transferable Visual Models
    From Natural Language Supervision", section 3.1.4): mean of unit vectors, then normalised. Raises `UserError` when
    the model gives no finite vector for a text.
    """
    # Not str.format: a user's phrase may hold braces.
    texts = [
        [template.replace("{}", phrase) for phrase in prompt.phrases for template in templates] for prompt in prompts
    ]
    flat = [text for group in texts for text in group]
    # In parts: a thousand texts at once are gigabytes of activations in a large model.
    parts = [encode_texts(flat[start : start + _TEXTS_AT_ONCE]) for start in range(0, len(flat), _TEXTS_AT_ONCE)]
    encoded = np.concatenate(parts).astype(np.float64)
    if encoded.ndim != 2 or len(encoded) != len(flat):
        raise ValueError(f"{len(flat)} texts were encoded to an array of {encoded.shape}")
    unit = encoded / _norms(encoded, flat)
    ends = np.cumsum([len(group) for group in texts])
    means = np.stack([part.mean(axis=0) for part in np.split(unit, ends[:-1])])
    ensemble: Vectors = (means / _norms(means, [prompt.label for prompt in prompts])).astype(np.float32)
    return ensemble


def _norms(vectors: npt.NDArray[np.float64], names: Sequence[str]) -> npt.NDArray[np.float64]:
    norms: npt.NDArray[np.float64] = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] < 1e-12))
    if len(bad):
        raise UserError(f"The model gives no finite vector for the text '{names[bad[0]]}'; try another.")
    return norms
