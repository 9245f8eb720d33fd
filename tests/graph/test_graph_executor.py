"""The device executor: the contract on DALI's CPU backend and on a GPU, and the shape of its graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from augmentation_contract import CASES, DINO, AugmentationContract, Bound
from decoded_contract import DecodedContract, flat
from encoded_images import photograph
from executor_bench import decoded_batch, draw, read_batch, run
from executor_contract import TOLERANCES, ExecutorContract
from nvidia.dali.pipeline import Pipeline
from PIL import Image
from pillow_reference import open_rgb

import dalikit.transforms as T
from dalikit.collate import bundle_images
from dalikit.errors import InternalError
from dalikit.graph import GraphExecutor, build
from dalikit.graph.chains import Chain, chains_of, first_chain
from dalikit.transforms.compiler import compile_recipe


class TestGraphExecutorOnTheCpu(ExecutorContract):
    tolerances = TOLERANCES["dali on cpu"]

    def make(self, recipe: Any, *, num_threads: int = 2, **options: Any) -> GraphExecutor:
        device = torch.device(self.device, 0) if self.device == "cuda" else torch.device("cpu")
        return GraphExecutor(recipe, batch_size=64, num_threads=num_threads, device=device, **options)


@pytest.mark.gpu
class TestGraphExecutorOnTheGpu(TestGraphExecutorOnTheCpu):
    tolerances = TOLERANCES["dali on cuda"]
    device = "cuda"


class TestGraphDecodedOnTheCpu(DecodedContract):
    def make(self, recipe: Any, *, decoded: bool = True, **options: Any) -> GraphExecutor:
        device = torch.device(self.device, 0) if self.device == "cuda" else torch.device("cpu")
        return GraphExecutor(recipe, batch_size=64, num_threads=2, device=device, decoded=decoded, **options)


@pytest.mark.gpu
class TestGraphDecodedOnTheGpu(TestGraphDecodedOnTheCpu):
    device = "cuda"


def all_chains(transform: Any, *, decoded: bool = False) -> list[Chain]:
    """What each pipeline of a recipe does."""
    recipe = compile_recipe(transform)
    return [first_chain(recipe, decoded=decoded), *(chain for _, chain in chains_of(recipe))]


class Recorder:
    """Stands before `nvidia.dali.fn` and writes down which operator is called, how, and where its output lies."""

    def __init__(self, module: Any, calls: list[tuple[str, dict[str, Any], str]], prefix: str = "") -> None:
        self._module = module
        self._calls = calls
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        thing = getattr(self._module, name)
        if not callable(thing):
            return Recorder(thing, self._calls, f"{name}.")

        def call(*inputs: Any, **arguments: Any) -> Any:
            output = thing(*inputs, **arguments)
            told = {key: f"<{value.device}>" if hasattr(value, "device") else value for key, value in arguments.items()}
            self._calls.append((self._prefix + name, told, output.device))
            return output

        return call


def operators(
    transform: Any, device_id: int | None, monkeypatch: pytest.MonkeyPatch, *, decoded: bool = False, **options: Any
) -> list[Any]:
    """The operators of a recipe's graph, in order."""
    calls: list[tuple[str, dict[str, Any], str]] = []
    with monkeypatch.context() as patch:
        patch.setattr(build, "fn", Recorder(build.fn, calls))
        arguments = {"batch_size": 4, "num_threads": 2, "half": False, "channels_last": False} | options
        for chain in all_chains(transform, decoded=decoded):
            build.build_pipeline(chain, device_id=device_id, **arguments)
    return calls


TRANSFORMS = [
    T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize((0.5,) * 3, (0.2,) * 3)]),
    T.Compose([T.Resize(256), T.CenterCrop(224), T.ToTensor()]),
    T.Compose([T.Decode(adjust_orientation=True), T.RandomCrop(64), T.RandomVerticalFlip(), T.RandomHorizontalFlip()]),
    None,
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=["train", "evaluate", "flips", "none"])
@pytest.mark.parametrize("options", [{}, {"half": True, "channels_last": True}], ids=["float32", "float16"])
def test_the_gpus_graph_is_the_cpus_but_for_the_devices(
    transform: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipeline for a GPU can be put together where there is none; so the CPU's tests speak for both graphs."""
    on_cpu = operators(transform, None, monkeypatch, **options)
    on_gpu = operators(transform, 0, monkeypatch, **options)
    assert [name for name, _, _ in on_gpu] == [name for name, _, _ in on_cpu]
    decoder = next(number for number, (name, _, _) in enumerate(on_cpu) if name.startswith("decoders."))
    for number, ((_, cpu, cpu_device), (name, gpu, gpu_device)) in enumerate(zip(on_cpu, on_gpu, strict=True)):
        assert cpu_device == "cpu"
        image = number >= decoder and name != "cast"
        assert gpu_device == ("gpu" if image else "cpu")
        if number == decoder:
            assert (cpu.pop("device"), gpu.pop("device")) == ("cpu", "mixed")
            assert gpu.pop("jpeg_fancy_upsampling") is True
        assert cpu == gpu


@pytest.mark.parametrize("transform", TRANSFORMS, ids=["train", "evaluate", "flips", "none"])
@pytest.mark.parametrize("half", [False, True])
def test_the_gpus_graph_serializes_without_a_gpu(transform: Any, half: bool) -> None:
    """DALI checks every operator's arguments against its schema then."""
    graphs = [serialized(transform, on_gpu=on_gpu, half=half) for on_gpu in (False, True)]
    # protobuf's strings begin with their length; a bare "gpu" stands in the names of the functions that are recorded
    assert [device for device in (b"\x05mixed", b"\x03gpu") if device in graphs[0]] == []
    assert [device for device in (b"\x05mixed", b"\x03gpu") if device in graphs[1]] == [b"\x05mixed", b"\x03gpu"]


def serialized(transform: Any, *, on_gpu: bool, half: bool = False, decoded: bool = False) -> bytes:
    """All pipelines of a recipe."""
    graphs = []
    for chain in all_chains(transform, decoded=decoded):
        pipeline = Pipeline(batch_size=4, num_threads=2, device_id=None)
        with pipeline:
            pipeline.set_outputs(build.define_graph(chain, on_gpu=on_gpu, half=half, channels_last=half))
        graphs.append(bytes(pipeline.serialize()))
    return b"".join(graphs)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, cases in CASES.items() for name in cases])
def test_the_gpus_graph_of_every_transform_serializes_without_a_gpu(kind: str, name: str) -> None:
    """DALI checks every operator's arguments, and that CPU and GPU data meet only where they may."""
    transform = T.Compose([T.RandomResizedCrop(64), CASES[kind][name], *TAIL])
    graph = serialized(transform, on_gpu=True)
    assert b"\x05mixed" in graph
    assert b"\x03gpu" in graph
    decoded = serialized(transform, on_gpu=True, decoded=True)
    assert b"\x05mixed" not in decoded
    assert b"\x03gpu" in decoded


TAIL = [T.ToTensor(), T.Normalize((0.5,) * 3, (0.2,) * 3), T.RandomErasing()]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "transform",
    [
        DINO,
        T.DataAugmentationDINO((0.32, 1.0), (0.05, 0.32), 8),
        T.Compose([T.RandomHorizontalFlip(), T.MultiCrop([T.Views("a", [T.RandomCrop(9), T.AugMix()])])]),
        T.Compose([T.RandomResizedCrop(224), T.RandAugment(), *TAIL, T.MixUp(num_classes=10)]),
    ],
    ids=["dino", "dino of ten", "views", "train"],
)
def test_the_gpus_graph_of_every_recipe_serializes_without_a_gpu(transform: T.Transform, half: bool) -> None:
    assert b"\x05mixed" not in serialized(transform, on_gpu=False, half=half)
    assert b"\x05mixed" in serialized(transform, on_gpu=True, half=half)
    decoded = [serialized(transform, on_gpu=on_gpu, half=half, decoded=True) for on_gpu in (False, True)]
    assert [b"\x03gpu" in graph for graph in decoded] == [False, True]


@pytest.mark.parametrize(
    ("transform", "on_the_cpu"),
    [
        (TRANSFORMS[0], ["external_source", "external_source", "slice"]),
        (TRANSFORMS[1], ["external_source", "external_source"]),
        (TRANSFORMS[2], ["external_source", "external_source", "slice"]),
        (T.RandomCrop(60, padding=4), ["external_source", "external_source"]),
        (None, ["external_source"]),
    ],
    ids=["train", "evaluate", "flips", "padding", "none"],
)
def test_decoded_images_are_brought_to_the_gpu_once_they_are_cropped(
    transform: Any, on_the_cpu: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else is done there; on the CPU the graph has the same operators."""
    calls = [call for call in operators(transform, 0, monkeypatch, decoded=True) if call[0] != "cast"]
    assert [name for name, _, device in calls if device == "cpu"] == on_the_cpu
    assert [device for _, _, device in calls] == ["cpu"] * len(on_the_cpu) + ["gpu"] * (len(calls) - len(on_the_cpu))
    names = [name for name, _, _ in operators(transform, None, monkeypatch, decoded=True) if name != "cast"]
    assert names == [name for name, _, _ in calls]
    assert not [name for name in names if name.startswith("decoders.")]


def test_decoded_images_go_to_the_gpu_once_for_all_views(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = operators(DINO, 0, monkeypatch, decoded=True)
    sources = [arguments for name, arguments, _ in calls if name == "external_source" and arguments["name"] == "data"]
    assert [source["device"] for source in sources] == ["cpu", "gpu", "gpu", "gpu"]
    assert all(source["no_copy"] for source in sources)


def test_an_executor_takes_the_kind_of_batch_that_it_was_made_for(photographs: list[Path]) -> None:
    decoded = decoded_batch([np.zeros((4, 5, 3), np.uint8)])
    for batch, other in ((read_batch(photographs[:1]), True), (decoded, False)):
        executor = make_on_cpu(compile_recipe(None), decoded=other)
        with pytest.raises(
            InternalError, match=rf"^a batch with decoded={not other} for an executor with decoded={other}"
        ):
            executor.submit(batch, draw(compile_recipe(None), batch))
        executor.close()


@pytest.mark.parametrize("transform", [T.RandomCrop(30), DINO], ids=["one view", "several"])
def test_a_batch_that_fails_though_its_images_are_good_names_its_indices(
    transform: T.Transform, photographs: list[Path], tmp_path: Path
) -> None:
    """One image is smaller than was said: crops lie outside."""
    images = [np.array(photograph(photographs[0])), np.zeros((20, 20, 3), np.uint8)]
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    for batch, known in (
        (decoded_batch(images), "decoded images"),
        (read_batch(paths), "images that can each be decoded alone"),
    ):
        size = batch.headers[0]._replace(stream=batch.headers[1].stream)
        batch.headers[1] = size
        batch.indices = np.array([1, 0])
        with pytest.raises(
            InternalError, match=rf"(?s)^DALI failed on a batch of {known}, indices \[1, 0\]: .*(out of|not valid)"
        ):
            run(make_on_cpu, transform, batch, decoded=batch.decoded)


@pytest.mark.parametrize("transform", [T.RandomResizedCrop(32), DINO], ids=["one view", "several"])
@pytest.mark.parametrize("decoded", [False, True])
def test_a_batch_larger_than_was_said_is_carried_out(
    transform: T.Transform, decoded: bool, photographs: list[Path]
) -> None:
    """With smaller ones under way before it, and after it."""
    recipe = compile_recipe(transform)
    executor = make_on_cpu(recipe, batch_size=2, decoded=decoded)
    counts = [2, 1, 5, 2, 12, 3]
    expected = []
    for count in counts:
        paths = photographs[:count]
        batch = decoded_batch([np.array(open_rgb(path)) for path in paths]) if decoded else read_batch(paths)
        executor.submit(batch, draw(recipe, batch))
        expected.append(run(make_on_cpu, transform, batch, decoded=decoded)[0])
    for wanted in expected:
        found = bundle_images(recipe, executor.result())
        assert all(torch.equal(one, other) for one, other in zip(flat(found), flat(wanted), strict=True))
    executor.drain()
    executor.close()


def make_on_cpu(recipe: Any, *, batch_size: int = 16, **options: Any) -> GraphExecutor:
    return GraphExecutor(recipe, batch_size=batch_size, num_threads=2, device=torch.device("cpu"), **options)


def test_the_imagenet_recipes_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leading crop is decoded alone, and the last flip costs no operator of its own."""
    names = [name for name, _, _ in operators(TRANSFORMS[0], 0, monkeypatch) if name != "cast"]
    assert names == [
        "external_source",
        "external_source",
        "decoders.image_slice",
        "resize",
        "crop_mirror_normalize",
    ]


def test_equal_views_are_samples_of_one_pipeline() -> None:
    """DINO's eight local crops cost the operators of one; the image is decoded once, by a pipeline of its own."""
    decoder, *views = all_chains(T.DataAugmentationDINO((0.32, 1.0), (0.05, 0.32), 8))
    assert decoder == Chain((), None, 0, T.Decode())
    assert [chain.num_columns for chain in views] == [19, 21, 19]
    assert all(chain.decode is None and chain.output is not None for chain in views)
    branches = chains_of(compile_recipe(T.DataAugmentationDINO((0.32, 1.0), (0.05, 0.32), 8)))
    assert [branch.num_views for branch, _ in branches] == [1, 1, 8]


def test_an_image_that_is_turned_is_decoded_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name, _, _ in operators(TRANSFORMS[2], 0, monkeypatch)]
    assert "decoders.image" in names
    assert "decoders.image_slice" not in names


def test_a_recipe_without_parameters_is_fed_bytes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name, _, _ in operators(None, None, monkeypatch)]
    assert names == ["external_source", "decoders.image", "crop_mirror_normalize"]


def test_the_graph_holds_no_random_operator_and_no_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    for transform in TRANSFORMS:
        for name, arguments, _ in operators(transform, None, monkeypatch):
            assert "random" not in name
            assert "seed" not in arguments


def test_inputs_are_fed_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [call for call in operators(TRANSFORMS[0], None, monkeypatch) if call[0] == "external_source"]
    assert [arguments["no_copy"] for _, arguments, _ in inputs] == [True, True]


@pytest.mark.gpu
class TestGraphAugmentationsOnTheGpu(AugmentationContract):
    # Guesses until a GPU has run them: its JPEG decoder and its resize differ by some levels to begin with.
    bounds: ClassVar[dict[str, Bound]] = {
        **dict.fromkeys(("colour", "hue", "levels", "equalize", "blur", "moved"), Bound(255, 2.0, 0.05)),
        **dict.fromkeys(("warp", "policy", "recipe"), Bound(255, 3.0, 0.1)),
    }
    device = "cuda"

    def make(self, recipe: Any, *, num_threads: int = 2, **options: Any) -> GraphExecutor:
        return GraphExecutor(recipe, batch_size=64, num_threads=num_threads, device=torch.device("cuda", 0), **options)


class TestGraphAugmentationsOnTheCpu(AugmentationContract):
    bounds: ClassVar[dict[str, Bound]] = {
        "colour": Bound(3, 0.05, 0.0),
        # Pillow's hue has 8 bits, the graph's is exact: half a step of it is 3 levels in a pure colour. Photographs of
        # ImageNet lie nearer (docs/transforms.md): these are few and vivid.
        "hue": Bound(20, 0.5, 0.01),
        "levels": Bound(0, 0.0, 0.0),
        "equalize": Bound(1, 0.3, 0.0),
        "blur": Bound(2, 0.1, 0.0),
        "warp": Bound(255, 0.3, 0.01),
        "moved": Bound(0, 0.0, 0.0),
        "policy": Bound(255, 1.0, 0.01),
        "recipe": Bound(60, 1.0, 0.002),
    }

    def make(self, recipe: Any, *, num_threads: int = 2, **options: Any) -> GraphExecutor:
        return GraphExecutor(recipe, batch_size=64, num_threads=num_threads, device=torch.device("cpu"), **options)
