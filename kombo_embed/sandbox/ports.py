"""Ports: taken before anything starts, so that one in use is told of in one line."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

LOOPBACK = "127.0.0.1"
LOOPBACK_6 = "::1"
# What a machine without IPv6 says. Anything else means that somebody else is found at localhost.
NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


class PortUnavailable(Exception):
    """A port cannot be listened on. The message names it, and the option that chooses another."""


@contextmanager
def listen(host: str, port: int, *, option: str) -> Iterator[tuple[list[socket.socket], int]]:
    """Listen on a port, until the context ends; give the sockets and the port.

    Browsers look ``localhost`` up as ``::1`` first, so for 127.0.0.1 that is listened on as well.

    Args:
        host: An IP address of this machine.
        port: The port; 0 takes a free one.
        option: The command-line option that chooses the port, for the message.

    Raises:
        PortUnavailable: Somebody else listens there, or it may not be used.
    """
    with ExitStack() as stack:
        try:
            sockets = [stack.enter_context(_socket(host, port))]
            port = sockets[0].getsockname()[1]
            if host == LOOPBACK:
                sockets += [stack.enter_context(opened) for opened in _loopback_6(port)]
        except (OSError, OverflowError) as error:
            raise PortUnavailable(_explain(error, port, option)) from error
        yield sockets, port


def _loopback_6(port: int) -> list[socket.socket]:
    try:
        return [_socket(LOOPBACK_6, port)]
    except OSError as error:
        if error.errno in NO_IPV6:
            return []
        raise


def _socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            # Elsewhere this would let two programs share the port.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        # Now, not when all is ready: two programs may bind a port on which neither listens.
        opened.listen()
    except BaseException:
        opened.close()
        raise
    return opened


def _explain(error: OSError | OverflowError, port: int, option: str) -> str:
    in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    reason = "is in use" if in_use else f"cannot be used ({getattr(error, 'strerror', None) or error})"
    return f"Port {port} {reason}. Choose another one with {option}."
