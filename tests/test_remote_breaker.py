"""When a server may be asked: the breaker against the rule it stands for, over every order of events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.remote.breaker import Breaker
from generation.remote.servers import NotBegun, Servers
from retrieval.errors import GeneratorUnavailable, InvalidPrompt, RequestError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


EVENTS = st.lists(
    st.one_of(
        st.just(("begin", 0, "")),
        st.tuples(st.just("end"), st.integers(0, 5), st.sampled_from(["success", "failure", "neither"])),
        st.tuples(st.just("wait"), st.integers(1, 30), st.just("")),
    ),
    max_size=80,
)


@given(EVENTS)
def test_a_breaker_asks_a_failing_server_once_after_each_rest_and_a_working_one_freely(events):
    """Told by a second reading of the rule: a list of what was reported since the breaker last opened or closed."""
    clock = Clock()
    breaker = Breaker(clock, failures=3, rest_s=4.0, longest_rest_s=16.0)
    running: list[tuple[int, bool]] = []  # what began, and whether it counts still
    opened_at, rest, in_a_row, trials = None, 4.0, 0, 0
    for event, number, outcome in events:
        resting = opened_at is not None and clock.now < opened_at + rest
        assert breaker.admits == (opened_at is None or (not resting and trials == 0))
        assert breaker.state == ("closed" if opened_at is None else "open" if resting else "half-open")
        if event == "begin" and breaker.admits:
            running.append((breaker.begin(), True))
            trials += opened_at is not None
        elif event == "end" and running:
            begun, counts = running.pop(number % len(running))
            breaker.end(begun, outcome)
            if not counts:
                continue
            was_open, moved = opened_at is not None, False
            trials = 0
            if outcome == "success":
                opened_at, rest, in_a_row, moved = None, 4.0, 0, was_open
            elif outcome == "failure":
                in_a_row += not was_open
                if was_open or in_a_row == 3:
                    rest = min(2 * rest, 16.0) if was_open else rest
                    opened_at, moved = clock.now, True
            if moved:
                in_a_row = 0 if opened_at is None else in_a_row
                running = [(one, False) for one, _ in running]
        elif event == "wait":
            clock.now += number
    assert breaker.rest_left <= 16.0


def test_a_late_success_does_not_close_a_breaker_that_opened_meanwhile():
    clock = Clock()
    breaker = Breaker(clock, failures=1)
    slow = breaker.begin()
    breaker.end(breaker.begin(), "failure")
    breaker.end(slow, "success")
    assert breaker.state == "open"


def test_a_trial_that_was_cancelled_leaves_room_for_another():
    clock = Clock()
    breaker = Breaker(clock, failures=1, rest_s=1)
    breaker.end(breaker.begin(), "failure")
    clock.now += 1
    trial = breaker.begin()
    assert not breaker.admits
    with pytest.raises(RuntimeError, match="admits nothing"):
        breaker.begin()
    breaker.end(trial, "neither")
    assert breaker.admits


def test_the_least_loaded_server_that_works_and_is_not_busy_comes_first():
    clock = Clock()
    servers = Servers(["http://a:1", "http://b:1", "http://c:1"], clock)
    a = servers.best(())
    with a.group():
        b = servers.best(())
        assert b is not a
        with pytest.raises(NotBegun), b.group():
            raise NotBegun(None, retry_after_s=5)
        c = servers.best(())
        assert c not in (a, b)
        for _ in range(3):
            with pytest.raises(GeneratorUnavailable), c.group():
                raise GeneratorUnavailable("it broke")
        assert servers.best(()) is a  # loaded, but neither busy nor broken
        assert servers.best((a,)) is b
        clock.now += 5
        assert servers.best(()) is b


def test_what_the_caller_did_wrong_is_no_failure_of_the_server():
    servers = Servers(["http://a:1"], Clock())
    server = servers.best(())
    for _ in range(9):
        with pytest.raises(InvalidPrompt), server.group():
            raise InvalidPrompt("too strange")
    assert server.breaker.state == "closed"


def test_when_none_works_the_reason_of_the_last_failure_is_told():
    servers = Servers(["http://a:1"], Clock())
    for _ in range(3):
        with pytest.raises(GeneratorUnavailable), servers.best(()).group():
            raise GeneratorUnavailable("the server does not let us in", fix="set the key")
    with pytest.raises(GeneratorUnavailable, match=r"none of 1 .* does not let us in") as caught:
        servers.best(())
    assert caught.value.fix == "set the key"


@pytest.mark.parametrize(
    "urls",
    [[], ["localhost:8000"], ["file:///etc/passwd"], ["http://"], ["http://u:sesame@h:1"], ["http://h/?k=sesame"]],
)
def test_an_address_that_is_none_or_carries_a_secret_is_refused_without_repeating_it(urls):
    with pytest.raises(RequestError) as caught:
        Servers(urls, Clock())
    assert "sesame" not in str(caught.value)


def test_an_address_may_end_as_openai_clients_write_it():
    assert Servers(["http://a:1/v1/"], Clock()).best(()).url == "http://a:1"
