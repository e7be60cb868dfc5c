"""Classification losses of queries."""

import torch
import torch.nn.functional as functional
from torch import Tensor


def query_class_loss(class_logits: Tensor, targets: Tensor, no_object_weight: float) -> Tensor:
    """Weighs down the "no object" class in the cross entropy of queries (DETR 3.1, Mask2Former).

    Args:
        class_logits: (F, Q, K + 1), "no object" last.
        targets: (F, Q) int64 in 0..K.
        no_object_weight: Weight of the last class; the others weigh 1.

    Returns:
        Scalar, the weighted mean over all queries of all frames.
    """
    weight = torch.ones(class_logits.shape[-1], device=class_logits.device)
    weight[-1] = no_object_weight
    return functional.cross_entropy(class_logits.flatten(0, 1), targets.flatten(), weight)
