"""Removal of results that a newer model version has replaced."""

import json
import logging

from pipelines.annotation.archive.listing import ArchivedVideo
from pipelines.annotation.ledger import RESULTS, Ledger
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.storage.base import read_if_there

_log = logging.getLogger(__name__)


def remove_superseded(ledger: Ledger, done: list[ArchivedVideo], model: ModelReference) -> int:
    """Removes the results that other model versions or settings produced for finished videos.

    Results of models with a different name are kept. Returns the number of removed results.
    """
    current = {ledger.result_key(video) for video in done}
    keys = {video.key for video in done}
    removed = 0
    for entry in list(ledger.storage.list(RESULTS)):
        if entry.key in current:
            continue
        body = read_if_there(ledger.storage, entry.key)
        if body is None:  # a concurrent job has removed it
            continue
        try:
            document = json.loads(body)
            info, masks = document["info"], document.get("masks")
            superseded = info["model"] == model.name and info["video"] in keys
        except (ValueError, KeyError, TypeError):
            _log.warning("%s is not a result, so it stays", entry.key)
            continue
        if superseded:
            ledger.storage.delete(entry.key)
            if masks is not None:
                ledger.storage.delete(masks["file"])
            removed += 1
    return removed
