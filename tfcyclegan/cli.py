"""The command line: `tfcyclegan train …`, or `python -m tfcyclegan train …`.

Exit codes: 0 done, 1 training came apart, 2 something the user can mend, 130 and 143 stopped by
Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .environment import backend_problem
from .errors import InputError, NonFiniteLoss

if TYPE_CHECKING:
    from .config import Config
    from .training import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: what was typed behind the program's name. Default: `sys.argv[1:]`.

    Returns:
        The exit code. (Unusable arguments leave by `SystemExit(2)`, `--help` by `SystemExit(0)`.)
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("tfcyclegan").setLevel(logging.INFO)
    if problem := backend_problem():
        return _complain(problem, 2)
    from .callbacks import Interrupted

    try:
        return _train(*_understand(arguments))
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
        return _complain("interrupted at once: no more is saved than was before", 130)
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _complain(f"{problem.filename or 'the disk'} is full: make room", 2)


def _complain(problem: object, code: int) -> int:
    print(f"tfcyclegan: {problem}", file=sys.stderr)
    return code


def _understand(arguments: list[str]) -> tuple[Config, bool]:
    """The configuration that was asked for, and whether to resume."""
    from .config import Config

    config, resume = _parse(arguments, Config())
    if config.run_dir:
        directory = Path(config.run_dir)
    else:
        named = any(re.match(r"--data(=|$)", argument) for argument in arguments)
        newest = _newest_run(config.data if named else None) if resume else None
        directory = newest or _free_run_dir(config.data)
    if resume and (directory / "config.json").exists():
        # What is not typed stays what it was; what is typed is compared later on.
        saved = Config.load(directory / "config.json")
        config, _ = _parse(arguments, dataclasses.replace(saved, run_dir=str(directory)))
    return dataclasses.replace(config, run_dir=str(directory)), resume


def _parse(arguments: list[str], default: Config) -> tuple[Config, bool]:
    import tyro

    from .config import Config

    def train(config: Config = default, resume: bool = False) -> tuple[Config, bool]:
        """Learn to translate pictures between two domains.

        Args:
            config: The settings.
            resume: Go on from the newest checkpoint of run_dir, or without that of the newest
                run there is (on data, if that is given). Settings not typed stay what they were.
        """
        return config, resume

    # Names in strings would be looked up in the module, which does not import Config early.
    train.__annotations__ = {"config": Config, "resume": bool, "return": tuple}
    return tyro.extras.subcommand_cli_from_dict(
        {"train": train},
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

    from .precision import resolve_precision
    from .training import train

    console = Console()
    precision, reason = resolve_precision(config.precision)
    console.print(f"precision {precision}: {reason}", highlight=False)
    run = train(config, resume)
    _report(run, console)
    return 0


def _report(run: Run, console: object) -> None:
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
