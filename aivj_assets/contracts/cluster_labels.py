"""`labels.json` of a lineage: what each cluster is called, by whom, and on which evidence.

A label belongs to a cluster id for good. A person's label is never replaced by a computed one, and an id that was
retired keeps its entry, so that an old show's "c07" can still be read. This module only says how entries give way to
each other; who computes them is the style room's matter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.errors import UserError

LabelSource = Literal["person", "zero-shot", "descriptive"]
MAX_LABEL_CHARS = 80
# Characters that draw nothing but belong to words: Persian and Indic scripts join letters with them, emoji too.
_JOINERS = frozenset("\u200c\u200d")
# Controls, formats (also those that turn the direction of text), halves of pairs, line and paragraph separators.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def clean_label(text: str) -> str:
    """Return a label as it is stored: NFC, trimmed, runs of spaces as one; one line of 1 to `MAX_LABEL_CHARS`.

    Raises `UserError` for control characters (line breaks and changes of direction among them), for text that is empty
    or too long. A label stays untrusted text: whoever shows it in a page escapes it.
    """
    cleaned, problem = _cleaned(text)
    if problem:
        raise UserError(f"The label {problem}.")
    return cleaned


def _cleaned(text: str) -> tuple[str, str | None]:
    """Return the label as it is stored and what is wrong with it, if anything."""
    if len(text) > 100 * MAX_LABEL_CHARS:
        return "", f"has {len(text)} characters; at most {MAX_LABEL_CHARS} are kept"
    trimmed = unicodedata.normalize("NFC", text).strip()
    for character in trimmed:
        if unicodedata.category(character) in _REFUSED_CATEGORIES and character not in _JOINERS:
            return "", f"holds the control character U+{ord(character):04X}; write it as one line of plain text"
    cleaned = " ".join(trimmed.split())
    if not cleaned.strip("".join(_JOINERS)):
        return "", "is empty; write a word or two"
    if len(cleaned) > MAX_LABEL_CHARS:
        return "", f"has {len(cleaned)} characters; at most {MAX_LABEL_CHARS} are kept"
    return cleaned, None


def _checked(text: str) -> str:
    """`clean_label` for pydantic, which takes a `ValueError`."""
    cleaned, problem = _cleaned(text)
    if problem:
        raise ValueError(problem)
    return cleaned


class LabelScore(ContractModel):
    """A label and how well it fits, 0..1; what the score means depends on the source (see the style room)."""

    label: str
    score: float = Field(ge=0, le=1)

    _one_line = field_validator("label")(_checked)


class ClusterLabel(ContractModel):
    """What one cluster is called. `score` is None where nothing was scored: a person's label, a description."""

    label: str
    source: LabelSource
    score: float | None = Field(None, ge=0, le=1)
    alternatives: list[LabelScore] = Field(default_factory=list)
    evidence: dict[str, Any] = Field(default_factory=dict)
    """Figures behind the label, by name; for zero-shot also the model's name."""
    set_at: str

    _one_line = field_validator("label")(_checked)

    def says_the_same(self, other: ClusterLabel) -> bool:
        """Whether two labels differ in `set_at` at most."""
        return self.model_copy(update={"set_at": ""}) == other.model_copy(update={"set_at": ""})


class ClusterLabels(ContractFile):
    """The labels of a lineage's clusters, retired ones among them; `unlabelled` says why an id has none."""

    version: Literal["v0"] = "v0"
    generated_at: str
    lineage: str
    labels: dict[str, ClusterLabel] = Field(default_factory=dict)
    unlabelled: dict[str, str] = Field(default_factory=dict)

    @field_validator("labels", "unlabelled")
    @classmethod
    def _cluster_ids(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in value:
            if not _is_cluster_id(key):
                raise ValueError(f"'{key}' is no cluster id")
        return value

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object, ids in order; a label's `score` is written even when there is none."""
        content = super().to_json()
        for entry in content["labels"].values():
            entry.setdefault("score", None)
        for part in ("labels", "unlabelled"):
            content[part] = {key: content[part][key] for key in sorted(content[part], key=_id_order)}
        return content


def _is_cluster_id(text: str) -> bool:
    return len(text) >= 3 and text[0] == "c" and text[1:].isascii() and text[1:].isdigit()


def _id_order(cluster_id: str) -> tuple[int, str]:
    # Ids have two or more digits: c99 comes before c100.
    return len(cluster_id), cluster_id


def with_person_label(
    labels: ClusterLabels, cluster_id: str, text: str, *, known_ids: Collection[str], at: str
) -> ClusterLabels:
    """Return `labels` with what a person calls a cluster; the label that gives way becomes the first alternative.

    `known_ids` are the lineage's ids, retired ones among them. Raises `UserError` for an id that is none of them, or
    for a text that `clean_label` refuses.
    """
    if cluster_id not in known_ids:
        raise UserError(
            f"Lineage '{labels.lineage}' has no cluster '{cluster_id}'; it has {_ids_for_a_person(known_ids)}."
        )
    cleaned = clean_label(text)
    before = labels.labels.get(cluster_id)
    entry = ClusterLabel(
        label=cleaned,
        source="person",
        alternatives=_alternatives_after(before),
        evidence=before.evidence if before else {},
        set_at=at,
    )
    if before is not None and before.says_the_same(entry):
        return labels
    return labels.model_copy(
        update={
            "generated_at": at,
            "labels": {**labels.labels, cluster_id: entry},
            "unlabelled": {key: why for key, why in labels.unlabelled.items() if key != cluster_id},
        }
    )


def _alternatives_after(before: ClusterLabel | None) -> list[LabelScore]:
    """Return the suggestions that stay beside a person's label. A person's former label is no suggestion."""
    if before is None or before.source == "person":
        return list(before.alternatives) if before else []
    return [LabelScore(label=before.label, score=1.0 if before.score is None else before.score), *before.alternatives]


def _ids_for_a_person(ids: Collection[str]) -> str:
    ordered = sorted(ids, key=_id_order)
    return f"{ordered[0]} to {ordered[-1]} ({len(ordered)} ids)" if ordered else "none yet"


def without_person_label(labels: ClusterLabels, cluster_id: str, *, at: str) -> ClusterLabels:
    """Return `labels` without a person's label; the id has none until labels are computed again.

    Raises `UserError` when the cluster has no person's label.
    """
    entry = labels.labels.get(cluster_id)
    if entry is None or entry.source != "person":
        raise UserError(f"No person has labelled cluster '{cluster_id}' of lineage '{labels.lineage}'.")
    kept = {key: value for key, value in labels.labels.items() if key != cluster_id}
    return labels.model_copy(update={"generated_at": at, "labels": kept})


def merged_labels(
    before: ClusterLabels | None,
    computed: Mapping[str, ClusterLabel],
    *,
    lineage: str,
    at: str,
    unlabelled: Mapping[str, str] | None = None,
    keep_computed: bool = False,
) -> ClusterLabels:
    """Return what a lineage's clusters are called after labels were computed; `before` is None at the first time.

    A person's label stays as it is. A computed one replaces an older computed one, or with `keep_computed` only fills
    ids that have none, so that words do not change under an audience's feet between two refits. Ids that were not
    computed (retired, or of no interest now) keep what they have. `unlabelled` says why an id could not be labelled;
    it counts only where there is no label from before. An entry that says the same as before keeps its `setAt`.
    """
    persons = [key for key, entry in computed.items() if entry.source == "person"]
    if persons:
        raise ValueError(f"labels of {persons} are a person's: set them with with_person_label")
    labels = dict(before.labels) if before else {}
    for key, entry in computed.items():
        old = labels.get(key)
        stays = old is not None and (old.source == "person" or keep_computed or old.says_the_same(entry))
        if not stays:
            labels[key] = entry
    reasons = {**(before.unlabelled if before else {}), **(unlabelled or {})}
    without = {key: why for key, why in reasons.items() if key not in labels}
    if before is None:
        return ClusterLabels(generated_at=at, lineage=lineage, labels=labels, unlabelled=without)
    if before.lineage != lineage:
        raise UserError(f"These labels are of lineage '{before.lineage}', not of '{lineage}'.")
    # A copy keeps the fields of other tools.
    return before.model_copy(update={"generated_at": at, "labels": labels, "unlabelled": without})
