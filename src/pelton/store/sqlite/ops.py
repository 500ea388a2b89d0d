"""The operations into which a commit group is split for the writer process, in one fixed order, each a named statement.

Within a group, and within a whole batch that is written at once, all rows of one operation come before those of the next. The
order matters where two of them share a row: checks first; rows that replace one of the same number after that one is removed; a
step is written before its open row is deleted, so that a large input shared by both stays in place; removals last.
"""

from __future__ import annotations

from typing import NamedTuple


class Op(NamedTuple):
    """`exact`: every row must change exactly one row of the table, otherwise the group is lost. `check`: a SELECT whose result
    must equal the last value of the row (-1: no result; with `any`, a last value of -1 is not checked). `lost`: the text of the
    loss, with the values of the row."""

    name: str
    lost: str = ""
    exact: bool = False
    check: bool = False
    reported: bool = False  # a row that changes nothing is reported, and loses nothing
    added: bool = False  # a number that is added up: the new value is reported, and what crossing its mark leads to is written


OPS: tuple[Op, ...] = (
    Op("check_run", "run {0}", check=True),
    Op("check_handlers", "handlers {0}", check=True),
    Op("check_node", "node {0}", check=True),
    Op("check_defined", "definitions {0}", check=True),
    Op("check_pause", "pause {0} {1}", check=True),
    Op("check_record", "record of run {0}", check=True),
    Op("check_handed", "work {0} {1}", check=True),
    Op("check_unnamed", "name {2} of {0}", check=True),
    Op("check_lookup", "lookup {1} {2} of {0}", check=True),
    Op("node_put"),
    Op("node_mark", "node {0}", exact=True),
    Op("outcome_new"),
    Op("outcome_old"),
    Op("lookup_new"),
    Op("lookup_move"),
    Op("check_definition", "definition {1} {2} of {0}", check=True),
    Op("rendezvous_new", "rendezvous {1} {2} of {0}"),
    Op("rendezvous_raise", "rendezvous {1} {2} of {0}", exact=True),
    Op("line_new"),
    Op("run_new", "run {0}"),
    Op("run_step", "run {0}", exact=True),
    Op("run_turn", "run {0}", exact=True),
    Op("run_named", "run {0}", exact=True),
    Op("open_replaced"),
    Op("step_replaced"),
    Op("step_new", "step {1} of run {0}"),
    Op("step_placed", "step {1} of run {0}"),
    Op("blob_put"),
    Op("open_new", "open row {1} of run {0}"),
    Op("open_placed", "open row {1} of run {0}"),
    Op("open_wide"),
    Op("open_narrow"),
    Op("open_wide_kept"),
    Op("open_narrow_kept"),
    Op("open_stranded"),
    Op("open_gone"),
    Op("step_gone"),
    Op("thread_put"),
    Op("var_put"),
    Op("var_gone"),
    Op("fragment_put"),
    Op("record_put"),
    Op("past_new", "past value {1} of run {0}"),
    Op("attr_gone"),
    Op("attr_put"),
    Op("attempt_put"),
    Op("attempt_gone"),
    Op("checkpoint_put"),
    Op("purge_attempt"),
    Op("purge_attempt_scope"),
    Op("purge_checkpoint"),
    Op("purge_checkpoint_scope"),
    Op("purge_fragment"),
    Op("purge_fragment_scope"),
    Op("purge"),
    Op("purge_scope"),
    Op("timer_clear"),
    Op("timer_clear_arm"),
    Op("timer_stale"),
    Op("timer_put"),
    Op("held_new", "held {0}"),
    Op("held_release", "held {0}", exact=True),
    Op("kept_new", "event of run {2}"),
    Op("kept_taken"),
    Op("kept_gone"),
    Op("sticky_gone"),
    Op("copies_gone"),
    Op("sticky_new", "sticky event {2} {3}"),
    Op("copy_new"),
    Op("copy_count"),
    Op("wait_close"),
    Op("wait_open"),
    Op("key_free"),
    Op("key_put"),
    Op("key_claim", "key {1} {2} of {0}", exact=True),
    Op("key_again"),
    Op("check_keys", "keys of run {0}", check=True),
    Op("event_new", "event", exact=True),
    Op("event_outcome"),
    Op("delivery_new", "delivery {0}"),
    Op("delivery_gone"),
    Op("delivery_retry"),
    Op("dead_new", "dead letter {0}"),
    Op("dead_gone"),
    Op("inbox_put"),
    Op("inbox_gone", "signal {0}", exact=True),
    Op("handler_change"),
    Op("definition_close"),
    Op("definition_new", "definition {2} {3} of {1}", exact=True),
    Op("counter_raise"),
    Op("defined_raise"),
    Op("pause_put"),
    Op("lease"),
    Op("lease_if", reported=True),
    Op("lease_limited", reported=True),
    Op("claim_gone"),
    Op("claim_put", reported=True),
    Op("log_new"),
    Op("result_new", "result of run {1} in job {0}"),
    Op("seen_put"),
    Op("seen_gone"),
    Op("secret_gone", "secret {1} of {0}", exact=True),
    Op("secret_put"),
    Op("tally", added=True),
    Op("descendants_old"),
    Op("descendants_add"),
    Op("request_old"),
    Op("request_new", "request {1} of {0}"),
    Op("reply"),
    Op("request_gone", "request {1} of {0}", exact=True),
    Op("remove_run"),
    Op("remove_open"),
    Op("remove_step"),
    Op("remove_blob"),
    Op("remove_thread"),
    Op("remove_var"),
    Op("remove_fragment"),
    Op("remove_attempt"),
    Op("remove_checkpoint"),
    Op("remove_timer"),
    Op("remove_wait"),
    Op("remove_held"),
    Op("remove_kept"),
    Op("remove_key"),
    Op("remove_inbox"),
    Op("remove_log"),
    Op("remove_record"),
    Op("remove_past"),
    Op("remove_attr"),
    Op("meta_put"),
)

NUMBER: dict[str, int] = {op.name: number for number, op in enumerate(OPS)}
REMOVALS: tuple[int, ...] = tuple(number for name, number in NUMBER.items() if name.startswith("remove_"))
LOOKUPS: frozenset[int] = frozenset({NUMBER["lookup_new"], NUMBER["lookup_move"]})
RAISES: frozenset[int] = frozenset({NUMBER["rendezvous_new"], NUMBER["rendezvous_raise"]})
SWEEP = len(OPS)  # not a statement: a step in the removal of old data, in a batch of its own (`sweeper`)

Row = tuple[int | float | str | bytes | None, ...]
GroupOps = dict[int, list[Row]]  # number of the operation → rows
BatchOps = dict[int, tuple[list[Row], list[int]]]  # number of the operation → rows, and for each the place of its group
