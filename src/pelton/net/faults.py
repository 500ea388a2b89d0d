"""How communication with another system can fail: temporarily or permanently. Shared by outgoing HTTP and every connector."""

from __future__ import annotations


class Temporary(Exception):
    """The system could not be reached, or refused for now: retry. The text is shown to people."""


class Absent(Temporary):
    """The target does not exist right now, and checking again is cheap: it is checked every few seconds."""


class Permanent(Exception):
    """This message or address will never be accepted as it is. The text is shown to people."""
