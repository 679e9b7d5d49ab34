"""The benchmarks that need no data still run, at the smallest size: every request is answered."""

from bench.pipeline import gold_requests, measure_pipeline
from bench.replay import measure_replay
from bench.runtime import bare, measure_one, ours


async def test_the_pipeline_answers_every_request_it_is_measured_with() -> None:
    count = len(gold_requests())
    figures = await measure_pipeline(processes=False, in_flight=8, requests=count)
    assert count > 20
    assert figures.rate > 0


async def test_a_request_takes_all_six_hops() -> None:
    for run in (ours, bare):
        figures = await measure_one(run, apart=False, in_flight=8, requests=20)
        assert figures.p50 > 0


async def test_what_the_pipeline_logged_is_verified_in_full() -> None:
    count = len(gold_requests())
    some, everything = await measure_replay(count, processes=1)
    assert everything.requests == count > some.requests > 0
    assert (some.diverged, everything.diverged) == (0, 0)
    assert everything.workers > 0
