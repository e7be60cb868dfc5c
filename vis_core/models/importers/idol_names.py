"""Translation of the IDOL release's tensor names to our IDOL names.

Rules are as in ``mask2former_names``; the backbone has detectron2's names with a longer prefix.
"""

import re
from re import Match

from vis_core.models.importers.mask2former_names import (
    Rules,
    Target,
    apply_rules,
    backbone_names,
    renamed,
    split_in_thirds,
)

PREFIX = "detr.detr."
BACKBONE = PREFIX + "backbone.0.backbone."
_NETWORK = "segmentor.network."
# the norm after Swin's first stage, whose output IDOL does not use
_NEVER_USED = re.escape(BACKBONE) + r"norm0\.\w+"

_LINEAR = {"linear1": "mlp.fc1", "linear2": "mlp.fc2"}
_ENCODER_PARTS = _LINEAR | {"norm1": "self_attn_layer_norm", "norm2": "final_layer_norm"}
_DECODER_PARTS = _LINEAR | {
    "norm1": "encoder_attn_layer_norm",
    "norm2": "self_attn_layer_norm",
    "norm3": "final_layer_norm",
    "self_attn.out_proj": "self_attn.o_proj",
}
_MASK_LAYERS = {"3": "coarse", "4": "middle", "1": "narrow", "2": "last"}


def our_idol_names(official: str) -> list[Target] | None:
    """Translates a tensor name from the IDOL release (see ``our_names``)."""
    if re.fullmatch(_NEVER_USED, official):
        return []
    if official.startswith(BACKBONE):
        return backbone_names(official, BACKBONE, _NETWORK + "backbone.model.")
    return apply_rules(official, _RULES)


def _self_attention(found: Match[str]) -> list[Target]:
    return split_in_thirds(f"{_NETWORK}decoder.layers.{found[1]}.self_attn.", found[2])


_TRANSFORMER = r"detr\.detr\.transformer\."
_RULES: Rules = [
    (r"detr\.detr\.input_proj\.(.+)", _NETWORK + r"input_proj.\1"),
    (r"detr\.detr\.query_embed\.weight", _NETWORK + "query_position_embeddings.weight"),
    (_TRANSFORMER + "level_embed", _NETWORK + "level_embed"),
    (_TRANSFORMER + r"reference_points\.(\w+)", _NETWORK + r"reference_points.\1"),
    (_TRANSFORMER + r"encoder\.layers\.(\d+)\.self_attn\.(.+)",
     _NETWORK + r"encoder.layers.\1.self_attn.\2"),
    (_TRANSFORMER + r"encoder\.layers\.(\d+)\.(norm[12]|linear[12])\.(\w+)",
     renamed(_NETWORK + "encoder.layers.{}.{}.{}", _ENCODER_PARTS)),
    (_TRANSFORMER + r"decoder\.layers\.(\d+)\.cross_attn\.(.+)",
     _NETWORK + r"decoder.layers.\1.encoder_attn.\2"),
    (_TRANSFORMER + r"decoder\.layers\.(\d+)\.self_attn\.in_proj_(\w+)", _self_attention),
    (_TRANSFORMER + r"decoder\.layers\.(\d+)\.(norm[123]|linear[12]|self_attn\.out_proj)\."
     r"(\w+)", renamed(_NETWORK + "decoder.layers.{}.{}.{}", _DECODER_PARTS)),
    # the release stores the box heads twice; the decoder refines boxes with the same tensors
    (r"detr\.detr\.(?:transformer\.decoder\.)?bbox_embed\.(.+)",
     _NETWORK + r"decoder.bbox_embed.\1"),
    (r"detr\.detr\.class_embed\.(.+)", r"segmentor.class_heads.\1"),
    (r"detr\.controller\.(.+)", r"segmentor.controller.\1"),
    (r"detr\.mask_head\.dcn\.(\w+)", r"segmentor.mask_branch.fine.\1"),
    (r"detr\.mask_head\.lay([1-4])\.(\w+)", renamed("segmentor.mask_branch.{}.{}", _MASK_LAYERS)),
    (r"detr\.reid_embed_head\.(.+)", r"embedding_head.\1"),
]  # fmt: skip
