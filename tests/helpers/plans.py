"""Plans of annotation jobs."""

from typing import Any

from pipelines.annotation.options import AnnotateOptions, PlanRequest
from pipelines.annotation.plan.measure import Measured
from pipelines.annotation.plan.plan import AnnotatePlan, Totals


def gpu_plan() -> AnnotatePlan:
    """Returns a plan of an hour with 4 workers that have half a GPU each."""
    totals = Totals(3600.0, 3600.0, 3600.0, 3600.0, 3600.0, 0.0)
    counts = dict.fromkeys(("done", "failed", "to_do", "to_do_bytes"), 0)
    measured = Measured("cuda", 0.0)
    return AnnotatePlan("out", "m", counts, 0.5, 2.5, 4, measured, totals, 2.0, 5.0)


def request_of(**asked: Any) -> PlanRequest:
    """Builds a request from its own fields and options side by side."""
    own = {name: asked.pop(name) for name in list(asked) if name in PlanRequest.__annotations__}
    return PlanRequest(**own, options=AnnotateOptions(**asked))
