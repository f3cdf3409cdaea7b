"""Which pod is asked."""

import random
from contextlib import ExitStack

from finetune_inference.router.messages import PodState
from finetune_inference.router.pods import DOUBT_SECONDS, Pods

VERSION, OTHER = "a--aaaaaaaaaaaa", "a--bbbbbbbbbbbb"


def pods(count: int = 4, versions: tuple[str, ...] = (VERSION,)) -> Pods:
    made = Pods(random.Random(1))
    made.follow(PodState(deployment="dep", pod=f"p{n}", url=f"http://p{n}", versions=versions) for n in range(count))
    return made


def test_only_pods_with_the_version_are_asked():
    assert pods().pick("dep", OTHER, (), 0.0) is None
    assert pods().pick("other", VERSION, (), 0.0) is None


def test_the_less_busy_of_two_is_asked():
    made = pods(2)
    busy = made.pick("dep", VERSION, (), 0.0)
    with busy.asking():
        assert all(made.pick("dep", VERSION, (), 0.0) is not busy for _ in range(20))


def test_load_spreads_over_all_pods():
    made = pods(4)
    with ExitStack() as open_requests:
        for _ in range(400):
            open_requests.enter_context(made.pick("dep", VERSION, (), 0.0).asking())
        loads = {pod.in_flight for pod in (made.pick("dep", VERSION, (), 0.0) for _ in range(100))}
        assert all(95 <= load <= 105 for load in loads), loads


def test_a_pod_that_failed_comes_last_until_it_is_heard_of_again():
    made = pods(2)
    failed = made.pick("dep", VERSION, (), 0.0)
    failed.doubt(0.0)
    assert all(made.pick("dep", VERSION, (), 1.0) is not failed for _ in range(20))
    assert any(made.pick("dep", VERSION, (), DOUBT_SECONDS) is failed for _ in range(50))


def test_the_only_pod_is_asked_even_in_doubt_but_not_twice():
    made = pods(1)
    only = made.pick("dep", VERSION, (), 0.0)
    only.doubt(0.0)
    assert made.pick("dep", VERSION, (), 0.0) is only
    assert made.pick("dep", VERSION, (only,), 0.0) is None


def test_a_pod_that_stays_keeps_its_count_and_one_that_moved_starts_anew():
    made = pods(1)
    pod = made.pick("dep", VERSION, (), 0.0)
    with pod.asking():
        made.follow([PodState(deployment="dep", pod="p0", url="http://p0", versions=(OTHER,))])
        assert made.pick("dep", OTHER, (), 0.0).in_flight == 1
        made.follow([PodState(deployment="dep", pod="p0", url="http://elsewhere", versions=(OTHER,))])
        assert made.pick("dep", OTHER, (), 0.0).in_flight == 0
