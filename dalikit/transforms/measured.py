"""Placeholder."""

from __future__ import annotations

__all__ = ["MEASURED"]

MEASURED: dict[str, dict[str, tuple[float, float] | None]] = {}
