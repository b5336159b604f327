"""The answers to a perceptual study: evaluated, excluded with a reason, and attacked."""

import json

import numpy as np
import pytest
from PIL import Image

from tfcyclegan import InputError
from tfcyclegan.cli import main
from tfcyclegan.studies.answers import evaluate_answers, read_sitting


def answers(rate, random, participant="p", algorithm="CycleGAN", practice=9, **changes):
    """A participant who is fooled at a rate, and answers `practice` of 10 practice trials right."""
    found = []
    for number in range(50):
        right = number < practice if number < 10 else random.random() >= rate
        real_first = bool(random.random() < 0.5)
        found.append(
            {
                "trial": number + 1, "practice": number < 10, "right": bool(right),
                "real": f"r{number}.png", "fake": f"f{number}.png", "real_first": real_first,
                "said_first": real_first if right else not real_first,
                "milliseconds": int(random.integers(600, 2000)), "shown": [1000, 1000],
            }
        )  # fmt: skip
    whole = {"version": 1, "study": "s", "participant": participant, "algorithm": algorithm}
    return {**whole, "answers": found, **changes}


def save(folder, *contents):
    paths = []
    for content in contents:
        paths.append(folder / f"{len(list(folder.iterdir())):03}.json")
        paths[-1].write_text(json.dumps(content))
    return paths


def test_known_rates_come_back(tmp_path):
    """The truth is in the 95 % interval about 95 times in 100."""
    inside, widths = 0, []
    for repetition in range(40):
        folder = tmp_path / str(repetition)
        folder.mkdir()
        random = np.random.default_rng(repetition)
        contents = [
            answers(rate, random, f"{name} {person}", name)
            for name, rate in (("CycleGAN", 0.26), ("CoGAN", 0.05))
            for person in range(12)
        ]
        results = evaluate_answers(save(folder, *contents), draws=2000)
        assert abs(results.shares["CycleGAN"] - 0.26) < 0.08
        for name, rate in (("CycleGAN", 0.26), ("CoGAN", 0.05)):
            low, high = results.interval(name)
            inside += low <= rate <= high
            widths.append((high - low) / np.sqrt(rate * (1 - rate) / 480))
        assert results.better("CycleGAN", "CoGAN") > 0.99
        assert results.better("CoGAN", "CycleGAN") == pytest.approx(
            1 - results.better("CycleGAN", "CoGAN")
        )
    assert 66 <= inside <= 80, inside
    # As people are alike, ±1.96 standard errors of 480 trials.
    assert 3.2 < np.mean(widths) < 4.2, np.mean(widths)


def test_people_differ(tmp_path):
    """The interval is wider if people differ than if only their trials do."""
    random = np.random.default_rng(0)
    alike = save(tmp_path, *(answers(0.5, random, f"a{i}") for i in range(8)))
    apart = save(tmp_path, *(answers(float(i % 2), random, f"b{i}") for i in range(8)))
    widths = [
        np.subtract(*evaluate_answers(files).interval("CycleGAN")[::-1]) for files in (alike, apart)
    ]
    assert widths[1] > 3 * widths[0]


def test_careless_sittings_are_left_out(tmp_path):
    random = np.random.default_rng(0)
    good = answers(0.2, random, "good")
    fast, same, chance = (answers(0.2, random, name) for name in ("fast", "same", "chance"))
    for answer in fast["answers"]:
        answer["milliseconds"] = 90
    for answer in same["answers"]:
        answer["said_first"] = True
        answer["right"] = answer["real_first"]
        if answer["practice"]:
            answer |= {"real_first": True, "right": True}
    chance = answers(0.2, random, "chance", practice=5)
    files = save(tmp_path, good, fast, same, chance, good)
    results = evaluate_answers(files)
    assert [why for _, why in results.excluded] == [
        "too fast: its median answer took 90 ms", "always the same key",
        "practice at chance: 5 of 10 right", "the participant good again",
    ]  # fmt: skip
    assert len(results.sittings["CycleGAN"]) == 1
    everyone = evaluate_answers(files, keep_all=True)
    assert len(everyone.sittings["CycleGAN"]) == 4


def test_the_command(tmp_path, capsys):
    random = np.random.default_rng(0)
    files = save(
        tmp_path,
        *(answers(0.3, random, f"a{i}") for i in range(4)),
        *(answers(0.1, random, f"b{i}", "[/b] $\\foo$") for i in range(4)),
        answers(0.1, random, "slow", practice=2),
    )
    out = tmp_path / "out"
    assert main(["study-results", *map(str, files), "--to", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "practice at chance: 2 of 10 right" in printed
    assert "[/b]" in printed
    found = json.loads((out / "study.json").read_text())
    assert found["algorithms"]["CycleGAN"]["trials"] == 160
    assert found["excluded"][0]["file"] == str(files[-1])
    assert "| CycleGAN | 4 | 160 |" in (out / "study.md").read_text()
    assert Image.open(out / "study.png").width > 300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("answers"), "'answers' is missing"),
        (lambda c: c.update(version=2), "its version is 2"),
        (lambda c: c.update(participant=""), "'' is no name"),
        (lambda c: c.update(algorithm="a\x1b[2J"), "is no name"),
        (lambda c: c.update(algorithm="\ud800"), "is no name"),
        (lambda c: c.update(algorithm=["x"]), r"\['x'\] is no name"),
        (lambda c: c["answers"][3].update(right="yes"), "'yes' is neither true nor false"),
        (lambda c: c["answers"][3].update(milliseconds=-1), "-1 is no time"),
        (lambda c: c["answers"][3].update(milliseconds=float("nan")), "nan is no time"),
        (lambda c: c["answers"][3].update(real="r4.png"), "a picture was shown twice"),
        (lambda c: c["answers"][3].update(right=not c["answers"][3]["right"]), "contradict"),
        (lambda c: c.update(answers=7), "not a file of answers"),
    ],
)
def test_refuses_what_is_not_answers(change, message, tmp_path, capsys):
    content = answers(0.3, np.random.default_rng(0))
    change(content)
    (path,) = save(tmp_path, content)
    with pytest.raises(InputError, match=message):
        read_sitting(path)
    assert main(["study-results", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_refuses_other_files(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match="not a file of answers"):
        read_sitting(path)
    with path.open("wb") as file:
        file.truncate(10 * 2**20)
    with pytest.raises(InputError, match="too large"):
        read_sitting(path)
    with pytest.raises(InputError, match="there is no such file"):
        evaluate_answers([tmp_path / "none.json"])
    random = np.random.default_rng(0)
    with pytest.raises(InputError, match="of different studies"):
        evaluate_answers(save(tmp_path, answers(0, random), answers(0, random, "q", study="t")))
    with pytest.raises(InputError, match="no sitting counts"):
        evaluate_answers([])
