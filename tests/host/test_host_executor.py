"""The host executor: the contract, and its threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from augmentation_contract import AugmentationContract, Bound
from decoded_contract import DecodedContract
from executor_bench import decoded_batch, draw, read_batch, run
from executor_contract import TOLERANCES, ExecutorContract, Tolerance
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pillow_reference import open_rgb, to_tensor

import dalikit.transforms as T
from dalikit.codec import CpuDecoder
from dalikit.host import HostExecutor
from dalikit.host.kernels import resize
from dalikit.threads import use_one_thread
from dalikit.transforms.compiler import compile_recipe
from dalikit.workers import Job, WorkerPool

TESTS = str(Path(__file__).parent.parent)


class TestHostExecutor(ExecutorContract):
    tolerances = TOLERANCES["host"]

    def make(self, recipe: Any, *, num_threads: int = 2, **options: Any) -> HostExecutor:
        return HostExecutor(recipe, num_threads=num_threads, **options)


def threads_of_torch() -> tuple[int, int]:
    """torch's number of threads, in this thread and in one that is born now."""
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return torch.get_num_threads(), seen[0]


def make(recipe: Any, **options: Any) -> HostExecutor:
    return HostExecutor(recipe, num_threads=2, **options)


@pytest.fixture
def three_torch_threads() -> Any:
    """A setting that no machine has by itself; put back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_torch_threads")
def test_the_process_keeps_its_number_of_torch_threads(photographs: list[Path]) -> None:
    assert threads_of_torch() == (3, 3)
    run(make, T.Compose([T.Resize(300), T.ToTensor()]), photographs)
    assert threads_of_torch() == (3, 3)


@pytest.mark.usefixtures("three_torch_threads")
def test_a_thread_that_asks_for_it_runs_torch_alone() -> None:
    seen: list[int] = []
    pool = WorkerPool(2, "test-pool", use_one_thread)
    job = Job(8, lambda *_: seen.append(torch.get_num_threads()))
    pool.submit(job)
    job.wait()
    pool.close()
    assert seen == [1] * 8
    assert threads_of_torch() == (3, 3)


def test_threads_bear_the_executors_name() -> None:
    executor = make(compile_recipe(None))
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("dalikit-")]
    executor.close()
    assert sorted(names) == ["dalikit-host-0", "dalikit-host-1"]


@pytest.mark.parametrize(
    ("transform", "regions"),
    [
        (T.RandomResizedCrop(32, scale=(0.1, 0.3)), True),
        (T.RandomCrop(50, padding=20), None),
        (T.CenterCrop(60), True),
        (T.CenterCrop(650), False),
        (T.Resize(60), False),
        (T.Compose([T.RandomHorizontalFlip(), T.CenterCrop(60)]), False),
        (T.Compose([T.Decode(adjust_orientation=True), T.CenterCrop(60)]), False),
    ],
    ids=str,
)
def test_only_the_box_of_a_leading_crop_is_decoded(
    transform: T.Transform, regions: bool | None, photographs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it lies within the image: None stands for some of both."""
    asked: list[bool] = []
    decode = CpuDecoder.decode

    def record(self: CpuDecoder, stream: Any, region: Any = None) -> Any:
        asked.append(region is not None)
        return decode(self, stream, region)

    monkeypatch.setattr(CpuDecoder, "decode", record)
    run(make, transform, photographs)
    assert len(asked) == len(photographs)
    assert set(asked) == ({True, False} if regions is None else {regions})


def test_the_memory_of_a_dropped_batch_is_used_again(photographs: list[Path]) -> None:
    recipe = compile_recipe(T.Compose([T.RandomResizedCrop(32), T.ToTensor()]))
    executor = make(recipe, max_idle_outputs=1)
    batch = read_batch(photographs)
    places = []
    for _ in range(6):
        executor.submit(batch, draw(recipe, batch))
        places.append(executor.result()[0].data_ptr())
    executor.close()
    assert len(set(places)) <= 2  # a thread may still hold the job that was finished last


def test_a_box_of_the_whole_image_is_decoded_as_a_whole(photographs: list[Path]) -> None:
    image = open_rgb(photographs[0])
    (out,), _ = run(make, T.CenterCrop(image.size[::-1]), photographs[:1])
    assert torch.equal(out, to_tensor(image))


EXACT = Bound(0, 0.0, 0.0)


class TestHostExecutorResizingByPillow(ExecutorContract):
    tolerances: ClassVar[dict[str, Tolerance]] = {
        **dict.fromkeys(("moved", "nearest", "bilinear", "bicubic"), Tolerance(0, 0.0)),
        **{name: TOLERANCES["host"][name] for name in ("bilinear plain", "bicubic plain")},
    }

    def make(self, recipe: Any, *, num_threads: int = 2, **options: Any) -> HostExecutor:
        return HostExecutor(recipe, num_threads=num_threads, resize="pillow", **options)


class TestHostAugmentations(AugmentationContract):
    bounds: ClassVar[dict[str, Bound]] = {
        **dict.fromkeys(("colour", "hue", "levels", "equalize", "warp", "moved", "policy"), EXACT),
        "blur": Bound(1, 0.02, 0.0),  # torchvision's sum in another order, rounded
        "recipe": Bound(24, 0.1, 0.001),  # those of the resize, then of the blur
    }

    def make(self, recipe: Any, *, num_threads: int = 2, **options: Any) -> HostExecutor:
        return HostExecutor(recipe, num_threads=num_threads, **options)


class TestHostDecoded(DecodedContract):
    def make(self, recipe: Any, *, decoded: bool = True, **options: Any) -> HostExecutor:
        del decoded  # the same executor takes both
        return make(recipe, **options)


class TestHostDecodedResizingByPillow(TestHostDecoded):
    def make(self, recipe: Any, *, decoded: bool = True, **options: Any) -> HostExecutor:
        return super().make(recipe, decoded=decoded, resize="pillow", **options)


def test_one_executor_takes_encoded_and_decoded_batches(photographs: list[Path]) -> None:
    recipe = compile_recipe(T.Compose([T.RandomResizedCrop(32), T.ToTensor()]))
    encoded = read_batch(photographs[:4])
    decoded = decoded_batch([np.array(open_rgb(path)) for path in photographs[:4]])
    executor = make(recipe)
    for batch in (encoded, decoded, encoded):
        executor.submit(batch, draw(recipe, batch))
    results = [executor.result()[0] for _ in range(3)]
    executor.close()
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[0], results[1])


def test_decoded_images_need_no_decoder() -> None:
    """nvImageCodec takes its time to load."""
    script = (
        "import sys\n"
        "import numpy as np\n"
        "from executor_bench import decoded_batch, run\n"
        "from dalikit.host import HostExecutor\n"
        "images, _ = run(HostExecutor, None, decoded_batch([np.zeros((4, 5, 3), np.uint8)]), num_threads=1)\n"
        "assert images.shape == (1, 3, 4, 5)\n"
        "assert not [name for name in sys.modules if name.startswith('nvidia')]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, env={**os.environ, "PYTHONPATH": TESTS})


@given(st.integers(1, 3000), st.integers(1, 700))
def test_nearest_takes_pillows_pixel_even_where_two_are_equally_near(old: int, new: int) -> None:
    row = np.arange(old, dtype=np.int32)[None]
    expected = np.array(Image.fromarray(row).resize((new, 1), Image.Resampling.NEAREST))[0]
    levels = torch.from_numpy(np.stack([row // 256, row % 256, row * 0], axis=2).astype(np.uint8)).permute(2, 0, 1)
    high, low, _ = resize(levels, 1, new, T.InterpolationMode.NEAREST, True)[:, 0].int()
    assert (high * 256 + low).tolist() == expected.tolist()
