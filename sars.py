"""The command line: wires the rooms together and holds no logic of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from engine.errors import AvatarError

T = TypeVar("T")

app = typer.Typer(
    name="sars",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A camera in, a live avatar out: face, hands and body as one mesh, in real time.",
)
bench = typer.Typer(no_args_is_help=True, help="Measure speed. Prints a table, writes JSON.")
evaluate = typer.Typer(no_args_is_help=True, help="Measure accuracy. Prints a table, writes JSON.")
app.add_typer(bench, name="bench")
app.add_typer(evaluate, name="eval")

SOURCE_HELP = (
    "A webcam's number (0), a video or picture file, 'portrait', 'performer' "
    "(a synthetic person), 'performer:MOTION.bvh', or 'auto' (the webcam if there is one, "
    "else the portrait and then the performer)."
)
SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE_HELP)]
SourceOption = Annotated[str, typer.Option("--source", metavar="SOURCE", help=SOURCE_HELP)]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the numbers here.")]
BackendOption = Annotated[
    str,
    typer.Option(help="What runs the networks: auto, openvino, onnxruntime or tensorrt."),
]
SemanticsOption = Annotated[
    bool,
    typer.Option(
        "--semantics/--no-semantics",
        help="Estimate age and gender about once a second. Off: the networks are never loaded.",
    ),
]


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where there is one, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


@app.command()
def setup(
    force: Annotated[bool, typer.Option("--force", help="Start over.")] = False,
) -> None:
    """Fetch, verify, translate and bake the models; a second call has nothing to do."""
    from rich.console import Console

    from engine.inference.store import ModelStore
    from exporters.setup import run_setup

    run_setup(ModelStore.default(), Console(), force=force)


@bench.command("engine")
def bench_engine_command(
    source: SourceOption = "portrait",
    frames: Annotated[int, typer.Option(min=6, help="How many; a shorter source repeats.")] = 300,
    json: JsonOption = None,
    peer: Annotated[
        bool, typer.Option("--peer", help="Also run MediaPipe Holistic, before and after.")
    ] = False,
    backend: BackendOption = "auto",
    semantics: SemanticsOption = True,
) -> None:
    """Frames per second and milliseconds per stage, as fast as it goes, nothing dropped."""
    from benchmarks.engine import bench_engine
    from benchmarks.peer import compared
    from benchmarks.report import print_table, write_json
    from engine.engine import EngineOptions

    options = EngineOptions(backend=backend, semantics=semantics)

    def measure() -> dict[str, Any]:
        return run_async(bench_engine(source, frames, options))

    numbers = compared(measure, options.store, Path(source), frames) if peer else measure()
    print_table(f"engine on {source}", numbers)
    if json is not None:
        write_json(json, numbers)


def main() -> None:
    """Entry point: what bad input causes is one line, never a traceback."""
    try:
        app()
    except AvatarError as error:
        typer.echo(f"sars: {error}", err=True)
        sys.exit(1)
    except ExceptionGroup as group:
        causes, defects = group.split(AvatarError)
        if defects is not None or causes is None:
            raise
        typer.echo(f"sars: {_first(causes)}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    cause = group.exceptions[0]
    return _first(cause) if isinstance(cause, BaseExceptionGroup) else cause


if __name__ == "__main__":
    main()
