"""What an exception means for an execution, and tracebacks without the kernel's own frames."""
import os
import sys

from .interpreter import ANY, native

OURS = "<execnet_kernel."
HEADER = "Traceback (most recent call last):\n"
TRIES = 9


def judge(task, info):
    """Return exit status and error text (None for no error) of an execution that ended with this
    exception."""
    kind, value = info[:2]
    ours = task.runner.link.pid == os.getpid()
    if issubclass(kind, SystemExit):
        code = value.code
        if (code is None or code == 0) and (task.argv is not None or not ours):
            return 0, None  # a program ends like this
        if not ours:
            if not isinstance(code, int):
                sys.stderr.write("%s\n" % (code,))
                code = 1
            return code & 0xff, None
    elif ours and issubclass(kind, KeyboardInterrupt):
        return 1, u"keyboard-interrupted"
    elif ours and task.argv is None and getattr(value, "of_channel", False):
        if issubclass(kind, EOFError) or task.channel._state.heard_close:
            return 1, None  # the client did not wait for more; a program gets the error
    said = _with_its_lines(task, info)
    if not ours:
        sys.stderr.write(native(said))
    return 1, said


def _with_its_lines(task, info):
    """Return `text` with the lines of this source, while other executions may use the same file name."""
    try:
        import linecache  # noqa: F401
        import traceback  # noqa: F401
        cache, filename = _cache(), _filename(task)
        before = cache.get(filename)
        for _ in range(TRIES):
            mine = cache[filename] = _lines(task)
            said = text(info)
            if cache.get(filename) is mine:
                break
        if before is not None and cache.get(filename) is mine:
            cache[filename] = before
        return said
    except ANY:
        return text(info)  # no file can be opened, or memory is short


def _filename(task):
    return native(task.filename) or "<remote exec>"


def _cache():
    return getattr(sys.modules.get("linecache"), "cache", None)  # another thread may be importing linecache


def _lines(task):
    """Return the lines of the source as linecache stores them."""
    source = task.source
    return len(source), None, [native(line) + "\n" for line in source.split(u"\n")], _filename(task)


def prepare(task):
    """Let tracebacks show the lines of the source. Return the source as this interpreter compiles it."""
    source = task.source
    cache = _cache()
    if cache is not None:
        cache[_filename(task)] = _lines(task)
    if sys.version_info[0] == 2:
        # Python 2 refuses text that declares an encoding
        import re
        lines = source.split(u"\n", 2)
        for at, line in enumerate(lines[:2]):
            if re.match(u"[ \t\f]*#.*?coding[:=]", line):
                lines[at] = u"#"
        source = u"\n".join(lines)
    return source


def text(info):
    """Return what `traceback.format_exc` would say to user code, or as much of it as possible. Never
    fails."""
    for tell in (_text, _by_hand, _briefly):
        try:
            return tell(*info)
        except ANY:
            pass  # its __str__ raises, traceback cannot be imported, or memory is short
    return u"an error\n"


def _by_hand(kind, value, trace):
    """Return a traceback made without imports."""
    lines = [HEADER]
    while trace is not None:
        code = trace.tb_frame.f_code
        if not _is_ours(code.co_filename):
            lines.append('  File "%s", line %d, in %s\n' % (code.co_filename, trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    try:
        said = str(value)
    except Exception:
        said = "(its text cannot be made)"
    lines.append("%s: %s\n" % (kind.__name__, said) if said else kind.__name__ + "\n")
    said = "".join(lines)
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said


def _briefly(kind, value, trace):
    return u"%s\n" % kind.__name__


def _text(kind, value, trace):
    import traceback
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    if sys.version_info[0] == 2:
        lines = [HEADER]
        if trace is not None:
            lines += traceback.format_list([entry for entry in traceback.extract_tb(trace)
                                            if not _is_ours(entry[0])])
        lines += traceback.format_exception_only(kind, value)
        return (u"".join([line if isinstance(line, type(u"")) else line.decode("utf-8", "replace")
                          for line in lines]))
    told = traceback.TracebackException(kind, value, trace)
    _trim(told, set())
    said = "".join(told.format())
    # a traceback without a frame of the user's, as of a SyntaxError, has no header
    return said if trace is not None or said.startswith(HEADER) else HEADER + said


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
