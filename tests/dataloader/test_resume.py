"""Resume at every cut, into fresh loaders and a fresh process, against the uncut run."""

from __future__ import annotations

import itertools
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType
from dalikit.datasets import ImageFolder
from dalikit.errors import ArgumentError, StateError
from samplers import DistributedSampler, RandomSampler

Make = Callable[..., DataLoader]
Batches = list[tuple[torch.Tensor, torch.Tensor]]

FINITE = [SamplerType.EPOCH, SamplerType.DISTRIBUTED, SamplerType.KEYED_EPOCH, None]
ENDLESS = [
    SamplerType.INFINITE,
    SamplerType.SHARDED_INFINITE,
    SamplerType.SHARDED_INFINITE_NEW,
    SamplerType.KEYED_INFINITE,
]


def run(loader: DataLoader, count: int) -> tuple[Batches, list[str]]:
    """`count` batches over as many passes as that takes, and the state after each, as JSON; the first is before any."""
    batches: Batches = []
    states = [json.dumps(loader.state_dict())]
    while len(batches) < count:
        for batch in loader:
            batches.append(batch)
            states.append(json.dumps(loader.state_dict()))
            if len(batches) == count:
                break
    return batches, states


def assert_same(mine: Batches, expected: Batches) -> None:
    """Bit for bit."""
    assert len(mine) == len(expected)
    for (images, targets), (images_expected, targets_expected) in zip(mine, expected, strict=True):
        assert torch.equal(images, images_expected)
        assert torch.equal(targets, targets_expected)


@pytest.mark.parametrize("sampler_type", FINITE + ENDLESS)
def test_resume_at_every_cut_of_two_passes(make: Make, sampler_type: SamplerType | None) -> None:
    """A new loader that takes over a state goes on as the uncut run did, pixels included."""
    arguments: dict[str, Any] = {"sampler_type": sampler_type, "shuffle": sampler_type is not None, "drop_last": False}
    batches, states = run(make(**arguments), 10)
    for cut, state in enumerate(states[:-1]):
        resumed = make(**arguments)
        resumed.load_state_dict(json.loads(state))
        rest, states_again = run(resumed, 10 - cut)
        assert_same(rest, batches[cut:])
        assert states_again[-1] == states[-1]
        resumed.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("executor", ["host", "dali"])
@pytest.mark.parametrize("sampler_type", FINITE + ENDLESS)
@pytest.mark.parametrize("batch_size", [1, 4, 23])
def test_resume_at_every_cut_with_every_executor_and_batch_size(
    make: Make, executor: str, sampler_type: SamplerType | None, batch_size: int
) -> None:
    """The same, over the whole grid, into another batch size, number of threads and read-ahead."""
    stream: dict[str, Any] = {"sampler_type": sampler_type, "shuffle": sampler_type is not None, "drop_last": False}
    samples = 46
    batches, states = run(make(**stream, executor=executor, batch_size=batch_size), -(-samples // batch_size))
    uncut = torch.cat([images for images, _ in batches])
    for cut, state in enumerate(states[:-1]):
        taken = sum(len(images) for images, _ in batches[:cut])
        resumed = make(**stream, executor=executor, batch_size=7, num_threads=1, prefetch_batches=1)
        resumed.load_state_dict(json.loads(state))
        rest = torch.cat([images for images, _ in run(resumed, -(-(len(uncut) - taken) // 7) + 1)[0]])
        assert torch.equal(rest[: len(uncut) - taken], uncut[taken:])
        resumed.close()


def test_resume_with_the_dali_graph(make: Make) -> None:
    """The same holds for the other executor."""
    batches, states = run(make(executor="dali"), 6)
    for cut in (0, 1, 4):
        resumed = make(executor="dali")
        resumed.load_state_dict(json.loads(states[cut]))
        assert_same(run(resumed, 6 - cut)[0], batches[cut:])


def test_resume_with_other_batch_size_threads_and_read_ahead(make: Make) -> None:
    """What was taken counts in samples, so the rest may be taken otherwise."""
    batches, states = run(make(sampler_type=SamplerType.EPOCH, drop_last=False), 5)
    resumed = make(sampler_type=SamplerType.EPOCH, drop_last=False, batch_size=2, num_threads=1, prefetch_batches=1)
    resumed.load_state_dict(json.loads(states[2]))
    rest = torch.cat([images for images, _ in resumed])
    assert torch.equal(rest, torch.cat([images for images, _ in batches[2:]]))


def test_the_state_is_of_what_was_taken_not_of_what_was_read_ahead(make: Make) -> None:
    """However far the loader works ahead, the state says the next batch that the user has not had."""
    places = []
    for prefetch_batches in (1, 8):
        loader = make(prefetch_batches=prefetch_batches)
        list(itertools.islice(loader, 3))
        places.append(loader.state_dict()["place"])
    assert places == [15, 15]


def test_a_state_after_the_last_batch_yields_no_batch_then_a_whole_pass(make: Make) -> None:
    """torchdata's meaning of a state taken before StopIteration."""
    loader = make(sampler_type=SamplerType.EPOCH)
    batches = iter(loader)
    for _ in range(len(loader)):
        next(batches)
    state = loader.state_dict()
    resumed = make(sampler_type=SamplerType.EPOCH)
    resumed.load_state_dict(state)
    assert list(resumed) == []
    second = list(resumed)
    assert next(batches, None) is None
    assert_same(second, list(loader))


def test_a_state_after_a_pass_is_the_next_pass(make: Make) -> None:
    """After StopIteration the state is the beginning of the next pass."""
    loader = make(sampler_type=SamplerType.EPOCH)
    list(loader)
    state = loader.state_dict()
    assert (state["passes"], state["place"]) == (1, 0)


def test_set_epoch_to_the_same_pass_keeps_the_place(make: Make) -> None:
    """`for epoch in range(start, n): loader.set_epoch(epoch)` goes on where the state was."""
    loader = make(sampler_type=SamplerType.EPOCH)
    loader.set_epoch(3)
    batches, states = run(loader, 4)
    resumed = make(sampler_type=SamplerType.EPOCH)
    resumed.load_state_dict(json.loads(states[2]))
    resumed.set_epoch(3)
    assert_same(list(resumed), batches[2:])
    resumed.load_state_dict(json.loads(states[2]))
    resumed.set_epoch(4)
    assert len(list(resumed)) == len(resumed)


def test_ranks_agree_on_their_state_at_an_uneven_end(make: Make) -> None:
    """Any rank's state is good for all: 23 samples on 3 ranks are 8, 8 and 7, and each takes 2 batches of 5."""
    states = []
    for rank in range(3):
        loader = make(sampler_type=SamplerType.EPOCH, rank=rank, world_size=3, drop_last=False)
        batches = iter(loader)
        states.append([loader.state_dict()] + [loader.state_dict() for _ in itertools.islice(batches, 2)])
    assert states[0] == states[1] == states[2]
    assert [state["place"] for state in states[0]] == [0, 15, 23]
    resumed = make(sampler_type=SamplerType.EPOCH, rank=2, world_size=3, drop_last=False)
    resumed.load_state_dict(states[0][1])
    assert [len(images) for images, _ in resumed] == [2]


def test_an_iteration_that_goes_on_does_not_disturb_a_loaded_state(make: Make) -> None:
    """The state is that of the iteration that began last; an older one only ends."""
    batches, states = run(make(sampler_type=SamplerType.EPOCH), 4)
    loader = make(sampler_type=SamplerType.EPOCH)
    older = iter(loader)
    next(older)
    loader.load_state_dict(json.loads(states[2]))
    assert len(list(older)) == 3
    assert json.dumps(loader.state_dict()) == states[2]
    assert_same(list(loader), batches[2:])


def test_set_epoch_within_a_pass_is_for_the_next(make: Make) -> None:
    """The pass at hand goes on to its end, and does not undo it."""
    loader, other = (make(sampler_type=SamplerType.EPOCH) for _ in range(2))
    for number, _ in enumerate(loader):
        if number == 1:
            loader.set_epoch(7)
    other.set_epoch(7)
    assert_same(list(loader), list(other))


def test_loading_twice_the_last_one_counts(make: Make) -> None:
    """A state may be loaded at any time, also twice in a row."""
    batches, states = run(make(), 5)
    resumed = make()
    resumed.load_state_dict(json.loads(states[1]))
    resumed.load_state_dict(json.loads(states[3]))
    assert_same(run(resumed, 2)[0], batches[3:])


def test_a_shuffled_plain_loader_takes_over_the_states_seed(dataset: ImageFolder) -> None:
    """A seed that was drawn is part of the state."""
    loader = DataLoader(dataset, batch_size=5, shuffle=True, device="cpu")
    batches, states = run(loader, 9)
    for cut in (0, 3, 6):
        resumed = DataLoader(dataset, batch_size=5, shuffle=True, device="cpu")
        assert resumed.seed != loader.seed
        resumed.load_state_dict(json.loads(states[cut]))
        assert_same(run(resumed, 9 - cut)[0], batches[cut:])
        resumed.close()
    loader.close()


def test_resume_of_an_advanced_loader(make: Make) -> None:
    """A state counts from the stream's beginning, whatever `sampler_advance` the loader was made with."""
    batches, states = run(make(), 6)
    for advance in (0, 3, 1000):
        resumed = make(sampler_advance=advance)
        resumed.load_state_dict(json.loads(states[2]))
        assert_same(run(resumed, 4)[0], batches[2:])


SCRIPT = """
import hashlib, json, sys
import dalikit.transforms as T
from dalikit import make_data_loader, make_dataset
root, state = sys.argv[1:]
transform = T.Compose([T.RandomResizedCrop(32), T.RandomHorizontalFlip(), T.ToTensor()])
dataset = make_dataset(dataset_str=f"ImageFolder:root={root}", transform=transform)
with make_data_loader(dataset=dataset, batch_size=5, num_workers=0, device="cpu") as loader:
    if state:
        loader.load_state_dict(json.loads(state))
    for _, (images, targets) in zip(range(3), loader):
        digest = hashlib.sha256(images.numpy().tobytes() + targets.numpy().tobytes()).hexdigest()
        print(json.dumps([digest, json.dumps(loader.state_dict())]))
"""


def test_resume_in_a_fresh_process(folder: Path) -> None:
    """Another process, given the state as text, makes the very same bytes."""

    def output(state: str) -> list[list[str]]:
        command = [sys.executable, "-c", SCRIPT, str(folder), state]
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return [json.loads(line) for line in result.stdout.splitlines()]

    uncut = output("")
    assert [digest for digest, _ in output(uncut[0][1])[:2]] == [digest for digest, _ in uncut[1:]]


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"sampler_type": SamplerType.SHARDED_INFINITE}, "sampler"),
        ({"shuffle": False}, "sampler"),
        ({"seed": 1}, "seed"),
        ({"rank": 0, "world_size": 2}, "world_size"),
    ],
)
def test_a_state_of_another_stream_is_refused(make: Make, other: dict[str, Any], name: str) -> None:
    """With both sides."""
    state = make().state_dict()
    with pytest.raises(StateError, match=rf"(?s)does not fit.*{name} in the state: .*{name} of the loader: "):
        make(**other).load_state_dict(state)


def test_a_state_of_another_dataset_is_refused(make: Make, folder: Path, tmp_path: Path) -> None:
    """By its length, and by its fingerprint where the length is the same."""
    (tmp_path / "moved").symlink_to(folder)
    make(dataset=ImageFolder(tmp_path / "moved", transform=T.CenterCrop(8))).load_state_dict(make().state_dict())
    (tmp_path / "renamed").mkdir()
    for name in (entry.name for entry in folder.iterdir()):
        (tmp_path / "renamed" / f"x{name}").symlink_to(folder / name)
    renamed = make(dataset=ImageFolder(tmp_path / "renamed", transform=T.CenterCrop(8)))
    both = r"(?s)dataset in the state: .*fingerprint.*dataset of the loader: .*  the same class and length, but other"
    with pytest.raises(StateError, match=both):
        renamed.load_state_dict(make().state_dict())


def test_another_executor_or_transform_is_a_warning(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The order stays; that pixels differ is said."""
    state = make(executor="dali", transform=T.CenterCrop(8)).state_dict()
    with caplog.at_level(logging.WARNING, logger="dalikit"):
        make(executor="host").load_state_dict(state)
    assert "another executor (dali, here host)" in caplog.text
    assert "another transform" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, r"state\['version'\]=99: this dalikit reads version 1"),
        ({"place": -1}, r"state\['place'\]=-1: must be a whole number"),
        ({"passes": "2"}, r"state\['passes'\]='2': must be a whole number"),
        ({"surplus": 1}, r"has unknown keys 'surplus'"),
        ({"passes": 5}, r"state\['passes'\]=5: is beyond the end: there are 0 passes at most"),
        ({"epoch": 1}, r"state\['epoch'\]=1: is beyond"),
        ({"place": 2**63}, r"state\['place'\]=9223372036854775808: is beyond"),
    ],
)
def test_a_broken_state_is_refused(make: Make, change: dict[str, Any], message: str) -> None:
    """Naming what is wrong with it."""
    loader = make()
    with pytest.raises(StateError, match=message):
        loader.load_state_dict({**loader.state_dict(), **change})


def test_a_place_beyond_the_pass_is_refused(make: Make) -> None:
    """23 samples a pass have no place 24."""
    loader = make(sampler_type=SamplerType.EPOCH)
    with pytest.raises(StateError, match=r"state\['place'\]=24: is beyond the end: a pass has 23 places"):
        loader.load_state_dict({**loader.state_dict(), "place": 24})


def test_a_sampler_of_the_users_keeps_its_seed(dataset: ImageFolder) -> None:
    """A drawn seed is taken over from a state; the seed of a sampler that was given is part of the order."""

    def make_with(seed: int) -> DataLoader:
        return DataLoader(dataset, batch_size=5, sampler=RandomSampler(23, seed=seed), device="cpu")

    batches, states = run(make_with(5), 7)
    resumed = make_with(5)
    resumed.load_state_dict(json.loads(states[2]))
    assert_same(run(resumed, 5)[0], batches[2:])
    with pytest.raises(StateError, match="sampler in the state: "):
        make_with(7).load_state_dict(json.loads(states[2]))


def test_set_epoch_on_the_sampler_around_a_state(make: Make) -> None:
    """Before an iteration it decides the state; within one it is for the next."""
    loader, resumed = (make(sampler_type=SamplerType.EPOCH) for _ in range(2))
    loader.sampler.set_epoch(5)  # type: ignore[attr-defined]
    resumed.load_state_dict(loader.state_dict())
    assert (loader.state_dict()["passes"], loader.state_dict()["epoch"]) == (5, 5)
    uncut = list(loader)
    assert_same(list(resumed), uncut)

    loader.set_epoch(5)
    batches = iter(loader)
    next(batches)
    loader.sampler.set_epoch(6)  # type: ignore[attr-defined]
    resumed.load_state_dict(loader.state_dict())
    assert_same(list(resumed), uncut[1:])
    assert_same(list(batches), uncut[1:])
    assert loader.state_dict()["passes"] == 6


def test_ranks_agree_on_a_seed_that_is_not_given(dataset: ImageFolder) -> None:
    """Each would draw its own: with a sampler that is shared out the key is the sampler's seed."""
    seeds = set()
    for rank in range(2):
        torch.manual_seed(rank)
        sampler = DistributedSampler(23, num_replicas=2, rank=rank, seed=11)
        seeds.add(DataLoader(dataset, sampler=sampler, device="cpu").seed)
    assert seeds == {11}


def test_no_state_at_all_is_refused(make: Make) -> None:
    """Neither nothing nor a list, nor half a dict."""
    loader = make()
    with pytest.raises(StateError, match="must be what state_dict"):
        loader.load_state_dict([])  # type: ignore[arg-type]
    with pytest.raises(StateError, match=r"lacks 'dataset'"):
        loader.load_state_dict({"version": 1})
    assert len(next(iter(loader))[0]) == 5


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_state_after_a_failed_batch(make: Make, error: type[BaseException]) -> None:
    """Right after the failure it is before that batch; once a later one is delivered, it is after that one."""
    calls = itertools.count(1)

    def collate(samples: list[Any]) -> Any:
        if next(calls) == 2:
            raise error("once")
        return torch.stack([image for image, _ in samples]), torch.tensor([target for _, target in samples])

    arguments: dict[str, Any] = {"sampler_type": SamplerType.EPOCH, "drop_last": False}
    uncut, states = run(make(**arguments), 5)
    loader = make(collate_fn=collate, **arguments)
    batches = iter(loader)
    found = [next(batches)]
    with pytest.raises(error, match="once"):
        next(batches)
    assert json.dumps(loader.state_dict()) == states[1]
    resumed = make(**arguments)
    resumed.load_state_dict(loader.state_dict())
    assert_same(run(resumed, 4)[0], uncut[1:])
    for number, batch in enumerate(batches, start=3):
        found.append(batch)
        assert json.dumps(loader.state_dict()) == states[number]
    assert_same(found, [uncut[0], *uncut[2:]])


def test_the_state_after_a_failed_mixing(make: Make) -> None:
    """Targets out of range are refused when the batch is mixed."""
    steps = [T.CenterCrop(8), T.ToTensor(), T.MixUp(num_classes=1)]
    loader = make(transform=T.Compose(steps), sampler_type=None, shuffle=False, batch_size=1)
    targets = [sample for sample in range(23) if loader.dataset.get_target(sample) == 0]
    bad = next(sample for sample in range(23) if sample not in targets)
    batches = iter(loader)
    for _ in range(bad):
        next(batches)
    with pytest.raises(ArgumentError, match="Class values must be smaller than num_classes"):
        next(batches)
    assert loader.state_dict()["place"] == bad
