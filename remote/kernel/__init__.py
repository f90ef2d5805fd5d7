"""The kernel: the half of a gateway that runs in the fresh interpreter (docs/kernel.md).

One source for CPython 2.7 and 3.6 to 3.14, PyPy and Jython 2.7; standard library only. In the interpreter the package is
called `execnet_kernel`. Compiling is most of what its start costs: what an ordinary execution needs is in the first group,
the rest is compiled when somebody uses it.

    stage    the line that the interpreter is started with: reads the bundle
    load     the bundle's first record: makes its modules importable
    wait     how a thread waits for another                          no IO
    values   values as bytes, at marshal's speed                     no IO
    wire     frames, and the outbox that all writers share
    channel  what user code holds, and the state behind it
    link     what happens with a frame
    run      executions, and the main thread
    start    the protocol's fds, HELLO, and the reader

    codec    values step by step: escapes, and deep ones             no IO
    more     callbacks, settings, status; what CONFIG asks for
    ends     interrupts, and how a kernel ends
    report   what an exception means, and tracebacks as text
    public   `channel.gateway` and its `execmodel`
    files    `channel.makefile()`
    waiters  waiting on Python 2
    green    waiting where gevent or eventlet makes green threads
    jvm      what is different on Jython
"""
