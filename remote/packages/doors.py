"""Folders that a kernel makes for its children: as those of sets, named by their content."""
from . import manifest

TIME = 946684800  # of the files in them: the content decides


def keep(store, files):
    """Return a folder with these files, {relative path: bytes}; None if there is no place for one."""
    files = dict([(path if isinstance(path, bytes) else path.encode("utf-8"), files[path]) for path in files])
    text = manifest.written([(path, manifest.identity(files[path]).encode("ascii"), len(files[path]),
                              False, TIME) for path in files])
    name = manifest.identity(text)
    folder = store.find(name, False)
    claim = None if folder else store.claim(name, False)
    if claim is None:
        return folder
    folder = store.find(name, False)
    if folder:
        claim[1].close()
        return folder
    from .draft import Draft
    draft = Draft(store, claim[0], claim[1], manifest.Manifest(text), b"")
    for number in list(draft.wanted):
        draft.feed(files[draft.manifest.files[number][0]])
    return draft.finish()
