"""The option of the plugin that comes with execnet, so that workers accept the arguments of the main process.
PYTEST_DONT_REWRITE
"""


def pytest_addoption(parser):
    parser.getgroup("execnet").addoption("--net", metavar="NAME", help="Has no effect on workers")
