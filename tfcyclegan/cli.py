"""The command line: `tfcyclegan train …` and so on.

Exit codes: 0 success; 1 training diverged, `export` discarded an export, or a picture could not be
translated; 2 an error that the user can fix; 75 another worker was lost: start all workers
again; 130 stopped by Ctrl-C; 143 stopped by SIGTERM.
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
        arguments: the arguments after the program's name. Default: `sys.argv[1:]`.

    Returns:
        The exit code.

    Raises:
        SystemExit: with code 0 after `--help`, with code 2 if the arguments cannot be parsed.

    Example:
        ```python
        main(["translate", "horse.jpg", "--model", "runs/horse2zebra", "--to", "zebras"])
        ```
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name may hold any bytes
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("tfcyclegan").setLevel(logging.INFO)
    if problem := backend_problem():
        return _complain(problem, 2)
    try:
        import tyro

        from .commands.flags import COMMANDS
        from .commands.train import train, understand

        if arguments[:1] == ["train"]:
            return train(*understand(arguments[1:]))
        return tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="tfcyclegan",
            description="CycleGAN for Keras: translate pictures between two domains, unpaired.",
            args=arguments,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    except (InputError, NonFiniteLoss, PeerLost) as problem:
        from .commands.flags import as_flags

        code = {NonFiniteLoss: 1, PeerLost: TRY_AGAIN}.get(type(problem), 2)
        return _complain(as_flags(str(problem)), code)
    except Interrupted as stop:
        run_dir = shlex.quote(str(stop.checkpoint.parent.parent))
        print(f"stopped; {stop.checkpoint} is saved. Continue with:")
        print(f"  python -m tfcyclegan train --resume --run-dir {run_dir}")
        return 128 + stop.signal
    except KeyboardInterrupt as stop:
        code = 143 if isinstance(stop, Terminated) else 130
        return _complain("interrupted: no file is left half-written", code)
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            return _complain(f"{problem.filename or 'the disk'} is full: make room", 2)
        if problem.filename is None:
            raise
        return _complain(f"{problem.filename}: {problem.strerror}", 2)


def _complain(problem: object, code: int) -> int:
    # Text from files and servers may contain line breaks and terminal escape sequences.
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(problem))
    print(f"tfcyclegan: {text}", file=sys.stderr)
    return code
