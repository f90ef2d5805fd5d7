"""Packages: what a client has installed, in a gateway's interpreter (docs/kernel.md, section 8).

A second bundle, which travels within CONFIG only if packages are asked for. Its modules join the kernel's
package, `execnet_kernel`. The first group is what a gateway needs whose packages are on the host already; the
rest is compiled when it is first used.

    packages     the conversation before HELLO
    places       folders that a store may use
    locks        locks on folders and files, and what must be asked of the system for them
    seal         whether a folder is as it was written
    store        finds and keeps the folders of sets of files
    facts        what this interpreter is
    activate     makes sets importable, here and in children
    door         what they change in an interpreter; children execute it, too
    doors        folders for children
    manifest     the files of a set, as text                             no IO

    draft        a folder while it is written
    memory       sets in memory, where nothing can be written
    copies       projects under test, which `pytest --net` copies beside the packages
    collect      what goes when nobody has used it for long, or for room; what a host holds
"""
