"""The kernel: the half of a gateway that runs in the fresh interpreter (docs/kernel.md).

One source for CPython 2.7 and 3.6 to 3.14, PyPy and Jython 2.7; standard library only. In the interpreter the
package is called `execnet_kernel`. Compiling is most of what its start costs: an ordinary execution needs the
first group, the rest is compiled when it is first used. No two modules import each other, but for `values`
and `codec`: two ways to the same bytes.

    stage        the line that the interpreter is started with: reads the bundle
    load         the bundle's first record: makes its modules importable
    interpreter  what interpreters differ in
    errors       the exceptions that user code sees
    wait         how a thread waits for another                          no IO
    values       values as bytes, at marshal's speed                     no IO
    wire         frames, and the outbox that all writers share
    channel      what user code holds, and the state behind it
    link         what happens with a frame
    run          executions, and the main thread
    start        the protocol's fds, HELLO, and the reader

    config       what CONFIG asks for
    codec        values step by step: escapes, and deep ones             no IO
    callbacks    callbacks, and waiting for a channel's end
    control      the frames that ask and set: STATUS, STRCONFIG, INTERRUPT
    gateway      `channel.gateway` and its `execmodel`
    files        `channel.makefile()`
    stdin        `sys.stdin` of an execution
    report       what an exception means, and tracebacks as text
    interrupt    KeyboardInterrupt in the main thread
    shutdown     how a kernel ends
    waiters      waiting on Python 2
    green        waiting where gevent or eventlet makes green threads
    jvm          what is different on Jython
"""
