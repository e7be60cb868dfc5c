"""The ID head of CrossVIS: its loss by hand, its numbers through the data, and no trace after."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.helpers.presets import tiny_config
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.criterion import IdHeadConfig
from vis_core.formats.categories import numbered
from vis_core.models.criterion.transport_matching import TransportMatching
from vis_core.models.systems.build import build_system, load_system, save_system
from vis_core.models.systems.id_head import IdHead
from vis_core.models.systems.idol import Idol
from vis_core.structures import ClipBatch, FrameTargets

SCENE = SceneSettings(height=64, width=96)


def build(head: IdHeadConfig | None) -> Idol:
    torch.manual_seed(4)
    config = tiny_config("idol").model_copy(update={"id_head": head})
    system = build_system(config, len(CLASS_NAMES))
    assert isinstance(system, Idol)
    return system.train()


def batch(first_id: int | None, num_frames: int = 2) -> ClipBatch:
    """Returns a batch of one clip whose instances are numbered from ``first_id``."""
    clip = render_scene(SCENE, num_frames, 3)
    if first_id is None:
        return collate_clips([clip])
    return collate_clips([replace(clip, instance_ids=first_id + clip.labels.argsort().argsort())])


def frame(ids: list[int] | None) -> FrameTargets:
    empty = torch.zeros(len(ids or [0]), 1, 1).bool()
    numbers = None if ids is None else torch.tensor(ids)
    labels, index = torch.zeros(len(empty)).long(), torch.arange(len(empty))
    return FrameTargets(labels, empty, index, instance_ids=numbers)


def matching(queries: list[int], instances: list[int]) -> TransportMatching:
    return TransportMatching(*map(torch.tensor, (queries, instances, queries)))


@pytest.mark.parametrize("count", [3, 5, 40])
def test_the_loss_is_crossvis_focal_loss_over_the_instances(count: int) -> None:
    head = IdHead(IdHeadConfig(num_instances=count), 4)
    embeddings = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(count))
    frames = [frame([count - 1, 0]), frame([-1, 1])]
    # the first instance of the second frame has no number
    loss = head.loss(embeddings, frames, [matching([1, 4], [0, 0]), matching([0, 5], [1, 0])])
    total = 0.0
    for vector, number in ((embeddings[0, 1], count - 1), (embeddings[0, 4], count - 1)) + (
        (embeddings[1, 0], 1),
    ):
        scaled = math.sqrt(2) * math.log(count - 1) * vector / vector.norm()
        chances = torch.sigmoid(head.classifier.weight @ scaled + head.classifier.bias).tolist()
        for place, chance in enumerate(chances):
            if place == number:
                total += 0.25 * (1 - chance) ** 2 * -math.log(chance)
            else:
                total += 0.75 * chance**2 * -math.log(1 - chance)
    assert loss.item() == pytest.approx(total / 3, rel=1e-5)
    assert head.classifier.weight.shape == (count, 4)
    assert torch.sigmoid(head.classifier.bias).tolist() == pytest.approx([0.01] * count)


def test_no_other_weight_or_loss_changes_and_the_embeddings_learn() -> None:
    plain, headed = build(None), build(IdHeadConfig(num_instances=9, weight=0.5))
    theirs = headed.state_dict()
    assert all(torch.equal(weight, theirs[key]) for key, weight in plain.state_dict().items())
    before, after = (
        system(batch(2), torch.Generator().manual_seed(0)) for system in (plain, headed)
    )
    assert before.keys() - after.keys() == {"embed", "embed_cosine"}
    assert after.keys() - before.keys() == {"identity"}
    assert all(torch.equal(after[name], before[name]) for name in before.keys() & after.keys())
    assert after.keys() == headed.loss_weights.keys()
    assert headed.loss_weights["identity"] == 0.5
    assert after["identity"] > 0
    after["identity"].backward()
    for name, weight in headed.embedding_head.named_parameters():
        assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("num_frames", [1, 2])
def test_instances_without_a_number_teach_nothing(num_frames: int) -> None:
    headed = build(IdHeadConfig(num_instances=9))
    losses = headed(batch(None, num_frames), torch.Generator().manual_seed(0))
    assert losses["identity"] == 0
    losses["identity"].backward()
    assert headed.id_head is not None
    assert not headed.id_head.classifier.weight.grad.any()


def test_a_model_that_annotates_has_no_head(tmp_path: Path) -> None:
    headed = build(IdHeadConfig(num_instances=9))
    save_system(tmp_path, headed, numbered(CLASS_NAMES))
    again = load_system(tmp_path, for_training=True)
    assert again.state_dict().keys() == headed.state_dict().keys()
    lean = load_system(tmp_path)
    assert lean.config == tiny_config("idol")
    assert lean.state_dict().keys() == build(None).state_dict().keys()
