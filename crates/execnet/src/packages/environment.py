"""Tell what is installed where the client runs: one JSON document on stdout.

The client sends this to its own interpreter (Python 3.8 and later) on stdin; `PATHS`, if it is set, is the
`sys.path` to look at instead of the interpreter's own. Only metadata is read and nothing is imported but the
standard library: the files of a distribution are the client's to find.
"""

import ast
import importlib.machinery
import importlib.util
import json
import os
import re
import sys

METADATA = ("METADATA", "PKG-INFO")
# of meson-python and scikit-build-core: to ask these for a spec may build
BUILDS = re.compile(r"_.*_editable_loader\.py$|_editable_skbc_.*\.py$|_.*_editable\.py$")
# what makes an editable one: none of them travels
POINTERS = re.compile(
    r"[^/]*\.pth$|__editable__|_editable_impl_|_editable_skbc_|_[^/]*_editable(_loader)?\.py$"
)


def main(paths):
    if paths is not None:
        sys.path[:] = paths
    found, seen, problems, watch = [], set(), [], [os.path.join(sys.prefix, "pyvenv.cfg")]
    for place in sys.path:
        try:
            names = sorted(os.listdir(place or "."))
        except OSError:
            continue
        for name in names:
            stem, end = os.path.splitext(name)
            if end == ".pth":
                watch.append(os.path.join(os.path.abspath(place), name))
            if end not in (".dist-info", ".egg-info"):
                continue
            try:
                told = distribution(os.path.abspath(place), name, stem)
                json.dumps(told, ensure_ascii=False).encode("utf-8")
            except Exception as error:
                # a broken one must not hide the others
                what = (ascii(os.path.join(place, name)), type(error).__name__, ascii(str(error)))
                problems.append("%s: %s: %s" % what)
                continue
            if told is not None and normalized(told["name"]) not in seen:
                seen.add(normalized(told["name"]))
                found.append(told)
    return {
        "facts": facts(),
        "executable": sys.executable or "",
        "path": [os.path.abspath(place) for place in sys.path if whole(place)],
        "library": os.path.dirname(os.__file__),
        "standard": sorted(standard(os.path.dirname(os.__file__))),
        "watch": [place for place in watch if whole(place)],
        "distributions": found,
        "problems": problems,
    }


def standard(library):
    """The names of the standard library's modules."""
    names = set(getattr(sys, "stdlib_module_names", ()))
    if not names:
        # before Python 3.10
        names.update(sys.builtin_module_names)
        for folder in (library, os.path.join(library, "lib-dynload")):
            if os.path.isdir(folder):
                names.update(name.partition(".")[0] for name in os.listdir(folder))
    return names


def distribution(place, name, stem):
    """What is known of one distribution; None if its metadata names none."""
    folder = os.path.join(place, name)
    whole_file = not os.path.isdir(folder)
    text = text_of(folder) if whole_file else next(filter(None, (text_of(folder, n) for n in METADATA)), "")
    headers = headers_of(text)
    title = (headers.get("name") or [stem.partition("-")[0]])[0]
    version = (headers.get("version") or [stem.partition("-")[2].partition("-py")[0]])[0]
    if not title or not version:
        return None
    requires = headers.get("requires-dist", [])
    extras = headers.get("provides-extra", [])
    if not whole_file and not requires and name.endswith(".egg-info"):
        requires, extras = requires_txt(text_of(folder, "requires.txt"))
    told = {
        "name": title,
        "version": version,
        "place": place,
        "metadata": name,
        "requires": requires,
        "requires_python": (headers.get("requires-python") or [""])[0],
        "extras": extras,
        "tags": [],
        "scripts": {},
        "pytest11": False,
        "requested": False,
        "direct": False,
        "roots": None,
        "pointers": [],
        "problem": "",
    }
    if whole_file:
        return told
    told["tags"] = headers_of(text_of(folder, "WHEEL")).get("tag", [])
    told["scripts"], told["pytest11"] = entry_points(text_of(folder, "entry_points.txt"))
    told["requested"] = os.path.exists(os.path.join(folder, "REQUESTED"))
    told["direct"] = os.path.exists(os.path.join(folder, "direct_url.json"))
    if is_editable(place, folder):
        names = record(folder)
        told["pointers"] = [name for name in names if "/" not in name and POINTERS.search(name)]
        told["roots"], told["problem"] = roots(place, folder, told["pointers"])
    return told


def headers_of(text):
    """The headers of an e-mail that metadata needs: names in lower case, continued lines joined."""
    headers, values = {}, [""]
    for line in text.splitlines():
        if not line.strip():
            break
        if line[0] in " \t":
            values[-1] += " " + line.strip()
            continue
        key, _, value = line.partition(":")
        values = headers.setdefault(key.strip().lower(), [])
        values.append(value.strip())
    return headers


def requires_txt(text):
    """setuptools' older requirements, as Requires-Dist would have them; and the extras."""
    requires, extras, marker = [], [], ""
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            extra, _, condition = line[1:-1].partition(":")
            parts = ["(%s)" % condition] if condition else []
            if extra:
                extras.append(extra)
                parts.append('extra == "%s"' % extra)
            marker = " and ".join(parts)
        else:
            # a URL needs its space before `;`
            requires.append("%s%s; %s" % (line, " " if "@" in line else "", marker) if marker else line)
    return requires, extras


def entry_points(text):
    """The console scripts, and whether pytest has a plugin here."""
    scripts, plugin, group = {}, False, ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            group = line.strip("[]").strip()
        elif line and line[0] not in "#;" and "=" in line:
            name, _, value = line.partition("=")
            if group == "console_scripts":
                scripts[name.strip()] = value.partition("[")[0].strip()
            plugin = plugin or group == "pytest11"
    return scripts, plugin


def is_editable(place, folder):
    """pip's word in direct_url.json, or what `setup.py develop` and a source folder on the path look like."""
    try:
        direct = json.loads(text_of(folder, "direct_url.json") or "{}")
        if direct.get("dir_info", {}).get("editable"):
            return True
    except (ValueError, AttributeError):
        pass
    if folder.endswith(".egg-info"):
        listed = any(os.path.exists(os.path.join(folder, name)) for name in ("installed-files.txt", "RECORD"))
        return not listed and os.path.realpath(place) not in {os.path.realpath(site) for site in sites()}
    # flit's, maturin's, poetry's and others', older than direct_url.json
    files = record(folder)
    outside = [name for name in files if name.partition("/")[0] != os.path.basename(folder)]
    return bool(outside) and all(POINTERS.search(name) or name.startswith("..") for name in outside) and any(
        name.endswith(".pth") for name in outside
    )


def roots(place, folder, pointers):
    """Where an editable's top-level names are: [name, path], with a name of `` for a folder that belongs on
    sys.path whole; and the problem, if there is one."""
    names = text_of(folder, "top_level.txt").split()
    found, folders, mapped = [], [], set()
    for pointer in pointers:
        text = text_of(place, pointer)
        if pointer.endswith(".pth"):
            lines = [line.strip() for line in text.splitlines()]
            lines = [line for line in lines if line and not line.startswith(("#", "import ", "import\t"))]
            folders += [os.path.abspath(os.path.join(place, line)) for line in lines]
        elif BUILDS.match(pointer) and not only_sources(text):
            return [], "is an editable install that is built when it is imported: install it without -e"
        else:
            for name, path in mapping(text):
                mapped.add(name.partition(".")[0])
                found.append([name.replace(".", "/"), path])
    names = [name for name in names if name not in mapped]
    if folder.endswith(".egg-info") and not names:
        folders.append(place)
    if not names and not mapped:
        found += [["", path] for path in folders if os.path.isdir(path)]
    for name in names:
        parts = parts_of(name, folders)
        if parts is None:
            return [], "cannot be sent: its module %s is not found" % name
        # what lies in the site folder itself is in RECORD
        inside = "" if folder.endswith(".egg-info") else os.path.realpath(place) + os.sep
        found += [part for part in parts if not inside or not os.path.realpath(part[1]).startswith(inside)]
    for root in found:
        if not os.path.exists(root[1]):
            # setuptools names a module without its `.py`
            ends = [end for end in importlib.machinery.all_suffixes() if os.path.isfile(root[1] + end)]
            if not ends:
                return [], "cannot be sent: its sources are not at %s" % root[1]
            root[:] = [root[0] + ends[0], root[1] + ends[0]]
    return [root for number, root in enumerate(found) if root not in found[:number]], ""


def parts_of(name, folders):
    """[name, path] of a top-level name, by the finders of this interpreter; None if there is none."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None:
        return None
    if spec.submodule_search_locations is None:
        return [[os.path.basename(spec.origin), spec.origin]] if os.path.isfile(spec.origin or "") else None
    places = list(spec.submodule_search_locations)
    if spec.origin is None or spec.loader is None:
        # a namespace package has parts of others, too
        mine = tuple(os.path.realpath(folder) + os.sep for folder in folders)
        places = [part for part in places if not mine or os.path.realpath(part).startswith(mine)]
    return [[name, os.path.abspath(part)] for part in places if os.path.isdir(part)]


def mapping(text):
    """The names and paths in the finder of an editable: setuptools' MAPPING and NAMESPACES, and calls of
    `map_module`."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            name = getattr(targets[0], "id", "")
            if name == "MAPPING":
                found += ast.literal_eval(node.value).items()
            elif name == "NAMESPACES":
                several = ast.literal_eval(node.value).items()
                found += [(name, path) for name, paths in several for path in paths if os.path.isdir(path)]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("map_module", "add_mapping"):
            found.append(tuple(ast.literal_eval(argument) for argument in node.args[:2]))
    # the package's `__init__.py` stands for its folder
    return [(name, re.sub(r"[/\\]__init__\.py$", "", path)) for name, path in found]


def only_sources(text):
    """Whether scikit-build-core's finder neither builds at import nor has files beside the sources."""
    for node in ast.parse(text).body:
        call = getattr(node, "value", None)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "install" and len(call.args) >= 5:
            wheel_files, build_folder = call.args[1], call.args[4]
            no_files = isinstance(wheel_files, ast.Dict) and not wheel_files.keys
            return no_files and isinstance(build_folder, ast.Constant) and build_folder.value is None
    return False


def record(folder):
    """The names in RECORD, without sizes and hashes."""
    names = []
    for line in text_of(folder, "RECORD").splitlines():
        if line.startswith('"'):
            names.append(re.sub('""', '"', re.match(r'"((?:[^"]|"")*)"', line).group(1)))
        else:
            names.append(line.partition(",")[0])
    return names


def text_of(*parts):
    try:
        with open(os.path.join(*parts), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def whole(text):
    """Whether it is UTF-8: nothing else is in the document."""
    try:
        return bool(text.encode("utf-8")) or True
    except UnicodeEncodeError:
        return False


def sites():
    """The folders that hold what is installed."""
    site = sys.modules.get("site")
    if site is None:
        return []
    found = site.getsitepackages() if hasattr(site, "getsitepackages") else []
    if getattr(site, "ENABLE_USER_SITE", False):
        found = [*found, site.getusersitepackages()]
    # Debian's, which a path may name without the interpreter's saying so
    return [*found, *(place for place in sys.path if place.endswith(("site-packages", "dist-packages")))]


def facts():
    """What markers and tags are about, under the kernel's names for it."""
    about, machine = sys.implementation, os.uname()
    release = about.version
    full = "%d.%d.%d" % release[:3]
    if release[3] != "final":
        full += release[3][0] + str(release[4])
    return {
        "python_version": "%d.%d" % sys.version_info[:2],
        "python_full_version": sys.version.split()[0],
        "implementation_name": about.name,
        "implementation_version": full,
        "platform_python_implementation": {"cpython": "CPython", "pypy": "PyPy"}.get(about.name, about.name),
        "os_name": os.name,
        "sys_platform": sys.platform,
        "platform_system": machine.sysname,
        "platform_machine": machine.machine,
        "platform_release": machine.release,
        "platform_version": machine.version,
        "ext_suffix": (importlib.machinery.EXTENSION_SUFFIXES or [""])[0],
        "cache_tag": about.cache_tag or "",
        "libc": libc(),
        "bits": "64" if sys.maxsize > 2**32 else "32",
    }


def libc():
    """`glibc 2.36`, `musl 1.2`, or nothing if it is neither or not known."""
    try:
        told = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        told = ""
    if told.startswith("glibc "):
        return "glibc " + ".".join(told[6:].split(".")[:2])
    if not sys.platform.startswith("linux"):
        return ""
    # musl's loader tells its version if it is run without a program
    for name in sorted(os.listdir("/lib")) if os.path.isdir("/lib") else []:
        if name.startswith("ld-musl-"):
            import subprocess

            ran = subprocess.run(["/lib/" + name], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
            found = re.search(rb"Version (\d+\.\d+)", ran.stderr)
            return "musl " + found.group(1).decode() if found else ""
    return ""


# ASCII: the locale decides nothing. On a line of its own: a `sitecustomize` may have printed something
sys.stdout.write("\n" + json.dumps(main(PATHS)) + "\n")  # noqa: F821
