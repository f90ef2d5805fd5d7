"""`HostNotFound`, where programs import it from."""
from ._errors import HostNotFound

__all__ = ["HostNotFound"]
