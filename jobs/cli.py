"""The command line ``longtake``: picks a verb, loads its module, turns errors into one line."""

import argparse
import importlib
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any

from vis_core.errors import VisError

_STOPPED, _TERMINATED = 130, 143
# verb -> (module, one line of help); the order is that of a project's life
VERBS: dict[str, tuple[str, str]] = {
    "demo": ("jobs.demo", "run the whole pipeline, on synthetic scenes or on your data"),
    "scenes": ("jobs.data.scenes", "write synthetic scenes as COCO, YouTube-VIS and video files"),
    "validate": ("jobs.data.validate", "check annotation or result files and list every fault"),
    "convert": ("jobs.data.convert", "rename and drop the classes of a data set by a map"),
    "split": ("jobs.data.split", "split a data set by video, reproducibly"),
    "pseudo": ("jobs.data.pseudo", "make pseudo-videos from COCO images"),
    "import-weights": (
        "jobs.registry.import_weights",
        "bring published weights into a model folder",
    ),
    "train": ("jobs.training.train", "train the stages of a run file"),
    "tune": ("jobs.training.tune", "sweep the thresholds of association on cached instances"),
    "register": ("jobs.registry.register", "put a model into the registry"),
    "annotate": ("jobs.annotation.annotate", "annotate an archive of videos"),
    "status": ("jobs.annotation.status", "show the progress of an annotation job"),
    "export": ("jobs.annotation.export", "write results of annotate as YouTube-VIS files"),
    "evaluate": ("jobs.annotation.evaluate", "score results against ground truth"),
    "ablate": ("jobs.training.ablate", "run an ablation table of a paper and print it"),
    "ensemble": ("jobs.annotation.ensemble", "fuse several results of the same videos into one"),
    "pack": ("jobs.annotation.pack", "pack results for a challenge server"),
    "learn": ("jobs.training.learn", "train the tiny presets on the same scenes and compare them"),
    "report": ("jobs.report", "write the HTML page of a run"),
    "config": ("jobs.config", "print the resolved run file or its JSON schema"),
    "tiny-weights": (
        "jobs.training.tiny_weights",
        "train the start weights that the project ships",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Returns:
        0 done, 1 our fault, 2 the user's input, 3 finished with too many failures, 4 a service
        stayed away, 130 stopped with Ctrl-C, 143 asked to end (SIGTERM).
    """
    try:
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()  # the interpreter does it too late for an answer
    except BrokenPipeError:
        if not _reader_left():
            raise  # another pipe, which is a fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"longtake {version('longtake')}")
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        near = get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        print(f"longtake: unknown verb {verb!r}; {hint}longtake --help lists them", file=sys.stderr)
        return 2
    _quiet_libraries()
    module = importlib.import_module(VERBS[verb][0])
    parser = argparse.ArgumentParser(prog=f"longtake {verb}", description=VERBS[verb][1])
    parser.add_argument("--debug", action="store_true", help="log more and show tracebacks")
    module.add_arguments(parser)
    args = parser.parse_args(rest)
    logging.basicConfig(
        level=logging.DEBUG if args.debug else logging.INFO,
        format="%(message)s"
        if not args.debug
        else "%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    _quiet_loggers()
    asked = _Asked()
    try:
        with asked:
            code = int(module.run(args))
        return _TERMINATED if asked.to_end and code == _STOPPED else code
    except VisError as error:
        if args.debug:
            raise
        print(f"longtake {verb}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"\nlongtake {verb}: stopped; the same command goes on from here", file=sys.stderr)
        return _TERMINATED if asked.to_end else _STOPPED


def _reader_left() -> bool:
    """Says whether nobody reads our output any more, as in ``longtake … | head``."""
    watched = select.poll()
    watched.register(sys.stdout.fileno(), 0)
    return any(found & (select.POLLERR | select.POLLHUP) for _, found in watched.poll(0))


class _Asked:
    """Makes SIGTERM, as clusters send it before they take a machine away, what Ctrl-C is.

    Attributes:
        to_end: Whether it came.
    """

    def __init__(self) -> None:
        self.to_end = False
        self._former: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGTERM, self._stop)

    def __exit__(self, *_: object) -> None:
        if self._former is not None:
            signal.signal(signal.SIGTERM, self._former)

    def _stop(self, *_: object) -> None:
        self.to_end = True
        raise KeyboardInterrupt


def _usage() -> str:
    lines = ["usage: longtake VERB [options] | --version; longtake VERB --help says more", ""]
    lines += [f"  {verb:<15} {text}" for verb, (_, text) in VERBS.items()]
    return "\n".join(lines)


def _quiet_libraries() -> None:
    """Leaves standard error to this program; a variable that the user set stays."""
    for name, value in {
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_TRAIN_ENABLE_PRINT_DEPRECATION": "0",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0"),
        "GIT_PYTHON_REFRESH": "quiet",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }.items():
        os.environ.setdefault(name, value)


_LOUD_LIBRARIES = (
    "ray", "mlflow", "alembic", "urllib3", "botocore", "PIL",
    "httpx", "httpx2", "huggingface_hub", "filelock",
)  # fmt: skip


def _quiet_loggers() -> None:
    for name in _LOUD_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    # it warns of every backbone but Swin, all of which are tested
    logging.getLogger("transformers").setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
