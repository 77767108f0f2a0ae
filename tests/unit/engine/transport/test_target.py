"""URLs: whom they lead to, and that nothing in them can add a line to a request."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.engine.transport.target import Origin, call_target, shown_url, step_in_url, target_of


@pytest.mark.parametrize(
    ("url", "origin", "path", "fields"),
    [
        ("http://a.example/api?x=1", Origin("http", "a.example", 80), "/api?x=1", "Host: a.example\r\n"),
        ("https://a.example", Origin("https", "a.example", 443), "/", "Host: a.example\r\n"),
        ("http://A.Example:8080/#part", Origin("http", "a.example", 8080), "/", "Host: a.example:8080\r\n"),
        ("http://a.example:80/", Origin("http", "a.example", 80), "/", "Host: a.example\r\n"),
        ("https://a.example:80/", Origin("https", "a.example", 80), "/", "Host: a.example:80\r\n"),
        ("http://app_1/", Origin("http", "app_1", 80), "/", "Host: app_1\r\n"),
        ("http://[::1]:3000/api", Origin("http", "::1", 3000), "/api", "Host: [::1]:3000\r\n"),
        ("http://[fe80::1%eth0]/", Origin("http", "fe80::1%eth0", 80), "/", "Host: [fe80::1]\r\n"),
        ("http://bücher.example/ä?ö=ü", Origin("http", "xn--bcher-kva.example", 80), "/%C3%A4?%C3%B6=%C3%BC",
         "Host: xn--bcher-kva.example\r\n"),
        ("http://a/b c?d e", Origin("http", "a", 80), "/b%20c?d%20e", "Host: a\r\n"),
        ("http://a/%2F%20?x=%26", Origin("http", "a", 80), "/%2F%20?x=%26", "Host: a\r\n"),
        ("http://a//b", Origin("http", "a", 80), "//b", "Host: a\r\n"),
    ],
)  # fmt: skip
def test_a_url_is_taken_apart(url: str, origin: Origin, path: str, fields: str) -> None:
    assert target_of(url) == (origin, path, fields)


def test_a_user_and_password_become_basic_authorization() -> None:
    fields = target_of("http://app:p%40ss%C3%A4@a/").fields

    scheme, _, token = fields.splitlines()[1].partition(": ")[2].partition(" ")
    assert (scheme, base64.b64decode(token).decode()) == ("Basic", "app:p@ssä")


@pytest.mark.parametrize(
    "url",
    ["", "/api", "a/b", "mailto:a@b", "ws://localhost/", "http://", "http:///api", "http://[::1/", "http://[x::y]/",
     "http://a:99999/", "http://a:x/", "http://a b/", "http://a\x00b/", "http://a\u2028b/", "http://[::1%a b]/",
     "http://a\x7f/", "http://a,b/"],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # whatever the parsers say
        target_of(url)


@given(st.text(), st.text(), st.text(), st.text())
def test_no_url_adds_a_line_to_a_request(user: str, host: str, path: str, step_id: str) -> None:
    for url in (f"http://{user}@{host}/{path}", f"http://a/{path}?{user}", f"http://{user}:{user}@a/?{path}"):
        try:
            target = call_target(url)
            line = target.path + step_in_url(step_id)
        except ValueError:
            continue
        assert line.isascii()
        assert line.isprintable()
        assert " " not in line
        for field in target.fields.removesuffix("\r\n").split("\r\n"):
            assert field.isprintable()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://a/api?fnId=f&stepId=step", "/api?fnId=f&stepId=x"),
        ("http://a/api?stepId=step&fnId=f", "/api?fnId=f&stepId=x"),
        ("http://a/api?fnId=f", "/api?fnId=f&stepId=x"),
        ("http://a/api", "/api?stepId=x"),
        ("http://a/api?fnId=a%20b%2Fc&empty=", "/api?fnId=a+b%2Fc&empty=&stepId=x"),
    ],
)
def test_the_step_is_named_in_the_url_and_the_rest_of_it_kept(url: str, path: str) -> None:
    assert call_target(url).path + step_in_url("x") == path


@pytest.mark.parametrize(
    ("step_id", "encoded"), [("step", "step"), ("86f7e4", "86f7e4"), ("a b&c=d", "a+b%26c%3Dd"), ("ä", "%C3%A4")]
)
def test_a_step_is_encoded_for_the_query(step_id: str, encoded: str) -> None:
    assert step_in_url(step_id) == encoded


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://a:1/api?fnId=f", "http://a:1/api"),
        ("http://user:secret@a:1/api?fnId=f", "http://a:1/api"),
        ("http://user:sec@ret@a/x@y", "http://a/x@y"),
        ("http://a/x@y", "http://a/x@y"),
        ("", ""),
    ],
)
def test_people_are_told_no_password(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_another_path_of_the_same_host_has_a_url() -> None:
    assert target_of("https://a/x").url("/y?z=1") == "https://a:443/y?z=1"
    assert target_of("http://[::1]:3000/x").url("/y") == "http://[::1]:3000/y"
