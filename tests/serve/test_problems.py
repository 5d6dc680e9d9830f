from __future__ import annotations

import json
import re

import pytest

from reidkit.serve.problems import PROBLEMS, SCHEMA, Problem, encode, page


def test_a_problem_by_hand():
    problem = Problem("too-large", "The body is too long.", limit_bytes=7)
    assert problem.status == 413
    assert json.loads(encode(problem.body("1-2"))) == {
        "type": "/problems/too-large",
        "title": "The body is too large",
        "status": 413,
        "detail": "The body is too long.",
        "instance": "urn:uuid:1-2",
        "limit_bytes": 7,
    }
    assert problem.headers() == {}


def test_headers():
    assert Problem("overloaded", retry_after=0).headers() == {"Retry-After": "1"}
    assert Problem("token-wrong").headers() == {"WWW-Authenticate": "Bearer"}


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_has_a_name_a_status_and_a_page(name):
    kind = PROBLEMS[name]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
    assert 400 <= kind.status <= 503
    assert kind.remedy.endswith(".")
    assert kind.title in str(page(name))
    assert set(SCHEMA["required"]) <= set(Problem(name).body())


def test_no_other_page():
    assert page("nothing") is None
