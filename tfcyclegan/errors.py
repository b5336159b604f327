"""What goes wrong for a reason that the user can understand from one line."""

from __future__ import annotations

import signal
from pathlib import Path

#: The command line's exit code where the same command may go well the next time (BSD's
#: EX_TEMPFAIL).
TRY_AGAIN = 75


class InputError(ValueError):
    """A file, folder or setting that cannot be worked with, and what to do about it.

    Its message is one line that names the thing and the remedy. The command line prints that
    line and exits with 2. Nothing that was there before is overwritten.
    """


class NonFiniteLoss(ArithmeticError):
    """A loss or a weight became infinite or not a number.

    Its message names it, the step and the way back; the command line exits with 1.
    """


class PeerLost(RuntimeError):
    """Another worker of the same run is gone, and training cannot go on without it.

    The command line exits with `TRY_AGAIN`.

    Attributes:
        what: who was lost, or what else went wrong between workers.
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
    """SIGTERM asked to stop: the way out is that of Ctrl-C, with the exit code 143."""


def first_line(problem: object) -> str:
    """What an error of some library says, in one line of bounded length."""
    lines = str(problem).strip().splitlines()
    return lines[0][:300] if lines else type(problem).__name__


class Interrupted(Exception):
    """A signal asked to stop; the step was finished and the state saved.

    Attributes:
        signal: its number.
        checkpoint: path of what was saved.
    """

    def __init__(self, number: int, checkpoint: Path):
        super().__init__(f"{signal.Signals(number).name}: saved {checkpoint}")
        self.signal = number
        self.checkpoint = checkpoint
