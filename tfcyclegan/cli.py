"""The command line, `tfcyclegan train …` and so on: which command, and how it ends.

Exit codes: 0 done; 1 training came apart, an export missed its bar, or a picture could not be
translated; 2 something the user can mend; 75 another worker was lost, start all of them again;
130 and 143 stopped by Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import errno
import logging
import shlex
import sys
from collections.abc import Sequence

from .environment import backend_problem
from .errors import TRY_AGAIN, InputError, Interrupted, NonFiniteLoss, PeerLost, Terminated


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
    try:
        return _run(arguments)
    except (InputError, NonFiniteLoss, PeerLost) as problem:
        from .commands.flags import as_flags

        code = {NonFiniteLoss: 1, PeerLost: TRY_AGAIN}.get(type(problem), 2)
        return _complain(as_flags(str(problem)), code)
    except Interrupted as stop:
        run_dir = shlex.quote(str(stop.checkpoint.parent.parent))
        print(f"stopped; {stop.checkpoint} is saved. Go on with:")
        print(f"  python -m tfcyclegan train --resume --run-dir {run_dir}")
        return 128 + stop.signal
    except KeyboardInterrupt as stop:
        code = 143 if isinstance(stop, Terminated) else 130
        return _complain("interrupted: what is written is whole, the rest is not there", code)
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            return _complain(f"{problem.filename or 'the disk'} is full: make room", 2)
        if problem.filename is None:
            raise
        return _complain(f"{problem.filename}: {problem.strerror}", 2)


def _complain(problem: object, code: int) -> int:
    # What a file or a server says may hold anything: it stays one line, and no terminal obeys it.
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(problem))
    print(f"tfcyclegan: {text}", file=sys.stderr)
    return code


def _run(arguments: list[str]) -> int:
    """Finds the command that was typed, and does it."""
    import tyro

    from .commands import train
    from .commands.evaluate import evaluate
    from .commands.export import export
    from .commands.importing import import_model
    from .commands.reproduce import reproduce
    from .commands.translate import translate

    return tyro.extras.subcommand_cli_from_dict(
        {
            "train": train.command(arguments[1:]),
            "evaluate": evaluate,
            "export": export,
            "translate": translate,
            "reproduce": reproduce,
            "import": import_model,
        },
        prog="tfcyclegan",
        description="CycleGAN for Keras: translate pictures between two domains, unpaired.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
