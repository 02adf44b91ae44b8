"""Proves what a sink promises, whatever fails.

Records with numbers go through it while the program, the servers, the connections and the network fail at random.
Every record that was accepted is there at the end; once and in order per key where the sink says so. This knows no
broker: one joins by a class with what `Broker` has.
"""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from server import Server

KEYS = 17
ROUND = 1500
"""Records of a file; when all are delivered before the last failure has come, there is another."""
LONGEST = 300.0
"""Seconds that the program may go on after the last failure."""


@dataclass(frozen=True)
class Arrived:
    """A record as a consumer of the broker got it."""

    n: int
    key: str
    place: str = ""
    """Where order holds: a partition, a stream."""


class Broker(Protocol):
    """What the proof asks of a broker."""

    once: bool
    """Whether each record arrives once."""
    ordered: bool
    """Whether the records of a key arrive in order."""
    servers: Sequence[Server]
    """All of its servers; they have been started."""

    def url(self) -> str:
        """Give the URL of the sink, by way of the proxies."""

    def arguments(self) -> list[str]:
        """Give what else the command line needs, such as options of the producer."""

    def settle(self) -> None:
        """Wait until the servers, which all run again, serve what they serve."""

    def change_leader(self) -> bool:
        """Let another server lead; false if there is none."""

    def read_back(self) -> list[Arrived]:
        """Read all that arrived, in the order of each place."""


@dataclass
class Tally:
    """What happened."""

    records: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    seconds: float = 0.0
    twice: int = 0

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.failures.items()))
        total = self.failures.total()
        return (
            f"{self.records} records, {total} failures ({kinds}), {self.lives} lives of the program, "
            f"{self.twice} records twice, none lost, {self.seconds:.0f} s"
        )


class Program:
    """The program that puts: the command line, killed and run again until it has put and delivered its file."""

    def __init__(self, command: str, place: Path, broker: Broker) -> None:
        self.place = place
        self.lives = 0
        self.records = 0
        self.start = [command, "put", str(place / "outbox")]
        self.options = [
            *("--to", broker.url(), "--format", "ndjson", "--id", "id", "--key", "key", "--quiet"),
            *("-o", "schedule_max=0.5", "-o", "schedule_multiplier=0.05", "-o", "linger=0.02", "-o", "max_attempts=0"),
            # Slowly, so that there is always something under way.
            *("-o", "max_rate_records=300", "-o", "max_records=20"),
            *broker.arguments(),
        ]
        self.more()

    def more(self) -> None:
        """Put another file."""
        begin, self.records = self.records, self.records + ROUND
        self.lines = self.place / f"records-{begin}.ndjson"
        with self.lines.open("w") as lines:
            for n in range(begin, self.records):
                lines.write(json.dumps({"id": f"r-{n}", "n": n, "key": f"k-{n % KEYS}"}) + "\n")
        self.process = self._run()

    def _run(self) -> "subprocess.Popen[bytes]":
        self.lives += 1
        command = [*self.start, str(self.lines), *self.options]
        with (self.place / "program.log").open("ab") as log:
            environment = {"PATH": os.environ["PATH"]}
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.place)

    def is_done(self) -> bool:
        status = self.process.poll()
        assert status in (None, 0), f"the program ended with {status}: {self.said()}"
        return status == 0

    def said(self) -> str:
        return (self.place / "program.log").read_text()[-4000:]

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = self._run()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def prove(broker: Broker, command: str, place: Path, failures: int, seed: int) -> Tally:
    """Put records through so many failures, and check what arrived."""
    dice = random.Random(seed)
    tally = Tally()
    begin = time.monotonic()
    program = Program(command, place, broker)
    try:
        while tally.failures.total() < failures:
            time.sleep(dice.uniform(0.02, 0.3))
            if program.is_done():
                program.more()
            tally.failures[_fail(dice, broker, program)] += 1
        broker.settle()
        deadline = time.monotonic() + LONGEST
        while not program.is_done():
            assert time.monotonic() < deadline, f"not delivered after {LONGEST} s: {program.said()}"
            time.sleep(0.05)
    finally:
        program.stop()
        for server in broker.servers:
            server.go_on()
            server.proxy.mend()
    tally.records, tally.lives = program.records, program.lives
    tally.seconds = time.monotonic() - begin
    check(broker, tally)
    return tally


def _fail(dice: random.Random, broker: Broker, program: Program) -> str:
    """Let something fail; which it was."""
    server = dice.choice(list(broker.servers))
    short, long = dice.uniform(0.01, 0.3), dice.uniform(0.2, 2.0)

    def kill_program() -> None:
        program.kill()

    def pause_program() -> None:
        program.process.send_signal(signal.SIGSTOP)
        time.sleep(short)
        program.process.send_signal(signal.SIGCONT)

    def kill_server() -> None:
        server.kill()
        time.sleep(short)
        server.start()

    def pause_server() -> None:
        server.pause()
        time.sleep(long)
        server.go_on()

    def reset() -> None:
        server.proxy.reset()

    def cut() -> None:
        server.proxy.cut()
        time.sleep(long)
        if dice.random() < 0.5:
            server.proxy.reset()
        server.proxy.mend()

    def change_leader() -> None:
        if not broker.change_leader():
            server.proxy.reset()

    # The program's kills are the most, because they are what others do not survive.
    kinds: list[tuple[str, int, Callable[[], None]]] = [
        ("kills of the program", 8, kill_program),
        ("pauses of the program", 1, pause_program),
        ("kills of a server", 2, kill_server),
        ("pauses of a server", 1, pause_server),
        ("resets", 4, reset),
        ("cuts", 2, cut),
        ("changes of the leader", 2, change_leader),
    ]
    (name, _, act) = dice.choices(kinds, [weight for _, weight, _ in kinds])[0]
    act()
    return name


def check(broker: Broker, tally: Tally) -> None:
    """Check that every record arrived, once and in order if the sink says so."""
    arrived = broker.read_back()
    counts = Counter(record.n for record in arrived)
    lost = sorted(set(range(tally.records)) - set(counts))
    assert not lost, f"{len(lost)} records are lost: {lost[:20]}"
    assert not set(counts) - set(range(tally.records)), "records that nobody put"
    twice = sorted(n for n, count in counts.items() if count > 1)
    tally.twice = len(twice)
    if broker.once:
        assert not twice, f"{len(twice)} records arrived more than once: {twice[:20]}"
    if broker.ordered:
        last: dict[tuple[str, str], int] = {}
        seen: set[int] = set()
        for record in arrived:
            if record.n in seen:
                continue
            seen.add(record.n)
            before = last.get((record.place, record.key), -1)
            assert before < record.n, f"{record.n} of key {record.key} came behind {before}"
            last[record.place, record.key] = record.n
