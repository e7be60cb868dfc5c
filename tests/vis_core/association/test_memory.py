"""The memory's embeddings against the papers' sums over frames; when tracks are forgotten."""

import pytest
import torch
from torch import Tensor

from vis_core.association.associator import Associator
from vis_core.association.memory import MemoryBank
from vis_core.config.association import AssociationConfig
from vis_core.structures import Instances

WIDTH, LENGTH = 6, 3


def instances(embeddings: Tensor, scores: Tensor) -> Instances:
    """Builds instances without masks and boxes."""
    return Instances(scores, scores[:, None], torch.zeros(len(scores), 1, 1), embeddings)


def filled_bank(memory: str, frames: int) -> tuple[MemoryBank, list[list[tuple[Tensor, float]]]]:
    """Fills a bank over some frames; returns it and each of three tracks' entries, oldest first."""
    draw = torch.Generator().manual_seed(frames)
    bank = MemoryBank(AssociationConfig.idol().model_copy(update={"memory": memory}))
    stored: list[list[tuple[Tensor, float]]] = [[], [], []]
    for frame in range(frames):
        ids = torch.arange(3)[torch.rand(3, generator=draw) < 0.7] if frame else torch.arange(3)
        embeddings = torch.randn(len(ids), WIDTH, generator=draw)
        scores = torch.rand(len(ids), generator=draw)
        bank.write(ids, embeddings, scores)
        for row, track in enumerate(ids.tolist()):
            stored[track].append((embeddings[row], float(scores[row])))
    return bank, stored


@pytest.mark.parametrize("frames", range(1, 8))
def test_temporally_weighted_is_eq_5_word_for_word(frames: int) -> None:
    bank, stored = filled_bank("temporally_weighted", frames)
    for found, history in zip(bank.read(), stored, strict=True):
        newest_first = [embedding for embedding, _ in history[::-1]][:LENGTH]
        span = len(newest_first)
        weights = [0.5 + span / t for t in range(1, span + 1)]
        total = sum(w * e for w, e in zip(weights, newest_first, strict=True))
        torch.testing.assert_close(found, total / sum(weights))


@pytest.mark.parametrize("frames", range(1, 8))
def test_the_released_weights_are_score_and_ramp(frames: int) -> None:
    bank, stored = filled_bank("temporally_weighted_released", frames)
    for found, history in zip(bank.read(), stored, strict=True):
        oldest_first = history[-LENGTH:]
        count = len(oldest_first)
        weights = [score + (i + 1) / count for i, (_, score) in enumerate(oldest_first)]
        total = sum(w * e for w, (e, _) in zip(weights, oldest_first, strict=True))
        torch.testing.assert_close(found, total / sum(weights))


@pytest.mark.parametrize("share", [0.75, 0.8])
def test_momentum_weighs_the_newest_by_its_share(share: float) -> None:
    bank = MemoryBank(AssociationConfig(memory="momentum", newest_share=share))
    first, second = torch.randn(2, 1, WIDTH, generator=torch.Generator().manual_seed(0))
    for embedding in (first, second):
        bank.write(torch.tensor([0]), embedding, torch.ones(1))
    torch.testing.assert_close(bank.read(), (1 - share) * first + share * second)


@pytest.mark.parametrize(("missed", "same"), [(9, True), (10, False)])
def test_released_idol_bridges_nine_missed_frames_and_not_ten(missed: int, same: bool) -> None:
    """Tracks two objects, one of them absent; alone in a frame it would take any track."""
    associator = Associator(AssociationConfig.idol_released())
    both, scores = 8 * torch.eye(2, WIDTH), torch.tensor([0.9, 0.8])
    _, ids = associator.step(instances(both, scores))
    for _ in range(missed):
        associator.step(instances(both[:1], scores[:1]))
    _, later = associator.step(instances(both, scores))
    assert ids.tolist() == [0, 1]
    assert later.tolist() == ([0, 1] if same else [0, 2])


def test_a_track_starts_at_a_lower_score_while_the_memory_is_empty() -> None:
    associator = Associator(AssociationConfig.idol_released(new_track_score=0.3))
    three = 8 * torch.eye(3, WIDTH)
    _, first = associator.step(instances(three[:1], torch.tensor([0.25])))
    assert first.tolist() == [0]
    _, then = associator.step(instances(three, torch.tensor([0.9, 0.35, 0.25])))
    assert then.tolist() == [0, 1]


def test_without_instances_and_without_tracks_nothing_is_named() -> None:
    associator = Associator(AssociationConfig.idol())
    for _ in range(3):
        associated, ids = associator.step(instances(torch.zeros(0, WIDTH), torch.zeros(0)))
        assert len(associated) == len(ids) == len(associator.memory) == 0


@pytest.mark.parametrize("config", [AssociationConfig.idol(), AssociationConfig.idol_released()])
def test_clear_instances_keep_their_track_in_any_order(config: AssociationConfig) -> None:
    draw = torch.Generator().manual_seed(0)
    base = 8 * torch.eye(5, WIDTH)
    associator = Associator(config)
    associator.step(instances(base, torch.full((5,), 0.9)))
    for _ in range(6):
        order = torch.randperm(5, generator=draw)
        shown = base[order] + 0.1 * torch.randn(5, WIDTH, generator=draw)
        _, ids = associator.step(instances(shown, torch.full((5,), 0.9)))
        assert ids.tolist() == order.tolist()
