"""Trains on a cluster of two nodes, one of which is removed in the middle.

python -m tests.helpers.two_nodes RUN_FILE FOLDER
"""

import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from jobs.cli import main
from pipelines.cluster import quiet_ray
from pipelines.training.worker.loss_log import read_losses


@ray.remote(num_cpus=4)
class Holder:
    """An actor that occupies the first node's CPUs, so that the training begins on the second."""

    def ready(self) -> bool:
        return True


def train(run_file: str, folder: Path) -> int:
    """Trains and returns the exit code."""
    small = {"object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, **small})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    quiet_ray()
    holder = Holder.remote()
    ray.get(holder.ready.remote())
    second = cluster.add_node(num_cpus=5, **small)
    cluster.wait_for_nodes()

    def take_away() -> None:
        while not any(row["step"] >= 20 for row in read_losses(folder / "losses.jsonl")):
            time.sleep(0.1)
        ray.kill(holder)
        cluster.remove_node(second, allow_graceful=False)
        print("node removed", flush=True)

    threading.Thread(target=take_away, daemon=True).start()
    code = main(["train", "--config", run_file, "--out", str(folder)])
    print("nodes left:", sum(node["Alive"] for node in ray.nodes()), flush=True)
    ray.shutdown()
    cluster.shutdown()
    return code


if __name__ == "__main__":
    sys.exit(train(sys.argv[1], Path(sys.argv[2]).absolute()))
