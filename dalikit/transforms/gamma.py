"""Gamma, Beta and Dirichlet numbers from counter words: the weights of MixUp, CutMix and AugMix.

Source: G. Marsaglia, W. W. Tsang, "A Simple Method for Generating Gamma Variables", ACM TOMS 26, 2000. All is done in
logarithms, so that small shapes, whose numbers underflow, still give weights that sum to 1.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from dalikit.transforms.draws import Draws, Words

__all__ = ["beta", "log_gamma", "shares"]

Numbers = npt.NDArray[np.float64]


def beta(draws: Draws, a: float, b: float, block: int = 0) -> Numbers:
    """float64 (R,) in [0, 1]: one Beta(a, b) number a row.

    Args:
        draws: the random words, R rows.
        a: first shape, above 0.
        b: second shape, above 0.
        block: first block that it may use; it uses two or more from there on, without an end.
    """
    logs = log_gamma(draws, a, block, 2), log_gamma(draws, b, block + 1, 2)
    return shares(np.stack(logs, axis=1))[:, 0]


def shares(logs: Numbers) -> Numbers:
    """float64 (R, n): each number's share of its row's sum, from logarithms; of Gamma numbers a Dirichlet draw."""
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def log_gamma(draws: Draws, shape: float, block: int = 0, stride: int = 1) -> Numbers:
    """float64 (R,): the logarithm of one Gamma(shape) number of scale 1 a row.

    Args:
        draws: the random words, R rows.
        shape: above 0.
        block: the block of the first attempt; nine in ten rows and more need only one.
        stride: from one attempt's block to the next one's.
    """
    logs = np.empty(len(draws), dtype=np.float64)
    left_over = np.arange(len(draws))
    while len(left_over):
        words = draws.of(left_over).words(block)
        values, accepted = _attempt(words, shape)
        logs[left_over[accepted]] = values[accepted]
        left_over = left_over[~accepted]
        block += stride
    return logs


def _attempt(words: Words, shape: float) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """Logarithms of candidates, and which are accepted. Words: two of the normal number, acceptance, boost."""
    boosted = shape < 1.0  # the method needs a shape of 1 or more: Gamma(k) is Gamma(k + 1) times U ** (1 / k)
    d = (shape + 1.0 if boosted else shape) - 1.0 / 3.0
    u = _open_uniform(words)
    normal = np.sqrt(-2.0 * np.log(u[:, 0])) * np.cos(2.0 * math.pi * u[:, 1])  # Box and Muller
    root = 1.0 + normal / math.sqrt(9.0 * d)
    positive = root > 0.0
    log_v = 3.0 * np.log(np.where(positive, root, 1.0))
    bound = 0.5 * normal**2 + d * (1.0 - np.exp(log_v) + log_v)
    logs = math.log(d) + log_v
    if boosted:
        logs += np.log(u[:, 3]) / shape
    return logs, positive & (np.log(u[:, 2]) < bound)


def _open_uniform(words: Words) -> Numbers:
    """In (0, 1): never 0, whose logarithm is none."""
    return (words.astype(np.float64) + 0.5) * 2.0**-32
