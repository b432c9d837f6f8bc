"""The command `crack`: one help page for all commands; each has its own options, help and exit codes. A command's module is
imported only when it is called, so each runs without the packages of the others.
"""

import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand


class Command(NamedTuple):
    """
    Attributes:
        module: whose `main` reads the arguments from sys.argv and returns the exit code.
        extra: the extra in pyproject.toml that installs the packages it needs.
        group: the heading in the help.
    """

    module: str
    extra: str
    group: str
    help: str


_RUN, _INSPECT, _LEARN = "The system", "Inspecting", "The model"
COMMANDS = {
    "up": Command("crack.up", "up", _RUN, "Start the whole system, or the parts named; Ctrl-C stops it."),
    "serve": Command("handler.serve", "serve", _RUN, "Serve the released model with TorchServe."),
    "sidecar": Command(
        "sidecar.__main__", "sidecar", _RUN, "Start the sidecar, the API for clients, beside a running TorchServe."
    ),
    "page": Command("gradio_app.__main__", "page", _RUN, "Start the web page, beside a running sidecar."),
    "mlflow": Command("retrain.mlflow_server", "mlflow", _RUN, "Start MLflow's server, which keeps the record of trainings."),
    "store": Command("crack.stores.moving", "sidecar", _RUN, "Move the stores' tables from SQLite into PostgreSQL."),
    "keys": Command("sidecar.keys", "sidecar", _RUN, "Make, list and remove API keys."),
    "survey": Command("survey.__main__", "survey", _INSPECT, "Find the cracks in a folder of photographs or an orthomosaic."),
    "report": Command("survey.report", "survey", _INSPECT, "Turn a survey's folder into a report, as a page and as PDF."),
    "compare": Command("survey.compare", "survey", _INSPECT, "Compare two surveys: which cracks are new, longer or wider."),
    "fetch": Command("survey.fetch", "survey", _INSPECT, "Fetch an inspection that the server keeps, as a survey's folder."),
    "markers": Command(
        "survey.markers", "survey", _INSPECT, "Draw markers to print: a marker in a photograph gives its scale."
    ),
    "train": Command("model.train", "train", _LEARN, "Train the network on photographs and masks."),
    "average": Command("model.average", "train", _LEARN, "Write a weighted mean of two checkpoints."),
    "evaluate": Command("model.evaluate", "train", _LEARN, "Measure a model against labelled photographs."),
    "export": Command("export.__main__", "train", _LEARN, "Turn a checkpoint into the archive that TorchServe serves."),
    "retrain": Command("retrain.__main__", "retrain", _LEARN, "Retrain from accepted corrections, judge, roll over or back."),
    "draw": Command("model.synthetic", "train", _LEARN, "Draw cracked surfaces with exact masks."),
}
_LEAST_BYTES = 512 * 1024 * 1000  # of address space: the sidecar and the page load with 500 MB, and crash with 450
EXAMPLES = (
    "Examples:",
    "crack up",
    "crack survey photographs --mm-per-px 0.2",
    "crack report photographs-cracks --structure 'Bridge 7'",
    "crack fetch 'Spring 2026' --out bridge-7-2026",
    "crack compare bridge-7-2024-cracks bridge-7-2026-cracks",
    "crack keys add crew-7 --rights predict feedback",
    "crack retrain --dry-run",
    "crack COMMAND --help",
)


class _PassedOn(TyperCommand):
    """Leaves all arguments to the command's module, `--help` and `--` among them."""

    def parse_args(self, context: Any, arguments: list[str]) -> list[str]:
        context.args = arguments
        return arguments


def run(name: str, arguments: Sequence[str]) -> int:
    """Run a command and return its exit code: 2 if packages are missing or cannot be loaded."""
    command = COMMANDS[name]
    _fill_closed_streams()
    if fault := _too_little_memory():
        print(f"error: {fault}", file=sys.stderr)
        return 2
    if name != "up":  # which then stops
        _outlive_readers()
    _forget_what_cannot_be_written()
    _have_a_home()
    sys.argv = [f"crack {name}", *arguments]
    try:
        main = importlib.import_module(command.module).main
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] in {each.module.partition(".")[0] for each in COMMANDS.values()}:
            raise
        advice = f"In the project's folder run: pip install '.[{command.extra}]'"
        print(f"error: crack {name} needs the package {error.name}, which is not installed. {advice}", file=sys.stderr)
        return 2
    except ImportError as error:
        elsewhere = os.environ.get("PYTHONPATH")
        if not elsewhere:
            raise
        advice = f"PYTHONPATH={elsewhere!r} is searched before the program's own packages: unset it."
        print(f"error: crack {name} cannot load its packages ({error}). {advice}", file=sys.stderr)
        return 2
    return int(main())


def _fill_closed_streams() -> None:
    """Some schedulers start programs with closed streams. Their numbers would go to the first files, and what libraries print
    into those files; progress bars would fail.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _too_little_memory() -> str:
    """A sentence on a `ulimit -v` with which libraries crash while they are loaded, each in its own way; empty for others."""
    if os.name != "posix":
        return ""
    import resource  # Windows has none

    n_bytes, _ = resource.getrlimit(resource.RLIMIT_AS)
    if n_bytes == resource.RLIM_INFINITY or n_bytes >= _LEAST_BYTES:
        return ""
    return (
        f"ulimit -v is {n_bytes // 1024}, expected {_LEAST_BYTES // 1024} or more. Raise it, or remove it: ulimit -v unlimited"
    )


class _Outlet(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return len(data)


def _outlive_readers() -> None:
    """Let the work go on when what reads the output ends, as `| head -1` does: a survey still writes its results."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # neither closed, None, nor captured by a test
            outlet = _Outlet(stream.fileno(), "wb", closefd=False)
            is_unbuffered = stream.write_through  # PYTHONUNBUFFERED
            made = io.TextIOWrapper(
                outlet if is_unbuffered else io.BufferedWriter(outlet),  # as Python itself does
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=stream.line_buffering,
                write_through=is_unbuffered,
            )
            setattr(sys, name, made)


def _forget_what_cannot_be_written() -> None:
    """Unset SSLKEYLOGFILE, which developers use to decrypt TLS, if it can't be written to: every connection would fail."""
    path = os.environ.get("SSLKEYLOGFILE")
    try:
        if path:
            open(path, "ab").close()
    except OSError as error:
        print(f"SSLKEYLOGFILE={path!r} is ignored: it cannot be written to ({error.strerror}).", file=sys.stderr)
        del os.environ["SSLKEYLOGFILE"]


def _have_a_home() -> None:
    """A user without an entry in /etc/passwd may have none, and MLflow cannot even be imported then."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = os.getcwd()


def by_former_name(name: str) -> int:
    """For `python -m MODULE`, the former way: print the command's name, and run it."""
    module = sys.modules["__main__"].__spec__.name.removesuffix(".__main__")  # type: ignore[union-attr]
    print(f"python -m {module} is crack {name} now; running that.", file=sys.stderr)
    return run(name, sys.argv[1:])


def _passing_on(name: str) -> Callable[[typer.Context], None]:
    def passed_on(context: typer.Context) -> None:
        raise typer.Exit(run(name, context.args))

    return passed_on


def main() -> None:
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Find and measure cracks in photographs of concrete, asphalt and masonry, and learn from corrections.",
        epilog="\n\n".join(EXAMPLES),
    )
    for name, command in COMMANDS.items():
        app.command(name, cls=_PassedOn, help=command.help, rich_help_panel=command.group)(_passing_on(name))
    app(prog_name="crack")
