"""The page of the operator, in a real Chromium: every state, by pointer and by keys, wide and narrow, light and dark.

What a picture shows is told by its colour here, so that it is known who is found: each of ten people has one.
"""

from __future__ import annotations

import colorsys
import csv
import itertools
import json
import os
import shutil
import subprocess
import tarfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reidkit.gallery import Filter, Row
from reidkit.gallery.memory import MemoryGallery
from reidkit.metrics import calibrate
from reidkit.serve.tokens import new_token
from reidkit.types import Embeddings
from tests.serve.conftest import filled, running, saved, wait_for

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium on this machine: apt-get install chromium"
)

COLOURS = [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(number / 10, 1, 0.9)) for number in range(10)]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 320, "height": 640}
ENDED = (
    "results",
    "no-results",
    "below-threshold-only",
    "overloaded",
    "bad-image",
    "model-mismatch",
    "offline",
    "error",
)


def person(number, size=(48, 96)):
    """A picture of one person."""
    return saved(Image.new("RGB", size, COLOURS[number]), "PNG")


def people(dim):
    """The feature of each person, as `filled` draws them first."""
    return np.random.default_rng(0).normal(size=(10, dim)).astype(np.float32)


def by_colour(dim):
    """A network that knows people by the mean colour of a picture."""
    vectors = people(dim)

    def run(images):
        means = [image.reshape(-1, 3).mean(axis=0) for image in images]
        return [vectors[np.square(np.array(COLOURS) - mean).sum(axis=1).argmin()] for mean in means]

    return run


def calibrated(gallery):
    """Give a gallery a calibration by its own rows."""
    rows = list(gallery)
    features = gallery.vectors([row.key for row in rows])
    cameras = [["door", "hall", "yard"].index(row.camera) for row in rows]
    images = Embeddings(features, [row.pid for row in rows], cameras)
    gallery.calibration = calibrate(images, images, far=0.01)
    return gallery


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def service(model):
    with running(model, calibrated(filled(model))) as made:
        made.service.batcher._run = by_colour(model.dim)
        yield made


@pytest.fixture
def opened(browser, service):
    """Opens the page, `opened(state="ready", path="/", width=..., ...)`; no error may be left in its console."""
    contexts, errors = [], []

    def open_page(state="ready", path="/", base=None, **options):
        made = browser.new_context(**{"timezone_id": "Europe/Berlin", "viewport": WIDE, **options})
        made.set_default_timeout(60_000)
        contexts.append(made)
        page = made.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{base or service.base_url}".rstrip("/") + path)
        if state:
            page.wait_for_selector(f"body[data-state={state}]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def page(opened):
    return opened()


def choose(page, *numbers):
    page.set_input_files(
        "#files", [{"name": f"{n}.png", "mimeType": "image/png", "buffer": person(n)} for n in numbers]
    )
    page.wait_for_selector("#pictures li")


def search(page, *numbers, state="results"):
    """Search for somebody; the numbers of the people that were found, above and below the threshold."""
    if numbers:
        choose(page, *numbers)
    page.click("#go")
    ended(page, state)
    return found(page, "#hits"), found(page, "#hits-below")


def ended(page, state):
    page.wait_for_selector(", ".join(f"body[data-state={name}]" for name in ENDED))
    assert state in (None, page.get_attribute("body", "data-state")), status(page)


def found(page, where):
    keys = page.locator(f"{where} article").evaluate_all("all => all.map(each => each.dataset.key)")
    return [int(key[-7:-4]) % 10 for key in keys]  # as `filled` gives them to ten people in turn


def status(page):
    """What the page says, without what keeps names from turning it round."""
    return tuple(page.inner_text(part).replace("\u2068", "").replace("\u2069", "") for part in ("#status", "#alert"))


def watched(page):
    """Gives the states of the page from now on, with what it says in each: one that lasts a second may be missed."""
    page.evaluate("""() => {
        window.seen = [];
        const look = () => seen.push([document.body.dataset.state, document.getElementById('alert').innerText]);
        const all = {subtree: true, childList: true, characterData: true, attributes: true};
        new MutationObserver(look).observe(document.body, all);
    }""")
    return lambda: page.evaluate("seen")


def answer_with(page, path, status_, body, headers=None, times=1):
    """Have the service answer something else, so many times."""
    left = [times]

    def handle(route):
        if left[0] <= 0:
            route.fallback()
            return
        left[0] -= 1
        route.fulfill(
            status=status_, content_type="application/problem+json", headers=headers or {}, body=json.dumps(body)
        )

    page.route(f"**{path}", handle)


# ---- states


def test_loading(opened):
    page = opened(state=None, path="/static/icon.svg")
    page.route("**/v1/info", lambda _: None)  # no answer comes
    page.goto(page.url.replace("/static/icon.svg", "/"))
    page.wait_for_selector("body[data-state=loading-info]")
    assert status(page)[0] == "Loading."
    assert page.is_disabled("#go")


def test_ready(page):
    assert status(page) == ("Choose a picture of the person, then search.", "")
    assert page.inner_text("#about") == "60 images by 3 cameras · model 01234567"
    assert "about 1 false match in 100 strangers" in page.inner_text("#threshold-words")
    page.click("#go")
    assert page.evaluate("document.activeElement.id") == "files"


def test_empty_gallery(opened, model):
    with running(model, MemoryGallery(model)) as empty:
        page = opened("empty-gallery", base=empty.base_url, path="/#threshold=0.5")
        assert "No images yet." in status(page)[0]
        empty.service.gallery.add_vectors(np.eye(1, model.dim), [Row("a", camera="door")])
        page.click("#retry")
        page.wait_for_selector("body[data-state=ready]")
        assert page.inner_text("#about").startswith("1 image by 1 camera ")
        empty.service.gallery.remove(["a"])
        page.reload()
        page.wait_for_selector("body[data-state=empty-gallery]")
        assert page.is_disabled("#go")
        assert "Not calibrated" in page.inner_text("#threshold-words")
        assert not page.is_visible("#threshold-reset")


def test_results(page):
    above, below = search(page, 3)
    assert set(above) == {3}
    assert len(above) == 6
    assert 3 not in below
    said = status(page)[0]
    assert said.startswith("20 of 60 images, 6 matches at the threshold, ")
    assert said.endswith("exact.")
    first = page.locator("#hits article").first
    assert "% same person" in first.inner_text()
    assert "camera " in first.inner_text()
    assert "26 Nov 2026, 09:" in first.inner_text(), "in the time of Berlin"
    assert first.locator("img").get_attribute("alt").startswith("Result 1: camera ")
    assert not page.is_visible("#hits-below")
    page.click("#below summary")
    assert page.is_visible("#hits-below article")
    assert page.inner_text("#below summary") == "Below the threshold: probably other people (14)"


def test_nobody_above_the_threshold(page):
    page.evaluate("document.getElementById('threshold').value = document.getElementById('threshold').max")
    page.dispatch_event("#threshold", "input")
    above, below = search(page, 3, state="below-threshold-only")
    assert above == []
    assert below[:6] == [3] * 6
    assert page.inner_text("#below summary") == "Below the threshold that you chose (20)"
    assert status(page)[0].startswith("Nobody reaches the threshold; the nearest are shown below.")
    assert page.is_visible("#hits-below article")
    page.click("#threshold-reset")
    assert len(found(page, "#hits")) == 6
    assert page.get_attribute("body", "data-state") == "results"


def test_nothing_passes_the_filters(page):
    choose(page, 3)
    page.click("#no-cameras")
    page.check("#cameras input >> nth=0")
    page.fill("#since", "2030-01-01T00:00")
    search(page, state="no-results")
    said = status(page)[0]
    assert "The chosen cameras hold 20 of 60 images." in said
    assert "there are none of these" in said


def test_searching_can_be_cancelled(page):
    choose(page, 3)
    page.route("**/v1/search", lambda _: None)
    page.click("#go")
    page.wait_for_selector("body[data-state=searching]")
    assert page.is_disabled("#go")
    assert page.is_visible("#cancel")
    page.keyboard.press("Escape")
    page.wait_for_selector("body[data-state=ready]")
    assert page.is_enabled("#go")


def test_a_busy_service_is_asked_once_more(page):
    answer_with(page, "/v1/search", 429, {"type": "/problems/overloaded", "title": "busy"}, {"Retry-After": "1"})
    choose(page, 3)
    seen = watched(page)
    page.click("#go")
    page.wait_for_selector("body[data-state=results]")
    assert any(state == "overloaded" and "is tried again in 1 second." in said for state, said in seen())


def test_a_service_that_stays_busy_is_left_alone(page):
    refused = {"type": "/problems/overloaded", "title": "busy"}
    answer_with(page, "/v1/search", 429, refused, {"Retry-After": "1"}, times=2)
    choose(page, 3)
    page.click("#go")
    page.get_by_text("Try again in a moment.").wait_for()
    page.click("#retry")
    page.wait_for_selector("body[data-state=results]")


def test_what_is_no_picture(page):
    page.set_input_files("#files", [{"name": "notes.txt", "mimeType": "image/png", "buffer": b"no picture"}])
    page.wait_for_selector("body[data-state=bad-image]")
    assert status(page)[1].startswith("notes.txt cannot be used: this is no picture")
    choose(page, 3)
    assert page.get_attribute("body", "data-state") == "ready"


def test_a_picture_that_the_service_refuses(page):
    body = {"type": "/problems/image-unreadable", "title": "x", "detail": "The picture is cut short.", "image": 1}
    answer_with(page, "/v1/search", 400, body)
    search(page, 3, 4, state="bad-image")
    assert status(page)[1] == "4.png cannot be used: The picture is cut short."


def test_another_model(page):
    answer_with(page, "/v1/search", 409, {"type": "/problems/model-mismatch", "title": "x"})
    search(page, 3, state="model-mismatch")
    assert "another model" in status(page)[1]


def test_no_network(page):
    choose(page, 3)
    page.context.set_offline(True)
    page.click("#go")
    ended(page, "offline")
    assert "cannot be reached" in status(page)[1]
    page.context.set_offline(False)
    page.click("#retry")
    page.wait_for_selector("body[data-state=results]")


def test_a_failure_has_a_number(page):
    body = {
        "type": "/problems/internal",
        "title": "The service failed",
        "detail": "It did.",
        "instance": "urn:uuid:12-34",
    }
    answer_with(page, "/v1/search", 500, body)
    search(page, 3, state="error")
    assert status(page)[1] == "The service failed. Tell the operator of this service the number 12-34."


def test_a_picture_that_is_missing(page):
    page.route("**/v1/images/**", lambda route: route.fulfill(status=404))
    search(page, 3)
    box = page.locator("#hits article .missing").first
    box.wait_for()
    assert box.get_attribute("role") == "img"
    assert box.get_attribute("aria-label").endswith("No picture.")


def test_pictures_and_what_stands_for_a_missing_one_are_of_one_size(page):
    page.route("**/v1/images/**", lambda route: route.fulfill(status=404), times=1)
    search(page, 3)
    page.locator("#hits article .missing").wait_for()
    sizes = [each.bounding_box() for each in page.locator("#hits article img, #hits article .missing").all()]
    assert len(sizes) == 6
    assert len({(round(each["width"]), round(each["height"])) for each in sizes}) == 1


@pytest.fixture
def guarded(model, tmp_path):
    """A service that asks for a token, and the token."""
    token, line = new_token("anna", ["search"])
    (tmp_path / "tokens").write_text(line)
    (tmp_path / "tokens").chmod(0o600)
    with running(model, filled(model), token_file=tmp_path / "tokens", require_purpose=True) as made:
        made.service.batcher._run = by_colour(model.dim)
        yield made, token


def fetched(page, path):
    return page.evaluate("path => fetch(path).then((answer) => answer.status)", path)


def sign_in(page, token):
    page.fill("#token", token)
    page.click("#sign-in button")


def test_signing_in_and_out(opened, guarded):
    service, token = guarded
    page = opened("signed-out", base=service.base_url)
    page.fill("#token", "wrong")
    page.keyboard.press("Enter")
    page.get_by_text("The token is not known.").wait_for()
    sign_in(page, f" {token} ")
    page.wait_for_selector("body[data-state=ready]")
    assert page.inner_text("#who") == "anna"
    choose(page, 3)
    page.click("#go")
    assert page.get_attribute("body", "data-state") == "ready", "a purpose is missing"
    page.fill("#purpose", "=lost child")
    search(page)
    assert page.locator("#hits article img").first.evaluate("image => image.decode().then(() => image.naturalWidth)")
    image = page.locator("#hits article img").first.get_attribute("src")
    assert fetched(page, image) == 200
    page.click("#sign-out")
    page.wait_for_selector("body[data-state=signed-out]")
    assert fetched(page, image) == 401, "what the browser has kept is nobody else's"
    log = service.service.audit.read(actor="anna")
    assert [(entry["action"], entry.get("purpose")) for entry in log][:2] == [
        ("sign-in", None),
        ("search", "=lost child"),
    ]


def test_escape_leaves_the_sign_in_open(opened, guarded):
    page = opened("signed-out", base=guarded[0].base_url)
    for _ in range(4):
        page.keyboard.press("Escape")
    page.wait_for_timeout(100)
    assert page.is_visible("#token")


def test_too_many_wrong_tokens_say_how_long_to_wait(opened, guarded):
    page = opened("signed-out", base=guarded[0].base_url)
    refused = {"type": "/problems/too-many-attempts", "title": "Too many wrong tokens", "detail": "Wait."}
    answer_with(page, "/v1/session", 429, refused, {"Retry-After": "42"})
    sign_in(page, "wrong")
    page.get_by_text("Too many wrong tokens. Try again in 42 seconds.").wait_for()


def test_what_was_filled_in_outlives_a_session(opened, guarded):
    service, token = guarded
    page = opened("signed-out", base=service.base_url)
    sign_in(page, token)
    page.wait_for_selector("body[data-state=ready]")
    page.fill("#purpose", "lost child")
    search(page, 3)
    page.locator("#hits article").first.get_by_text("Find similar").click()
    page.locator("#pictures .name", has_text="/").wait_for()
    page.wait_for_selector("body[data-state=results]")
    choose(page, 3)
    page.uncheck("#cameras input >> nth=2")
    page.context.clear_cookies()
    page.locator("#list .choose").first.check()
    page.click("#compare-open")
    page.wait_for_selector("body[data-state=signed-out]")
    assert not page.is_visible("#compare")
    sign_in(page, token)
    page.wait_for_selector("body[data-state=results]")
    assert page.locator("#pictures li").count() == 2, "no picture twice"
    assert not page.is_checked("#cameras input >> nth=2")
    assert page.input_value("#purpose") == "lost child"


def test_results_and_marks_outlive_a_session_and_are_not_for_another(opened, model, tmp_path):
    path = tmp_path / "tokens"
    made = [new_token(name, ["search"]) for name in ("anna", "bob")]
    path.write_text("\n".join(line for _, line in made))
    path.chmod(0o600)
    with running(model, calibrated(filled(model)), token_file=path) as service:
        service.service.batcher._run = by_colour(model.dim)
        page = opened("signed-out", base=service.base_url)
        sign_in(page, made[0][0])
        page.wait_for_selector("body[data-state=ready]")
        found_, _ = search(page, 3)
        page.locator("#hits .mark-right").first.click()
        page.context.clear_cookies()
        page.click("#refine")
        page.wait_for_selector("body[data-state=signed-out]")
        assert not page.is_visible("#found")
        sign_in(page, made[0][0])
        page.wait_for_selector("body[data-state=results]")
        assert found(page, "#hits") == found_
        assert page.locator("#hits article.right").count() == 1
        page.click("#refine")
        ended(page, "results")
        assert page.is_visible("#refined")
        page.context.clear_cookies()
        page.click("#refine")
        page.wait_for_selector("body[data-state=signed-out]")
        sign_in(page, made[1][0])
        page.wait_for_selector("body[data-state=ready]")
        page.locator("#threshold").press("ArrowLeft")
        assert page.get_attribute("body", "data-state") == "ready"
        assert not page.is_visible("#found")


def test_a_token_that_may_not_search_says_so_and_another_can_be_given(opened, model, tmp_path):
    path = tmp_path / "tokens"
    made = [new_token(name, [role]) for name, role in (("anna", "search"), ("writer", "write"))]
    path.write_text("\n".join(line for _, line in made))
    path.chmod(0o600)
    with running(model, calibrated(filled(model)), token_file=path) as service:
        page = opened("signed-out", base=service.base_url)
        sign_in(page, made[1][0])
        page.get_by_text("This needs the role search, which writer does not have.").wait_for()
        page.reload()
        page.get_by_text("Sign in with another token.").wait_for()
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        page.wait_for_timeout(100)
        assert page.is_visible("#sign-in-problem")
        sign_in(page, made[0][0])
        page.wait_for_selector("body[data-state=ready]")
        assert page.inner_text("#sign-in-problem") == ""


def test_pressed_twice_the_sign_in_looks_for_nobody_twice(opened, guarded):
    service, token = guarded
    page = opened("signed-out", base=service.base_url, path="/#key=door/003.jpg")
    page.evaluate("document.getElementById('purpose').value = 'lost child'")
    page.fill("#token", token)
    page.dblclick("#sign-in button")
    page.wait_for_selector("body[data-state=results]")
    page.wait_for_timeout(300)
    assert page.locator("#pictures li").count() == 1


def test_a_session_is_that_of_all_tabs(opened, guarded):
    service, token = guarded
    page = opened("signed-out", base=service.base_url)
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector("body[data-state=signed-out]")
    sign_in(other, token)
    page.wait_for_selector("body[data-state=ready]")
    page.fill("#purpose", "lost child")
    search(page, 3)
    other.click("#sign-out")
    page.wait_for_selector("body[data-state=signed-out]")
    assert page.locator("#results article, #timeline button").count() == 0, "hidden ones neither"
    sign_in(other, token)
    page.wait_for_selector("body[data-state=ready]")
    assert not page.is_visible("#sign-in")
    assert page.locator("#pictures li").count() == 1


# ---- what can be done


def open_the_crop(page):
    page.click("#pictures button >> text=Crop")
    page.wait_for_selector("body[data-state=cropping]")


def test_cropping_by_keys_numbers_and_pointer(page):
    two = Image.new("RGB", (200, 100), COLOURS[7])
    two.paste(COLOURS[2], (100, 0, 200, 100))
    page.set_input_files("#files", [{"name": "two.png", "mimeType": "image/png", "buffer": saved(two, "PNG")}])
    open_the_crop(page)
    assert page.evaluate("document.activeElement.id") == "crop-canvas"
    for _ in range(30):
        page.keyboard.press("Shift+ArrowLeft")
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    assert page.input_value("#crop-x") == "120"
    assert page.input_value("#crop-w") == "80"
    page.click("text=Use this part")
    page.wait_for_selector("body:not([data-state=cropping])")
    assert set(search(page)[0]) == {2}
    open_the_crop(page)
    page.fill("#crop-x", "0")
    page.keyboard.press("Tab")
    assert page.input_value("#crop-x") == "0"
    page.click("text=Use this part")
    page.wait_for_selector("body:not([data-state=cropping])")
    assert set(search(page)[0]) == {7}
    open_the_crop(page)
    box = page.locator("#crop-canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.9, steps=3)
    page.mouse.up()
    assert abs(int(page.input_value("#crop-x")) - 120) <= 2
    page.click("text=Use this part")
    page.wait_for_selector("body:not([data-state=cropping])")
    assert set(search(page)[0]) == {2}
    open_the_crop(page)
    page.keyboard.press("Escape")
    page.wait_for_selector("body[data-state=results]")


def test_files_that_are_left_out_are_named_and_the_others_taken(page):
    text = {"mimeType": "image/png", "buffer": b"no picture"}
    fine = [{"name": f"{n}.png", "mimeType": "image/png", "buffer": person(n)} for n in range(9)]
    page.set_input_files("#files", [{"name": "a.txt", **text}, fine[0], {"name": "b.txt", **text}, *fine[1:3]])
    page.wait_for_selector("body[data-state=bad-image]")
    assert status(page)[1].startswith("a.txt, b.txt cannot be used: these are no pictures that the browser can read.")
    assert page.locator("#pictures li").count() == 3
    page.set_input_files("#files", fine)
    page.get_by_text("4 pictures cannot be used: a search takes 8 at most.").wait_for()
    assert page.locator("#pictures li").count() == 8
    page.set_input_files("#files", [{"name": "a.txt", **text}])
    page.get_by_text("1 picture cannot be used").wait_for()


def test_a_name_from_right_to_left_turns_nothing_round(page):
    file = {"name": "\u202etxt.jpg", "mimeType": "image/png", "buffer": b"no picture"}
    page.set_input_files("#files", [file])
    ended(page, "bad-image")
    one, other = page.evaluate("""() => {
        const text = document.getElementById('alert').firstChild;
        const left = (word) => {
            const range = document.createRange();
            range.setStart(text, text.data.indexOf(word));
            range.setEnd(text, text.data.indexOf(word) + word.length);
            return range.getBoundingClientRect().left;
        };
        return [left('cannot'), left('used')];
    }""")
    assert one < other


def test_a_picture_after_one_that_was_left_out_hides_no_results(page):
    search(page, 3)
    page.set_input_files("#files", [{"name": "notes.txt", "mimeType": "image/png", "buffer": b"no picture"}])
    ended(page, "bad-image")
    choose(page, 4)
    page.wait_for_selector("body[data-state=results]")
    assert page.is_visible("#hits article")


def test_cropping_hides_nothing_of_what_went_before(page):
    choose(page, 3)
    answer_with(page, "/v1/search", 429, {"type": "/problems/overloaded", "title": "busy"}, {"Retry-After": "30"})
    page.click("#go")
    page.wait_for_selector("body[data-state=overloaded]")
    open_the_crop(page)
    page.keyboard.press("Escape")
    page.get_by_text("Try again in a moment.").wait_for()
    page.context.set_offline(True)
    page.click("#retry")
    ended(page, "offline")
    open_the_crop(page)
    page.keyboard.press("Escape")
    page.get_by_text("cannot be reached").wait_for()
    page.context.set_offline(False)
    held = []
    page.route("**/v1/search", lambda route: held.append(route))  # noqa: PLW0108 (no built-in one)
    page.click("#retry")
    page.wait_for_selector("body[data-state=searching]")
    open_the_crop(page)
    while not held:
        page.wait_for_timeout(10)
    held[0].continue_()
    page.wait_for_selector("body[data-state=results]")
    page.keyboard.press("Escape")
    page.wait_for_timeout(100)
    assert page.get_attribute("body", "data-state") == "results"
    assert "of 60 images" in status(page)[0]


def test_in_a_picture_that_is_not_cropped_yet_a_box_is_drawn_anywhere(page):
    choose(page, 3)
    open_the_crop(page)
    box = page.locator("#crop-canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] - 1, steps=3)
    page.mouse.up()
    found = [int(page.input_value(f"#crop-{side}")) for side in ("x", "y", "w", "h-field")]
    assert found == pytest.approx([24, 48, 24, 48], abs=2)
    page.keyboard.press("Escape")


def test_a_picture_of_few_pixels_can_be_left_as_it_is(page):
    flat = {"name": "flat.png", "mimeType": "image/png", "buffer": saved(Image.new("RGB", (40, 3)), "PNG")}
    page.set_input_files("#files", [flat])
    page.wait_for_selector("#pictures li")
    open_the_crop(page)
    page.click("#crop button >> text=Cancel")
    page.wait_for_selector("body[data-state=ready]")


def test_dropping_and_pasting(page):
    transfer = """bytes => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], "a.png", {type: "image/png"}));
        return transfer;
    }"""
    page.dispatch_event("main", "drop", {"dataTransfer": page.evaluate_handle(transfer, list(person(4)))})
    page.wait_for_selector("#pictures li")
    page.evaluate(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "b.png", {type: "image/png"}));
            document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer}));
        }""",
        list(person(5)),
    )
    page.wait_for_selector("#pictures li >> nth=1")
    above, below = search(page, state=None)
    assert set((above + below)[:12]) == {4, 5}
    page.click("text=Remove >> nth=1")
    assert set(search(page)[0]) == {4}


def test_filters_are_those_of_the_gallery(page, service):
    choose(page, 3)
    page.click("#no-cameras")
    page.check("#cameras input >> nth=1")
    page.fill("#since", "2026-11-26T09:20")
    page.fill("#until", "2026-11-26T09:40")
    page.select_option("#group", "person")
    search(page, state=None)
    expected = service.service.gallery.count(
        Filter(cameras=["hall"], since="2026-11-26T08:20:00Z", until="2026-11-26T08:40:00Z")
    )
    assert f"of {expected} images" in status(page)[0]
    seen = found(page, "#hits") + found(page, "#hits-below")
    assert len(set(seen)) == len(seen), "each person once"
    for preset, empty in (("hour", False), ("today", False), ("any", True)):
        page.click(f"[data-preset={preset}]")
        assert (page.input_value("#since") == "") == empty


def test_the_times_of_a_link_are_the_same_in_every_zone(opened, service):
    page = opened()
    choose(page, 3)
    page.fill("#since", "2026-11-26T09:20")
    page.fill("#until", "2026-11-26T09:40")
    search(page, state=None)
    link = page.evaluate("location.pathname + location.hash")
    wanted = service.service.audit.read()[-1]["wanted"]["filter"]["time"]
    far = opened(path=link, timezone_id="America/New_York")
    assert [far.input_value(field) for field in ("#since", "#until")] == ["2026-11-26T03:20", "2026-11-26T03:40"]
    choose(far, 3)
    search(far, state=None)
    assert service.service.audit.read()[-1]["wanted"]["filter"]["time"] == wanted
    local = opened(path="/#since=2026-11-26T09:20&until=never")  # a link of an earlier version, and one that is wrong
    assert [local.input_value(field) for field in ("#since", "#until")] == ["2026-11-26T09:20", ""]


def test_the_hour_that_the_clock_shows_twice(page, service):
    said = page.evaluate(
        """async () => {
            const {timeWords, whenWords} = await import('/static/words.js');
            const times = ['25T00:30:00Z', '25T01:30:00Z', '25T02:00:00Z', '24T23:59:59Z'].map(t => `2026-10-${t}`);
            const track = {time: times[0], attributes: {first: 0, last: 3600, second: 0}};
            return [...times.map(timeWords), whenWords(track)];
        }"""
    )
    assert said == [
        "25 Oct 2026, 02:30:00 CEST",
        "25 Oct 2026, 02:30:00 CET",
        "25 Oct 2026, 03:00:00",
        "25 Oct 2026, 01:59:59",
        "25 Oct 2026, 02:30:00 CEST to 02:30:00 CET, 3,600 seconds",
    ]
    choose(page, 3)
    page.fill("#since", "2026-10-25T02:15")
    page.fill("#until", "2026-10-25T02:45")
    search(page, state="no-results")
    asked = service.service.audit.read()[-1]["wanted"]["filter"]["time"]
    assert asked == {"gte": "2026-10-25T00:15:00Z", "lt": "2026-10-25T01:45:00Z"}, "both half hours"


def test_true_and_false_matches_refine(page, service):
    search(page, 3)
    assert not page.is_visible("#refined")
    first = page.locator("#hits article").first
    key = first.get_attribute("data-key")
    first.get_by_text("True match").click()
    page.locator("#hits article").nth(1).get_by_text("False match").click()
    wrong = page.locator("#hits article").nth(1).get_attribute("data-key")
    assert page.inner_text("#refine") == "Refine with 1 true match, 1 false match"
    page.locator("#hits article").nth(1).get_by_text("False match").click()
    assert page.inner_text("#refine") == "Refine with 1 true match", "the mark was taken back"
    page.locator("#hits article").nth(1).get_by_text("False match").click()
    page.click("#refine")
    page.locator(f"article[data-key='{wrong}']").wait_for(state="detached")
    asked = service.service.audit.read()[-1]["wanted"]
    assert (asked["positive"], asked["negative"]) == ([key], [wrong])
    assert "are a guess now" in page.inner_text("#refined")
    kept = page.locator(f"article[data-key='{key}']")
    assert kept.locator(".mark-right").get_attribute("aria-pressed") == "true"
    page.click("#clear")
    assert not page.is_visible("#refine")


def test_find_similar_and_the_link_that_restores_it(page, opened):
    search(page, 3)
    key = page.locator("#hits article").first.get_attribute("data-key")
    page.locator("#hits article").first.get_by_text("Find similar").click()
    page.locator(f"article[data-key='{key}']").wait_for(state="detached")
    assert page.inner_text("#pictures .name") == key
    assert set(found(page, "#hits")) == {3}
    page.uncheck("#cameras input >> nth=2")
    page.select_option("#group", "track")
    page.click("#go")
    page.wait_for_selector("body[data-state=results]")
    again = opened("results", path=page.evaluate("location.pathname + location.hash"))
    assert found(again, "#hits") == found(page, "#hits")
    assert not again.is_checked("#cameras input >> nth=2")


def test_the_address_is_that_of_the_filters(page):
    page.select_option("#group", "track")
    search(page, 3, state=None)
    assert page.evaluate("location.hash") == "#group=track"
    page.focus(".skip")
    page.keyboard.press("Enter")
    assert page.evaluate("[location.hash, document.activeElement.id]") == ["#group=track", "results"]
    with page.expect_event("load"):
        page.evaluate("location.hash = '#group=camera&without=hall&own-camera=gone'")  # a link, pasted over it
    page.wait_for_selector("body[data-state=ready]")
    assert page.input_value("#group") == "camera"
    assert not page.is_checked("#cameras input[value=hall]")
    assert page.evaluate("document.getElementById('own-camera').selectedIndex") == 0


def test_the_camera_that_is_left_out_has_to_be_known(page, service):
    choose(page, 3)
    page.check("#other-cameras")
    page.click("#go")
    assert page.evaluate("document.activeElement.id") == "own-camera"
    assert page.get_attribute("body", "data-state") == "ready"
    page.select_option("#own-camera", "hall")
    search(page)
    assert "of 40 images" in status(page)[0]
    page.select_option("#own-camera", "")
    page.uncheck("#other-cameras")
    search(page)
    assert "of 60 images" in status(page)[0]


def test_a_row_that_has_been_removed_since(opened, model):
    gallery = filled(model)
    with running(model, gallery) as service:
        service.service.batcher._run = by_colour(model.dim)
        page = opened(base=service.base_url)
        search(page, 3)
        first = page.locator("#list article").first
        key = first.get_attribute("data-key")
        first.get_by_text("True match").click()
        assert service.delete(f"/v1/rows/{key}").status_code == 204
        page.click("#refine")
        ended(page, "error")
        assert status(page)[1].startswith(f"{key} is no longer in the gallery.")
        page.click("#clear")
        search(page)


def test_the_page_keeps_up_with_a_gallery_that_changes(opened, model):
    gallery = calibrated(filled(model))
    with running(model, gallery) as service:
        page = opened(base=service.base_url)
        choose(page, 3)
        page.uncheck("#cameras input >> nth=0")
        page.fill("#purpose", "lost child")
        gallery.add_vectors(people(model.dim)[:1], [Row("roof/060.jpg", camera="roof")])
        search(page, state=None)
        page.wait_for_selector("#cameras label >> text=roof (1)")
        assert [box.is_checked() for box in page.locator("#cameras input").all()] == [False, True, True, True]
        assert page.input_value("#purpose") == "lost child"
        assert page.inner_text("#about").startswith("61 images by 4 cameras")
        rows = list(gallery)[:60]
        known = Embeddings(gallery.vectors([row.key for row in rows]), [row.pid for row in rows], [0] * 30 + [1] * 30)
        gallery.calibration = calibrate(known, known, far=0.1)
        search(page, state=None)
        page.locator("#threshold-words", has_text="about 1 false match in 10 strangers").wait_for()


def test_images_of_no_known_camera(opened, model):
    gallery = filled(model)
    gallery.add_vectors(people(model.dim)[3:4], [Row("found")])
    with running(model, gallery) as service:
        page = opened(base=service.base_url)
        assert page.inner_text("#about").startswith("61 images by 3 cameras")
        assert "1 image of no known camera: searched only where all cameras" in page.inner_text("#no-camera")


def test_comparing(page):
    search(page, 3)
    page.locator("#hits .choose").nth(0).check()
    page.click("text=Compare with the query")
    page.locator("#compare-words", has_text="same person.").wait_for()
    assert "at or above the threshold" in page.inner_text("#compare-words")
    page.keyboard.press("Escape")
    page.locator("#hits .choose").nth(1).check()
    page.click("text=Compare the two")
    page.locator("#compare-words", has_text="Similarity").wait_for()
    assert (
        page.locator("#compare figcaption")
        .first.inner_text()
        .startswith(page.locator("#hits article").first.get_attribute("data-key"))
    )


def apart(page):
    """Whether no two marks of the timeline lie on each other."""
    boxes = [each.bounding_box() for each in page.locator("#timeline .line button").all()]
    return all(
        abs(one["x"] - other["x"]) >= 43 or abs(one["y"] - other["y"]) >= 43
        for one, other in itertools.combinations(boxes, 2)
    )


def test_the_timeline(page):
    search(page, 3)
    page.click("#tab-timeline")
    assert page.is_visible("#timeline table")
    assert "Europe/Berlin" in page.inner_text("#timeline caption")
    assert sorted(page.locator("#timeline th").all_inner_texts()) == ["door", "hall", "yard"]
    marks = page.locator("#timeline .line button")
    assert marks.count() == 20
    assert apart(page)
    page.click("#timeline .line button:text-is('2')")
    assert page.evaluate("document.activeElement.dataset.key") == page.locator("#hits article").nth(1).get_attribute(
        "data-key"
    )


def test_the_timeline_fits_a_page_that_is_turned(page):
    search(page, 3)
    page.click("#tab-timeline")
    ends = page.locator("#timeline .ends span").first.bounding_box()
    assert ends["x"] >= page.locator("#timeline td").first.bounding_box()["x"], "below the lines, and not the cameras"
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(100)
    wait_for(lambda: apart(page))


def test_on_paper_there_is_what_was_found_and_marked_and_nothing_to_press(opened):
    page = opened(color_scheme="dark")
    search(page, 3)
    page.locator("#hits .mark-right").first.click()
    page.emulate_media(media="print", color_scheme="dark")
    for hidden in ("#go", "#export", "#drop", ".similar >> nth=0", ".mark-wrong >> nth=0", ".mark-right >> nth=1"):
        assert not page.is_visible(hidden), hidden
    for shown in ("#pictures img", "#threshold-words", "#hits article >> nth=0", ".mark-right >> nth=0"):
        assert page.is_visible(shown), shown
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(26, 32, 38)", "dark on white paper"


def exported(page):
    """The rows of the list, as the page saves it."""
    with page.expect_download() as download:
        page.click("#export")
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert text.startswith("\ufeff"), "spreadsheets take other files for those of an old code page"
    return list(csv.DictReader(text[1:].splitlines()))


def test_more_results_and_csv(page):
    search(page, 3)
    page.click("#more")
    page.get_by_text("40 of 60 images").wait_for()
    page.locator("#hits .mark-right").first.click()
    rows = exported(page)
    assert len(rows) == 40
    assert [int(row["rank"]) for row in rows] == list(range(1, 41))
    assert rows[0]["mark"] == "right"
    assert rows[0]["search_id"]
    assert [row["same"] for row in rows] == ["true"] * 6 + ["false"] * 34
    assert all((float(row["similarity"]) >= float(row["threshold"])) == (row["same"] == "true") for row in rows)
    page.evaluate("document.getElementById('threshold').value = document.getElementById('threshold').max")
    page.dispatch_event("#threshold", "input")
    assert {(row["same"], row["threshold"]) for row in exported(page)} == {("false", "1")}, "as it is shown"


def test_a_list_that_could_not_be_saved_is_saved_when_it_is_tried_again(page, service):
    search(page, 3)
    page.click("#more")
    page.get_by_text("40 of 60 images").wait_for()
    page.context.set_offline(True)
    page.click("#export")
    ended(page, "offline")
    page.context.set_offline(False)
    with page.expect_download() as download:
        page.click("#retry")
    assert len(Path(download.value.path()).read_text(encoding="utf-8").splitlines()) == 41
    page.wait_for_selector("body[data-state=results]")
    assert len(found(page, "#list")) == 40, "and nothing came twice"
    refused = {"type": "/problems/overloaded", "title": "busy"}
    answer_with(page, "/v1/search", 429, refused, {"Retry-After": "1"})
    seen = watched(page)
    with page.expect_download():
        page.click("#export")
    assert any("It is tried again in 1 second." in said for _, said in seen())
    assert status(page)[1] == ""
    assert [entry["wanted"]["export"] for entry in service.service.audit.read()[-2:]] == [True, True]


def test_an_answer_that_comes_late_is_not_that_of_the_next_two(page):
    search(page, 3)
    held = []
    page.route("**/v1/compare", lambda route: held.append(route) if not held else route.fallback())
    for number, state in ((0, "Comparing."), (1, "Similarity")):
        page.locator("#list .choose").nth(number).check()
        page.click("#compare-open")
        page.locator("#compare-words", has_text=state).wait_for()
        said = page.inner_text("#compare-words")
        if number == 0:
            page.keyboard.press("Escape")
    late = {"similarity": 0.111, "probability": None}
    held[0].fulfill(status=200, content_type="application/json", body=json.dumps(late))
    page.wait_for_timeout(200)
    assert page.inner_text("#compare-words") == said


def test_a_search_that_takes_the_place_of_another_can_be_cancelled(page):
    search(page, 3)
    page.route("**/v1/search", lambda _: None)
    page.click("#go")
    page.wait_for_selector("body[data-state=searching]")
    page.locator("#hits .similar").first.click()
    page.wait_for_timeout(200)
    assert page.get_attribute("body", "data-state") == "searching"
    assert page.is_visible("#cancel")
    page.focus("#cancel")
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-state=results]")
    assert page.evaluate("document.activeElement.id") == "results", "the button is no longer there"


def test_what_follows_a_search_is_of_its_pictures_whatever_was_chosen_since(page, service):
    search(page, 3)
    page.click("#pictures button >> text=Remove")
    choose(page, 7)
    page.click("#more")
    page.get_by_text("40 of 60 images").wait_for()
    with page.expect_download():
        page.click("#export")
    page.click("#pictures button >> text=Remove")
    page.locator("#hits .choose").first.check()
    page.click("text=Compare with the query")
    page.locator("#compare-words", has_text="at or above").wait_for()
    log = service.service.audit.read()[-4:]
    assert [entry["action"] for entry in log] == ["search", "search", "search", "compare"]
    pictures = {*(entry["images"][0] for entry in log[:3]), log[3]["a"]}
    assert len(pictures) == 1, "all four are of one picture"
    assert len({key for key, _ in log[0]["results"] + log[1]["results"]}) == 40


def test_names_of_people_stand_in_the_list_that_is_saved(page):
    text = page.evaluate("""async () => {
        const {toCsv} = await import('/static/csv.js');
        const hits = [{key: "a", pid: 3, attributes: {person: "Karl"}}, {key: "b", pid: null, attributes: {}}];
        return toCsv(hits, {marks: new Map(), answer: {search_id: "s", model: "m"}, threshold: null});
    }""")
    assert [(row["key"], row["person"]) for row in csv.DictReader(text.splitlines())] == [("a", "Karl"), ("b", "")]


def test_a_cell_is_no_formula(page):
    cells = page.evaluate(
        "async cells => { const {cell} = await import('/static/csv.js'); return cells.map(cell); }",
        ["=1+1", "+1", "-1", "@x", "\t=1", "a", 'a"b', "a,b", "a\nb", None, -0.5, True, "'="],
    )
    assert cells == ["'=1+1", "'+1", "'-1", "'@x", "'\t=1", "a", '"a""b"', '"a,b"', '"a\nb"', "", "-0.5", "true", "'="]


def test_how_thresholds_are_said(page):
    said = page.evaluate(
        """async () => {
            const {thresholdWords, chance} = await import('/static/words.js');
            const curve = [[0.2, 0.1, 0.9], [0.6, 0.001, 0.5], [0.8, 0, 0.1]];
            const known = {threshold: 0.6, far: 0.001, impostors: 10000, curve};
            const said = [0.2, 0.4, 0.6, 0.8].map(t => thresholdWords(t, known));
            said.push(thresholdWords(0.6, {...known, impostors: 10}), thresholdWords(0.6, {...known, impostors: 1000}));
            return [...said, ...[0.999, 0.5, 0.001, null].map(chance)];
        }"""
    )
    assert said == [
        "0.20: about 1 false match in 10 strangers; finds 90 % of the images of the same person.",
        "0.40: about 1 false match in 20 strangers; finds 70 % of the images of the same person.",
        "0.60: about 1 false match in 1,000 strangers; finds 50 % of the images of the same person.",
        "0.80: about 1 false match in 1,000 strangers, or fewer; finds 10 % of the images of the same person.",
        "0.60: how often strangers reach it is not known, as only 10 pairs of them were measured; finds 50 % of "
        "the images of the same person.",
        "0.60: about 1 false match in 100 strangers, or fewer; finds 50 % of the images of the same person.",
        "over 99 %",
        "50 %",
        "under 1 %",
        "-",
    ]


def test_keys_in_the_list(page):
    search(page, 3)
    page.locator("#hits article").first.focus()
    page.keyboard.press("ArrowRight")
    second = page.locator("#hits article").nth(1)
    assert second.evaluate("each => each === document.activeElement")
    page.keyboard.press("t")
    assert second.locator(".mark-right").get_attribute("aria-pressed") == "true"
    page.keyboard.press("f")
    assert second.locator(".mark-wrong").get_attribute("aria-pressed") == "true"
    page.keyboard.press("c")
    assert second.locator(".choose").is_checked()
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    assert second.evaluate("each => each === document.activeElement"), "the focus comes back"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.closest('#cameras') !== null")
    page.fill("#purpose", "rws")
    assert page.input_value("#purpose") == "rws", "in a field, letters are letters"
    second.focus()
    page.keyboard.press("s")
    page.locator("#pictures .name", has_text="/").wait_for()
    page.wait_for_selector("body[data-state=results]")


def test_the_page_can_be_used_by_keys_alone(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id"))
    wanted = ["files", "photo", "purpose", "all-cameras", "since", "until", "group", "rerank", "threshold", "go"]
    assert [name for name in dict.fromkeys(seen) if name in wanted] == wanted


def test_the_button_has_the_focus_again_after_a_search(page):
    choose(page, 3)
    page.focus("#go")
    page.keyboard.press("Enter")
    ended(page, "results")
    assert page.evaluate("document.activeElement.id") == "go"


def test_what_is_filled_in_is_not_hidden_where_the_page_is_enlarged(opened):
    page = opened(viewport={"width": 320, "height": 256})
    assert page.evaluate("document.getElementById('go').getBoundingClientRect().top") > 256


@contextmanager
def searched(opened, model, row):
    """The page of a service whose gallery is one row, with that row found."""
    gallery = MemoryGallery(model)
    gallery.add_vectors(people(model.dim)[:1], [row])
    with running(model, gallery) as service:
        service.service.batcher._run = by_colour(model.dim)
        page = opened(base=service.base_url)
        choose(page, 0)
        page.click("#go")
        ended(page, "results")
        yield page


def test_a_long_name_of_a_camera_leaves_room_for_the_timeline(opened, model):
    row = Row("a", camera="the camera at the end of the long hall " * 3, time=datetime(2026, 11, 26, tzinfo=UTC), pid=0)
    with searched(opened, model, row) as page:
        page.click("#tab-timeline")
        line, table = (page.locator(f"#timeline {part}").bounding_box() for part in (".line", "table"))
        assert line["width"] > 0.6 * table["width"]


def test_nothing_of_a_row_is_read_as_markup(opened, model):
    name = '<img src=x onerror="document.title=1">'
    with searched(opened, model, Row(name, camera="<b>door</b>", pid=0)) as page:
        assert name in page.inner_text("#hits article")
        assert page.title() == "reidkit: search for a person"
        assert page.locator("#results b").count() == 0


# ---- for everybody


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The source of axe-core: of the file that REIDKIT_AXE names, or from the package index of npm."""
    if named := os.environ.get("REIDKIT_AXE"):
        return Path(named).read_text(encoding="utf-8")
    if shutil.which("npm") is None:
        pytest.skip("there is no npm to get axe-core with, and REIDKIT_AXE does not name its axe.min.js")
    folder = tmp_path_factory.mktemp("axe")
    try:
        subprocess.run(["npm", "pack", "--silent", "axe-core"], cwd=folder, check=True, timeout=60, capture_output=True)
    except (subprocess.SubprocessError, OSError):
        pytest.skip("axe-core cannot be had from npm here, and REIDKIT_AXE does not name its axe.min.js")
    with tarfile.open(next(folder.glob("axe-core-*.tgz"))) as package:
        found = package.extractfile("package/axe.min.js")
        assert found is not None
        return found.read().decode()


def complaints(page, axe):
    """What axe finds in what is shown."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [(each["id"], [node["html"][:120] for node in each["nodes"]][:3]) for each in found["violations"]]


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(WIDE, "light"), (NARROW, "dark")], ids=["wide and light", "narrow and dark"]
)
def test_axe_finds_nothing(opened, axe, viewport, scheme):
    page = opened(viewport=viewport, color_scheme=scheme, reduced_motion="reduce", bypass_csp=True)
    assert complaints(page, axe) == [], "ready"
    choose(page, 3)
    open_the_crop(page)
    assert complaints(page, axe) == [], "cropping"
    page.keyboard.press("Escape")
    search(page)
    page.click("#below summary")
    page.locator("#hits .mark-right").first.click()
    page.locator("#hits .mark-wrong").nth(1).click()
    page.locator("#hits .choose").first.check()
    assert complaints(page, axe) == [], "results"
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    assert complaints(page, axe) == [], "results in the other colours"
    page.emulate_media(color_scheme=scheme)
    page.click("#compare-open")
    page.locator("#compare-words", has_text="Similarity").wait_for()
    assert complaints(page, axe) == [], "compare"
    page.keyboard.press("Escape")
    page.click("#tab-timeline")
    assert complaints(page, axe) == [], "timeline"
    page.click("#help-open")
    assert complaints(page, axe) == [], "help"
    page.keyboard.press("Escape")
    answer_with(page, "/v1/search", 500, {"type": "/problems/internal", "title": "It failed", "instance": "urn:uuid:1"})
    search(page, state="error")
    assert complaints(page, axe) == [], "error"
    answer_with(page, "/v1/search", 401, {"type": "/problems/token-required", "title": "Sign in"})
    page.click("#go")
    page.wait_for_selector("body[data-state=signed-out]")
    assert complaints(page, axe) == [], "signed-out"


def test_a_phone_needs_no_sideways_scrolling(opened):
    page = opened(viewport=NARROW, has_touch=True, is_mobile=True)
    search(page, 3)
    for step in ("ready", "timeline"):
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, step
        page.click("#tab-timeline")
    fits = page.evaluate("[document.getElementById('timeline')].map(each => each.scrollWidth - each.clientWidth)[0]")
    assert fits == 0, "nor does the timeline"
    assert apart(page)
    assert page.evaluate("document.getElementById('results').getBoundingClientRect().top") < 640, (
        "the results are in view"
    )
    small = page.evaluate(
        """() => [...document.querySelectorAll('button, select, input:not([type=checkbox]):not(.unseen), .check')]
            .filter(each => each.checkVisibility() && each.getBoundingClientRect().height < 43.5)
            .map(each => each.outerHTML)"""
    )
    assert small == [], "targets are 44 pixels high"


def test_the_log_is_told_once_for_each_search(page):
    for name in ("status", "alert"):
        assert page.locator(f"#{name}").get_attribute("role") == name
    choose(page, 3)
    page.evaluate(
        """() => {
            window.told = [];
            new MutationObserver(() => window.told.push(document.getElementById('status').textContent))
                .observe(document.getElementById('status'), {childList: true, characterData: true, subtree: true});
        }"""
    )
    search(page)
    told = page.evaluate("window.told")
    assert told[0] == "Searching."
    assert len(told) == 2
