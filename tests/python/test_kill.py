"""Kill -9 of a program with several threads, again and again. UNISTREAM_KILLS says how often."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import unistream
import victim

KILLS = int(os.environ.get("UNISTREAM_KILLS", "12"))
# With one buffer.
LIVES = 6

Record = tuple[int, int]


def kill_one(folder: Path, life: int, kind: str, choice: random.Random) -> None:
    """Let a process work on the buffer for a moment and kill it."""
    program = [sys.executable, victim.__file__, str(folder), str(life), kind]
    log = folder / "acknowledged"
    before = log.stat().st_size if log.exists() else 0
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        # Every fourth may die while it opens what the one before left.
        patient = choice.random() < 0.75
        while patient and (not log.exists() or log.stat().st_size == before):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.001)
        time.sleep(choice.random() * 0.1)
        process.kill()
        stderr = process.stderr.read()
    assert process.returncode == -signal.SIGKILL, stderr
    assert "Traceback" not in stderr, stderr
    assert "panicked" not in stderr, stderr


def lines(path: Path) -> list[str]:
    """Return the lines that were written."""
    return [line for line in path.read_text().split("\n") if line] if path.exists() else []


def acknowledged(folder: Path) -> set[Record]:
    """Return the records whose put returned."""
    records: set[Record] = set()
    for line in lines(folder / "acknowledged"):
        words = line.split()
        # The last line of a life may be torn: its put has returned, but nobody heard of it.
        if len(words) == 3 and len(words[2]) >= len(words[1]):
            thread, first, end = map(int, words)
            records.update((thread, number) for number in range(first, end))
    return records


def check_file(folder: Path) -> tuple[set[Record], int]:
    """Check what FileSink wrote: every record once, each thread's in order."""
    latest = [-1] * victim.THREADS
    found: set[Record] = set()
    for line in (folder / "target").read_text().splitlines():
        words = line.split()
        thread, number = int(words[0]), int(words[1])
        assert line == f"{thread} {number} {'x' * (number % 150)}"
        assert number > latest[thread], f"{line[:20]} is out of order, or there twice"
        latest[thread] = number
        found.add((thread, number))
    return found, 0


def check_sent(folder: Path) -> tuple[set[Record], int]:
    """Check what a callback was sent. Returns what it took, and how many records came again with their batch."""
    delivered: set[Record] = set()
    names: dict[int, tuple[str, Record]] = {}  # by seq
    finished: dict[int, int] = {}  # by seq: in which life
    last_batch: dict[int, str] = {}  # by life
    again = newest = newest_life = 0
    for line in lines(folder / "sent"):
        try:
            life, batch, first, last, attempt, records = json.loads(line)
        except json.JSONDecodeError:
            continue  # Torn by the kill: it was not answered.
        assert (newest_life, newest) <= (life, first), f"{batch} came after a later one"
        newest_life, newest = life, first
        seqs = [seq for seq, *_ in records]
        assert seqs == sorted(set(seqs))
        assert first <= seqs[0] <= seqs[-1] <= last
        missing = set(range(first, last + 1)).difference(seqs)
        assert missing <= finished.keys(), f"{batch} came without records that are not finished"
        latest = [-1] * victim.THREADS
        for seq, thread, number, outcome in records:
            record = (thread, number)
            assert number > latest[thread], f"seq {seq} is out of order"
            latest[thread] = number
            assert names.setdefault(seq, (batch, record)) == (batch, record), f"seq {seq} came as something else"
            if seq in finished:
                ended = finished[seq]
                assert ended != life, f"seq {seq} came twice"
                assert last_batch[ended] == batch, f"seq {seq} came twice, not with its batch"
                again += 1
            if outcome == "delivered":
                delivered.add(record)
            if outcome != "failed" or attempt == victim.ATTEMPTS:
                finished[seq] = life
        last_batch[life] = batch
    return delivered, again


@pytest.mark.parametrize("kind", ["callback", "file"])
def test_killed_with_several_threads_it_loses_nothing(tmp_path: Path, kind: str) -> None:
    """Every record whose put returned is delivered or a dead letter; what comes twice comes with its batch."""
    choice = random.Random(kind)
    kills = records = dead = again = 0
    while kills < (KILLS + 1) // 2:
        folder = tmp_path / str(kills)
        folder.mkdir()
        for life in range(1, LIVES + 1):
            kill_one(folder, life, kind, choice)
            kills += 1
        # A life that delivers all that is left.
        with victim.open_producer(folder, 9, kind) as producer:
            producer.flush(60)
            assert producer.stats().corrupt_regions == 0
            assert producer.close(60) == 0
        put = acknowledged(folder)
        delivered, repeated = check_file(folder) if kind == "file" else check_sent(folder)
        letters = unistream.DeadLetters(folder / "outbox").list()
        buried = {tuple(map(int, record.text.split()[:2])) for letter in letters for record in letter.batch()}
        lost = put - delivered - buried
        assert not lost, f"LOST: {sorted(lost)[:10]} of {len(lost)}"
        records += len(put)
        dead += len(put & buried)
        again += repeated
    assert records > kills
    # A slow machine may be killed before it buries anything.
    assert dead == 0 or kind == "callback"
    assert dead > 0 or kind == "file" or kills < 50
    print(
        f"\npython, {kind}: {kills} kills, {records} records acknowledged, {dead} of them dead letters, 0 lost, "
        f"0 twice, {again} again in whole batches"
    )
