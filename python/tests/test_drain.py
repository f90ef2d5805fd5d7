"""Gateways on a network of which hosts are drained."""

from __future__ import annotations

import os
import sys

import execnet
import pytest
from conftest import WAIT, Network


def test_a_drained_host_is_used_by_name_only(tmp_path):
    specs = [f"popen//id={name}//python={sys.executable}" for name in "ab"]
    network = Network(f"drain-{os.getpid()}", tmp_path, *specs)
    try:
        network("drain", "a")
        with execnet.connect(network.name) as net:
            assert {node.name: node.drained for node in net.nodes} == {"a": True, "b": False}
            gateways = net.makegateways(3)
            assert {gateway.node.host for gateway in gateways} == {"b"}
            named = net.makegateway(node="a")
            assert named.node.host == "a" and named.node.drained and not gateways[0].node.drained
            network("drain", "b")
            with pytest.raises(execnet.HostNotFound, match="that match are drained: a, b\n.*undrain"):
                net.makegateway()
            # what runs there goes on
            assert gateways[0].remote_exec("channel.send(1)").receive(WAIT) == 1
            network("undrain", "a", "b")
            net.makegateway()
    finally:
        network("stop")
