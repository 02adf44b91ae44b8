"""Puts lines of standard input into a stream of NATS JetStream or Redis or a table of PostgreSQL, each once.

Run it: python broker.py outbox nats://localhost:4222/orders < orders.txt
or:     python broker.py outbox redis://localhost:6379/0/orders < orders.txt
or:     python broker.py outbox postgres://shop@localhost:5432/shop/orders < orders.txt

A line "KEY<tab>TEXT" has a key. What is not delivered within 30 seconds is in the outbox, and the next run sends it
first.
The password, if the server wants one, stands in the file that BROKER_PASSWORD_FILE names, and its user in the URL.
"""

import os
import sys

import unistream


def main() -> int:
    """Put the lines."""
    if len(sys.argv) != 3:
        print("usage: broker.py OUTBOX URL", file=sys.stderr)
        return 2
    options = {}
    if path := os.environ.get("BROKER_PASSWORD_FILE"):
        options["password_file"] = path
    producer = unistream.Producer(sys.argv[1], unistream.sink(sys.argv[2], **options))
    for line in sys.stdin.buffer:
        key, tab, text = line.rstrip(b"\n").partition(b"\t")
        producer.put(text if tab else key, key=key if tab else None)
    left = producer.close(timeout=30)
    stats = producer.stats()
    print(f"{stats.delivered_records} delivered, {stats.dead_letters} dead letters, {left} left")
    if left:
        print(stats.last_error, file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
