"""Which loads there are, and on which hosts."""

from gateways import Gateways
from kept import Kept, KeptGateways
from streams import Many, Pipes
from terminals import Terminals

LOADS = {
    "gateways": [(Gateways, "build1"), (Gateways, "inner"), (Gateways, "local")],
    "pipes": [(Pipes, "build2"), (Pipes, "inner"), (Many, "build1")],
    "kept": [(Kept, "build2"), (Kept, "inner"), (KeptGateways, "build2"), (KeptGateways, "inner")],
    "terminals": [(Terminals, "build1"), (Terminals, "inner")],
}
