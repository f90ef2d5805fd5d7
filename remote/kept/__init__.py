"""What a kernel has besides if it is kept (docs/kernel.md, section 10): its clients leave, and others enter.

A bundle of its own, which travels within CONFIG only if a gateway is kept. Its modules join the kernel's
package, `execnet_kernel`. Two threads work beside user code: the reader of the kernel, which here also waits
for whoever enters, and a writer, which alone touches what is on its way to a client on channels with names.

    entry        the socket to the agent, who enters by it, and the reader
    kept         what outlives its clients: names, and the writer
    connection   one client: numbers, frames, the outbox
    named        channels with names: what is kept of them
    bell         how the writer is woken                                 no IO
"""
