"""Translation of AdelaiDet's CondInst tensor names to our STC names.

Rules are as in ``mask2former_names``; the backbone has detectron2's names with a longer prefix.
"""

import re

from torch import Tensor

from vis_core.models.importers.mask2former_names import (
    Rules,
    Target,
    apply_rules,
    backbone_names,
    renamed,
)
from vis_core.models.segmentors.pixel_norm import STD

HEAD = "proposal_generator.fcos_head."
BACKBONE = "backbone.bottom_up."
TRACKING_HEAD = "tracking_head."  # not in CondInst
_OURS = "segmentor."
_STEM = BACKBONE + "stem.conv1.weight"
# the sizes of interest and a counter; inference needs neither
_UNUSED = r"mask_head\.(sizes_of_interest|_iter)"


def our_condinst_names(official: str) -> list[Target] | None:
    """Translates a tensor name from AdelaiDet's CondInst (see ``our_names``)."""
    if re.fullmatch(_UNUSED, official):
        return []
    if official.startswith(BACKBONE):
        return backbone_names(official, BACKBONE, _OURS + "backbone.")
    return apply_rules(official, _RULES)


def adapt_stem_to_pixels(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adapts CondInst's first convolution; see ``bgr_stem_for_our_pixels``."""
    return found if _STEM not in found else found | {_STEM: bgr_stem_for_our_pixels(found[_STEM])}


def bgr_stem_for_our_pixels(stem: Tensor) -> Tensor:
    """Adapts a first convolution, trained on unscaled BGR pixels, to standardised RGB pixels.

    The same means are subtracted from both kinds of pixels, so padding with 0 is right for both.
    """
    return stem.flip(1) * stem.new_tensor(STD).view(1, 3, 1, 1)


_HEADS = {
    "cls_tower": "class_tower",
    "bbox_tower": "box_tower",
    "cls_logits": "class_head",
    "bbox_pred": "box_head",
    "ctrness": "center_head",
}
_LEVELS = {"3": "0", "4": "1", "5": "2"}
_RULES: Rules = [
    (r"backbone\.fpn_(lateral|output)([345])\.(\w+)", renamed(_OURS + "pyramid.{}.{}.{}", _LEVELS)),
    (r"backbone\.top_block\.(p[67]\.\w+)", _OURS + r"pyramid.\1"),
    (re.escape(HEAD) + r"scales\.(\d)\.scale", _OURS + r"head.scales.\1"),
    (re.escape(HEAD) + rf"({'|'.join(_HEADS)})\.(.+)", renamed(_OURS + "head.{}.{}", _HEADS)),
    (r"controller\.(\w+)", _OURS + r"head.controller.\1"),
    (r"mask_branch\.((?:refine|tower)\..+)", _OURS + r"mask_branch.\1"),
    (r"mask_branch\.seg_head\.(.+)", _OURS + r"mask_branch.semantic_tower.\1"),
    (r"mask_branch\.logits\.(\w+)", _OURS + r"mask_branch.semantic_head.\1"),
]  # fmt: skip
