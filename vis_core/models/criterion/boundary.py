"""The boundary branch's loss (1st place 2.2)."""

from collections.abc import Callable

from torch import Tensor

from vis_core.models.criterion.mask import dice_loss, mask_bce_loss, squared_dice_loss

# as in the paper (1st place Eq. 2), and as in the cited methods' code (BMask R-CNN, GSFM)
DICE_FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared": squared_dice_loss,
    "plain": dice_loss,
}


def boundary_loss(logits: Tensor, boundaries: Tensor, dice: str = "squared") -> Tensor:
    """Computes dice loss plus binary cross entropy for predicted boundaries: 1st place Eq. 1.

    ``logits`` and ``boundaries`` (bool, from ``mask_boundary``) are (N, h, w); ``dice`` is a key in
    ``DICE_FORMS``. Returns (N,), one loss per instance; BCE is averaged over the pixels.
    """
    flat, targets = logits.flatten(1), boundaries.flatten(1).float()
    return DICE_FORMS[dice](flat, targets) + mask_bce_loss(flat, targets)
