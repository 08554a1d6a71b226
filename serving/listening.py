"""Both interfaces of a server, on their ports."""

import contextlib
import socket
import threading
import time

import waitress.server
import waitress.wasyncore

from serving import rest, rpc
from serving.addresses import is_loopback
from serving.server import Server

__all__ = ["Listeners"]


class Listeners:
    """REST and gRPC of one server, listening from the start until `stop`.

    Args:
      server: what answers; `stop` does not close it.
      host: address to listen on.
      rest_port, grpc_port: 0 takes a free one.
      threads: requests that are taken at once, for each interface.

    Attributes:
      rest_url, grpc_url: what clients connect to.

    Raises:
      ValueError: if an address is not free, or not this machine's.
    """

    def __init__(self, server: Server, host: str, rest_port: int, grpc_port: int, threads: int) -> None:
        bracketed = f"[{host}]" if ":" in host else host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listening = socket.create_server((host, rest_port), family=family, backlog=1024)
        except OSError as error:
            message = f"The address must be free, and this machine's ({error.strerror}). Received: {host}:{rest_port}"
            raise ValueError(message) from None
        try:
            self._grpc, grpc_port = rpc.start(server, f"{bracketed}:{grpc_port}", threads)
        except ValueError:
            listening.close()
            raise
        self._http = waitress.server.create_server(
            rest.application(server, is_loopback(host)),
            sockets=[listening],
            threads=threads,
            max_request_body_size=server.limits.body,
            channel_timeout=60,
            connection_limit=1000,
            ident="tfzoo-serving-dev",
            clear_untrusted_proxy_headers=True,
        )
        self._seconds = server.limits.seconds
        self.rest_url = f"http://{bracketed}:{self._http.effective_port}"
        self.grpc_url = f"grpc://{bracketed}:{grpc_port}"
        self._thread = threading.Thread(target=self._http.run, name="rest", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Takes no more requests, answers those that have been taken, and closes all connections."""
        ended = self._grpc.stop(self._seconds)
        connections = self._http._map
        # The thread that reads and writes runs what is handed to its trigger.
        self._http.trigger.pull_trigger(lambda: waitress.wasyncore.dispatcher.close(self._http))
        self._http.task_dispatcher.shutdown(cancel_pending=False, timeout=self._seconds)
        ended.wait(self._seconds + 2)
        deadline = time.monotonic() + 2
        while any(getattr(each, "total_outbufs_len", 0) for each in list(connections.values())):
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        with contextlib.suppress(OSError):  # once the last connection is gone, the thread ends and closes its trigger
            self._http.trigger.pull_trigger(lambda: waitress.wasyncore.close_all(connections, ignore_all=True))
        self._thread.join(timeout=2)
