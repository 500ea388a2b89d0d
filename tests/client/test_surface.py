"""The public surface of the package: what `pelton` offers, and that both clients offer the same, with types and docstrings."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.server.running import WAITING, client, define, server, starter

import pelton
from pelton import models
from pelton.cli.process import ServerProcess
from pelton.client import AsyncClient, Client, ClientError, RequestRefused, Unreachable
from pelton.client.calls import STRUCTURED, ApiCall, event_call, events_call, plain_call, read_answer
from pelton.models import Accepted, ClaimIn, EventPage, HealthOut, ReportIn

__all__ = ["client", "server"]  # fixtures


def public(cls: type) -> dict[str, Callable[..., Any]]:
    return {name: each for name, each in vars(cls).items() if inspect.isfunction(each) and not name.startswith("_")}


def test_both_clients_have_the_same_calls() -> None:
    blocking, waiting = public(Client), public(AsyncClient)
    assert list(blocking) == list(waiting)
    for name, each in blocking.items():
        assert inspect.signature(each) == inspect.signature(waiting[name]), name
        assert inspect.iscoroutinefunction(waiting[name]), name


@pytest.mark.parametrize("cls", [Client, AsyncClient, pelton.Worker, *(vars(models).values())])
def test_everything_public_says_what_it_is(cls: object) -> None:
    if not isinstance(cls, type) or (issubclass(cls, msgspec.Struct) and cls.__module__ != models.__name__):
        return  # a name that the module imports
    assert cls.__dict__.get("__doc__"), cls
    for name, each in public(cls).items():
        assert each.__doc__, f"{cls.__name__}.{name}"


def test_the_package_offers_the_client_and_loads_it_only_when_asked() -> None:
    assert pelton.Client is Client
    assert issubclass(pelton.RequestRefused, ClientError)
    with pytest.raises(AttributeError):
        _ = pelton.Nothing
    code = "import pelton, sys; assert 'pelton.client' not in sys.modules; pelton.Worker; assert 'pelton.client' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_whole_story_in_structs(client: Client) -> None:
    define(client, WAITING, starter("story_starter", "test:story", "waiting"))
    accepted = client.post_event("test:story", "/story", {"number": 1}, id="s1", subject="it")
    assert isinstance(accepted, Accepted)
    [effect] = accepted.effects
    assert client.event("s1", source="/story").key == accepted.key
    assert client.decision(accepted.key, "story_starter").verdict == "fired"
    assert [each.handler for each in client.explain(accepted.key).decisions] == ["story_starter"]
    detail = client.run(effect.run)
    assert (detail.run.process, detail.run.status, detail.event) == ("waiting", "RUNNING", "test:story")
    assert [step.slot for step in client.steps(effect.run).steps][-1] == "pause_ref"
    assert [run.id for run in client.runs(process="waiting").runs] == [effect.run]
    assert client.held() == []
    assert client.dead_letters().dead_letters == []
    assert client.health().healthy
    with pytest.raises(RequestRefused) as caught:
        client.job_results("1")
    assert caught.value.status == 404


def test_work_is_reported_and_claimed_in_structs(client: Client) -> None:
    answer = client.work("w", [ReportIn("00000000-0000-0000-0000-000000000000-1")], ClaimIn(["nobody-offers"]))
    assert [result.code for result in answer.results] == ["no step"]
    assert answer.items == []


def test_the_environment_says_where_the_server_is(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELTON_SERVER", server.address)
    with Client() as found:
        assert found.url == server.address
        assert found.health().healthy


@pytest.mark.parametrize(
    ("content_type", "body", "error"),
    [
        ("text/html", b"<html>", "is the URL of a Pelton server"),
        ("application/json", b"{", "is not valid JSON"),
        ("application/json", b"[]", "does not match this version's API"),
        ("application/json", b'{"events": 1, "after": "0"}', "does not match this version's API"),
    ],
)
def test_an_answer_of_another_server_is_no_answer(content_type: str, body: bytes, error: str) -> None:
    call: ApiCall[EventPage] = ApiCall("GET", "/v1/events", gives=EventPage)
    with pytest.raises(Unreachable, match=error):
        read_answer(call, 200, content_type, body)


def test_a_refusal_of_a_proxy_is_a_refusal() -> None:
    call: ApiCall[EventPage] = ApiCall("GET", "/v1/events", gives=EventPage)
    with pytest.raises(RequestRefused, match="bad gateway") as caught:
        read_answer(call, 502, "application/json", b"bad gateway")
    assert caught.value.retryable


def test_a_server_that_is_unwell_says_how() -> None:
    call: ApiCall[HealthOut] = ApiCall("GET", "/health", gives=HealthOut)
    found = read_answer(call, 503, "application/json", b'{"healthy": false, "details": {"detail": "x"}, "healthResults": []}')
    assert found == HealthOut(False, {"detail": "x"})
    with pytest.raises(RequestRefused):
        read_answer(call, 503, "application/json", b'{"title": "busy"}')


def test_only_what_may_be_sent_twice_is_sent_again() -> None:
    assert event_call("t", "/s", None, "", "", {}).repeatable
    assert events_call([{"type": "t", "source": "/s"}]).repeatable
    assert plain_call("GET", "/v1/events", None, STRUCTURED, 0).repeatable
    assert not plain_call("POST", "/v1/events", {"type": "t", "source": "/s"}, STRUCTURED, 0).repeatable  # it may have no id
    assert not plain_call("PATCH", "/any", {}, STRUCTURED, 0).repeatable
