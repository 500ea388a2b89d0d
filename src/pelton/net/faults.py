"""How an exchange with another system can fail: for now, or for good. Shared by outgoing HTTP and by every connector."""

from __future__ import annotations


class Temporary(Exception):
    """The system could not be reached or refused for now: try again. The text is shown to people."""


class Absent(Temporary):
    """What is asked for is not there for now, and to look again costs next to nothing: it is looked for every few seconds."""


class Permanent(Exception):
    """This message or this address will never be accepted as it is. The text is shown to people."""
