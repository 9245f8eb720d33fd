"""The device executor: the contract on DALI's CPU backend and on a GPU, and the shape of its graph."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from augmentation_contract import CASES, DINO, AugmentationContract, Bound
from executor_contract import TOLERANCES, ExecutorContract
from nvidia.dali.pipeline import Pipeline

import dalikit.transforms as T
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


def all_chains(transform: Any) -> list[Chain]:
    """What each pipeline of a recipe does."""
    recipe = compile_recipe(transform)
    return [first_chain(recipe), *(chain for _, chain in chains_of(recipe))]


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


def operators(transform: Any, device_id: int | None, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[Any]:
    """The operators of a recipe's graph, in order."""
    calls: list[tuple[str, dict[str, Any], str]] = []
    with monkeypatch.context() as patch:
        patch.setattr(build, "fn", Recorder(build.fn, calls))
        arguments = {"batch_size": 4, "num_threads": 2, "half": False, "channels_last": False} | options
        for chain in all_chains(transform):
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


def serialized(transform: Any, *, on_gpu: bool, half: bool = False) -> bytes:
    """All pipelines of a recipe."""
    graphs = []
    for chain in all_chains(transform):
        pipeline = Pipeline(batch_size=4, num_threads=2, device_id=None)
        with pipeline:
            pipeline.set_outputs(build.define_graph(chain, on_gpu=on_gpu, half=half, channels_last=half))
        graphs.append(bytes(pipeline.serialize()))
    return b"".join(graphs)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, cases in CASES.items() for name in cases])
def test_the_gpus_graph_of_every_transform_serializes_without_a_gpu(kind: str, name: str) -> None:
    """DALI checks every operator's arguments, and that CPU and GPU data meet only where they may."""
    graph = serialized(T.Compose([T.RandomResizedCrop(64), CASES[kind][name], *TAIL]), on_gpu=True)
    assert b"\x05mixed" in graph
    assert b"\x03gpu" in graph


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
