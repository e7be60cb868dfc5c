"""A step is taken wholly or not at all, in parts or at once; skipped steps are noted."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.config.optimizer import OptimizerSettings
from pipelines.training.worker.divergence import BadSteps
from pipelines.training.worker.loss_log import LossLog, loss_note, read_losses
from pipelines.training.worker.optimizers import build_optimizer
from pipelines.training.worker.step import StepOutcome, StepSettings, train_step
from tests.helpers.presets import tiny_config
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.errors import TrainingDivergedError
from vis_core.models.systems.stc import Stc
from vis_core.structures import ClipBatch

HOW = StepSettings(clip_norm=5.0)


def batch(num_clips: int = 2) -> ClipBatch:
    scene = SceneSettings(height=64, width=96)
    return collate_clips([render_scene(scene, 2, seed) for seed in range(3, 3 + num_clips)])


def system() -> Stc:
    """Builds the system whose batch norms learn."""
    torch.manual_seed(0)
    return Stc(tiny_config("stc"), len(CLASS_NAMES)).train()


def step(stc: Stc, optimizer: torch.optim.Optimizer, how: StepSettings = HOW) -> StepOutcome:
    draw = torch.Generator().manual_seed(1)
    return train_step(stc, batch(), optimizer, stc.loss_weights, how, draw)


class Poisoned(Stc):
    """A system with a loss that is not finite, or one whose gradient is not."""

    kind = "loss"

    def losses(self, batch: ClipBatch, generator: torch.Generator | None) -> dict[str, Tensor]:
        found = super().losses(batch, generator)
        if self.kind == "loss":
            return found | {"mask": found["mask"] * math.inf}
        grows = (found["box"] - found["box"].detach()).clamp(min=0).sqrt()  # 0, slope infinite
        return found | {"box": found["box"] + grows}


@pytest.mark.parametrize(
    "kind, reason", [("loss", "train/loss/mask is inf"), ("gradient", "the gradient norm is nan")]
)
def test_a_step_that_is_not_finite_changes_nothing(kind: str, reason: str) -> None:
    stc = system()
    optimizer = build_optimizer(stc, OptimizerSettings())
    assert step(stc, optimizer).reason == ""
    before = copy.deepcopy((stc.state_dict(), optimizer.state_dict()))
    stc.__class__, stc.kind = Poisoned, kind  # type: ignore[attr-defined]
    outcome = step(stc, optimizer)
    assert outcome.reason == reason
    after = stc.state_dict(), optimizer.state_dict()
    assert all(torch.equal(value, after[0][name]) for name, value in before[0].items())
    for row, state in before[1]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, after[1]["state"][row][name])
    assert all(weight.grad is None for weight in stc.parameters())
    stc.__class__ = Stc
    assert step(stc, optimizer).reason == ""
    assert any(not torch.equal(value, stc.state_dict()[name]) for name, value in before[0].items())


def test_skipped_steps_are_noted_and_too_many_in_a_row_end_the_training(tmp_path: Path) -> None:
    path = tmp_path / "skipped_steps.jsonl"
    bad = StepOutcome({"mask": math.nan}, "train/loss/mask is nan")
    good = StepOutcome({"mask": 1.0})
    notes = BadSteps(path, "videos", rank=1, limit=3)
    for number, outcome in enumerate((bad, bad, good, bad, bad), start=1):
        notes.add(number, outcome, ("a", f"b{number}"))
    with pytest.raises(TrainingDivergedError, match="in step 6 of stage videos, as were 3 steps"):
        notes.add(6, bad, ("c", "d"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 4, 5, 6]
    assert lines[0] == {
        "stage": "videos",
        "step": 1,
        "rank": 1,
        "reason": "train/loss/mask is nan",
        "clips": ["a", "b1"],
    }


def outcomes(count: int) -> list[StepOutcome]:
    return [
        StepOutcome({"mask": float(n)}, "train/loss/mask is nan" if n % 7 == 3 else "")
        for n in range(count)
    ]


def numbers(path: Path) -> list[dict[str, object]]:
    return [
        {name: value for name, value in row.items() if not name.startswith("time")}
        for row in read_losses(path)
    ]


@pytest.mark.parametrize("stopped, checkpoint", [(17, 15), (20, 20), (9, 5), (31, 25)])
def test_the_lines_of_an_interrupted_stage_are_those_of_a_calm_one(
    stopped: int, checkpoint: int, tmp_path: Path
) -> None:
    """Kills a stage after ``stopped`` of 33 steps; it continues from the checkpoint before."""
    every = outcomes(33)
    calm = LossLog(tmp_path / "calm.jsonl", "videos")
    for number, outcome in enumerate(every, start=1):
        calm.add(number, outcome, rate=0.1, last=number == 33)
    first = LossLog(tmp_path / "killed.jsonl", "videos")
    state = first.state
    for number, outcome in enumerate(every[:stopped], start=1):
        first.add(number, outcome, rate=0.1, last=False)
        if number == checkpoint:
            state = first.state
    with (tmp_path / "killed.jsonl").open("a") as file:
        file.write('{"stage": "videos", "st')
    again = LossLog(tmp_path / "killed.jsonl", "videos", checkpoint, state)
    for number, outcome in enumerate(every[checkpoint:], start=checkpoint + 1):
        again.add(number, outcome, rate=0.1, last=number == 33)
    rows = numbers(tmp_path / "calm.jsonl")
    assert numbers(tmp_path / "killed.jsonl") == rows
    assert [row["step"] for row in rows] == [10, 20, 30, 33]
    assert rows[0]["train/loss/mask"] == pytest.approx((45 - 3) / 9)
    assert [row["train/skipped_steps"] for row in rows] == [1, 2, 1, 1]
    assert "1 steps skipped" in loss_note(read_losses(tmp_path / "killed.jsonl")[0])


def test_lines_of_other_stages_stay(tmp_path: Path) -> None:
    path = tmp_path / "losses.jsonl"
    for stage in ("images", "videos"):
        log = LossLog(path, stage)
        for number, outcome in enumerate(outcomes(10), start=1):
            log.add(number, outcome, rate=0.1, last=False)
    LossLog(path, "videos")  # starts anew
    assert [row["stage"] for row in read_losses(path)] == ["images"]


def one_of_two_ranks(rank: int, folder: str) -> None:
    """Trains two steps in parallel with another rank, whose second batch is poisoned."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    stc = system()
    wrapped: Any = torch.nn.parallel.DistributedDataParallel(stc)
    optimizer = build_optimizer(stc, OptimizerSettings())
    reasons = []
    for number in range(3):
        if rank == 1:
            stc.__class__ = Poisoned if number == 1 else Stc
        draw = torch.Generator().manual_seed(number)
        own = batch(3)[rank : rank + 2]
        how = StepSettings(5.0, parts=2)
        outcome = train_step(wrapped, own, optimizer, stc.loss_weights, how, draw)
        reasons.append(outcome.reason)
    torch.save((reasons, dict(stc.named_parameters())), Path(folder, f"{rank}.pt"))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_ranks_skip_a_step_together_and_stay_alike(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two_ranks, (str(tmp_path),), nprocs=2)
    (mine, weights), (theirs, others) = (
        torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    assert mine == ["", "the gradient norm is nan", ""]
    assert theirs == ["", "train/loss/mask is inf", ""]
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())
