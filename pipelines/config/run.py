"""The schema of a whole run, how it is read, and the one dotted spelling of every knob."""

from itertools import accumulate
from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.config.optimizer import OptimizerSettings, Precision
from vis_core.config.clips import AugmentConfig, PairConfig, PseudoConfig, SceneSettings
from vis_core.config.inference import InferenceConfig
from vis_core.config.section import Section
from vis_core.config.systems import CtvisConfig, SystemConfig


class StageConfig(Section):
    """Is one stage of training; it starts from the weights of the stage before."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,30}$", description="Names folders and metrics.")
    clips: Literal["images", "pairs", "pseudo", "videos", "mixed"] = Field(
        description="What it trains on: still images, key-reference pairs of still images, "
        "pseudo-videos, clips of real videos (2 frames are a key and a reference frame), or each "
        "clip one of the last two by chance (CTVIS 4: COCO joint training)."
    )
    pseudo_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Chance that a mixed clip is a pseudo-video. Released CTVIS weighs them against"
        " real clips 1 : 1.5 (YouTube-VIS 2019), 1 : 0.8 (2021) and 1 : 0.75 (OVIS).",
    )
    steps: int = Field(ge=1, description="Optimizer steps.")
    batch_size: int = Field(16, ge=1, description="Clips a step and worker (CTVIS 4.1: 16 in all).")
    clip_frames: int = Field(1, ge=1, description="T of clips of real videos.")
    frame_range: int = Field(
        20,
        ge=1,
        description="Frames to either side from which T are drawn (released CTVIS; IDOL: 10).",
    )
    precision: Precision = Field(
        "float32", description="Of the network in training; CTVIS is released with AMP."
    )
    checkpoint_every: int = Field(500, ge=1, description="Steps between checkpoints.")
    parts: int = Field(
        1,
        ge=1,
        description="Parts of a batch that go through the network one after the other; memory "
        "holds one, the gradient is their mean.",
    )
    recompute_activations: bool = Field(
        False,
        description="Whether layers forget their activations and compute them again in the "
        "backward pass: less memory, more time, the same gradient.",
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of the running mean of the weights, which is what is scored and goes on "
        "as the model of the stage; null: the weights themselves, as in all five papers.",
    )
    loss_weights: dict[str, float] = Field(
        default_factory=dict,
        description="Weights of losses that differ from system.loss_weights in this stage.",
    )
    start_from: str | None = Field(
        None,
        description="What this stage starts from instead of the stage before: see start_from of "
        "the run.",
    )
    evaluate_every: int | None = Field(
        None,
        ge=1,
        description="Steps between scores on validation videos; null: no scores, the last model.",
    )
    keep: Literal["best", "last"] = Field(
        "best",
        description="Which of the scored models goes on as that of the stage: the one with the "
        "best AP, or the last, the scores being for the learning curve alone.",
    )
    evaluate_videos: int = Field(
        8, ge=1, description="Validation videos that are scored while a stage runs, the first ones."
    )
    max_bad_steps: int = Field(
        5,
        ge=1,
        description="Steps in a row whose loss or gradient is not finite that end the training; "
        "until then they are skipped and noted.",
    )
    optimizer: OptimizerSettings = Field(default_factory=OptimizerSettings)

    @model_validator(mode="after")
    def _share_of_mixed(self) -> Self:
        if (self.clips == "mixed") != (self.pseudo_share is not None):
            raise ValueError("pseudo_share belongs to clips: mixed, and mixed needs it")
        return self


class SweepConfig(Section):
    """Says how the thresholds of association are swept on cached instances."""

    trials: int = Field(12, ge=1, description="Settings that are tried.")
    min_gain: float = Field(
        0.01,
        ge=0,
        description="AP on validation that a setting must gain to take the place of the one as it"
        " stands. Ours: on eight videos a gain of 0.001 was followed by a loss of 0.1 on others.",
    )
    match_threshold: tuple[float, float] = Field((0.1, 0.8), description="Range, similarity.")
    new_track_score: tuple[float, float] = Field((0.01, 0.7), description="Range, score.")
    score_threshold: tuple[float, float] = Field((0.01, 0.5), description="Range, score.")


class SyntheticConfig(Section):
    """Says how many synthetic scenes stand in for data that is not given."""

    scene: SceneSettings = Field(default_factory=SceneSettings)
    images: int = Field(240, ge=4, description="Still images.")
    train_videos: int = Field(24, ge=1, description="Labelled videos to train on.")
    val_videos: int = Field(8, ge=1, description="Labelled videos for the sweep.")
    test_videos: int = Field(12, ge=1, description="Labelled videos for the scores.")
    archive_videos: int = Field(4, ge=1, description="Unlabelled video files.")
    video_frames: int = Field(20, ge=2, description="Frames of a video.")


class RayConfig(Section):
    """Says how much of a machine or cluster training takes."""

    num_workers: int = Field(1, ge=1, description="Data-parallel training workers.")
    use_gpu: bool = Field(False, description="One GPU a worker.")
    data_tasks: int | None = Field(
        None,
        ge=1,
        description="Processes that make the batches of one worker, some 600 MiB each; null: one "
        "for each core that is left, at most 8.",
    )
    object_store_mb: int = Field(400, ge=100, description="Shared memory of a local cluster.")


class SupervisionConfig(Section):
    """Says how few frames are known, as if the other annotations had not been made."""

    share: float = Field(
        gt=0,
        le=1,
        description="Of the annotated frames of the training videos; these serve as the still "
        "images of the run, and what a smaller share has is in the larger ones (CTVIS Table 7: "
        "0.01, 0.05, 0.1 and 1).",
    )


class CheckpointConfig(Section):
    """Says where the checkpoints of a training go and how many stay."""

    storage: str | None = Field(
        None, description="Folder or s3://bucket/prefix that all workers see; null: the run folder."
    )
    keep: int = Field(
        2,
        ge=2,
        description="Newest checkpoints that stay: one more than needed if none is damaged.",
    )


class RunConfig(Section):
    """Is a whole run: from images to annotated videos."""

    seed: int = Field(0, ge=0, lt=1 << 32, description="Of everything random.")
    system: SystemConfig = Field(default_factory=CtvisConfig)
    start_from: str | None = Field(
        None,
        description="What stage 1 starts from: a model folder, a .pth or .pkl of the authors, "
        "a folder of transformers, hf:<id>, or 'tiny', the shipped weights.",
    )
    synthetic: SyntheticConfig = Field(default_factory=SyntheticConfig)
    pseudo: PseudoConfig = Field(default_factory=PseudoConfig)
    augment: AugmentConfig = Field(
        default_factory=AugmentConfig, description="How images and clips of videos are varied."
    )
    pairs: PairConfig = Field(
        default_factory=PairConfig, description="How an image becomes a key-reference pair."
    )
    supervision: SupervisionConfig | None = Field(
        None,
        description="Still images are a share of the frames of the training videos, and nothing "
        "else is learned from; null: the images that are given.",
    )
    clips_per_image: int = Field(1, ge=1, description="Pseudo-videos made of one image.")
    stream_pseudo: bool = Field(
        False,
        description="Whether pseudo-videos are made while they are trained on, new ones in each "
        "epoch, instead of written once before.",
    )
    stages: tuple[StageConfig, ...] = Field(min_length=1, description="In order.")
    sweep: SweepConfig = Field(default_factory=SweepConfig)
    inference: InferenceConfig = Field(default_factory=InferenceConfig)
    ray: RayConfig = Field(default_factory=RayConfig)
    checkpoints: CheckpointConfig = Field(default_factory=CheckpointConfig)
    model_name: str = Field(
        "longtake", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,60}$", description="In the registry."
    )

    @property
    def needs_pseudo_videos(self) -> bool:
        """Whether a stage looks at stored pseudo-videos."""
        return not self.stream_pseudo and any(
            stage.clips in ("pseudo", "mixed") for stage in self.stages
        )

    @property
    def stage_starts(self) -> dict[str, int]:
        """The steps of all stages before each one, by its name."""
        starts = accumulate((stage.steps for stage in self.stages), initial=0)
        return {stage.name: start for stage, start in zip(self.stages, starts, strict=False)}

    @model_validator(mode="after")
    def _no_videos_with_few_frames(self) -> Self:
        for stage in self.stages:
            if self.supervision and stage.clips in ("videos", "mixed"):
                raise ValueError(
                    f"stage {stage.name} learns from whole videos (clips: {stage.clips}), but "
                    "supervision knows a share of their frames; use images, pairs or pseudo"
                )
        return self

    @model_validator(mode="after")
    def _frames_of_mixed(self) -> Self:
        for stage in self.stages:
            if stage.clips == "mixed" and stage.clip_frames != self.pseudo.num_frames:
                raise ValueError(
                    f"stage {stage.name} mixes clips of {stage.clip_frames} frames (clip_frames) "
                    f"with pseudo-videos of {self.pseudo.num_frames} (pseudo.num_frames); "
                    "make them equal"
                )
        return self
