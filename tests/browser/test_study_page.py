"""The page of a perceptual study in a real browser, with simulated participants."""

import contextlib
import functools
import http.server
import json
import random
import re
import shutil
import threading

import numpy as np
import pytest
from PIL import Image

from tfcyclegan.studies.answers import evaluate_answers
from tfcyclegan.studies.perceptual import write_study

pytestmark = pytest.mark.browser

PRACTICE, TRIALS = 4, 16
#: How often each algorithm fools the simulated participants.
RATES = {"one": 0.4, "two": 0.1}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "needs Debian's package chromium"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study, the folder it is in, and the names of its real pictures."""
    folder = tmp_path_factory.mktemp("study")
    for place, name in enumerate(("real", *RATES)):
        (folder / name).mkdir()
        for index in range(PRACTICE + TRIALS):
            pixels = np.full((32, 32, 3), 80 * place, np.uint8)
            pixels[0, 0] = index
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    page = write_study(
        folder / "real", {name: folder / name for name in RATES}, folder / "page",
        practice=PRACTICE, trials=TRIALS, seconds=0.1, size=32,
    )  # fmt: skip
    pairs = json.loads(re.search(r"const STUDY = (.*);", page.read_text())[1])["pairs"]
    return folder / "page", {real for real, _ in pairs["one"]}


@pytest.fixture(scope="module")
def address(study):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=study[0])
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


@contextlib.contextmanager
def open_page(browser, address, query="", clock=False, **settings):
    context = browser.new_context(accept_downloads=True, **settings)
    context.set_default_timeout(20_000)
    page = context.new_page()
    if clock:
        page.clock.install()
    problems = []
    page.on("pageerror", lambda problem: problems.append(str(problem)))
    page.goto(address + query)
    yield page
    context.close()
    assert not problems


#: Notes the pictures that the page shows.
WATCH = """
window.seen = [];
new MutationObserver(changes => {
  for (const change of changes) for (const node of change.addedNodes)
    if (node.tagName === "IMG") window.seen.push(node.src.split("/").pop());
}).observe(document.getElementById("screen"), { childList: true });
"""


def sit(page, real, rate, people, keys=True, first=0):
    """Answers every trial, wrong at a rate, and returns the file of answers.

    With keys the page's clock is the test's, otherwise it is the real one.
    """

    def pass_time():
        return page.clock.run_for(50) if keys else page.wait_for_timeout(50)

    page.evaluate(WATCH)
    for trial in range(first, PRACTICE + TRIALS):
        if page.locator("#next").is_visible():
            page.keyboard.press(" ") if keys else page.locator("#next").tap()
        for _ in range(200):
            if page.locator("#choice").is_visible():
                break
            pass_time()
        one, two = page.evaluate("window.seen.slice(-2)")
        assert (one in real) != (two in real)
        fooled = trial >= PRACTICE and people.random() < rate
        says_first = (one in real) != fooled
        for _ in range(6):
            pass_time()  # nobody answers at once
        if keys:
            page.keyboard.press("1" if says_first else "ArrowRight")
        else:
            page.locator("#first" if says_first else "#second").tap()
        if trial < PRACTICE:
            assert page.locator("#text").inner_text() == "Right."
    page.locator("#save").wait_for(state="visible")
    with page.expect_download() as download:
        page.locator("#file").click()
    return download.value.path()


def test_known_rates_come_back(browser, address, study, tmp_path):
    people, files, told = random.Random(0), [], {name: [] for name in RATES}
    for number in range(4):
        for name, rate in RATES.items():
            query = f"?algorithm={name}&participant=p{number}{name}"
            with open_page(browser, address, query, clock=True) as page:
                path = tmp_path / f"{name}{number}.json"
                path.write_bytes(sit(page, study[1], rate, people).read_bytes())
                files.append(path)
            content = json.loads(path.read_text())
            assert (content["algorithm"], content["participant"]) == (name, f"p{number}{name}")
            assert all(90 <= ms < 1000 for a in content["answers"] for ms in a["shown"])
            told[name] += [not a["right"] for a in content["answers"] if not a["practice"]]
    results = evaluate_answers(files)
    assert not results.excluded
    for name, rate in RATES.items():
        assert results.shares[name] == np.mean(told[name])
        low, high = results.interval(name)
        assert low <= rate <= high
    assert results.better("one", "two") > 0.95


def test_on_a_phone_and_after_a_reload(browser, address, study):
    """By touch; a sitting goes on after a reload, and no picture comes twice."""
    with open_page(
        browser, address, viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True
    ) as page:
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360
        page.locator("#next").tap()
        page.locator("#choice").wait_for(state="visible")
        before = page.evaluate("JSON.parse(localStorage.getItem(Object.keys(localStorage)[0]))")
        page.reload()
        assert page.locator("#next").inner_text() == "Go on (space)"
        path = sit(page, study[1], 0.0, random.Random(0), keys=False, first=1)
        content = json.loads(path.read_text())
        assert content["participant"] == before["participant"]
        assert [answer["trial"] for answer in content["answers"]] == [*range(2, 21)]
        shown = [answer[side] for answer in content["answers"] for side in ("real", "fake")]
        assert len(set(shown)) == len(shown)


def test_the_order_is_the_participants(browser, address):
    """The same code gives the same order, another code another; an unknown algorithm is named."""

    def order(code):
        with open_page(browser, address, f"?algorithm=one&participant={code}") as page:
            return page.evaluate("trials.map(t => [t.real, t.fake, t.realFirst])")

    assert order("a") == order("a") != order("b")
    with open_page(browser, address, "?algorithm=three") as page:
        assert page.locator("#text").inner_text() == "There is no algorithm three in this study."
    drawn = set()
    for number in range(8):
        with open_page(browser, address, f"?participant={number}") as page:
            drawn.add(page.evaluate("sitting.algorithm"))
    assert drawn == set(RATES)
