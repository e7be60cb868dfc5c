"""Scores, labels and selection of a video's finished tracks, from their running sums."""

from collections.abc import Mapping

import numpy as np
from scipy.special import softmax

from vis_core.config.inference import TrackConfig
from vis_core.inference.track_state import TrackState
from vis_core.structures import Track


def finished_tracks(states: Mapping[int, TrackState], config: TrackConfig) -> list[Track]:
    """Returns a result's tracks, best score first, without their masks.

    By default, a track's score is the highest of its mean class scores over the frames with an
    instance of it, and its label is the class of that score (IDOL, CTVIS). The score is multiplied
    by the predicted mask quality, if there is one. ``states`` maps track ids to sums.
    """
    kept = {key: state for key, state in states.items() if state.num_shown >= config.min_frames}
    if not kept:
        return []
    table = np.stack([_class_scores(state, config) for state in kept.values()])  # (M, K)
    ids = np.fromiter(kept, dtype=np.int64)
    rows, labels = _choose(table, ids, config)
    tracks = []
    for row, label, score in zip(rows, labels, table[rows, labels], strict=True):
        state = kept[int(ids[row])]
        if config.mask_quality:
            score = score * state.mask_quality
        quality = state.predicted_quality
        if quality is not None:
            score = score * quality
        track = Track(
            int(ids[row]),
            int(label),
            float(score),
            predicted_quality=quality,
            serial=state.serial,
            stored_frames=(state.num_shown, state.first_shown, state.last_shown),
        )
        tracks.append(track)
    return sorted(tracks, key=lambda track: -track.score)


def _class_scores(state: TrackState, config: TrackConfig) -> np.ndarray:
    """(K,) score for every class over the frames with an instance of the track."""
    if config.labels == "majority":
        scores = np.zeros(len(state.votes))
        scores[state.votes.argmax()] = state.scores / state.num_named  # the first class in a tie
        return scores
    evidence = state.evidence
    if config.over_time == "mean":
        evidence = evidence / state.num_named
    if config.evidence == "scores":
        return evidence
    return np.asarray(softmax(evidence)[:-1])


def _choose(
    table: np.ndarray, ids: np.ndarray, config: TrackConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses the result's rows and labels from the (M, K) table, best score first."""
    wanted = table >= config.min_score
    if config.labels != "every":
        wanted &= np.arange(table.shape[1]) == table.argmax(axis=1)[:, None]
    rows, labels = np.nonzero(wanted)
    order = np.lexsort((labels, ids[rows], -table[rows, labels]))[: config.max_tracks]
    return rows[order], labels[order]
