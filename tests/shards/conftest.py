"""What tests of shards share."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dalikit.shards import ShardIndex
from dalikit.shards import versions as versions_module
from dalikit.storage import ObjectInfo


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which shards were walked over in this process."""
    calls: list[str] = []
    whole = versions_module.index_shard

    def noted(version: ObjectInfo, **options: Any) -> ShardIndex:
        calls.append(os.path.basename(version.uri))
        return whole(version, **options)

    monkeypatch.setattr(versions_module, "index_shard", noted)
    return calls
