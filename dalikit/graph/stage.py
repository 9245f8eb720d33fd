"""One pipeline at work: fed, scheduled, and its outputs taken, oldest first."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dalikit.graph.build import DATA, PARAMETERS, build_pipeline
from dalikit.graph.chains import Chain
from dalikit.graph.columns import GraphColumns

__all__ = ["Stage"]


class Stage:
    """A pipeline that carries out a chain. Driven by one thread at a time.

    Args:
        chain: what is done.
        arguments: of `build_pipeline`.
    """

    def __init__(self, chain: Chain, **arguments: Any) -> None:
        self.num_columns = chain.num_columns
        self._reads_parameters = chain.reads_parameters
        self._columns = GraphColumns(chain.operations, chain.num_columns)
        self._pipeline: Any = build_pipeline(chain, **arguments)
        self._pipeline.build()
        self.under_way = 0
        """Batches that were fed and not yet taken."""

    def feed(self, data: Any, matrix: npt.NDArray[np.float32]) -> None:
        """Feeds and schedules a batch; returns at once. DALI holds on to the data without a copy.

        Args:
            data: a TensorList of encoded bytes or images.
            matrix: float32 (B, num_columns), contiguous or not.
        """
        self._pipeline.feed_input(DATA, data)
        if self._reads_parameters:
            self._pipeline.feed_input(PARAMETERS, np.ascontiguousarray(self._columns.extend(matrix)))
        self._pipeline.schedule_run()
        self.under_way += 1

    def take(self) -> Any:
        """Waits for the oldest batch, and on a GPU until it is finished there: a TensorList.

        Raises:
            RuntimeError: DALI failed on one of its samples.
        """
        self.under_way -= 1
        (images,) = self._pipeline.outputs()
        return images
