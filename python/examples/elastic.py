"""Puts documents, lines of standard input, into an index of Elasticsearch or of what speaks like it, each once.

Run it: python elastic.py outbox http://localhost:9200/logs < events.ndjson

What is not delivered within 30 seconds is in the outbox, and the next run sends it first. The token, if the server
wants one, stands in the file that ELASTIC_TOKEN_FILE names.
"""

import os
import sys

import unistream


def main() -> int:
    """Put the lines."""
    if len(sys.argv) != 3:
        print("usage: elastic.py OUTBOX URL", file=sys.stderr)
        return 2
    options: unistream.HttpOptions = {"preset": "elastic", "compression": "gzip"}
    if path := os.environ.get("ELASTIC_TOKEN_FILE"):
        options["token_file"] = path
    producer = unistream.Producer(sys.argv[1], unistream.HttpSink(sys.argv[2], **options))
    for line in sys.stdin.buffer:
        try:
            producer.put(line.rstrip(b"\n"))
        except unistream.InvalidArgument as error:
            # What is no JSON object would never be a document.
            print(f"left out: {error}", file=sys.stderr)
    left = producer.close(timeout=30)
    stats = producer.stats()
    print(f"{stats.delivered_records} delivered, {stats.dead_letters} dead letters, {left} left")
    if left:
        print(stats.last_error, file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
