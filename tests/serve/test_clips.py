"""Clips of rows that are from videos: who gets them, in which parts, and the page that plays them."""

from __future__ import annotations

import asyncio
import io
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from reidkit.errors import UsageError
from reidkit.gallery import Row
from reidkit.gallery.memory import MemoryGallery
from reidkit.serve import clip_cache
from reidkit.serve.clip_cache import Clips
from reidkit.serve.endpoints.clip_files import part_of
from reidkit.serve.problems import Problem
from reidkit.serve.settings import ServiceSettings
from reidkit.serve.tokens import new_token
from reidkit.video import draw_videos
from reidkit.video.piece import gallery_row
from tests.commands import until
from tests.serve.conftest import running, saved
from tests.serve.test_app import problem
from tests.serve.test_page import (
    CHROMIUM,
    COLOURS,
    NARROW,
    WIDE,
    axe,
    browser,
    by_colour,
    choose,
    complaints,
    ended,
    people,
)
from tests.video.tracked import track

av = pytest.importorskip("av", reason="needs the extra video")

__all__ = ["axe", "browser"]

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """Synthetic videos and their tracks; how each person looks is the colour of their picture."""
    place = tmp_path_factory.mktemp("films")
    draw_videos(place / "street", 1, seed=2, ids=4, seconds=8.0, rate=8, height=144, width=256)
    return place


def filled(model, place):
    """A gallery of the tracks, a row of a video that is not there, and one of none."""
    gallery = MemoryGallery(model)
    for piece in track(place / "street", place / "tracks", people(model.dim)):
        who = int(piece.track) // 10
        thumbnail = saved(Image.new("RGB", (24, 48), COLOURS[who]))
        gallery.add_vectors([piece.feature], [gallery_row(piece, with_image=False)], thumbnails=[thumbnail])
    others = [
        Row("gone", track="gone/1", attributes={"video": "gone"}),
        Row("sly", track="camera1/10", attributes={"video": "../tracks/camera1"}),
        Row("stale", track="camera1/99", attributes={"video": "camera1"}),
        Row("still.jpg", camera="camera1"),
    ]
    gallery.add_vectors(np.ones((4, model.dim), np.float32), others)
    return gallery


@pytest.fixture(scope="module")
def service(model, films):
    with running(model, filled(model, films), videos=films / "tracks") as made:
        made.service.batcher._run = by_colour(model.dim)
        yield made


def first_of(service):
    return next(row for row in service.service.gallery if row.key.startswith("camera1/"))


def got(clips, key, seconds):
    """A clip, asked for in a thread of its own: where a browser is open, a loop runs in this one already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(clips.get(key, seconds))).result()


def url(key):
    return f"/v1/clips/{key.replace('/', '%2F')}"


def test_a_clip_is_a_video(service):
    row = first_of(service)
    answer = service.get(url(row.key))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    assert answer.headers["accept-ranges"] == "bytes"
    with av.open(io.BytesIO(answer.content)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    long = row.attributes["last"] - row.attributes["first"]
    assert 8 * long <= frames <= 8 * (long + 4) + 2
    again = service.get(url(row.key), headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-9", (0, 9)),
        ("bytes=90-", (90, 99)),
        ("bytes=-10", (90, 99)),
        ("bytes=-1000", (0, 99)),
        ("bytes=95-1000", (95, 99)),
        ("bytes=0-0", (0, 0)),
        ("bytes=9-0", None),
        ("bytes=-", None),
        ("bytes=0-9,20-29", None),
        ("lines=0-9", None),
        ("bytes=a-b", None),
    ],
    ids=str,
)
def test_parts_by_hand(header, part):
    assert part_of(header, 100) == part


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=200-300", "bytes=-0"])
def test_parts_that_are_not_there(header):
    with pytest.raises(Problem) as caught:
        part_of(header, 100)
    assert caught.value.headers()["Content-Range"] == "bytes */100"


def test_parts_of_a_clip(service):
    path = url(first_of(service).key)
    whole = service.get(path).content
    answer = service.get(path, headers={"Range": "bytes=10-19"})
    assert (answer.status_code, answer.content) == (206, whole[10:20])
    assert answer.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    answer = service.get(path, headers={"Range": "bytes=10-19", "If-Range": '"other"'})
    assert (answer.status_code, answer.content) == (200, whole)
    refused = service.get(path, headers={"Range": f"bytes={len(whole)}-"})
    problem(refused, 416, "range-not-there")
    assert refused.headers["content-range"] == f"bytes */{len(whole)}"


@pytest.mark.parametrize(
    "key", ["nobody", "gone", "sly", "stale", "still.jpg", "../street/camera1.mp4", "..%2F..%2Fetc%2Fpasswd"]
)
def test_what_is_not_there(service, films, key):
    answer = service.get(url(key))
    said = problem(answer, 404, "not-found")
    assert str(films) not in str(said)


def test_clips_are_held_up_to_a_limit(model, films, monkeypatch):
    clips = Clips(filled(model, films), films / "tracks")
    keys = [row.key for row in clips._gallery if row.key.startswith("camera1/")][:2]
    made = [got(clips, key, 60) for key in keys]
    assert list(clips._held.values()) == made
    monkeypatch.setattr(clip_cache, "HELD", len(made[0]))
    clips._held.popitem()
    assert got(clips, keys[1], 60) == made[1]
    assert all(held == made[1] for held in clips._held.values())
    clips.close()


def test_no_clip_is_shown_of_a_video_that_was_tracked_again(model, films, tmp_path, caplog):
    """A track of the same name may be another person then, until the gallery is filled again."""
    caplog.set_level("INFO", "reidkit")
    place = shutil.copytree(films, tmp_path / "films")
    clips = Clips(filled(model, place), place / "tracks")
    row = next(row for row in clips._gallery if row.key.startswith("camera1/"))
    before = got(clips, row.key, 60)
    boxes, record = place / "tracks" / "camera1" / "boxes.csv", place / "tracks" / "camera1" / "video.json"
    written = boxes.read_text()
    lines = [line.split(",") for line in written.splitlines()]
    mine = [line for line in lines if line[3] == row.track.split("/")[1]]
    boxes.write_text("\n".join(",".join(line) for line in lines if line not in mine[:4]))
    record.write_text(record.read_text().replace('"tracker": ""', '"tracker": "another"'))
    with pytest.raises(Problem) as caught:
        got(clips, row.key, 60)
    assert caught.value.name == "not-found"
    assert "it was tracked anew since the gallery was filled" in caplog.text
    boxes.write_text(written)
    assert got(clips, row.key, 60) == before
    shutil.rmtree(place / "tracks" / "camera1")
    with pytest.raises(Problem):
        got(clips, row.key, 60)
    clips.close()


def test_too_many_clips_at_once_and_one_that_takes_too_long(model, films, monkeypatch):
    clips = Clips(MemoryGallery(model), films / "tracks")
    going = threading.Event()
    monkeypatch.setattr(clips, "_clip", lambda _: going.wait(60))
    try:
        with pytest.raises(Problem) as caught:
            got(clips, "a", 0.01)
        assert caught.value.name == "timed-out"
        monkeypatch.setattr(clip_cache, "WAITING", 0)
        with pytest.raises(Problem) as caught:
            got(clips, "a", 60)
        assert caught.value.name == "overloaded"
    finally:
        going.set()
        clips.close()


def test_without_videos_there_are_no_clips(client):
    assert client.get("/v1/info").json()["videos"] is False
    problem(client.get(url("door/000.jpg")), 404, "not-found")


def test_clips_are_for_those_who_search_and_are_noted(model, films, tmp_path):
    made = {role: new_token(role, [role]) for role in ("search", "write", "audit")}
    path = tmp_path / "tokens"
    path.write_text("\n".join(line for _, line in made.values()))
    path.chmod(0o600)
    by = {role: {"Authorization": f"Bearer {token}"} for role, (token, _) in made.items()}
    with running(model, filled(model, films), videos=films / "tracks", token_file=path) as guarded:
        key = first_of(guarded).key
        problem(guarded.get(url(key)), 401, "token-required")
        problem(guarded.get(url(key), headers=by["write"]), 403, "role-missing")
        assert guarded.get(url(key), headers=by["search"]).status_code == 200
        entries = guarded.get("/v1/audit", headers=by["audit"]).json()["entries"]
        assert [(entry["actor"], entry["key"]) for entry in entries if entry["action"] == "clip"] == [("search", key)]


def test_the_folder_must_be_there(tmp_path):
    with pytest.raises(UsageError, match="is no folder"):
        ServiceSettings(videos=tmp_path / "nowhere")


@needs_chromium
@pytest.mark.parametrize(
    ("viewport", "scheme"), [(WIDE, "light"), (NARROW, "dark")], ids=["wide and light", "narrow and dark"]
)
def test_the_page_plays_the_moment(service, browser, axe, viewport, scheme):
    row = first_of(service)
    who = int(row.track.split("/")[1]) // 10
    context = browser.new_context(
        viewport=viewport, color_scheme=scheme, reduced_motion="reduce", timezone_id="UTC", bypass_csp=False
    )
    context.set_default_timeout(60_000)
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Policy" in message.text else None)
    page.goto(str(service.base_url))
    page.wait_for_selector("body[data-state=ready]")
    choose(page, who)
    page.click("#go")
    ended(page, "results")
    card = page.locator(f"article[data-key='{row.key}']")
    assert "2026" in card.inner_text()
    assert " to 08:00:" in card.inner_text()
    assert "second" in card.inner_text()
    card.locator(".play").click()
    page.locator("#moment video").wait_for()
    # Under the page's own policy no string may be run again and again in it.
    until(lambda: page.evaluate("document.querySelector('#moment video').currentTime") > 0)
    assert page.evaluate("document.querySelector('#moment video').videoWidth") == 256
    assert "camera \u2068camera1\u2069, " in page.locator("#moment-words").inner_text()
    page.keyboard.press("Escape")
    page.locator("#moment video").wait_for(state="detached")
    # What cannot be played says so. By key, from the result that has the focus.
    card.focus()
    page.route("**/v1/clips/**", lambda route: route.fulfill(status=404, body=""))
    assert errors == []
    page.keyboard.press("p")
    page.locator("#moment-words", has_text="cannot be played").wait_for()
    context.close()


@needs_chromium
def test_axe_finds_nothing_in_the_moment(service, browser, axe):
    context = browser.new_context(viewport=NARROW, reduced_motion="reduce", bypass_csp=True)
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(str(service.base_url))
    page.wait_for_selector("body[data-state=ready]")
    choose(page, int(first_of(service).track.split("/")[1]) // 10)
    page.click("#go")
    ended(page, "results")
    page.locator(".play").first.click()
    until(lambda: page.evaluate("document.querySelector('#moment video')?.readyState ?? 0") >= 1)
    assert complaints(page, axe) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    context.close()
