"""The run file schema: stages, sweep, synthetic data, Ray, checkpoints."""

from itertools import accumulate
from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.config.optimizer import OptimizerSettings, Precision
from vis_core.config.clips import AugmentConfig, PairConfig, PseudoConfig, SceneSettings
from vis_core.config.inference import InferenceConfig
from vis_core.config.section import Section
from vis_core.config.systems import CtvisConfig, SystemConfig
from vis_core.errors import ConfigError


class StageConfig(Section):
    """A training stage, which by default starts from the previous stage's weights."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,30}$",
        description="Name of the stage, used for its folders and metrics.",
    )
    clips: Literal["images", "pairs", "pseudo", "videos", "mixed"] = Field(
        description="Training clips: still images, key-reference pairs of still images, "
        "pseudo-videos, clips of real videos (2 frames are a key and a reference frame), or a "
        "random mix of pseudo-videos and real clips (CTVIS 4: COCO joint training)."
    )
    classes: Literal["videos", "images"] = Field(
        "videos",
        description="Classes of the stage: the videos', or all of the still images' own, such as "
        "COCO's 80 in IDOL's release (step 2). The stage is then not scored on videos of other "
        "classes, and the next one starts with new class heads.",
    )
    pseudo_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Probability that a mixed clip is a pseudo-video. CTVIS's release weighs "
        "pseudo-videos against real clips 1 : 1.5 (YouTube-VIS 2019), 1 : 0.8 (2021) and 1 : 0.75 "
        "(OVIS).",
    )
    steps: int | None = Field(None, ge=1, description="Optimizer steps; null: from epochs.")
    epochs: float | None = Field(
        None,
        gt=0,
        description="Passes over the stage's clips, instead of steps: one clip per image, or per "
        "video or frame as in sampling.",
    )
    batch_size: int = Field(
        16, ge=1, description="Clips per step and worker (CTVIS 4.1: 16 over all workers)."
    )
    clip_frames: int = Field(1, ge=1, description="Frames T per clip of a real video.")
    frame_range: int = Field(
        20,
        ge=1,
        description="Maximum distance in frames between the first frame drawn for a clip and the "
        "others (20 in CTVIS's release, 10 in IDOL).",
    )
    sampling: Literal["videos", "frames"] = Field(
        "videos",
        description="Sampling of clips from real videos. videos: equally many from each video, "
        "frames in order (releases of CTVIS and IDOL); frames: one per annotated frame, which is "
        "the key frame, followed by frames before or after it, unsorted (CrossVIS).",
    )
    group_by_aspect: bool = Field(
        True,
        description="Build a worker's batch only from clips that are taller than wide, or only "
        "from others (detectron2, in all releases); not for stored pseudo-videos and mixed clips.",
    )
    precision: Precision = Field(
        "float32", description="The network's precision in training; CTVIS's release uses AMP."
    )
    checkpoint_every: int = Field(500, ge=1, description="Steps between checkpoints.")
    parts: int = Field(
        1,
        ge=1,
        description="Number of parts into which a batch is split to save memory. The network "
        "processes them in turn; the gradient is the whole batch's (IDOL: the parts' mean).",
    )
    recompute_activations: bool = Field(
        False,
        description="Recompute activations in the backward pass instead of storing them. "
        "This saves memory and costs time; the gradient is the same.",
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of the running mean (EMA) of the weights. The mean is scored and "
        "becomes the stage's model. null: use the weights themselves, as in all five papers.",
    )
    loss_weights: dict[str, float] = Field(
        default_factory=dict,
        description="Loss weights that differ from system.loss_weights in this stage.",
    )
    start_from: str | None = Field(
        None,
        description="Start weights that replace the previous stage's; see the run's start_from.",
    )
    evaluate_every: int | None = Field(
        None,
        ge=1,
        description="Steps between validation scores; null: no scores, keep the last model.",
    )
    keep: Literal["best", "last"] = Field(
        "best",
        description="Model that the stage keeps: the one with the best AP, or the last one. "
        "If it keeps the last, the scores only serve for the learning curve.",
    )
    evaluate_videos: int = Field(
        8,
        ge=1,
        description="Number of validation videos on which models are scored while a stage runs, "
        "starting with the first.",
    )
    max_bad_steps: int = Field(
        5,
        ge=1,
        description="Number of consecutive steps with a non-finite loss or gradient after which "
        "training fails; until then, such steps are skipped and logged.",
    )
    optimizer: OptimizerSettings = Field(default_factory=OptimizerSettings)

    @property
    def num_steps(self) -> int:
        """The number of steps, known after ``with_steps`` if the stage has epochs."""
        assert self.steps is not None, f"stage {self.name}: epochs are not counted in steps yet"
        return self.steps

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            found = "neither" if self.steps is None else "both"
            raise ValueError(f"expected either steps or epochs, found {found}")
        if self.epochs is not None and self.clips == "mixed":
            raise ValueError("clips: mixed draws from two sources and has no epochs; give steps")
        return self

    @model_validator(mode="after")
    def _share_of_mixed(self) -> Self:
        if (self.clips == "mixed") != (self.pseudo_share is not None):
            raise ValueError("pseudo_share belongs to clips: mixed, and mixed needs it")
        return self

    @model_validator(mode="after")
    def _classes_of_clips(self) -> Self:
        if self.classes == "images" and self.clips in ("videos", "mixed"):
            raise ValueError(
                f"clips: {self.clips} have the classes of the videos; use classes: videos"
            )
        if self.classes == "images" and self.evaluate_every is not None:
            raise ValueError(
                "evaluate_every scores videos, which have other classes than the images; remove "
                "it or use classes: videos"
            )
        return self


class SweepConfig(Section):
    """The sweep of association thresholds on cached instances."""

    trials: int = Field(12, ge=1, description="Number of trials.")
    min_gain: float = Field(
        0.01,
        ge=0,
        description="Gain in validation AP that new thresholds need to replace the current ones. "
        "The value is ours: thresholds that gained 0.001 AP on eight videos lost 0.1 AP on others.",
    )
    match_threshold: tuple[float, float] = Field((0.1, 0.8), description="Range of similarities.")
    new_track_score: tuple[float, float] = Field((0.01, 0.7), description="Range of scores.")
    score_threshold: tuple[float, float] = Field((0.01, 0.5), description="Range of scores.")


class SyntheticConfig(Section):
    """Synthetic scenes for a run without the user's own annotated data."""

    scene: SceneSettings = Field(default_factory=SceneSettings)
    images: int = Field(240, ge=4, description="Still images.")
    train_videos: int = Field(24, ge=1, description="Labelled videos for training.")
    val_videos: int = Field(8, ge=1, description="Labelled videos for the sweep.")
    test_videos: int = Field(12, ge=1, description="Labelled videos for the scores.")
    archive_videos: int = Field(4, ge=1, description="Unlabelled video files.")
    video_frames: int = Field(20, ge=2, description="Frames per video.")


class RayConfig(Section):
    """The part of a machine or cluster that training uses."""

    num_workers: int = Field(1, ge=1, description="Data-parallel training workers.")
    use_gpu: bool = Field(False, description="One GPU per worker.")
    data_tasks: int | None = Field(
        None,
        ge=1,
        description="Number of processes that build one worker's batches (about 600 MiB of memory "
        "each); null: one per free core, at most 8.",
    )
    object_store_mb: int = Field(
        400, ge=100, description="Ray's shared memory on a local cluster, in MB."
    )


class SupervisionConfig(Section):
    """Training with annotations for only a share of the frames."""

    share: float = Field(
        gt=0,
        le=1,
        description="Share of the training videos' annotated frames that serve as the run's still "
        "images; larger shares contain the smaller ones (CTVIS Table 7: 0.01, 0.05, 0.1 and 1).",
    )


class CheckpointConfig(Section):
    """The storage and number of training checkpoints."""

    storage: str | None = Field(
        None,
        description="Folder or s3://bucket/prefix shared by all workers; null: the run folder.",
    )
    keep: int = Field(2, ge=2, description="Number of checkpoints to keep, in case one is damaged.")


class RunConfig(Section):
    """The settings of a whole run, from images to annotated videos."""

    seed: int = Field(0, ge=0, lt=1 << 32, description="Seed for all randomness.")
    system: SystemConfig = Field(default_factory=CtvisConfig)
    start_from: str | None = Field(
        None,
        description="Start weights of stage 1: a model folder, a .pth or .pkl file of a paper's "
        "authors, a transformers folder, hf:<id>, or 'tiny' (the weights in this package). ResNet, "
        "Swin and ConvNeXt backbones alone are accepted too.",
    )
    start_hint: str | None = Field(
        None,
        description="The weights that start_from should name, for plans and messages; nothing is "
        "loaded from them.",
    )
    synthetic: SyntheticConfig = Field(default_factory=SyntheticConfig)
    pseudo: PseudoConfig = Field(default_factory=PseudoConfig)
    augment: AugmentConfig = Field(
        default_factory=AugmentConfig, description="Augmentation of images and video clips."
    )
    pairs: PairConfig = Field(
        default_factory=PairConfig,
        description="Construction of a key-reference pair from an image.",
    )
    supervision: SupervisionConfig | None = Field(
        None,
        description="Train only on a share of the training videos' frames, as still images; null: "
        "use the given images.",
    )
    left_out: Literal["background", "ignore"] = Field(
        "background",
        description="Instances in still images whose class the videos lack: background, as in the "
        "releases, or regions where STC's classes are not trained (ours).",
    )
    clips_per_image: int = Field(1, ge=1, description="Pseudo-videos per image.")
    stream_pseudo: bool | None = Field(
        None,
        description="Generate pseudo-videos during training, new ones in each epoch as in the "
        "CTVIS release, instead of writing them once beforehand; null: in stages of pseudo-videos "
        "alone, which see each image often.",
    )
    stages: tuple[StageConfig, ...] = Field(min_length=1, description="Stages, in order.")
    sweep: SweepConfig = Field(default_factory=SweepConfig)
    inference: InferenceConfig = Field(default_factory=InferenceConfig)
    ray: RayConfig = Field(default_factory=RayConfig)
    checkpoints: CheckpointConfig = Field(default_factory=CheckpointConfig)
    model_name: str = Field(
        "longtake", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,60}$", description="Name in the registry."
    )

    @property
    def needs_pseudo_videos(self) -> bool:
        """True if a stage reads stored pseudo-videos."""
        return any(
            stage.clips in ("pseudo", "mixed") and not self.streams_pseudo(stage)
            for stage in self.stages
        )

    def streams_pseudo(self, stage: StageConfig) -> bool:
        """Returns whether a stage generates its pseudo-videos during training."""
        return stage.clips == "pseudo" if self.stream_pseudo is None else self.stream_pseudo

    @property
    def stage_starts(self) -> dict[str, int]:
        """The number of steps before each stage, by stage name."""
        starts = accumulate((stage.num_steps for stage in self.stages), initial=0)
        return {stage.name: start for stage, start in zip(self.stages, starts, strict=False)}

    def stages_before(self, name: str) -> list[str]:
        """Returns the names of the stages before a stage; raises a ConfigError if it is absent."""
        names = [stage.name for stage in self.stages]
        if name not in names:
            raise ConfigError(f"--stage {name}: no such stage; the run has {', '.join(names)}")
        return names[: names.index(name)]

    @model_validator(mode="after")
    def _clips_that_fit(self) -> Self:
        if self.left_out == "ignore" and self.system.name != "stc":
            raise ValueError(
                f"left_out: ignore needs class losses at places (system stc); {self.system.name} "
                "has queries, so use left_out: background"
            )
        for stage in self.stages:
            stored = stage.clips == "pseudo" and not self.streams_pseudo(stage)
            if stage.classes == "images" and stored:
                raise ValueError(
                    f"stage {stage.name}: stored pseudo-videos have the classes of the videos; "
                    "use stream_pseudo: true or classes: videos"
                )
            if self.supervision and stage.clips in ("videos", "mixed"):
                raise ValueError(
                    f"stage {stage.name} trains on whole videos (clips: {stage.clips}), but "
                    "supervision keeps a share of their frames; use images, pairs or pseudo"
                )
            if stage.clips == "mixed" and stage.clip_frames != self.pseudo.num_frames:
                raise ValueError(
                    f"stage {stage.name} mixes clips of {stage.clip_frames} frames (clip_frames) "
                    f"with pseudo-videos of {self.pseudo.num_frames} (pseudo.num_frames); "
                    "make them equal"
                )
        return self

    @model_validator(mode="after")
    def _logits_that_exist(self) -> Self:
        without = (
            isinstance(self.system, CtvisConfig) and self.system.segmentor.name != "mask2former"
        )
        if without and self.inference.tracks.evidence == "logits":
            raise ValueError(
                "inference.tracks.evidence: expected scores with segmentor deformable_detr, which "
                "has no logit for no object, found logits"
            )
        return self
