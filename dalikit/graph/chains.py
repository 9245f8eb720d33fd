"""A recipe as what pipelines do.

One view a sample: one pipeline, from the encoded bytes to the output.

Several views (multi-crop): a pipeline that decodes, and behind it one for each family of views, to which a *sample is a
view*. Eight local crops of 64 images are a batch of 512: each of DALI's operators is then called once for all of them,
and on so many that its threads do not wait for each other. Written as ten chains in one graph the same work took 1.6
times as long on two CPU threads (2,000 operators, each on 64 samples at most); and the output would have to be put
together, which comes crop-major out of this.

    encoded --> decode --> image --+--> (each image once)        global crop 1
                                   +--> (each image once)        global crop 2
                                   +--> (each image 8 times)     local crops

Images that come decoded take the same way, but for the decoder: the first pipeline brings them to the GPU, once for all
views. On a CPU it may have nothing to do but copy them, which takes less than a hundredth of the views' time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dalikit.transforms.conversion import Decode
from dalikit.transforms.operations import Operation, Output, Select
from dalikit.transforms.recipe import Branch, Recipe, View

__all__ = ["Chain", "chains_of", "first_chain"]


@dataclass(frozen=True)
class Chain:
    """What one pipeline does to each of its samples."""

    operations: tuple[Operation, ...]
    output: Output | None
    """None: images (H, W, 3), uint8, for other pipelines."""
    num_columns: int
    """P, of the parameters that the operations read."""
    decode: Decode | None
    """How encoded bytes become an image; None: it is fed images."""
    uploads: bool = False
    """Whether the images that it is fed lie in the CPU's memory, whatever its own device is."""

    @property
    def reads_parameters(self) -> bool:
        """Whether anything does: a recipe may draw what nobody reads, and DALI drops an input that leads nowhere."""
        return bool(self.output is not None and self.output.erase) or any(
            any(operation.cases) if isinstance(operation, Select) else hasattr(operation, "column")
            for operation in self.operations
        )


def first_chain(recipe: Recipe, *, decoded: bool = False) -> Chain:
    """What the pipeline does that batches are fed to: encoded ones, or decoded ones."""
    decode = None if decoded else recipe.decode
    if recipe.single:
        view = recipe.groups[0].views[0]
        return Chain(view.operations, view.output, recipe.num_columns, decode, uploads=decoded)
    columns = recipe.trunk.family.num_columns if recipe.trunk is not None else 0
    return Chain(recipe.shared, None, columns, decode, uploads=decoded)


def chains_of(recipe: Recipe) -> list[tuple[Branch, Chain]]:
    """What the pipelines behind it do, one for each branch of a recipe with several views."""
    if recipe.single:
        return []
    views = [view for group in recipe.groups for view in group.views]
    return [(branch, _of_branch(branch, views[branch.first_view])) for branch in recipe.branches]


def _of_branch(branch: Branch, view: View) -> Chain:
    """With the branch's own columns, which begin at 0."""
    erase = tuple(replace(each, column=each.column - branch.start) for each in view.output.erase)
    return Chain(branch.family.operations(0), replace(view.output, erase=erase), branch.family.num_columns, None)
