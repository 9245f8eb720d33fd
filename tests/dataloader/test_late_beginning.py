"""A pass is entered by its first batch: what frameworks do between `iter` and `next` neither loses nor repeats one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader, make_dataset

KIND = SamplerType.KEYED_EPOCH
"""Where it does not matter."""

KINDS = (SamplerType.KEYED_EPOCH, SamplerType.EPOCH, SamplerType.DISTRIBUTED)


def make(root: Path, kind: SamplerType) -> DataLoader:
    transform = T.Compose([T.RandomResizedCrop(16), T.ToTensor()])
    dataset = make_dataset(dataset_str=f"ImageFolder:root={root}", transform=transform)
    return make_data_loader(dataset=dataset, batch_size=4, num_workers=0, sampler_type=kind, device="cpu")


def whole(root: Path, kind: SamplerType, epoch: int) -> torch.Tensor:
    """The pass, by a loader that does nothing else."""
    with make(root, kind) as loader:
        loader.sampler.set_epoch(epoch)
        return torch.cat([images for images, _ in loader])


@pytest.mark.parametrize("kind", KINDS)
def test_an_iterator_of_which_nothing_was_asked_is_no_pass(photograph_root: Path, kind: SamplerType) -> None:
    """Nor does it use a loaded state up."""
    with make(photograph_root, kind) as loader:
        iter(loader)
        batches = iter(loader)
        first = next(batches)[0]
        assert torch.equal(first, whole(photograph_root, kind, 0)[:4])
        state = loader.state_dict()
    with make(photograph_root, kind) as loader:
        loader.load_state_dict(state)
        iter(loader)
        assert loader.state_dict() == state
        assert torch.equal(torch.cat([images for images, _ in loader]), whole(photograph_root, kind, 0)[4:])


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_that_is_set_after_iter_holds(photograph_root: Path, kind: SamplerType) -> None:
    """Also when a state was loaded that was made after the last batch of a pass."""
    with make(photograph_root, kind) as loader:
        batches = iter(loader)
        loader.sampler.set_epoch(1)
        for _ in range(3):
            next(batches)
        state = loader.state_dict()
    with make(photograph_root, kind) as loader:
        loader.load_state_dict(state)
        batches = iter(loader)
        loader.sampler.set_epoch(2)
        assert torch.equal(torch.cat([images for images, _ in batches]), whole(photograph_root, kind, 2))


def test_a_beginning_that_fails_is_none(photograph_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loaded place stays in force, and the same iterator may be asked again."""
    with make(photograph_root, SamplerType.KEYED_EPOCH) as loader:
        next(iter(loader))
        state = loader.state_dict()
    with make(photograph_root, SamplerType.KEYED_EPOCH) as loader:
        loader.load_state_dict(state)

        def fail(*_: object) -> None:
            raise OSError("no descriptors left")

        batches = iter(loader)
        with monkeypatch.context() as patched:
            patched.setattr(loader, "_open", fail)
            for attempt in (batches, iter(loader), batches):
                with pytest.raises(OSError, match="no descriptors left"):
                    next(attempt)
        assert loader.state_dict() == state
        assert torch.equal(torch.cat([images for images, _ in batches]), whole(photograph_root, KIND, 0)[4:])


def test_an_iterator_that_was_not_used_does_not_stand_for_the_running_one(photograph_root: Path) -> None:
    """Neither when a setting is changed, nor in a state."""
    with make(photograph_root, KIND) as loader:
        running = iter(loader)
        next(running)
        unused = iter(loader)
        loader.worker_init_fn = print
        loader.set_epoch(2)
        assert (loader.state_dict()["passes"], loader.state_dict()["place"]) == (0, 4)
        assert len(list(running)) == 2
        del unused
        assert loader.state_dict()["passes"] == 2


def test_a_state_that_is_loaded_between_iter_and_next(photograph_root: Path) -> None:
    """The iterator goes on there, and is the running one."""
    with make(photograph_root, KIND) as loader:
        next(iter(loader))
        state = loader.state_dict()
        batches = iter(loader)
        loader.load_state_dict(state)
        next(batches)
        loader.set_epoch(1)
        assert (loader.state_dict()["passes"], loader.state_dict()["place"]) == (0, 8)
        loader.worker_init_fn = print
        assert len(list(batches)) == 1


def test_loading_while_an_iteration_is_under_way_is_said(
    photograph_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on, though a setting is changed too; the state stays at the loaded one until the next begins."""
    with make(photograph_root, KIND) as loader:
        batches = iter(loader)
        next(batches)
        state = loader.state_dict()
        assert caplog.messages == []
        loader.load_state_dict(state)
        [message] = caplog.messages
        assert "while an iteration is under way: that goes on as it was, and state_dict() says where" in message
        loader.worker_init_fn = print
        assert len(list(batches)) == 2
        assert loader.state_dict() == state
        assert len(list(loader)) == 2


def test_leaving_the_loaded_pass_is_said(photograph_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The commonest mistake of a resume: an epoch too far."""
    with make(photograph_root, SamplerType.EPOCH) as loader:
        next(iter(loader))
        state = loader.state_dict()
        loader.load_state_dict(state)
        loader.set_epoch(0)
        assert len(list(loader)) == 2
        assert caplog.messages == []
        loader.load_state_dict(state)
        loader.set_epoch(1)
        assert len(list(loader)) == 3
        [message] = caplog.messages
        assert message.startswith(
            "set_epoch(1) leaves the pass 0 of the state that was loaded: 8 samples of it are not"
        )
        assert message.endswith("set_epoch(0) goes on in it")
