"""What goes wrong for a reason that the user can mend."""

from __future__ import annotations


class InputError(ValueError):
    """A file, folder or setting that cannot be worked with, and what to do about it.

    Its message is one line that names the thing and the remedy. The command line prints that
    line and exits with 2; nothing has been written by then.
    """
