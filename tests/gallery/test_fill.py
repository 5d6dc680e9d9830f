"""From images, lists, tables, data sets and features files to rows."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from reidkit.data.formats.detect import load_dataset
from reidkit.errors import DataError, MissingFileError
from reidkit.gallery import Row, open_gallery
from reidkit.gallery.fill import fill, fill_from_features, find_images, holds_features
from reidkit.gallery.local import LocalGallery
from reidkit.gallery.table import value_of
from reidkit.types import Embeddings, Names
from tests.features_file import write_features
from tests.gallery.made import Colours, keys
from tests.noise import draw_noise


def picture(path, rgb=(200, 0, 0), size=(40, 90)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, rgb).save(path)
    return path


def rows_of(found):
    return [each.row for each in found]


def test_a_folder_of_images_in_folders_of_their_own(tmp_path):
    for name in ("b.png", "door/a.jpg", "door/x.txt.png", "door/y.GIF"):
        picture(tmp_path / "crops" / name)
    (tmp_path / "crops" / "notes.txt").write_text("no image")
    found = find_images(tmp_path / "crops", camera="door", attributes={"n": 1})
    assert keys(rows_of(found)) == ["b.png", "door/a.jpg", "door/x.txt.png", "door/y.GIF"]
    assert [(row.camera, row.image, row.attributes) for row in rows_of(found)][:1] == [("door", "b.png", {"n": 1})]
    assert found[1].path == tmp_path / "crops" / "door" / "a.jpg"
    assert rows_of(find_images(tmp_path / "crops" / "b.png")) == [Row("b.png", image="b.png")]


def test_a_folder_of_video_crops_is_no_data_set(tmp_path):
    """The numbers of its tracks were taken for ids, and its cameras and times were lost."""
    out = tmp_path / "out"
    for name in ("hall", "door"):
        for track in (1, 2):
            picture(out / name / "crops" / str(track) / "000012.jpg")
        (out / name / "video.json").write_text("{}")
        (out / name / "crops.csv").write_text("path,key\ncrops/1/000012.jpg,a\n")
    for folder, table in (
        (out, "door/crops.csv and 1 more"),
        (out / "hall", "hall/crops.csv"),
        (out / "hall" / "crops", "hall/crops.csv"),
    ):
        with pytest.raises(DataError, match=f"whose folders are tracks and no ids: give their tables, .*{table}$"):
            find_images(folder)
    assert keys(rows_of(find_images(out / "hall" / "crops.csv"))) == ["a"]
    assert len(find_images(out / "hall", format="folder")) == 2


def test_a_data_set(tmp_path):
    market = draw_noise(tmp_path / "Market-1501-v15.09.15", people=range(1, 3), evaluated=range(11, 13))
    found = find_images(market)
    assert {(row.pid, row.camera) for row in rows_of(found)} <= {
        (pid, str(c)) for pid in (None, 0, 11, 12) for c in range(7)
    }
    assert all(each.path == market / each.row.key for each in found)
    everything = find_images(market, split="all")
    assert len(everything) > len(find_images(market, split="train")) > 0
    assert rows_of(found) == rows_of(find_images(market, split="gallery"))
    with pytest.raises(DataError, match="no split test: choose train"):
        find_images(market, split="test")
    picture(market / "query" / "who.jpg")
    with pytest.raises(DataError, match="does not give an id and a camera"):
        find_images(market)  # and not as images without ids


def test_what_of_a_data_set_is_passed_over_is_noted(tmp_path):
    market = draw_noise(tmp_path / "Market-1501-v15.09.15", people=range(1, 3), evaluated=range(11, 13))
    picture(market / "val" / "0001_c1s1_000001_00.jpg")
    notes = []
    find_images(market, notes=notes)
    assert notes == ["passed over: 1 image in val/"]
    find_images(market / "val" / "0001_c1s1_000001_00.jpg", notes=notes)
    assert len(notes) == 1


def test_all_of_a_data_set_that_has_no_gallery(tmp_path):
    """Such as a folder for each id, the layout that own images come in."""
    for name in ("anna/c1_1.jpg", "anna/c2_1.jpg", "bob/c1_1.jpg", "bob/c2_1.jpg"):
        picture(tmp_path / name)
    found = rows_of(find_images(tmp_path))
    assert [(row.key, row.camera) for row in found] == [
        (f"{name}/c{camera}_1.jpg", str(camera)) for name in ("anna", "bob") for camera in (1, 2)
    ]
    with pytest.raises(DataError, match="has no gallery images: choose another split, or all"):
        find_images(tmp_path, split="gallery")


def people_in(gallery):
    return sorted((row.attributes["person"], row.pid) for row in gallery)


def test_a_name_has_one_id_whatever_its_data_set_counts(tmp_path):
    """Each data set numbers its names from 0 in sorted order: Karl of the one would be Lena of the other."""
    for at, name in enumerate(("a/Karl/1.png", "a/Mia/1.png", "b/Lena/1.png", "b/Mia/2.png")):
        picture(tmp_path / name, (60 + 40 * at, 0, 10))
    with open_gallery("memory", Colours()) as gallery:
        assert fill(gallery, find_images(tmp_path / "a")).added == 2
        assert people_in(gallery) == [("Karl", 0), ("Mia", 1)]
        assert fill(gallery, find_images(tmp_path / "b")).added == 2
        assert people_in(gallery) == [("Karl", 0), ("Lena", 2), ("Mia", 1), ("Mia", 1)]
        picture(tmp_path / "a" / "Anna" / "1.png", (220, 0, 10))  # who comes before the others
        again = fill(gallery, find_images(tmp_path / "a"))
        assert (again.added, again.unchanged, again.conflicts) == (1, 2, [])
        assert people_in(gallery)[0] == ("Anna", 3)
        groups = gallery.search(tmp_path / "a" / "Karl" / "1.png", group_by="person")
        assert sorted(hit.attributes["person"] for hit in groups) == ["Anna", "Karl", "Lena", "Mia"]


def test_a_name_that_somebody_else_adds_meanwhile_keeps_its_id(tmp_path):
    """Two programs add people to one gallery: what one of them has read of its names is old when it writes."""
    for at, name in enumerate(("a/Karl/1.png", "a/Mia/1.png", "a/Mia/2.png")):
        picture(tmp_path / name, (60 + 40 * at, 0, 10))
    with open_gallery(tmp_path / "g.db", Colours()) as gallery, open_gallery(tmp_path / "g.db", Colours()) as other:

        def images():
            karl, *rest = find_images(tmp_path / "a")
            yield karl
            other.add_vectors([[1, 0, 0]], [Row("o", pid=1, attributes={"person": "Otto"})])
            yield from rest

        assert fill(gallery, images(), batch=1).added == 3
        assert people_in(gallery) == [("Karl", 0), ("Mia", 2), ("Mia", 2), ("Otto", 1)]
        assert fill(gallery, find_images(tmp_path / "a")).unchanged == 3


def test_a_gallery_in_which_two_names_share_an_id_is_mended_by_replacing(tmp_path):
    for at, name in enumerate(("b/Lena/1.png", "b/Otto/1.png")):
        picture(tmp_path / name, (60 + 40 * at, 0, 10))
    with open_gallery("memory", Colours()) as gallery:
        gallery.add_vectors([[1, 0, 0]], [Row("k", pid=0, attributes={"person": "Karl"})])
        gallery.add_vectors([[1, 0, 0]], [Row("Lena/1.png", pid=0, image="Lena/1.png", attributes={"person": "Lena"})])
        assert fill(gallery, find_images(tmp_path / "b")).conflicts == ["Lena/1.png"]
        fill(gallery, find_images(tmp_path / "b"), on_conflict="replace")
        assert [name for name, _ in people_in(gallery)] == ["Karl", "Lena", "Otto"]
        assert len({pid for _, pid in people_in(gallery)}) == 3


def test_ids_that_are_numbers_stay_what_they_are(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "crops.csv").write_text("path,pid,person\na.png,0,Lena\n")
    with open_gallery("memory", Colours()) as gallery:
        gallery.add_vectors([[1, 0, 0]], [Row("k", pid=0, attributes={"person": "Karl"})])
        fill(gallery, find_images(tmp_path / "crops.csv"))
        assert people_in(gallery) == [("Karl", 0), ("Lena", 0)]


def test_a_table_with_another_person_beside_a_name_is_refused(tmp_path):
    """The name becomes the attribute `person`, and would take the place of what the table says."""
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    table = tmp_path / "crops.csv"
    table.write_text("path,pid,person\na.png,Karl,\nb.png,Lena,Lena\n")
    assert [row.attributes for row in rows_of(find_images(table))] == [{"person": "Karl"}, {"person": "Lena"}]
    table.write_text("path,pid,person\na.png,Karl,\nb.png,Lena,staff\n")
    with pytest.raises(
        DataError, match="line 3: its pid Lena is a name, which becomes its person, and its person is s"
    ):
        find_images(table)


def test_an_attribute_of_all_images_stands_beside_those_that_are_known(tmp_path):
    for name in ("people/Karl/1.png", "people/Mia/1.png"):
        picture(tmp_path / name)
    (tmp_path / "crops.csv").write_text("path,coat\npeople/Karl/1.png,red\npeople/Mia/1.png,\n")
    given = {"site": "shop", "coat": "not known"}
    assert [row.attributes for row in rows_of(find_images(tmp_path / "crops.csv", attributes=given))] == [
        {"site": "shop", "coat": "red"},
        given,
    ]
    first, _ = rows_of(find_images(tmp_path / "people", attributes={"site": "shop"}))
    assert first.attributes == {"person": "Karl", "site": "shop"}


def test_a_list(tmp_path):
    (tmp_path / "list.txt").write_text("a/1.png\n\n b.png \n", encoding="utf-8")
    found = find_images(tmp_path / "list.txt")
    assert [(each.row.key, each.path) for each in found] == [
        ("a/1.png", tmp_path / "a" / "1.png"),
        ("b.png", tmp_path / "b.png"),
    ]


def test_a_table(tmp_path):
    (tmp_path / "crops.csv").write_text(
        "path;Pid;camid;track;time;colour;height;door_open;code\n"
        'a\\1.png;7;door;t1;2026-11-26T13:00:00+01:00;"red; dark";1.80;TRUE;007\n'
        "b.png;;-1;;;;;;\n",
        encoding="utf-8-sig",
    )
    first, second = rows_of(find_images(tmp_path / "crops.csv"))
    assert (first.key, first.pid, first.camera, first.track) == ("a/1.png", 7, "door", "t1")
    assert first.time == datetime(2026, 11, 26, 12, tzinfo=UTC)
    assert first.attributes == {"colour": "red; dark", "height": 1.8, "door_open": True, "code": "007"}
    assert second == Row("b.png", image="b.png")
    assert rows_of(find_images(tmp_path / "crops.csv", camera="hall"))[1].camera == "hall"


def test_the_table_of_a_data_set(tmp_path):
    """As it was trained on: ids that are names, whole numbers as pandas has them beside a gap, and splits."""
    text = "sep=;\r\npath;pid;camid;split\r\na.png;Mia;1.0;train\r\nb.png;Karl;;gallery\r\nc.png;-1;2.0;gallery\r\n"
    (tmp_path / "crops.csv").write_bytes(text.encode("utf-16"))
    mia, karl, junk = rows_of(find_images(tmp_path / "crops.csv"))
    assert [(row.pid, row.camera) for row in (mia, karl, junk)] == [(1, "1"), (0, None), (None, "2")]
    assert mia.attributes == {"person": "Mia", "split": "train"}
    assert "person" not in junk.attributes
    assert rows_of(find_images(tmp_path / "crops.csv", split="gallery")) == [karl, junk]
    assert [each.named for each in find_images(tmp_path / "crops.csv")] == [True, True, False]
    (tmp_path / "numbers.csv").write_text("path,pid\na.png,7.0\nb.png,\nc.png,123456789012\n")
    assert [row.pid for row in rows_of(find_images(tmp_path / "numbers.csv"))] == [7, None, 123456789012]


def test_a_split_of_what_has_none_is_refused(tmp_path):
    picture(tmp_path / "crops" / "a.png")
    (tmp_path / "list.txt").write_text("crops/a.png\n")
    (tmp_path / "crops.csv").write_text("path\ncrops/a.png\n")
    (tmp_path / "splits.csv").write_text("path,split\ncrops/a.png,train\n")
    for name, words in (
        ("list.txt", "is no data set and has no split"),
        ("crops/a.png", "is no data set and has no split"),
        ("crops", "is no data set and has no split"),
        ("crops.csv", "has no column split"),
        ("splits.csv", "has no query images"),
    ):
        with pytest.raises(DataError, match=words):
            find_images(tmp_path / name, split="query")
        assert len(find_images(tmp_path / name, split="all")) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,pid\na,1\n", "line 1: name the columns"),
        ("path,pid,pid\na,1,1\n", "line 1: name the columns, each once"),
        ("path,camid,camera\na,1,1\n", "line 1: name the columns, each once"),
        ("path,pid\na.png,1.5\n", "line 2: pid 1.5 is neither a whole number"),
        ("path,pid\na.png,anna\nb.png,7\nc.png,007\n", "spells the pid 7 in two ways"),
        ("path,pid\na.png,1\nb.png\n", "line 3: it has not as many columns"),
        ("path,pid\na.png,1,2\n", "line 2: it has not as many columns"),
        ("path,time\na.png,noon\n", "line 2: 'noon' is no time"),
        ("path,pid\n,1\n", "line 2: it has no path"),
        ('path,pid\n"a,1\n', "cannot be read as a table"),
        ("path\n", "holds no images"),
        ("", "line 1: name the columns"),
    ],
)
def test_a_table_that_does_not_fit(tmp_path, text, words):
    (tmp_path / "crops.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        find_images(tmp_path / "crops.csv")


def test_what_is_not_there(tmp_path):
    with pytest.raises(MissingFileError, match="is not there: give images"):
        find_images(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        find_images(tmp_path / "empty")


def test_cells_by_hand():
    texts = ("1", "-3", "0.5", "007", "1e5", "true", "False", "red", "1.", "9" * 30, "0", "-0")
    assert [value_of(text) for text in texts] == [
        1, -3, 0.5, "007", "1e5", True, False, "red", "1.", "9" * 30, 0, 0,
    ]  # fmt: skip


def test_names_that_no_key_can_be_are_noted_and_the_rest_goes_on(tmp_path):
    picture(tmp_path / "crops" / "a.png")
    (tmp_path / "crops" / "b\nc.png").write_bytes((tmp_path / "crops" / "a.png").read_bytes())
    noted: list[tuple[str, str]] = []
    assert keys(rows_of(find_images(tmp_path / "crops", unreadable=noted))) == ["a.png"]
    ((name, why),) = noted
    assert (name, "(rename the file)" in why) == ("b\nc.png", True)
    assert find_images(tmp_path / "crops" / "b\nc.png", unreadable=noted) == []
    with pytest.raises(DataError, match="holds control characters"):
        find_images(tmp_path / "crops")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        find_images(tmp_path / "empty", unreadable=noted)


def test_one_broken_image_does_not_have_the_others_embedded_one_by_one(tmp_path, monkeypatch):
    for number in range(64):
        picture(tmp_path / f"{number:02}.png", (50 + number, 0, 10))
    (tmp_path / "37.png").write_bytes(b"no image")
    with open_gallery("memory", Colours()) as gallery:
        sizes, embed = [], gallery.embed
        monkeypatch.setattr(gallery, "embed", lambda paths: sizes.append(len(paths)) or embed(paths))
        filled = fill(gallery, find_images(tmp_path))
        assert (filled.added, [name for name, _ in filled.unreadable]) == (63, ["37.png"])
        assert sorted(sizes) == [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 64]
        assert gallery.vectors(["38.png"]).tolist() == [[88, 0, 10]]


def test_filling_goes_on_where_it_stopped_and_names_what_cannot_be_read(tmp_path, monkeypatch):
    for number in range(7):
        picture(tmp_path / "crops" / f"{number}.png", (50 + number, 0, 10))
    (tmp_path / "crops" / "3.png").write_bytes(b"no image")
    images = find_images(tmp_path / "crops", camera="door")
    with open_gallery(tmp_path / "people.db", Colours()) as gallery:
        first = fill(gallery, images[:4], batch=2, thumbnails=True)
        assert (first.added, first.unchanged, [name for name, _ in first.unreadable]) == (3, 0, ["3.png"])
        assert "3.png is not an image" in first.unreadable[0][1]
        embedded, embed = [], gallery.embed
        monkeypatch.setattr(gallery, "embed", lambda paths: embedded.extend(paths) or embed(paths))
        done = []
        again = fill(gallery, images, batch=3, progress=done.append)
        assert (again.added, again.unchanged, len(again.unreadable), sum(done)) == (3, 3, 1, 7)
        assert {path.name for path in embedded} == {"3.png", "4.png", "5.png", "6.png"}
        assert gallery.keys() == ["0.png", "1.png", "2.png", "4.png", "5.png", "6.png"]
        assert Image.open(BytesIO(gallery.thumbnail("0.png"))).size == (40, 90)
        assert gallery.thumbnail("6.png") is None
        moved = find_images(tmp_path / "crops", camera="hall")[:2]
        assert fill(gallery, moved).conflicts == ["0.png", "1.png"]
        assert fill(gallery, moved, on_conflict="replace").replaced == 2
        assert gallery.get("0.png").camera == "hall"


def test_features_files(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    embeddings = Embeddings(vectors, [1, 1, -1, 2, 3], [1, 2, -1, 3, 4], "abc", [f"{n}.jpg" for n in range(5)])
    write_features(tmp_path / "f.npz", embeddings)
    with LocalGallery.create(tmp_path / "people.db", fingerprint="abc", dim=3) as gallery:
        assert fill_from_features(gallery, tmp_path / "f.npz", batch=2).added == 5
        assert fill_from_features(gallery, tmp_path / "f.npz").unchanged == 5
        np.testing.assert_array_equal(gallery.vectors(gallery.keys()), vectors)
        assert [(row.key, row.pid, row.camera) for row in gallery][1:3] == [("1.jpg", 1, "2"), ("2.jpg", None, None)]
        write_features(tmp_path / "other.npz", Embeddings(vectors, [1] * 5, [1] * 5, "beef"))
        with pytest.raises(DataError, match="features are of the model beef"):
            fill_from_features(gallery, tmp_path / "other.npz")
        write_features(tmp_path / "plain.npz", Embeddings(vectors[:2], [1] * 2, [1] * 2))
        with pytest.raises(DataError, match="does not say which model made its features"):
            fill_from_features(gallery, tmp_path / "plain.npz")
        assert fill_from_features(gallery, tmp_path / "plain.npz", any_model=True).added == 2
        assert gallery.keys()[-1] == "plain/00000001"


def test_names_in_features_files_are_told_apart_too(tmp_path):
    with LocalGallery.create(tmp_path / "people.db", fingerprint="abc", dim=3) as gallery:
        for file, names in (("a.npz", ("Karl", "Mia")), ("b.npz", ("Lena", "Mia"))):
            paths = [f"{file}/{name}.jpg" for name in names]
            embeddings = Embeddings(np.eye(3)[:2], [0, 1], [-1, -1], "abc", paths, names=Names(dict(enumerate(names))))
            write_features(tmp_path / file, embeddings)
            assert fill_from_features(gallery, tmp_path / file).added == 2
            assert fill_from_features(gallery, tmp_path / file).unchanged == 2
        assert people_in(gallery) == [("Karl", 0), ("Lena", 2), ("Mia", 1), ("Mia", 1)]


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_a_data_set_in_shards(tmp_path, noise, kind):
    """As from the files that were packed: the same keys below the split, ids, cameras and features."""
    pytest.importorskip("pyarrow", reason="needs the extra shards")
    from reidkit.data.shards.writer import convert

    convert(load_dataset(noise), tmp_path / "shards", kind, 20)
    with LocalGallery.create(tmp_path / "people.db", Colours()) as gallery:
        images = find_images(tmp_path / "shards")
        done = fill(gallery, images, thumbnails=True)
        assert (done.added, done.unreadable) == (len(images), [])
        assert fill(gallery, images).unchanged == len(images)
        expected = find_images(noise)
        assert sorted((row.pid, row.camera) for row in gallery) == sorted((e.row.pid, e.row.camera) for e in expected)
        assert gallery.thumbnail(images[0].row.key)
    shard = next(each for each in (tmp_path / "shards").iterdir() if each.suffix in (".tar", ".parquet"))
    assert not holds_features(shard)
