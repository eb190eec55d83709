"""What `aivj search` and `aivj similar` do: the accepted batches of a pack, the model of their rows, the result."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from aivj_assets.contracts.embeddings import EmbeddingsMeta, require_same_card
from aivj_assets.contracts.manifest import preset_slug
from aivj_assets.contracts.pack_settings import PackSettings
from aivj_assets.embed.model import TorchModel
from aivj_assets.embed.search import (
    Match,
    best_matches,
    cosines,
    image_vector,
    mean_direction,
    rank_labels,
    text_vectors,
)
from aivj_assets.errors import UserError
from aivj_assets.layout import BatchKey, DataRoot
from aivj_assets.orchestration.card_model import ModelOptions, is_offline, load_model_of_card
from aivj_assets.orchestration.guard import acceptance_problem
from aivj_assets.orchestration.instance import open_instance, storage_errors
from aivj_assets.orchestration.search_rows import PackRows, SearchedPack
from aivj_assets.report.matches import BestLabel, MatchGroup, MatchView, SearchResult, print_result, write_page

_STAGE = "embeddings"
_STEM_LIMIT = 48  # characters: Windows limits a whole path to 260


@dataclass(frozen=True)
class SearchRequest:
    """Where to search (a pack, or one batch of it), how many presets to show (of each label), and where."""

    root: DataRoot
    name: str
    count: int = 24
    html: Path | None = None
    as_json: bool = False
    model: ModelOptions = field(default_factory=ModelOptions)


def search_by_text(console: Console, request: SearchRequest, texts: Sequence[str]) -> None:
    """Show the presets nearest to the mean of the texts' vectors; raises `UserError` for what a user can mend."""
    pack = open_pack(request)
    query = mean_direction(text_vectors(load_text_model(pack, request.model), texts))
    rows = PackRows.load(pack)
    matches = best_matches(cosines(rows.parts, query[None])[:, 0], rows.ids, request.count)
    show(console, request, _result(rows, "texts", texts, [MatchGroup(rows.views(matches))]))


def label_presets(console: Console, request: SearchRequest, labels: Sequence[str]) -> None:
    """Show the best presets of each label, and each preset's best label; raises `UserError`."""
    pack = open_pack(request)
    vectors = text_vectors(load_text_model(pack, request.model), labels)
    rows = PackRows.load(pack)
    ranking = rank_labels(rows.parts, vectors, rows.ids, request.count)
    # All labels at once: each batch's manifest and index are read once.
    views = iter(rows.views([match for matches in ranking.best_presets for match in matches]))
    suits = np.bincount(ranking.best_label, minlength=len(labels))
    groups = []
    for label, matches, count in zip(labels, ranking.best_presets, suits, strict=True):
        shown = [replace(next(views), rank=rank) for rank in range(1, len(matches) + 1)]
        groups.append(MatchGroup(shown, label, int(count)))
    best = [
        BestLabel(rows.ids[row], rows.batch_of(row).key, labels[number], _short(cosine), _short(margin))
        for row, (number, cosine, margin) in enumerate(
            zip(ranking.best_label, ranking.cosine, ranking.margin, strict=True)
        )
    ]
    show(console, request, replace(_result(rows, "labels", labels, groups), best_labels=best))


def similar_to_presets(console: Console, request: SearchRequest, presets: Sequence[str]) -> None:
    """Show the presets nearest to the mean of the named presets' rows, those first; no model is loaded."""
    rows = PackRows.load(open_pack(request))
    asked = rows.find(presets)
    names = [rows.ids[row] for row in asked]
    named = set(names)
    scores = cosines(rows.parts, mean_direction(np.stack([rows.vector(row) for row in asked]))[None])[:, 0]
    own = [row for row, preset_id in enumerate(rows.ids) if preset_id in named]
    matches = best_matches(scores, rows.ids, request.count, without=own)
    first = rows.views([Match(row, _short(scores[row])) for row in asked])
    result = _result(rows, "presets", names, [MatchGroup(rows.views(matches))])
    show(console, request, replace(result, query=[replace(view, rank=None) for view in first]))


def similar_to_image(console: Console, request: SearchRequest, path: Path) -> None:
    """Show the presets nearest to an image of any size; raises `UserError` when it cannot be read."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no image that can be read"
        raise UserError(f"--image {path}: {reason}.") from None
    pack = open_pack(request)
    query = image_vector(load_query_model(pack, request.model), image)
    rows = PackRows.load(pack)
    matches = best_matches(cosines(rows.parts, query[None])[:, 0], rows.ids, request.count)
    result = _result(rows, "image", [path.name], [MatchGroup(rows.views(matches))])
    show(console, request, replace(result, query=[MatchView("", path.name, "", None, picture=path)]))


# ---------------------------------------------------------------------- batches and model


def open_pack(request: SearchRequest) -> SearchedPack:
    """Return the accepted batches of a pack or batch; raises `UserError` when there is none or their cards differ."""
    root, name = request.root, request.name
    wanted = BatchKey.parse(name)
    batches = [batch for batch in root.find_batches() if wanted.key in {batch.pack, batch.key}]
    if not batches:
        known = ", ".join(sorted({batch.pack for batch in root.find_batches()})) or "none yet"
        raise UserError(f"There is no pack '{name}' under {root.presets_dir} (known: {known}).")
    left_out: dict[str, str] = {}
    with storage_errors(root), open_instance(root, os.environ) as instance:
        for batch in batches:
            problem = acceptance_problem(instance, root, batch, _STAGE)
            if problem is not None:
                left_out[batch.key] = problem.rstrip(".")
    accepted = [batch for batch in batches if batch.key not in left_out]
    if not accepted:
        key, why = next(iter(left_out.items()))
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        raise UserError(f"'{name}' has no batch with accepted embeddings ({key}: {why}{more}): aivj run {key} first.")
    cards = {f"batch {batch}": EmbeddingsMeta.load(root.batch(batch).embeddings_meta).card for batch in accepted}
    require_same_card(
        cards,
        f"search one batch by itself (e.g. {accepted[0]}), or embed all with one model (aivj run BATCH --embedder …).",
    )
    return SearchedPack(root, wanted.key, accepted, left_out, next(iter(cards.values())))


def load_text_model(pack: SearchedPack, options: ModelOptions) -> TorchModel:
    """Load the rows' model for its text side; one that is known to have none is not loaded."""
    model = None if is_offline(pack.card) else load_query_model(pack, options)
    if model is None or model.encode_text is None:
        raise UserError(
            f"The embeddings of '{pack.name}' are of {pack.card.model}, which has no text side: `aivj similar` works "
            f"with them. For a search by text embed with OpenCLIP: aivj run {pack.batches[0]} --embedder openclip."
        )
    return model


def load_query_model(pack: SearchedPack, options: ModelOptions) -> TorchModel:
    """Load the model of a pack's rows; raises `UserError` when it cannot be had or is another one."""
    with _told(f"Loading {pack.card.model}"):
        return load_model_of_card(pack.card, options, PackSettings.of_pack(pack.root, pack.pack), os.environ)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Tell a person at a terminal what is waited for."""
    errors = Console(stderr=True)
    if not errors.is_terminal:
        yield
        return
    with errors.status(what):
        yield


# ---------------------------------------------------------------------- the result


def _result(rows: PackRows, kind: str, asked: Sequence[str], groups: list[MatchGroup]) -> SearchResult:
    return SearchResult(
        pack=rows.pack.name,
        kind=kind,
        asked=list(asked),
        groups=groups,
        card=rows.pack.card,
        presets=len(rows.ids),
        batches=[batch.key for batch in rows.pack.batches],
        left_out=rows.pack.left_out,
    )


def _short(value: float | np.float32) -> float:
    return round(float(value), 6)


def show(console: Console, request: SearchRequest, result: SearchResult) -> None:
    """Print the table (or JSON) and write the page; with JSON only where its file is named."""
    page = request.html
    if page is None and not request.as_json:
        digest = hashlib.sha256(json.dumps([result.pack, result.kind, result.asked]).encode()).hexdigest()[:6]
        stem = preset_slug(result.title, _STEM_LIMIT)
        page = request.root.search_page(BatchKey.parse(result.pack).pack, f"{stem}-{digest}")
    if page is not None:
        page = page.expanduser().resolve()
        write_page(page, result)
    if request.as_json:
        # In ASCII: a console of Windows may lack the letters of a preset's name.
        console.out(json.dumps({**result.to_json(), "page": str(page) if page else None}, indent=2), highlight=False)
        return
    print_result(console, result)
    console.out(f"Page: {page}", highlight=False)
