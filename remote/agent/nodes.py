"""The interpreters of this host: where to look, how to ask one what it is, and the names of nodes.

Starts nothing: a driver runs the probes, and reports what they printed.
"""
import os

from agent import homes, wire
from agent.greet import about_self, is_own, own_command, pairs

READY, FAILED, PROBING = 0, 1, 2
AT_ONCE = 4
# both as in crates/execnet-proto/src/spec/words.rs; protocol/vectors/python.json has examples
OF_SHELLS = "$`&;|<>()\n"  # characters that only a shell understands
BUILTINS = ("exec", "command", ".")
MAX_NODES = 64
SAID = 16384
MARK = "execnet:node"
ASK = ("import sys;sys.path[:not sys.path[0]]=[];import os;i=getattr(sys,'implementation',None);"
       "p=str(sys.platform);j=p[:4]=='java';"
       "print('\\n'.join(['','" + MARK + "',sys.executable or '',p,"
       "i.name if i else 'jython' if j else 'pypy' if 'PyPy' in sys.version else 'cpython',"
       "'%d.%d.%d'%tuple(sys.version_info[:3]),'' if j else os.uname()[4]]))")
NAMES = (["python", "python2", "python2.7", "python3"] + ["python3.%d" % minor for minor in range(6, 15)]
         + ["pypy", "pypy2", "pypy3", "jython"])


class Probe(object):
    """One interpreter to ask. Keeps a bounded part of its output."""

    patience = 20.0

    def __init__(self, name, words, every, env):
        self.name = name
        # as with -E, which would ignore PYTHONSAFEPATH, too: a probe must not import from the user's folders
        self.env = dict(env)
        for key in (b"PYTHONPATH", b"JYTHONPATH"):
            self.env.pop(key, None)
        self.env[b"PYTHONSAFEPATH"] = b"1"
        self.words = words
        self.every = every  # found by a search: if it does not work, that is no failure
        self.argv = [wire.utf8(word) for word in words] + [b"-S", b"-c", wire.utf8(ASK)]
        self.said = {1: b"", 2: b""}
        self.late = False
        self.running = False
        self.outcome = None  # (command, table), or a sentence why it cannot be used

    def capacity(self, stream):
        return 65536

    def write(self, stream, data):
        if len(self.said[stream]) < SAID:
            self.said[stream] += data[:SAID]


class Nodes(object):
    """The nodes of the config, reported to the core as they become known."""

    def __init__(self, wanted, before, core, env):
        self.core = core
        self.env = env
        self.commands = {}
        self._probes = []
        self._wanted = wanted
        if before is not None and before._wanted == wanted:
            self.commands, self._probes = before.commands, before._probes
            self._again()
            return
        core.nodes = []
        core.nodes_known(False)
        ours = None
        for name, python in wanted[:MAX_NODES]:
            if is_own(python):
                self._ready(name, own_command(), about_self())
            elif python == "*":
                ours = about_self()
                self._every(name, ours)
            else:
                core.node(name, PROBING, [])
                self._probes.append(Probe(name, words(python, env), False, env))
        self._settle()

    def command(self, name):
        """Return the command of this node as words, or a sentence why there is none."""
        command = self.commands.get(name)
        if command is not None:
            return command
        for known, _, table in self.core.nodes:
            if known == name:
                why = wire.text(dict(table).get("message", b"it has not answered yet"))
                return "node %s cannot be used: %s" % (str(name), str(why))
        return "there is no node %s on this host" % str(name)

    def next(self):
        """Return a probe to run now, or None."""
        if len([probe for probe in self._probes if probe.running]) >= AT_ONCE:
            return None
        for probe in self._probes:
            if not probe.running and probe.outcome is None:
                probe.running = True
                return probe
        return None

    def answered(self, probe, end, failure):
        """Note how a probe ended, in words, or why its exec failed."""
        probe.running = False
        probe.outcome = _outcome(probe, end, failure, self.env)
        self._settle()

    def _again(self):
        """Probe failed nodes again, with each new link: they may work by now."""
        wanted = dict(self._wanted)
        for name in [name for name, state, _ in self.core.nodes if state == FAILED]:
            self.core.node(name, PROBING, [])
            self.core.nodes_known(False)
            self._probes.append(Probe(name, words(wanted[name], self.env), False, self.env))

    def _every(self, name, ours):
        self._ready(self._free(name, ours), own_command(), ours)
        seen = set([os.path.realpath(ours["executable"])])
        for path in search(self.env):
            real = os.path.realpath(path)
            if real not in seen:
                seen.add(real)
                self._probes.append(Probe(name, [path], True, self.env))
        self._seen = seen

    def _settle(self):
        """Report what is known, in the order of the config and of the search."""
        for probe in list(self._probes):
            if probe.outcome is None:
                if probe.every:
                    break  # names must not depend on which probe answers first
                continue
            self._probes.remove(probe)
            if not isinstance(probe.outcome, tuple):
                if not probe.every:
                    self.core.node(probe.name, FAILED, [("message", wire.utf8(probe.outcome[:500]))])
                continue
            command, table = probe.outcome
            name = probe.name
            if probe.every:
                real = os.path.realpath(command[0])
                if real in self._seen and real != os.path.realpath(probe.words[0]):
                    continue
                if len(self.core.nodes) >= MAX_NODES:
                    continue
                self._seen.add(real)
                name = self._free(name, table)
            self._ready(name, command, table)
        if not self._probes:
            self.core.nodes_known(True)

    def _ready(self, name, command, table):
        self.commands[name] = command
        self.core.node(name, READY, pairs(table))

    def _free(self, name, table):
        minor = ".".join(table["version"].split(".")[:2])
        full = "%s:%s%s" % (name, table["implementation"], table["version"])
        choices = ["%s:%s%s" % (name, table["implementation"], minor), full]
        choices += ["%s-%d" % (full, number) for number in range(2, MAX_NODES + 2)]
        return [choice for choice in choices if choice not in self.commands][0]


def search(env):
    """Return the paths of all files that are named like a Python, the most usual first."""
    home = _text(env.get(b"HOME", b""))
    pyenv = _text(env.get(b"PYENV_ROOT", b"")) or home and home + "/.pyenv"
    folders = []
    for folder in _text(env.get(b"PATH", b"")).split(":"):
        if folder.startswith("/") and not (pyenv and folder.rstrip("/") == pyenv + "/shims"):
            folders.append(folder)
    if pyenv:
        folders += _inside(pyenv + "/versions")
    if home:
        folders += _inside(home + "/.local/share/uv/python")
    found = []
    for folder in folders:
        for name in NAMES:
            path = "%s/%s" % (folder.rstrip("/"), name)
            if path not in found and os.path.isfile(path) and os.access(path, os.X_OK):
                found.append(path)
    return found


def words(line, env):
    """Return the command of a `python=`: its words, or a shell that executes the line and passes on appended
    words."""
    found = split(line)
    name, equals, _ = found[0].partition("=")
    assigns = equals and name.replace("_", "a").isalnum() and not name[0].isdigit()
    homely = [word for word in found[1:] if word[:1] == "~"]
    if assigns or homely or found[0] in BUILTINS or set(OF_SHELLS) & set(line):
        return ["sh", "-c", line + ' "$@"', "sh"]
    found[0] = _text(homes.expand(wire.utf8(found[0]), env))
    return found


def split(line):
    """Split a line like a shell: quotes and backslashes, nothing else."""
    words, word, quote, at = [], None, "", 0
    while at < len(line):
        char = line[at]
        after = line[at + 1:at + 2]
        if char == "\\" and after and (not quote or quote == '"' and after in '"\\$`'):
            at += 1
            word = (word or "") + after
        elif quote and char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote, word = char, word or ""
        elif not quote and char in " \t":
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + char
        at += 1
    if word is not None:
        words.append(word)
    return words or [line]


def _outcome(probe, end, failure, env):
    shown = " ".join(probe.words)[:200]
    if failure:
        return wire.text(failure).partition(" ")[2]
    if probe.late:
        return "%s did not answer within %d seconds" % (shown, probe.patience)
    said = wire.text(probe.said[1]).replace("\r", "").split("\n")
    if MARK in said:
        fields = said[said.index(MARK) + 1:][:5]
        if len(fields) == 5:
            return _ready_or_old(probe, shown, fields, env)
    words = " ".join(wire.text(probe.said[1] + probe.said[2]).split())[:200]
    return "%s did not answer as a Python: %s, it printed %s" % (shown, end, words or "nothing")


def _ready_or_old(probe, shown, fields, env):
    executable, platform, implementation, version, machine = fields
    try:
        number = tuple([int(part) for part in version.split(".")])
    except ValueError:
        return "%s did not answer as a Python: it says its version is %s" % (shown, version[:40])
    if not ((2, 7) <= number < (3,) or (3, 6) <= number):
        return "%s is Python %s, needs 2.7 or 3.6+" % (shown, version)
    command = list(probe.words)
    is_plain = probe.every or _just_finds(command[0], executable, env)
    if executable and implementation != "jython" and is_plain:
        command[0] = executable
    return command, {"executable": executable or command[0], "platform": platform,
                     "implementation": implementation,
                     "version": version, "machine": machine or os.uname()[4]}


def _just_finds(word, executable, env):
    """Whether this word is the interpreter itself or a shim for it, but no command like `env` or `nice` or a
    script."""
    folders = _text(env.get(b"PATH", b"")).split(":")
    paths = [word] if "/" in word else ["%s/%s" % (folder, word) for folder in folders]
    for path in paths:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.realpath(path) == os.path.realpath(executable) or "/shims/" in path
    return False


def _inside(folder):
    try:
        return ["%s/%s/bin" % (folder, name) for name in sorted(os.listdir(folder))]
    except OSError:
        return []


def _text(value):
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
