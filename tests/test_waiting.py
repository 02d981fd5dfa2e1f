import threading
import time

import pytest

from generation.halt import Halt
from retrieval.errors import Cancelled, Overloaded
from service.waiting import WaitingRoom


@pytest.fixture
def gate():
    opened = threading.Event()
    yield opened
    opened.set()


def test_interactive_work_that_comes_later_is_done_before_bulk_work(gate):
    room, done = WaitingRoom(1), []
    first = room.submit(lambda: gate.wait(5))
    while not room.working("interactive"):
        time.sleep(0.001)
    bulk = [room.submit(lambda n=n: done.append(f"bulk {n}"), "bulk") for n in range(3)]
    asked = [room.submit(lambda n=n: done.append(f"asked {n}")) for n in range(3)]
    gate.set()
    for future in (first, *bulk, *asked):
        future.result(5)
    assert done == ["asked 0", "asked 1", "asked 2", "bulk 0", "bulk 1", "bulk 2"]
    room.close()


def test_bulk_work_takes_half_of_the_places(gate):
    room = WaitingRoom(4)
    bulk = [room.submit(lambda: gate.wait(5), "bulk") for _ in range(6)]
    assert room.submit(lambda: "answered").result(2) == "answered"
    until = time.monotonic() + 2
    while room.working("bulk") < 2 and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(0.05)
    assert room.working("bulk") == 2
    gate.set()
    assert all(future.result(5) for future in bulk)
    room.close()


def test_a_single_place_still_does_bulk_work():
    room = WaitingRoom(1)
    assert room.submit(lambda: 7, "bulk").result(2) == 7
    room.close()


def test_bulk_work_that_gives_way_leaves_its_place_and_takes_it_again():
    room, order, begun = WaitingRoom(1), [], threading.Event()

    def bulk():
        begun.set()
        while not room.waiting("interactive"):
            time.sleep(0.001)
        room.give_way(Halt())
        order.append("bulk")

    slow = room.submit(bulk, "bulk")
    assert begun.wait(5)
    asked = room.submit(lambda: order.append("asked"))
    asked.result(5)
    slow.result(5)
    assert order == ["asked", "bulk"]
    assert (room.working("bulk"), room.working("interactive")) == (0, 0)
    room.close()


def test_bulk_work_gives_way_to_what_is_announced_and_goes_on_when_that_does_not_come(monkeypatch):
    monkeypatch.setattr("service.waiting.COMING_S", 0.3)
    room = WaitingRoom(2)
    room.announce()
    began = time.monotonic()
    stood_back = room.submit(lambda: room.give_way(Halt()) or time.monotonic(), "bulk").result(5) - began
    assert 0.2 < stood_back < 1.5
    began = time.monotonic()
    assert room.submit(lambda: room.give_way(Halt()) or time.monotonic(), "bulk").result(5) - began < 0.2
    room.close()


def test_bulk_work_that_gives_way_is_not_starved(gate, monkeypatch):
    monkeypatch.setattr("service.waiting.GIVE_WAY_S", 0.05)
    room = WaitingRoom(2)
    asked = room.submit(lambda: gate.wait(10))
    assert room.submit(lambda: room.give_way(Halt()) or "done", "bulk").result(5) == "done"
    gate.set()
    asked.result(5)
    room.close()


def test_bulk_work_that_stands_back_is_cancelled_at_once_and_hurries_for_its_deadline(gate, monkeypatch):
    monkeypatch.setattr("service.waiting.GIVE_WAY_S", 30)
    room, halt = WaitingRoom(2), Halt()
    room.submit(lambda: gate.wait(20))
    while not room.working("interactive"):
        time.sleep(0.001)
    cancelled = room.submit(lambda: room.give_way(halt), "bulk")
    while room.working("bulk") or cancelled.done():
        time.sleep(0.001)
    halt.cancel()
    with pytest.raises(Cancelled):
        cancelled.result(5)
    assert room.submit(lambda: room.give_way(Halt(2.0)) or "in time", "bulk").result(5) == "in time"
    assert room.working("bulk") == 0
    gate.set()
    room.close()


def test_bulk_work_that_stands_back_is_not_replaced_by_more_bulk_work(gate):
    room, begun = WaitingRoom(2), []
    bulk = [
        room.submit(lambda n=n: begun.append(n) or (gate.wait(5) and room.give_way(Halt())), "bulk") for n in range(4)
    ]
    while not begun:
        time.sleep(0.001)
    asked = room.submit(lambda: (gate.wait(5) and time.sleep(0.3)) or len(begun))
    while not room.working("interactive"):
        time.sleep(0.001)
    gate.set()
    assert asked.result(5) == 1
    for future in bulk:
        future.result(5)
    room.close()


def test_what_is_too_much_is_refused_with_a_time_and_nothing_is_lost(gate):
    room = WaitingRoom(1, interactive=2, bulk=1)
    first = room.submit(lambda: gate.wait(5))
    while not room.working("interactive"):
        time.sleep(0.001)
    taken = [room.submit(lambda n=n: n) for n in range(2)]
    with pytest.raises(Overloaded) as refused:
        room.submit(lambda: None)
    assert refused.value.retry_after_s >= 1
    kept = room.submit(lambda: "bulk", "bulk")
    with pytest.raises(Overloaded):
        room.submit(lambda: None, "bulk")
    gate.set()
    assert first.result(5)
    assert [future.result(5) for future in taken] == [0, 1]
    assert kept.result(5) == "bulk"
    room.close()


def test_the_error_of_the_work_is_the_error_of_its_future():
    room = WaitingRoom(1)

    def fails():
        raise KeyError("x")

    with pytest.raises(KeyError):
        room.submit(fails).result(2)
    assert room.submit(lambda: 1).result(2) == 1
    room.close()


def test_work_cancelled_before_its_turn_is_never_begun(gate):
    room, begun = WaitingRoom(1), []
    room.submit(lambda: gate.wait(5))
    while not room.working("interactive"):
        time.sleep(0.001)
    waiting = room.submit(lambda: begun.append(1))
    assert waiting.cancel()
    gate.set()
    room.submit(lambda: None).result(5)
    assert begun == []
    room.close()


def test_closing_lets_work_end_and_cancels_what_waits(gate):
    room = WaitingRoom(1)
    first = room.submit(lambda: gate.wait(5))
    while not room.working("interactive"):
        time.sleep(0.001)
    waiting = room.submit(lambda: 1, "bulk")
    closing = threading.Thread(target=room.close)
    closing.start()
    while not waiting.cancelled():
        time.sleep(0.001)
    gate.set()
    closing.join(5)
    assert first.result(0)
    with pytest.raises(Overloaded):
        room.submit(lambda: 1)
