"""Every row of every ablation table trains ten steps of its last stage on the tiny preset."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from jobs.options import CONFIGS
from pipelines.config.loading import digest, load_run_config
from pipelines.config.run import RunConfig
from pipelines.data.given_data import GivenData
from pipelines.data.run_data import RunData, prepare_data
from pipelines.experiments.ablation_tables import TABLES
from pipelines.training.batches import BatchPlan
from pipelines.training.clip_sources import clip_source, with_instances_counted
from pipelines.training.worker.optimizers import build_optimizer
from pipelines.training.worker.step import StepSettings, train_step
from vis_core.models.systems.build import build_system

STEPS = 10
SMALL = (
    "synthetic.scene.height=64",
    "synthetic.scene.width=96",
    "synthetic.images=6",
    "synthetic.train_videos=4",
    "synthetic.val_videos=1",
    "synthetic.test_videos=1",
    "synthetic.archive_videos=1",
    "synthetic.video_frames=8",
    "augment.size={name: fixed, height: 64, width: 96}",
    "pairs.size={name: fixed, height: 64, width: 96}",
    "pseudo.size={name: fixed, height: 64, width: 96}",
    "stages.*.batch_size=1",
    "stream_pseudo=true",
)
# rows that differ only at inference share a training
TRAININGS = {
    (table.run_file, table.shared, row.run_file, row.training): f"{name}-{row.name}"
    for name, table in TABLES.items()
    for row in table.rows
    if not row.fused
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker on a shared machine
    yield
    torch.set_num_threads(threads)


def data_of(config: RunConfig, folder: Path) -> RunData:
    """Returns the run's data; all rows share the scenes."""
    return prepare_data(GivenData(None, None, None), config, folder, lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shared", "run_file", "training"),
    [pytest.param(*key[1:], id=name) for key, name in TRAININGS.items()],
)
def test_a_row_trains_ten_steps(
    shared: tuple[str, ...], run_file: str, training: tuple[str, ...], folder: Path
) -> None:
    config = load_run_config(CONFIGS / f"{run_file}.yaml", (*SMALL, *shared, *training))
    data = data_of(config, folder)
    config = with_instances_counted(config, data)
    stage = config.stages[-1]
    torch.manual_seed(0)
    system = build_system(config.system, len(data.categories)).train()
    before = {name: weight.clone() for name, weight in system.named_parameters()}
    source = clip_source(config, stage, data, folder / "nowhere")()
    key = digest(run_file, shared, training)
    plan = BatchPlan(partial(lambda given: given, source), key, 0, STEPS, stage.batch_size, 1)
    optimizer = build_optimizer(system, stage.optimizer)
    settings = StepSettings(stage.optimizer.clip_norm)
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        batch = plan.batch(0, step)
        outcome = train_step(system, batch, optimizer, system.loss_weights, settings, generator)
        assert not outcome.reason
        assert outcome.values.keys() >= system.loss_weights.keys()
        assert outcome.values.get("identity", 1) > 0
    learnt = {name for name, w in system.named_parameters() if not torch.equal(w, before[name])}
    rest = {name for name, w in system.named_parameters() if w.requires_grad} - learnt
    if "system.tracking.num_negatives=0" in training:  # the table's note says so
        rest = {name for name in rest if not name.startswith("tracking_head.")}
    assert not rest
