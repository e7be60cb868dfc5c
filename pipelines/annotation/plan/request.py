"""The request of a plan."""

from dataclasses import dataclass, field

from pipelines.annotation.options import (
    AnnotateOptions,
    require_at_least_one,
    require_not_negative,
)
from vis_core.config.inference import InferenceConfig


@dataclass(frozen=True)
class PlanRequest:
    """The settings of the planned job and of the plan itself.

    Attributes:
        config: Inference settings of the job.
        options: Other options of the job.
        num_samples: Number of videos that the plan opens.
        gpu_hour_cost: Price of one GPU for an hour, or None.
    """

    config: InferenceConfig = field(default_factory=InferenceConfig)
    options: AnnotateOptions = AnnotateOptions()
    num_samples: int = 16
    gpu_hour_cost: float | None = None

    def validate(self) -> None:
        """Checks every number.

        Raises:
            ConfigError: A number is out of range; the message names it.
        """
        self.options.validate(self.config)
        require_at_least_one(num_samples=self.num_samples)
        require_not_negative(gpu_hour_cost=self.gpu_hour_cost)
