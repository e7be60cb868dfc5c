"""A training plan as text, for ``longtake train --dry-run``."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.config.optimizer import OptimizerSettings
    from pipelines.config.run import RunConfig, StageConfig
    from pipelines.data.given_data import GivenData
    from pipelines.data.run_classes import ClassTable
    from vis_core.config.clips import FixedSize, ShortSide, ViewConfig

# The data that each kind of clip needs; the last word is the option for it.
_NEEDS = {
    "images": ["images of --coco"],
    "pairs": ["images of --coco"],
    "pseudo": ["pseudo-videos of --coco"],
    "videos": ["training videos of --vis"],
    "mixed": ["pseudo-videos of --coco", "training videos of --vis"],
}


def training_plan(
    config: "RunConfig", given: "GivenData", out: Path, classes: "ClassTable | None" = None
) -> list[str]:
    """Describes the system, start weights, stages and output; starts and writes nothing.

    ``classes`` describes the classes of the still images in ``given``. Raises CheckpointError if
    the start weights are unsafe to load or do not fit the system.
    """
    from pipelines.registry.start_weights import check_start

    lines = [
        *_system(config),
        f"start       {check_start(config, allow_random=True)}",
        *_data(config, given),
    ]
    if classes is not None and config.supervision is None:
        lines += classes.describe(config.left_out)
    for number, stage in enumerate(config.stages, 1):
        lines += _stage(config, _in_steps(config, stage, given, classes), number)
    lines += [
        f"writes      {out}: models/<stage>, losses.jsonl, evaluation/<stage>, tracking",
        f"checkpoints {config.checkpoints.storage or out / 'train'}, the newest "
        f"{config.checkpoints.keep} are kept",
        "nothing was started or written (--dry-run)",
    ]
    return lines


def _in_steps(
    config: "RunConfig", stage: "StageConfig", given: "GivenData", classes: "ClassTable | None"
) -> "StageConfig":
    """Adds the number of steps to a stage with epochs if the user gave the videos."""
    from pipelines.data.find_data import find_vis
    from pipelines.training.clip_sources import in_steps, open_videos

    if stage.epochs is None or stage.clips != "videos" or given.vis is None:
        return stage
    names = frozenset(classes.source.names) if classes else None
    clips = len(open_videos(config, stage, find_vis(given.vis, names, given.images)))
    counted = in_steps(stage, clips, config.ray.num_workers)
    return counted.model_copy(update={"epochs": stage.epochs})  # the plan names both


def _system(config: "RunConfig") -> list[str]:
    import torch

    from vis_core.models.systems.build import build_system

    with torch.device("meta"):
        system = build_system(config.system, 40)
    total = sum(weight.numel() for weight in system.parameters())
    trained = sum(weight.numel() for weight in system.parameters() if weight.requires_grad)
    segmentor, association = config.system.segmentor, config.system.association
    backbone = segmentor.backbone
    name = backbone if isinstance(backbone, str) else f"a {backbone.family} of custom sizes"
    named = config.system.model_dump()["segmentor"].get("name")  # if it is not the default
    number = getattr(segmentor, "num_queries", None)
    queries = "" if number is None else f", {number} queries"
    threshold = association.match_threshold
    losses = {name: weight for name, weight in system.loss_weights.items() if weight}
    return [
        f"system      {config.system.name}{f' on {named}' if named else ''}, {name}{queries}",
        f"weights     {total / 1e6:.1f} million, {trained / 1e6:.1f} million trained (40 classes)",
        f"association {association.memory}, {association.similarity}, {association.assignment}, "
        f"threshold {'none' if threshold is None else threshold}",
        f"losses      {_losses(losses)}",
        f"test        short side {config.system.test_short_side}, "
        f"long side up to {config.system.test_max_long_side}",
    ]


def _losses(weights: dict[str, float]) -> str:
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items())


def _data(config: "RunConfig", given: "GivenData") -> list[str]:
    needs = dict.fromkeys(need for stage in config.stages for need in _NEEDS[stage.clips])
    paths = {"--coco": given.coco, "--vis": given.vis}
    absent = "not given, synthetic scenes would replace them"
    return [f"data        {need}: {paths[need.rsplit(' ', 1)[1]] or absent}" for need in needs]


def _stage(config: "RunConfig", stage: "StageConfig", number: int) -> list[str]:
    workers, optimizer = config.ray.num_workers, stage.optimizer
    backbone = optimizer.learning_rate * optimizer.backbone_factor
    where = "workers with a GPU" if config.ray.use_gpu else "workers"
    return [
        f"stage {number}     {stage.name}: {_length(stage)} {stage.batch_size * workers} "
        f"clips ({stage.batch_size} x {workers} {where})",
        f"  clips     {_clips(config, stage)}",
        f"  rate      {optimizer.learning_rate:g}, backbone {backbone:g}, {_schedule(stage)}",
        f"  {_optimizer(optimizer)}weight decay {optimizer.weight_decay:g}"
        f"{'' if optimizer.decay_norms_and_embeddings else ', none on norms and embeddings'}"
        f", gradients clipped at {optimizer.clip_norm:g}",
        f"  runs in   {stage.precision}, a checkpoint every {stage.checkpoint_every:,} steps",
        *_extras(stage),
    ]


def _length(stage: "StageConfig") -> str:
    epochs = (
        "" if stage.epochs is None else f"{stage.epochs:g} epoch{'s' if stage.epochs != 1 else ''}"
    )
    if stage.steps is None:
        return f"{epochs} in steps of"
    return f"{stage.steps:,} steps{epochs and f' ({epochs})'} of"


def _extras(stage: "StageConfig") -> list[str]:
    """Describes settings that most stages omit."""
    lines = []
    if stage.classes == "images":
        lines.append("  classes   all of the still images; not scored on videos of other classes")
    if stage.start_from is not None:
        lines.append(f"  start     {stage.start_from}")
    if stage.loss_weights:
        lines.append(f"  losses    {_losses(stage.loss_weights)}, the others as above")
    if stage.ema_decay is not None:
        lines.append(f"  keeps     the running mean of the weights, decay {stage.ema_decay:g}")
    if stage.evaluate_every is not None:
        lines.append(
            f"  keeps     the {stage.keep} of the models scored every {stage.evaluate_every:,} "
            f"steps on up to {stage.evaluate_videos} validation videos"
        )
    if stage.recompute_activations:
        lines.append("  memory    activations are recomputed in the backward pass")
    return lines


def _optimizer(settings: "OptimizerSettings") -> str:
    if settings.name == "sgd":
        return f"SGD       momentum {settings.momentum:g}, "
    return "Muon      AdamW for all but matrices, " if settings.name == "muon" else "AdamW     "


def _clips(config: "RunConfig", stage: "StageConfig") -> str:
    pseudo = f"pseudo-videos of {config.pseudo.num_frames} frames ({_view(config.pseudo)})"
    pseudo += ", new in each epoch" if config.streams_pseudo(stage) else ""
    videos = (
        f"{stage.clip_frames} frame{'s' if stage.clip_frames > 1 else ''} within "
        f"{stage.frame_range} of real videos ({_view(config.augment)})"
        f"{', one per annotated frame' if stage.sampling == 'frames' else ''}"
    )
    if stage.clips == "mixed":
        return f"{stage.pseudo_share:.0%} {pseudo}, the others {videos}"
    return {
        "images": f"still images ({_view(config.augment)})",
        "pairs": f"key-reference pairs of still images ({_view(config.pairs)})",
        "pseudo": pseudo,
        "videos": videos,
    }[stage.clips]


def _view(view: "ViewConfig") -> str:
    return f"{_size(view.size)}, crop {view.crop_probability:.0%}, flip {view.flip_probability:.0%}"


def _size(size: "ShortSide | FixedSize") -> str:
    if size.name == "fixed":
        return f"{size.height} x {size.width}"
    sides = size.short_sides
    return f"short side {min(sides)} to {max(sides)}, long side up to {size.max_long_side}"


def _schedule(stage: "StageConfig") -> str:
    optimizer = stage.optimizer
    warm = f"{optimizer.warmup_steps} steps of warm-up, " if optimizer.warmup_steps else ""
    if optimizer.schedule == "cosine":
        return f"{warm}half a cosine down to 1 %"
    if stage.steps is None:
        places = " and ".join(f"{share:.1%}" for share in optimizer.decay_at)
    else:
        places = " and ".join(f"{round(share * stage.steps):,}" for share in optimizer.decay_at)
    unit = "of the steps" if stage.steps is None else "steps"
    return f"{warm}a tenth after {places} {unit}" if places else f"{warm}constant"
