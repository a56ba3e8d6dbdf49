#!/usr/bin/env python3
"""Follows events and goes on behind the last one after each break; needs nothing but Python.

    follow.py http://127.0.0.1:9464 last-offset ['events=trading&key=BTCUSDT']

Prints an event a line. `last-offset` is the file that remembers how far it came: without it, it begins with the first event that is
kept. SLUICE_TOKEN is shown as the token.
"""

import os
import sys
import time
import urllib.error
import urllib.request


def messages(stream):
    """Messages of an event stream: (id, event, data)."""
    message = {}
    for line in stream:
        name, colon, value = line.decode().rstrip("\r\n").partition(": ")
        if colon:
            message[name] = value
        elif not name and message:
            yield message.get("id"), message.get("event"), message.get("data", "")
            message = {}


def follow(address, remembered, query):
    last = open(remembered).read().strip() if os.path.exists(remembered) else ""
    url = f"{address}/v1/sse/events?from=0" + (f"&{query}" if query else "")
    request = urllib.request.Request(url)
    if last:
        # Counts more than `from`.
        request.add_header("Last-Event-ID", last)
    if token := os.environ.get("SLUICE_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    # Heartbeats come every 15 s, so a minute without anything is a dead line.
    with urllib.request.urlopen(request, timeout=60) as stream:
        for id, event, data in messages(stream):
            if event == "event":
                print(data, flush=True)
                # Behind what was done with it: what is cut off in between comes once more and is not lost.
                with open(remembered + ".new", "w") as file:
                    file.write(id)
                os.replace(remembered + ".new", remembered)
            elif event == "closed":
                print(data, file=sys.stderr)


def main():
    address, remembered, query = (sys.argv + [""])[1:4]
    while True:
        try:
            follow(address, remembered, query)
        except urllib.error.HTTPError as refused:
            print(refused.read().decode(), file=sys.stderr)
            if refused.code in (400, 401, 403, 404, 410):
                sys.exit(1)
        except (OSError, ValueError) as error:
            print(error, file=sys.stderr)
        time.sleep(1)


if __name__ == "__main__":
    main()
