# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is read in a thread of its own keeps coming, and costs the executor nothing."""

from __future__ import annotations

import threading

import pytest
import rclpy
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_harness import wait_for
from std_msgs.msg import String

from snscf_ros.executor import spin
from snscf_ros.node.stream_reader import StreamReader


class Counting(SingleThreadedExecutor):
    """Counts how often it looks at what it waits for."""

    looks = 0

    def can_execute(self, entity):
        self.looks += 1
        return super().can_execute(entity)


class Reading:
    """A node with a reader, and an executor that spins it."""

    def __init__(self, peer) -> None:
        self.peer, self.raised, self.heard = peer, [], []
        self.node = rclpy.create_node("reading")
        self.reader = StreamReader(self.node)
        self.executor = Counting()
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self) -> None:
        try:
            spin(self.executor)
        except RuntimeError as error:
            self.raised.append(error)

    def subscribe(self, topic, callback=None, **more):
        callback = callback or (lambda message: self.heard.append(message.data))
        return self.node.create_subscription(String, topic, callback, 10, callback_group=self.reader, **more)

    def publisher(self, topic, qos=10):
        publisher = self.peer.node.create_publisher(String, topic, qos)
        wait_for(lambda: publisher.get_subscription_count() == 1, "the subscription")
        return publisher

    def hear(self, publisher, text) -> None:
        publisher.publish(String(data=text))
        wait_for(lambda: text in self.heard, text)

    def close(self) -> None:
        self.reader.stop()
        self.executor.shutdown(timeout_sec=1)
        self.thread.join(10)
        self.node.destroy_node()


@pytest.fixture
def reading(peer):
    made = Reading(peer)
    yield made
    made.close()


def test_messages_come_and_the_executor_does_not_look_up(reading):
    reading.subscribe("stream_a")
    publisher = reading.publisher("stream_a")
    reading.hear(publisher, "first")
    looks = reading.executor.looks
    for number in range(50):
        reading.hear(publisher, str(number))
    # some for what the test's own node does meanwhile; rclpy's way would be several for each message and entity
    assert reading.executor.looks - looks < 50


def test_subscriptions_may_come_and_go(reading):
    first = reading.subscribe("stream_b")
    publisher = reading.publisher("stream_b")
    reading.hear(publisher, "one")
    reading.subscribe("stream_c")
    another = reading.publisher("stream_c")
    reading.hear(another, "two")
    reading.node.destroy_subscription(first)
    reading.hear(another, "three")


def test_a_publisher_that_does_not_fit_is_reported(reading):
    unfit = []
    reading.subscribe("stream_d", event_callbacks=SubscriptionEventCallbacks(incompatible_qos=unfit.append))
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = reading.peer.node.create_publisher(String, "stream_d", best_effort)
    wait_for(lambda: unfit, "the event")
    reading.peer.node.destroy_publisher(publisher)


def test_the_executor_raises_what_a_callback_raises(reading):
    def callback(message):
        raise RuntimeError("as it must not")

    reading.subscribe("stream_e", callback)
    reading.publisher("stream_e").publish(String(data="x"))
    wait_for(lambda: reading.raised, "the error")
    assert str(reading.raised[0]) == "as it must not"


def test_it_ends_after_its_context(peer):
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node("ended", context=context)
    reader = StreamReader(node)
    node.create_subscription(String, "stream_f", print, 10, callback_group=reader)
    rclpy.try_shutdown(context=context)
    reader.stop()
    node.destroy_node()
