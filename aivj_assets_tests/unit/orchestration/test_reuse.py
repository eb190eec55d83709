"""Which configurations count as the same."""

from __future__ import annotations

from aivj_assets.orchestration.reuse import config_digest


def embedder(**config: str) -> dict:
    return {"resources": {"embedder": {"config": config}}}


def test_order_and_the_note_do_not_count_but_the_model_does() -> None:
    one = {"ops": {"clusters": {"config": {"k": 3}}}, **embedder(model="a", note="timed out")}
    other = {**embedder(note="refused", model="a"), "ops": {"clusters": {"config": {"k": 3}}}}
    assert config_digest(one) == config_digest(other)
    assert config_digest(one) != config_digest({**one, **embedder(model="b")})
    assert config_digest({}) != config_digest(one)


def test_the_configuration_is_left_as_it_is() -> None:
    config = embedder(model="a", note="refused")
    config_digest(config)
    assert config == embedder(model="a", note="refused")


def test_a_time_budget_changes_nothing_that_is_made() -> None:
    def frames(**config: float) -> dict:
        return {"ops": {"frames": {"config": config}}}

    assert config_digest(frames(stopAfterSec=60)) == config_digest({})
    assert config_digest(frames(stopAfterSec=60, warmupFrames=90)) == config_digest(frames(warmupFrames=90))
    assert config_digest(frames(warmupFrames=90)) != config_digest({})
