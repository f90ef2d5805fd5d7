"""A stand-in for execnet in gateways with packages, so that code that imports it there works: its errors,
`dumps` and `loads`, specs, and its other names, for annotations and subclasses.

Whatever would start or reach an interpreter raises RuntimeError. Plain Python for 2.7 and 3.6 or later.
PYTEST_DONT_REWRITE
"""
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

__version__ = "@VERSION@"

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
