"""What interpreters differ in, and the few things that every module here takes from this one."""
import os
import sys
import time

try:
    from _thread import allocate_lock, get_ident, start_new_thread
except ImportError:
    from thread import allocate_lock, get_ident, start_new_thread  # noqa: F401
try:
    from _collections import deque  # the module around it takes long to import
except ImportError:
    from collections import deque  # noqa: F401

TWO = sys.version_info[0] == 2
JYTHON = sys.platform.startswith("java")
ANY = Exception, BaseException
if JYTHON:
    from java.lang import Throwable
    ANY += (Throwable,)  # Java's are none of Python's
clock = getattr(time, "monotonic", time.time)
MAIN = get_ident()  # the thread that imports the kernel
if TWO:
    from itertools import imap as map
else:
    map = map


def native(text):
    """Text as this interpreter's `str`."""
    return text.encode("utf-8") if TWO and isinstance(text, type(u"")) else text


def as_text(text):
    """Text, a path or words of the system, as what is text in every dialect."""
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def folder():
    """Where we are, as as_text; empty where that has been removed."""
    try:
        return as_text(os.getcwd())
    except EnvironmentError:
        return u""


def flush():
    """A line that code has begun is not to wait for the rest of it, which may never come."""
    for file in (sys.stdout, sys.stderr):
        try:
            file.flush()
        except Exception:
            pass  # it is user code's
