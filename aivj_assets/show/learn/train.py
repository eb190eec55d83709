"""Evidence in, model and verdict out."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version

import numpy as np

from aivj_assets.contracts.audio_style_model import (
    BASE_INPUTS,
    MODEL_BEATS_BASELINE,
    AudioEmbedding,
    AudioStyleModel,
    Evidence,
    ModelEvaluation,
    ModelKind,
    ModelVerdict,
    StyleForm,
)
from aivj_assets.contracts.base import utc_now
from aivj_assets.contracts.style import StyleIndex
from aivj_assets.errors import UserError
from aivj_assets.show.learn.design import make_design, tier_shares
from aivj_assets.show.learn.evaluate import Progress, choose_setting, evaluate
from aivj_assets.show.learn.evidence import SKIP_HALF_LIFE_S, Judged, Logs, of_known_clusters
from aivj_assets.show.learn.export import export
from aivj_assets.show.learn.fit import CLIP, Setting, fit
from aivj_assets.show.learn.retrieval import PresetRows, fit_retrieval

METHOD = 1
"""Raised when the same evidence gives another model than before."""


@dataclass(frozen=True)
class Options:
    """What a person chose."""

    kind: ModelKind = "logistic"
    form: StyleForm = "one"
    seed: int = 1


@dataclass
class Material:
    """All that a model is made from. `reactivity` and `circular` pairs only train."""

    pack: str
    index: StyleIndex
    index_hash: str
    logs: Logs
    reactivity: list[Judged] = field(default_factory=list)
    circular: list[Judged] = field(default_factory=list)
    presets: PresetRows | None = None
    presets_problem: str | None = None
    embedding: AudioEmbedding | None = None
    """The audio embedding whose values the pairs' features hold under `embedding_inputs`."""

    @property
    def clusters(self) -> list[str]:
        """The published clusters, sorted."""
        return sorted({entry.author_key for entry in self.index.entries})

    @property
    def inputs(self) -> list[str]:
        """The model's inputs in order."""
        return [*(embedding_inputs(self.embedding) if self.embedding else []), *BASE_INPUTS]


def embedding_inputs(embedding: AudioEmbedding) -> list[str]:
    """Return the names of an audio embedding's inputs."""
    return [f"embedding.{place:04d}" for place in range(embedding.dim)]


def check_options(options: Options) -> None:
    """Raise `UserError` for options that do not go together."""
    if (options.kind, options.form) == ("mlp", "several"):
        raise UserError("--styles several goes with --model logistic: each style has a regression of its own.")


def prepare_evidence(material: Material) -> Material:
    """Return the material without pairs of clusters that are gone; raises `UserError` when nothing is left to learn."""
    left_out = Counter(material.logs.left_out)
    judged = of_known_clusters(material.logs.judged, material.clusters, left_out)
    logs = Logs(judged, material.logs.read, left_out)
    if not judged and not material.reactivity and not material.circular:
        read = f"{logs.read} log{'' if logs.read == 1 else 's'} of shows"
        raise UserError(
            f"Pack '{material.pack}' has nothing to learn from ({read}, no pick that a person judged): play shows with "
            f"aivj show {material.pack}, skip what does not fit and mark or hold what does."
        )
    return replace(material, logs=logs)


def digest(material: Material, options: Options) -> str:
    """Return the SHA-256 over all that decides a model's numbers, hex."""
    libraries = {name: version(name) for name in ("numpy", "scipy", "scikit-learn")}
    said = {
        "method": METHOD, "options": asdict(options), "index": material.index_hash, "inputs": material.inputs,
        "libraries": libraries, "embedding": material.embedding.to_json() if material.embedding else None,
        "counts": [material.logs.read, sorted(material.logs.left_out.items())],
        "pairs": [[asdict(pair) for pair in pairs] for pairs in _sources(material)],
    }  # fmt: skip
    found = hashlib.sha256(json.dumps(said, sort_keys=True).encode("utf-8"))
    if material.presets is not None:
        found.update("\n".join(material.presets.ids).encode("utf-8"))
        found.update(np.ascontiguousarray(material.presets.rows).tobytes())
    return found.hexdigest()


def _sources(material: Material) -> tuple[Sequence[Judged], Sequence[Judged], Sequence[Judged]]:
    return material.logs.judged, material.reactivity, material.circular


def train(material: Material, options: Options, *, progress: Progress | None = None) -> AudioStyleModel:
    """Return the model with its proof and verdict; deterministic. `material` is that of `prepare_evidence`."""
    check_options(options)
    with one_thread():
        return _train(material, options, progress)


@contextmanager
def one_thread() -> Iterator[None]:
    """Fit on one thread: matrices this small are slower on several, and their last digits depend on how many."""
    # Only libraries that are loaded are limited.
    import sklearn.linear_model  # noqa: F401
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        yield


def _train(material: Material, options: Options, progress: Progress | None) -> AudioStyleModel:
    pairs = [pair for source in _sources(material) for pair in source]
    judged, inputs, clusters = material.logs.judged, material.inputs, material.clusters
    design = make_design(pairs, clusters, inputs, [True] * len(judged) + [False] * (len(pairs) - len(judged)))
    shares = tier_shares(material.index, clusters)
    setting = Setting(kind=options.kind, form=options.form, seed=options.seed)
    evaluation = evaluate(design, shares, inputs, setting, progress=progress)
    if len(clusters) == 1:
        raise UserError(f"Pack '{material.pack}' has one style: there is nothing to choose between.")
    setting = choose_setting(design, shares, inputs, setting)
    made = export(fit(design, shares, inputs, setting), inputs)
    verdict = judge(evaluation, material)
    retrieval, problem = None, material.presets_problem
    if material.presets is not None:
        retrieval, problem = fit_retrieval(design, [pair.preset_id for pair in pairs], material.presets, inputs)
    return AudioStyleModel(
        generated_at=utc_now(), pack=material.pack, index_hash=material.index_hash,
        inputs_sha256=digest(material, options), inputs=inputs, mean=made.mean, scale=made.scale, clip=CLIP,
        layers=made.layers, output=made.output, clusters=clusters, parameters=_parameters(setting),
        evidence=_evidence(material), evaluation=evaluation, published=verdict.passed, verdict=verdict.sentence,
        circular=bool(material.circular), audio_embedding=material.embedding, retrieval=retrieval,
        retrieval_problem=problem,
    )  # fmt: skip


def judge(evaluation: ModelEvaluation, material: Material) -> ModelVerdict:
    """Apply the gate; a model that needs an audio embedding passes for itself but cannot be published."""
    verdict = MODEL_BEATS_BASELINE.judge(evaluation)
    if verdict.passed and material.embedding is not None:
        return ModelVerdict(
            False,
            f"The rule stays: the model passed, but an app that only reads JSON cannot hear "
            f"{material.embedding.model}; train without --audio-embedding to publish.",
        )
    return verdict


def _parameters(setting: Setting) -> dict[str, object]:
    return {
        "model": setting.kind,
        "styles": setting.form,
        "seed": setting.seed,
        "regularisation": setting.c if setting.kind == "logistic" else None,
        "priorPicks": setting.smoothing.prior,
        "pooledPicks": setting.smoothing.pool,
        "skipHalfLifeS": SKIP_HALF_LIFE_S,
    }


def _evidence(material: Material) -> Evidence:
    judged = material.logs.judged
    liked = sum(pair.liked for pair in judged)
    return Evidence(
        logs=material.logs.read,
        counted={"liked": liked, "skipped": len(judged) - liked},
        left_out=dict(sorted(material.logs.left_out.items())),
        other_indexes=sum(pair.index_hash != material.index_hash for pair in judged),
        reactivity=len({pair.preset_id for pair in material.reactivity}),
        circular=len(material.circular),
    )
