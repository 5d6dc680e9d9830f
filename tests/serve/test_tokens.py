from __future__ import annotations

import re
from unittest import mock

import pytest

from reidkit.errors import DataError, MissingFileError, UsageError
from reidkit.serve import tokens
from reidkit.serve.problems import Problem
from reidkit.serve.tokens import Attempts, Sessions, Tokens, new_token


def written(path, *lines, mode=0o600):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(mode)
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tokens"


def test_a_token_by_hand(file):
    # printf 'secret' | sha256sum
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    known = Tokens(written(file, "# who may search", "", f"anna search,write sha256:{digest}"))
    actor = known.find("secret")
    assert (actor.name, actor.roles) == ("anna", {"search", "write"})
    assert known.find("Secret") is None
    assert known.find("") is None
    actor.require("write")
    with pytest.raises(Problem) as refused:
        actor.require("audit")
    assert (refused.value.status, refused.value.extensions) == (403, {"role": "audit"})


def test_a_new_token_is_found_and_not_in_the_file(file):
    token, line = new_token("anna", ["write", "search"])
    assert re.fullmatch(r"rk_[\w-]{43}", token)
    assert token not in line
    assert " search,write " in line
    assert Tokens(written(file, line)).find(token).name == "anna"


def test_a_file_that_an_editor_of_windows_has_saved(file):
    """With a mark at its beginning, which was taken for a letter of the first name, and its ends of lines."""
    token, line = new_token("anna", ["search"])
    written(file, f"{line}\r", "\r", "# the end\r").write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert Tokens(file).find(token).name == "anna"


@pytest.mark.parametrize(("name", "roles"), [("an na", ["search"]), ("", ["search"]), ("anna", ["root"]), ("anna", [])])
def test_no_token_for_a_wrong_name_or_role(name, roles):
    with pytest.raises(UsageError):
        new_token(name, roles)


def test_every_line_is_compared(file):
    made = [new_token(f"a{number}", ["search"]) for number in range(3)]
    known = Tokens(written(file, *(line for _, line in made)))
    with mock.patch.object(tokens.hmac, "compare_digest", wraps=tokens.hmac.compare_digest) as compared:
        for token, _ in made:
            assert known.find(token)
        known.find("wrong")
    assert compared.call_count == 12


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("anna search", "line 1 is not"),
        ("anna root sha256:" + "0" * 64, "line 1 is not"),
        ("anna search sha256:" + "0" * 63, "line 1 is not"),
        ("# nothing", "holds no token"),
    ],
)
def test_wrong_lines(file, text, said):
    with pytest.raises(DataError, match=said):
        Tokens(written(file, text))


def test_wrong_files(file, tmp_path):
    with pytest.raises(MissingFileError, match="reidkit serve token"):
        Tokens(file)
    with pytest.raises(DataError, match=r"not a file|cannot be read"):
        Tokens(tmp_path)
    file.write_bytes(b"\xff\xfe")
    file.chmod(0o600)
    with pytest.raises(DataError, match="cannot be read"):
        Tokens(file)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_others_may_not_read_the_file(file, mode):
    with pytest.raises(DataError, match="chmod 600"):
        Tokens(written(file, new_token("anna", ["search"])[1], mode=mode))


def test_reading_again(file):
    (first, line), (second, other) = new_token("anna", ["search"]), new_token("bob", ["search"])
    known = Tokens(written(file, line))
    anna = known.find(first)
    written(file, other)
    known.reload()
    assert known.find(first) is None
    assert known.find(second).name == "bob"
    assert not known.still(anna)
    written(file, "nonsense")
    with pytest.raises(DataError):
        known.reload()
    assert known.find(second), "the last tokens that could be read stay"


def test_ten_wrong_tokens_a_minute():
    clock = mock.Mock(return_value=100.0)
    with mock.patch.object(tokens.time, "monotonic", clock):
        attempts = Attempts()
        for _ in range(10):
            attempts.check("a")
            attempts.wrong("a")
        with pytest.raises(Problem) as refused:
            attempts.check("a")
        assert (refused.value.status, refused.value.retry_after) == (429, 61)
        attempts.check("b")
        clock.return_value = 160.0
        attempts.check("a")


def test_addresses_are_not_remembered_without_end(monkeypatch):
    monkeypatch.setattr(tokens, "MOST", 3)
    attempts = Attempts()
    for address in "abcde":
        attempts.wrong(address)
    assert list(attempts._times) == ["c", "d", "e"]


def test_sessions_end():
    clock = mock.Mock(return_value=0.0)
    with mock.patch.object(tokens.time, "monotonic", clock):
        sessions = Sessions()
        session = sessions.open(tokens.LOCAL)
        assert sessions.find(session) is tokens.LOCAL
        assert sessions.find("another") is None
        clock.return_value = 8 * 3600.0
        assert sessions.find(session) is None
        other = sessions.open(tokens.LOCAL)
        sessions.close(other)
        sessions.close(other)
        assert sessions.find(other) is None
