"""Errors that one line explains to the user."""

from __future__ import annotations

import signal
from pathlib import Path

#: Exit code of the command line when the same command may succeed next time (BSD's EX_TEMPFAIL).
TRY_AGAIN = 75


class InputError(ValueError):
    """A file, folder or setting that cannot be used, and what to do about it.

    The message is one line that names the thing and the remedy. It writes Python arguments as
    `name=value` or between backticks; the command line turns these into options, prints the line
    and exits with 2. Existing files are left as they were.
    """


class NonFiniteLoss(ArithmeticError):
    """A loss or a weight is infinite or NaN.

    The message names it, the step and the checkpoint to go back to. The command line exits with 1.
    """


class PeerLost(RuntimeError):
    """Another worker of the run is gone, so training cannot go on.

    The command line exits with `TRY_AGAIN`.

    Attributes:
        what: which worker was lost, or which other problem there was between workers.
    """

    def __init__(
        self,
        what: str,
        remedy: str = (
            "Start all workers again: with ResumableState they go on from the last checkpoint"
        ),
    ):
        super().__init__(f"{what}: training cannot go on. {remedy}")
        self.what = what


class Terminated(KeyboardInterrupt):
    """SIGTERM: the process stops as it does on Ctrl-C, with exit code 143."""


class Interrupted(Exception):
    """A signal stopped training after the step was finished and the state was saved.

    Attributes:
        signal: int, the signal's number.
        checkpoint: path of the saved state.
    """

    def __init__(self, number: int, checkpoint: Path):
        super().__init__(f"{signal.Signals(number).name}: saved {checkpoint}")
        self.signal = number
        self.checkpoint = checkpoint


def first_line(problem: object) -> str:
    """The message of another library's error, as one line of at most 300 characters."""
    lines = str(problem).strip().splitlines()
    return lines[0][:300] if lines else type(problem).__name__
