"""Execution specifications: `key=value//key=value`."""

__all__ = ["XSpec"]


class XSpec(object):
    """An execution specification: `key=value//key=value//flag`.

    A key without a value is True. Every key is an attribute; missing ones are None. `env:NAME=value` adds to
    `env`.
    """

    def __init__(self, string):
        if not isinstance(string, (str, type(u""))):
            raise TypeError("a spec must be a str or an XSpec, not %s" % type(string).__name__)
        self._spec = string
        self.env = {}
        for part in _parts(string):
            key, equals, text = part.partition("=")
            if not key:
                raise ValueError("no key before %r in %r" % (part, string))
            if key.startswith("_"):
                raise AttributeError("%r cannot be a key: it begins with an underscore" % key)
            if key.startswith("env:"):
                where, name, value = self.env, key[len("env:"):], text
            elif key == "env":
                raise ValueError("variables are written `env:NAME=VALUE`, not `env=`, in %r" % string)
            else:
                where, name, value = self.__dict__, key, text if equals else True
            if name in where:
                raise ValueError("%r is given twice in %r" % (key, string))
            where[name] = value

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return None

    def __repr__(self):
        return "<XSpec %r>" % self._spec

    def __str__(self):
        return self._spec

    def __hash__(self):
        return hash(self._spec)

    def __eq__(self, other):
        return self._spec == getattr(other, "_spec", None)

    def __ne__(self, other):
        return not self == other

    def _samefilesystem(self):
        """Return whether the other side surely sees the same files under the same relative names."""
        return self.popen is not None and self.chdir is None


def _parts(string):
    """Return the parts between `//`; the `//` of `ssh=ssh://host` belongs to the value."""
    parts = string.split("//")
    for at, part in enumerate(parts[:-1]):
        if part.startswith("ssh=") and part.endswith(("=ssh:", " ssh:")):
            parts[at:at + 2] = [part + "//" + parts[at + 1]]
            break
    return parts
