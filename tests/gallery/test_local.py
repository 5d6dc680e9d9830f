"""What a gallery in a file does beside what every gallery does."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reidkit.errors import DataError, GalleryError, MissingFileError, UsageError
from reidkit.gallery import Filter, Query, Row, create_gallery, database, local, open_gallery, records
from reidkit.gallery.database import connect
from reidkit.gallery.local import LocalGallery
from reidkit.gallery.vector_index import Index
from tests.gallery.made import Calibrated, Colours, keys

RED, GREEN, BLUE = [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "people.db"


def filled(path, vectors, dim=3):
    gallery = LocalGallery.create(path, dim=dim, fingerprint="abc")
    gallery.add_vectors(vectors, [Row(str(number)) for number in range(len(vectors))])
    return gallery


def test_a_path_is_no_model(tmp_path):
    wrong = "runs/strong"
    with pytest.raises(UsageError, match="the model is a str: pass what load_model returns"):
        open_gallery(tmp_path / "people.db", wrong)
    assert not (tmp_path / "people.db").exists()


def test_a_mistyped_folder_is_not_made(tmp_path):
    place = tmp_path / "pepole" / "people.db"
    with pytest.raises(MissingFileError, match="is not there, nor is its folder: correct the name"):
        open_gallery(place, Colours())
    assert not place.parent.exists()
    create_gallery(place, Colours()).close()
    open_gallery(place, Colours()).close()


def test_what_was_added_is_there_when_it_is_opened_again(path):
    with open_gallery(path, Colours()) as gallery:
        gallery.add_vectors([RED, GREEN], [Row("a", camera="door", pid=3), Row("b")], thumbnails=[b"jpeg", None])
        info = gallery.info()
    with open_gallery(path) as gallery:
        assert gallery.keys() == ["a", "b"]
        assert keys(gallery.search_vectors([GREEN])[0]) == ["b", "a"]
        assert (gallery.get("a").camera, gallery.thumbnail("a")) == ("door", b"jpeg")
        assert (gallery.info().uuid, gallery.info().created, gallery.model) == (
            info.uuid,
            info.created,
            "c0105125c0105125",
        )
        with pytest.raises(UsageError, match="images need the model c0105125c0105125"):
            gallery.search(np.zeros((2, 2, 3), np.uint8))
    assert [file.name for file in path.parent.iterdir()] == ["people.db"]


def test_a_new_gallery_leaves_nothing_of_a_call_that_was_killed(path):
    path.with_name("people.db.0123abcd.partial").write_bytes(b"half")
    path.with_name("other.db.0123abcd.partial").write_bytes(b"another's")
    LocalGallery.create(path, dim=3).close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["other.db.0123abcd.partial", "people.db"]
    assert path.read_bytes()[18:20] == b"\2\2", "written ahead from the first time on"


def test_a_new_gallery_does_not_bring_back_the_rows_of_one_that_was_removed(path):
    """A kill leaves what was written ahead beside the file, and SQLite would put it into any file of that name."""
    with filled(path, [RED, BLUE]):
        for left in ("-wal", "-shm"):
            shutil.copy(f"{path}{left}", path.with_name(f"kept{left}"))
    path.unlink()
    for left in ("-wal", "-shm"):
        path.with_name(f"kept{left}").rename(f"{path}{left}")
    with pytest.raises(DataError, match=r"people\.db-wal is of a gallery whose file was moved or removed without it"):
        LocalGallery.create(path, dim=3)
    assert Path(f"{path}-wal").stat().st_size > 0
    Path(f"{path}-wal").unlink()
    with LocalGallery.create(path, dim=3) as gallery:
        assert len(gallery) == 0


@pytest.mark.parametrize("put", ["nothing", "another"])
def test_a_file_that_is_gone_or_another_takes_no_more_rows(path, put):
    """They would be in no file; and those of the other one would be overwritten."""
    with filled(path, [RED]) as gallery:
        path.rename(path.with_name("moved.db"))
        if put == "another":
            filled(path.with_name("other.db"), [BLUE, BLUE]).close()
            path.with_name("other.db").rename(path)
        for use in (lambda: gallery.add_vectors([RED], [Row("x")]), gallery.keys, gallery.compact):
            with pytest.raises(GalleryError, match=r"people\.db was removed or replaced"):
                use()
        path.unlink(missing_ok=True)
        path.with_name("moved.db").rename(path)
        gallery.info()


def test_another_models_features_are_refused(path):
    class Other(Colours):
        fingerprint = "0123456789abcdef"

    with open_gallery(path, Colours()) as gallery:
        with pytest.raises(DataError, match="features are of the model beef, and the gallery's of c0105125c0105125"):
            gallery.add_vectors([RED], [Row("a")], model="beef")
        with pytest.raises(DataError, match="of the model beef"):
            gallery.search_vectors([RED], model="beef")
    with pytest.raises(
        DataError, match=r"holds features of the model c0105125c0105125 with 3 numbers, and not of 0123"
    ):
        open_gallery(path, Other())


def test_two_that_have_it_open_see_each_others_changes(path):
    """As two processes would: they share nothing but the file."""
    with filled(path, [RED]) as one, LocalGallery(path) as other:
        assert keys(other.search_vectors([RED])[0]) == ["0"]
        one.add_vectors([GREEN], [Row("new", camera="hall")])
        assert keys(other.search_vectors([GREEN])[0]) == ["new", "0"]
        assert keys(other.search_vectors([GREEN], cameras=["hall"])[0]) == ["new"]
        other.remove(["0"])
        assert keys(one.search_vectors([RED])[0]) == ["new"]
        other.add_vectors([RED], [Row("new")], on_conflict="replace")
        assert one.search_vectors([RED])[0][0].similarity == pytest.approx(1)
        one.remove(["new"])
        assert len(other.search_vectors([RED])[0]) == 0


def test_a_reader_that_slept_longer_than_removals_are_kept_reads_everything_anew(path, monkeypatch):
    with filled(path, [RED, GREEN, BLUE]) as one, LocalGallery(path) as other:
        assert len(other.search_vectors([RED])[0]) == 3
        position = other.changes().position
        one.remove(["0"])
        monkeypatch.setattr(records, "KEPT_DAYS", -1)
        one.remove(["1"])  # which forgets both
        assert keys(other.search_vectors([RED])[0]) == ["2"]
        with pytest.raises(DataError, match="too old"):
            other.changes(position)
        assert keys(other.changes().added) == ["2"]


@pytest.mark.parametrize("read", [False, True])
def test_removed_features_are_not_in_the_file_any_more(path, read):
    """Neither there nor in what is written ahead, with names and pictures; also while another has it open."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 700)).astype(np.float32)
    gallery = LocalGallery.create(path, dim=700)
    rows = [Row(f"key-of-{number:04d}", attributes={"name": f"name-of-{number:04d}"}) for number in range(40)]
    gallery.add_vectors(vectors, rows, thumbnails=[f"picture-of-{number:04d}".encode() * 50 for number in range(40)])
    with LocalGallery(path) as other:
        if read:
            other.search_vectors(vectors[:1])
        gallery.remove([f"key-of-{number:04d}" for number in range(0, 40, 3)])
        gallery.add_vectors(vectors[:1], [Row("key-of-0001")], on_conflict="replace")
        content = b"".join(file.read_bytes() for file in path.parent.iterdir())
        for number in range(40):
            gone = number % 3 == 0
            traces = [f"{what}-of-{number:04d}".encode() in content for what in ("key", "name", "picture")]
            assert traces == ([not gone] * 3 if number != 1 else [True, False, False])
            # A piece in the middle of the feature, and its end.
            for piece in (vectors[number].tobytes()[400:440], vectors[number].tobytes()[-40:]):
                assert (piece in content) == ((not gone and number != 1) or number == 0), number
    gallery.compact()
    assert gallery.check() == type(gallery.check())(26)
    gallery.close()


def test_removals_are_not_kept_as_features_in_memory(path, monkeypatch):
    with filled(path, np.eye(3).repeat(20, axis=0)) as gallery:
        gallery.search_vectors([RED])
        before = gallery.info().memory
        gallery.remove([str(number) for number in range(30)])
        gallery.search_vectors([RED])
        assert gallery.info().memory == before // 2


def test_a_first_search_that_is_interrupted_leaves_no_row_twice(path, monkeypatch):
    """As by Ctrl-C in a notebook, where the next search goes on with the same gallery."""
    with filled(path, np.eye(3)) as gallery:
        monkeypatch.setattr(records, "LOADED", 2)
        add = Index.add

        def interrupted(self, new):
            if len(new.ids) == 1:
                raise KeyboardInterrupt
            add(self, new)

        with monkeypatch.context() as once:
            once.setattr(Index, "add", interrupted)
            with pytest.raises(KeyboardInterrupt):
                gallery.search_vectors([[1, 2, 3]])
        (found,) = gallery.search_vectors([[1, 2, 3]])
        assert (keys(found), found.searched) == (["2", "1", "0"], 3)


def test_features_are_read_without_those_of_the_whole_gallery(path):
    with filled(path, np.eye(3)) as gallery:
        assert gallery.vectors(["2", "0", "2"]).tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]
        assert gallery.info().memory == 0
        with pytest.raises(DataError, match="d is not in the gallery"):
            gallery.vectors(["0", "d"])


def test_rows_are_left_out_by_key_without_reading_all(path, monkeypatch):
    with filled(path, np.eye(3)) as gallery:
        monkeypatch.delattr(Filter, "sql")
        assert keys(gallery.search(Query(keys=["0"], negative=["1"]), filter=Filter(not_keys=["d"]))) == ["2"]


def test_check_finds_what_was_changed_behind_its_back(path):
    with filled(path, np.eye(3)) as gallery:
        assert gallery.check().problems == ()
        with closing(connect(path, write=True)) as connection:
            connection.execute("PRAGMA foreign_keys=OFF")
            connection.execute("UPDATE rows SET pid = 5 WHERE key = '0'")
            connection.execute("DELETE FROM vectors WHERE id = 2")
            connection.execute("UPDATE vectors SET vector = ? WHERE id = 3", [np.float32([np.nan] * 3).tobytes()])
            connection.execute("INSERT INTO vectors VALUES(99, x'00')")
        found = gallery.check()
        assert found.rows == 3
        assert sorted(found.problems) == [
            "0 is not what was written",
            "1 has no feature of 3 numbers",
            "row 99 of vectors belongs to nothing",
            "the feature of 2 holds a NaN or an infinity",
        ]


def test_what_is_no_gallery_is_refused_in_a_sentence(path, tmp_path):
    with pytest.raises(MissingFileError, match=r"people\.db is not there: make a gallery"):
        LocalGallery(path)
    with pytest.raises(DataError, match="is a folder and no gallery"):
        LocalGallery(tmp_path)
    for content in (b"", b"text", b"SQLite format 3\0" + bytes(20)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"people\.db is no gallery: name a file"):
            open_gallery(path, Colours())
        assert path.read_bytes() == content
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes(text)")
    with pytest.raises(DataError, match="is a database of another program"):
        LocalGallery(path)
    path.unlink()
    filled(path, [RED]).close()
    with pytest.raises(DataError, match="is there already"):
        LocalGallery.create(path, Colours())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=7")
    with pytest.raises(DataError, match="is a gallery of version 7, and this reidkit knows 1: update reidkit"):
        LocalGallery(path)
    for below in ("other.db", "below/other.db"):
        with pytest.raises(DataError, match=r"cannot be written \(Not a directory\)"):
            LocalGallery.create(path / below, Colours())
    with pytest.raises(UsageError, match="features of 0 numbers"):
        LocalGallery.create(tmp_path / "other.db")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["people.db"]


@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.97])
def test_a_truncated_file(path, part):
    filled(path, np.random.default_rng(0).normal(size=(300, 512)), 512).close()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(DataError, match=r"is damaged|is no gallery"), LocalGallery(path) as gallery:
        gallery.search_vectors(np.ones((1, 512)))


@pytest.mark.parametrize("at", range(3))
def test_a_damaged_file_ends_in_a_sentence_and_is_found_by_check(path, at):
    filled(path, np.random.default_rng(0).normal(size=(300, 512)), 512).close()
    whole = bytearray(path.read_bytes())
    for page in range(2 + at, len(whole) // 65536, 3):
        whole[65536 * page : 65536 * page + 4000] = os.urandom(4000)
    path.write_bytes(whole)
    with pytest.raises((DataError, GalleryError), match=r"people\.db|the gallery is damaged"):
        raise_what_is_wrong(path)


def raise_what_is_wrong(path):
    with LocalGallery(path) as gallery:
        problems = gallery.check().problems
        assert problems
        gallery.search_vectors(np.ones((1, 512)))
        raise DataError(f"people.db: {problems[0]}")  # pages that a search does not need


def test_a_migration_runs_once_and_whole(path, monkeypatch):
    filled(path, [RED]).close()
    monkeypatch.setattr(database, "VERSION", 2)
    monkeypatch.setattr(
        database, "MIGRATIONS", {1: "ALTER TABLE rows ADD COLUMN note TEXT;\nCREATE INDEX broken ON nothing(x)"}
    )
    with pytest.raises(GalleryError, match="cannot be used"):
        LocalGallery(path)
    monkeypatch.setattr(
        database, "MIGRATIONS", {1: "ALTER TABLE rows ADD COLUMN note TEXT;\nCREATE INDEX notes ON rows(note)"}
    )
    for _ in range(2):
        with LocalGallery(path) as gallery, closing(connect(path, write=False)) as connection:
            assert keys(gallery.search_vectors([RED])[0]) == ["0"]
            assert connection.execute("PRAGMA user_version").fetchone() == (2,)
            connection.execute("SELECT note FROM rows")


def test_a_file_that_may_only_be_read(path, monkeypatch):
    filled(path, [RED]).close()
    monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK)  # tests may run as root
    with LocalGallery(path) as gallery:
        assert keys(gallery.search_vectors([RED])[0]) == ["0"]
        with pytest.raises(GalleryError, match=r"people\.db cannot be written"):
            gallery.add_vectors([GREEN], [Row("x")])
        with pytest.raises(GalleryError, match="cannot be written"):
            gallery.remove(["0"])
    assert [file.name for file in path.parent.iterdir()] == ["people.db"]


def test_one_writer_at_a_time(path, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    with filled(path, [RED]) as gallery, LocalGallery(path) as other:
        with other._database.writing():
            with pytest.raises(GalleryError, match="is being written by another process"):
                gallery.add_vectors([GREEN], [Row("x")])
            assert keys(gallery.search_vectors([RED])[0]) == ["0"]
        gallery.add_vectors([GREEN], [Row("x")])


def test_a_search_that_runs_keeps_its_rows(path):
    with filled(path, np.eye(3)) as gallery:
        with gallery._view() as view:
            with LocalGallery(path) as other:
                other.add_vectors([RED], [Row("new")])
                with other._database.writing() as connection:
                    records.delete_rows(connection, [1])
            found = view.nearest(np.array([[1.0, 0, 0]]), Filter(), 5, -2.0)[0]
            assert found.ids.tolist() == [1, 2, 3]
            assert keys(view.rows(found.ids)) == ["0", "1", "2"]
        assert keys(gallery.search_vectors([RED])[0]) == ["new", "1", "2"]


def test_closed_is_closed(path):
    gallery = filled(path, [RED])
    gallery.close()
    gallery.close()
    for use in (gallery.keys, gallery.info, lambda: gallery.add_vectors([RED], [Row("x")])):
        with pytest.raises(GalleryError, match="was closed: open it again"):
            use()


def test_where_no_more_files_can_be_open_it_says_so(path, tmp_path):
    """SQLite only says that it cannot open one, as where the right to write it is missing."""
    resource = pytest.importorskip("resource")
    with filled(path, [RED]) as made, LocalGallery.create(tmp_path / "other.db", Colours()) as other:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
        try:
            for use in (lambda: other.add_vectors([RED], [Row("x")]), lambda: LocalGallery(path)):
                with pytest.raises(GalleryError, match="no more files can be open at one time: close galleries that"):
                    use()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert other.add_vectors([RED], [Row("x")]).status == ("added",)
        assert keys(made.search_vectors([RED])[0]) == ["0"]


WRITER = """
import resource, sys
import numpy as np
from reidkit.gallery.local import LocalGallery
from reidkit.gallery.row import Row
path, name, size, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
with LocalGallery(path) as gallery:
    for batch in range(100_000):
        rows = [Row(f"{name}/{batch}/{n}", pid=n) for n in range(size)]
        gallery.add_vectors(np.full((size, 256), batch + 1), rows)
        print(batch, flush=True)
"""


def write(path, name, limit=0):
    words = [sys.executable, "-c", WRITER, str(path), name, "20", str(limit)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_writers_that_are_killed_lose_nothing_that_they_acknowledged(path):
    LocalGallery.create(path, dim=256).close()
    acknowledged: dict[str, int] = {}
    for kill in range(2):
        writers = {f"{kill}-{number}": write(path, f"{kill}-{number}") for number in range(2)}
        for writer in writers.values():
            for _ in range(3 + kill):
                writer.stdout.readline()
        for writer in writers.values():
            writer.send_signal(signal.SIGKILL)
        for name, writer in writers.items():
            lines = writer.communicate()[0].split()
            acknowledged[name] = 3 + kill + len(lines)
    with LocalGallery(path) as gallery:
        there = gallery.keys()
        assert len(there) == len(set(there))
        for name, batches in acknowledged.items():
            for batch in range(batches):
                assert {f"{name}/{batch}/{n}" for n in range(20)} <= set(there), (name, batch)
        # A batch is there whole or not at all.
        assert len(there) % 20 == 0
        assert gallery.check().problems == ()
        assert gallery.search_vectors(np.ones((1, 256)))[0].searched == len(there)
        gallery.add_vectors(np.ones((1, 256)), [Row("after")])


def test_a_full_disk_is_a_sentence_and_loses_nothing(path):
    LocalGallery.create(path, dim=256).close()
    writer = write(path, "full", limit=3 << 20)
    out, error = writer.communicate()
    assert "people.db cannot be written" in error.splitlines()[-1]
    assert "make room" in error.splitlines()[-1]
    batches = len(out.split())
    assert batches > 3
    with LocalGallery(path) as gallery:
        assert len(gallery) == 20 * batches
        assert gallery.check().problems == ()


def test_missing_folders_above_a_gallery_are_made(tmp_path):
    with LocalGallery.create(tmp_path / "site" / "a" / "people.db", Colours()) as gallery:
        gallery.add_vectors([RED], [Row("a")])
    assert (tmp_path / "site" / "a" / "people.db").is_file()


def test_a_reader_in_the_way_of_erasing_is_said_and_the_next_change_erases(path, monkeypatch, caplog):
    """What is removed stands in what is written ahead as long as somebody reads the state before it."""
    monkeypatch.setattr(local, "ERASING", 1.0)
    erase, tried = database.Database.erase, []
    monkeypatch.setattr(database.Database, "erase", lambda self: tried.append(erase(self)) or tried[-1])
    gone = "the-removed-one"
    with open_gallery(path, Colours()) as gallery, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        gallery.add_vectors([RED, BLUE], [Row("a"), Row(gone)])
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM rows").fetchone()
        assert gallery.remove([gone]) == 1
        assert "a reader is in the way" in caplog.text
        assert tried[:2] == [False, False], "each try ends at once, and not when SQLite has no patience any more"
        assert gone.encode() in path.read_bytes() + Path(f"{path}-wal").read_bytes()
        reader.execute("COMMIT")
        assert gallery.remove(["a"]) == 1
        kept = path.read_bytes() + Path(f"{path}-wal").read_bytes()
    assert gone.encode() not in kept


def test_a_full_disk_after_a_removal_is_no_failure_of_it(path, monkeypatch, caplog):
    """To do it again, as the error said, was refused: the rows were gone."""

    def full(database):
        with database.errors():
            raise sqlite3.OperationalError("database or disk is full")

    gone = "the-removed-one"
    with open_gallery(path, Colours()) as gallery:
        gallery.add_vectors([RED, BLUE], [Row("a"), Row(gone)])
        with monkeypatch.context() as patched:
            patched.setattr(database.Database, "erase", full)
            assert gallery.remove([gone]) == 1
            assert gallery.add_vectors([GREEN], [Row("a")], on_conflict="replace").count("replaced") == 1
        assert "rows are removed, but not yet overwritten (database or disk is full)" in caplog.text
        assert gone.encode() in path.read_bytes() + Path(f"{path}-wal").read_bytes()
    assert gone.encode() not in path.read_bytes(), "whoever closes it last"
    assert not Path(f"{path}-wal").exists()


def test_a_calibration_is_kept_for_those_without_the_model(path):
    with open_gallery(path, Calibrated()) as gallery:
        gallery.add_vectors([RED], [Row("a", camera="hall")])
    with open_gallery(path) as gallery:
        assert gallery.calibration == Calibrated.calibration
        assert gallery.search_vectors([RED])[0][0].probability == pytest.approx(0.9)


def test_a_calibration_of_other_features_is_not_used(path, caplog):
    class Flipped(Colours):
        calibration = replace(Calibrated.calibration, flip=True)

    open_gallery(path, Colours()).close()
    with open_gallery(path, Flipped()) as gallery:
        gallery.add_vectors([RED], [Row("a")])
        assert gallery.search_vectors([RED])[0][0].probability is None
    assert "was calibrated with --flip, and the gallery's features are made without it" in caplog.text
    with open_gallery(path.with_name("other.db"), Flipped()) as gallery:
        assert gallery.flip
        assert gallery.search_vectors([RED])[0].threshold == 0.5


def test_flipped_features_are_means_over_an_image_and_its_mirror_image(path):
    class Left(Colours):
        calibration = replace(Calibrated.calibration, flip=True)

        def encode(self, images):
            return images[:, 0, 0].astype(np.float32)

    with open_gallery(path, Left()) as gallery:
        image = np.zeros((2, 2, 3), np.uint8)
        image[:, 0] = (200, 0, 0)
        image[:, 1] = (0, 100, 0)
        np.testing.assert_array_equal(gallery.embed([image]), [[100, 50, 0]])


FORKED = """
import os
import sys

from reidkit.errors import GalleryError
from reidkit.gallery import Row
from reidkit.gallery.local import LocalGallery

path = sys.argv[1]
people = LocalGallery.create(path, dim=2)
people.add_vectors([[1, 0]], [Row("before")])
people.search_vectors([[1, 0]])

reads, writes = os.pipe()
if child := os.fork():
    people.close()
    os.write(writes, b"closed")
    os.waitpid(child, 0)
else:
    os.read(reads, 6)
    people.add_vectors([[0, 1]], [Row("in the child")])
    print(people.keys(), flush=True)
    os._exit(0)
again = LocalGallery(path)
print(again.keys(), flush=True)

with again._database.reading():
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        try:
            again.keys()
        except GalleryError as error:
            print(error, flush=True)
        os._exit(0)
print(len(again))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_what_a_forked_process_acknowledges_is_there(path):
    """It took its parent's locks for its own, and wrote to a file that closing the gallery there had removed."""
    ended = subprocess.run(
        [sys.executable, "-c", FORKED, path], capture_output=True, text=True, check=True, timeout=300
    )
    both = "['before', 'in the child']"
    refused = f"{path} was in use when this process was forked: start processes by `spawn`, and open it there"
    assert ended.stdout.splitlines() == [both, both, refused, "2"]
