"""People of the synthetic set who walk through the views of several cameras: frames, and where everybody is in them.

The floor is a plane that a camera sees from above: x to the right, z away from it, in lengths of a body. A person is
seen `focal / z` pixels tall. Nobody is in two views at once, and people come back to the same and to other cameras.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from reidkit.arguments import check_number, check_whole
from reidkit.errors import UsageError
from reidkit.synth.draw import OVERSAMPLING, camera, draw_shadow, paint_scene, rectangle
from reidkit.synth.dress import draw_person
from reidkit.synth.figure import CLOTH, FAMILY, Canvas, Pose, View, person, pick

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from reidkit.synth.draw import Camera
    from reidkit.synth.figure import Points, Rgb

WALKERS = 2 * 10**7
"""People from this number on walk in videos: no image of a set shows one of them, and so no model has learned them."""

OTHER_CAMERAS = 100
"""Cameras of videos are those after this number, which no set has."""

WALKS, FRAMES = 4, 5
"""Streams of random numbers, beside those of `figure`."""

SPEED = 0.85
"""Lengths of a body in a second."""

FAR, NEAR = 0.34, 0.56
"""How tall people are seen at the far end of the floor and at the near one, in heights of the frame."""

FLOOR = 0.5
"""Where people at the far end have their feet, and `FEET` where those at the near end do, in heights of the frame."""
FEET = 0.93


@dataclass(frozen=True, kw_only=True)
class Street:
    """Everything that the videos depend on.

    Attributes:
        videos: How many cameras, each with one video.
        ids: How many people walk through them.
        seconds: How long each video is.
        rate: Frames of a second.
        height: Of a frame, in pixels; `width` likewise.
        seed: Another seed, other people, cameras and ways.
        apart: Seconds from the start of one video to that of the next.
    """

    videos: int = 2
    ids: int = 12
    seconds: float = 30.0
    rate: int = 12
    height: int = 270
    width: int = 480
    seed: int = 0
    apart: float = 10.0

    def __post_init__(self) -> None:
        for each in fields(self):
            (check_number if each.type == "float" else check_whole)(getattr(self, each.name), each.name)
        rules = (
            (1 <= self.videos <= 99, "videos must be from 1 to 99"),
            (1 <= self.ids <= 1000, "ids must be from 1 to 1000"),
            (1 <= self.seconds <= 3600, "seconds must be from 1 to 3600"),
            (1 <= self.rate <= 60, "rate must be from 1 to 60 frames a second"),
            (min(self.height, self.width) >= 96, "height and width must be at least 96 pixels"),
            (max(self.height, self.width) <= 1920, "height and width must be at most 1920 pixels"),
            (self.height % 2 == self.width % 2 == 0, "height and width must be even, as video files have them"),
        )
        for holds, sentence in rules:
            if not holds:
                raise UsageError(f"synthetic videos: {sentence}")

    @property
    def frames(self) -> int:
        """How many frames a video has."""
        return round(self.seconds * self.rate)

    def start(self, number: int) -> float:
        """Return when the video of camera `number` (from 1) begins, in seconds of the clock that all share."""
        return (number - 1) * self.apart

    @cached_property
    def walks(self) -> tuple[Walk, ...]:
        """Who walks through which view, and when; the same for equal settings."""
        return tuple(walk for who in range(1, self.ids + 1) for walk in _walks_of(self, who))

    def view(self, number: int) -> Place:
        """Return the view of camera `number`, from 1."""
        return _place(self, number)

    def film(self, number: int) -> Iterator[Frame]:
        """Yield the frames of camera `number`, from 1."""
        place = self.view(number)
        walks = [walk for walk in self.walks if walk.camera == number]
        rng = np.random.default_rng((self.seed, FRAMES, number))
        for at in range(self.frames):
            yield place.shoot(walks, self.start(number) + at / self.rate, rng)

    def portrait(self, who: int) -> Image.Image:
        """Return a photo of somebody alone, before a camera that made none of the videos."""
        place = _place(self, self.videos + 1)
        rng = np.random.default_rng((self.seed, FRAMES, 0, who))
        walk = Walk(who, 0, times=(0.0, 2.0), x=(-0.5, 0.5), z=(place.focal / (NEAR * self.height),) * 2)
        frame = place.shoot([walk], 0.9, rng, posts=False)
        left, top, wide, high = frame.people[0].box
        middle, half = left + wide / 2, 0.31 * high
        return Image.fromarray(frame.pixels).crop(
            (round(middle - half), round(top - 0.08 * high), round(middle + half), round(top + 1.06 * high))
        )


class Seen(NamedTuple):
    """Somebody in a frame: `box` is left, top, width and height in pixels, `visible` the part that nothing hides."""

    who: int
    box: tuple[float, float, float, float]
    visible: float


class Frame(NamedTuple):
    """A frame: `pixels` uint8 [H, W, 3], and who is in it."""

    pixels: NDArray[np.uint8]
    people: list[Seen]


@dataclass(frozen=True)
class Walk:
    """The way of one person through one view: places (x, z) at rising times, with straight lines between them."""

    who: int
    camera: int
    times: tuple[float, ...]
    x: tuple[float, ...]
    z: tuple[float, ...]

    def at(self, time: float) -> tuple[float, float]:
        """Return where the person is."""
        return float(np.interp(time, self.times, self.x)), float(np.interp(time, self.times, self.z))

    def pose(self, time: float) -> Pose:
        """Return how the person stands or walks; whoever stands looks where they were going."""
        x, z = self.at(time)
        next_x, next_z = self.at(time + 0.05)
        moving = math.hypot(next_x - x, next_z - z) > 1e-4
        leg = max(i for i in range(len(self.times) - 1) if self.times[i] <= time or not i)
        while leg and (self.x[leg], self.z[leg]) == (self.x[leg + 1], self.z[leg + 1]):
            leg -= 1
        yaw = math.atan2(self.x[leg + 1] - self.x[leg], self.z[leg] - self.z[leg + 1])
        gone = SPEED * (time - self.times[0])
        return Pose(yaw=yaw, phase=2 * math.pi * gone / 0.85, stride=0.34 if moving else 0.05, arms=self.arms)

    @property
    def arms(self) -> str:
        """How the arms are held; a habit of the person."""
        return ("swing", "swing", "swing", "pockets", "swing", "phone", "carry")[self.who % 7]


def _walks_of(street: Street, who: int) -> Iterator[Walk]:
    """Yield the walks of one person: camera by camera, with time to get from one to the next."""
    rng = np.random.default_rng((street.seed, WALKS, who))
    uniform = rng.uniform
    last = street.start(street.videos) + street.seconds
    at = int(rng.integers(street.videos)) + 1
    time = street.start(at) + float(uniform(-4.0, 0.5 * street.seconds))
    while time < last - 3.0:
        walk = _walk(rng, street, who, (at, time))
        if walk.times[0] > street.start(at) + street.seconds - 3.0:
            return
        yield walk
        time = walk.times[-1] + float(uniform(2.0, 7.0))
        # On to another camera more often than back to the same one.
        others = [number for number in range(1, street.videos + 1) if number != at]
        at = int(rng.choice(others)) if others and rng.random() < 0.75 else at
        time = max(time, street.start(at) - 2.0)


def _walk(rng: np.random.Generator, street: Street, who: int, begin: tuple[int, float]) -> Walk:
    """Return a way across the view: straight, with a pause, or back to where it came from."""
    number, start = begin
    near, far = 1.0 / NEAR, 1.0 / FAR
    depths = near + (far - near) * rng.random(3)
    side = -1.0 if rng.random() < 0.5 else 1.0
    # The edge of the view is half a frame away, and a body is about a third of its height wide.
    edges = [side * (0.5 * street.width / street.height * z + 0.3) for z in depths]
    middle = (float(rng.uniform(-0.5, 0.5)) * abs(edges[1]), float(depths[1]))
    kind = pick(rng, {"across": 5.0, "pause": 2.0, "back": 1.0})
    ends = [(edges[0], float(depths[0])), (-edges[2] if kind != "back" else edges[2], float(depths[2]))]
    points = [ends[0], *([middle] if kind != "across" else []), *([middle] if kind == "pause" else []), ends[1]]
    times, speed = [start], SPEED * float(rng.uniform(0.85, 1.2))
    for (x, z), (next_x, next_z) in itertools.pairwise(points):
        length = math.hypot(next_x - x, next_z - z)
        times.append(times[-1] + (length / speed if length else float(rng.uniform(1.5, 3.5))))
    return Walk(who, number, tuple(times), tuple(x for x, _ in points), tuple(z for _, z in points))


@dataclass(frozen=True, eq=False)
class Place:
    """What one camera sees: its scene without people, and what stands before them."""

    eye: Camera
    seed: int
    focal: float
    posts: tuple[tuple[float, float, Rgb], ...] = field(default=())

    def shoot(self, walks: list[Walk], time: float, rng: np.random.Generator, *, posts: bool = True) -> Frame:
        """Return a frame: people from far to near, then what hides them, then light, blur and noise."""
        tall, wide = self.eye.scene.shape[:2]
        canvas = Outlines(Image.fromarray(self.eye.scene.copy()), self.eye.shade)
        here = [walk for walk in walks if walk.times[0] <= time <= walk.times[-1]]
        drawn = []
        for walk in sorted(here, key=lambda walk: (-walk.at(time)[1], walk.who)):
            x, z = walk.at(time)
            scale = self.focal * OVERSAMPLING / z
            who = person(self.seed, WALKERS + walk.who * FAMILY // 2)
            view = View(pitch=self.eye.pitch, tilt=0.0, scale=scale, x=0.5 * wide + x * scale, y=_floor(scale, tall))
            draw_shadow(canvas, view, self.eye.shade)
            canvas.begin(walk.who)
            draw_person(canvas, who, walk.pose(time), replace(view, scale=scale * who.height))
            if box := canvas.bounds():
                drawn.append((walk.who, box, canvas.count(box, walk.who)))
        canvas.begin(0)
        for left, half, rgb in self.posts if posts else ():
            canvas.fill(rectangle(left - half, 0, left + half, tall), rgb, 0.95)
            canvas.darken(rectangle(left + 0.2 * half, 0, left + half, tall), 0.7)
        size = (wide // OVERSAMPLING, tall // OVERSAMPLING)
        image, light = (each.resize(size, Image.Resampling.BOX) for each in (canvas.image, canvas.light))
        start = int(rng.integers(0, self.eye.grain.size - 3 * size[0] * size[1]))
        pixels = self.eye.expose(image, light, (1.0, 1.0, start))
        people = [
            Seen(who, _box(box), canvas.count(box, who) / all_of_it) for who, box, all_of_it in drawn if all_of_it
        ]
        return Frame(pixels, people)


class Outlines(Canvas):
    """A canvas that also notes which pixels belong to whom, in `who` (mode I, 0 for nobody)."""

    def __init__(self, image: Image.Image, shade: float) -> None:
        super().__init__(image, shade)
        self.who = Image.new("I;16", image.size, 0)
        self._who = ImageDraw.Draw(self.who)
        self.begin(0)

    def begin(self, who: int) -> None:
        """From here on, what is drawn belongs to this person."""
        self._now = who
        self._low, self._high = np.full(2, np.inf), np.full(2, -np.inf)

    def fill(self, outline: Points, rgb: Rgb, light: float = 1.0) -> None:
        """Fill a polygon [N, 2]."""
        super().fill(outline, rgb, light)
        self._who.polygon(outline.ravel().tolist(), fill=self._now)
        self._grow(outline.min(0), outline.max(0))

    def oval(self, x: float, y: float, half: tuple[float, float], rgb: Rgb, light: float = 1.0) -> None:
        """Fill an ellipse with the half axes `half`."""
        super().oval(x, y, half, rgb, light)
        self._who.ellipse((x - half[0], y - half[1], x + half[0], y + half[1]), fill=self._now)
        self._grow(np.array((x - half[0], y - half[1])), np.array((x + half[0], y + half[1])))

    def bounds(self) -> tuple[int, int, int, int] | None:
        """Return left, top, right and bottom of what was drawn since `begin`, within the image; None: nothing is."""
        wide, tall = self.image.size
        left, top = (max(0, math.floor(value)) for value in self._low)
        right, bottom = (min(end, math.ceil(value)) for end, value in zip((wide, tall), self._high, strict=True))
        return (left, top, right, bottom) if right > left and bottom > top else None

    def count(self, box: tuple[int, int, int, int], who: int) -> int:
        """Return how many pixels in a box belong to a person."""
        return int((np.asarray(self.who.crop(box)) == who).sum())

    def _grow(self, low: NDArray[Any], high: NDArray[Any]) -> None:
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)


def _box(bounds: tuple[int, int, int, int]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (value / OVERSAMPLING for value in bounds)
    return left, top, right - left, bottom - top


def _floor(scale: float, tall: int) -> float:
    """Return the row of the feet of somebody who is seen `scale` pixels tall, in a frame `tall` pixels high."""
    return tall * (FLOOR + (FEET - FLOOR) * (scale / tall - FAR) / (NEAR - FAR))


def _place(street: Street, number: int) -> Place:
    """Return the view of a camera: its light and colours as in the set, before a scene of its own."""
    height, width = street.height, street.width
    eye = camera(street.seed, OTHER_CAMERAS + number, height, width)
    rng = np.random.default_rng((street.seed, WALKS, 0, number))
    tall, wide = height * OVERSAMPLING, width * OVERSAMPLING
    scene = paint_scene(rng, (wide, tall), round((FLOOR - 0.04) * tall), round(FAR * tall))
    x, half = rng.uniform(0.2, 0.8) * wide, 0.045 * tall
    posts = ((float(x), half, pick(rng, CLOTH)),)
    return Place(eye=replace(eye, scene=scene), seed=street.seed, focal=float(height), posts=posts)
