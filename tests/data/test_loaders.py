"""Batches: what is in them, that they are the same after a resume, and that the thread behind them behaves."""

from __future__ import annotations

import itertools
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from reidkit.data import loaders, transforms
from reidkit.data.images import open_images
from reidkit.data.loaders import AHEAD, TrainBatches, build_batches, eval_batches
from reidkit.data.sampler import PKSampler
from reidkit.data.sources import MappedImages, UnreadableImagesError
from reidkit.distributed import Group
from reidkit.errors import DataError
from reidkit.recipe import Batch, Erasing, Images, Recipe
from reidkit.types import Sample
from tests.commands import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CPU = torch.device("cpu")
RECIPE = Recipe(
    images=Images(pad=3),
    erasing=Erasing(probability=0.5, fill="random"),
    batch=Batch(ids=3, images=2),
)


def images(count: int = 40, height: int = 24, width: int = 16) -> MappedImages:
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    pixels.flags.writeable = False
    return MappedImages(pixels, [Sample(Path("none"), i, 0) for i in range(count)], np.arange(count))


def batches(source: MappedImages, recipe: Recipe = RECIPE, seed: int = 4) -> TrainBatches:
    return build_batches(source, np.arange(len(source)) % 8 + 50, recipe, seed, CPU)


class Troubled(MappedImages):
    """Images that take their time, or cannot be read, from the second batch on."""

    def __init__(self, delay: float = 0.0, broken: bool = False) -> None:
        whole = images()
        super().__init__(whole._pixels, whole.samples, whole.readable)
        self.asked, self.delay, self.broken = 0, delay, broken

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        self.asked += 1
        if self.broken and self.asked == 2:
            raise DataError("the disk is gone: put it back")
        time.sleep(self.delay)
        return super().rows(indices)


class Spoilt(MappedImages):
    """Some of the images are broken."""

    def __init__(self, broken: set[int]) -> None:
        whole = images()
        super().__init__(whole._pixels, whole.samples, whole.readable)
        self.broken = broken

    def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        why = {at: f"{i} is cut" for at, i in enumerate(indices.tolist()) if i in self.broken}
        if why:
            raise UnreadableImagesError("cut", self._pixels[indices], why)
        return super().rows(indices)


def prefetching() -> bool:
    return any(thread.name == "reidkit-prefetch" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert not prefetching()


def test_a_batch_by_definition() -> None:
    """Sampler, parameters, crop, normalise, erase, put together step by step."""
    source, labels = images(), np.arange(40) % 8 + 50
    order = PKSampler(labels, 3, 2, seed=4).epoch(2)
    augmentation = transforms.Augmentation(pad=3, erasing=transforms.RandomErasing(fill="random"))
    for b, (x, y) in enumerate(batches(source).epoch(2)):
        params = augmentation.sample(np.random.default_rng((4, 2, b, 0x617567)), 6, (24, 16))
        pixels = np.empty((6, 24, 16, 3), dtype=np.uint8)
        transforms.crop_flip(source, order[b], params, 3, pixels)
        expected = transforms.normalise(torch.from_numpy(pixels))
        transforms.erase(expected, params.boxes, "random", params.noise)
        assert torch.equal(x, expected)
        assert x.dtype == torch.float32
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert y.dtype == torch.int64
        assert y.tolist() == labels[order[b]].tolist()
    assert b + 1 == len(order) == batches(source).count(2)


@pytest.mark.parametrize("start", [0, 1, 4])
def test_a_resumed_epoch_is_the_unbroken_one(start: int) -> None:
    unbroken = list(batches(images()).epoch(3))
    resumed = list(batches(images()).epoch(3, start))
    assert len(resumed) == len(unbroken) - start > 0
    for (x, y), (x_again, y_again) in zip(unbroken[start:], resumed, strict=True):
        assert torch.equal(x, x_again)
        assert torch.equal(y, y_again)


def test_cameras_are_those_of_the_images_of_each_process() -> None:
    whole = images()
    source = MappedImages(whole._pixels, [Sample(Path("none"), i, 10 * i) for i in range(40)], whole.readable)
    made = batches(source)
    order = made.sampler.epoch(2)
    assert made.cameras(2, 1).tolist() == (10 * order[1]).tolist()
    second = replace(made, group=Group(rank=1, size=2))
    assert second.cameras(2, 1).tolist() == (10 * order[1, 3:]).tolist()


def test_nothing_is_left_after_the_last_batch() -> None:
    loader = batches(images())
    assert list(loader.epoch(1, loader.count(1))) == []


def test_epochs_batches_and_seeds_differ() -> None:
    """One image that shows nothing but erasing: the noise is another one every time."""
    white = np.full((6, 24, 16, 3), 255, dtype=np.uint8)
    source = MappedImages(white, [Sample(Path("none"), 0, 0)] * 6, np.arange(6))
    recipe = replace(RECIPE, erasing=replace(RECIPE.erasing, probability=1.0))
    seen = [
        x
        for seed in (1, 2)
        for epoch in (1, 2)
        for x, _ in build_batches(source, np.arange(6) // 2, recipe, seed, CPU).epoch(epoch)
    ]
    assert len(seen) == 4
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(seen, 2))


def test_mapped_and_streamed_images_give_the_same_batches(tmp_path: Path) -> None:
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (30, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i:02}.png")
    samples = [Sample(path, i // 3, 0) for i, path in enumerate(sorted(tmp_path.glob("*.png")))]
    pids = np.array([sample.pid for sample in samples])
    ways = [open_images(samples, (24, 16), cache_dir=cache) for cache in (tmp_path / "cache", None)]
    one, two = (list(build_batches(source, pids, RECIPE, 0, CPU).epoch(1)) for source in ways)
    assert len(one) > 0
    for (x, y), (x_again, y_again) in zip(one, two, strict=True):
        assert torch.equal(x, x_again)
        assert torch.equal(y, y_again)
    assert all(torch.equal(a, b) for a, b in zip(*(list(eval_batches(s, 5, CPU)) for s in ways), strict=True))


def test_eval_batches() -> None:
    source = images(11)
    expected = transforms.normalise(torch.from_numpy(source.rows(np.arange(11))[0].copy()))
    found = list(eval_batches(source, 4, CPU))
    assert [len(x) for x in found] == [4, 4, 3]
    assert torch.equal(torch.cat(found), expected)
    assert [len(x) for x in eval_batches(source, 64, CPU)] == [11]


def test_what_goes_wrong_in_the_thread_is_raised_in_its_turn() -> None:
    for found in (batches(Troubled(broken=True)).epoch(1), eval_batches(Troubled(broken=True), 4, CPU)):
        next(found)
        with pytest.raises(DataError, match="the disk is gone"):
            next(found)
        assert not prefetching()


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_leaving_early_ends_the_thread(taken: int) -> None:
    found = batches(Troubled(delay=0.01)).epoch(1)
    for _ in itertools.islice(found, taken):
        pass
    found.close()
    assert not prefetching()


def test_an_interrupt_ends_the_thread() -> None:
    def consume() -> None:
        for _ in eval_batches(Troubled(delay=0.01), 4, CPU):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()


def test_only_a_few_batches_ahead() -> None:
    source = Troubled()
    found = eval_batches(source, 2, CPU)
    next(found)
    until(lambda: source.asked > 1)
    time.sleep(0.1)
    assert source.asked <= AHEAD
    found.close()


def test_waiting_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only those turn who make a batch while it is waited for, or who use one."""
    now, looks, wanted = [0.0], itertools.count(), threading.Semaphore(0)

    def look() -> float:
        then = now[0]
        if next(looks) % 2 == 0:  # at the beginning of a wait
            wanted.release()
        return then

    class Wanted(Troubled):
        def rows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
            assert wanted.acquire(timeout=60)
            now[0] += 1
            return super().rows(indices)

    monkeypatch.setattr(loaders, "time", SimpleNamespace(perf_counter=look))
    slow, quick = batches(Wanted()), batches(Troubled())
    assert len(list(slow.epoch(1))) == slow.wait_seconds == slow.count(1) > 1
    wanted.acquire()  # there was no batch for the last look
    list(slow.epoch(2))
    assert slow.wait_seconds == slow.count(1) + slow.count(2)
    for _ in quick.epoch(1):
        now[0] += 1
    assert quick.wait_seconds == 0


def test_wrong_labels_and_too_few_ids() -> None:
    with pytest.raises(ValueError, match="3 labels for 40 images"):
        build_batches(images(), np.arange(3), RECIPE, 0, CPU)
    with pytest.raises(DataError, match="take at most 2 ids") as caught:
        build_batches(images(), np.arange(40) % 2, RECIPE, 0, CPU)
    assert caught.value.argument == "batch.ids"


@pytest.mark.market1501
def test_real_images(tmp_path: Path) -> None:
    """The mean pixel of Market-1501 lies near the one of ImageNet, and an epoch shows no number out of range."""
    folder = os.environ.get("REIDKIT_MARKET1501", "")
    if not folder:
        pytest.skip("set REIDKIT_MARKET1501 to the folder that holds bounding_box_train")
    paths = sorted((Path(folder) / "bounding_box_train").glob("*.jpg"))[:300]
    source = open_images([Sample(path, int(path.name[:4]), 0) for path in paths], (256, 128), cache_dir=tmp_path)
    pids = np.array([sample.pid for sample in source.samples])
    loader = build_batches(source, pids, replace(Recipe(), batch=Batch(ids=4, images=4)), 0, CPU)
    everything = torch.cat([x for x, _ in loader.epoch(1)])
    assert float(everything.mean()) == pytest.approx(-0.4, abs=0.5)
    assert float(everything.abs().max()) < 2.7


def test_another_image_of_the_person_stands_in_for_a_broken_one() -> None:
    """Where somebody wants to be told, and is so once; parameters, labels and all other images stay as they are."""
    plain = replace(RECIPE, erasing=Erasing(probability=0.0), images=Images(pad=0, flip=0.0))
    order = PKSampler(np.arange(40) % 8 + 50, plain.batch.ids, plain.batch.images, seed=4).epoch(1)
    source, told = Spoilt({int(order[0, 0]), int(order[1, 3])}), list[str]()
    loader = batches(source, plain)
    loader.replaced = told.append
    met = 0
    for b, (x, y) in enumerate(loader.epoch(1)):
        assert y.tolist() == (order[b] % 8 + 50).tolist()
        for at, index in enumerate(order[b].tolist()):
            partner = order[b][at ^ 1]
            met += index in source.broken
            shown = source._pixels[partner if index in source.broken else index]
            assert torch.equal(x[at], transforms.normalise(torch.from_numpy(shown[None].copy()))[0])
    assert met == 2
    expected = [f"{order[at]} is cut: another image of the same id replaces it" for at in ((0, 0), (1, 3))]
    assert told == expected
    list(loader.epoch(1))
    assert len(told) == 2


def test_one_stands_in_where_the_images_live_on_the_device() -> None:
    """All are loaded before the first batch, so it is the person's first whole image of all that stands in."""
    plain = replace(RECIPE, erasing=Erasing(probability=0.0), images=Images(pad=0, flip=0.0))
    order = PKSampler(np.arange(40) % 8 + 50, plain.batch.ids, plain.batch.images, seed=4).epoch(1)
    broken = int(order[0, 0])
    first = next(i for i in range(broken % 8, 40, 8) if i != broken)
    source, told = Spoilt({broken}), list[str]()
    loader = batches(source, plain)
    loader.resident, loader.replaced = True, told.append
    shown = next(iter(loader.epoch(1)))[0][0]
    assert torch.equal(shown, transforms.normalise(torch.from_numpy(source._pixels[[first]].copy()))[0])
    assert told == [f"{broken} is cut: another image of the same id replaces it"]


@pytest.mark.parametrize(("broken", "told"), [(set(range(0, 40, 8)), True), (set(range(0, 40, 9)), False)])
def test_where_no_image_may_stand_in_the_epoch_ends(broken: set[int], told: bool) -> None:
    """Because all of the person are broken, or because nobody asked for it."""
    loader = batches(Spoilt(broken))
    loader.replaced = list[str]().append if told else None
    with pytest.raises(UnreadableImagesError, match="cut"):
        list(loader.epoch(1))


def styled(**changes: object) -> Recipe:
    return replace(RECIPE, images=replace(RECIPE.images, **changes))  # type: ignore[arg-type]


def with_cameras(count: int = 4) -> MappedImages:
    plain = images()
    samples = [Sample(Path("none"), i, i % count) for i in range(40)]
    return MappedImages(plain._pixels, samples, plain.readable)


@pytest.mark.parametrize(
    "changes",
    [{"augment": 0.5}, {"exchange": 0.5}, {"exchange": 0.5, "exchange_by": "fourier"}, {"augment": 0.3, "exchange": 1}],
)
def test_styles_are_those_of_the_batch_and_leave_the_other_parameters_alone(changes: dict[str, object]) -> None:
    """Some images are those of the plain recipe to the bit, others are not; the same after a start in the middle."""
    source = with_cameras()
    plain, other = (list(batches(source, recipe).epoch(1)) for recipe in (RECIPE, styled(**changes)))
    same = [
        torch.equal(a, b)
        for (one, _), (two, _) in zip(plain, other, strict=True)
        for a, b in zip(one, two, strict=True)
    ]
    assert any(same) or changes["exchange"] == 1
    assert not all(same)
    assert all(torch.equal(one, two) for (_, one), (_, two) in zip(plain, other, strict=True))
    again = list(batches(source, styled(**changes)).epoch(1, start=2))
    assert all(torch.equal(one, two) for (one, _), (two, _) in zip(other[2:], again, strict=True))


def test_processes_share_the_styles_of_a_batch() -> None:
    recipe = styled(augment=0.5, exchange=0.5)
    whole = next(iter(batches(with_cameras(), recipe).epoch(1)))[0]
    halves = [
        next(iter(replace(batches(with_cameras(), recipe), group=Group(rank=rank, size=2)).epoch(1)))[0]
        for rank in (0, 1)
    ]
    assert torch.equal(torch.cat(halves), whole)


def test_the_batches_say_which_images_have_another_style() -> None:
    """Those, and no others, differ from the plain batch; in every process all of the batch are known."""
    source, recipe = with_cameras(), styled(exchange=0.5)
    made = batches(source, recipe)
    for number, ((before, _), (after, _)) in enumerate(zip(batches(source).epoch(1), made.epoch(1), strict=True)):
        known = made.styled(1, number)
        assert known is not None
        assert torch.equal((before != after).flatten(1).any(1), known)
        assert torch.equal(replace(made, group=Group(rank=1, size=2)).styled(1, number), known)  # type: ignore[arg-type]
    assert batches(source).styled(1, 0) is None
    assert batches(source, styled(augment=0.5)).styled(1, 0) is None


def test_one_camera_exchanges_nothing() -> None:
    one, two = (next(iter(batches(with_cameras(1), recipe).epoch(1)))[0] for recipe in (RECIPE, styled(exchange=1.0)))
    assert torch.equal(one, two)


def test_an_image_with_the_style_of_another_camera_has_its_colours() -> None:
    """Dark images of one camera, bright ones of the other: all of them change sides."""
    bright = np.arange(40) % 2 == 0
    pixels = np.random.default_rng(0).integers(0, 50, (40, 24, 16, 3), dtype=np.uint8) + (200 * bright)[
        :, None, None, None
    ].astype(np.uint8)
    source = MappedImages(pixels, [Sample(Path("none"), i, i % 2) for i in range(40)], np.arange(40))
    recipe = replace(styled(exchange=1.0, pad=0), erasing=Erasing())
    made = batches(source, recipe)
    found = next(iter(made.epoch(1)))[0].mean(dim=(1, 2, 3))
    assert ((found > 0).numpy() != bright[made.sampler.epoch(1)[0]]).all()
