"""The command line: wires the rooms together and holds no logic of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from engine.errors import AvatarError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from engine.avatar.anny import BodyModel
    from engine.avatar.morphable_model import MorphableModel
    from engine.avatar.topology import FusedAvatar
    from engine.engine import EngineOptions
    from engine.inference.store import ModelStore
    from engine.sources.source import Source
    from exporters.motion.clip import MotionClip, MotionRecorder
    from stream.server import ServerOptions

T = TypeVar("T")
LIVE_SECONDS = 15.0
PEER_MODEL = Path("../shared/data/models/face_landmarker.task")

app = typer.Typer(
    name="sars",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A camera in, a live avatar out: face, hands and body as one mesh, in real time.",
)
bench = typer.Typer(no_args_is_help=True, help="Measure speed. Prints a table, writes JSON.")
evaluate = typer.Typer(no_args_is_help=True, help="Measure accuracy. Prints a table, writes JSON.")
convert = typer.Typer(
    no_args_is_help=True,
    help="Turn heads, networks and motions of other makers into ours, and back.",
)
app.add_typer(bench, name="bench")
app.add_typer(evaluate, name="eval")
app.add_typer(convert, name="convert")

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

IdentityOption = Annotated[
    bool,
    typer.Option(
        "--identity/--no-identity",
        help="Estimate who the person is: face, skin, age and gender. Off: the avatar stays as it "
        "starts.",
    ),
]
FusionOption = Annotated[
    str,
    typer.Option(
        help="How the person's own face is joined to the body: copy-paste, optimisation, or "
        "attention (optimisation with body-driven weighting, not learned)."
    ),
]
FaceModelOption = Annotated[
    Path | None,
    typer.Option(
        "--face",
        metavar="FILE",
        help="Show the face of another head model on the body, without relief and wrinkles: a file "
        "of `sars convert`.",
    ),
]
DisplacementOption = Annotated[
    bool,
    typer.Option(
        "--displacement/--no-displacement", help="Read the face's relief from its shading."
    ),
]
WrinklesOption = Annotated[
    bool, typer.Option("--wrinkles/--no-wrinkles", help="Carve wrinkle lines into the face.")
]
FieldOfViewOption = Annotated[
    float | None,
    typer.Option(
        "--fov",
        metavar="DEGREES",
        min=10.0,
        max=150.0,
        help="What the longer side of the picture spans; else as the file says, else 60.",
    ),
]
PredictOption = Annotated[
    bool,
    typer.Option(
        "--predict",
        help="Live: show where the body is by now, not where it was when the picture was taken. "
        "Less late, a little less calm.",
    ),
]
AgeOption = Annotated[
    float | None,
    typer.Option(
        "--age",
        metavar="YEARS",
        help="The avatar's age, 0 to 100, whatever is estimated; the face stays the person's.",
    ),
]
GenderOption = Annotated[
    float | None, typer.Option("--gender", help="0 male to 1 female, as for --age.")
]
WeightOption = Annotated[
    float | None, typer.Option("--weight", help="0 to 1; 0.5 is the average, as below.")
]
MuscleOption = Annotated[float | None, typer.Option("--muscle", help="0 to 1.")]
HeightOption = Annotated[float | None, typer.Option("--height", help="0 to 1.")]
ProportionsOption = Annotated[float | None, typer.Option("--proportions", help="0 to 1.")]
PinOption = Annotated[
    bool, typer.Option("--pin", help="Keep the shape as it starts: no estimate changes it.")
]


def engine_options(
    age: AgeOption = None,
    gender: GenderOption = None,
    weight: WeightOption = None,
    muscle: MuscleOption = None,
    height: HeightOption = None,
    proportions: ProportionsOption = None,
    pin: PinOption = False,
    backend: BackendOption = "auto",
    semantics: SemanticsOption = True,
    identity: IdentityOption = True,
    fusion: FusionOption = "copy-paste",
    face: FaceModelOption = None,
    displacement: DisplacementOption = True,
    wrinkles: WrinklesOption = True,
    fov: FieldOfViewOption = None,
    predict: PredictOption = False,
) -> EngineOptions:
    """What `run` and `serve` let a user choose of the engine."""
    from engine.engine import EngineOptions
    from engine.identity_edit import IdentityEdit

    if face is not None:
        typer.echo(f"stitching {face} to the body, which takes some seconds", err=True)
    return EngineOptions(
        backend=backend,
        semantics=semantics,
        identity=identity,
        fusion=fusion,
        face_model=face,
        displacement=displacement,
        wrinkles=wrinkles,
        field_of_view_deg=fov,
        predict=predict,
        edit=IdentityEdit(age, gender, weight, muscle, height, proportions, pin=pin or None),
    )


def with_engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """COMMAND with the options of `engine_options` in place of its parameter ``engine``."""
    own, shared = _parameters(command), _parameters(engine_options)
    del own["engine"]

    def call(**given: object) -> None:
        chosen = {name: given.pop(name) for name in shared}
        command(engine_options(**chosen), **given)  # type: ignore[arg-type]

    call.__name__, call.__doc__ = command.__name__, command.__doc__
    call.__signature__ = Signature([*own.values(), *shared.values()])  # type: ignore[attr-defined]
    return call


def _parameters(function: Callable[..., object]) -> dict[str, Parameter]:
    """With the types themselves, for typer, where the source has their names."""
    types = get_type_hints(function, localns={"EngineOptions": object}, include_extras=True)
    return {
        name: parameter.replace(annotation=types[name], kind=Parameter.KEYWORD_ONLY)
        for name, parameter in signature(function).parameters.items()
    }


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

    store, console = ModelStore.default(), Console()
    run_setup(store, console, force=force)
    rehearse_once(store, console)


def rehearse_once(store: ModelStore, console: Console) -> None:
    """Compile the kernels of this very code, unless that has been done."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from viewer import rehearsal_stamp

    if rehearsal_stamp.is_fresh():
        return
    from viewer.rehearsal import rehearse

    columns = (TextColumn("{task.description:32}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("compile the kernels", total=1.0)
        run_async(rehearse(store, lambda share: progress.update(task, completed=share)))
    rehearsal_stamp.renew()


@app.command()
@with_engine_options
def run(
    engine: EngineOptions,
    source: SourceArgument = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Record into this folder when there is no window.")
    ] = None,
    window: Annotated[
        bool | None,
        typer.Option("--window/--no-window", help="By default a window where there is a display."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="How long to record a webcam.")
    ] = LIVE_SECONDS,
    mirror: Annotated[bool, typer.Option(help="Show the window as a mirror.")] = False,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="For a file: watch it to its end first, then fit all frames from both sides.",
        ),
    ] = False,
    export: Annotated[
        list[Path] | None,
        typer.Option(
            "--export",
            metavar="FILE",
            help="Also write the motion, without a window: .glb (animated avatar), .npz (AMASS, "
            "SMPL-X), .bvh or .csv; repeat it for several.",
        ),
    ] = None,
    body: Annotated[
        str | None,
        typer.Option(
            "--body",
            metavar="MODEL",
            help="Fit this model's shape and poses to an exported .npz: your SMPL, SMPL+H or "
            "SMPL-X file. Without it an .npz has joint angles alone.",
        ),
    ] = None,
) -> None:
    """Run SOURCE through the engine: in a window, or recorded beside its avatar."""
    motion_files = MotionFiles(export or [], body)
    if export:
        from exporters.motion.files import check_names

        check_names(export)
    motion_files.check()
    if window and (export or offline):
        raise AvatarError("--export and --offline record without a window: leave --window out")
    if window is None:
        window = has_display() and not export and not offline
    if window:
        show(engine, partial(open_any, source, paced=True), mirror)
    elif offline:
        record_whole(engine, source, out or Path("sars-output"), motion_files)
    else:
        record(engine, source, out or Path("sars-output"), seconds, motion_files)


def show(options: EngineOptions, open_source: Callable[[], Source], mirror: bool) -> None:
    """The engine on a thread beside the window."""
    from viewer.feed import LocalFeed
    from viewer.local import EngineThread
    from viewer.window import run_viewer

    feed = LocalFeed()
    thread = EngineThread(options, open_source, feed)
    thread.start()
    run_viewer(feed, mirror=mirror)
    thread.join(timeout=5.0)


def record(
    options: EngineOptions, source: str, folder: Path, seconds: float, motion_files: MotionFiles
) -> None:
    """Side-by-side video and picture, the avatar as GLB, a report, and the motion."""
    from benchmarks.report import print_table, write_json
    from exporters.motion.clip import MotionRecorder
    from viewer import local

    motion = MotionRecorder()
    with spinner(source) as say:
        report, last, backend = run_async(
            local.record(
                options,
                partial(open_any, source),
                folder,
                live_seconds=seconds,
                on_frame=lambda n: say(f"frame {n}"),
                on_state=motion.add,
            )
        )
    numbers = report.numbers(source, backend)
    write_json(folder / "report.json", numbers)
    print_table(f"run of {source}", numbers)
    typer.echo("rate and latencies include drawing the video; `sars bench engine` measures alone")
    typer.echo(f"wrote {folder}/: side_by_side.mp4, side_by_side.png, report.json")
    write_avatar_and_motion(folder, last.avatar, motion, motion_files)


def record_whole(
    options: EngineOptions, source: str, folder: Path, motion_files: MotionFiles
) -> None:
    """The same of a clip that is fitted as a whole; without a report, for nothing is live."""
    from exporters.motion.clip import MotionRecorder
    from viewer.offline import record_offline

    motion = MotionRecorder()
    with spinner(source) as say:
        frames, avatar, _ = run_async(
            record_offline(
                options,
                partial(open_any, source),
                folder,
                on_progress=lambda what, n: say(f"{what}, frame {n}"),
                on_state=motion.add,
            )
        )
    typer.echo(f"wrote {frames} frames to {folder}/: side_by_side.mp4, side_by_side.png")
    write_avatar_and_motion(folder, avatar, motion, motion_files)


@contextmanager
def spinner(source: str) -> Iterator[Callable[[str], None]]:
    """Shows that SOURCE is being worked on; call it to say how far."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(f"running {source}")
        yield lambda what: progress.update(task, description=f"{source}: {what}")


def write_avatar_and_motion(
    folder: Path, avatar: FusedAvatar, motion: MotionRecorder, motion_files: MotionFiles
) -> None:
    """The avatar at rest, and what it did in every format asked for."""
    from engine.inference.store import write_atomically
    from exporters.glb import write_glb
    from exporters.motion.files import export_motion

    write_atomically(folder / "avatar.glb", write_glb(avatar))
    if motion_files.paths:
        export_motion(motion.clip(avatar), motion_files.paths, motion_files.to_npz)
    written = [folder / "avatar.glb", *motion_files.paths]
    typer.echo(f"wrote {', '.join(map(str, written))}")


@dataclass(frozen=True)
class MotionFiles:
    """The files that a run's motion goes to, and the body model of an .npz among them."""

    paths: list[Path]
    model: str | None

    def check(self) -> None:
        """Before a run begins: a model is there, and of use."""
        from exporters.motion.converting import open_model

        if self.model is None:
            if self._npz():
                typer.echo(
                    "the .npz will have joint angles and no betas: --body YOUR_MODEL fits both",
                    err=True,
                )
        elif self._npz():
            open_model(self.model)
        else:
            raise AvatarError("--body is for an exported .npz: add --export FILE.npz")

    def to_npz(self, clip: MotionClip) -> bytes:
        """As the model's, or joint angles alone."""
        from exporters.motion.amass import write_amass
        from exporters.motion.converting import convert_clip, open_model

        if self.model is None:
            return write_amass(clip)
        with converting(self.model) as on_frame:
            content, numbers = convert_clip(clip, open_model(self.model), on_frame)
        tell(f"conversion to {self.model}", numbers, None)
        return content

    def _npz(self) -> bool:
        return any(path.suffix.lower() == ".npz" for path in self.paths)


@contextmanager
def converting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of converted frames; call it with how many are done, and of how many."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:.40}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn()) as progress:
        task = progress.add_task(f"converting to {Path(what).name}", total=None)
        yield lambda n, total: progress.update(task, completed=n, total=total)


@app.command()
def fit(
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="A folder of pictures; with OpenPose's NAME_keypoints.json beside them, or in "
            "keypoints/, where you have them.",
        ),
    ],
    model: Annotated[
        Path, typer.Option(help="Your SMPL, SMPL+H or SMPL-X file: .npz, .pkl or .safetensors.")
    ],
    out: Annotated[
        Path, typer.Option(help="Where fits/ is kept, a file for each picture, and fits.npz.")
    ] = Path("sars-fits"),
    pose_prior: Annotated[
        Path | None, typer.Option(help="SMPLify's gmm_08.pkl; else the mixture that we ship.")
    ] = None,
    spin: Annotated[
        Path | None, typer.Option(help="Also start from SPIN: a file of `sars convert spin`.")
    ] = None,
    interpenetration: Annotated[
        bool, typer.Option("--interpenetration", help="Keep limbs out of the body: slower.")
    ] = False,
    fov: FieldOfViewOption = None,
    json: JsonOption = None,
) -> None:
    """SMPLify over DATASET: the best fit for every picture. Killed or run again, it goes on."""
    from engine.body.pose_priors import shipped_prior
    from engine.body.stills import BONES, spheres_of
    from engine.inference.store import ModelStore
    from exporters.body_models.smpl import read_smpl
    from exporters.fitting.dataset import FitOptions, fit_dataset, keypoints_file, pictures_of
    from exporters.fitting.own_landmarks import OwnLandmarks
    from exporters.fitting.priors import read_any_prior
    from exporters.fitting.spin_start import SpinStart

    body = read_smpl(model)
    prior = shipped_prior() if pose_prior is None else read_any_prior(pose_prior)
    pictures = pictures_of(dataset)
    alone = any(keypoints_file(path) is None for path in pictures)
    options = FitOptions(
        field_of_view_deg=fov,
        spheres=spheres_of(body, BONES) if interpenetration else None,
        initialisers=() if spin is None else (SpinStart(spin, body),),
        detector=OwnLandmarks(ModelStore.default(), body) if alone else None,
    )
    with counting("pictures", len(pictures)) as on_picture:
        done = fit_dataset(dataset, out, body, prior, options, on_picture)
    for reason in done.failed.values():
        typer.echo(reason, err=True)
    numbers = {"pictures": len(pictures), "fitted": done.fitted, "kept": done.kept}
    tell(
        f"fit of {dataset}",
        numbers | {"failed": len(done.failed), "error_px": done.error_px},
        json,
    )
    typer.echo(f"wrote {out}/fits.npz")


@app.command()
@with_engine_options
def serve(
    engine: EngineOptions,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="SOURCE",
            help=f"{SOURCE_HELP} Without it the server waits for a browser to publish its camera.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8080,
    loop: Annotated[bool, typer.Option("--loop", help="Start SOURCE over when it ends.")] = False,
    token: Annotated[str | None, typer.Option(help="Require this bearer token.")] = None,
    cert: Annotated[Path | None, typer.Option(help="TLS certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="TLS key, PEM.")] = None,
    allow_control: Annotated[
        bool,
        typer.Option(
            "--allow-control",
            help="Everybody who watches may change the avatar; else only who sends the camera.",
        ),
    ] = False,
) -> None:
    """Stream the avatar over WebRTC: to `sars view URL`, or to a browser at URL."""
    import logging

    from stream.server import ServerOptions
    from stream.signalling import Access

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = ServerOptions(
        host=host,
        port=port,
        access=Access(token=token, allow_control=allow_control),
        certificate=cert,
        key=key,
        pages=Path(__file__).with_name("viewer") / "web" / "dist",
    )
    run_async(serve_until_stopped(engine, options, source, loop))


async def serve_until_stopped(
    engine_options: EngineOptions, options: ServerOptions, source: str | None, loop: bool
) -> None:
    """One engine, one feed, one server."""
    from engine.engine import Engine
    from exporters.glb import write_glb
    from stream.feed import LiveFeed
    from stream.host import host
    from stream.server import StreamServer

    feed = LiveFeed()
    server = StreamServer(feed, options)
    with Engine.open(engine_options) as engine:
        async with server.run() as url:
            typer.echo(f"serving at {url}: open it in a browser, or run: sars view {url}")
            sources = server.cameras if source is None else one_source(source, loop)
            await host(engine, sources, feed, write_glb)


async def one_source(spec: str, loop: bool) -> AsyncIterator[Source]:
    """SOURCE in real time, over and over if asked to."""
    from engine.sources.repeated import FOR_EVER, Repeated

    open_once = partial(open_any, spec, paced=True)
    yield Repeated(open_once, FOR_EVER) if loop else open_once()


@app.command()
def view(
    url: Annotated[str, typer.Argument(help="Of `sars serve`, such as http://127.0.0.1:8080.")],
    snapshot: Annotated[
        Path | None, typer.Option(help="Write one picture without a window, then end.")
    ] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="Draw without a window and report latencies.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=0.5, help="How long --headless watches.")] = 20.0,
    json: JsonOption = None,
    token: Annotated[str | None, typer.Option(help="The server's bearer token.")] = None,
    mirror: Annotated[bool, typer.Option(help="Show the window as a mirror.")] = False,
    tier: Annotated[
        str,
        typer.Option(
            help="motion: pose the avatar here (0.2 Mbit/s). mesh: only draw what comes (10 "
            "Mbit/s, for a local network)."
        ),
    ] = "motion",
) -> None:
    """Watch a served avatar: in a window, as one picture, or headless with figures."""
    from stream.client import ClientOptions
    from stream.protocol import Tier
    from viewer.headless import run_headless
    from viewer.remote import RemoteFeed
    from viewer.snapshot import snapshot_remote
    from viewer.window import run_viewer

    if tier not in ("motion", "mesh"):
        raise AvatarError(f"expected the tier motion or mesh, found {tier}")
    tiers: tuple[Tier, ...] = ("motion", "mesh") if tier == "mesh" else ("motion",)
    options = ClientOptions(url=url, token=token, tiers=tiers)
    if snapshot is not None:
        snapshot_remote(options, snapshot)
        typer.echo(f"wrote {snapshot}")
    elif headless:
        numbers = run_headless(options, seconds).numbers()
        tell(f"watching {url}", numbers, json)
    else:
        run_viewer(RemoteFeed(options), mirror=mirror)


@bench.command("engine")
def bench_engine_command(
    source: SourceOption = "portrait",
    frames: Annotated[int, typer.Option(min=6, help="How many; a shorter source repeats.")] = 300,
    json: JsonOption = None,
    peer: Annotated[
        bool, typer.Option("--peer", help="Also run MediaPipe Holistic, before and after.")
    ] = False,
    paced: Annotated[
        bool, typer.Option("--paced", help="At the source's own rate, late frames dropped.")
    ] = False,
    backend: BackendOption = "auto",
    semantics: SemanticsOption = True,
    identity: IdentityOption = True,
) -> None:
    """Frames per second and milliseconds per stage, as fast as it goes, nothing dropped."""
    from benchmarks.engine import bench_engine
    from benchmarks.peer import bench_beside_peer
    from engine.engine import EngineOptions

    options = EngineOptions(backend=backend, semantics=semantics, identity=identity)
    if peer:
        numbers = bench_beside_peer(source, frames, options)
    else:
        numbers = run_async(bench_engine(source, frames, options, paced=paced))
    tell(f"engine on {source}", numbers, json)


@bench.command("slow-loop")
def bench_slow_loop_command(
    source: SourceOption = "portrait",
    frames: Annotated[int, typer.Option(min=6, help="How many in each of six runs.")] = 600,
    json: JsonOption = None,
    backend: BackendOption = "auto",
    semantics: SemanticsOption = True,
) -> None:
    """Latency of frames with identity estimates on and off, in turns."""
    from benchmarks.slow_loop import bench_slow_loop
    from engine.engine import EngineOptions

    options = EngineOptions(backend=backend, semantics=semantics)
    numbers = bench_slow_loop(source, frames, options)
    tell(f"slow loop on {source}", numbers, json)


@bench.command("live")
def bench_live_command(
    source: SourceOption = "portrait",
    seconds: Annotated[float, typer.Option(min=1.0, help="How long to watch.")] = 20.0,
    json: JsonOption = None,
) -> None:
    """Capture to drawn frame: server and headless viewer in processes of their own."""
    from benchmarks.live import bench_live

    numbers = bench_live(source, seconds)
    tell(f"live on {source}", numbers, json)


@bench.command("forward")
def bench_forward_command(
    calls: Annotated[int, typer.Option(min=16, help="Forward passes of each side.")] = 240,
    json: JsonOption = None,
) -> None:
    """Posing body models of SMPL-X's and Anny's size, beside smplx and anny on the same cores."""
    from benchmarks.forward import bench_forward

    tell("forward pass", bench_forward(calls), json)


@evaluate.command("performer")
def eval_performer_command(
    performance: Annotated[
        str, typer.Argument(help="webcam, full, or the path of a BVH file.")
    ] = "webcam",
    frames: Annotated[int, typer.Option(min=30, help="How many to compare.")] = 450,
    full: Annotated[
        bool, typer.Option("--full", help="Fusion on eight people for ten seconds, minutes.")
    ] = False,
    grid: Annotated[
        Path | None,
        typer.Option(
            "--grid",
            metavar="DIR",
            help="Instead: five recorded motions of DIR by three people before two cameras.",
        ),
    ] = None,
    json: JsonOption = None,
    picture: Annotated[
        Path, typer.Option(help="Draw input, truth, every mode of fusion and its error, as PNG.")
    ] = Path("sars-output/performer.png"),
    backend: BackendOption = "auto",
) -> None:
    """Pose, expression, mesh and fusion against the exact truth of drawn people: SARS Table V."""
    from benchmarks.performer import eval_performer
    from benchmarks.performer_fusion import FULL, QUICK, eval_fusion
    from engine.engine import EngineOptions

    options = EngineOptions(backend=backend)
    if grid is not None:
        from rich.progress import Progress

        from benchmarks.performer_grid import CAMERAS, MOTIONS, REST_AT_S, SEEDS, eval_grid

        with Progress(transient=True) as progress:
            total = (len(MOTIONS) + len(REST_AT_S)) * len(SEEDS) * len(CAMERAS)
            task = progress.add_task("performing", total=total)
            on_run = partial(_advance, progress, task)
            found = run_async(eval_grid(grid, options, on_run=on_run))
        tell(f"performer: {grid}", found, json)
        return
    numbers = run_async(eval_performer(performance, frames, options))
    numbers |= run_async(eval_fusion(FULL if full else QUICK, options, picture))
    tell(f"performer: {performance}", numbers, json)
    typer.echo(f"wrote {picture}")


def _advance(progress: Progress, task: TaskID, done: int) -> None:
    progress.update(task, completed=done)


OutArgument = Annotated[Path, typer.Argument(metavar="OUT", help="The .npz to write.")]


@convert.command("ict")
def convert_ict_command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="FaceXModel of github.com/ICT-VGL/ICT-FaceKit (MIT), or its compact .npz.",
        ),
    ],
    out: OutArgument,
) -> None:
    """ICT-FaceKit's light model: 100 identity modes, 51 actions, teeth and eyes."""
    from exporters.face_models.convert import convert_ict

    write_head(partial(convert_ict, folder), out)


@convert.command("flame")
def convert_flame_command(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Your generic_model.pkl, or one of its siblings."),
    ],
    out: OutArgument,
    landmarks: Annotated[
        Path | None,
        typer.Option(
            help="flame_static_embedding.pkl or mediapipe_landmark_embedding.npz: lays Anny's "
            "landmarks and actions on more exactly than the shape alone."
        ),
    ] = None,
    texture: Annotated[
        Path | None, typer.Option(help="FLAME_texture.npz: albedo and texture coordinates.")
    ] = None,
) -> None:
    """FLAME: 300 identity modes, actions from Anny, jaw and eyes from its own joints."""
    from exporters.face_models.convert import convert_flame

    write_head(partial(convert_flame, file, landmarks, texture), out)


@convert.command("facescape")
def convert_facescape_command(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Your facescape_bm_v1.6_847_50_52_id_front.npz."),
    ],
    out: OutArgument,
) -> None:
    """FaceScape's bilinear model: its identity modes at rest, 51 actions, vertex colours."""
    from exporters.face_models.convert import convert_facescape

    write_head(partial(convert_facescape, file), out)


@convert.command("spin")
def convert_spin_command(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Your SPIN model_checkpoint.pt.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The .onnx to write.")],
) -> None:
    """SPIN: an initialiser for `sars fit`. Experimental: nobody here has its weights."""
    from exporters.spin import convert_spin

    apart = convert_spin(checkpoint, out)
    typer.echo(f"wrote {out}: ONNX Runtime differs from torch by {apart:.1e}")


@convert.command("body")
def convert_body_command(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="A motion: an .npz of AMASS or SMPL-X, or one of `run --export`."
        ),
    ],
    out: OutArgument,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="What IN is of: your SMPL, SMPL+H or SMPL-X file, or anny.",
        ),
    ],
    target: Annotated[
        str, typer.Option("--to", metavar="MODEL", help="What OUT should be of, likewise.")
    ],
    transfer: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Your smplx2smpl_deftrafo_setup.pkl or the like; without it nearest points pair.",
        ),
    ] = None,
    json: JsonOption = None,
) -> None:
    """A motion of one body model as another's, shape and poses, by fitting; says how far off."""
    from exporters.motion.converting import convert_file, open_model

    with converting(target) as on_frame:
        models = open_model(source), open_model(target)
        numbers = convert_file(file, out, *models, on_frame, transfer)
    tell(f"{file} to {target}", numbers, json)
    typer.echo(f"wrote {out}")


def write_head(convert_with: Callable[[BodyModel], MorphableModel], out: Path) -> None:
    """Convert with the help of Anny's head, and say what came out."""
    from engine.avatar.anny import BodyModel
    from engine.inference.store import BODY_FILE, ModelStore
    from exporters.face_models.convert import run_conversion

    body = BodyModel.load(ModelStore.default().path(BODY_FILE))
    model = run_conversion(partial(convert_with, body), out)
    typer.echo(
        f"wrote {out}: {model.name}, {len(model.mean_m)} vertices, {len(model.identity)} identity "
        f"modes, {int(model.actions.sum())} actions; {model.licence}"
    )


@evaluate.command("heads")
def eval_heads_command(
    identities: Annotated[
        int | None, typer.Option(min=1, help="How many people; 6 without --full.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The table: 40 people, minutes.")] = False,
    json: JsonOption = None,
    picture: Annotated[
        Path, typer.Option(help="Draw input, truth, ours and error of some of them, as PNG.")
    ] = Path("sars-output/heads.png"),
    ict: Annotated[
        Path | None, typer.Option(help="ICT-FaceKit's folder FaceXModel; $SARS_ICT otherwise.")
    ] = None,
) -> None:
    """The shape of other people's heads, filmed and reconstructed: SARS Table I."""
    from rich.progress import Progress

    from benchmarks.heads.evaluation import DEFAULT_IDENTITIES, FULL_IDENTITIES, eval_heads

    count = identities or (FULL_IDENTITIES if full else DEFAULT_IDENTITIES)
    with Progress(transient=True) as progress:
        task = progress.add_task("filming and measuring people", total=count)
        numbers = eval_heads(count, ict, picture, lambda n: progress.update(task, completed=n))
    tell(f"heads: {count} people of ICT-FaceKit", numbers, json)
    typer.echo(f"wrote {picture}")


@evaluate.command("build")
def eval_build_command(
    people: Annotated[
        int | None, typer.Option(min=2, help="How many people; 12 without --full.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The table: 60 people.")] = False,
    json: JsonOption = None,
    picture: Annotated[
        Path, typer.Option(help="Draw input, truth, ours and the average of some, as PNG.")
    ] = Path("sars-output/build.png"),
) -> None:
    """The build of drawn people, told from pictures of their whole bodies."""
    from rich.progress import Progress

    from benchmarks.builds import FULL, QUICK, eval_build

    count = people or (FULL if full else QUICK)
    with Progress(transient=True) as progress:
        task = progress.add_task("drawing and measuring people", total=count)
        numbers = eval_build(count, picture, lambda n: progress.update(task, completed=n))
    tell(f"build of {count} drawn people", numbers, json)
    typer.echo(f"wrote {picture}")


@evaluate.command("multiview")
def eval_multiview_command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Films such as cam01.mp4, cameras_opencv.json and keypoints3d_world.npy.",
        ),
    ],
    camera: Annotated[
        str | None, typer.Option(help="One camera, such as cam01; all of them without it.")
    ] = None,
    peer: Annotated[bool, typer.Option("--peer", help="Also run MediaPipe Holistic.")] = False,
    json: JsonOption = None,
    picture: Annotated[
        Path, typer.Option(help="Draw some frames with the fit over them, as PNG.")
    ] = Path("sars-output/multiview.png"),
    backend: BackendOption = "auto",
) -> None:
    """The live body on a real recording whose joints several cameras know."""
    from benchmarks.multiview import cameras_of, eval_multiview
    from engine.engine import EngineOptions

    options, found = EngineOptions(backend=backend), {}
    for name in cameras_of(folder) if camera is None else [camera]:
        shown = picture if camera else picture.with_stem(f"{picture.stem}-{name}")
        found[name] = run_async(eval_multiview(folder, name, options, shown, peer))
        tell(f"multiview: {name}", found[name], None)
        typer.echo(f"wrote {shown}")
    if json is not None:
        from benchmarks.report import write_json

        write_json(json, found if camera is None else found[camera])


@evaluate.command("3dpw")
def eval_3dpw_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="With 3DPW's sequenceFiles and imageFiles.")
    ],
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    frames: Annotated[
        int | None, typer.Option(min=30, help="The most of each sequence; all without it.")
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="Folder of your SMPL_NEUTRAL, SMPL_MALE and SMPL_FEMALE: also V2V."),
    ] = None,
    regressor: Annotated[
        Path | None,
        typer.Option(help="J_regressor_h36m.npy, with --models: the joints others publish."),
    ] = None,
    json: JsonOption = None,
    backend: BackendOption = "auto",
) -> None:
    """The live body on 3DPW: SARS Table III. Nobody here has the data: checked on a stand-in."""
    from benchmarks.datasets.smpl_meshes import SmplFiles
    from benchmarks.datasets.threedpw import eval_3dpw, sequences_of
    from engine.engine import EngineOptions

    if regressor is not None and models is None:
        raise AvatarError("--regressor needs --models: joints are regressed from SMPL's vertices")
    smpl = None if models is None else SmplFiles(models, regressor)
    with counting("sequences", len(sequences_of(folder, split))) as on_done:
        options = EngineOptions(backend=backend)
        found = run_async(eval_3dpw(folder, options, split, frames, smpl, on_done))
    for reason in found["failed"].values():
        typer.echo(reason, err=True)
    tell_tables(f"3DPW {split}", found, json)


@evaluate.command("ehf")
def eval_ehf_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="EHF's pictures and alignments: 01_img.png ...")
    ],
    model: Annotated[
        Path, typer.Option(help="Your SMPL-X file: ours becomes a mesh of it to be compared.")
    ],
    parts: Annotated[
        Path | None,
        typer.Option(
            help="Folder with SMPL-X__FLAME_vertex_ids.npy and MANO_SMPLX_vertex_ids.pkl: also "
            "the face, the hands and the body without them."
        ),
    ] = None,
    json: JsonOption = None,
    backend: BackendOption = "auto",
) -> None:
    """The whole body on EHF: SARS Tables IV, V. Nobody here has the data: checked on a stand-in."""
    from benchmarks.datasets.ehf import eval_ehf, pictures_of
    from engine.engine import EngineOptions

    with counting("pictures", len(pictures_of(folder))) as on_done:
        found = run_async(eval_ehf(folder, model, parts, EngineOptions(backend=backend), on_done))
    for reason in found["failed"].values():
        typer.echo(reason, err=True)
    tell_tables("EHF", found, json)


@evaluate.command("micc")
def eval_micc_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="MICC Florence: subject_01, subject_02 ...")
    ],
    lpips: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="NETWORK.onnx WEIGHTS.npz",
            help="LPIPS's feature network and its layers' weights: also Table II.",
        ),
    ] = None,
    json: JsonOption = None,
    backend: BackendOption = "auto",
) -> None:
    """Faces on MICC: SARS Tables I and II. Nobody here has the data: checked on a stand-in."""
    from benchmarks.datasets.lpips import Lpips
    from benchmarks.datasets.micc import eval_micc, subjects_of
    from engine.engine import EngineOptions

    weights = None if lpips is None else Lpips(*lpips)
    with counting("people", len(subjects_of(folder))) as on_done:
        found = run_async(eval_micc(folder, EngineOptions(backend=backend), weights, on_done))
    for reason in found["failed"].values():
        typer.echo(reason, err=True)
    tell_tables("MICC Florence", found, json)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A bar over ``total`` things; call it with how many are done and the next one's name."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:40.40}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn()) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done, name: progress.update(task, completed=done, description=name)
        progress.update(task, completed=total, description=what)


@evaluate.command("expressions")
def eval_expressions_command(
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="A video file with one face.")],
    frames: Annotated[int, typer.Option(min=41, help="The most to compare.")] = 600,
    model: Annotated[
        Path, typer.Option(help="MediaPipe's face_landmarker.task, which the peer is in.")
    ] = PEER_MODEL,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the frames that differ most here, as PNG.")
    ] = None,
    json: JsonOption = None,
    backend: BackendOption = "auto",
) -> None:
    """Facial actions on a real clip beside MediaPipe's own blend-shape network."""
    from benchmarks.expressions import eval_expressions
    from engine.engine import EngineOptions

    options = EngineOptions(backend=backend, semantics=False)
    numbers = run_async(eval_expressions(clip, model, frames, options, picture))
    tell(f"expressions: {clip}", numbers, json)


def tell(title: str, numbers: Mapping[str, object], json: Path | None) -> None:
    """Print the table, and write the numbers where the user wants them."""
    from benchmarks.report import print_table, write_json

    print_table(title, numbers)
    if json is not None:
        write_json(json, numbers)


def tell_tables(data_set: str, found: Mapping[str, object], json: Path | None) -> None:
    """Print the paper's tables with ours, and write the numbers where the user wants them."""
    from benchmarks.datasets.tables import print_tables
    from benchmarks.report import write_json

    print_tables(data_set, found)
    if json is not None:
        write_json(json, found)


def has_display() -> bool:
    """Whether a window could be opened."""
    on_x11_or_wayland = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform in ("win32", "darwin") or bool(on_x11_or_wayland)


def open_any(spec: str, *, paced: bool = False) -> Source:
    """Open SOURCE, ``auto`` included."""
    from engine.sources import open_source
    from engine.sources.sequence import open_auto

    return open_auto(paced=paced) if spec == "auto" else open_source(spec, paced=paced)


def main() -> None:
    """Entry point: what bad input causes is one line, never a traceback."""
    try:
        app()
    except* (AvatarError, OSError) as group:
        error = _first(group)
        if isinstance(error, OSError) and error.filename is None:
            raise  # a defect: what a user can mend is about a file
        typer.echo(f"sars: {_sentence(error)}", err=True)
        sys.exit(1)
    except* KeyboardInterrupt:
        sys.exit(130)


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"cannot use {error.filename} ({error.strerror}); name another file or folder"
    return str(error)


if __name__ == "__main__":
    main()
