"""`pelton demo`: a real server, the example definitions and real events. Each step is narrated and checked."""

from __future__ import annotations

import copy
import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from msgspec import json

from pelton.cli.apply import detect, example
from pelton.cli.applying import Document, send
from pelton.cli.demo_files import PREFIX, FileWalk
from pelton.cli.look import explanation
from pelton.cli.output import fail
from pelton.cli.process import ServerDied, ServerProcess
from pelton.client.client import Client
from pelton.client.errors import ClientError

SECONDS = 30.0  # for the run to end
LANGUAGE, EXAMPLES = "conductor", ("event_testing", "start_event_testing", "complete_task_event")
EVENT_TYPE = "shop:order_placed"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


class DemoFailed(Exception):
    """Something did not happen as expected. The text says what."""


@click.command()
@click.option("--keep", is_flag=True, help="Leave the server running at the end, until interrupted.")
@click.option("--sqs-endpoint", default="", envvar="PELTON_SQS_ENDPOINT", metavar="URL",
              help="Send the event through a queue of this SQS service instead of inside the server.")  # fmt: skip
def demo(keep: bool, sqs_endpoint: str) -> None:
    """Start a server on a temporary directory, and walk through an example."""
    arguments: list[str] = []
    environment = {}
    if sqs_endpoint:
        arguments = ["--sqs-endpoint", sqs_endpoint]
        environment = {name: value for name, value in CREDENTIALS.items() if name not in os.environ}
    with tempfile.TemporaryDirectory(prefix="pelton-demo-", ignore_cleanup_errors=True) as directory:
        folder = Path(directory) / "files"
        folder.mkdir()
        arguments += ["--watch", f"{folder}={PREFIX}"]
        server = ServerProcess(Path(directory) / "data", *arguments, environment=environment)
        try:
            url = server.wait_ready()
            _say(f"The server is ready at {url} after {server.seconds:.1f} s; its data is in {directory}.")
            with Client(url) as client:
                Walk(client, f"sqs:pelton-demo-{secrets.token_hex(4)}" if sqs_endpoint else "").all()
                FileWalk(client, folder, _say, _check).all()
            if keep:
                _say(f"The server keeps running at {url}. Press Ctrl-C to stop it.")
                _wait_for_interrupt()
        except (DemoFailed, ServerDied, ClientError) as error:
            server.kill()
            fail(f"the demo failed: {error}")
        except KeyboardInterrupt:
            pass
        code = server.stop()
        if code != 0:
            fail(f"the demo's server exited with code {code}")
    _say("\nThe server has stopped. Everything worked as expected.")


def _wait_for_interrupt() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        click.echo()


def _say(text: str) -> None:
    click.echo(text)


def examples(sink: str = "") -> list[Document]:
    """The example definitions. `sink`: an address to send the event through, instead of the one in the example."""
    bodies = [(name, example(LANGUAGE, name)) for name in EXAMPLES]
    return [detect(_with_sink(body, sink) if sink else body, name) for name, body in bodies]


def _with_sink(body: Any, sink: str) -> Any:
    body = copy.deepcopy(body)
    if body["name"] == "event_testing":
        body["tasks"][0]["forkTasks"][1][1]["sink"] = sink
    elif body["name"] == "complete_task_event":
        body["event"] = sink
    return body


class Walk:
    """The steps of the demo, in order."""

    def __init__(self, client: Client, sink: str) -> None:
        self._client = client
        self._sink = sink

    def all(self) -> None:
        self.define()
        key, run = self.start()
        self.finish(run)
        self.explain(key, run)
        self.refuse()
        self.repeat(key)

    def define(self) -> None:
        _say("\n1. Definitions: a workflow with two branches, and two handlers.")
        for definition in examples(self._sink):
            send(self._client, definition)
            _say(f"   {definition.kind} {definition.name}")

    def start(self) -> tuple[str, str]:
        _say("\n2. An event arrives: an order of 25. A handler matches it and starts a run.")
        answer = self._client.post_event(EVENT_TYPE, "/demo/shop", {"order": "A-17", "amount": 25}, id="order-A-17")
        started = [effect for effect in answer.effects if effect.outcome == "started"]
        _check(len(started) == 1, f"one run should have been started, but the effects are {answer.effects}")
        run = str(started[0].run)
        _say(f"   run {run}")
        _check(self._status(run) == "RUNNING", "the run should be running")
        return str(answer.key), run

    def finish(self, run: str) -> None:
        way = f"the queue {self._sink}" if self._sink else "the server's own queue"
        _say(f"\n3. Branch one waits. Branch two waits 2 s, then sends an event through {way}.")
        _say("   The second handler matches it and completes the step that branch one is waiting on.")
        began = time.monotonic()
        after = str(self._client.events(limit=1).after)
        while self._status(run) == "RUNNING":
            _check(time.monotonic() - began < SECONDS, f"the run should have ended within {SECONDS:g} s")
            page = self._client.events(after=after, wait=200)
            after = page.after if page.events else after
        _check(self._status(run) == "COMPLETED", f"the run should be COMPLETED, but is {self._status(run)}")
        detail = self._client.run(run)
        _check(detail.output["order"] == "A-17", f"the run's output should contain the order, but is {detail.output}")
        _say(f"   COMPLETED after {time.monotonic() - began:.1f} s, output {json.encode(detail.output).decode()}")

    def explain(self, key: str, run: str) -> None:
        _say(f"\n4. pelton explain {key}")
        event = self._client.explain(key)
        steps = self._client.steps(run).steps
        for line in explanation(event, {run: (self._client.run(run).run, steps)}):
            _say(f"   {line}")
        states = {each.slot: each.status for each in steps}
        for slot in ("task_1_ref", "task_2_ref", "send_sqs_message_ref"):
            _check(states.get(slot) == "COMPLETED", f"the step {slot} should be COMPLETED, but the steps are {states}")

    def refuse(self) -> None:
        _say("\n5. A second order, of 5. Why did nothing happen?")
        answer = self._client.post_event(EVENT_TYPE, "/demo/shop", {"order": "A-18", "amount": 5}, id="order-A-18")
        _check(not answer.effects, f"the small order should have no effects, but the effects are {answer.effects}")
        event = self._client.explain(answer.key)
        for line in explanation(event, {}):
            _say(f"   {line}")
        verdicts = {each.handler: each.verdict for each in event.decisions}
        _check(verdicts.get("start_event_testing") == "false", f"the verdict should be false, but the verdicts are {verdicts}")

    def repeat(self, key: str) -> None:
        _say("\n6. The first event is sent again, as a source does when it is not sure that it arrived.")
        answer = self._client.post_event(EVENT_TYPE, "/demo/shop", {"order": "A-17", "amount": 25}, id="order-A-17")
        _check(answer.outcome == "duplicate" and answer.key == key, f"it should be a duplicate, but the answer is {answer}")
        runs = self._client.runs(process="event_testing").runs
        _check(len(runs) == 1, f"there should still be one run, but there are {len(runs)}")
        _say("   It is recognised as a duplicate and changes nothing: there is still one run.")

    def _status(self, run: str) -> str:
        return str(self._client.run(run).run.status)


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DemoFailed(otherwise)
