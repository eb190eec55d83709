"""How long a look of each sensor takes, over the library as it is at the end."""

from __future__ import annotations

import time
from typing import Any

import dagster as dg

from aivj_assets.definitions import build_definitions
from aivj_assets.orchestration.bench.scale.stand_in import StandInRenderer
from aivj_assets.orchestration.resources import DataRootResource

_DISCOVERING = ("new_manifest_batches", "publish_accepted_batches", "refresh_gate_report", "import_qa_verdicts")


def measure_sensors(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    """Have each sensor that looks at the data root look twice, with its own cursor; returns the second look's seconds.

    Nothing is launched: what a sensor asks for is thrown away.
    """
    repository = build_definitions({"renderer": StandInRenderer()}).get_repository_def()
    measured = []
    for name in _DISCOVERING:
        sensor = repository.get_sensor_def(name)
        cursor: str | None = None
        for _ in range(2):
            context = dg.build_sensor_context(
                instance=instance, cursor=cursor, repository_def=repository, sensor_name=name,
                resources={"data_root": DataRootResource()},
            )  # fmt: skip
            began = time.perf_counter()
            tick = sensor.evaluate_tick(context)
            took = time.perf_counter() - began
            cursor = tick.cursor
        measured.append({"sensor": name, "s": round(took, 3), "requested": len(tick.run_requests or [])})
    return measured
