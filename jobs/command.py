"""The group of all verbs, each loaded when it is called, and the execution of one verb."""

import importlib
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import MarkupMode, TyperCommand, TyperGroup

from jobs.options import OLD_SPELLINGS, SEVERAL_VALUES
from vis_core.errors import VisError

INTERRUPTED, TERMINATED = 130, 143
HELP_OPTIONS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class VerbEntry(NamedTuple):
    """A row of the verb table: the verb's module, its group in the help, and its summary."""

    module: str
    group: str
    summary: str


class LazyGroup(TyperGroup):
    """The verbs in the order of the help; each is imported when it is called."""

    verbs: Mapping[str, VerbEntry] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {
            name: TyperCommand(name, help=verb.summary, rich_help_panel=verb.group)
            for name, verb in self.verbs.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Finds and loads the verb that the arguments begin with."""
        name, *rest = args
        if name in self.verbs:
            return name, load_verb(name, self.verbs[name], self.rich_markup_mode), rest
        if not ctx.resilient_parsing:
            near = get_close_matches(name, self.verbs, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            ctx.fail(f"unknown verb {name!r}; {hint}longtake --help lists them")
        return None, None, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Writes the plain list of verbs, with a section for each group."""
        for group in dict.fromkeys(verb.group for verb in self.verbs.values()):
            rows = [(n, verb.summary) for n, verb in self.verbs.items() if verb.group == group]
            with formatter.section(group):
                formatter.write_dl(rows)


class Verb(TyperCommand):
    """A verb that accepts old option spellings and turns errors and signals into exit codes."""

    def __init__(self, *args: Any, params: Sequence[Any] = (), **attributes: Any) -> None:
        super().__init__(*args, params=[*params, *_shared_params()], **attributes)
        for flag in (param for param in self.params if getattr(param, "is_flag", False)):
            flag.metavar = ""  # rich would print <bool>

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments after updating old spellings."""
        return super().parse_args(ctx, list(spelled_out(args, self.params)))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Writes the examples without wrapping them."""
        formatter.write(f"\n{self.epilog}\n" if self.epilog else "")

    def invoke(self, ctx: Any) -> int:
        """Runs the verb and returns its exit code."""
        debug = ctx.params.pop("debug")
        _start_log(debug)
        sigterm = _SigtermAsInterrupt()
        try:
            with sigterm:
                code = int(super().invoke(ctx) or 0)
            return TERMINATED if sigterm.received and code == INTERRUPTED else code
        except VisError as error:
            if debug:
                raise
            print(f"{ctx.command_path}: {error}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            stopped = "stopped; the same command resumes from here"
            print(f"\n{ctx.command_path}: {stopped}", file=sys.stderr)
            return TERMINATED if sigterm.received else INTERRUPTED


def load_verb(name: str, verb: VerbEntry, markup: MarkupMode = None) -> Any:
    """Imports a verb's module and builds its command from the function ``run``."""
    module = importlib.import_module(verb.module)
    details = getattr(module, "DETAILS", "")
    examples = "\n".join(f"  {example}" for example in getattr(module, "EXAMPLES", ()))
    app = typer.Typer(add_completion=False, rich_markup_mode=markup)
    app.command(
        name,
        cls=Verb,
        help=f"{verb.summary}.\n\n{details}",
        epilog=f"Examples:\n{examples}" if examples else None,
        context_settings=HELP_OPTIONS,
    )(module.run)
    return typer.main.get_command(app)


def spelled_out(args: Sequence[str], params: Sequence[Any]) -> Iterator[str]:
    """Yields arguments with current option names, repeating a name before each of its values.

    ``--seeds 0 1`` becomes ``--seeds 0 --seeds 1``, ``--zip FILE`` becomes ``--out FILE``.
    """
    names = {name for param in params for name in param.opts}
    several, is_first = "", False
    for position, arg in enumerate(args):
        if arg == "--":
            yield from args[position:]
            return
        if arg.startswith("--"):
            name, equals, value = arg.partition("=")
            current = OLD_SPELLINGS.get(name, "")
            name = current if name not in names and current in names else name
            several, is_first = name if name in SEVERAL_VALUES and not equals else "", True
            yield f"{name}{equals}{value}"
            continue
        if several and not is_first:
            yield several
        is_first = False
        yield arg


def _shared(
    debug: Annotated[  # noqa: ARG001
        bool, typer.Option("--debug", help="Log more and show tracebacks.")
    ] = False,
) -> None: ...


def _shared_params() -> list[Any]:
    """Returns the options that all verbs share."""
    app = typer.Typer(add_completion=False)
    app.command()(_shared)
    return list(typer.main.get_command(app).params)


class _SigtermAsInterrupt:
    """A context that turns SIGTERM, which clusters send before removing a machine, into Ctrl-C."""

    def __init__(self) -> None:
        self.received = False
        self._former: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGTERM, self._interrupt)

    def __exit__(self, *_: object) -> None:
        if self._former is not None:
            signal.signal(signal.SIGTERM, self._former)

    def _interrupt(self, *_: object) -> None:
        self.received = True
        raise KeyboardInterrupt


_NOISY_LIBRARIES = (
    "ray", "mlflow", "alembic", "urllib3", "botocore", "PIL",
    "httpx", "httpx2", "huggingface_hub", "filelock",
)  # fmt: skip


def _start_log(debug: bool) -> None:
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s" if debug else "%(message)s",
        stream=sys.stderr,
    )
    for name in _NOISY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    # transformers warns about every backbone except Swin, but all of them are tested
    logging.getLogger("transformers").setLevel(logging.ERROR)
