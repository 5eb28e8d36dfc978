"""The log and the book of a ledger say the same, however they are folded, and whenever that is broken off."""

import pytest

import spam_plugin.engine.label as engine_label
from spam_plugin.integrations.fiftyone_ import api, book
from spam_plugin.integrations.fiftyone_ import ledger as ledgers
from spam_plugin.integrations.fiftyone_.journal import SyncJournal
from spam_plugin.integrations.fiftyone_.ledger import Ledger

QUIET = {"progress": False}
OUT = "spam_tracks"


def ledger_of(dataset):
    dataset.reload()
    return Ledger(dataset, OUT)


def test_the_log_is_folded_into_the_book_and_says_the_same(video_dataset, world, monkeypatch):
    monkeypatch.setattr(ledgers, "ENTRIES_PER_FOLD", 3)
    monkeypatch.setattr(engine_label, "BOXES_PER_CALL", 1)
    dataset = video_dataset(**{f"v{number}": world.frames() for number in range(5)})
    seen = []

    def spying(self):
        known = fold(self)
        seen.append(len(self.notes.keys("log/")))
        return known

    fold = book.Book.fold
    monkeypatch.setattr(book.Book, "fold", spying)
    api.label(dataset, model=world.Model(), **QUIET)
    assert len(seen) >= 4
    assert set(seen) == {0}
    kept = ledger_of(dataset).standing()
    assert kept.boxes == 30
    assert ledger_of(dataset).refresh() == kept


def test_a_long_log_is_folded_when_nobody_is_at_work(labelled, monkeypatch):
    monkeypatch.setattr(book, "LONG_LOG", 3)
    ledger = Ledger(labelled, OUT)
    with SyncJournal(labelled, OUT).hold():
        for _ in range(6):
            ledger.note("sync")
        assert len(ledger._book.notes.keys("log/")) >= 6
    ledger.note("sync")
    assert ledger._book.notes.keys("log/") == []
    assert [one.kind for one in ledger.rounds()] == ["label", *["sync"] * 7]


def test_a_fold_that_is_broken_off_changes_nothing(labelled, monkeypatch):
    ledger = Ledger(labelled, OUT)
    key = next(iter(ledger.videos()))
    for conflicts in (5, 3, 4):
        ledger.disagreed(key, conflicts)
    ledger.note("sync")
    before, entries = (ledger.standing(), ledger.rounds()), len(ledger._book.notes.keys("log/"))
    delete, left = ledger._book.notes.delete, [2]

    def dying(name):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        delete(name)

    monkeypatch.setattr(ledger._book.notes, "delete", dying)
    with pytest.raises(KeyboardInterrupt), ledger.hold():
        ledger._book.fold()
    assert len(ledger._book.notes.keys("log/")) == entries - 2
    assert (ledger_of(labelled).standing(), ledger_of(labelled).rounds()) == before
    assert before[0].conflicts == 4


def test_who_does_not_hold_the_lock_leaves_the_parts_of_a_book_that_is_being_written(labelled):
    ledger = Ledger(labelled, OUT)
    ledger._book.notes._store.set("~part/book/begun/0", "somebody is about to write the head")
    ledger.choose_model(None)
    ledger.note("sync")
    ledger.disagreed("a", 1)
    assert "~part/book/begun/0" in ledger._book.notes._store.list_keys()
    with ledger.hold():
        ledger._book.fold()
    assert "~part/book/begun/0" not in ledger._book.notes._store.list_keys()  # they were a killed process's


def test_a_long_book_goes_into_parts_and_comes_back(labelled, monkeypatch):
    from spam_plugin.integrations.fiftyone_ import journal

    monkeypatch.setattr(journal, "PLAIN_BYTES", 200)
    monkeypatch.setattr(journal, "PART_BYTES", 100)
    before = ledger_of(labelled).standing()
    ledger = Ledger(labelled, OUT)
    with ledger.hold():
        ledger._book.fold()
    names = ledger._book.notes._store.list_keys()
    assert any(name.startswith("~part/book/") for name in names)
    assert ledger_of(labelled).standing() == before
