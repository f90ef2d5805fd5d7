"""The agent: what a network runs on a host, between the daemon's link and the processes it starts there.

One source for CPython 2.7 and 3.6 to 3.14, PyPy and Jython 2.7; standard library only. It is sent over the
link when a host joins (docs/bootstrap.md), speaks docs/protocol.md, and never runs an application in its own
process.

    wire      frames as bytes                                        no state
    stream    positions, credit and the replay buffer of one stream  no fds, no clock
    pace      how much may be under way on the link                 no clock
    outlet    what it says on its link, and in which order          no fds, no clock
    core      what the agent does with a frame                       no fds, no clock
    nodes     which interpreters there are, what they answered       no processes
    stub      what runs first: finds or forks the agent
    config    the config table, and how its secret is kept
    greet     its first words, before the rest is compiled
    place     the socket folder, its lock, and passing fds
    posix     an agent on a POSIX Python: its link and its stubs
    loop      poll, timers and the clock
    lifecycle what SPAWN asks for; signals and delays of an end      no processes
    family    its processes: pipes, exits, probes
    spare     processes that were started ahead
    terminal  what is different about a terminal as stdio
    look      what processes use
    quick     processes that are started without a fork, where nothing can make that wait
    children  fork, exec, signals, and what is left of a session
    kept      who holds kept work, how long it stays, what is told    no fds, no clock
    ring      what is held of its output, and who reads it            no fds, no clock
    spool     the rings' disk: a child behind pipes
    entry     the connections that a kept process is given
    perils    what may end kept work early; the clock that counts sleep
    jvm       family and children on Jython, with threads
"""
