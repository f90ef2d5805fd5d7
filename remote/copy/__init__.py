"""The host's half of copies (docs/kernel.md, section 9): `receive` writes files there, `send` reads them.

The client sends `common` and one of the two as one source, and executes it in a gateway.
"""
