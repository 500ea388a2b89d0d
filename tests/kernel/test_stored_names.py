"""The names under which signals are stored: a store outlives the words of the code."""

from __future__ import annotations

from typing import get_args

import msgspec

from pelton.kernel.model.signals import AnySignal, RunNow, Terminate

# Tag, and fields. A field may be added; none is renamed or removed, and no tag changes.
STORED = {
    "Start": "strict key ns definition input meta parent parent_n root hops trigger origin ancestor",
    "Report": "strict n slot it attempt status output keep_output reason failure worker again_after hold source",
    "EventArrived": "strict id name body key thread position posted keep n ident keeps expires sticky",
    "Offered": "strict n name key",
    "Trigger": "strict name changes actor request origin reply",
    "Merge": "strict changes must_leave",
    "Amend": "strict changes actor request",
    "Retire": "strict actor request reason",
    "Count": "strict changes",
    "TimerFired": "strict n arm epoch",
    "ChildEnded": "strict n child era status output reason failure",
    "ChildReopened": "strict n child era",
    "ChildReplied": "strict n child output failure",
    "Continue": "strict",
    "Pause": "strict thread",
    "Resume": "strict thread",
    "Terminate": "strict reason sequel by_parent",
    "Rewind": "strict to n definition input step_input meta children",
    "Rescue": "strict thread skip",
    "Skip": "strict slot input output",
    "SetVars": "strict changes thread append",
    "Upgrade": "strict definition",
    "HurryUp": "strict",
}


def test_the_stored_names_of_signals_stay() -> None:
    known = {each.__struct_config__.tag: set(each.__struct_encode_fields__) for each in get_args(AnySignal)}
    assert set(STORED) <= set(known)
    for tag, fields in STORED.items():
        assert set(fields.split()) <= known[tag], tag


def test_a_renamed_signal_is_read_back() -> None:
    for text, signal in ((b'{"type":"HurryUp"}', RunNow()), (b'{"type":"Terminate","sequel":true}', Terminate(follow_up=True))):
        assert msgspec.json.decode(text, type=AnySignal) == signal
        assert msgspec.json.encode(signal) == text
