"""STC's comparison of two frames, word for word, and its output for a frame."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.presets import tiny_config
from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.association import AssociationConfig
from vis_core.config.clips import SceneSettings
from vis_core.config.contrastive import StcTrackingConfig
from vis_core.config.systems import StcConfig
from vis_core.formats.categories import numbered
from vis_core.models.contrastive.stc import (
    TrackingFrame,
    consistency_loss,
    embeddings_at,
    paired_places,
    tracking_losses,
)
from vis_core.models.criterion.condinst_matching import (
    BACKGROUND,
    LocationMatching,
    in_box_instances,
)
from vis_core.models.criterion.contrastive import per_positive_loss
from vis_core.models.systems.build import load_system, save_system
from vis_core.models.systems.stc import Stc
from vis_core.structures import FrameTargets

SCENE = SceneSettings(height=64, width=96)
SIZE = (6, 8)  # of the map of embeddings: 48 x 64 pixels


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frame(seed: int, identities: list[int], queries: list[int]) -> TrackingFrame:
    """Builds instances in a row, each a box of 16 x 16 pixels, with a query in its middle."""
    draw = generator(seed)
    masks = torch.zeros(len(identities), 48, 64, dtype=torch.bool)
    boxes = torch.zeros(len(identities), 4)
    for row in range(len(identities)):
        masks[row, 8:24, 16 * row : 16 * row + 16] = True
        boxes[row] = torch.tensor([16.0 * row, 8.0, 16.0 * row + 16, 24.0])
    truth = FrameTargets(
        torch.zeros(len(identities), dtype=torch.int64), masks, torch.tensor(identities).long()
    )
    embeddings = torch.randn(4, *SIZE, generator=draw, requires_grad=True)
    return TrackingFrame(embeddings, boxes[queries], truth.instance_index[queries], truth)


@torch.no_grad()
def naive_loss(one: TrackingFrame, other: TrackingFrame) -> list[float]:
    """Follows STC Eq. 3 in loops: all negatives, one number per query present in the other."""
    found = []
    for box, identity in zip(one.boxes.tolist(), one.identity.tolist(), strict=True):
        column, row = int((box[0] + box[2]) / 2 // 8), int((box[1] + box[3]) / 2 // 8)
        q = one.embeddings[:, row, column]
        positives, negatives = [], []
        for i in range(SIZE[0]):
            for j in range(SIZE[1]):
                x, y = 8 * j + 4, 8 * i + 4
                inside = 8 < y < 24 and x // 16 < len(other.truth.labels)
                owner = int(other.truth.instance_index[x // 16]) if inside else None
                product = float(q @ other.embeddings[:, i, j])
                (positives if owner == identity else negatives).append(product)
        if positives:
            terms = [math.log1p(sum(math.exp(n - p) for n in negatives)) for p in positives]
            found.append(sum(terms))
    return found


def value(
    one: list[TrackingFrame],
    other: list[TrackingFrame],
    config: StcTrackingConfig,
    draw: torch.Generator | None,
) -> float:
    return float(tracking_losses(one, other, config, draw).detach())


EVERY_NEGATIVE = StcTrackingConfig(num_negatives=SIZE[0] * SIZE[1])


def test_tracking_is_the_sum_of_logs_over_all_positives() -> None:
    one, other = frame(1, [4, 7, 9], [0, 1, 1, 2]), frame(2, [7, 4], [0])
    wanted = naive_loss(one, other)
    assert len(wanted) == 3  # instance 9 is absent from the other frame
    found = tracking_losses([one], [other], EVERY_NEGATIVE, None)
    assert float(found.detach()) == pytest.approx(sum(wanted) / 3, rel=1e-5)
    averaged = EVERY_NEGATIVE.model_copy(update={"over_positives": "mean"})
    # each of the two instances covers 4 places
    assert value([one], [other], averaged, None) == pytest.approx(sum(wanted) / 12, rel=1e-5)
    found.backward()
    assert one.embeddings.grad is not None
    assert other.embeddings.grad is not None


def test_negatives_are_drawn_anew_and_from_boxes_if_asked_for() -> None:
    one, other = frame(1, [4, 7], [0, 1]), frame(2, [4, 7], [0, 1])
    few = StcTrackingConfig(num_negatives=3)
    losses = [value([one], [other], few, generator(seed)) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    assert losses[0] < value([one], [other], EVERY_NEGATIVE, None)
    nothing = few.model_copy(update={"num_negatives": 0})
    assert value([one], [other], nothing, generator()) == 0
    inside = EVERY_NEGATIVE.model_copy(update={"negatives_in_boxes": True})
    with torch.no_grad():
        other.embeddings[:, 4:] = 100.0  # background: it must not count
    boxed = value([one], [other], inside, None)
    assert boxed < value([one], [other], EVERY_NEGATIVE, None)
    fewer = EVERY_NEGATIVE.model_copy(update={"max_positives": 1})
    one_of_four = value([one], [other], fewer, generator())
    assert 0 < one_of_four < value([one], [other], EVERY_NEGATIVE, None)
    mean = fewer.model_copy(update={"over_positives": "mean"})
    assert value([one], [other], mean, generator()) == pytest.approx(one_of_four, rel=1e-5)


def test_classification_tells_the_instance_or_none() -> None:
    """Follows MaskTrack R-CNN: a 0 means none of the reference frame's instances."""
    one, other = frame(1, [4, 9], [0, 1]), frame(2, [7, 4], [])
    config = StcTrackingConfig(loss="classification")
    found = value([one], [other], config, None)
    queries = embeddings_at(one.embeddings, one.boxes)
    instances = embeddings_at(other.embeddings, torch.tensor([[0, 8, 16, 24], [16, 8, 32, 24.0]]))
    wanted = []
    for q, place in zip(queries, (2, 0), strict=True):  # 4 is the second one; 9 is absent
        logits = torch.stack([torch.zeros(()), q @ instances[0], q @ instances[1]])
        wanted.append(-logits.log_softmax(0)[place].item())
    assert found == pytest.approx(sum(wanted) / 2, rel=1e-5)
    alone = frame(3, [], [])
    assert math.isfinite(value([one], [alone], config, None))


@pytest.mark.parametrize("loss", ["contrastive", "classification"])
def test_nothing_to_compare_is_0_and_part_of_the_graph(loss: str) -> None:
    config = StcTrackingConfig.model_validate({"loss": loss})
    one, other = frame(1, [], []), frame(2, [], [])
    found = tracking_losses([one], [other], config, generator())
    found.backward()
    assert found.item() == 0
    assert one.embeddings.grad is not None


def test_embeddings_are_read_at_centres_and_stay_inside() -> None:
    embeddings = torch.arange(48.0).view(1, *SIZE)
    boxes = torch.tensor([[0, 0, 16, 16], [8, 8, 40, 24], [60, 40, 90, 90], [-40, -20, 0, 0.0]])
    assert embeddings_at(embeddings, boxes)[:, 0].tolist() == [9.0, 19.0, 47.0, 0.0]


def test_a_place_belongs_to_the_smallest_box_around_it() -> None:
    points = torch.tensor([[4.0, 4.0], [12.0, 12.0], [30.0, 30.0], [60.0, 60.0]])
    boxes = torch.tensor([[0, 0, 40, 40], [8, 8, 16, 16], [8, 8, 16, 16.0]])
    assert in_box_instances(points, boxes).tolist() == [0, 1, 0, BACKGROUND]


def test_kernels_of_one_instance_are_compared_place_by_place() -> None:
    def matching(*instances: int) -> LocationMatching:
        return LocationMatching(torch.tensor(instances), torch.zeros(len(instances), 4))

    def truth(*identities: int) -> FrameTargets:
        nothing = torch.zeros(len(identities), 1, 1, dtype=torch.bool)
        return FrameTargets(torch.zeros(len(identities)).long(), nothing, torch.tensor(identities))

    none = BACKGROUND
    matchings = matching(0, 1, none, 2, 1), matching(none, none, 0, 1)
    truths = truth(3, 5, 8), truth(5, 8)
    drawn = {
        tuple(map(tuple, (own.tolist() for own in paired_places(matchings, truths, generator(s)))))
        for s in range(20)
    }
    assert drawn == {((1, 3), (2, 3)), ((4, 3), (2, 3))}
    kernels = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 4.0], [1.0, 0.0]])
    assert float(consistency_loss([kernels])) == pytest.approx((4 + 1) / 4)
    nothing = paired_places((matching(none), matching(none)), (truth(), truth()), None)
    assert [len(own) for own in nothing] == [0, 0]
    assert float(consistency_loss([(kernels[0][:0], kernels[1][:0])])) == 0


def system(**tracking: object) -> Stc:
    torch.manual_seed(4)
    config = tiny_config("stc")
    own = config.tracking.model_copy(update=tracking)
    return Stc(config.model_copy(update={"tracking": own}), len(CLASS_NAMES))


def losses(stc: Stc, num_frames: int = 2, seeds: tuple[int, ...] = (3, 4)) -> dict[str, Tensor]:
    batch = collate_clips([render_scene(SCENE, num_frames, seed) for seed in seeds])
    return stc.train()(batch, generator())


def test_each_part_of_the_ablations_is_one_setting() -> None:
    """Follows STC Table 4: switching off a part changes only its own loss."""
    full = losses(system())
    assert full.keys() == {"class", "box", "center", "mask", "track", "consistency"}
    for changed, setting in (
        ("track", {"loss": "classification"}),
        ("track", {"bidirectional": False}),
        ("track", {"num_negatives": 5}),
        ("consistency", {"consistency": False}),
    ):
        found = losses(system(**setting))
        same = {name for name in full if torch.equal(full[name], found[name])}
        assert changed not in same, setting
        assert same >= {"class", "box", "center", "mask"}, setting
    assert losses(system(consistency=False))["consistency"].item() == 0


def test_both_directions_are_the_mean_of_the_two() -> None:
    clip = render_scene(SCENE, 2, 3)
    turned = type(clip)(
        clip.clip_id, clip.images[::-1].copy(), clip.masks[::-1].copy(), clip.labels
    )
    every = {"num_negatives": 10_000}
    alone = system(bidirectional=False, **every)
    found = [
        alone.eval().losses(collate_clips([own]), generator())["track"].item()
        for own in (clip, turned)
    ]
    both = system(**every).eval().losses(collate_clips([clip]), generator())["track"].item()
    assert both == pytest.approx(sum(found) / 2, rel=1e-4)


def test_still_images_have_no_tracking_and_more_frames_one_reference() -> None:
    still = losses(system(), num_frames=1)
    assert still["track"].item() == still["consistency"].item() == 0
    assert float(losses(system(), num_frames=4)["track"].detach()) > 0


def test_the_reference_frame_counts_if_asked_for() -> None:
    key, both = losses(system(both_frames=False)), losses(system())
    assert not torch.equal(key["class"], both["class"])
    assert torch.equal(key["consistency"], both["consistency"])


def test_the_semantic_head_is_a_part_of_training_if_asked_for() -> None:
    torch.manual_seed(4)
    config = tiny_config("stc")
    segmentor = config.segmentor.model_copy(update={"semantic_loss": True})
    stc = Stc(config.model_copy(update={"segmentor": segmentor}), len(CLASS_NAMES))
    assert float(losses(stc)["semantic"].detach()) > 0
    assert stc.loss_weights["semantic"] == 1
    assert "semantic" not in system().loss_weights


def test_a_frame_gives_a_few_instances_of_one_class_each(tmp_path: Path) -> None:
    stc = system().eval()
    with torch.no_grad():
        stc.segmentor.head.class_head.bias.fill_(0.0)  # every instance exceeds the threshold
    save_system(tmp_path, stc, numbered(CLASS_NAMES))
    again = load_system(tmp_path)
    assert isinstance(again, Stc)
    assert again.config == stc.config
    images = list(render_scene(SCENE, 2, 3).images)
    found = again.segment(images)
    assert len(found) == 2
    for own, alone in zip(found, (again.segment([image])[0] for image in images), strict=True):
        assert 0 < len(own) <= 10
        assert ((own.class_scores > 0).sum(dim=1) == 1).all()
        assert torch.equal(own.class_scores.amax(dim=1), own.scores)
        assert own.boxes is not None
        assert (own.boxes[:, 2:] > own.boxes[:, :2]).all()
        assert own.boxes.min() >= 0
        assert own.boxes.max() <= 192
        torch.testing.assert_close(own.scores, alone.scores)
        assert (own.scores.diff() <= 0).all()
    assert again.segment([]) == []


def test_the_papers_form_is_the_default() -> None:
    config = StcConfig()
    assert (config.loss_weights.track, config.loss_weights.consistency) == (0.2, 10.0)
    assert (config.tracking.width, config.tracking.num_negatives) == (256, 128)
    decoding = config.segmentor.decoding
    assert (decoding.score_threshold, decoding.nms_iou, decoding.max_instances) == (0.03, 0.5, 10)
    assert not decoding.threshold_with_center
    assert config.association == AssociationConfig.stc()
    assert (config.test_short_side, config.test_max_long_side) == (360, 640)


def test_a_query_without_a_positive_or_a_negative_has_no_loss() -> None:
    products = torch.randn(3, 5, generator=generator(), requires_grad=True)
    positive, negative = torch.zeros(2, 3, 5, dtype=torch.bool)
    positive[:2, 0] = True
    negative[1:, 2:] = True
    found = per_positive_loss(products, positive, negative)
    assert found[0] == found[2] == 0
    assert found[1] > 0
    found.sum().backward()
    assert products.grad is not None
    assert torch.isfinite(products.grad).all()
    assert not products.grad[[0, 2]].any()
