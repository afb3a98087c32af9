"""What a user may give as a cluster, and what can be sent to one."""

import pickle
import sys
import threading
from types import SimpleNamespace

import pytest

from l2l import clusters


class Client:
    def __init__(self, asynchronous):
        self.asynchronous = asynchronous


def test_a_client_an_address_or_nothing_is_a_cluster(monkeypatch):
    monkeypatch.setattr(clusters, "imported", lambda: SimpleNamespace(Client=Client))
    for client in [None, "tcp://localhost:8786", Client(asynchronous=False)]:
        clusters.check_client(client)
    for client in [3, SimpleNamespace(asynchronous=False), Client(asynchronous=True)]:
        with pytest.raises(
            TypeError, match=r"^client must be a distributed.Client that is not asynchronous, the addre"
        ):
            clusters.check_client(client)


def test_without_dask_an_address_is_no_error_yet(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    for client in [None, "tcp://localhost:8786"]:
        clusters.check_client(client)
    with pytest.raises(ImportError, match=r"^sweep and client= need Dask \(.*\): pip install l2l\[sweep\]$"):
        clusters.check_client(Client(asynchronous=False))


def test_functions_can_be_sent_and_locks_cannot():
    assert pickle.loads(clusters.pickled("cells", lambda x: x + 1))(2) == 3
    with pytest.raises(TypeError, match=r"^cells must be such that they can be sent to another process: "):
        clusters.pickled("cells", threading.Lock())
