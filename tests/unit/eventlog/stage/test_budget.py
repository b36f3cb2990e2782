import asyncio

import pytest

from eventlog.stage.budget import Budget, Share


def take_all_they_can(shares: list[Share], portion: int) -> None:
    """Each in turn, until nobody may take more."""
    while any(share.has_room for share in shares):
        for share in shares:
            if share.has_room:
                share.take(portion)


@pytest.mark.parametrize("count", [1, 2, 10, 100])
def test_however_many_want_ever_more_they_get_equal_parts_and_stay_below_the_total(
    count: int,
) -> None:
    budget = Budget(10_000)
    shares = [budget.share() for _ in range(count)]
    take_all_they_can(shares, 1)
    assert budget.used < budget.total
    assert {share.held for share in shares} <= {10_000 // (count + 1) + n for n in (0, 1)}


def test_one_that_gives_nothing_back_leaves_the_others_their_part() -> None:
    budget = Budget(1_000)
    stalled, other = budget.share(), budget.share()
    take_all_they_can([stalled], 10)
    assert stalled.held == 500
    for _ in range(100):
        assert other.has_room
        other.take(200)
        other.give_back(200)


def test_one_that_holds_nothing_always_gets_a_portion() -> None:
    budget = Budget(100)
    greedy, late = budget.share(), budget.share()
    greedy.take(1_000)
    assert (greedy.has_room, late.has_room, late.portion) == (False, True, 0)
    late.take(50)
    assert not late.has_room


async def test_whoever_waits_goes_on_as_soon_as_another_gives_back() -> None:
    budget = Budget(100)
    one, other = budget.share(), budget.share()
    one.take(90)
    other.take(20)
    waiting = asyncio.create_task(other.wait_unless(lambda: False))
    await asyncio.sleep(0)
    assert not waiting.done()
    one.give_back(90)
    assert await waiting


async def test_whoever_has_asked_in_vain_is_called_and_nobody_else() -> None:
    budget = Budget(100)
    called, idle = asyncio.Event(), asyncio.Event()
    one, other, third = budget.share(), budget.share(called), budget.share(idle)
    one.take(90)
    other.take(20)
    assert not other.ask()
    assert third.ask()
    one.give_back(90)
    assert called.is_set()
    assert not idle.is_set()
    assert other.ask()


def test_a_share_that_is_closed_has_given_back_everything() -> None:
    budget = Budget(100)
    share = budget.share()
    share.take(70)
    share.close()
    assert (budget.used, budget.free) == (0, 100)


def test_what_is_given_back_is_counted_off() -> None:
    budget = Budget(800)
    share = budget.share()
    share.take(300)
    share.take(100)
    share.give_back(150)
    share.give_back(0)
    assert (share.held, budget.used, budget.free, share.portion) == (250, 250, 550, 68)


def test_a_closed_share_takes_nothing_of_the_budget_and_is_not_woken() -> None:
    budget = Budget(100)
    share, other = budget.share(), budget.share()
    share.take(60)
    share.close()
    assert budget._shares == {other}
    share.take(30)
    share.give_back(10)
    assert (budget.used, budget.total, share.portion) == (0, 100, 10)


async def test_whoever_finds_no_room_after_a_change_waits_on() -> None:
    budget = Budget(100)
    one, other = budget.share(), budget.share()
    one.take(90)
    other.take(20)
    waiting = asyncio.create_task(other.wait_unless(lambda: False))
    await asyncio.sleep(0)
    one.give_back(5)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    one.give_back(85)
    assert await waiting


async def test_who_waits_for_a_turn_gets_it_with_the_first_room_or_gives_up_when_told_to() -> None:
    budget = Budget(2)
    share = budget.share()
    share.take(1)
    ended = False
    patient = asyncio.create_task(share.wait_unless(lambda: False))
    revoked = asyncio.create_task(share.wait_unless(lambda: ended))
    await asyncio.sleep(0)
    ended = True
    share.call()
    assert not await revoked
    assert not patient.done()
    share.give_back(1)
    assert await patient
