"""The initial weights of IDOL's segmentor: as in the release (VNext, db33833)."""

import math

import torch
from torch import Tensor, nn

from tests.helpers.presets import tiny_config
from vis_core.models.segmentors.deformable_detr import DeformableDetr


def segmentor() -> DeformableDetr:
    torch.manual_seed(3)
    settings = tiny_config("idol").segmentor.model_copy(
        update={"num_queries": 300, "hidden_width": 128}
    )
    return DeformableDetr(settings, 6)


def is_uniform(weight: Tensor, bound: float) -> bool:
    """Returns whether 3,000 or more numbers fill [-bound, bound] evenly, within five deviations."""
    weight = weight.detach()
    spread = float(weight.std()) * math.sqrt(3)
    few = 5 / math.sqrt(weight.numel())
    return float(weight.abs().max()) <= bound and abs(spread / bound - 1) < few


def glorot(weight: Tensor) -> float:
    return math.sqrt(6 / (weight.shape[0] + weight.shape[1]))


def test_queries_start_apart_so_that_they_look_at_different_places() -> None:
    network = segmentor().network
    queries = network.query_position_embeddings.weight
    assert abs(float(queries.detach().std()) - 1) < 0.02
    places = network.reference_points(queries[:, :128]).sigmoid().detach()
    assert float(places.std(dim=0).min()) > 0.15


def test_layers_of_the_transformer_start_by_glorot() -> None:
    network = segmentor().network
    for layer in (*network.encoder.layers, *network.decoder.layers):
        for linear in (layer.mlp.fc1, layer.mlp.fc2):
            assert is_uniform(linear.weight, glorot(linear.weight))
            assert 0 < float(linear.bias.detach().abs().max()) <= 1 / math.sqrt(linear.in_features)
    for layer in network.decoder.layers:
        attention = layer.self_attn
        # torch keeps these three as one matrix of 3 x 128 rows
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
            assert is_uniform(linear.weight, math.sqrt(6 / (4 * 128)))
            assert not linear.bias.any()
        assert is_uniform(attention.o_proj.weight, glorot(attention.o_proj.weight))
    for projection in network.input_proj:
        convolution = projection[0]
        area = math.prod(convolution.kernel_size)
        assert is_uniform(
            convolution.weight, glorot(convolution.weight) / math.sqrt(area)
        ) and not bool(convolution.bias.any())


def test_heads_of_all_layers_start_alike_but_for_the_first_boxes() -> None:
    network = segmentor()
    first, *others = network.class_heads
    assert all(torch.equal(first.weight, other.weight) for other in others)
    assert torch.allclose(first.bias.sigmoid(), torch.tensor(0.01))
    first, *others = network.network.decoder.bbox_embed
    for other in others:
        assert torch.equal(first.layers[0].weight, other.layers[0].weight)
        assert not other.layers[-1].bias.any()
    assert first.layers[-1].bias.tolist() == [0, 0, -2, -2]
    hidden = first.layers[1]
    assert isinstance(hidden, nn.Linear)
    assert is_uniform(hidden.weight, 1 / math.sqrt(128))
    controller = network.controller.layers[1]
    assert is_uniform(controller.weight, glorot(controller.weight))
