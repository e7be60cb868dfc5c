"""Results of other versions of a model, which its newest version takes the place of."""

import json
import logging

from pipelines.annotation.archive.listing import ArchivedVideo
from pipelines.annotation.ledger import RESULTS, Ledger
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.storage.base import read_if_there

_log = logging.getLogger(__name__)


def remove_superseded(ledger: Ledger, done: list[ArchivedVideo], model: ModelReference) -> int:
    """Removes what other versions of a model, or other settings, have made of videos that are done.

    Args:
        ledger: Of the present model and settings.
        done: Videos that it has a result of.
        model: The present one; results of models of another name stay.

    Returns:
        How many results were removed.
    """
    own = {ledger.result_key(video) for video in done}
    keys = {video.key for video in done}
    removed = 0
    for entry in list(ledger.storage.list(RESULTS)):
        if entry.key in own:
            continue
        body = read_if_there(ledger.storage, entry.key)
        if body is None:  # another job has removed it
            continue
        try:
            found = json.loads(body)
            info, masks = found["info"], found.get("masks")
            superseded = info["model"] == model.name and info["video"] in keys
        except (ValueError, KeyError, TypeError):
            _log.warning("%s is no result, so it stays", entry.key)
            continue
        if superseded:
            ledger.storage.delete(entry.key)
            if masks is not None:
                ledger.storage.delete(masks["file"])
            removed += 1
    return removed
