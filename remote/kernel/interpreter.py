"""The differences between interpreters, and the few names that every module here uses."""
import os
import sys
import time

try:
    from _thread import allocate_lock, get_ident, start_new_thread
except ImportError:
    from thread import allocate_lock, get_ident, start_new_thread  # noqa: F401
try:
    from _collections import deque  # the `collections` module takes long to import
except ImportError:
    from collections import deque  # noqa: F401

TWO = sys.version_info[0] == 2
JYTHON = sys.platform.startswith("java")
ANY = Exception, BaseException
if JYTHON:
    from java.lang import Throwable
    ANY += (Throwable,)  # Java's exceptions are not Python's
clock = getattr(time, "monotonic", time.time)
MAIN = get_ident()  # the thread that imports the kernel
if TWO:
    from itertools import imap as map
else:
    map = map


def native(text):
    """Return text as this interpreter's `str`."""
    return text.encode("utf-8") if TWO and isinstance(text, type(u"")) else text


def as_text(text):
    """Return a path or a system's text as text in every dialect."""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def folder():
    """Return the current folder as text; empty if it has been removed."""
    try:
        return as_text(os.getcwd())
    except EnvironmentError:
        return u""


def flush():
    """Flush stdout and stderr: what code has printed must not wait for the rest of a line."""
    for file in (sys.stdout, sys.stderr):
        try:
            file.flush()
        except Exception:
            pass  # user code may have replaced the file
