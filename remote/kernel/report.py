"""Tracebacks as text, without the kernel's own frames."""
import sys
import traceback

OURS = "<execnet_kernel."


def text(info):
    """What `traceback.format_exc` would say to user code."""
    try:
        return _text(*info)
    except Exception:
        # its __str__ raises, or the like
        return u"%s: (its text cannot be made)\n" % info[0].__name__


def _text(kind, value, trace):
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    if sys.version_info[0] == 2:
        lines = []
        if trace is not None:
            lines.append("Traceback (most recent call last):\n")
            lines += traceback.format_list([entry for entry in traceback.extract_tb(trace) if not _is_ours(entry[0])])
        lines += traceback.format_exception_only(kind, value)
        return u"".join([line if isinstance(line, type(u"")) else line.decode("utf-8", "replace") for line in lines])
    told = traceback.TracebackException(kind, value, trace)
    _trim(told, set())
    return "".join(told.format())


def _trim(told, seen):
    if told is None or id(told) in seen:
        return
    seen.add(id(told))
    if told.stack:
        told.stack[:] = [frame for frame in told.stack if not _is_ours(frame.filename)]
    for other in [told.__cause__, told.__context__] + list(getattr(told, "exceptions", None) or ()):
        _trim(other, seen)


def _is_ours(filename):
    return filename.startswith(OURS)
