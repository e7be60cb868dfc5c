"""The run file schema: stages, sweep, synthetic data, Ray, checkpoints."""

from itertools import accumulate
from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.config.optimizer import OptimizerSettings, Precision
from vis_core.config.clips import AugmentConfig, PairConfig, PseudoConfig, SceneSettings
from vis_core.config.inference import InferenceConfig
from vis_core.config.section import Section
from vis_core.config.systems import CtvisConfig, SystemConfig


class StageConfig(Section):
    """A training stage, which starts from the previous stage's weights."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,30}$", description="Name for its folders and metrics."
    )
    clips: Literal["images", "pairs", "pseudo", "videos", "mixed"] = Field(
        description="Training clips: still images, key-reference pairs of still images, "
        "pseudo-videos, clips of real videos (2 frames are a key and a reference frame), or a "
        "random mix of the last two (CTVIS 4: COCO joint training)."
    )
    pseudo_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Probability that a mixed clip is a pseudo-video. CTVIS's release weighs "
        "pseudo-videos against real clips 1 : 1.5 (YouTube-VIS 2019), 1 : 0.8 (2021) and 1 : 0.75 "
        "(OVIS).",
    )
    steps: int = Field(ge=1, description="Optimizer steps.")
    batch_size: int = Field(
        16, ge=1, description="Clips per step and worker (CTVIS 4.1: 16 in all)."
    )
    clip_frames: int = Field(1, ge=1, description="Frames T per clip of a real video.")
    frame_range: int = Field(
        20,
        ge=1,
        description="Frames on either side from which the T frames are drawn (CTVIS's release; "
        "IDOL: 10).",
    )
    precision: Precision = Field(
        "float32", description="The network's precision in training; CTVIS's release uses AMP."
    )
    checkpoint_every: int = Field(500, ge=1, description="Steps between checkpoints.")
    parts: int = Field(
        1,
        ge=1,
        description="Number of parts that a batch is cut into. They pass through the network in "
        "turn, so memory holds only one, with the gradient of the whole batch (IDOL: their mean).",
    )
    recompute_activations: bool = Field(
        False,
        description="Recompute activations in the backward pass instead of storing them: less "
        "memory, more time, the same gradient.",
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of the running mean (EMA) of the weights, which is scored and becomes "
        "the stage's model; null: use the weights themselves, as in all five papers.",
    )
    loss_weights: dict[str, float] = Field(
        default_factory=dict,
        description="Loss weights that differ from system.loss_weights in this stage.",
    )
    start_from: str | None = Field(
        None,
        description="Start weights instead of the previous stage's; see the run's start_from.",
    )
    evaluate_every: int | None = Field(
        None,
        ge=1,
        description="Steps between validation scores; null: no scores, keep the last model.",
    )
    keep: Literal["best", "last"] = Field(
        "best",
        description="Model that the stage keeps: the one with the best AP, or the last one, with "
        "scores only for the learning curve.",
    )
    evaluate_videos: int = Field(
        8,
        ge=1,
        description="Number of validation videos scored while a stage runs, starting with the "
        "first.",
    )
    max_bad_steps: int = Field(
        5,
        ge=1,
        description="Number of consecutive steps with a non-finite loss or gradient after which "
        "training fails; until then, such steps are skipped and logged.",
    )
    optimizer: OptimizerSettings = Field(default_factory=OptimizerSettings)

    @model_validator(mode="after")
    def _share_of_mixed(self) -> Self:
        if (self.clips == "mixed") != (self.pseudo_share is not None):
            raise ValueError("pseudo_share belongs to clips: mixed, and mixed needs it")
        return self


class SweepConfig(Section):
    """The sweep of association thresholds on cached instances."""

    trials: int = Field(12, ge=1, description="Number of trials.")
    min_gain: float = Field(
        0.01,
        ge=0,
        description="Gain in validation AP that a setting needs to replace the current one. Ours: "
        "a gain of 0.001 on eight videos came with a loss of 0.1 on other videos.",
    )
    match_threshold: tuple[float, float] = Field((0.1, 0.8), description="Range of similarities.")
    new_track_score: tuple[float, float] = Field((0.01, 0.7), description="Range of scores.")
    score_threshold: tuple[float, float] = Field((0.01, 0.5), description="Range of scores.")


class SyntheticConfig(Section):
    """Synthetic scenes that replace missing data."""

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
        description="Processes that build one worker's batches, about 600 MiB each; null: "
        "one per free core, at most 8.",
    )
    object_store_mb: int = Field(
        400, ge=100, description="Shared memory of a local cluster, in MB."
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
    keep: int = Field(2, ge=2, description="Number of newest checkpoints to keep; one is a spare.")


class RunConfig(Section):
    """A whole run, from images to annotated videos."""

    seed: int = Field(0, ge=0, lt=1 << 32, description="Seed for all randomness.")
    system: SystemConfig = Field(default_factory=CtvisConfig)
    start_from: str | None = Field(
        None,
        description="Start weights of stage 1: a model folder, a .pth or .pkl from the authors, a "
        "transformers folder, hf:<id>, or 'tiny', the shipped weights.",
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
    clips_per_image: int = Field(1, ge=1, description="Pseudo-videos per image.")
    stream_pseudo: bool = Field(
        False,
        description="Generate pseudo-videos during training, new ones in each epoch, instead of "
        "writing them once beforehand.",
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
        return not self.stream_pseudo and any(
            stage.clips in ("pseudo", "mixed") for stage in self.stages
        )

    @property
    def stage_starts(self) -> dict[str, int]:
        """The number of steps before each stage, by stage name."""
        starts = accumulate((stage.steps for stage in self.stages), initial=0)
        return {stage.name: start for stage, start in zip(self.stages, starts, strict=False)}

    @model_validator(mode="after")
    def _clips_that_fit(self) -> Self:
        for stage in self.stages:
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
