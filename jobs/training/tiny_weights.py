"""``longtake tiny-weights``: the small start weights that the project ships."""

from typing import Annotated

from jobs import options
from jobs.options import option

DETAILS = "For developers of longtake; --out is the weights folder."
EXAMPLES = ("longtake tiny-weights --out weights --steps 200 --backbone-steps 0",)


def run(
    *,
    out: options.RequiredOut,
    steps: Annotated[int, option("--steps N", "Training steps.", min=1)] = 7_000,
    batch: Annotated[int, option("--batch N", "Images per step.", min=1)] = 8,
    seed: options.Seed = 0,
    backbone_steps: options.BackboneSteps = 600,
    save_every: Annotated[int, option("--save-every N", "Steps between snapshots.", min=1)] = 1000,
) -> None:
    """Trains the weights and prints the losses."""
    from pipelines.experiments.tiny_weights import TinyTraining, train_tiny_weights

    training = TinyTraining(options.local_path(out), steps, batch, seed, backbone_steps, save_every)
    for line in train_tiny_weights(training):
        print(line, flush=True)
