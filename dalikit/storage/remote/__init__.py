"""Objects in S3, Google Cloud Storage, Azure and behind http(s), read by obstore, imported at the first use."""

from dalikit.storage.remote.reading import read_remote
from dalikit.storage.remote.stores import check_remote_support, forget_stores, remote_was_used
from dalikit.storage.remote.whole import list_remote, stat_remote, stream_remote

__all__ = [
    "check_remote_support",
    "forget_stores",
    "list_remote",
    "read_remote",
    "remote_was_used",
    "stat_remote",
    "stream_remote",
]
