"""MaskTrack R-CNN's association by several cues, against recorded values and the loop."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near
from vis_core.association.assignment import best_claim
from vis_core.association.associator import Associator
from vis_core.association.similarity import SIMILARITIES, bisoftmax, cues
from vis_core.config.association import AssociationConfig, CueWeights
from vis_core.structures import Instances

MULTI_CUES = AssociationConfig.multi_cues().model_copy(update={"new_track_score": 0.0})


def best_claim_loop(scores: Tensor, floor: Tensor) -> tuple[list[int], list[bool]]:
    """Returns each instance's track or -1, and whether it may start one, claim by claim."""
    taken, starts = [-1] * len(scores), [False] * len(scores)
    holder: dict[int, int] = {}
    for n, row in enumerate(scores):
        best = int(row.argmax()) if len(row) else -1
        if best < 0 or not row[best] > floor[n]:
            starts[n] = True
        elif best not in holder or row[best] > scores[holder[best], best]:
            if best in holder:
                taken[holder[best]] = -1
            holder[best], taken[n] = n, best
    return taken, starts


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 10_000), st.integers(2, 60))
def test_best_claim_equals_the_loop(count: int, tracks: int, seed: int, values: int) -> None:
    """Draws from few different values, so that ties occur, which the first instance wins."""
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randint(values, (count, tracks), generator=draw).float()
    floor = torch.randint(values, (count,), generator=draw).float()
    claim = best_claim(scores, floor)
    found = [int(row) if won else -1 for row, won in zip(claim.row, claim.matched, strict=True)]
    assert (found, claim.may_start.tolist()) == best_claim_loop(scores, floor)


def test_permuted_instances_claim_the_same_tracks() -> None:
    draw = torch.Generator().manual_seed(0)
    scores, floor = torch.rand(9, 6, generator=draw), torch.rand(9, generator=draw)
    order = torch.randperm(9, generator=draw)
    one, other = best_claim(scores, floor), best_claim(scores[order], floor[order])
    assert torch.equal(one.matched[order], other.matched)
    assert torch.equal(one.may_start[order], other.may_start)
    assert torch.equal(one.row[order][other.matched], other.row[other.matched])


def random_instances(count: int, seed: int, width: int = 8) -> Instances:
    """Draws boxes and classes at random."""
    draw = torch.Generator().manual_seed(seed)
    corner = 60 * torch.rand(count, 2, generator=draw)
    far = corner + 5 + 40 * torch.rand(count, 2, generator=draw)
    class_scores = torch.rand(count, 3, generator=draw)
    embeddings = torch.randn(count, width, generator=draw)
    boxes = torch.cat([corner, far], dim=1)
    masks = torch.zeros(count, 1, 1)
    return Instances(class_scores.amax(dim=1), class_scores, masks, embeddings, boxes)


def test_cues_equal_the_loop_over_pairs() -> None:
    found, known = random_instances(5, 0), random_instances(4, 1)
    weights = CueWeights(score=0.7, iou=3.0, label=2.0)
    scores, floor = cues(found, known.embeddings, known.boxes, known.labels, weights)
    for i in range(5):
        dots = torch.stack([torch.tensor(0.0), *(known.embeddings @ found.embeddings[i])])
        chances = dots.exp() / dots.exp().sum()
        own = 0.7 * found.scores[i].log()
        torch.testing.assert_close(floor[i], chances[0].log() + own + 2.0)
        for j in range(4):
            x0, y0 = torch.maximum(found.boxes[i, :2], known.boxes[j, :2])
            x1, y1 = torch.minimum(found.boxes[i, 2:], known.boxes[j, 2:])
            overlap = max(0.0, float(x1 - x0)) * max(0.0, float(y1 - y0))
            area = [float((b[2] - b[0]) * (b[3] - b[1])) for b in (found.boxes[i], known.boxes[j])]
            iou = overlap / (sum(area) - overlap)
            same = float(found.labels[i] == known.labels[j])
            wanted = chances[1 + j].log() + own + 3.0 * iou + 2.0 * same
            torch.testing.assert_close(scores[i, j], wanted)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("assignment", ["greedy", "hungarian", "best_claim"])
def test_frames_without_instances_pass_through_every_choice(similarity, assignment) -> None:
    config = MULTI_CUES.model_copy(update={"similarity": similarity, "assignment": assignment})
    associator = Associator(config)
    for count in (0, 3, 0, 2):
        associated, ids = associator.step(random_instances(count, count))
        assert len(associated) == len(ids) <= count
    assert len(associator.memory) >= 3


def test_cues_without_boxes_are_refused() -> None:
    blank = torch.zeros(1, 1, 1)
    one = Instances(torch.ones(1), torch.ones(1, 2), blank, torch.ones(1, 4))
    with pytest.raises(ValueError, match="boxes"):
        Associator(MULTI_CUES).step(one)


def test_age_stands_beside_the_exponential_as_printed() -> None:
    """Follows IDOL Eq. 6 word for word."""
    draw = torch.Generator().manual_seed(3)
    d, e = torch.randn(5, 8, generator=draw), torch.randn(4, 8, generator=draw)
    sigma = torch.tensor([1, 7, 2, 30])
    found = bisoftmax(d, e, sigma)
    for i in range(5):
        for j in range(4):
            tracks = sum(float((e[k] @ d[i]).exp() + sigma[k]) for k in range(4))
            instances = sum(float((e[j] @ d[k]).exp()) for k in range(5))
            power = float((e[j] @ d[i]).exp())
            wanted = ((power + float(sigma[j])) / tracks + power / instances) / 2
            assert float(found[i, j]) == pytest.approx(wanted, abs=1e-6)


def test_age_0_changes_nothing_and_large_dot_products_do_not_overflow() -> None:
    draw = torch.Generator().manual_seed(3)
    d, e = 30 * torch.randn(5, 8, generator=draw), 30 * torch.randn(4, 8, generator=draw)
    assert torch.equal(bisoftmax(d, e, torch.zeros(4)), bisoftmax(d, e))
    assert torch.isfinite(bisoftmax(d, e, torch.full((4,), 1000))).all()
    assert bisoftmax(d[:0], e, torch.ones(4)).shape == (0, 4)


@pytest.mark.parity
@pytest.mark.parametrize(
    "path", reference_cases("condinst/masktrack_association*.npz"), ids=lambda path: path.stem
)
def test_cues_and_identities_are_those_of_masktrack(path: Path) -> None:
    """Compares ids; where the release gives two instances one id, ours keeps the later one."""
    with np.load(path) as file:
        values = dict(file)
    ours = Associator(MULTI_CUES)
    frames = sorted({name[:4] for name in values})
    for name in frames:
        boxes = torch.from_numpy(values[name + "boxes_score"])
        labels = torch.from_numpy(values[name + "labels"])
        embeddings = torch.from_numpy(values[name + "embeds"])
        one_hot = torch.nn.functional.one_hot(labels, int(labels.max()) + 1).float()
        blank = torch.zeros(len(boxes), 1, 1)
        everything = Instances(boxes[:, 4], one_hot, blank, embeddings, boxes[:, :4])
        if name + "match_scores" in values:
            assert ours.memory.ids.tolist() == values[name + "memory_ids"].tolist()
            scores, floor = SIMILARITIES["cues"](everything, ours.memory)
            found = torch.cat([floor[:, None], scores], dim=1)
            assert_near(found, values[name + "match_scores"])
        associated, ids = ours.step(everything)
        wanted = values[name + "ids"].tolist()
        last = {track: row for row, track in enumerate(wanted) if track >= 0}
        kept = sorted(last.values())
        assert ids.tolist() == [wanted[row] for row in kept], name
        assert torch.equal(associated.embeddings, embeddings[kept]), name
