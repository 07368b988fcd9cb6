# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Decides who may use the page: by the token, and by the Host and Origin headers of the browser's request."""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

TOKEN_VARIABLE = "SNSCF_OPERATOR_TOKEN"
SHORTEST_TOKEN = 16  # characters


def chosen_token(local: bool, environment: Mapping[str, str] = os.environ) -> str:
    """Return the token that browsers must present: the user's, else a random one; empty where none is needed.

    local: whether only programs of this machine can reach the page.
    Raises ValueError for a token of the user's that is short enough to be guessed.
    """
    given = environment.get(TOKEN_VARIABLE, "")
    if given:
        if len(given) < SHORTEST_TOKEN or not given.isascii() or not given.replace("-", "").replace("_", "").isalnum():
            raise ValueError(
                f"{TOKEN_VARIABLE} must have at least {SHORTEST_TOKEN} letters, digits, hyphens or underscores"
            )
        return given
    return "" if local else secrets.token_urlsafe(24)


class Access:
    """Holds the rules for one server.

    token: what browsers must present; empty if everybody who reaches the server may use it.
    cookie: name of the cookie that holds the token; cookies are shared by all ports of a host, so it names the port.
    """

    def __init__(self, token: str, port: int, secure: bool, names: Iterable[str] = ()) -> None:
        """Make the rules. secure: whether the server speaks TLS. names: host names that are its own."""
        self.token = token
        self.cookie = f"snscf_operator_{port}"
        self._scheme = "https" if secure else "http"
        own = socket.gethostname().lower()
        self._names = {"localhost", own, f"{own}.local", *(name.lower() for name in names)}

    def admits(self, token: str) -> bool:
        """Return whether this is the token, in a time that does not depend on where the two differ."""
        return not self.token or hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())

    def refuses_host(self, host: str) -> str:
        """Return why a request with this Host header is refused; empty if it is not.

        A page of another site can make its own name point to this machine (DNS rebinding). The browser then sends that
        name. It cannot do this with an address.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if name in self._names:
            return ""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return f"'{name[:80]}' is not a name of this page; add it to the parameter allowed_hosts if it is"
        return ""

    def refuses_origin(self, origin: str, host: str) -> str:
        """Return why a WebSocket from a page of `origin` is refused; empty if that page is this server's own."""
        if not origin:
            return "the request has no Origin header, so it does not come from the page"
        if origin.lower() != f"{self._scheme}://{host.lower()}":
            return f"'{origin[:80]}' is another site"
        return ""
