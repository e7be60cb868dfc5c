"""Runs each case in its own process with limits, and prints the outcome.

Reads a JSON list of ``{"name", "argv", "rss_mb", "seconds"}`` and writes one JSON line for each.
The libraries are loaded once and the process is forked for each case, so a case costs milliseconds
and still can die by a signal, run out of memory or hang without any harm to the others.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path


def main() -> int:
    """Loads the verbs' modules, then runs the cases."""
    import jobs.data.validate  # noqa: F401
    import vis_core.formats.coco
    import vis_core.formats.youtube_vis  # noqa: F401

    for case in json.load(sys.stdin):
        print(json.dumps(_run(case)), flush=True)
    return 0


def _run(case: dict) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output.txt"
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            _become(case, Path(folder), output)
        status, usage = _wait(child, start + case["seconds"])
        seconds = time.monotonic() - start
        left = sorted(path.name for path in Path(folder).iterdir() if path != output)
        text = output.read_text(errors="replace") if output.exists() else ""
    return {
        "name": case["name"],
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "exit_code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "seconds": seconds,
        "rss_mb": usage.ru_maxrss / 1024 - _own_rss_mb(),
        "text": text,
        "left_behind": left,
    }


def _become(case: dict, folder: Path, output: Path) -> None:
    code = 1
    with output.open("w", errors="backslashreplace") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        os.chdir(folder)
        sys.stdout = sys.stderr = stream
        limit = int((_virtual_mb() + case["rss_mb"] + 256) * 1024**2)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            from jobs.cli import main as longtake

            code = longtake(case["argv"])
        except BaseException:  # a traceback is an outcome here, and must not reach the parent
            traceback.print_exc(file=stream)
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def _wait(child: int, deadline: float) -> tuple[int, resource.struct_rusage]:
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return status, usage
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            return status, usage
        time.sleep(0.002)


def _own_rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _virtual_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize() / 1024**2


if __name__ == "__main__":
    raise SystemExit(main())
