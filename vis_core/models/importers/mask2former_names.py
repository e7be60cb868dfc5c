"""Translation of tensor names from detectron2's Mask2Former, MinVIS and CTVIS to ours.

The rules replace a table of 1,000 lines; tests compare their results with recorded tables.
"""

import re
from collections.abc import Callable
from re import Match

Target = tuple[str, int | None]
"""Our name, and the third of the rows stored under it (None: all rows)."""

Rules = list[tuple[str, str | Callable[[Match[str]], str | list[Target]]]]
"""Patterns that match whole names, and our names for them."""

# Buffers in the releases' code that inference does not need, and heads for other tasks.
_UNUSED = r"(detr\.)?criterion\..*|.*relative_position_index|.*num_batches_tracked|pixel_(mean|std)"

_NETWORK = "segmentor.network."
ENCODER = _NETWORK + "model.pixel_level_module.encoder."
_PIXELS = _NETWORK + "model.pixel_level_module.decoder."
_QUERIES = _NETWORK + "model.transformer_module."


def our_names(official: str) -> list[Target] | None:
    """Translates a release's name, such as ``sem_seg_head.predictor.class_embed.weight``.

    Returns one target, three for a fused projection, [] for an unused tensor, or None if unknown.
    """
    return apply_rules(official, _RULES)


def backbone_names(official: str, theirs: str, ours: str) -> list[Target] | None:
    """Translates a backbone tensor's name, replacing the release's prefix with ours."""
    targets = our_names("backbone." + official.removeprefix(theirs))
    return targets and [(name.replace(ENCODER, ours), third) for name, third in targets]


def apply_rules(official: str, rules: Rules) -> list[Target] | None:
    """Applies the first rule that matches a name and returns its targets."""
    if re.fullmatch(_UNUSED, official):
        return []
    for pattern, target in rules:
        if found := re.fullmatch(pattern, official):
            names = target(found) if callable(target) else found.expand(target)
            return [(names, None)] if isinstance(names, str) else names
    return None


def _resnet_part(found: Match[str]) -> str:
    stage, block, part, norm, rest = found.groups()
    where = f"{ENCODER}encoder.stages.{int(stage) - 2}.layers.{block}."
    layer = "shortcut" if part == "shortcut" else f"layer.{int(part[-1]) - 1}"
    return f"{where}{layer}.{'normalization' if norm else 'convolution'}.{rest}"


def renamed(template: str, parts: dict[str, str]) -> Callable[[Match[str]], str]:
    """Returns a rule that fills a template with a match's groups, renamed by ``parts``."""
    return lambda found: template.format(*(parts.get(group, group) for group in found.groups()))


def split_in_thirds(prefix: str, rest: str) -> list[Target]:
    """Splits a fused projection into query, key and value."""
    return [(f"{prefix}{name}_proj.{rest}", third) for third, name in enumerate("qkv")]


def _swin_qkv(found: Match[str]) -> list[Target]:
    layer, block, rest = found.groups()
    return split_in_thirds(f"{ENCODER}swin.encoder.layers.{layer}.blocks.{block}.attention.", rest)


def _self_attention(found: Match[str]) -> list[Target]:
    layer, rest = found.groups()
    return split_in_thirds(f"{_QUERIES}decoder.layers.{layer}.self_attn.", rest)


_SWIN_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
}


def _swin_norm(found: Match[str]) -> str:
    return f"{ENCODER}hidden_states_norms.stage{int(found[1]) + 1}.{found[2]}"


_ENCODER_LAYER = {
    "norm1": "self_attn_layer_norm",
    "norm2": "final_layer_norm",
    "linear1": "fc1",
    "linear2": "fc2",
}
_DECODER_PARTS = {
    ("self_attention", "self_attn.out_proj"): "self_attn.out_proj",
    ("self_attention", "norm"): "self_attn_layer_norm",
    ("cross_attention", "norm"): "cross_attn_layer_norm",
    ("ffn", "norm"): "final_layer_norm",
    ("ffn", "linear1"): "fc1",
    ("ffn", "linear2"): "fc2",
}


def _decoder_part(found: Match[str]) -> str:
    kind, layer, part, rest = found.groups()
    return f"{_QUERIES}decoder.layers.{layer}.{_DECODER_PARTS[kind, part]}.{rest}"


_HEAD = r"sem_seg_head\."
_LAYERS = _HEAD + r"predictor\.transformer_"
_ENCODER_LAYERS = _HEAD + r"pixel_decoder\.transformer\.encoder\.layers\.(\d+)\."
_RULES: Rules = [
    (r"backbone\.stem\.conv1\.norm\.(\w+)", ENCODER + r"embedder.embedder.normalization.\1"),
    (r"backbone\.stem\.conv1\.(\w+)", ENCODER + r"embedder.embedder.convolution.\1"),
    (r"backbone\.res(\d)\.(\d+)\.(shortcut|conv[123])(\.norm)?\.(\w+)", _resnet_part),
    (r"backbone\.patch_embed\.proj\.(\w+)",
     ENCODER + r"swin.embeddings.patch_embeddings.projection.\1"),
    (r"backbone\.patch_embed\.norm\.(\w+)", ENCODER + r"swin.embeddings.norm.\1"),
    (r"backbone\.layers\.(\d)\.blocks\.(\d+)\.attn\.relative_position_bias_table",
     ENCODER + r"swin.encoder.layers.\1.blocks.\2.attention.relative_position_bias."
     "relative_position_bias_table"),
    (r"backbone\.layers\.(\d)\.blocks\.(\d+)\.attn\.qkv\.(\w+)", _swin_qkv),
    (r"backbone\.layers\.(\d)\.blocks\.(\d+)\.(norm[12]|attn\.proj|mlp\.fc[12])\.(\w+)",
     renamed(ENCODER + "swin.encoder.layers.{}.blocks.{}.{}.{}", _SWIN_BLOCK)),
    (r"backbone\.layers\.(\d)\.downsample\.(reduction|norm)\.(\w+)",
     ENCODER + r"swin.encoder.layers.\1.downsample.\2.\3"),
    (r"backbone\.norm(\d)\.(\w+)", _swin_norm),
    (_HEAD + r"pixel_decoder\.input_proj\.(.+)", _PIXELS + r"input_projections.\1"),
    (_HEAD + r"pixel_decoder\.transformer\.level_embed", _PIXELS + "level_embed"),
    (_ENCODER_LAYERS + r"self_attn\.(.+)", _PIXELS + r"encoder.layers.\1.self_attn.\2"),
    (_ENCODER_LAYERS + r"(norm[12]|linear[12])\.(\w+)",
     renamed(_PIXELS + "encoder.layers.{}.{}.{}", _ENCODER_LAYER)),
    (_HEAD + r"pixel_decoder\.mask_features\.(\w+)", _PIXELS + r"mask_projection.\1"),
    (_HEAD + r"pixel_decoder\.(adapter|layer)_(\d)\.norm\.(\w+)", _PIXELS + r"\1_\2.1.\3"),
    (_HEAD + r"pixel_decoder\.(adapter|layer)_(\d)\.(\w+)", _PIXELS + r"\1_\2.0.\3"),
    (_LAYERS + r"self_attention_layers\.(\d+)\.self_attn\.in_proj_(\w+)", _self_attention),
    (_LAYERS + r"cross_attention_layers\.(\d+)\.multihead_attn\.(.+)",
     _QUERIES + r"decoder.layers.\1.cross_attn.\2"),
    (_LAYERS + r"(self_attention|cross_attention|ffn)_layers\.(\d+)\."
     r"(self_attn\.out_proj|norm|linear[12])\.(\w+)", _decoder_part),
    (_HEAD + r"predictor\.decoder_norm\.(\w+)", _QUERIES + r"decoder.layernorm.\1"),
    # called static_query before the authors' version 2
    (_HEAD + r"predictor\.(?:query_feat|static_query)\.weight",
     _QUERIES + "queries_features.weight"),
    (_HEAD + r"predictor\.query_embed\.weight", _QUERIES + "queries_embedder.weight"),
    (_HEAD + r"predictor\.level_embed\.weight", _QUERIES + "level_embed.weight"),
    (_HEAD + r"predictor\.class_embed\.(\w+)", _NETWORK + r"class_predictor.\1"),
    (_HEAD + r"predictor\.mask_embed\.layers\.(\d)\.(\w+)",
     _QUERIES + r"decoder.mask_predictor.mask_embedder.\1.0.\2"),
    (_HEAD + r"predictor\.reid_embed\.layers\.(.+)", r"embedding_head.layers.\1"),
]  # fmt: skip
