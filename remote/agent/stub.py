"""What runs first on a host: finds the living agent of this network or forks a new one, and waits.

The stub is the process that ssh started. It passes its fds 0 and 1 to the agent and ends when the agent
closes them, so that no ssh is left behind. What the agent sends over their socket meanwhile are error
messages for stderr. Exit statuses: docs/bootstrap.md.
"""
import os
import sys
import time

from agent import wire
from agent.config import Config, hide

LINK_ENDED, BROKEN, BUSY, WRONG_SECRET, OLD_EPOCH, KEPT = 0, 93, 94, 95, 96, 92
PATIENCE = 75.0  # seconds; an agent whose socket vanished binds it again within a minute


def main(read):
    """Run as stub, and fork the agent if necessary. Return the exit status."""
    config = Config(read(int(read(8))))
    _end_watch()
    if sys.platform.startswith("java"):
        from agent import jvm
        return jvm.main(config)
    from agent import place
    here = listener = sock = None
    try:
        here = place.Place(config.key)
        status, sock, listener, replaced = _find(config, here)
        hello = {"replaced": str(replaced)} if replaced else {}
        if listener is not None:
            hello["tmp"] = here.tmp()
            if here.elsewhere():
                hello["place"] = here.elsewhere()
    except (place.PlaceError, EnvironmentError) as error:
        here = status = None
        hello = {"message": "it cannot outlive its link: %s" % error}
    if status is not None:
        return status
    if sock is not None:
        return _wait(sock)
    return _fork(config, here, listener, hello)


def _end_watch():
    """End the watch of the script: from here on we ourselves leave nothing behind when the link ends."""
    for number in (13, 9):  # SIGPIPE first: shells do not report it
        try:
            os.kill(int(sys.argv[1]), number)
        except (EnvironmentError, IndexError, ValueError):
            return  # there is no watch, as with cmd=


def _link_is_gone():
    import select
    poll = select.poll()
    poll.register(0, 0)
    poll.register(1, 0)
    return bool(poll.poll(0))  # at the end of input, or if nobody reads our output


def _find(config, here):
    """Pass the link to the agent of this place, or become that agent.

    Return four values: the exit status if neither is possible; the socket of the agent that took the link;
    the listening socket of the agent to be; and the version of the agent that was ended for it.
    """
    from agent import place
    replaced = None
    deadline = time.time() + PATIENCE
    while True:
        if _link_is_gone():
            raise EOFError("the link ended before an agent had it")
        sock = here.connect()
        if sock is not None:
            verb = b"A" if replaced is None else b"F" if config.end_kept else b"E"
            code, version, kept = place.knock(sock, verb, config)
            if code == b"K" and verb == b"A":
                return None, sock, None, None
            sock.close()
            if code == b"V":
                replaced = version
                continue
            if code == b"P":
                return _complain(KEPT, "an agent of protocol version %d (%s) keeps work here: %s"
                                 % (version, here.holder(), kept.decode("utf-8", "replace")))
            if code == b"S":
                return _complain(WRONG_SECRET,
                                 "the agent at this place (%s) has another secret" % here.holder())
            if code == b"O":
                return _complain(OLD_EPOCH, "its agent (%s) was attached with a later epoch than %d"
                                 % (here.holder(), config.epoch))
        elif here.lock():
            try:
                return None, None, here.listen(), replaced
            except EnvironmentError as error:
                here.pass_over(error)
                continue
        if time.time() > deadline:
            return _complain(BUSY, "an agent that does not answer holds %s" % (here.met or here.lock_path))
        time.sleep(0.02)


def _fork(config, here, listener, hello):
    from agent import place
    ours, theirs = place.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        child = os.fork()
    except OSError:
        if here is not None:
            here.leave()
        raise
    if child == 0:
        status = BROKEN
        try:
            ours.close()
            if here is not None:
                here.sign()
            from agent import greet
            settled = greet.Settled()
            greeting = greet.Greeting(config, 1 if here else 0, hello)
            os.write(1, wire.MARKER + greeting.frames)
            greeting.rest((0, 1), [theirs.fileno()] + ([listener.fileno()] if listener else []), settled)
            from agent import posix
            agent = posix.Agent(config, here, listener, theirs, settled, greeting)
            theirs = None  # the agent reports its own failures
            agent.run()
            status = 0
        finally:
            try:
                if status:
                    if here is not None:
                        here.leave()
                    if theirs is not None:
                        import traceback
                        theirs.send(wire.utf8(traceback.format_exc()))
            finally:
                os._exit(status)
    theirs.close()
    if here is not None:
        listener.close()
        here.unlock()
    return _wait(ours)


def _wait(sock):
    """Wait until the agent closes the socket, and write its messages to stderr."""
    hide()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    sock.settimeout(None)
    status = LINK_ENDED
    while True:
        try:
            said = sock.recv(4096)
        except EnvironmentError:
            said = b""
        if not said:
            return status
        status = BROKEN
        os.write(2, said)


def _complain(status, words):
    sys.stderr.flush()
    os.write(2, wire.utf8("execnet: %s\n" % words))  # stderr may be ASCII
    return status, None, None, None
