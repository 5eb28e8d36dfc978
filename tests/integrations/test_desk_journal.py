"""Notes that outlive the process, and the lock that does not, with real FiftyOne and processes that are killed."""

import base64
import os
import signal
import socket
import threading
import time
import zlib
from contextlib import contextmanager

import numpy as np
import pytest

from spam_plugin.engine.desk.ports import DeskError, Journal, LostError
from spam_plugin.integrations.fiftyone_ import journal, locking
from spam_plugin.integrations.fiftyone_.journal import SyncJournal


@contextmanager
def child(work):
    """A forked process that does something and then sleeps until it is killed, which happens on leaving."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            work()
            os.write(write, b"1")
            time.sleep(600)
        finally:
            os._exit(1)
    os.close(write)
    try:
        assert os.read(read, 1) == b"1"
        yield pid
    finally:
        os.close(read)
        os.kill(pid, signal.SIGKILL)
        if os.waitpid(pid, os.WNOHANG) == (0, 0):
            os.waitpid(pid, 0)


@pytest.fixture
def notes(video_dataset):
    return SyncJournal(video_dataset(a={}), "spam_tracks")


def parts_of(notes):
    names = notes._store.list_keys()
    return [name for name in names if name.startswith("~part/")]


def test_the_journal_has_what_the_round_trip_asks_for(notes):
    assert [name for name in dir(Journal) if not name.startswith("_") and not hasattr(notes, name)] == []


def test_notes_come_back_as_they_were(notes, video_dataset):
    values = {
        "plain": {"a.b": [1, None, True, 0.1], "$c": {"": "ü \ud800"}}, "empty": [], "large": 2**80, "false": False
    }  # fmt: skip
    for key, value in values.items():
        notes.set(key, value)
    assert {key: notes.get(key) for key in notes.keys()} == values  # noqa: SIM118
    assert notes.keys() == sorted(values)
    assert notes.keys("pl") == ["plain"]
    assert notes.get("nothing") is None
    notes.delete("plain")
    notes.delete("plain")
    assert notes.keys() == ["empty", "false", "large"]
    assert SyncJournal(video_dataset(), "spam_tracks").keys() == []


@pytest.fixture
def short(monkeypatch):
    """What counts as long is made short, so that tests need not write megabytes."""
    monkeypatch.setattr(journal, "PLAIN_BYTES", 100)
    monkeypatch.setattr(journal, "PART_BYTES", 1000)


def noise(size, seed=0):
    """Text that cannot be compressed much."""
    return base64.b64encode(np.random.default_rng(seed).bytes(size)).decode()


def test_a_long_note_is_compressed_and_a_longer_one_cut_into_parts(notes, short):
    notes.set("long", "x" * 5000)
    assert zlib.decompress(base64.b64decode(notes._store.get("long")["zip"])) == b'"' + b"x" * 5000 + b'"'
    assert parts_of(notes) == []
    for size in (3000, 5000):
        notes.set("longer/1", noise(size))
        assert notes.get("longer/1") == noise(size)
        assert len(parts_of(notes)) > 2
        assert notes.keys() == ["long", "longer/1"]
    notes.set("longer/1", 1)
    assert parts_of(notes) == []
    notes.set("longer/1", noise(3000))
    notes.delete("longer/1")
    assert parts_of(notes) == []


def test_a_note_beyond_what_a_document_holds_is_kept(notes):
    text = noise(20 << 20)
    notes.set("huge", text)
    assert notes.get("huge") == text
    assert len(parts_of(notes)) > 2


@pytest.mark.parametrize("writes", range(1, 9))
def test_a_long_note_is_written_whole_or_not_at_all(notes, short, monkeypatch, writes):
    """Dies before every one of the writes in turn."""
    old, new = noise(2000, 1), noise(2500, 2)
    notes.set("key", old)
    store = notes._store
    done = []

    def dying(method):
        def call(*args):
            if len(done) == writes:
                raise KeyboardInterrupt
            done.append(args)
            return method(*args)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(store, "set", dying(store.set))
        patched.setattr(store, "delete", dying(store.delete))
        try:
            notes.set("key", new)
        except KeyboardInterrupt:
            assert len(done) == writes
    again = object.__new__(SyncJournal)
    again.__dict__ = {**notes.__dict__, "_parts": None}
    found = again.get("key")
    assert found == (new if ("key",) in [args[:1] for args in done] else old)
    again.set("other", 1)
    assert again.get("key") == found
    assert set(parts_of(again)) == set(store.get("key")["parts"])


def test_a_note_survives_a_process_that_is_killed_while_it_writes(notes, short):
    notes.set("key", noise(2000, 1))
    parts = set(parts_of(notes))

    def half():
        write = notes._store.set
        notes._store.set = lambda name, value: write(name, value) if name != "key" else time.sleep(600)
        threading.Thread(target=notes.set, args=("key", noise(2500, 2)), daemon=True).start()
        while len(parts_of(notes)) < len(parts) + 3:
            time.sleep(0.01)

    with child(half):
        pass
    assert notes.get("key") == noise(2000, 1)
    with notes.hold():
        notes.set("other", 1)
        assert set(parts_of(notes)) == parts


def test_damage_to_a_note_is_told(notes, short):
    notes.set("key", noise(2000))
    notes._store.delete(parts_of(notes)[0])
    with pytest.raises(DeskError, match=r"note 'key' about field 'spam_tracks' of dataset .* has lost parts"):
        notes.get("key")


# --- the lock


def test_only_one_process_works_on_a_desk_at_a_time(notes):
    held = notes.hold()
    with child(held.__enter__) as pid:
        with (
            pytest.raises(
                DeskError, match=rf"process {pid} on {socket.gethostname()} works on field 'spam_tracks'.*kill {pid}"
            ),
            notes.hold(),
        ):
            pass
        os.kill(pid, signal.SIGKILL)
        deadline = time.time() + 10
        while locking._birth(pid) is not None and time.time() < deadline:
            time.sleep(0.01)
        with notes.hold():  # nobody has cleared the killed process away
            notes.set("a", 1)
    assert notes.keys() == ["a"]
    with notes.hold(), pytest.raises(DeskError, match=f"process {os.getpid()} "), notes.hold():
        pass
    with notes.hold():
        pass


def test_a_lock_of_a_number_that_another_process_has_by_now_is_taken_over(notes):
    with notes.hold():
        mine = notes._store.get("~lock")
    for other in ({"started": "yesterday"}, {"token": "of a lock that could not be given back"}):
        notes._store.set("~lock", {**mine, **other})
        with notes.hold():
            assert notes._store.get("~lock")["started"] == mine["started"]


def test_a_lock_of_another_machine_is_respected_while_it_gives_signs_of_life(notes):
    with notes.hold():
        mine = notes._store.get("~lock")
    now = time.time()
    there = {**mine, "host": "far/pid:[1]", "since": now - 900, "beat": now - 480}
    notes._store.set("~lock", there)
    with pytest.raises(DeskError, match=r"on far works on .* since .*try again in 2 min"), notes.hold():
        pass
    notes._store.set("~lock", {**there, "beat": now - 700})
    with notes.hold():
        pass


def test_who_holds_the_lock_gives_signs_of_life_until_it_lets_go(notes, monkeypatch):
    monkeypatch.setattr(locking, "BEAT_SECONDS", 0.01)
    threads = threading.active_count()
    with notes.hold():
        first = notes._store.get("~lock")["beat"]
        deadline = time.time() + 10
        while notes._store.get("~lock")["beat"] == first and time.time() < deadline:
            time.sleep(0.01)
        assert notes._store.get("~lock")["beat"] > first
        assert threading.active_count() == threads + 1
    assert threading.active_count() == threads
    assert notes._store.get("~lock") == {}


def test_who_slept_too_long_writes_no_more(notes):
    with notes.hold():
        notes.set("a", 1)
        mine = notes._store.get("~lock")
        notes._store.set("~lock", {**mine, "token": "another's", "host": "far"})
        notes._lock._held["beat"] -= 400
        for write in (lambda: notes.set("a", 2), lambda: notes.delete("a")):
            with pytest.raises(LostError, match="another process works on"):
                write()
    assert notes._store.get("~lock")["token"] == "another's"
    assert notes.get("a") == 1


def test_what_was_forked_off_does_not_give_the_lock_back(notes):
    def leave():
        held.__exit__(None, None, None)

    held = notes.hold()
    held.__enter__()
    with child(leave):
        assert notes._store.get("~lock")["pid"] == os.getpid()
    held.__exit__(None, None, None)
    assert notes._store.get("~lock") == {}
