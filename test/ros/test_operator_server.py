# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The operator's server from outside: who is let in, what is refused, and what many viewers are sent."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp")
import aiohttp
from operator_harness import Client, PageProcess, RunningCamera, run
from ros_harness import wait_for
from snscf_msgs.msg import TrackStatusArray

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(running_tracker) -> Iterator[PageProcess]:
    """The page with limits that the tests of many viewers and many messages need."""
    process = PageProcess(max_viewers=50, max_message_rate=1e6)
    yield process
    assert process.close() == 0, process.log()


@pytest.fixture(scope="module")
def guarded() -> Iterator[PageProcess]:
    """The page as it is served to other machines, with the default limits."""
    process = PageProcess("guarded", host="0.0.0.0")
    yield process
    assert process.close() == 0, process.log()


@pytest.fixture
def camera(peer, tracker) -> Iterator[RunningCamera]:
    camera = RunningCamera(peer)
    yield camera
    camera.close()


async def answers(url: str, path: str = "", token: str = "", **headers: str) -> tuple[int, str, Any]:
    """Status, text and response of a GET."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        query = {"token": token} if token else {}
        async with session.get(url + path, params=query, headers=headers, ssl=False) as response:
            return response.status, await response.text(), response


async def handshake(url: str, **headers: str) -> int:
    """Status of an attempt to open the WebSocket."""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.ws_connect(f"{url}ws", headers=headers):
                return 101
        except aiohttp.WSServerHandshakeError as refused:
            return refused.status


def test_nothing_is_served_without_the_token_which_becomes_a_cookie(guarded):
    url, _, token = guarded.address.partition("?token=")
    assert len(token) >= 32
    assert guarded.log().count(token) == 1  # printed once
    for path in ("", "page.js", "page.css", "ws", "nowhere"):
        for wrong in ("", "a" * len(token), token[:-1], token + "x"):
            status, text, _ = run(answers(url, path, wrong))
            assert status == 401 and token not in text
    assert run(handshake(url, Origin=url.rstrip("/"))) == 401

    async def visit() -> None:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            async with session.get(url, params={"token": token}) as response:
                assert response.status == 200
                cookie = response.headers["Set-Cookie"]
                assert token in cookie and "HttpOnly" in cookie and "SameSite=Strict" in cookie
            for path in ("", "page.js", "page.css"):
                async with session.get(url + path) as response:
                    assert response.status == 200
            async with session.ws_connect(f"{url}ws", headers={"Origin": url.rstrip("/")}) as opened:
                assert (await opened.receive_json())["type"] == "hello"

    run(visit())


def test_other_sites_and_other_names_are_kept_out(served):
    url = served.url
    origin = url.rstrip("/")
    assert run(handshake(url, Origin=origin)) == 101
    for wrong in ("http://evil.example", "null", origin.replace("http", "https"), origin + "0"):
        assert run(handshake(url, Origin=wrong)) == 403
    assert run(handshake(url)) == 403
    assert run(handshake(url, Origin="http://evil.example", Host="evil.example")) == 421
    status, text, _ = run(answers(url, Host="evil.example"))
    assert status == 421 and "'evil.example' is not a name of this page" in text


def test_the_browser_is_told_to_load_nothing_from_elsewhere(served):
    for path in ("", "page.js", "page.css", "nowhere"):
        _, _, response = run(answers(served.url, path))
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    page = Path(__file__).resolve().parents[2] / "snscf_ros" / "operator" / "page"
    for file in page.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https://" not in text


def test_too_long_a_message_or_too_many_end_the_connection(guarded):
    url, _, token = guarded.address.partition("?token=")
    port = url.rstrip("/").rpartition(":")[2]

    async def end_by(send: Any) -> int | None:
        cookies = {f"snscf_operator_{port}": token}
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookies=cookies, cookie_jar=jar) as session, Client(session, url) as client:
            await client.until(lambda: client.of_type("hello"), "the greeting")
            await send(client)
            await client.until(lambda: client.close_code, "the end")
            return client.close_code

    async def long(client: Client) -> None:
        await client.socket.send_str("x" * 5000)

    async def many(client: Client) -> None:
        with pytest.raises(aiohttp.ClientConnectionError):
            for _ in range(100_000):
                await client.send(type="ack", frame=1)
                await asyncio.sleep(0)

    assert run(end_by(long)) == 1009
    assert run(end_by(many)) == 1008


def junk(chance: random.Random) -> str | bytes:
    """A message that is wrong in one way or another."""
    values = [None, True, -1, 0, 1e308, 10**300, "", "x" * 200, "0", "\x00", "\u202e", [], [1, 2, 3, 4], {}, "9" * 25]
    kind = chance.choice(["watch", "ack", "start", "remove", "primary", "enable", "reset", "shutdown", 7, None])
    names = ("number", "box", "stamp", "camera", "target_id", "on", "frame")
    fields = {name: chance.choice(values) for name in names if chance.random() < 0.6}
    text = json.dumps({"type": kind, **fields})
    form = chance.random()
    if form < 0.1:
        return chance.randbytes(chance.randrange(200))
    if form < 0.3:
        # cut off, or with a character changed
        place = chance.randrange(len(text))
        return text[:place] + chance.choice(["", chr(chance.randrange(32, 0x2FFF)) + text[place + 1 :]])
    if form < 0.4:
        return "".join(chr(chance.randrange(1, 0xD7FF)) for _ in range(chance.randrange(100)))
    return text


def test_ten_thousand_bad_messages_are_refused_and_none_reaches_the_tracker(served, tracker):
    before = tracker.process.log()

    async def fuzz() -> int:
        chance = random.Random(7)
        async with aiohttp.ClientSession() as session, Client(session, served.url) as client:
            await client.watch()
            sent = 0
            while sent < 10_000:
                message = junk(chance)
                if isinstance(message, bytes):
                    await client.socket.send_bytes(message)
                else:
                    try:
                        await client.socket.send_str(message)
                    except UnicodeEncodeError:
                        continue
                sent += 1
                if sent % 200 == 0:
                    # a viewer that takes no answers loses the oldest
                    await client.send(type="watch", camera=f"batch {sent}")
                    last = f"there is no camera 'batch {sent}'"
                    answered = lambda last=last: any(m.get("reason") == last for m in client.messages[-50:])  # noqa: E731
                    await client.until(answered, "the answers")
            refused = len(client.of_type("refused"))
            # the connection still works
            reply = await client.ask(type="remove", target_id="nobody")
            assert not reply["success"] and reply["message"] == "nothing is being followed"
            return refused

    assert run(fuzz()) > 9_000
    assert served.process.poll() is None
    assert "Traceback" not in served.log()
    assert "init_target" not in tracker.process.log()[len(before) :]


def test_fifty_viewers_are_served_and_the_next_is_told_why_not(served, camera):
    async def crowd() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            clients = [Client(session, served.url) for _ in range(50)]
            await asyncio.gather(*(client.__aenter__() for client in clients))
            await asyncio.gather(*(client.watch() for client in clients))
            for client in clients:
                await client.until(lambda client=client: len(client.frames) >= 5, "five pictures for each")
                stamps = [int(frame["stamp"]) for frame in client.frames]
                assert stamps == sorted(stamps) and set(stamps) <= set(camera.numbers)
            async with Client(session, served.url) as extra:
                await extra.until(lambda: extra.close_code, "the end")
                assert extra.close_code == 1013 and extra.frames == []
            await asyncio.gather(*(client.__aexit__() for client in clients))

    run(crowd())


def test_a_slow_viewer_slows_nobody(served, camera):
    async def both() -> None:
        async with aiohttp.ClientSession() as session:
            async with Client(session, served.url, acknowledges=False) as slow, Client(session, served.url) as fast:
                await slow.watch()
                await fast.watch()
                await fast.until(lambda: len(fast.frames) >= 20, "20 pictures")
                assert len(slow.frames) <= 2
                newest = int(fast.frames[-1]["stamp"])
                # when it has caught up, it gets a picture of now and not one that was kept
                await slow.send(type="ack", frame=slow.frames[-1]["frame"])
                count = len(slow.frames)
                await slow.until(lambda: len(slow.frames) > count, "its next picture")
                assert int(slow.frames[-1]["stamp"]) >= newest

    run(both())


def test_while_nobody_watches_no_image_is_received(served, camera, peer, tracker):
    def subscribed() -> set[str]:
        found = peer.node.get_subscriber_names_and_types_by_node("operator", "/")
        return {name for name, _ in found} & {"/image_raw", "/image_raw/compressed", "/tracker/status"}

    wait_for(lambda: not subscribed(), "no subscription")

    async def visit() -> None:
        async with aiohttp.ClientSession() as session, Client(session, served.url) as client:
            await client.watch()
            await client.until(lambda: client.frames, "a picture")
            await client.until(lambda: subscribed() == {"/image_raw", "/tracker/status"}, "subscriptions")
            # a page in the background shows no pictures, but hears of lost targets
            await client.send(type="watch", camera=None)
            await client.until(lambda: subscribed() == {"/tracker/status"}, "the status alone")

    run(visit())
    wait_for(lambda: not subscribed(), "no subscription")


def test_jpeg_is_taken_where_somebody_publishes_it_and_passed_through(peer, start):
    camera = RunningCamera(peer, "jpeg", "image_raw/compressed")
    start(namespace="jpeg", parameters={"image_transport": "compressed"}).activate()
    served = PageProcess("jpeg")

    async def visit() -> None:
        async with aiohttp.ClientSession() as session, Client(session, served.url) as client:
            await client.watch()
            frame = await client.until(lambda: client.frames and client.frames[-1], "a picture")
            assert frame["width"] == 0  # the JPEG is the image
            assert frame["jpeg"].startswith(b"\xff\xd8\xff")
            wide = await client.ask(type="start", box=[500, 400, 50, 50], stamp=frame["stamp"], camera="", target_id="")
            assert not wide["success"] and "320" in wide["message"]
            await client.send(type="start", number=1, box=[5, 5, 9, 9], stamp="0", camera="rear", target_id="")
            refused = await client.until(lambda: client.of_type("refused"), "a refusal")
            assert refused[0]["reason"] == "there is no camera 'rear'"

    run(visit())
    camera.close()
    assert served.close() == 0


def test_pictures_come_where_the_status_was_there_before_the_services(peer, start):
    camera = RunningCamera(peer, "early")
    status = peer.node.create_publisher(TrackStatusArray, "/early/tracker/status", 10)
    # a status comes again and again while the page looks for the services that name the cameras
    timer = peer.node.create_timer(0.1, lambda: status.publish(TrackStatusArray()))
    served = PageProcess("early")

    async def visit() -> None:
        async with aiohttp.ClientSession() as session, Client(session, served.url) as client:
            await client.until(lambda: client.of_type("status"), "a status")
            await asyncio.to_thread(lambda: start(namespace="early").activate())
            await client.watch()
            await client.until(lambda: client.frames, "a picture")

    run(visit())
    peer.node.destroy_timer(timer)
    peer.node.destroy_publisher(status)
    camera.close()
    assert served.close() == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate with")
def test_with_a_certificate_the_page_is_encrypted(tmp_path):
    files = {"certificate": tmp_path / "certificate.pem", "key": tmp_path / "key.pem"}
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-keyout", str(files["key"]), "-out", str(files["certificate"])]
    subprocess.run(command, check=True, capture_output=True)
    served = PageProcess("tls", host="0.0.0.0", **{name: str(file) for name, file in files.items()})
    url, _, token = served.address.partition("?token=")
    assert url.startswith("https://")
    status, _, response = run(answers(url, token=token))
    assert status == 200 and "Secure" in response.headers["Set-Cookie"]
    assert served.close() == 0
    assert "not encrypted" not in served.log()


def test_what_cannot_be_served_ends_with_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = {
            f"cannot serve on 127.0.0.1, port {port}: ": PageProcess("taken", port=port),
            "rate is 0, must be from 0.1 to 1000": PageProcess("rate", rate=0.0),
            "SNSCF_OPERATOR_TOKEN must have at least 16": PageProcess("weak", {"SNSCF_OPERATOR_TOKEN": "weak"}),
        }
        for sentence, process in cases.items():
            assert process.process.wait(150) == 1
            (line,) = [line for line in process.log().splitlines() if line.startswith("operator_page: ")]
            assert sentence in line
            assert "Traceback" not in process.log()


def test_the_page_ends_with_the_process_that_started_it():
    served = PageProcess("ended", {"SNSCF_END_WITH": str(os.getpid())})
    assert served.address
    assert served.close() == 0
