"""How fast, beside what one would use otherwise: peers, and a way to measure them fairly."""

from dalikit.bench.measure import Result, measure, table
from dalikit.bench.peers import Dalikit, DaliReader, Peer, TorchPillow, train_transform
from dalikit.bench.plain import Augmented, DalikitItems, Decoded, Encoded, Tensors, TorchItems, Vectors

__all__ = [
    "Augmented",
    "DaliReader",
    "Dalikit",
    "DalikitItems",
    "Decoded",
    "Encoded",
    "Peer",
    "Result",
    "Tensors",
    "TorchItems",
    "TorchPillow",
    "Vectors",
    "measure",
    "table",
    "train_transform",
]
