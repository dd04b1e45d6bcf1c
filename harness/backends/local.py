"""Whether a server runs on this machine, and which process it is."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

import psutil


def is_local(url: str) -> bool:
    """Whether the host of `url` is this machine: loopback or the address of one of its interfaces."""
    host = urlsplit(url).hostname or ""
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    own = {address.address for listed in psutil.net_if_addrs().values() for address in listed}
    return any(address in own or _is_own(address) for address in addresses)


def _is_own(address: str) -> bool:
    """Loopback, or the unspecified address, which reaches whoever listens here."""
    parsed = ip_address(address.partition("%")[0])
    return parsed.is_loopback or parsed.is_unspecified


def listening_pid(url: str) -> int | None:
    """The process that listens on the port of `url` here; None where the system does not tell.

    Somebody else's process is only shown to administrators, on macOS every process.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            return None if _forwards(connection.pid) else connection.pid
    return None


# Processes that hold a port for a server elsewhere (a container, another machine): their memory is not the server's.
_FORWARDERS = ("docker-proxy", "com.docker", "rootlessport", "slirp4netns", "ssh", "sshd", "kubectl", "socat", "nginx")


def _forwards(pid: int | None) -> bool:
    try:
        return pid is not None and psutil.Process(pid).name().startswith(_FORWARDERS)
    except psutil.Error:
        return True
