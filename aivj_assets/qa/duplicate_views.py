"""Near-duplicates and misfits as the review page shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from aivj_assets.contracts.frames_index import OkRecord
from aivj_assets.contracts.qa_duplicates import QaDuplicates
from aivj_assets.qa.frames import Strip
from aivj_assets.qa.views import Name, ViewSources

_MOST_PRESETS = 600


@dataclass(frozen=True)
class LikeView:
    """A preset of the section; `cosine` and `hash_distance` (bits of 64) are to the one that is compared with."""

    name: Name
    strip: Strip | None
    cluster: str | None
    avg_luma: float
    motion: float
    cosine: float | None = None
    hash_distance: int | None = None
    exact: bool = False
    flags: Sequence[str] = ()
    like: str | None = None
    batch: str | None = None


@dataclass(frozen=True)
class GroupView:
    """Presets of which one is enough; the first is the suggestion."""

    number: int
    cluster: str
    reason: str
    presets: list[LikeView]


@dataclass(frozen=True)
class DuplicatesView:
    """The section. `more` counts groups and presets that are in `duplicates.json` alone."""

    found: QaDuplicates
    groups: list[GroupView]
    misfits: list[LikeView]
    elsewhere: list[LikeView]
    more: int


def shown_part(duplicates: QaDuplicates) -> QaDuplicates:
    """Return as many of the groups, misfits and others as a page holds, at most about 600 presets of each kind."""
    room = 0

    def fits(size: int) -> bool:
        nonlocal room
        room += size
        return room <= _MOST_PRESETS

    groups = list(takewhile(lambda group: fits(len(group.presets)), duplicates.groups))
    return duplicates.model_copy(
        update={
            "groups": groups,
            "misfits": duplicates.misfits[:_MOST_PRESETS],
            "elsewhere": duplicates.elsewhere[:_MOST_PRESETS],
        }
    )


def presets_of(duplicates: QaDuplicates) -> Iterable[str]:
    """Yield the ids of this batch's presets that are named, some of them several times."""
    for group in duplicates.groups:
        yield from (preset.preset_id for preset in group.presets)
    yield from (misfit.preset_id for misfit in duplicates.misfits)
    yield from (one.preset_id for one in duplicates.elsewhere)


def duplicates_view(
    duplicates: QaDuplicates, shown: QaDuplicates, sources: ViewSources, records: Mapping[str, OkRecord]
) -> DuplicatesView:
    """Return the section of what is `shown` of all `duplicates`; `records` are those of the presets named."""

    def like(preset_id: str, cluster: str | None) -> LikeView:
        metrics = records[preset_id].metrics
        return LikeView(
            sources.name(preset_id), sources.strips.get(preset_id), cluster, metrics.avg_luma, metrics.motion
        )

    groups = [
        GroupView(
            number,
            group.cluster,
            group.reason,
            [
                replace(
                    like(one.preset_id, group.cluster),
                    cosine=one.cosine, hash_distance=one.hash_distance, exact=one.exact,
                )
                for one in group.presets
            ],
        )
        for number, group in enumerate(shown.groups, start=1)
    ]  # fmt: skip
    return DuplicatesView(
        duplicates,
        groups,
        [replace(like(one.preset_id, one.cluster), flags=tuple(one.flags)) for one in shown.misfits],
        [
            replace(
                like(one.preset_id, one.cluster),
                cosine=one.cosine, hash_distance=one.hash_distance, like=one.other_preset_id, batch=one.batch,
            )
            for one in shown.elsewhere
        ],
        sum(
            len(whole) - len(part)
            for whole, part in (
                (duplicates.groups, shown.groups),
                (duplicates.misfits, shown.misfits),
                (duplicates.elsewhere, shown.elsewhere),
            )
        ),
    )  # fmt: skip
