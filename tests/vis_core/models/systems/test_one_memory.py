"""One memory bank: training recomputes inference's memory and decisions bit for bit."""

import torch

from vis_core.association.assignment import ASSIGNMENTS
from vis_core.association.associator import Associator
from vis_core.association.similarity import bisoftmax
from vis_core.config.association import AssociationConfig
from vis_core.config.contrastive import CtvisItemsConfig
from vis_core.models.contrastive.ctvis import ItemDraws, clip_memory
from vis_core.structures import Instances

FRAMES, OBJECTS, WIDTH = 24, 7, 16


def scene(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws embeddings (T, G, C) of objects that drift, and (T, G) their visibility."""
    draw = torch.Generator().manual_seed(seed)
    base = 6 * torch.nn.functional.normalize(torch.randn(OBJECTS, WIDTH, generator=draw), dim=1)
    drift = 0.1 * torch.randn(FRAMES, OBJECTS, WIDTH, generator=draw).cumsum(dim=0)
    visible = torch.rand(FRAMES, OBJECTS, generator=draw) < 0.7
    visible[0] = True
    return base + drift, visible


def test_training_walks_through_the_memory_of_inference() -> None:
    for seed in range(5):
        embeddings, visible = scene(seed)
        config = AssociationConfig(history_length=FRAMES, new_track_score=0.0)
        inference = Associator(config)
        kept, ids_of = [], []
        for t in range(FRAMES):
            shown = visible[t].nonzero().flatten()
            scores = torch.linspace(0.9, 0.8, len(shown))
            instances = Instances(
                scores, scores[:, None], torch.ones(len(shown), 2, 2), embeddings[t, shown]
            )
            _, ids = inference.step(instances)
            assert len(ids) == len(shown)
            ids_of.append(dict(zip(shown.tolist(), ids.tolist(), strict=True)))
            kept.append((inference.memory.ids.clone(), inference.memory.read().clone()))
        # every object keeps its id from the first frame
        assert all(name == ids_of[0][row] for frame in ids_of for row, name in frame.items())
        row_of = {name: row for row, name in ids_of[0].items()}
        draws = ItemDraws.random((FRAMES, OBJECTS, OBJECTS), torch.device("cpu"), None)
        query = torch.arange(OBJECTS).expand(FRAMES, -1)
        quiet = CtvisItemsConfig(noise_probability=0)
        memory = clip_memory(embeddings, query, visible, quiet, draws)
        for t, (names, average) in enumerate(kept):
            rows = torch.tensor([row_of[name] for name in names.tolist()])
            assert torch.equal(memory.fused[t, rows], average)
            if t + 1 == FRAMES:
                break
            # the association recomputed from training's memory decides as inference did
            again = embeddings[t + 1, visible[t + 1]]
            similarity = bisoftmax(again, memory.fused[t, rows])
            floor = similarity.new_full((len(again),), config.match_threshold)
            claim = ASSIGNMENTS[config.assignment](similarity, floor, None)
            assert claim.matched.all()
            assert names[claim.row].tolist() == list(ids_of[t + 1].values())
