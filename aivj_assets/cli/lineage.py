"""`aivj lineage …`: cluster ids that packs share, and the acts by which a person changes them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from aivj_assets.cli.options import AsJsonOption, RootOption, data_root, named_root
from aivj_assets.cli.terminal import console

lineage_app = typer.Typer(help="Cluster ids that packs share: versions, minor, major, removal.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Name of the lineage.")]
BatchArgument = Annotated[str, typer.Argument(help="Batch: <pack> or <pack>/batch-0001.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept with the version.")]
LimitOption = Annotated[int | None, typer.Option("--k-limit", min=1, help="How many clusters there may be.")]


@lineage_app.command("show")
def lineage_show(
    name: NameArgument = "main",
    as_json: AsJsonOption = False,
    root: RootOption = None,
) -> None:
    """Show a lineage's versions in their order: batches, births, retired ids, changed ids."""
    from aivj_assets.orchestration.commands.lineage import show

    show(console, named_root(root), name, as_json=as_json)


@lineage_app.command("major")
def lineage_major(
    reason: ReasonOption, name: NameArgument = "main", k_limit: LimitOption = None, root: RootOption = None
) -> None:
    """Fit the whole lineage again from its centroids: at most 5% of published ids change, with a migration table."""
    _act(root, act="major", lineage=name, reason=reason, k_limit=k_limit)


@lineage_app.command("minor")
def lineage_minor(
    reason: ReasonOption, name: NameArgument = "main", k_limit: LimitOption = None, root: RootOption = None
) -> None:
    """Fit it a few steps further: at most 2% of published ids change, with a migration table."""
    _act(root, act="minor", lineage=name, reason=reason, k_limit=k_limit)


@lineage_app.command("remove")
def lineage_remove(batch: BatchArgument, reason: ReasonOption, root: RootOption = None) -> None:
    """Take a batch out of its lineage and its pack's publication; its files stay, no other id changes."""
    _act(root, act="remove", batch=batch, reason=reason)


@lineage_app.command("readmit")
def lineage_readmit(batch: BatchArgument, root: RootOption = None) -> None:
    """Let a batch that was removed join again; `aivj run` then does it."""
    _act(root, act="readmit", batch=batch, reason="readmitted")


@lineage_app.command("replay")
def lineage_replay(name: NameArgument = "main", root: RootOption = None) -> None:
    """Make every version again, in the order in which batches came; exit status 1 when one comes out otherwise."""
    from aivj_assets.orchestration.commands.lineage import replay_and_report

    raise typer.Exit(replay_and_report(console, named_root(root), name))


@lineage_app.command("label")
def lineage_label(
    cluster: Annotated[str, typer.Argument(help="Cluster id, e.g. c07.")],
    text: Annotated[str | None, typer.Argument(help="What you call it; without one, your label is taken back.")] = None,
    name: Annotated[str, typer.Option("--lineage", help="Name of the lineage.")] = "main",
    root: RootOption = None,
) -> None:
    """Give a cluster your own label: it goes before computed ones and follows the id."""
    from aivj_assets.orchestration.commands.lineage import label_cluster

    label_cluster(console, named_root(root), name, cluster, text)


def _act(root: Any, **config: Any) -> None:
    from aivj_assets.orchestration.commands.lineage import act_and_report

    given = {name: value for name, value in config.items() if value is not None}
    raise typer.Exit(act_and_report(console, data_root(root), given))
