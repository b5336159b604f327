"""Finds and kills the processes below one, which may end at any moment meanwhile."""

import contextlib

import psutil


def below(pid, name=""):
    """The processes below `pid` with `name` in their name or command line."""
    found = psutil.Process(pid).children(recursive=True)
    return [process for process in found if name in spelled(process)]


def spelled(process):
    """Nothing for a process that has ended, or that ends and has no command line any more."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join((process.name(), *process.cmdline()))
    return ""


def kill_all(pid):
    """Kills the processes below `pid`, then itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in (*below(pid), psutil.Process(pid)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
