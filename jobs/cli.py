"""The ``longtake`` command line: the table of verbs, exit codes and one-line usage errors."""

import os
import re
import select
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from jobs.command import HELP_OPTIONS, LazyGroup, VerbEntry
from pipelines.config.libraries import configure_libraries
from vis_core.errors import shown

_DATA, _TRAINING, _MODELS = "Data", "Training", "Models"
_ANNOTATION, _RUNS = "Annotation", "Runs and settings"
VERBS: dict[str, VerbEntry] = {
    name: VerbEntry(f"jobs.{module}", group, summary)
    for name, module, group, summary in (
        ("scenes", "data.scenes", _DATA, "Write synthetic scenes as images, videos and labels"),
        ("validate", "data.validate", _DATA, "Check annotation files and list every defect"),
        ("convert", "data.convert", _DATA, "Rename or drop classes of a data set"),
        ("split", "data.split", _DATA, "Split a data set by video, reproducibly"),
        ("pseudo", "data.pseudo", _DATA, "Make pseudo-videos from COCO images"),
        ("train", "training.train", _TRAINING, "Train the stages of a run file"),
        ("tune", "training.tune", _TRAINING, "Tune the association thresholds of a trained run"),
        ("learn", "training.learn", _TRAINING, "Train and compare the tiny presets"),
        ("ablate", "training.ablate", _TRAINING, "Run a paper's ablations and print the table"),
        ("tiny-weights", "training.tiny_weights", _TRAINING, "Train the shipped start weights"),
        ("import-weights", "registry.import_weights", _MODELS, "Convert published weights"),
        ("register", "registry.register", _MODELS, "Add a model to the MLflow registry"),
        ("annotate", "annotation.annotate", _ANNOTATION, "Annotate an archive of videos"),
        ("status", "annotation.status", _ANNOTATION, "Print the progress of an annotation job"),
        ("export", "annotation.export", _ANNOTATION, "Write results as YouTube-VIS files"),
        ("ensemble", "annotation.ensemble", _ANNOTATION, "Fuse results for the same videos"),
        ("evaluate", "annotation.evaluate", _ANNOTATION, "Score results against ground truth"),
        ("pack", "annotation.pack", _ANNOTATION, "Pack results for a challenge server"),
        ("demo", "demo", _RUNS, "Run everything, from data to an annotated archive"),
        ("report", "report", _RUNS, "Write a run's HTML report"),
        ("config", "config", _RUNS, "Print a resolved run file or its JSON schema"),
    )
}
_COMPLETION = "_LONGTAKE_COMPLETE"  # set by the completion script in the shell


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Returns:
        The exit code: 0 done, 1 internal error, 2 bad input, 3 too many failed videos, 4 a service
        did not answer, 130 stopped with Ctrl-C, 143 stopped with SIGTERM.
    """
    try:
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()  # an error in a flush at exit could not be reported
    except BrokenPipeError:
        if not _reader_left():
            raise  # a different pipe broke, which is an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def command_line() -> Any:
    """Builds the group of all verbs, with coloured help on a terminal and plain help elsewhere."""
    LazyGroup.verbs = VERBS
    app = typer.Typer(
        name="longtake",
        cls=LazyGroup,
        context_settings=HELP_OPTIONS,
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
        subcommand_metavar="VERB [OPTIONS]",
        help="Online video instance segmentation, from still images to annotated archives.\n\n"
        "longtake VERB --help explains a verb.",
    )
    app.callback()(_global_options)
    return typer.main.get_command(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"longtake {version('longtake')}")
        raise typer.Exit


def _global_options(
    version: Annotated[  # noqa: ARG001
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None: ...


def _run(arguments: list[str]) -> int:
    configure_libraries()
    group = command_line()
    if _COMPLETION in os.environ:
        group.main(arguments, prog_name="longtake")  # ends the process
    try:
        with group.make_context("longtake", list(arguments) or ["--help"]) as context:
            return int(group.invoke(context))
    except typer.Exit as ended:
        return ended.exit_code if arguments else 2
    except typer.TyperException as error:
        print(_usage_line(error, arguments), file=sys.stderr)
        return 2


def _usage_line(error: Any, arguments: Sequence[str]) -> str:
    """Formats a usage error like other errors, with command, option, expected and found value."""
    known = " ".join(["longtake", *(word for word in arguments[:1] if word in VERBS)])
    command = error.ctx.command_path if getattr(error, "ctx", None) else known
    text = error.format_message()
    if getattr(error, "param", None) is not None and error.message:
        hint = error.param.get_error_hint().replace("'", "")
        text = f"{hint}: {error.message.removeprefix('Value error, ')}"
        text = text.replace("Input should be", "expected")
        text = re.sub(r"greater than or equal to (\S+)", r"\1 or more", text)
        if hasattr(error.__cause__, "errors"):
            finding = error.__cause__.errors()[0]
            text += "" if finding["type"] == "value_error" else f", found {shown(finding['input'])}"
    line = " ".join(text.split()).rstrip(".")
    return f"{command}: {line[:1].lower()}{line[1:]}"


def _reader_left() -> bool:
    """Returns whether the output's reader has closed the pipe, as in ``longtake … | head``."""
    watched = select.poll()
    watched.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in watched.poll(0))


if __name__ == "__main__":
    sys.exit(main())
