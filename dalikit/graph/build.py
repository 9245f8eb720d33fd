"""What one pipeline does, as a DALI graph.

    encoded (uint8, one buffer a sample) --> decode --> crop --> resize --> flip --> crop_mirror_normalize --> images
    parameters (float32, a row a sample) -------/---------/---------/---------------/

Images that come decoded are cropped where they lie, in the CPU's memory, and brought to the GPU after that.

The graph holds no random operator and no state: what it does to a sample follows from the sample's row of the matrix.
The same function builds it for the GPU and for DALI's CPU backend; only device strings differ.
"""

from __future__ import annotations

from typing import Any

from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

from dalikit.graph.chains import Chain
from dalikit.graph.columns import GraphColumns
from dalikit.graph.filters import erase
from dalikit.graph.operate import operate
from dalikit.transforms.conversion import Decode
from dalikit.transforms.operations import Crop, Flip, InterpolationMode, Operation, Output, Resize

__all__ = ["DATA", "PARAMETERS", "build_pipeline", "define_graph"]

DATA = "data"
"""The input of encoded bytes, or of images."""
PARAMETERS = "parameters"

_INTERPOLATIONS = {
    InterpolationMode.NEAREST: types.INTERP_NN,
    InterpolationMode.BILINEAR: types.INTERP_LINEAR,
    InterpolationMode.BICUBIC: types.INTERP_CUBIC,
}


def build_pipeline(
    chain: Chain,
    *,
    batch_size: int,
    num_threads: int,
    device_id: int | None,
    half: bool = False,
    channels_last: bool = False,
) -> Pipeline:
    """The pipeline that carries out a chain; not yet built, so no GPU need be there.

    Args:
        chain: what is done.
        batch_size: the largest batch.
        num_threads: DALI's CPU threads.
        device_id: the GPU, or None: DALI's CPU backend.
        half: float16 instead of float32 (DALI has no bfloat16).
        channels_last: output (H, W, 3) instead of (3, H, W).
    """
    pipeline = Pipeline(
        batch_size=batch_size,
        num_threads=num_threads,
        device_id=device_id,
        prefetch_queue_depth=1,  # schedule_run() then stands for exactly one batch; the engine bounds the run-ahead
        exec_dynamic=True,  # outputs are torch's to keep, and a bad batch does not end the pipeline
    )
    with pipeline:
        on_gpu = device_id is not None
        pipeline.set_outputs(define_graph(chain, on_gpu=on_gpu, half=half, channels_last=channels_last))
    return pipeline


def define_graph(chain: Chain, *, on_gpu: bool, half: bool = False, channels_last: bool = False) -> Any:
    """Emits the graph into the pipeline whose `with` block is open.

    Apart from `build_pipeline`, because DALI wants a driver for a pipeline that has a GPU, but none for putting GPU
    operators into one that has none and serializing it: so wrong arguments show on any machine.

    Returns:
        The DataNode of the images.
    """
    parameters = None
    if chain.reads_parameters:
        parameters = fn.external_source(name=PARAMETERS, dtype=types.FLOAT, ndim=1, no_copy=True)
    graph = _Graph(GraphColumns(chain.operations, chain.num_columns), half=half, channels_last=channels_last)
    operations = chain.operations
    if chain.decode is None:
        device = "gpu" if on_gpu and not chain.uploads else "cpu"
        image = fn.external_source(name=DATA, device=device, dtype=types.UINT8, ndim=3, layout="HWC", no_copy=True)
        image, done = _upload(operations, image, parameters) if on_gpu and chain.uploads else (image, 0)
    else:
        encoded = fn.external_source(name=DATA, dtype=types.UINT8, ndim=1, no_copy=True)
        image, done = _decode(chain.decode, operations, encoded, parameters, on_gpu=on_gpu)
    operations = operations[done:]
    if chain.output is None:
        return graph.carry_out(operations, image, parameters)
    return graph.finish(operations, chain.output, image, parameters)


def _decode(
    decode: Decode, operations: tuple[Operation, ...], encoded: Any, parameters: Any, *, on_gpu: bool
) -> tuple[Any, int]:
    """The decoded image, or the box of a leading crop alone; and how many operations that does."""
    decoder = {
        "device": "mixed" if on_gpu else "cpu",
        "output_type": types.RGB,
        "adjust_orientation": decode.adjust_orientation,
    }
    if on_gpu:
        decoder["jpeg_fancy_upsampling"] = True  # as libjpeg does on the CPU: the same chroma
    first = operations[0] if operations else None
    if isinstance(first, Crop) and first.fill is None and not decode.adjust_orientation:
        return fn.decoders.image_slice(encoded, **_box(first, parameters), **decoder), 1
    return fn.decoders.image(encoded, **decoder), 0


def _upload(operations: tuple[Operation, ...], image: Any, parameters: Any) -> tuple[Any, int]:
    """The image in the GPU's memory, or the box of a leading crop alone; and how many operations that does."""
    first = operations[0] if operations else None
    if isinstance(first, Crop) and first.fill is None:
        return _crop(first, image, parameters).gpu(), 1
    return image.gpu(), 0


class _Graph:
    """Emits DALI operators for the operations of one recipe."""

    def __init__(self, columns: GraphColumns, *, half: bool, channels_last: bool) -> None:
        self._columns = columns
        self._half = half
        self._channels_last = channels_last

    def carry_out(self, operations: tuple[Operation, ...], image: Any, parameters: Any) -> Any:
        """The image after some operations. Within a branch `parameters` are those of its samples."""
        for operation in operations:
            if isinstance(operation, Crop):
                image = _crop(operation, image, parameters)
            elif isinstance(operation, Resize):
                image = _resize(operation, image, parameters)
            elif isinstance(operation, Flip):
                image = _flip(operation, image, parameters)
            else:
                image = operate(operation, image, parameters, self._columns, self.carry_out)
        return image

    def finish(self, operations: tuple[Operation, ...], output: Output, image: Any, parameters: Any) -> Any:
        """A view in its type and layout. A horizontal flip at the end is done in passing."""
        mirror: Any = 0
        if operations and isinstance(last := operations[-1], Flip) and last.horizontal:
            operations, mirror = operations[:-1], _integers(parameters, last.column)
        mean, std = _mean_and_std(output)
        image = fn.crop_mirror_normalize(
            self.carry_out(operations, image, parameters),
            mirror=mirror,
            mean=mean,
            std=std,
            dtype=(types.FLOAT16 if self._half else types.FLOAT) if output.floating else types.UINT8,
            output_layout="HWC" if self._channels_last else "CHW",
        )
        for operation in output.erase:
            image = erase(operation, image, parameters)
        return image


def _crop(operation: Crop, image: Any, parameters: Any) -> Any:
    box = _box(operation, parameters)
    if operation.fill is None:
        return fn.slice(image, **box)
    return fn.slice(image, **box, out_of_bounds_policy="pad", fill_values=list(operation.fill))


def _resize(operation: Resize, image: Any, parameters: Any) -> Any:
    return fn.resize(
        image,
        size=parameters[operation.column : operation.column + 2],
        interp_type=_INTERPOLATIONS[operation.interpolation],
        antialias=operation.antialias,
        dtype=types.UINT8,
    )


def _flip(operation: Flip, image: Any, parameters: Any) -> Any:
    side = "horizontal" if operation.horizontal else "vertical"
    return fn.flip(image, **{"horizontal": 0, "vertical": 0, side: _integers(parameters, operation.column)})


def _box(operation: Crop, parameters: Any) -> dict[str, Any]:
    """The arguments `start` and `shape` of a crop, in pixels."""
    return {
        "start": _integers(parameters, operation.column, 2),
        "shape": _integers(parameters, operation.column + 2, 2),
        "axes": [0, 1],
    }


def _integers(parameters: Any, column: int, count: int | None = None) -> Any:
    """One column as a scalar, or `count` of them as a vector."""
    return fn.cast(parameters[column] if count is None else parameters[column : column + count], dtype=types.INT32)


def _mean_and_std(output: Output) -> tuple[list[float], list[float]]:
    """`value * scale + shift` as `(value - mean) / std`."""
    if output.scale is None or output.shift is None:
        return [0.0] * 3, [1.0] * 3
    std = [1.0 / scale for scale in output.scale]
    return [-shift * deviation for shift, deviation in zip(output.shift, std, strict=True)], std
