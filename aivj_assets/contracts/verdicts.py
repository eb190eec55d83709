"""`verdicts.json`: what a person concluded of a batch's clusters, and what of all such files a lineage keeps.

Two files can be put together in any order and any number of times: of each cluster all statements are kept, ordered by
when they were made, and for each preset the latest decision counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from aivj_assets.contracts.base import ContractFile, ContractModel
from aivj_assets.contracts.cluster_labels import MAX_LABEL_CHARS, clean_label
from aivj_assets.errors import UserError
from aivj_assets.layout import LineageDir

QaMark = Literal["good", "mixed", "bad"]
QA_MARKS: tuple[QaMark, ...] = ("good", "mixed", "bad")
MAX_TEXT_CHARS = 4000
MAX_ID_CHARS = 400
_CLUSTER_ID = re.compile(r"c\d{2,}")


def moment(text: str) -> datetime:
    """Return a time in ISO-8601 as an aware datetime; without a zone it is UTC. Raises `ValueError`."""
    parsed = datetime.fromisoformat(text)
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def _checked_moment(text: str) -> str:
    try:
        moment(text)
    except (ValueError, OverflowError):
        raise ValueError(f"'{text[:40]}' is no time in ISO-8601") from None
    return text


def _one_line(text: str | None) -> str | None:
    """Return a text on one line without characters that draw nothing; None where nothing is left."""
    if text is None:
        return None
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:MAX_TEXT_CHARS] or None


class ClusterVerdict(ContractModel):
    """What was said of one cluster; None where nothing was. `at` is when, ISO-8601."""

    verdict: QaMark | None = None
    label: str | None = None
    note: str | None = None
    at: str

    _at = field_validator("at")(_checked_moment)
    _note = field_validator("note")(_one_line)

    @field_validator("label")
    @classmethod
    def _label(cls, text: str | None) -> str | None:
        if text is None or not text.strip():
            return None
        try:
            return clean_label(text)
        except UserError as error:
            raise ValueError(str(error)) from None

    @property
    def says_something(self) -> bool:
        """Whether there is a verdict, a label or a note."""
        return self.verdict is not None or self.label is not None or self.note is not None


class KeepChoice(ContractModel):
    """A group of near-duplicates of which one preset is kept."""

    presets: list[str] = Field(min_length=2)
    keep: str

    @model_validator(mode="after")
    def _keeps_one_of_them(self) -> Self:
        if self.keep not in self.presets:
            raise ValueError(f"'{self.keep[:80]}' is kept but not in its group")
        return self


class BlacklistChoice(ContractModel):
    """A preset that is not wanted any more."""

    preset_id: str = Field(min_length=1, max_length=MAX_ID_CHARS)
    reason: str = ""

    @field_validator("reason")
    @classmethod
    def _reason(cls, text: str) -> str:
        return _one_line(text) or "blacklisted in the review"


class VerdictsFile(ContractFile):
    """What the review page exports: verdicts on clusters of one version of a lineage, seen in one batch."""

    version: Literal["v0"]
    generated_at: str
    lineage: str
    lineage_version: int = Field(ge=1)
    batch: str
    reviewer: str | None = None
    clusters: dict[str, ClusterVerdict] = Field(default_factory=dict)
    keep: list[KeepChoice] = Field(default_factory=list)
    blacklist: list[BlacklistChoice] = Field(default_factory=list)

    _generated_at = field_validator("generated_at")(_checked_moment)

    @field_validator("reviewer")
    @classmethod
    def _reviewer(cls, text: str | None) -> str | None:
        return (_one_line(text) or "")[:MAX_LABEL_CHARS] or None

    @field_validator("clusters")
    @classmethod
    def _cluster_ids(cls, value: dict[str, ClusterVerdict]) -> dict[str, ClusterVerdict]:
        for key in value:
            if not _CLUSTER_ID.fullmatch(key):
                raise ValueError(f"'{key[:40]}' is no cluster id")
        return value


class Statement(ClusterVerdict):
    """A verdict as a lineage keeps it: also by whom, and on which version of the lineage, seen in which batch."""

    reviewer: str | None = None
    lineage_version: int = Field(ge=1)
    batch: str

    def order(self) -> tuple[Any, ...]:
        """Return what statements are ordered by: time and, of the same moment, what they say."""
        return (moment(self.at), self.verdict or "", self.label or "", self.note or "")


class PresetDecision(ContractModel):
    """Whether a person keeps a preset or drops it, why, and when."""

    choice: Literal["keep", "drop"]
    reason: str = ""
    at: str
    reviewer: str | None = None
    batch: str

    def order(self) -> tuple[Any, ...]:
        """Return what decisions are ordered by: time; of the same moment a drop goes before a keep."""
        return (moment(self.at), self.choice == "drop", self.reason, self.batch, self.reviewer or "")


class LineageVerdicts(ContractFile):
    """`verdicts.json` of a lineage: all that was said of each cluster, the latest first; which presets are dropped.

    Ids of retired clusters keep their entries.
    """

    version: Literal["v0"] = "v0"
    generated_at: str
    lineage: str
    clusters: dict[str, list[Statement]] = Field(default_factory=dict)
    presets: dict[str, PresetDecision] = Field(default_factory=dict)

    @classmethod
    def of(cls, folder: LineageDir) -> Self:
        """Read a lineage's verdicts; there are none yet where there is no file. Raises `UserError`."""
        if not folder.verdicts.exists():
            return cls(generated_at="", lineage=folder.name)
        return cls.load(folder.verdicts)

    def said(self, cluster: str) -> Said:
        """Return what counts of all that was said of a cluster."""
        return Said.of(self.clusters.get(cluster, ()))

    @property
    def dropped(self) -> dict[str, PresetDecision]:
        """The presets that a person does not want."""
        return {name: decision for name, decision in self.presets.items() if decision.choice == "drop"}

    def with_file(self, file: VerdictsFile, at: str) -> Self:
        """Return these verdicts and those of a file; the result does not depend on the order of files."""
        clusters = {name: list(known) for name, known in self.clusters.items()}
        for name, given in file.clusters.items():
            if given.says_something:
                own = Statement(
                    **given.model_dump(include={"verdict", "label", "note", "at"}), reviewer=file.reviewer,
                    lineage_version=file.lineage_version, batch=file.batch,
                )  # fmt: skip
                clusters[name] = _put_together([*clusters.get(name, []), own])
        presets = dict(self.presets)
        for name, decision in _decisions(file):
            known = presets.get(name)
            presets[name] = decision if known is None else max(known, decision, key=PresetDecision.order)
        changed = clusters != self.clusters or presets != self.presets
        return self.model_copy(
            update={
                "generated_at": at if changed else self.generated_at,
                "clusters": dict(sorted(clusters.items(), key=lambda item: (len(item[0]), item[0]))),
                "presets": dict(sorted(presets.items())),
            }
        )


class Said(ContractModel):
    """What counts of a cluster: verdict, label and note, each from the latest statement that has one.

    A later statement that only renames the cluster does not take its verdict back.
    """

    verdict: Statement | None = None
    label: Statement | None = None
    note: Statement | None = None

    @property
    def words(self) -> tuple[str | None, str | None, str | None]:
        """Verdict, label and note, whoever gave them when."""
        return (
            self.verdict.verdict if self.verdict else None,
            self.label.label if self.label else None,
            self.note.note if self.note else None,
        )

    @classmethod
    def of(cls, statements: Iterable[Statement]) -> Self:
        """Return what counts of statements that stand with the latest first."""
        listed = list(statements)

        def first(has: Callable[[Statement], str | None]) -> Statement | None:
            found = next((one for one in listed if has(one) is not None), None)
            if found is None:
                return None
            # Copies with more words beside it do not make it younger.
            same = (one for one in listed if has(one) == has(found) and moment(one.at) == moment(found.at))
            return min(same, key=_first_made)

        return cls(
            verdict=first(lambda one: one.verdict), label=first(lambda one: one.label), note=first(lambda one: one.note)
        )


def _put_together(statements: list[Statement]) -> list[Statement]:
    """Return statements once each, the latest first.

    A page that was made later exports what it knew already with the time of then: of such copies the one on the
    earliest version stays, so that a verdict does not grow young.
    """
    kept: dict[tuple[Any, ...], Statement] = {}
    for one in statements:
        known = kept.get(one.order())
        kept[one.order()] = one if known is None else min(known, one, key=_first_made)
    return [kept[key] for key in sorted(kept, reverse=True)]


def _first_made(one: Statement) -> tuple[Any, ...]:
    return (one.lineage_version, one.reviewer is None, one.reviewer or "", one.batch)


def _decisions(file: VerdictsFile) -> Iterable[tuple[str, PresetDecision]]:
    """Yield (presetId, decision) of a file; decisions carry the file's time."""
    common: dict[str, Any] = {"at": file.generated_at, "reviewer": file.reviewer, "batch": file.batch}
    for group in file.keep:
        for name in group.presets:
            if name == group.keep:
                yield name, PresetDecision(choice="keep", reason="kept of its near-duplicates", **common)
            else:
                yield name, PresetDecision(choice="drop", reason=f"near-duplicate of {group.keep}", **common)
    for entry in file.blacklist:
        yield entry.preset_id, PresetDecision(choice="drop", reason=entry.reason, **common)
