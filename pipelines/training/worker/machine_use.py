"""CPU and memory use during training, under MLflow's names for system metrics."""

import psutil
import torch

_MIB = 1 << 20


class MachineUse:
    """A meter for this machine, process and GPU, fast enough to be read for every loss line."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process = psutil.Process()
        psutil.cpu_percent()  # the first call only starts the clock

    def metrics(self) -> dict[str, float]:
        """Returns CPU use since the last call, and memory use, as percentages and megabytes."""
        memory = psutil.virtual_memory()
        use = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / _MIB,
            "system/system_memory_usage_percentage": memory.percent,
            "system/worker_memory_megabytes": self._process.memory_info().rss / _MIB,
        }
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
            use["system/gpu_0_memory_usage_megabytes"] = peak / _MIB
        return use
