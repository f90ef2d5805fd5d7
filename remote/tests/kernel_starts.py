"""End to end: unusual folders and programs to start a kernel in. Run by kernel_tests.py."""
import os
import shutil
import tempfile

from kernel_case import Kernel

# what a frozen program does with arguments for the interpreter in it
FROZEN = "import sys\nexec(sys.argv[sys.argv.index('-c') + 1])\n"
FROZEN_IN_FUNCTION = "import sys\ndef main():\n    exec(sys.argv[sys.argv.index('-c') + 1])\nmain()\n"


class Starts(Kernel):

    def setUp(self):
        self.folder = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, True)

    def test_programs_that_execute_their_argument_and_keep_their_arguments(self):
        for number, text in enumerate((FROZEN, FROZEN_IN_FUNCTION)):
            path = os.path.join(self.folder, "program%d.py" % number)
            with open(path, "w") as file:
                file.write(text)
            k = self.start(argv=[path])
            k.hello()
            self.assertEqual([2], k.run("import sys; channel.send(1 + 1)"))
            self.assertEqual(0, k.exit())

    def test_unbuffered_output_comes_by_lines(self):
        k = self.start(argv=["-u"])
        k.hello()
        k.run("import sys\nsys.stdout.write(u'a')\nsys.stdout.write(u'b\\n')\nsys.stderr.write(u'c\\n')")
        k.wait_stderr(b"ab\n")
        k.wait_stderr(b"c\n")
        self.assertEqual(0, k.exit())

    def test_the_folder_has_been_removed(self):
        if self.jython:
            return  # Java does not start there
        there = os.path.join(self.folder, "there")
        os.mkdir(there)
        # through a shell: a process cannot remove the folder that it starts a child in
        script = os.path.join(self.folder, "start")
        with open(script, "w") as file:
            file.write('#!/bin/sh\nrmdir "%s" && exec "%s" "$@"\n' % (there, self.python))
        os.chmod(script, 0o755)
        python, self.python = self.python, script
        try:
            k = self.start(cwd=there)
        finally:
            self.python = python
        hello = k.hello()
        self.assertEqual("", hello["cwd"])
        self.assertEqual([2], k.run("channel.send(1 + 1); channel.gateway._rinfo()"))
        self.assertEqual(0, k.exit())

    def test_a_tilde_is_a_home(self):
        env = dict(os.environ, HOME=self.folder)
        k = self.start({"chdir": "~/made/here"}, env=env, cwd="/usr")
        k.hello()
        self.assertEqual([True], k.run("import os; channel.send(os.path.samefile('.', %r))"
                                       % os.path.join(self.folder, "made", "here")))
        self.assertEqual(0, k.exit())
        k = self.start({"chdir": "~no-such-account/x"}, env=env, cwd=self.folder)
        self.assertEqual(94, k.wait())
        self.assertIn(b"no-such-account", k.stderr)
        self.assertEqual(["made"], os.listdir(self.folder))
