"""Bad arguments, bad files, bad images: a clear error that names the place, and a loader that can be used again."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import dalikit.transforms as T
from dalikit import DataLoader, SamplerType, make_data_loader, make_dataset
from dalikit.datasets import ImageFolder
from dalikit.errors import (
    ArgumentError,
    DatasetNotFoundError,
    DecodeError,
    DeviceError,
    EmptyDatasetError,
    LoaderTimeoutError,
    ReadError,
    SampleError,
    TransformError,
)
from samplers import SequentialSampler

Make = Callable[..., DataLoader]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, r"batch_size=0: must be a whole number, at least 1"),
        ({"batch_size": -3}, r"batch_size=-3: must be"),
        ({"batch_size": 2.5}, r"batch_size=2\.5: must be"),
        ({"batch_size": True}, r"batch_size=True: must be"),
        ({"seed": -1}, r"seed=-1: must be a whole number, from 0 to 9223372036854775807"),
        ({"seed": 2**63}, r"seed=9223372036854775808: must be"),
        ({"sampler_size": 5}, r"sampler_size=5: only sampler_type=EPOCH and KEYED_EPOCH"),
        (
            {"sampler_size": 0, "sampler_type": SamplerType.EPOCH},
            r"sampler_size=0: only sampler_type=EPOCH and KEYED_EPOCH",
        ),
        ({"sampler_size": -2}, r"sampler_size=-2: must be"),
        ({"sampler_advance": -1}, r"sampler_advance=-1: must be"),
        (
            {"sampler_advance": 3, "sampler_type": None, "shuffle": False},
            r"sampler_advance=3: sampler_type=None has no use",
        ),
        ({"sampler_type": "EPOCH"}, r"sampler_type='EPOCH': must be SamplerType\.X .*DISTRIBUTED, EPOCH, INFINITE"),
        ({"rank": 30, "world_size": 40}, r"start is 30, but sample_count is 23: this rank would never get a sample"),
        ({"shuffle": 1}, r"shuffle.*1"),
        ({"num_workers": -2}, r"num_workers option should be non-negative"),
        ({"num_workers": 2.0}, r"num_workers=2\.0: must be a whole number, at least 0"),
        ({"num_workers": True}, r"num_workers=True: must be a whole number, at least 0"),
        ({"collate_fn": 5}, r"collate_fn=5: must be a function or None"),
        ({"drop_last": "no"}, r"drop_last should be a boolean value, but got drop_last=no"),
        ({"rank": "0", "world_size": 2}, r"rank='0', world_size=2: must be 0 <= rank < world_size"),
        ({"persistent_workers": True}, r"persistent_workers option needs num_workers > 0"),
        ({"dtype": torch.int8}, r"dtype=torch\.int8: must be torch\.float32"),
        ({"channels_last": 1}, r"channels_last=1: must be True or False"),
        ({"executor": "cuda"}, r"executor='cuda': must be one of 'auto', 'dali', 'host'"),
        ({"resize": "pil"}, r"resize='pil': must be one of 'torch', 'pillow'"),
        ({"resize": "pillow", "executor": "dali"}, r"resize='pillow': works in executor='host' alone"),
        ({"return_parameters": 1}, r"return_parameters=1: must be True or False"),
        ({"num_threads": 0}, r"num_threads=0: must be a whole number, from 1 to 1024"),
        ({"prefetch_batches": 0}, r"prefetch_batches=0: must be"),
        ({"rank": 2, "world_size": 2}, r"rank=2, world_size=2: must be 0 <= rank < world_size"),
        ({"rank": 1}, r"rank=1, world_size=None: give both or neither"),
        ({"device": "tpu"}, r"device='tpu': must be 'cpu', 'cuda'"),
        ({"timeout": "soon"}, r"timeout='soon': must be a number of seconds"),
        ({"transform": 5}, r"transform=5: must be a transform of dalikit\.transforms or torchvision, a function"),
        ({"transform": T.Compose([T.ToTensor(), T.Resize(8)])}, r"Resize\(size=8.*must come before ToTensor"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_named(make: Make, arguments: dict[str, Any], message: str) -> None:
    """At construction: what came and what is allowed."""
    with pytest.raises(ArgumentError, match=message):
        make(**arguments)


def test_an_unknown_keyword_is_a_type_error_that_lists_the_known(make: Make) -> None:
    """As for any function, and with what there is."""
    with pytest.raises(
        TypeError, match=r"unexpected keyword argument 'prefetch'; dalikit's own are channels_last, dev"
    ):
        make(prefetch=3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(make: Make) -> None:
    """device='cuda' without one says what there is and what to do."""
    with pytest.raises(DeviceError, match=r"device='cuda': this process sees 0 CUDA devices; give device='cpu'"):
        make(device="cuda")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shuffle": True, "sampler": SequentialSampler(23)}, r"sampler option is mutually exclusive with shuffle"),
        ({"sampler": SequentialSampler(7)}, r"sampler: made for 7 samples, the dataset has 23"),
        ({"shuffle": 1}, r"shuffle=1: must be True or False"),
        ({"batch_sampler": [[0]], "batch_size": 2}, r"batch_sampler option is mutually exclusive with batch_size"),
        ({"prefetch_factor": 2}, r"prefetch_factor option could only be specified in multiprocessing"),
        ({"multiprocessing_context": "fork"}, r"multiprocessing_context can only be used with multi-process loading"),
    ],
)
def test_arguments_of_the_plain_loader(dataset: ImageFolder, arguments: dict[str, Any], message: str) -> None:
    """Refused at construction, by name."""
    with pytest.raises(ArgumentError, match=message):
        DataLoader(dataset, device="cpu", **arguments)


def test_what_is_no_dataset_is_refused() -> None:
    """Naming the methods that one has."""
    with pytest.raises(ArgumentError, match=r"dataset=int: must have get_image_data.*or __getitem__\(index\), or be a"):
        DataLoader(5)
    opens = r"dataset is a \w+: must be a dataset; make_dataset\(dataset_str=\.\.\.\) opens one that is named by a text"
    for text in ("ImageFolder:root=/data", b"ImageFolder", Path("/data")):
        with pytest.raises(ArgumentError, match=opens):
            DataLoader(text, device="cpu")
    with pytest.raises(ArgumentError, match=opens):
        make_data_loader(dataset="ImageFolder:root=/data", batch_size=1, num_workers=0, device="cpu")
    with pytest.raises(ArgumentError, match=r"one that can only be iterated must be a torch IterableDataset"):
        DataLoader(iter([1, 2, 3]))


def test_missing_and_empty_datasets(tmp_path: Path) -> None:
    """A missing root, an empty folder, a folder without classes, an unknown name or key."""
    with pytest.raises(DatasetNotFoundError, match="nowhere"):
        make_dataset(dataset_str=f"ImageFolder:root={tmp_path}/nowhere")
    with pytest.raises(EmptyDatasetError):
        make_dataset(dataset_str=f"ImageFolder:root={tmp_path}")
    (tmp_path / "lonely.jpg").write_bytes(b"x")
    with pytest.raises(EmptyDatasetError, match="root/class"):
        make_dataset(dataset_str=f"ImageFolder:root={tmp_path}")
    with pytest.raises(ArgumentError, match="ImageFolder"):
        make_dataset(dataset_str=f"ImageFolde:root={tmp_path}")
    with pytest.raises(ArgumentError, match="rot"):
        make_dataset(dataset_str=f"ImageFolder:rot={tmp_path}")


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> Callable[[bytes | int | None], ImageFolder]:
    """The photographs with one of them replaced by other bytes, cut to a length, or deleted after it was listed."""

    def damage(content: bytes | int | None) -> ImageFolder:
        shutil.copytree(folder, tmp_path / "copy")
        dataset = ImageFolder(
            tmp_path / "copy", transform=T.Compose([T.RandomResizedCrop(32, scale=(0.9, 1.0)), T.ToTensor()])
        )
        victim = Path(dataset.samples[12][0])
        if content is None:
            victim.unlink()
        else:
            victim.write_bytes(victim.read_bytes()[:content] if isinstance(content, int) else content)
        return dataset

    return damage


PNG_CUT = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x40\x00\x00\x00\x40\x08\x02\x00\x00\x00\x25\x0b\xe6\x89"


@pytest.mark.parametrize("executor", ["host", "dali"])
@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (20_000, DecodeError, "truncated JPEG: 20000 bytes without an end-of-image marker"),
        (b"<html>not an image</html>" * 50, DecodeError, "not an image of a format that can be decoded"),
        (PNG_CUT, DecodeError, "cannot be decoded|not an image|broken or cut off"),
        (0, ReadError, "empty file"),
        (None, ReadError, "No such file"),
    ],
)
def test_a_bad_image_ends_the_iteration_and_is_named(
    damaged: Callable[[Any], ImageFolder], executor: str, content: Any, kind: type[SampleError], message: str
) -> None:
    """File, index and position; the batches before it come; the loader can be closed and used again."""
    dataset = damaged(content)
    loader = make_data_loader(
        dataset=dataset,
        batch_size=5,
        num_workers=0,
        shuffle=False,
        sampler_type=SamplerType.EPOCH,
        executor=executor,
        device="cpu",
    )
    batches = iter(loader)
    assert len(list(itertools.islice(batches, 2))) == 2
    with pytest.raises(kind, match=message) as caught:
        next(batches)
    place = caught.value.place
    assert (place.dataset, place.index, place.position) == ("ImageFolder", 12, 12)
    assert place.file == dataset.samples[12][0]
    assert f"index=12, position=12, key={dataset.get_key(12)}, file={place.file}" in str(caught.value)
    assert len(list(itertools.islice(loader, 2))) == 2
    loader.close()
    assert len(list(itertools.islice(loader, 2))) == 2
    loader.close()


def test_an_error_is_raised_once(damaged: Callable[[Any], ImageFolder]) -> None:
    """After it the iterator is at its end."""
    with make_data_loader(
        dataset=damaged(b"x" * 100), batch_size=23, num_workers=0, sampler_type=SamplerType.EPOCH, device="cpu"
    ) as loader:
        batches = iter(loader)
        with pytest.raises(DecodeError):
            next(batches)
        assert next(batches, None) is None


def test_a_crop_larger_than_an_image(make: Make) -> None:
    """RandomCrop says which image and what to do."""
    loader = make(transform=T.RandomCrop(5000), sampler_type=SamplerType.EPOCH, shuffle=False)
    with pytest.raises(
        TransformError, match=r"RandomCrop\(size=\(5000, 5000\)\).*pad_if_needed=True.*index=0"
    ) as caught:
        next(iter(loader))
    assert caught.value.place.stage == "transform"


class Broken:
    """A dataset of a third party with a fault of its own."""

    transform = None

    def __len__(self) -> int:
        return 4

    def get_image_data(self, index: int) -> bytes:
        raise KeyError(f"no record {index}")

    def get_target(self, index: int) -> int:
        return index


def test_a_datasets_own_error_keeps_its_type_and_gains_the_place() -> None:
    """So `except KeyError` works, and the traceback says where."""
    with DataLoader(Broken(), device="cpu") as loader, pytest.raises(KeyError, match="no record 0") as caught:
        next(iter(loader))
    assert caught.value.__notes__ == ["in Broken: index=0, position=0, stage=read"]


def test_targets_that_do_not_collate_raise_as_in_torch(make: Make, dataset: ImageFolder) -> None:
    """torch's own error reaches the user."""
    dataset.target_transform = lambda _: object()
    with pytest.raises(TypeError, match="default_collate"):
        next(iter(make()))


@pytest.mark.parametrize("where", ["get_target", "target_transform", "collate_fn"])
def test_stop_iteration_of_the_users_code_does_not_end_the_loop(folder: Path, where: str) -> None:
    """It becomes a RuntimeError (PEP 479): a loop that ends early without a word would lose data."""

    def stop(*_: Any) -> Any:
        raise StopIteration

    class Stopping(ImageFolder):
        def get_target(self, index: int) -> int:
            return int(stop()) if where == "get_target" else super().get_target(index)

    dataset = Stopping(
        folder, transform=T.CenterCrop(8), target_transform=stop if where == "target_transform" else None
    )
    collate = stop if where == "collate_fn" else None
    with (
        DataLoader(dataset, batch_size=5, device="cpu", collate_fn=collate) as loader,
        pytest.raises(RuntimeError, match="StopIteration"),
    ):
        list(loader)


def test_a_timeout_error_of_the_data_is_an_error_like_any_other(make: Make, dataset: ImageFolder) -> None:
    """Not a batch that is late; and the pass does not count as complete."""
    calls = itertools.count()

    def late(target: int) -> int:
        if next(calls) == 7:
            raise TimeoutError("storage timed out")
        return target

    dataset.target_transform = late
    loader = make(sampler_type=SamplerType.EPOCH)
    batches = iter(loader)
    assert len(next(batches)[0]) == 5
    with pytest.raises(TimeoutError, match="storage timed out") as caught:
        next(batches)
    assert "stage=target_transform" in caught.value.__notes__[0]
    assert next(batches, None) is None
    assert (loader.state_dict()["passes"], loader.state_dict()["place"]) == (0, 5)


def test_a_batch_that_does_not_collate_does_not_count(make: Make) -> None:
    """A run that is resumed gets it again."""

    def collate(_: list[Any]) -> list[Any]:
        raise KeyError("mine")

    loader = make(collate_fn=collate)
    with pytest.raises(KeyError, match="mine"):
        next(iter(loader))
    assert loader.state_dict()["place"] == 0


def test_a_subclass_with_bytes_of_its_own_is_asked_for_them(folder: Path) -> None:
    """`get_location` is read only where it is the class's last word."""

    class Swapped(ImageFolder):
        def get_image_data(self, index: int) -> bytes:
            return super().get_image_data(index - index)

    with DataLoader(Swapped(folder, transform=T.CenterCrop(16)), batch_size=5, device="cpu") as loader:
        images, _ = next(iter(loader))
    assert all(torch.equal(image, images[0]) for image in images)


def test_timeout(make: Make, dataset: ImageFolder) -> None:
    """A batch that does not come in time is an error; it may still come afterwards."""
    gate = threading.Event()

    def wait(target: int) -> int:
        gate.wait(30)
        return target

    dataset.target_transform = wait
    batches = iter(make(timeout=0.2))
    message = r"DataLoader timed out after 0\.2 seconds.*stage=target_transform.*\n(?s:.*)wait"
    with pytest.raises(LoaderTimeoutError, match=message):
        next(batches)
    gate.set()
    assert len(next(batches)[0]) == 5
