"""Work for the samples that drew it alone: the batch is split, one part is worked on, and the parts are merged.

    image ------> split --chosen--> operations --> merge --> image
    parameters -> split --chosen------/             /
                  others --------------------------/

`fn._conditional.split` and `merge` are what DALI's public form puts into a graph: `if mask:` in a function under
`@pipeline_def(enable_conditionals=True)`. That form was measured and left aside: AutoGraph has to rewrite from its
source every function between the pipeline and the `if`, which is all that emits operators here, and the graph of ten
views is then defined about three times as slowly. What the public form does besides is to split for a branch all that
it uses; here these are the image and the parameters alone. So no operator without an input may stand in a branch: it
would give values for the whole batch.

Neither copies a sample, and operators on an empty part are passed over: about 3 us each.
"""

from __future__ import annotations

from collections.abc import Callable

from nvidia.dali import fn
from nvidia.dali.data_node import DataNode

from dalikit.graph.arithmetic import CUT, from_float, scaled
from dalikit.transforms.operations import Mixture, Operation, Select

__all__ = ["CarryOut", "exchange", "mixture", "select", "where"]

CarryOut = Callable[[tuple[Operation, ...], DataNode, DataNode], DataNode]
"""(operations, image, parameters) -> image: emits the operators of some operations, one after another."""


def where(
    mask: DataNode, emit: Callable[[DataNode, DataNode], DataNode], image: DataNode, parameters: DataNode
) -> DataNode:
    """What `emit` makes of the samples that have the mask; the others as they are.

    Args:
        mask: a boolean scalar, on the CPU.
        emit: (image, parameters) -> image, of the same type and layout; no operator in it may lack inputs.
        image: on either device.
        parameters: the vector of parameters, on the CPU.
    """
    conditional = fn._conditional  # type: ignore[attr-defined]  # not in DALI's stubs
    chosen, others = conditional.split(image, predicate=mask)
    chosen_parameters, _ = conditional.split(parameters, predicate=mask)
    return conditional.merge(emit(chosen, chosen_parameters), others, predicate=mask)


def exchange(mask: DataNode, one: DataNode, other: DataNode) -> tuple[DataNode, DataNode]:
    """(one, other), or (other, one) for the samples that have the mask."""
    conditional = fn._conditional  # type: ignore[attr-defined]  # not in DALI's stubs
    parts = [conditional.split(node, predicate=mask) for node in (one, other)]
    first, second = (conditional.merge(parts[1 - number][0], parts[number][1], predicate=mask) for number in (0, 1))
    return first, second


def select(operation: Select, image: DataNode, parameters: DataNode, carry_out: CarryOut) -> DataNode:
    """Each sample through the operations of its case."""
    cases = [(float(number), case) for number, case in enumerate(operation.cases) if case]
    drawn = parameters[operation.column] if cases else None
    for number, case in cases:
        image = where(drawn == number, _branch(carry_out, case), image, parameters)
    return image


def mixture(operation: Mixture, image: DataNode, parameters: DataNode, carry_out: CarryOut) -> DataNode:
    """The weighted sum of the image and of what each branch makes of it."""
    total = scaled(image, parameters[operation.column], CUT)
    for number, branch in enumerate(operation.branches, start=1):
        made = carry_out(branch, image, parameters)
        total = total + scaled(made, parameters[operation.column + number])
    return from_float(total)


def _branch(carry_out: CarryOut, case: tuple[Operation, ...]) -> Callable[[DataNode, DataNode], DataNode]:
    return lambda image, parameters: carry_out(case, image, parameters)
