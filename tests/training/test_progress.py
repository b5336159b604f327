"""The progress line where there is no terminal, as in a log file."""

from tfcyclegan.training.progress import ProgressLine


def test_the_last_line_of_a_run(start, data, fit, capsys):
    progress = ProgressLine(15, interval=0.0)
    progress.close()  # does nothing before training
    fit(start(), data(), progress)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("epoch 3/3, step 15/15, ")
    assert "ETA 0:00:00" in lines[-1]
    assert "loss " in lines[-1]


def test_seldom_lines(start, data, fit, capsys):
    """With a long interval, only the end of the run is printed."""
    fit(start(), data(), ProgressLine(15, interval=1000.0))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("epoch 3/3, step 15/15, ")
