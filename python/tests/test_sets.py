"""Gateways on sets of nodes and groups."""

from __future__ import annotations

import os
import sys

import execnet
import pytest
from conftest import WAIT, Network


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    hosts = ", ".join(f'"popen//id={host}//python={sys.executable}"' for host in ("web1", "web2", "db1"))
    name = f"sets-{os.getpid()}"
    (folder / "execnet").mkdir()
    (folder / "execnet" / f"{name}.toml").write_text(f'hosts = [{hosts}]\n[groups]\nweb = "web[1-2]"\n')
    network = Network(name, folder)
    yield name
    network("stop")


def test_one_node_of_a_set_is_taken_the_least_busy(name):
    with execnet.connect(name) as net:
        gateways = net.makegateways(4, node="web[1-2]")
        assert sorted(gateway.node.host for gateway in gateways) == ["web1", "web1", "web2", "web2"]
        assert net.makegateway(node="@web,!web1").node.host == "web2"
        assert net.makegateway(node="!@web").node.host == "db1"
        assert {node.name for node in net.nodes} == {"web1", "web2", "db1"}


def test_specs_name_sets(name, group):
    gateway = group.makegateway(f"net={name}//node=@web!web1")
    assert gateway.node.host == "web2"
    assert gateway.remote_exec("channel.send(1)").receive(WAIT) == 1


@pytest.mark.parametrize(
    "node, said",
    [
        ("web[1-5]", "there is no host or node `web\\[3-5\\]`"),
        ("@wbe", "there is no group `@wbe`; there are `@web`(?s:.*)did you mean `@web`"),
        ("web1!web1", "`web1!web1` stands for no node at all"),
    ],
)
def test_a_set_without_nodes_is_an_error(name, node, said):
    with execnet.connect(name) as net, pytest.raises(execnet.HostNotFound, match=said):
        net.makegateway(node=node)


def test_what_is_no_set_is_refused_before_anything_is_asked(name):
    with execnet.connect(name) as net:
        for node, said in [("web[1", "the bracket at `\\[1` is not closed"), ("web1 web2", "by commas, not")]:
            with pytest.raises(ValueError, match=said):
                net.makegateway(node=node)
