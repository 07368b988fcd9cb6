# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Callbacks that wait keep nobody waiting, and nothing spins meanwhile."""

from __future__ import annotations

import threading

import pytest
import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.waitable import NumberOfEntities, Waitable
from ros_harness import wait_for
from std_srvs.srv import Trigger

from snscf_ros.executor import NodeExecutor, spin


class Counting(NodeExecutor):
    """Counts its turns."""

    turns = 0

    def spin_once(self) -> None:
        self.turns += 1
        super().spin_once()


def _spin_of_2022(executor: Executor) -> None:
    """Executor.spin of Humble, Jazzy until 7.1.8 and Kilted until 9.1.4: it calls a public method."""
    while executor.context.ok():
        executor.spin_once()


def _spin_of_2025(executor: Executor) -> None:
    """Executor.spin since Jazzy 7.1.9, Kilted 9.1.5 and Lyrical: it calls a private method."""
    while executor.context.ok():
        executor._spin_once_impl()


def _not_implemented(*_: object) -> None:
    raise NotImplementedError


@pytest.fixture(params=[_spin_of_2022, _spin_of_2025], ids=["2022", "2025"])
def shape(request, monkeypatch):
    """rclpy's base class of executors as it was and as it is, whatever the installed one is like."""
    monkeypatch.setattr(Executor, "spin", request.param)
    for name in ("spin_once", "_spin_once_impl"):
        monkeypatch.setattr(Executor, name, _not_implemented, raising=False)


class Leaving(Waitable):
    """Is destroyed between the executor's look at it and its waiting for it."""

    left = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def get_num_entities(self) -> NumberOfEntities:
        return NumberOfEntities()

    def is_ready(self, wait_set) -> bool:
        return False

    def add_to_wait_set(self, wait_set) -> None:
        if not self.left:
            self.left = True
            raise InvalidHandle("destroyed")


@pytest.fixture
def spinning(peer, shape):
    """start(service callback) of a node with a service that waits and a timer that does not."""
    ended = []

    def start(answer):
        node = rclpy.create_node(f"executed_{len(ended)}")
        service = node.create_service(Trigger, "~/wait", answer, callback_group=MutuallyExclusiveCallbackGroup())
        ticks: list[int] = []
        leaving = Leaving(MutuallyExclusiveCallbackGroup())
        node.add_waitable(leaving)
        node.create_timer(0.01, lambda: ticks.append(1))
        executor = Counting(lambda entity: entity is service, threads=1)
        executor.add_node(node)
        raised: list[BaseException] = []

        def run() -> None:
            try:
                spin(executor)
            except Exception as error:
                raised.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        ended.append((node, executor, thread))
        client = peer.node.create_client(Trigger, f"{node.get_name()}/wait")
        assert client.wait_for_service(60)
        assert leaving.left
        return executor, ticks, raised, client

    yield start
    for node, executor, thread in ended:
        executor.shutdown(timeout_sec=1)
        thread.join(10)
        node.destroy_node()


def test_others_run_while_one_waits_and_nothing_spins(spinning):
    go, begun = threading.Event(), threading.Event()

    def answer(request, response):
        begun.set()
        response.success = go.wait(60)
        return response

    executor, ticks, raised, client = spinning(answer)
    future = client.call_async(Trigger.Request())
    assert begun.wait(60)
    turns, seen = executor.turns, len(ticks)
    wait_for(lambda: len(ticks) >= seen + 50, "the timer")
    # a turn for each tick, and few more
    assert executor.turns - turns < 3 * (len(ticks) - seen) + 20
    assert not future.done()
    go.set()
    wait_for(future.done, "the answer")
    assert future.result().success
    assert raised == []


def test_what_a_callback_raises_ends_spinning(spinning):
    def answer(request, response):
        raise RuntimeError("as it must not")

    _, _, raised, client = spinning(answer)
    client.call_async(Trigger.Request())
    wait_for(lambda: raised, "the end")
    assert str(raised[0]) == "as it must not"


def test_a_shutdown_at_the_worst_moment_ends_spinning_without_an_error(shape):
    """After rclpy has looked whether the context is there, and before it makes something of it."""
    context = Context()
    rclpy.init(args=[], context=context)

    class Late(SingleThreadedExecutor):
        def wait_for_ready_callbacks(self, *args, **kwargs):
            context.try_shutdown()
            try:
                return super().wait_for_ready_callbacks(*args, **kwargs)
            except Exception as error:
                raised.append(error)
                raise

    raised: list[Exception] = []
    executor = Late(context=context)
    spin(executor)
    assert len(raised) == 1
    executor.shutdown()


def test_an_error_while_the_context_is_there_is_raised(shape):
    context = Context()
    rclpy.init(args=[], context=context)

    class Broken(SingleThreadedExecutor):
        def wait_for_ready_callbacks(self, *args, **kwargs):
            raise RuntimeError("broken")

    executor = Broken(context=context)
    with pytest.raises(RuntimeError, match="broken"):
        spin(executor)
    executor.shutdown()
    context.try_shutdown()


def test_what_leaves_just_before_an_executor_of_rclpy_waits_does_not_end_spinning(shape):
    context = Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node("left", context=context)
    leaving = Leaving(MutuallyExclusiveCallbackGroup())
    node.add_waitable(leaving)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    ticks: list[int] = []
    node.create_timer(0.01, lambda: ticks.append(1))
    thread = threading.Thread(target=spin, args=(executor,), daemon=True)
    thread.start()
    wait_for(lambda: leaving.left and ticks, "the timer")
    context.try_shutdown()
    # a thread that stayed would slow all later tests down
    thread.join(30)
    assert not thread.is_alive()
    executor.shutdown(timeout_sec=1)
    node.destroy_node()
