"""Plans of annotation jobs."""

from typing import Any

from pipelines.annotation.options import AnnotateOptions, PlanRequest
from pipelines.annotation.plan.measure import Measured
from pipelines.annotation.plan.plan import AnnotatePlan, Estimate, Totals


def gpu_plan(**asked: Any) -> AnnotatePlan:
    hour = Estimate(3600.0, 1800.0, 7200.0)
    totals = Totals(hour, hour, hour, hour, hour, 0.0)
    counts = dict.fromkeys(("done", "failed", "to_do", "to_do_bytes", "left_out"), 0)
    share, price = asked.get("gpus_per_worker", 0.0), asked.get("gpu_hour_cost")
    measured = Measured("cuda", 0.0)
    return AnnotatePlan("out", "m", counts, None, share, price, 4, measured).with_totals(totals)


def request_of(**asked: Any) -> PlanRequest:
    """Builds a request from its own fields and options side by side."""
    own = {name: asked.pop(name) for name in list(asked) if name in PlanRequest.__annotations__}
    return PlanRequest(**own, options=AnnotateOptions(**asked))
