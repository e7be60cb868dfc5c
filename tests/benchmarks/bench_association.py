"""Times the association of one frame with a memory, and a loop over instances for comparison.

python tests/benchmarks/bench_association.py --instances 100 --tracks 200
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from vis_core.association.associator import Associator
from vis_core.config.association import AssociationConfig
from vis_core.structures import Instances

WIDTH = 256


def main(argv: list[str] | None = None) -> int:
    """Prints the median milliseconds per frame of each memory, and of the naive loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=100)
    parser.add_argument("--tracks", type=int, default=200)
    parser.add_argument("--frames", type=int, default=200)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(f"{args.instances} instances against {args.tracks} tracks, C = {WIDTH}, one thread")
    for memory in ("similarity_guided", "latest", "temporally_weighted"):
        associator = filled(AssociationConfig(memory=memory), args.tracks)
        frame = instances(args)
        step = median_ms(partial(associator.step, frame), args.frames)
        print(f"  {memory:<20} {step:6.2f} ms a frame")
    associator = filled(AssociationConfig(), args.tracks)
    tracks = associator.memory.read()
    loop = median_ms(partial(naive, instances(args), tracks), max(3, args.frames // 20))
    print(f"  {'loop over instances':<20} {loop:6.2f} ms a frame (comparison and assignment alone)")
    return 0


def filled(config: AssociationConfig, num_tracks: int) -> Associator:
    """Builds an associator that knows the given number of tracks, each predicted in ten frames."""
    associator = Associator(config)
    draw = torch.Generator().manual_seed(1)
    base = 8 * torch.nn.functional.normalize(torch.randn(num_tracks, WIDTH, generator=draw), dim=1)
    ids = torch.arange(num_tracks)
    for _ in range(10):
        noise = 0.02 * torch.randn(base.shape, generator=draw)
        associator.memory.write(ids, base + noise, torch.ones(num_tracks))
    return associator


def instances(args: argparse.Namespace) -> Instances:
    """Returns the instances of a frame: the first tracks again, slightly changed."""
    draw = torch.Generator().manual_seed(1)
    base = 8 * torch.nn.functional.normalize(torch.randn(args.tracks, WIDTH, generator=draw), dim=1)
    found = base[: args.instances] + 0.02 * torch.randn(args.instances, WIDTH)
    scores = torch.linspace(0.9, 0.3, args.instances)
    return Instances(scores, scores[:, None], torch.ones(args.instances, 2, 2), found)


def naive(frame: Instances, tracks: Tensor) -> list[int]:
    """Compares and assigns instance by instance, as the papers write it (bi-softmax, greedy)."""
    dots = torch.stack([track @ frame.embeddings.T for track in tracks], dim=1)
    similarity = (dots.softmax(dim=0) + dots.softmax(dim=1)) / 2
    taken: list[int] = []
    for row in similarity:
        free = row.clone()
        for column in taken:
            free[column] = 0
        taken.append(int(free.argmax()))
    return taken


def median_ms(run: Callable[[], object], repeats: int) -> float:
    """Times a call, after a few warm-up calls."""
    times = []
    for index in range(repeats + 3):
        started = time.perf_counter()
        run()
        if index >= 3:
            times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


if __name__ == "__main__":
    raise SystemExit(main())
