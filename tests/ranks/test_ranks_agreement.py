"""Ranks that load the same go on; ranks that do not all say who differs in what; nobody waits for ever."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from dalikit.agreement import RankAgreement
from dalikit.agreement.comparison import Comparison
from dalikit.agreement.differences import describe_ranks
from dalikit.errors import DalikitError, RankMismatchError

WORLD = 4
ADVICE = "Give all ranks the same dataset, sampler and seed, and after a restart one and the same state"
HINT = "; or the ranks make their loaders in different orders: the n-th of each has to be the same."

Seen = list[dict[str, Any]]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What each of four ranks, real processes with real gloo groups, saw."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [str(server.getsockname()[1]) for server in (one, other)]
    clean = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    result = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("meeting_ranks.py")), str(folder), *ports],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=clean,
    )
    assert result.returncode == 0, result.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD)]


def mismatch(number: int, *lines: str, hint: bool = False) -> str:
    """The whole message."""
    head = f"the ranks do not load the same (loader number {number} of each):"
    return "\n".join([head, *(f"  {line}" for line in lines), ADVICE + (HINT if hint else ".")])


def test_ranks_that_load_the_same_go_on(seen: Seen) -> None:
    """Three times in a row."""
    assert [rank["agree"] for rank in seen] == [[["agreed"] * 3, False]] * WORLD


def test_ranks_that_differ_all_say_who_differs_in_what(seen: Seen) -> None:
    """The same text everywhere, of the nested fields that differ and of no others; and the next comparison is new."""
    one = mismatch(2, "seed: 0 on ranks 0-2, 1 on rank 3")
    two = mismatch(
        2,
        'dataset.fingerprint.root: "/data" on ranks 0, 3, "/scratch" on ranks 1-2',
        "place: 0 on ranks 0, 2-3, 8 on rank 1",
        hint=True,
    )
    assert [rank["differ"] for rank in seen] == [[one, two, "agreed"]] * WORLD


def test_loaders_made_in_another_order_are_found(seen: Seen) -> None:
    """The n-th of one rank is compared with the n-th of the others, and the message says so."""
    for rank in seen:
        assert [text.splitlines()[0] for text in rank["swap"]] == [mismatch(n).splitlines()[0] for n in (3, 4)]
        assert all(text.endswith(HINT) for text in rank["swap"])


def test_it_does_not_mix_with_the_trainings_collectives(seen: Seen) -> None:
    """Half of the ranks begin an all_reduce before it, half after it."""
    assert [rank["interleave"] for rank in seen] == [["agreed", 4.0]] * WORLD


def test_late_ranks_are_waited_for(seen: Seen) -> None:
    """One warning on each rank that waits says for whom."""
    assert [rank["late"][0] for rank in seen] == ["agreed"] * WORLD
    for number in (1, 3):
        [line] = seen[number]["late"][1]
        assert line.startswith(f"rank {number} waits for ranks 0, 2 to iterate over loader number 6 too")
        assert "goes on without that after 60 s" in line
        assert line.endswith("a loader for one rank alone is made with rank=0, world_size=1")
    assert seen[0]["late"][1] == seen[2]["late"][1] == []


def test_a_rank_alone_goes_on_and_is_compared_when_the_others_come(seen: Seen) -> None:
    """It says so; its next iteration makes up for it."""
    told, pending, lines = seen[0]["alone"]
    assert told == ["agreed"] * 4
    assert pending == [True, False]
    assert lines == ["rank 0 goes on after 0.3 s without a comparison of what the ranks load: ranks 1-3 not there"]
    assert [rank["alone"] for rank in seen[1:]] == [[["agreed"] * 3, [False], []]] * (WORLD - 1)


def test_a_late_comparison_finds_differences_too(seen: Seen) -> None:
    """On the others at once, on the rank that had gone on at its next iteration; once."""
    text = mismatch(11, "seed: 1 on rank 0, 2 on ranks 1-3")
    assert seen[0]["alone_and_different"][0] == ["agreed", "agreed", text, "agreed"]
    assert [rank["alone_and_different"][0] for rank in seen[1:]] == [[text, "agreed", "agreed"]] * (WORLD - 1)


def test_a_rank_that_looked_before_it_loaded_is_compared_by_what_it_loaded(seen: Seen) -> None:
    """And all that comes after is in step."""
    differ = mismatch(8, "place: 0 on ranks 0-1, 1 on ranks 2-3")
    assert [rank["look_and_load"] for rank in seen] == [["agreed", "agreed", differ]] * WORLD


def test_ctrl_c_ends_the_waiting(seen: Seen) -> None:
    """And the comparison is made up for."""
    assert [rank["interrupt"] for rank in seen] == [["interrupted", False], *[["agreed", False]] * (WORLD - 1)]


def test_nothing_is_compared_in_other_groups_or_none(seen: Seen) -> None:
    """Though each rank says another seed."""
    for case in ("other_size", "no_group"):
        assert [rank[case] for rank in seen] == [["agreed", False]] * WORLD


def test_two_ranks_over_a_file(seen: Seen) -> None:
    """A FileStore serves as a TCPStore does."""
    differ = mismatch(13, "place: 0 on rank 0, 1 on rank 1")
    assert [rank["two_by_file"] for rank in seen[:2]] == [["agreed", differ]] * 2


def test_a_store_that_is_gone_is_a_warning(seen: Seen) -> None:
    """The training meets the loss of rank 0 by itself."""
    told, pending, [line] = seen[1]["store_is_gone"]
    assert (told, pending) == ("agreed", False)
    assert line.startswith("what the ranks load was not compared: the process group's store failed on rank 1 (Dist")
    assert [rank["unasked_for_warnings"] for rank in seen] == [[]] * WORLD


class Between:
    """A real store that calls a function between two steps: before a key that ends so is set."""

    def __init__(self, store: dist.HashStore, ending: str, call: Callable[[], object]) -> None:  # type: ignore[name-defined]
        self._store = store
        self._ending = ending
        self._call = call

    def set(self, key: str, value: str) -> None:
        if key.endswith(self._ending):
            self._call()
        self._store.set(key, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_a_rank_that_has_left_is_waited_for() -> None:
    """Though all have come once."""
    store: Any = dist.HashStore()  # type: ignore[attr-defined]
    ranks = [Comparison(store, 0, 0, rank, 3) for rank in range(3)]
    ranks[0].enter("1")
    assert ranks[0].leave()
    ranks[1].enter("2")
    assert ranks[1].missing() == "ranks 0, 2"
    ranks[2].enter("2")
    assert not ranks[2].complete()
    ranks[0].enter("2")
    assert ranks[2].complete()
    assert not ranks[1].leave()
    assert [rank.verdict() for rank in ranks] == [""] * 3


def test_no_rank_leaves_a_comparison_that_is_being_ended() -> None:
    """It waits until that is decided: by then it is too late."""
    store: Any = dist.HashStore()  # type: ignore[attr-defined]
    first = Comparison(store, 0, 0, 0, 2)
    left: list[bool] = []
    thread = threading.Thread(target=lambda: left.append(first.leave()), daemon=True)

    def interrupt() -> None:
        thread.start()
        thread.join(0.3)

    between: Any = Between(store, "/all", interrupt)
    first.enter("1")
    Comparison(between, 0, 0, 1, 2).enter("1")
    thread.join(20)
    assert left == [False]


class Counting:
    """A real store that counts who does what to it."""

    def __init__(self, store: dist.HashStore, counts: Counter[str]) -> None:  # type: ignore[name-defined]
        self._store = store
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        self._counts[name] += 1
        return getattr(self._store, name)


def meet(world_size: int, seeds: list[int]) -> tuple[list[str], list[Counter[str]]]:
    """What each rank, a thread, was told, and what it did to the store."""
    store = dist.HashStore()  # type: ignore[attr-defined]
    counts: list[Counter[str]] = [Counter() for _ in range(world_size)]
    told = ["agreed"] * world_size

    def come(rank: int) -> None:
        counting: Any = Counting(store, counts[rank])
        loader = RankAgreement(rank=rank, world_size=world_size, store=counting, ordinal=0)
        try:
            loader.check({"seed": seeds[rank]})
        except RankMismatchError as error:
            told[rank] = str(error)

    threads = [threading.Thread(target=come, args=(rank,), daemon=True) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return told, counts


@pytest.mark.parametrize("world_size", [4, 64])
def test_a_rank_that_agrees_does_five_operations_whatever_the_number_of_ranks(world_size: int) -> None:
    """Beside its looks while it waits; the last one to come says so with four more."""
    told, counts = meet(world_size, [3] * world_size)
    assert told == ["agreed"] * world_size
    looks = [count.pop("check") for count in counts]
    assert min(looks) == 1
    assert sorted(sum(count.values()) for count in counts) == [4] * (world_size - 1) + [8]
    assert sorted(count["add"] for count in counts) == [3] * (world_size - 1) + [6]
    assert not any(count["multi_get"] for count in counts)


def test_where_ranks_differ_one_of_them_reads_all_records() -> None:
    """So that thousands of ranks do not read thousands of records each; many values are cut."""
    told, counts = meet(64, list(range(64)))
    assert sum(count["multi_get"] for count in counts) == 1
    line = "seed: 0 on rank 0, 1 on rank 1, 2 on rank 2, 3 on rank 3, 60 other values on ranks 4-63"
    assert set(told) == {mismatch(1, line)}


def test_of_thousands_that_do_not_come_some_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """With a few dozen looks into the store."""
    counts: Counter[str] = Counter()
    store: Any = Counting(dist.HashStore(), counts)  # type: ignore[attr-defined]
    loader = RankAgreement(rank=0, world_size=4096, store=store, ordinal=0, give_up_after=0.0)
    loader.check({"seed": 0})
    assert loader.pending
    assert "4095 ranks (ranks 1-4 among them) not there" in caplog.text
    assert counts["check"] < 64


def differing(*records: dict[str, Any]) -> str:
    """The message for these records, less the first and the last line."""
    store: Any = dist.HashStore()  # type: ignore[attr-defined]
    loaders = [
        RankAgreement(rank=rank, world_size=len(records), store=store, ordinal=0, give_up_after=0.0)
        for rank in range(len(records))
    ]
    for loader, record in zip(loaders[:-1], records, strict=False):
        loader.check(record)
    with pytest.raises(RankMismatchError, match="the ranks do not load the same") as caught:
        loaders[-1].check(records[-1])
    return "\n".join(str(caught.value).splitlines()[1:-1])


def test_the_error_is_one_of_dalikits() -> None:
    """And a ValueError: what was given to the ranks cannot be meant."""
    assert issubclass(RankMismatchError, DalikitError)
    assert issubclass(RankMismatchError, ValueError)


def test_fields_that_one_rank_lacks_are_told() -> None:
    """None, false and 0 are values."""
    shown = differing({"a": {"b": None}, "c": 0}, {"a": {"b": None, "d": [1, 2]}, "c": False})
    assert shown == "  a.d: nothing on rank 0, [1, 2] on rank 1\n  c: 0 on rank 0, false on rank 1"


def test_long_values_are_shown_where_they_differ() -> None:
    """The difference is in sight, and not much else."""
    long = "x" * 500
    shown = differing({"root": f"{long}/first/{long}"}, {"root": f"{long}/second/{long}"}, {})
    assert "x/first/x" in shown
    assert "x/second/x" in shown
    assert shown.endswith("nothing on rank 2")
    assert len(shown) < 300
    numbers = list(range(1000))
    shown = differing({"sizes": numbers}, {"sizes": [*numbers[:900], 7, *numbers[901:]]})
    assert "899, 900," in shown
    assert "899, 7," in shown
    assert len(shown) < 250


def test_many_fields_are_cut_short() -> None:
    """Sixteen are shown."""
    shown = differing({str(n): 0 for n in range(30)}, {str(n): 1 for n in range(30)}).splitlines()
    assert len(shown) == 17
    assert shown[-1] == "  ... and 14 more"


def test_ranks_are_written_as_intervals() -> None:
    """Many of them are cut short."""
    assert describe_ranks([7]) == "rank 7"
    assert describe_ranks([0, 1, 2, 5, 7, 8]) == "ranks 0-2, 5, 7-8"
    assert describe_ranks(range(0, 40, 2)) == "ranks 0, 2, 4, 6, 8, 10, 12, 14, ..."


def test_ranks_that_come_and_leave_at_once_are_all_told_the_same() -> None:
    """Three say something, take it back if it is not too late, and say what the last one says."""
    outcomes = {come_and_leave(number) for number in range(30)}
    assert all(len(set(told)) == 1 for told in outcomes), outcomes
    assert ("agreed",) * 4 in outcomes


def come_and_leave(number: int) -> tuple[str, ...]:
    """What each of four ranks, threads on one store, was told."""
    store: Any = dist.HashStore()  # type: ignore[attr-defined]
    told = ["nothing"] * 4

    def come(rank: int) -> None:
        loader = RankAgreement(rank=rank, world_size=4, store=store, ordinal=number, give_up_after=0.0)
        try:
            if rank < 3:
                loader.check({"place": rank})
                loader.withdraw()
            loader.check({"place": 8})
            while loader.pending:
                loader.finish()
            told[rank] = "agreed"
        except RankMismatchError as error:
            told[rank] = str(error)

    threads = [threading.Thread(target=come, args=(rank,), daemon=True) for rank in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return tuple(told)
