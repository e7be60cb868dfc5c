"""Plans of annotation jobs."""

from typing import Any

from pipelines.annotation.options import AnnotateOptions, PlanRequest
from pipelines.annotation.plan.measure import Measured
from pipelines.annotation.plan.plan import AnnotatePlan, Estimate, Totals


def gpu_plan(**asked: Any) -> AnnotatePlan:
    hour = Estimate(3600.0, 1800.0, 7200.0)
    totals = Totals(hour, hour, hour, hour, hour, 0.0)
    return AnnotatePlan(
        "out", "m", request_of(**asked), 0, 0, [], [], 4, Measured("cuda", 0.0), totals
    )


def request_of(**asked: Any) -> PlanRequest:
    """A request whose options are named beside its own fields."""
    own = {name: asked.pop(name) for name in list(asked) if name in PlanRequest.__annotations__}
    return PlanRequest(**own, options=AnnotateOptions(**asked))
