"""The kernel: the half of a gateway that runs in the fresh interpreter (docs/kernel.md).

One source for CPython 2.7 and 3.6 to 3.14, PyPy and Jython 2.7; standard library only. In the interpreter the package is
called `execnet_kernel`. What is not needed to execute a line of code is compiled when it is first used.

    stage      the line that the interpreter is started with: reads the bundle
    load       the bundle's first record: makes its modules importable
    start      the protocol's fds, CONFIG and HELLO
    wait       how a thread waits for another                        no IO
    values     values as bytes, at marshal's speed                   no IO
    codec      the same step by step: escapes, and deep values       no IO
    wire       frames, and the outbox that writers share
    channel    what user code sees: Channel; and its state
    gateway    what happens with a frame; `channel.gateway`
    run        executions, the main thread, and the end
    execmodel  `channel.gateway.execmodel`
    files      `channel.makefile()`
    report     tracebacks as text
    jvm        what is different on Jython
"""
