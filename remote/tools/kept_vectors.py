"""Writes protocol/vectors/kept.json: conversations about kept work, frame by frame. What is expected stands
here in words of the protocol, and is not taken from the agent.

CPython 3 only, never on a host.
"""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from agent import wire  # noqa: E402

PATH = os.path.join(HERE, "..", "..", "protocol", "vectors", "kept.json")
INCARNATION = bytes(range(0xa0, 0xb0))
P, Q, R, E = [bytes(15) + bytes([number]) for number in (1, 2, 3, 4)]
FIRST, SECOND, THIRD = [bytes([number]) * 16 for number in (0x11, 0x22, 0x33)]
LIFE = 1 << 32
HELLO = [(u"features", b"keep enter")]


def hello(epoch, *kept):
    """Return what an agent sends on each attach."""
    return [frame("HELLO", incarnation=INCARNATION, epoch=epoch, resume=1, pid=1, table=HELLO),
            frame("NODE", name=u"model", state=0, table=[]), frame("NODES", count=1)] + list(kept) + [
            frame("KEEPS", count=len(kept))]


def frame(kind, **fields):
    return wire.frame(getattr(wire, kind), **fields).hex()


def spawn(id=P, attempt=1, owner=FIRST, keep="train 100 wait wait", role=0, limit=64, options=()):
    options = ([("keep", keep.encode())] if keep else []) + list(options)
    argv = [b"cat"] if role == 0 else []
    return frame("SPAWN", id=id, attempt=attempt, incarnation=INCARNATION, owner=owner, role=role,
                 stdout_limit=limit, stderr_limit=limit, host=u"h", node=u"", chdir=u"", argv=argv, env=[],
                 options=options)


def kept(id=P, name=b"train", tenure=1, holder=FIRST, program=None, left=None, out=b"wait", err=b"wait",
         pid=42, age=0, seconds=100, **more):
    about = {"name": name, "node": b"", "command": b"cat", "tenure": b"%d" % tenure, "stdout": out,
             "stderr": err, "seconds": b"%d" % seconds, "age": b"%d" % age}
    if pid:
        about["pid"] = b"%d" % pid
    if left is None:
        about["holder"] = holder.hex().encode()
    else:
        about["left"] = b"%d" % left
    if program:
        about["program"], about["program-pid"] = program
    about.update(more)
    return frame("KEPT", id=id, table=sorted(about.items()))


def taken(id=P, attempt=9, tenure=2, last=1, ends=0, stdin=0, out=(0, 0), err=(0, 0), **more):
    fields = dict(signals=0, sizes=0, rows=0, columns=0)
    fields.update(more)
    return frame("TAKEN", id=id, attempt=attempt, tenure=tenure, last=last, ends=ends, stdin=stdin,
                 stdout_start=out[0], stdout_end=out[1], stderr_start=err[0], stderr_end=err[1], **fields)


def take(id=P, attempt=9, owner=SECOND, tenure=0):
    return frame("TAKE", id=id, attempt=attempt, incarnation=INCARNATION, owner=owner, tenure=tenure, pid=7,
                 program=u"top", host=u"h")


def resume(id=P, attempt=2, received=0, limit=64):
    return frame("RESUME", id=id, attempt=attempt, stdout_received=received, stdout_limit=received + limit,
                 stderr_received=0, stderr_limit=64)


def resumed(id=P, attempt=1, received=0):
    return frame("RESUMED", id=id, attempt=attempt, stdin_received=received, stdin_limit=received + 32768)


def left(owner=FIRST, pid=0, program=u"", id=P):
    return frame("LEFT", id=id, owner=owner, pid=pid, program=program)


def data(position, text, id=P, stream=1):
    return frame("DATA", id=id, stream=stream, position=position, data=text)


def on(id, **more):
    return dict({"id": id.hex()}, **more)


def begun(keep="train 100 wait wait", **about):
    """Return the steps until a kept process runs."""
    return [{"attach": LIFE | 1}, {"out": hello(LIFE | 1)}, {"in": spawn(keep=keep)},
            {"out": [resumed(), kept(pid=0, **about)]}, {"actions": [["start", P.hex()]]},
            {"child_started": on(P, pid=42)},
            {"out": [frame("STARTED", id=P, pid=42), kept(**about)]}]


def wrote(text, stream=1, id=P):
    return {"child_output": on(id, stream=stream, data=text.hex())}


TOOK = (b"top", b"7")

TRANSCRIPTS = [
    ("what is kept is told when it starts and on each attach, before KEEPS",
     "whoever attaches learns of it from the agent; the same daemon's client goes on by RESUME",
     begun() + [
         {"detach": None}, {"attach": LIFE | 2}, {"out": hello(LIFE | 2, kept())},
         {"in": resume()}, {"out": [resumed(attempt=2), frame("STARTED", id=P, pid=42)]}]),
    ("a name that runs is taken",
     "EXIT (could not start) with a sentence, and nothing starts; what has ended gives its name to the next",
     begun() + [
         {"child_exited": on(P, how=0, value=3)}, {"child_output_closed": on(P, stream=1)},
         {"child_output_closed": on(P, stream=2)},
         {"out": [frame("STOP", id=P, stream=0), frame("FIN", id=P, stream=1, length=0),
                  frame("FIN", id=P, stream=2, length=0),
                  frame("EXIT", id=P, how=0, value=3, stdout_length=0, stderr_length=0, message=u""),
                  kept(exit=b"0 3", ended=b"0")]},
         {"in": spawn(id=Q)},
         {"out": [frame("FORGET", id=P), resumed(Q), kept(Q, pid=0)]},
         {"actions": [["release", P.hex()], ["start", Q.hex()]]}]),
    ("another client takes it over and goes on from what TAKEN says",
     "all credit is void and nothing passes before its RESUME; what stood below what is held is skipped",
     begun("train 100 last=4 wait", out=b"last=4") + [
         wrote(b"0123456789"), {"out": [data(0, b"0123456789")]},
         {"in": frame("CREDIT", id=P, stream=1, received=8, limit=72)},
         {"in": take()},
         {"out": [taken(out=(6, 10)), kept(tenure=2, holder=SECOND, program=TOOK, out=b"last=4")]},
         {"in": frame("CREDIT", id=P, stream=1, received=10, limit=100)},
         {"room": on(P, stream=1, bytes=0)}, {"out": []},
         {"in": resume()},
         {"out": [resumed(attempt=2), frame("STARTED", id=P, pid=42),
                  frame("SKIP", id=P, stream=1, position=6), data(6, b"6789")]}]),
    ("nothing is sent past the limit, however much is held",
     "SKIP costs no credit, and a limit below it becomes equal to it",
     begun("train 100 last=100 wait", out=b"last=100") + [
         {"in": frame("LEAVE", id=P, owner=FIRST, end=0)},
         {"out": [left(), kept(left=100000, out=b"last=100")]},
         wrote(b"x" * 150 + b"y" * 50),
         {"in": take()},
         {"out": [taken(out=(100, 200)), kept(tenure=2, holder=SECOND, program=TOOK, out=b"last=100")]},
         {"in": resume(limit=10)},
         {"out": [resumed(attempt=2), frame("STARTED", id=P, pid=42),
                  frame("SKIP", id=P, stream=1, position=100)]},
         {"in": frame("CREDIT", id=P, stream=1, received=100, limit=110)},
         {"out": [data(100, b"x" * 10)]}]),
    ("who lost it is told by whom",
     "TAKE with the old tenure, LEAVE and a repeated SPAWN of who does not hold it are answered LEFT",
     begun() + [
         {"in": take()}, {"out": [taken(), kept(tenure=2, holder=SECOND, program=TOOK)]},
         {"in": take(owner=FIRST, tenure=1, attempt=3)}, {"out": [left(FIRST, 7, u"top")]},
         {"in": frame("LEAVE", id=P, owner=FIRST, end=1)}, {"out": [left(FIRST, 7, u"top")]},
         {"in": spawn(attempt=4)}, {"out": [left(FIRST, 7, u"top")]},
         {"in": take(tenure=2, attempt=10)},
         {"out": [taken(attempt=10), kept(tenure=2, holder=SECOND, program=TOOK)]}]),
    ("TAKE of what is not kept is answered FORGET and ends nothing",
     "the process of another client lives on",
     [{"attach": LIFE | 1}, {"out": hello(LIFE | 1)}, {"in": spawn(keep=None)}, {"out": [resumed()]},
      {"actions": [["start", P.hex()]]}, {"in": take()}, {"out": [frame("FORGET", id=P)]}, {"actions": []}]),
    ("an end of stdin whose bytes never came is void",
     "a client that died may have said FIN before all DATA had passed",
     begun() + [
         {"in": frame("DATA", id=P, stream=0, position=0, data=b"abc")
          + frame("FIN", id=P, stream=0, length=10)},
         {"actions": [["stdin", P.hex()]]}, {"child_takes": on(P, data=b"abc".hex())},
         {"in": take()}, {"out": [taken(stdin=3), kept(tenure=2, holder=SECOND, program=TOOK)]},
         {"in": resume()},
         {"out": [resumed(attempt=2, received=3), frame("STARTED", id=P, pid=42)]},
         {"in": frame("FIN", id=P, stream=0, length=3)},
         {"in": take(owner=THIRD)},
         {"out": [taken(tenure=3, last=2, ends=2, stdin=3),
                  kept(tenure=3, holder=THIRD, program=TOOK)]}]),
    ("LEAVE leaves it, RELEASE too, and LEAVE with end ends it",
     "its tenure lasts until somebody takes over; an unknown id is answered FORGET and never starts",
     begun() + [
         {"in": frame("LEAVE", id=P, owner=FIRST, end=0)}, {"out": [left(), kept(left=100000)]},
         {"in": take(owner=FIRST, tenure=1)}, {"out": [taken(tenure=1), kept(program=TOOK)]},
         {"in": frame("RELEASE", id=P)}, {"out": [left(), kept(left=100000)]},
         {"in": frame("LEAVE", id=P, owner=FIRST, end=1)}, {"out": [frame("FORGET", id=P)]},
         {"actions": [["release", P.hex()]]},
         {"in": frame("LEAVE", id=Q, owner=FIRST, end=0)}, {"out": [frame("FORGET", id=Q)]},
         {"in": spawn(id=Q)}, {"out": [frame("FORGET", id=Q)]}, {"actions": []}]),
    ("time runs while nobody holds it",
     "then it is hung up, and forgotten",
     begun() + [
         {"in": frame("LEAVE", id=P, owner=FIRST, end=0)}, {"out": [left(), kept(left=100000)]},
         {"wait": 60}, {"actions": []}, {"out": []},
         {"wait": 41}, {"actions": [["release", P.hex()]]}, {"out": [frame("FORGET", id=P)]}]),
    ("a newer life hangs up what nobody claims, and leaves kept work",
     "its holder counts as one that has left after 30 s, and may come back while nobody has taken over",
     begun() + [
         {"detach": None}, {"attach": 2 << 32 | 1}, {"out": hello(2 << 32 | 1, kept())},
         {"wait": 30}, {"out": [kept(left=100000, age=30000)]}, {"actions": []},
         {"in": take(owner=FIRST, tenure=1, attempt=2)},
         {"out": [taken(attempt=2, tenure=1), kept(program=TOOK, age=30000)]}]),
    ("END keeps, and END_ALL ends everything",
     "an agent that keeps work only drops its link",
     begun() + [
         {"in": frame("END")}, {"actions": [["drop"]]}, {"detach": None},
         {"attach": LIFE | 2}, {"out": hello(LIFE | 2, kept(left=100000))},
         {"in": frame("END_ALL")}, {"actions": [["release", P.hex()], ["end"]]}]),
    ("a reader reads along, and is skipped forward",
     "it holds nobody up; positions and EXIT are those of what it reads",
     begun("train 100 last=4 wait", out=b"last=4") + [
         {"in": frame("LEAVE", id=P, owner=FIRST, end=0)},
         {"out": [left(), kept(left=100000, out=b"last=4")]},
         wrote(b"0123456789"),
         {"in": spawn(R, owner=SECOND, keep="train 2", role=4, limit=9)},
         {"out": [resumed(R), frame("STARTED", id=R, pid=42), frame("STOP", id=R, stream=0),
                  frame("SKIP", id=R, stream=1, position=8), data(8, b"8", R)]},
         wrote(b"abcdef"), {"out": []},
         {"in": frame("CREDIT", id=R, stream=1, received=9, limit=100)},
         {"out": [frame("SKIP", id=R, stream=1, position=12), data(12, b"cdef", R)]},
         {"in": frame("RELEASE", id=R)}, {"out": [frame("FORGET", id=R)]},
         {"actions": [["release", R.hex()]]}]),
    ("only the holder enters, and entries end when another one takes over",
     "the agent makes the connection; the entry is a process like others",
     [{"attach": LIFE | 1}, {"out": hello(LIFE | 1)},
      {"in": spawn(options=[("enter", b"")])}, {"out": [resumed(), kept(pid=0, enter=b"1")]},
      {"actions": [["start", P.hex()]]},
      {"in": spawn(E, keep=None, role=3, options=[("enter", b"train")])}, {"out": [resumed(E)]},
      {"actions": [["enter", E.hex()]]},
      {"in": take()},
      {"out": [frame("FORGET", id=E), taken(),
               kept(pid=0, enter=b"1", tenure=2, holder=SECOND, program=TOOK)]},
      {"actions": [["release", E.hex()]]}]),
]


def main():
    agent = {"incarnation": INCARNATION.hex(), "pid": 1, "resume": 1, "linger": 600, "keeps": True,
             "table": [[key, value.hex()] for key, value in HELLO], "nodes": ["model"]}
    lines = ['{"agent": %s,' % json.dumps(agent), '"transcripts": [']
    parts = []
    for name, why, steps in TRANSCRIPTS:
        said = ",\n".join(["  " + json.dumps(step) for step in steps])
        parts.append('{"name": %s,\n "why": %s,\n "steps": [\n%s]}'
                     % (json.dumps(name), json.dumps(why), said))
    with open(PATH, "w") as file:
        file.write("\n".join(lines) + "\n" + ",\n".join(parts) + "]}\n")


if __name__ == "__main__":
    main()
