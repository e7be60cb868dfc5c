"""From pixels to identities: the authors' weights in our system (reference ctvis/end_to_end)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import reference_cases
from vis_core.association.associator import Associator
from vis_core.association.settings import AssociationConfig
from vis_core.checkpoints.official import system_of
from vis_core.segmentors.selection import select_instances
from vis_core.segmentors.settings import SelectionConfig
from vis_core.structures import Instances

# configs/ytvis_2019 of the release
RELEASED = AssociationConfig(
    match_threshold=0.3,
    new_track_score=0.01,
    history_length=10,
    max_unseen_frames=20,
    frame_weighting=True,
)


@pytest.mark.parity
@pytest.mark.parametrize(
    "path", reference_cases("ctvis/ctvis_end_to_end_*.npz"), ids=lambda path: path.stem
)
def test_frames_become_the_identities_of_the_release(path: Path) -> None:
    kind = path.stem.removeprefix("ctvis_end_to_end_")
    weights = path.parent / f"mask2former_tiny_{kind}.safetensors"
    system, _ = system_of(load_file(weights), weights.name)
    with np.load(path) as file:
        values = {name: torch.from_numpy(np.asarray(file[name])) for name in file}
    frames = values["frames_uint8"]
    height, width = frames.shape[2:]
    padded = [-(-side // 32) * 32 for side in (height, width)]
    images = torch.zeros(len(frames), 3, *padded, dtype=torch.uint8)
    images[:, :, :height, :width] = frames
    with torch.no_grad():
        output = system.segmentor(images, torch.tensor([[height, width]] * len(frames)))
        embeddings = system.embed(output.queries)
    logits, masks = output.predictions.class_logits[-1], output.predictions.mask_logits[-1]
    close = {"atol": 1e-4 if kind == "swin" else 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(logits, values["pred_logits"], **close)
    torch.testing.assert_close(masks, values["pred_masks"], **close)
    torch.testing.assert_close(embeddings, values["pred_embeds"], **close)
    associator = Associator(RELEASED)
    selection = SelectionConfig(score_threshold=0.01, nms_iou=0.6)
    for t in range(len(frames)):
        class_scores = logits[t].softmax(dim=1)[:, :-1]
        everything = Instances(class_scores.amax(dim=1), class_scores, masks[t], embeddings[t])
        selected = select_instances(everything, selection)
        torch.testing.assert_close(
            selected.scores, values[f"f{t}_scores_after_nms"], atol=1e-4, rtol=1e-4
        )
        named, ids = associator.step(selected)
        wanted = values[f"f{t}_ids"]
        assert len(named) == (wanted >= 0).sum()
        assert ids.tolist() == wanted[wanted >= 0].tolist(), f"frame {t}"
