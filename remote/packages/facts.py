"""What this interpreter is, so that the client can choose packages for it: the variables of environment
markers as PEP 508 defines them, and what binary wheels depend on."""
import os
import sys

LOADER = b"/ld-musl-"


def collect():
    """Return the facts as text; `digest` is the SHA-256 of the others."""
    facts = _markers()
    facts.update(
        ext_suffix=_suffix(),
        cache_tag=getattr(getattr(sys, "implementation", None), "cache_tag", None) or "",
        libc=_libc(),
        bits="64" if sys.maxsize > 2**32 or sys.platform.startswith("java") else "32")
    for key, value in facts.items():
        facts[key] = _text(value)
    lines = [u"%s=%s\n" % (key, facts[key]) for key in sorted(facts)]
    facts["digest"] = _text(_sha256(u"".join(lines).encode("utf-8")).hexdigest())
    return dict([(_text(key), value) for key, value in facts.items()])


def _markers():
    """Return what `packaging.markers.default_environment()` returns, mostly without the slow import of
    `platform`."""
    implementation = getattr(sys, "implementation", None)
    version = sys.version.split()[0]
    name = "PyPy" if "__pypy__" in sys.builtin_module_names else "CPython"
    system = None
    if getattr(implementation, "name", name.lower()) in ("cpython", "pypy") and sys.platform[:5] == "linux":
        uname = os.uname()
        system, release, about, machine = uname[0], uname[2], uname[3], uname[4]
    if system != "Linux" or version.count(".") != 2:
        import platform
        version = platform.python_version()
        name = platform.python_implementation()
        system, release, about, machine = (platform.system(), platform.release(), platform.version(),
                                           platform.machine())
    return {
        "implementation_name": implementation.name if implementation else "",
        "implementation_version": _full(implementation.version) if implementation else "0",
        "os_name": os.name,
        "platform_machine": machine,
        "platform_python_implementation": name,
        "platform_release": release,
        "platform_system": system,
        "platform_version": about,
        "python_full_version": version,
        "python_version": ".".join(version.split(".")[:2]),
        "sys_platform": sys.platform,
    }


def _full(version):
    text = "%d.%d.%d" % tuple(version[:3])
    if version[3] != "final":
        text += "%s%d" % (version[3][0], version[4])
    return text


def _suffix():
    """Return the EXT_SUFFIX of `sysconfig`, which takes long to import."""
    try:
        from _imp import extension_suffixes
        return (extension_suffixes() or [""])[0]
    except ImportError:
        import imp
        return ([suffix for suffix, _, kind in imp.get_suffixes() if kind == imp.C_EXTENSION] or [""])[0]


def _libc():
    """Return the C library and its version; empty if unknown."""
    try:
        # CS_GNU_LIBC_VERSION, a name that Python 2 does not know
        text = os.confstr(2) or ""
    except (AttributeError, EnvironmentError, ValueError):
        text = ""
    if text.startswith("glibc "):
        return " ".join([text.split()[0], ".".join(text.split()[1].split(".")[:2])])
    loader = _loader()
    if loader is None or LOADER not in loader:
        return ""
    # it has no other way to tell its version
    import subprocess
    try:
        process = subprocess.Popen([loader], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except EnvironmentError:
        return ""
    words = process.communicate()[0].decode("ascii", "replace").split()
    if words[:1] != [u"musl"] or u"Version" not in words[:-1]:
        return ""
    return u"musl " + u".".join(words[words.index(u"Version") + 1].split(u".")[:2])


def _loader():
    """Return the path of the program that loads this interpreter, from its ELF header; None if there is
    none."""
    import struct
    try:
        with open(sys.executable, "rb") as file:
            head = file.read(64)
            if len(head) < 64 or head[:4] != b"\x7fELF":
                return None
            wide, order = head[4:5] == b"\2", "<" if head[5:6] == b"\1" else ">"
            at, = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)
            size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
            for _ in range(min(count, 64)):
                file.seek(at)
                entry = file.read(size)
                if struct.unpack_from(order + "I", entry)[0] == 3:  # PT_INTERP
                    start, = struct.unpack_from(order + ("Q" if wide else "I"), entry, 8 if wide else 4)
                    length, = struct.unpack_from(order + ("Q" if wide else "I"), entry, 32 if wide else 16)
                    file.seek(start)
                    return file.read(min(length, 4096)).rstrip(b"\0")
                at += size
    except (EnvironmentError, TypeError, struct.error):
        pass  # no path of its own, or no such file
    return None


def _sha256(data):
    # `hashlib` takes long to import
    for name in ("_sha2", "_sha256", "hashlib"):
        try:
            return __import__(name).sha256(data)
        except (ImportError, AttributeError):
            pass


def _text(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else u"%s" % (value,)
