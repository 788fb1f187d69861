"""Twenty browsers of the dashboard: `python -m benchmarks.browser`, their order on stdin, their report on stdout.

Each opens the stream of the overview and reads every event to its end, until SIGTERM. One process for all of them, so
that reading costs what twenty machines would pay, not this one, as little as it can.
"""

from __future__ import annotations

import json
import selectors
import signal
import socket
import sys

REQUEST = "GET /events?parts=queues,health,database&history= HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"


def main() -> None:
    """Report how many events all of them got, and how many bytes."""
    order = json.loads(sys.stdin.readline())
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    reading = selectors.DefaultSelector()
    for _ in range(order["browsers"]):
        browser = socket.create_connection(("127.0.0.1", order["port"]))
        browser.sendall(REQUEST.format(port=order["port"]).encode())
        reading.register(browser, selectors.EVENT_READ)
    events = size = 0
    ready = False
    while not stopped:
        for key, _mask in reading.select(0.5):
            got = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
            events += got.count(b"event: queues\n")
            size += len(got)
        if events >= order["browsers"] and not ready:
            ready = True
            print(json.dumps("ready"), flush=True)
    print(json.dumps([events, size]), flush=True)


if __name__ == "__main__":
    main()
