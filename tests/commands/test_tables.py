"""Tables on the terminal."""

from tfcyclegan.commands.tables import print_table


def test_words_are_left_justified_and_numbers_right(capsys):
    print_table("Scores", [("", "what", "PSNR"), ("G", "A", "9"), ("F", "longer", "10.25")], left=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
    cells = [line.split("│")[1:-1] for line in lines]
    assert cells == [[" G ", " A      ", "     9 "], [" F ", " longer ", " 10.25 "]]
