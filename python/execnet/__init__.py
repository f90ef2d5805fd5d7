"""Start Python interpreters here and on other hosts, run code in them, and talk to it over channels.

import execnet

with execnet.makegateway("popen//python=python3.8") as gateway:
    channel = gateway.remote_exec("channel.send(channel.receive() + 1)")
    channel.send(41)
    assert channel.receive() == 42

with execnet.connect("mynet") as mynet:
    gateway = mynet.makegateway(platform="java")

PYTEST_DONT_REWRITE: workers of pytest-xdist import this package before pytest finds the plugin that comes
with it; pytest would warn.
"""

from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version

from ._native import VERSION as __version__
from ._native import Transfer
from .gateway import Gateway
from .gateway_base import (
    Channel,
    DataFormatError,
    DumpError,
    GatewayDied,
    LoadError,
    RemoteError,
    TimeoutError,
    dump,
    dumps,
    load,
    loads,
)
from .gateway_bootstrap import HostNotFound
from .multi import Group, MultiChannel, default_group, makegateway, set_execmodel
from .network import Network, Node, connect
from .rsync import RSync
from .xspec import XSpec

__all__ = [
    "Channel",
    "DataFormatError",
    "DumpError",
    "Gateway",
    "GatewayDied",
    "Group",
    "HostNotFound",
    "LoadError",
    "MultiChannel",
    "Network",
    "Node",
    "RSync",
    "RemoteError",
    "TimeoutError",
    "Transfer",
    "XSpec",
    "__version__",
    "connect",
    "default_group",
    "dump",
    "dumps",
    "load",
    "loads",
    "makegateway",
    "set_execmodel",
]


def _check_installation() -> None:
    """Refuse an installation of two versions of execnet, one over the other."""
    try:
        installed = _version("execnet")
    except _PackageNotFoundError:
        return
    if installed != __version__:
        raise ImportError(
            f"the installed distribution is execnet {installed}, but this code is of execnet {__version__}: "
            "two were installed one over the other; install one of them again"
        )


_check_installation()
