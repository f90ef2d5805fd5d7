"""The imports of what is sent to hosts have no circles; our threads import nothing beside user code."""
import os
import re
import unittest

REMOTE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# the fast way to the bytes of values, and the complete one
NATURAL = {"agent": [], "kernel": [("values", "codec")], "packages": [], "kept": []}


def imports(package):
    """Return the modules of a package, each with the modules of the package that it imports."""
    folder = os.path.join(REMOTE, package)
    names = [name[:-3] for name in os.listdir(folder) if name.endswith(".py") and name != "__init__.py"]
    own = "from (?:%s)" % ("agent" if package == "agent" else r"\.")
    found = {}
    for name in names:
        with open(os.path.join(folder, name + ".py")) as file:
            text = file.read()
        direct = re.findall(r"(?m)^ *%s\.?(\w+) import" % own, text)
        for line in re.findall(r"(?m)^ *%s import (.*?)(?:  #.*)?$" % own, text):
            direct += line.split(", ")
        found[name] = set(direct) & set(names)
    return found


class Layers(unittest.TestCase):

    def test_imports_have_no_circle_but_natural_ones(self):
        for package in sorted(NATURAL):
            below = imports(package)
            self.assertTrue(sum([len(below[name]) for name in below]) > (3 if package == "kept" else 30))
            for name, other in NATURAL[package]:
                below[name].remove(other)
            for name in below:  # what it imports directly and through others
                reached, more = set(), set(below[name])
                while more:
                    reached |= more
                    more = set([each for one in more for each in below[one]]) - reached
                self.assertNotIn(name, reached,
                                 "remote/%s/%s.py imports itself by way of others" % (package, name))

    def test_what_an_ordinary_join_does_not_need_is_not_imported_by_it(self):
        top = {}
        for name in imports("agent"):
            with open(os.path.join(REMOTE, "agent", name + ".py")) as file:
                text = file.read()
            found = re.findall(r"(?m)^from agent\.(\w+) import", text)
            for line in re.findall(r"(?m)^from agent import (.*)$", text):
                found += line.split(", ")
            top[name] = set(found)
        reached, more = set(), {"stub", "posix", "family", "greet", "place"}
        while more:
            reached |= more
            more = set([each for one in more for each in top[one]]) - reached
        self.assertTrue({"core", "process", "children"} <= reached)
        later = {"kept", "ring", "spool", "entry", "perils", "look", "terminal", "prefix", "spare",
                 "quick", "jvm"}
        self.assertEqual(set(), reached & later)

    def test_what_a_thread_imports_is_loaded_already(self):
        # beside user code's imports: before Python 3.8 two threads that import at a time may fail or hang
        for name in ("collect", "copies"):
            with open(os.path.join(REMOTE, "packages", name + ".py")) as file:
                text = file.read()
            others = set(re.findall(r"(?m)^ *(?:import|from) (\w+)", text))
            self.assertTrue(others)
            self.assertLessEqual(others, {"os", "stat", "sys", "time"}, name)


if __name__ == "__main__":
    unittest.main()
