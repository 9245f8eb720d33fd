"""Which samples each batch holds: dalikit's samplers, torch-style ones, and iterable datasets."""

from dalikit.orders.base import Order, OrderState, Progress

__all__ = ["Order", "OrderState", "Progress"]
