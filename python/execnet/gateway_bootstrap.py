"""`HostNotFound`, under the name that programs import it from."""

from ._errors import HostNotFound

__all__ = ["HostNotFound"]
