"""Which samples each batch holds: dalikit's samplers, torch-style ones, and iterable datasets."""

from dalikit.orders.base import Order, OrderState, Progress
from dalikit.orders.choice import choose_order
from dalikit.orders.foreign import ForeignOrder
from dalikit.orders.iterable import IterableOrder
from dalikit.orders.own import OwnOrder
from dalikit.orders.sampler import SamplerOrder
from dalikit.orders.user_drawn import UserDrawn

__all__ = [
    "ForeignOrder",
    "IterableOrder",
    "Order",
    "OrderState",
    "OwnOrder",
    "Progress",
    "SamplerOrder",
    "UserDrawn",
    "choose_order",
]
