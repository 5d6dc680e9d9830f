from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from reidkit.cli import main as cli
from reidkit.errors import DataError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ("torch", "numpy", "numba", "matplotlib", "pydantic", "PIL", "safetensors", "jinja2")


def test_help_needs_nothing_heavy() -> None:
    """What `reidkit --help` waits for: with torch it would be seconds."""
    asked = f"import sys, reidkit.cli.main; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_looks_at_a_data_set_loads_neither_torch_nor_numba(noise: Path) -> None:
    """The first command of a new user would wait for them three quarters of its time."""
    asked = "\n".join(
        (
            "import sys, reidkit.cli.main",
            f"sys.argv = ['reidkit', 'data', {str(noise)!r}]",
            "try: reidkit.cli.main.main()",
            "except SystemExit as done: print([done.code, 'torch' in sys.modules, 'numba' in sys.modules])",
        )
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, False, False]"


def end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException) -> tuple[int, str]:
    """Status and line of a command that ends with `error`."""

    def fail(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DataError("x is\nnot there"), 1, "reidkit: x is\\nnot there\n"),
        (UsageError("wrong"), 2, "reidkit: wrong\n"),
        (KeyboardInterrupt(), 130, "reidkit: stopped\n"),
        (BrokenPipeError(), 1, ""),
        (
            OSError(5, "Input/output error", "/x"),
            1,
            "reidkit: the system refused: [Errno 5] Input/output error: '/x'\n",
        ),
        (
            OSError(28, "No space left on device"),
            1,
            "reidkit: the system refused: [Errno 28] No space left on device: make room, also where ",
        ),
        (OSError(9, "Bad file descriptor"), 1, "reidkit: standard output is closed: "),
        (MemoryError(), 1, "reidkit: out of memory: close other programs"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), 1, "reidkit: out of memory: "),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), 1, "reidkit: out of memory: "),
    ],
)
def test_expected_failures_are_a_line_and_a_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    line: str,
) -> None:
    ended, err = end(monkeypatch, capsys, error)
    assert ended == status
    assert err.startswith(line)
    assert err.count("\n") == (1 if line else 0)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyError("a bug"), AssertionError()])
def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(type(error)):
        cli.main()


SCRIPT = """
import sys
from reidkit.cli import main as cli
sys.argv = ["reidkit", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.parametrize(
    ("words", "closed", "status", "err"),
    [
        ("recipes", ">&-", 1, "reidkit: standard output is closed: leave out `>&-`, or write it to /dev/null\n"),
        ("recipes", "2>&-", 0, ""),
        ("recipes", "<&-", 0, ""),
        ("recipes", ">&- 2>&- <&-", 1, ""),
        ("trian", ">&-", 2, "reidkit: there is no `reidkit trian`; did you mean `reidkit train`?\n"),
        ("trian", "2>&-", 2, ""),
    ],
)
def test_closed_streams(words: str, closed: str, status: int, err: str) -> None:
    shell = f'"$@" {words} {closed}'
    done = subprocess.run(
        ["bash", "-c", shell, "bash", sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (status, err)
    assert ("small-strong-baseline" in done.stdout) == (status == 0)


def test_a_current_folder_that_was_removed(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    shell = 'cd gone && rmdir ../gone && "$@" data people'
    done = subprocess.run(
        ["bash", "-c", shell, "bash", sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "the folder that this was called in is gone: change to one that is there (" in done.stderr


def test_a_notebook_names_a_backend_that_is_not_installed_here(tmp_path: Path) -> None:
    environment = {**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    words = [sys.executable, "-c", SCRIPT, "paper", "figure3", "--out", str(tmp_path)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


WARNS = """
import logging
from reidkit.cli import main as cli
from reidkit.train.log import log_lines

def warn(*_, **__):
    logging.getLogger("reidkit.video.live").warning("hall %s", "broke off")
    with log_lines(print):
        logging.getLogger("reidkit.video.live").warning("hall broke off again")

cli.app = warn
cli.main()
"""


def test_a_warning_of_the_library_is_shown_once() -> None:
    """The library by itself is silent, and most commands do not follow its messages."""
    done = subprocess.run([sys.executable, "-c", WARNS], capture_output=True, text=True, check=True)
    assert done.stderr == "warning: hall broke off\n"
    assert done.stdout == "warning: hall broke off again\n"


def test_the_option_that_sets_the_argument_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The library speaks of its arguments; whoever called a command has options."""

    def ends_in(argument: str) -> str:
        def fail(*_: object, **__: object) -> int:
            raise DataError("it is wrong", argument=argument)

        monkeypatch.setattr("reidkit.cli.train.get_recipe", fail)
        monkeypatch.setattr("sys.argv", ["reidkit", "train", "small-strong-baseline", "--data", "x"])
        with pytest.raises(SystemExit):
            cli.main()
        return capsys.readouterr().err

    assert ends_in("cameras") == "reidkit: it is wrong (--cameras)\n"
    assert ends_in("evaluate_every") == "reidkit: it is wrong (--evaluate-every)\n"
    assert ends_in("cache_dir") == "reidkit: it is wrong (--cache, --no-cache)\n"
    assert ends_in("batch.ids") == "reidkit: it is wrong (--set batch.ids=...)\n"
    assert ends_in("k1") == "reidkit: it is wrong\n"  # `train` has no --k1
    assert ends_in("") == "reidkit: it is wrong\n"
