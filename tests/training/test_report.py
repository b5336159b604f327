"""The report of a run; tests/evaluation/test_evaluator.py has its scores and its refusals."""

import re

from PIL import Image

from tfcyclegan.training.report import GRIDS, write_report


def test_the_report_of_a_run(trained, tmp_path):
    page = write_report(trained.directory, trained.evaluation, tmp_path).read_text()
    assert page.count("data:image/webp") == 2 + 2 * 4 * 3  # grids and examples
    assert page.count("<svg") == 2
    assert "The last model (model.keras)" in page
    assert "also the best by psnr" in page or "Best model by psnr (epoch" in page
    assert '<th scope="row">filters</th><td>2</td>' in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    page = write_report(trained.directory, trained.evaluation, tmp_path, "best.keras").read_text()
    assert "best by psnr" not in page


def test_a_long_run_shows_only_some_grids(tmp_path):
    (tmp_path / "samples").mkdir()
    for epoch in range(1, 2 * GRIDS + 1):
        Image.new("RGB", (4, 4)).save(tmp_path / "samples" / f"epoch_{epoch:04d}.png")
    page = write_report(tmp_path, None).read_text()
    epochs = [int(epoch) for epoch in re.findall(r'alt="epoch (\d+)"', page)]
    assert len(epochs) == GRIDS
    assert (epochs[0], epochs[-1]) == (1, 2 * GRIDS)
