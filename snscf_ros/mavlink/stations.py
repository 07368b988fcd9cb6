# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Remembers who is on the link: which addresses there are, and what each ground station has asked for.

Nothing here grows with what comes: where there is no room, those that have been silent for longest are forgotten.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from pymavlink.dialects.v20 import common as dialect

from snscf_ros.mavlink.links import Address

_MOST = 32  # addresses, and stations
OVERTAKEN = dialect.MAV_RESULT_TEMPORARILY_REJECTED
_LATE = 1.5  # s by which a command may be late; a station may send 85 messages a second until numbers mislead
_REPEATED = 5.0  # s in which a command may be repeated because its acknowledgement was lost


class Bucket:
    """Lets so many messages a second through, and as many at once."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate, self._tokens, self._counted = rate, rate, now

    def take(self, now: float) -> bool:
        self._tokens = min(self._tokens + (now - self._counted) * self._rate, self._rate)
        self._counted = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass
class _Peer:
    bucket: Bucket
    heard: float


class Peers:
    """Holds the addresses of a link, and limits how many messages each may send. Times are monotonic seconds.

    Strangers, from whom no whole message has come yet, share one limit: addresses can be made up.
    """

    def __init__(self, rate: float, timeout: float) -> None:
        """Begin with nobody.

        rate: messages a second of each address.
        timeout: seconds after which an address that sends nothing is silent.
        """
        self._rate, self._timeout = rate, timeout
        self._strangers = Bucket(rate, -math.inf)
        self._peers: dict[Address, _Peer] = {}

    def admit(self, address: Address, now: float) -> bool:
        """Count what has come from an address, and return whether it may be read."""
        peer = self._peers.get(address)
        return (self._strangers if peer is None else peer.bucket).take(now)

    def heard(self, address: Address, now: float) -> bool:
        """Note that a whole message has come from an address, and return whether there is room for it."""
        peer = self._peers.get(address)
        if peer is not None:
            peer.heard = now
            return True
        if len(self._peers) >= _MOST:
            oldest = min(self._peers, key=lambda address: self._peers[address].heard)
            if now - self._peers[oldest].heard <= self._timeout:
                return False
            del self._peers[oldest]
        self._peers[address] = _Peer(Bucket(self._rate, now), now)
        return True

    def awake(self, now: float) -> list[Address]:
        """Return the addresses from which messages come."""
        return [address for address, peer in self._peers.items() if now - peer.heard <= self._timeout]


class Action(NamedTuple):
    """A command that changes what is tracked.

    sequence: number of its packet.
    command: MAV_CMD.
    params: all seven, as text, because NaN does not equal itself.
    """

    sequence: int
    command: int
    params: str

    def is_after(self, other: Action) -> bool:
        """Return whether it was sent after another one of the same station; the numbers begin again after 255."""
        return 0 < (self.sequence - other.sequence) % 256 < 128


@dataclass
class Done:
    """An action with its result. result: MAV_RESULT; None while it is under way."""

    action: Action
    began: float
    result: int | None = None


@dataclass
class Station:
    """A system's component that has asked for something.

    interval: seconds between two statuses; None where none were asked for.
    heard: when its last message came.
    """

    address: Address
    system: int
    component: int
    heard: float
    interval: float | None = None
    silent: bool = False
    _actions: deque[Done] = field(default_factory=lambda: deque(maxlen=16))

    def __str__(self) -> str:
        where = f" at {self.address[0]}, port {self.address[1]}" if self.address else ""
        return f"ground station {self.system}/{self.component}{where}"

    def begin(self, action: Action, now: float) -> tuple[Done, bool]:
        """Return an action's place, and whether it is to be carried out.

        It is not where its packet has come before, or where it is the last one over again, because its acknowledgement
        was lost: to start on the same rectangle once more, seconds later, would start on something else. Nor is it
        where a later one has overtaken it: what was stopped must not start again.
        """
        recent = [done for done in self._actions if now - done.began <= _REPEATED]
        for done in reversed(recent):
            if done.action == action or (done is recent[-1] and done.action[1:] == action[1:]):
                return done, False
        if recent and now - recent[-1].began <= _LATE and recent[-1].action.is_after(action):
            same = [done for done in recent if done.action[1:] == action[1:]]
            return same[-1] if same else Done(action, now, OVERTAKEN), False
        self._actions.append(Done(action, now))
        return self._actions[-1], True


class Stations:
    """Holds the stations. Times are monotonic seconds."""

    def __init__(self, timeout: float) -> None:
        """Begin with nobody. timeout: seconds after which a station that sends nothing is silent."""
        self._timeout = timeout
        self._stations: dict[tuple[Address, int, int], Station] = {}

    def find(self, address: Address, system: int, component: int) -> Station | None:
        """Return a station that is known."""
        return self._stations.get((address, system, component))

    def enter(self, address: Address, system: int, component: int, now: float) -> Station | None:
        """Return a station, which is known from now on; None if there is no room."""
        key = (address, system, component)
        if key not in self._stations:
            if len(self._stations) >= _MOST:
                oldest = min(self._stations, key=lambda key: self._stations[key].heard)
                if now - self._stations[oldest].heard <= self._timeout:
                    return None
                del self._stations[oldest]
            self._stations[key] = Station(address, system, component, now)
        return self._stations[key]

    def intervals(self, now: float) -> dict[Address, float]:
        """Return for each address the shortest interval that a station there has asked for and that is not silent."""
        shortest: dict[Address, float] = {}
        for station in self._stations.values():
            if station.interval is not None and now - station.heard <= self._timeout:
                shortest[station.address] = min(station.interval, shortest.get(station.address, math.inf))
        return shortest

    def fallen_silent(self, now: float) -> list[Station]:
        """Return the stations that have been silent since the last call."""
        found = [one for one in self._stations.values() if not one.silent and now - one.heard > self._timeout]
        for station in found:
            station.silent = True
        return found
