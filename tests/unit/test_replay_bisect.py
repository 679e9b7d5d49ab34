"""The parts that a bisection swaps: every field of a bundle that can make a difference."""

from tests.integration.test_replay_bisect import PLANTED

from interlock.bundles.model import Bundle
from interlock.replay.bisect import PARTS
from interlock_contracts.failures import FailureArea


def test_every_field_that_can_make_a_difference_is_in_one_part() -> None:
    named = [field for fields, _, _ in PARTS.values() for field in fields]
    about = {"format", "name", "version", "gates"}  # no stage reads them
    assert sorted(named) == sorted(set(Bundle.model_fields) - about)


def test_a_fault_is_planted_in_every_area() -> None:
    assert {area for _, area, _, _ in PLANTED.values()} == set(FailureArea)
