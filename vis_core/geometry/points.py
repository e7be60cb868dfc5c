"""Values of maps at scattered points (PointRend; used by Mask2Former's matching and losses)."""

import torch
import torch.nn.functional as functional
from torch import Tensor


def sample_at(maps: Tensor, points: Tensor) -> Tensor:
    """Samples maps (N, C, h, w) bilinearly at points (N, P, 2), to (N, C, P); 0 outside a map.

    Points are (x, y) in [0, 1]; 0 and 1 are the map's outer borders.
    """
    grid = 2.0 * points.unsqueeze(2) - 1.0
    return functional.grid_sample(maps, grid, align_corners=False).squeeze(3)


def random_points(
    count: int, num_points: int, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """Draws (count, num_points, 2) uniform points; the generator must be on the CPU."""
    return torch.rand(count, num_points, 2, generator=generator).to(device)


def uncertain_points(
    mask_logits: Tensor, candidates: Tensor, extra: Tensor, num_uncertain: int
) -> Tensor:
    """Selects the candidate points (N, R, 2) where a mask is least certain, and appends ``extra``.

    Mask2Former 3.3 (after PointRend): a point is uncertain if the logit is near 0. Returns
    (N, num_uncertain + S, 2).
    """
    uncertainty = -sample_at(mask_logits.unsqueeze(1), candidates).squeeze(1).abs()
    chosen = uncertainty.topk(num_uncertain, dim=1).indices
    kept = candidates.gather(1, chosen.unsqueeze(2).expand(-1, -1, 2))
    return torch.cat([kept, extra], dim=1)
