"""The command line: `tfcyclegan train …`, `export …` and `translate …`.

Exit codes: 0 done; 1 training came apart, an export missed its bar, or a picture could not be
translated; 2 something the user can mend; 130 and 143 stopped by Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from .environment import backend_problem
from .errors import InputError, NonFiniteLoss

if TYPE_CHECKING:
    from rich.console import Console

    from .config import Config
    from .export.proof import Report
    from .networks import Direction
    from .training import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: what was typed behind the program's name. Default: `sys.argv[1:]`.

    Returns:
        The exit code. (Unusable arguments leave by `SystemExit(2)`, `--help` by `SystemExit(0)`.)
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be text
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("tfcyclegan").setLevel(logging.INFO)
    if problem := backend_problem():
        return _complain(problem, 2)
    from .callbacks import Interrupted

    try:
        from .config import Config

        command, given = _parse(arguments, Config())
        if command == "train":
            return _train(*_understand(arguments))
        return (_export if command == "export" else _translate)(**given)
    except InputError as problem:
        return _complain(problem, 2)
    except NonFiniteLoss as problem:
        return _complain(problem, 1)
    except Interrupted as stop:
        run_dir = shlex.quote(str(stop.checkpoint.parent.parent))
        print(f"stopped; {stop.checkpoint} is saved. Go on with:")
        print(f"  python -m tfcyclegan train --resume --run-dir {run_dir}")
        return 128 + stop.signal
    except KeyboardInterrupt:
        return _complain("interrupted: what is written is whole, the rest is not there", 130)
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            return _complain(f"{problem.filename or 'the disk'} is full: make room", 2)
        if problem.filename is None:
            raise
        return _complain(f"{problem.filename}: {problem.strerror}", 2)


def _complain(problem: object, code: int) -> int:
    print(f"tfcyclegan: {problem}", file=sys.stderr)
    return code


def _understand(arguments: list[str]) -> tuple[Config, bool]:
    """The configuration that was asked for, and whether to resume."""
    from .config import Config

    config, resume = _parse(arguments, Config())[1].values()
    if config.run_dir:
        directory = Path(config.run_dir)
    else:
        named = any(re.match(r"--data(=|$)", argument) for argument in arguments)
        newest = _newest_run(config.data if named else None) if resume else None
        directory = newest or _free_run_dir(config.data)
    if resume and (directory / "config.json").exists():
        # What is not typed stays what it was; what is typed is compared later on.
        saved = Config.load(directory / "config.json")
        started = dataclasses.replace(saved, run_dir=str(directory))
        config = _parse(arguments, started)[1]["config"]
    return dataclasses.replace(config, run_dir=str(directory)), resume


def _parse(arguments: list[str], default: Config) -> tuple[str, dict[str, Any]]:
    """The command and what was given to it, by name."""
    import tyro

    from .config import Config

    def train(config, resume=False):
        """Learn to translate pictures between two domains.

        Args:
            config: The settings.
            resume: Go on from the newest checkpoint of run_dir, or without that of the newest
                run there is (on data, if that is given). Settings not typed stay what they were.
        """
        return "train", {"config": config, "resume": resume}

    def export(
        run: str,
        to: str | None = None,
        direction: Literal["both", "AtoB", "BtoA"] = "both",
        image_size: str | None = None,
        dynamic_size: bool = False,
        precision: Literal["float32", "bfloat16"] = "float32",
        max_pixels: int = 2**21,
        data: str | None = None,
        count: int = 8,
        enforce: bool = True,
    ):
        """Turn a trained model into SavedModels for TF Serving and LiteRT files, measured.

        Args:
            run: A run folder, or a .keras file.
            to: The folder to write. Its name is the models' name on a server. Default:
                exports/NAME of the run.
            direction: Which generators.
            image_size: Size that LiteRT files are fixed to, N or HEIGHTxWIDTH in px. Default: that
                of training.
            dynamic_size: LiteRT files for any size (int8 is then slower than float32).
            precision: What the SavedModels compute in.
            max_pixels: Pixels that a server puts through the generator at once.
            data: Where pictures to measure on come from, as in train. Default: the run's data.
            count: Pictures of each domain to measure on.
            enforce: Leave out what misses its bar, instead of publishing it marked.
        """
        return "export", locals()

    def translate(
        inputs: tuple[str, ...],
        model: str,
        to: str,
        direction: Literal["AtoB", "BtoA"] | None = None,
        glob: str = "",
        image_size: str | None = None,
        independent_tiles: bool = False,
        skip_existing: bool = False,
        strict: bool = False,
        side_by_side: bool = False,
        timeout: float = 60.0,
    ):
        """Translate picture files and folders of them.

        Args:
            inputs: Pictures, and folders that are searched with all that is in them.
            model: A run folder, .keras file, export, SavedModel, .tflite file, or a TF Serving
                address (http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME).
            to: The folder to write to; names stay.
            direction: Which way, where the model goes both ways. Default: AtoB.
            glob: Pattern of the names to take from folders, such as "*.png". Default: all pictures.
            image_size: Size to work at, in px: N for the shorter side, or HEIGHTxWIDTH. Results
                are scaled back. Default: the pictures' own size.
            independent_tiles: Go over pictures that the model does not take whole in tiles, which
                may differ in colour. Run folders and .keras files need none of it.
            skip_existing: Leave out what is there already, to go on after an interruption.
            strict: Stop at the first picture that cannot be translated.
            side_by_side: Also write comparison pictures and a page to look at them.
            timeout: Seconds that a server may take for a picture.
        """
        return "translate", locals()

    # Names in strings would be looked up in the module, which imports neither of them early.
    train.__annotations__ = {"config": Config, "resume": bool}
    train.__defaults__ = (default, False)
    run = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    export.__annotations__["run"] = run
    inputs = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT...")]
    translate.__annotations__["inputs"] = inputs
    return tyro.extras.subcommand_cli_from_dict(
        {"train": train, "export": export, "translate": translate},
        prog="tfcyclegan",
        description="CycleGAN for Keras: translate pictures between two domains, unpaired.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _newest_run(data: str | None) -> Path | None:
    """The run that was started last, on that data or on any."""
    from .config import Config

    runs = sorted(Path("runs").glob("*/config.json"), key=lambda path: path.stat().st_mtime)
    fitting = [path for path in runs if data is None or Config.load(path).data == data]
    return fitting[-1].parent if fitting else None


def _free_run_dir(data: str) -> Path:
    """runs/NAME of the data, with a number where that is taken."""
    last = re.split(r"[/\\:]", data.rstrip("/\\:"))[-1]
    name = re.sub(r"[^\w.-]+", "_", last.removesuffix(".zip")).strip(".") or "run"
    number = 1
    while (directory := Path("runs", name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return directory


def _train(config: Config, resume: bool) -> int:
    from rich.console import Console

    from .config import Config
    from .precision import resolve_precision
    from .training import train

    console = Console()
    precision, reason = resolve_precision(config.precision)
    console.print(f"precision {precision}: {reason}", highlight=False)
    run = train(config, resume)
    _report(run, console)
    if config.export:
        config = Config.load(run.directory / "config.json")  # as it was resolved
        name = run.directory.resolve().name
        try:
            report = _export_model(run.model, config, Path("exports", name), console)
            problems = report.missed
        except InputError as problem:
            again = f"python -m tfcyclegan export {shlex.quote(str(run.directory))}"
            problems = [f"not exported: {problem}. The run is complete; export it with: {again}"]
        for line in problems:
            console.print(f"warning: {line}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _export(
    run: str,
    to: str | None,
    direction: str,
    image_size: str | None,
    data: str | None,
    **settings: Any,
) -> int:
    from rich.console import Console

    from .backends import load_model
    from .config import Config
    from .cyclegan import CycleGAN

    path = Path(run)
    if path.is_dir():
        if not (path / "config.json").exists():
            raise InputError(f"{run}: no config.json in it, so it is no run: give a run folder")
        config = Config.load(path / "config.json")
        name = path.resolve().name
    elif path.suffix == ".keras" or not path.exists():
        config, name = None, path.stem
    else:
        raise InputError(f"{run}: give a run folder or a .keras file")
    model = load_model(path)
    if config is None:
        if data is None:
            raise InputError(f"{run}: a file does not say what to measure on: pass --data")
        side = getattr(model, "image_size", None)
        config = Config(data=data, image_size=side if isinstance(side, int) else 256)
    if data is not None:
        config = dataclasses.replace(config, data=data)
    directions = ("AtoB", "BtoA") if direction == "both" else (direction,)
    if direction == "both" and not isinstance(model, CycleGAN):
        directions = ("AtoB",)  # a generator alone
    console = Console()
    report = _export_model(
        model, config, Path(to or Path("exports", name)), console,
        directions=directions, image_size=image_size, **settings,
    )  # fmt: skip
    for line in report.missed:
        print(f"tfcyclegan: {line}", file=sys.stderr)
    return 1 if report.missed and settings["enforce"] else 0


def _export_model(
    model: Any,
    config: Config,
    to: Path,
    console: Console,
    *,
    directions: tuple[Direction, ...] = ("AtoB", "BtoA"),
    image_size: str | None = None,
    count: int = 8,
    **settings: Any,
) -> Report:
    """Exports, and prints the report."""
    from rich.table import Table

    from .backends import generator_of
    from .data import load_test_pictures
    from .export import export_generators
    from .translation import parse_size

    if count < 1:
        raise InputError(f"--count {count}: must be at least 1")
    height, width = parse_size(image_size or str(config.image_size))
    size = (height or width, width)
    generators = {way: generator_of(model, way, model.name) for way in directions}
    pictures = {
        way: load_test_pictures(
            config.data, way[0], count, image_size=size,
            channels=generator.input_shape[-1], data_dir=config.data_dir,
        )
        for way, generator in generators.items()
    }  # fmt: skip
    report = export_generators(generators, to, pictures, image_size=size, **settings)
    table = Table(title=f"Exported to {to}")
    head, *rows = report.rows()
    verdict = [-1] if report.missed else []
    shown = [0, 1, 3, 4, 5, *verdict]  # what 80 columns hold
    for column in shown:
        table.add_column(head[column], justify="right" if column > 0 else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(row[column] for column in shown))
    console.print(table)
    console.print(f"report: {to / 'report.md'}", highlight=False, soft_wrap=True)
    return report


def _translate(
    inputs: tuple[str, ...],
    model: str,
    to: str,
    direction: Direction | None,
    glob: str,
    side_by_side: bool,
    timeout: float,
    **settings: Any,
) -> int:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from .backends import open_backend
    from .translation import find_pictures, translate_files
    from .translation.gallery import write_gallery

    if timeout <= 0:
        raise InputError(f"--timeout {timeout:g}: must be more than 0")
    jobs = find_pictures(inputs, to, glob)
    backend = open_backend(model, direction, timeout)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    start = time.perf_counter()
    done = skipped = failed = 0
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("translating", total=len(jobs))
        for job in translate_files(jobs, backend, to, side_by_side=side_by_side, **settings):
            progress.update(task, advance=1)
            skipped += job.skipped
            if job.problem:
                failed += 1
                progress.console.print(
                    f"left out: {job.problem}", highlight=False, markup=False, soft_wrap=True
                )
            elif not job.skipped:
                done += 1
    seconds = time.perf_counter() - start
    words = f"translated {done} pictures to {to} in {seconds:.1f} s"
    words += f", {done / seconds:.2f} a second" if done else ""
    words += f"; {skipped} were there already" if skipped else ""
    words += f"; {failed} could not be translated" if failed else ""
    console.print(words, highlight=False, markup=False, soft_wrap=True)
    title = " ".join(filter(None, (Path(to).name, backend.direction)))
    if side_by_side and (page := write_gallery(Path(to), title)):
        console.print(f"gallery: {page}", highlight=False, markup=False, soft_wrap=True)
    return 1 if failed else 0


def _report(run: Run, console: Console) -> None:
    from rich.table import Table

    if run.scores:
        table = Table(title="On the test pictures")
        table.add_column("")
        table.add_column("PSNR", justify="right")
        table.add_column("SSIM", justify="right")
        titles = {
            "AtoB": "G(A) to its truth in B",
            "untouched A": "  A itself to that truth (doing nothing)",
            "BtoA": "F(B) to its truth in A",
            "untouched B": "  B itself to that truth (doing nothing)",
            "cycle A": "F(G(A)) to A",
            "cycle B": "G(F(B)) to B",
        }
        for name, scores in run.scores.items():
            table.add_row(titles[name], f"{scores['psnr']:.2f} dB", f"{scores['ssim']:.3f}")
        console.print(table)
    checkpoints = sorted((run.directory / "checkpoints").glob("*.npz"))
    size = sum(path.stat().st_size for path in checkpoints) / 1e6
    for label, path in (
        ("sample grid", run.grid),
        ("curves", run.directory / "curves.png"),
        ("model", run.directory / "model.keras"),
        (f"{len(checkpoints)} checkpoints, {size:.0f} MB", run.directory / "checkpoints"),
    ):
        console.print(f"{label}: {path}", highlight=False, soft_wrap=True)
