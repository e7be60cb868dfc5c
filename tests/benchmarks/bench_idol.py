"""Times IDOL against the bare transformers network with a mask head: the cost of the rest.

python -m tests.benchmarks.bench_idol --repeats 7
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vis_core.clips.collate import collate_clips
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.config.clips import SceneSettings
from vis_core.config.systems import IdolConfig
from vis_core.models.segmentors.deformable_detr import DeformableDetr
from vis_core.models.systems.idol import Idol
from vis_core.structures import ClipBatch

GOAL = 1.15


def main(argv: list[str] | None = None) -> int:
    """Prints the seconds and the ratio of a forward pass and of a training step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--kept", type=int, default=20, help="queries above the score threshold")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    system = Idol(IdolConfig(test_short_side=args.height), len(CLASS_NAMES)).to(args.device)
    settings = system.config.segmentor
    print(
        f"{settings.backbone}, {settings.num_queries} queries, {args.height}x{args.width}, "
        f"{args.device}, {torch.get_num_threads()} threads, best of {args.repeats} in turn"
    )
    scene = SceneSettings(height=args.height, width=args.width)
    clip = render_scene(scene, 2, 89)
    system = keeping(system.eval(), clip.images[0], args.kept)
    image = clip.images[0]
    compare(
        "forward, one frame",
        partial(system.segment, [image]),
        partial(bare_forward, system, image, args.kept),
        args.repeats,
    )
    system.train()
    batch = collate_clips([clip]).to(args.device)
    positives = count_positives(system, batch)
    print(f"a training step: {len(clip.labels)} instances, {positives} masks in all layers")
    compare(
        "training step, key and reference",
        partial(step, system, batch),
        partial(bare_step, system, batch, positives),
        args.repeats,
    )
    return 0


def keeping(system: Idol, image: np.ndarray, kept: int) -> Idol:
    """Sets the score threshold so that the given number of queries per image pass."""
    with torch.no_grad():
        frames, sizes = system.input_frames([image])
        logits = system.segmentor(frames, sizes).predictions.class_logits[-1, 0]
    scores = logits.sigmoid().amax(dim=1).sort(descending=True).values
    selection = system.config.selection.model_copy(update={"score_threshold": float(scores[kept])})
    system.config = system.config.model_copy(update={"selection": selection})
    return system


@torch.no_grad()
def bare_forward(system: Idol, image: np.ndarray, kept: int) -> Tensor:
    """Runs only transformers' model on pixels and the masks of some queries."""
    frames, sizes = system.input_frames([image])
    return bare(system.segmentor, frames, sizes, [torch.arange(kept)], layers=[-1])


def bare(
    segmentor: DeformableDetr,
    frames: Tensor,
    sizes: Tensor,
    queries: list[Tensor],
    layers: list[int],
) -> Tensor:
    """Sums the outputs of the network and the mask head: the least from which to get a gradient."""
    pixels = segmentor.pixels(frames, sizes)
    height, width = pixels.shape[2:]
    inside = torch.zeros(len(pixels), height, width, dtype=torch.long, device=pixels.device)
    for row, (h, w) in enumerate(sizes.tolist()):
        inside[row, :h, :w] = 1
    output = segmentor.network(pixel_values=pixels, pixel_mask=inside)
    states = output.intermediate_hidden_states
    shapes = [(-(-height // s), -(-width // s)) for s in (8, 16, 32)]
    row = output.encoder_last_hidden_state
    parts = row.split(
        [*(h * w for h, w in shapes), row.shape[1] - sum(h * w for h, w in shapes)], 1
    )
    maps = [
        part.transpose(1, 2).reshape(len(row), -1, *shape)
        for part, shape in zip(parts[:3], shapes, strict=True)
    ]
    features = segmentor.mask_branch(maps)
    boxes = segmentor.network.decoder.bbox_embed
    total = torch.stack(
        [
            segmentor.class_heads[layer](states[:, layer]).sum()
            + boxes[layer](states[:, layer]).sum()
            for layer in layers
        ]
    ).sum()
    for layer, chosen in zip(layers, queries, strict=True):
        masks = segmentor.mask_head(
            features[0],
            segmentor.controller(states[0, layer, chosen]),
            output.init_reference_points[0, chosen],
        )
        total = total + masks.sum()
    return total


def step(system: Idol, batch: ClipBatch) -> None:
    """Computes the losses and gradients of one key-reference pair."""
    system.zero_grad(set_to_none=True)
    losses = system(batch, torch.Generator().manual_seed(0))
    torch.stack(
        [system.loss_weights[name] * loss for name, loss in losses.items()]
    ).sum().backward()


def bare_step(system: Idol, batch: ClipBatch, positives: int) -> None:
    """Computes the bare network's gradients for the same frames and as many masks."""
    system.zero_grad(set_to_none=True)
    layers = list(range(system.config.segmentor.decoder_layers))
    each = [torch.arange(positives // len(layers)) for _ in layers]
    frames, sizes = batch.images.flatten(0, 1), batch.sizes.flatten(0, 1)
    bare(system.segmentor, frames, sizes, each, layers).backward()


def count_positives(system: Idol, batch: ClipBatch) -> int:
    """Counts the masks that a training step creates."""
    made: list[int] = []
    head = system.segmentor.mask_head
    hook = head.register_forward_hook(lambda _, __, masks: made.append(len(masks)))
    step(system, batch)
    hook.remove()
    return sum(made)


def compare(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], repeats: int
) -> None:
    """Runs both in alternation and prints the best times and the median of the ratios."""
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for repeat in range(repeats + 1):
        for key, run in (("ours", ours), ("bare", theirs)):
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat:  # the first is a warm-up
                times[key].append(time.perf_counter() - started)
    ratios = [a / b for a, b in zip(times["ours"], times["bare"], strict=True)]
    ratio = statistics.median(ratios)
    print(
        f"  {name:<34} ours {min(times['ours']):6.3f} s, bare {min(times['bare']):6.3f} s, "
        f"ratio {ratio:.3f} ({min(ratios):.3f} to {max(ratios):.3f}), goal {GOAL}: "
        f"{'met' if ratio <= GOAL else 'missed'}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
