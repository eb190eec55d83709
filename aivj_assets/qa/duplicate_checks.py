"""Whether a batch holds unusually many presets that a person might drop: the warnings of `qa_samples`."""

from __future__ import annotations

from aivj_assets.contracts.findings import Finding
from aivj_assets.contracts.qa_duplicates import QaDuplicates

DUPLICATE_CHECKS = (NEAR_DUPLICATES, MISFITS) = ("near_duplicates", "misfits")
MAX_DUPLICATE_FRACTION = 0.1
"""Above it `near_duplicates` warns. 520 presets with a name each have 3 %; a library in two formats has half."""
MAX_MISFIT_FRACTION = 0.1
"""Above it `misfits` warns. Real libraries have 2 to 3 %."""


def check_duplicates(found: QaDuplicates) -> list[Finding]:
    """Return the warnings `near_duplicates` and `misfits`: how many of a batch's presets a person might drop."""
    counts, limits = found.counts, found.thresholds
    copies = counts.exact_duplicates + counts.near_duplicates
    same, dull = (number / counts.presets if counts.presets else 0.0 for number in (copies, counts.misfits))
    return [
        Finding(
            NEAR_DUPLICATES,
            same <= MAX_DUPLICATE_FRACTION,
            f"{copies} of {counts.presets} presets ({same:.1%}) show what another one shows: "
            f"{counts.exact_duplicates} the same bytes, {counts.near_duplicates} nearly the same (hash distance up to "
            f"{limits.max_hash_distance} of 64 bits, cosine from {limits.min_cosine:g}); up to "
            f"{MAX_DUPLICATE_FRACTION:.0%} is usual",
            "warning",
            {"duplicate_fraction": same, "near_duplicates": counts.near_duplicates},
        ),
        Finding(
            MISFITS,
            dull <= MAX_MISFIT_FRACTION,
            f"{counts.misfits} of {counts.presets} presets ({dull:.1%}) are black or of one colour in every capture; "
            f"up to {MAX_MISFIT_FRACTION:.0%} is usual",
            "warning",
            {"misfit_fraction": dull, "misfits": counts.misfits},
        ),
    ]
