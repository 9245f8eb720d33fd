"""How fast, beside what one would use otherwise: peers, and a way to measure them fairly."""

from dalikit.bench.measure import Result, measure, table
from dalikit.bench.peers import Dalikit, DaliReader, Peer, TorchPillow, train_transform

__all__ = ["DaliReader", "Dalikit", "Peer", "Result", "TorchPillow", "measure", "table", "train_transform"]
