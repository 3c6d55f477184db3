"""Attempts: bounded, with pauses, and without a bound for what advances."""

from raystudy.cluster.flights import DELAYS_S, MOST_LOSSES, Flights


def test_a_node_that_fails_at_once_is_tried_four_times_with_growing_pauses() -> None:
    now = [0.0]
    flights, waited = Flights(clock=lambda: now[0]), []
    assert flights.may_try("node")
    while flights.fail("node", progress=0):
        began = now[0]
        while not flights.may_try("node"):
            now[0] += 0.5
        waited.append(now[0] - began)
    assert waited == list(DELAYS_S)
    assert flights.failures("node") == len(DELAYS_S) + 1


def test_a_node_that_advances_is_never_given_up() -> None:
    flights = Flights()
    assert all(flights.fail("node", progress=iteration) for iteration in range(20))
    assert flights.failures("node") == 1


def test_a_failure_of_one_node_delays_no_other() -> None:
    flights = Flights(clock=lambda: 0.0)
    flights.fail("node", progress=0)
    assert not flights.may_try("node")
    assert flights.may_try("other")


def test_a_node_lost_before_it_began_has_not_failed() -> None:
    flights = Flights(clock=lambda: 0.0)
    assert [flights.lose("node") for _ in range(MOST_LOSSES + 1)] == [True] * MOST_LOSSES + [False]
    assert flights.may_try("node")
    assert flights.failures("node") == 0
