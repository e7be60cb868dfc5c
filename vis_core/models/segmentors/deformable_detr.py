"""IDOL's segmentor: transformers' Deformable DETR (Zhu 2021) with a dynamic mask head."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from transformers import DeformableDetrConfig, DeformableDetrModel

from vis_core.config.segmentors import DeformableDetrSettings
from vis_core.models.criterion.idol_criterion import BoxPredictions
from vis_core.models.layers.backbone import backbone_config, freeze_never_used, freeze_stages
from vis_core.models.layers.dynamic_mask_head import DynamicMaskHead
from vis_core.models.layers.initialization import (
    kaiming_uniform,
    prior_bias,
    stacked_xavier_uniform,
    uniform_bias,
    xavier_uniform,
)
from vis_core.models.layers.mlp import Mlp
from vis_core.models.segmentors.pixel_norm import PixelNorm, inside_of

_LEVELS, _POINTS = 4, 4  # Deformable DETR: four feature levels, four points each
_MASK_LEVELS = 3  # IDOL's mask branch reads strides 8, 16 and 32
_STRIDE = 8
_FIRST_LOG_SIZE = -2.0  # the first boxes are small (IDOL and Deformable DETR releases)
_EPSILON = 1e-5  # limit for the inverse sigmoid


@dataclass(frozen=True)
class DeformableDetrOutput:
    """The predictions for F frames after each of the L decoder layers, without masks."""

    predictions: BoxPredictions  # classes and boxes
    states: Tensor  # (L, F, Q, D) decoder outputs
    references: Tensor  # (L, F, Q, 2) normalised reference points of each layer
    maps: list[Tensor]  # the encoder's three maps (F, D, h, w) at strides 8, 16 and 32
    sizes: Tensor  # (F, 2) height and width of each frame before padding

    def __getitem__(self, frames: slice) -> "DeformableDetrOutput":
        return DeformableDetrOutput(
            BoxPredictions(
                self.predictions.class_logits[:, frames],
                self.predictions.boxes_cxcywh_norm[:, frames],
            ),
            self.states[:, frames],
            self.references[:, frames],
            [level[frames] for level in self.maps],
            self.sizes[frames],
        )


class DeformableDetr(nn.Module):
    """The Deformable DETR network: a class and a box per query, and masks for chosen queries."""

    backbone_prefix = "network.backbone.model."

    def __init__(self, settings: DeformableDetrSettings, num_classes: int) -> None:
        super().__init__()
        self.settings = settings
        width, layers = settings.hidden_width, range(settings.decoder_layers)
        self.pixels = PixelNorm()
        self.network = DeformableDetrModel(_transformers_config(settings))
        # one head per layer; transformers' detection model shares one class head between layers
        self.class_heads = nn.ModuleList(nn.Linear(width, num_classes) for _ in layers)
        self.network.decoder.bbox_embed = nn.ModuleList(Mlp(width, width, 4, 3) for _ in layers)
        self.mask_branch = MaskBranch(width, settings.mask_channels)
        self.mask_head = DynamicMaskHead(
            settings.mask_channels, settings.dynamic_channels, stride=_STRIDE
        )
        self.controller = Mlp(width, width, self.mask_head.num_parameters, 3)
        self._initialize()
        self._freeze()

    def forward(self, images: Tensor, sizes: Tensor) -> DeformableDetrOutput:
        """Segments (F, 3, H, W) uint8 RGB frames, padded right and bottom to multiples of 32.

        ``sizes`` is the (F, 2) height and width before padding.
        """
        sources, masks = self._sources(self.pixels(images, sizes), sizes)
        memory, first, decoded = self._transform(sources, masks)
        states = decoded.intermediate_hidden_states.transpose(0, 1)
        refined = decoded.intermediate_reference_points.transpose(0, 1)
        references = torch.cat([first[None], refined[:-1, :, :, :2]])
        boxes = [
            self._boxes(layer, state, first if layer == 0 else refined[layer - 1])
            for layer, state in enumerate(states)
        ]
        logits = [head(state) for head, state in zip(self.class_heads, states, strict=True)]
        return DeformableDetrOutput(
            BoxPredictions(torch.stack(logits).float(), torch.stack(boxes).float()),
            states.float(),
            references.float(),
            _split_levels(memory, sources)[:_MASK_LEVELS],
            sizes,
        )

    def mask_features(self, output: DeformableDetrOutput) -> Tensor:
        """Computes the (F, c, h, w) features at stride 8, the mask head's input."""
        # the losses run in full precision, even if the network does not
        return self.mask_branch([level.float() for level in output.maps]).float()

    def mask_logits(
        self,
        output: DeformableDetrOutput,
        features: Tensor,
        layer: int,
        frame: int,
        queries: Tensor,
        controller: nn.Module | None = None,
    ) -> Tensor:
        """Computes (N, h, w) mask logits at stride 4 for (N,) queries in a frame (IDOL Eq. 1).

        ``features`` are the ``mask_features`` of all frames. A ``controller`` predicts the weights
        for another kind of mask; None computes the usual masks.
        """
        height, width = output.sizes[frame].tolist()
        points = output.references[layer, frame, queries]
        return self.mask_head(
            features[frame],
            (controller or self.controller)(output.states[layer, frame, queries]).float(),
            points * points.new_tensor([width, height]),
        )

    def _boxes(self, layer: int, state: Tensor, reference: Tensor) -> Tensor:
        """Refines a layer's reference (F, Q, 2 or 4) into its boxes (F, Q, 4)."""
        # the first references are points without a size
        start = functional.pad(_inverse_sigmoid(reference), (0, 4 - reference.shape[-1]))
        return (self.network.decoder.bbox_embed[layer](state) + start).sigmoid()

    def _sources(self, pixels: Tensor, sizes: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Computes each level's features (F, D, h, w), and (F, h, w) bool, False in the padding.

        As in the release, the last level's mask is the first level's, resized. transformers resizes
        the pixel mask instead.
        """
        levels = self.network.backbone(pixels, inside_of(sizes, *pixels.shape[2:]))
        maps, masks = map(list, zip(*levels, strict=True))
        # the last level's projection reads the coarsest map again
        inputs = zip(self.network.input_proj, [*maps, maps[-1]], strict=True)
        sources = [project(level) for project, level in inputs]
        resized = functional.interpolate(masks[0][None].float(), size=sources[-1].shape[2:])
        return sources, [*masks, resized[0].bool()]

    def _transform(self, sources: list[Tensor], masks: list[Tensor]) -> tuple[Tensor, Tensor, Any]:
        """Runs the encoder and decoder over the concatenated levels.

        Returns the memory, the first (F, Q, 2) reference points, and transformers' decoder output:
        (F, L, Q, D) states and detached (F, L, Q, 4) points after each layer.
        """
        network = self.network
        positions = [
            network.position_embedding(
                shape=source.shape, device=source.device, dtype=torch.float32, mask=mask
            ).to(source.dtype)
            + level[:, None, None]
            for source, mask, level in zip(sources, masks, network.level_embed, strict=True)
        ]
        common = self._level_arguments(masks)
        inside = torch.cat([mask.flatten(1) for mask in masks], dim=1)
        memory = network.encoder(
            inputs_embeds=_concatenate_levels(sources),
            attention_mask=inside,
            spatial_position_embeddings=_concatenate_levels(positions),
            **common,
        ).last_hidden_state
        queries = network.query_position_embeddings.weight.expand(len(memory), -1, -1)
        position, content = queries.chunk(2, dim=2)
        first = network.reference_points(position).sigmoid()
        decoded = network.decoder(
            inputs_embeds=content,
            object_queries_position_embeddings=position,
            encoder_hidden_states=memory,
            encoder_attention_mask=inside,
            reference_points=first,
            **common,
        )
        return memory, first, decoded

    def _level_arguments(self, masks: list[Tensor]) -> dict[str, Any]:
        """Returns the level sizes for transformers' layers, given the level masks (F, h, w)."""
        shapes = [tuple(mask.shape[1:]) for mask in masks]
        spatial = torch.tensor(shapes, device=masks[0].device)
        ratios = [self.network.get_valid_ratio(mask) for mask in masks]
        return {
            "spatial_shapes": spatial,
            "spatial_shapes_list": shapes,
            "level_start_index": torch.cat([spatial.new_zeros(1), spatial.prod(1).cumsum(0)[:-1]]),
            "valid_ratios": torch.stack(ratios, dim=1),
        }

    def _initialize(self) -> None:
        """Initializes as in the release; transformers would put all queries at the same place."""
        network = self.network
        nn.init.normal_(network.query_position_embeddings.weight)
        xavier_uniform(network.input_proj)
        for layer in (*network.encoder.layers, *network.decoder.layers):
            for linear in (layer.mlp.fc1, layer.mlp.fc2):
                nn.init.xavier_uniform_(linear.weight)
                uniform_bias(linear)
        for layer in network.decoder.layers:
            attention = layer.self_attn
            projections = (attention.q_proj, attention.k_proj, attention.v_proj)
            stacked_xavier_uniform(*(projection.weight for projection in projections))
            nn.init.xavier_uniform_(attention.o_proj.weight)
        xavier_uniform(self.controller)
        self._initialize_layer_heads()

    def _initialize_layer_heads(self) -> None:
        """Initializes all decoder layers' heads alike, except for the size of the first boxes."""
        class_head, box_head = self.class_heads[0], self.network.decoder.bbox_embed[0]
        assert isinstance(class_head, nn.Linear)
        prior_bias(class_head)
        nn.init.zeros_(box_head.layers[-1].weight)
        nn.init.zeros_(box_head.layers[-1].bias)
        for head in self.class_heads[1:]:
            head.load_state_dict(class_head.state_dict())
        for head in self.network.decoder.bbox_embed[1:]:
            head.load_state_dict(box_head.state_dict())
        nn.init.constant_(box_head.layers[-1].bias[2:], _FIRST_LOG_SIZE)

    def _freeze(self) -> None:
        """Freezes the backbone's first stages and unfreezes the others.

        transformers freezes a whole ResNet because it looks for names that its own ResNet lacks.
        """
        freeze_stages(self.network.backbone.model, self.settings.frozen_stages)
        freeze_never_used(self)


class MaskBranch(nn.Module):
    """Convolutions that join the encoder's maps into mask features (IDOL 3.1 and release)."""

    def __init__(self, width: int, out_channels: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(width, width, 3, padding=1)
        self.middle = nn.Conv2d(width, width, 3, padding=1)
        self.fine = nn.Conv2d(width, width, 3, padding=1)
        self.narrow = nn.Conv2d(width, width // 4, 3, padding=1)
        self.last = nn.Conv2d(width // 4, out_channels, 3, padding=1)
        kaiming_uniform(self)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Joins three maps (F, D, h, w), finest first, into (F, c, h, w)."""
        fine, middle, coarse = maps
        x = self.coarse(coarse).relu()
        x = self.middle(functional.interpolate(x, size=middle.shape[2:]) + middle).relu()
        x = self.fine(functional.interpolate(x, size=fine.shape[2:]) + fine).relu()
        return self.last(self.narrow(x).relu()).relu()


def _inverse_sigmoid(x: Tensor) -> Tensor:
    x = x.clamp(min=0, max=1)
    return torch.log(x.clamp(min=_EPSILON) / (1 - x).clamp(min=_EPSILON))


def _concatenate_levels(maps: list[Tensor]) -> Tensor:
    """Concatenates (F, D, h, w) maps into (F, sum of h * w, D)."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)


def _split_levels(levels: Tensor, like: list[Tensor]) -> list[Tensor]:
    """Inverts ``_concatenate_levels``."""
    parts = levels.split([level.shape[2] * level.shape[3] for level in like], dim=1)
    return [
        part.transpose(1, 2).reshape(level.shape) for part, level in zip(parts, like, strict=True)
    ]


def _transformers_config(settings: DeformableDetrSettings) -> DeformableDetrConfig:
    return DeformableDetrConfig(
        use_timm_backbone=False,
        backbone_config=backbone_config(settings.backbone, ["stage2", "stage3", "stage4"]),
        num_queries=settings.num_queries,
        d_model=settings.hidden_width,
        encoder_layers=settings.encoder_layers,
        encoder_attention_heads=settings.num_heads,
        encoder_ffn_dim=settings.encoder_ffn_width,
        decoder_layers=settings.decoder_layers,
        decoder_attention_heads=settings.num_heads,
        decoder_ffn_dim=settings.decoder_ffn_width,
        dropout=settings.dropout,
        attention_dropout=settings.dropout,
        activation_dropout=settings.dropout,
        num_feature_levels=_LEVELS,
        encoder_n_points=_POINTS,
        decoder_n_points=_POINTS,
        with_box_refine=True,
        two_stage=False,
    )
