-- Every statement of the writer process, by name. The order in which a group uses them is that of `ops.OPS`.

-- name: check_run
-- The revision of a run that a decision has read.
SELECT rev FROM run WHERE key = ?1;

-- name: check_handlers
-- The counter of a namespace's handler sets.
SELECT value FROM counter WHERE ns = ?1;

-- name: check_node
-- The epoch of a server.
SELECT epoch FROM node WHERE number = ?1;

-- name: check_defined
-- The counter of a namespace's other definitions.
SELECT value FROM defined WHERE ns = ?1;

-- name: check_pause
-- The epoch of a process's pause.
SELECT coalesce((SELECT epoch FROM pause WHERE ns = ?1 AND process = ?2), 0);

-- name: check_record
-- Since when a run's current record is good.
SELECT since FROM record WHERE run = ?1 AND body IS NOT NULL;

-- name: check_handed
-- Whether work is handed out as a decision has it.
SELECT 1 FROM open WHERE run = ?1 AND n = ?2 AND polls = ?3 AND lease = ?4;

-- name: check_unnamed
-- How many live runs have a name.
SELECT count(*) FROM run_key INDEXED BY run_key_live WHERE live = 1 AND ns = ?1 AND kind = ?2 AND text = ?3 AND process = ?4;

-- name: check_lookup
-- The revision of an attribute that is looked up.
SELECT rev FROM lookup WHERE ns = ?1 AND name = ?2 AND text = ?3;

-- name: node_put
-- A server that comes or goes, or was declared dead.
INSERT INTO node (number, epoch, seen, settled, batch) VALUES (?1, ?2, ?3, ?4, 0)
ON CONFLICT DO UPDATE SET epoch = excluded.epoch, seen = excluded.seen, settled = excluded.settled,
  batch = CASE WHEN epoch = excluded.epoch THEN batch ELSE 0 END;

-- name: node_mark
-- The last batch of a server.
UPDATE node SET batch = ?3, seen = ?4, settled = max(settled, ?5) WHERE number = ?1 AND epoch = ?2;

-- name: outcome_new
-- A group that was written, of a batch whose answer may be lost.
INSERT OR REPLACE INTO outcome (node, batch, part) VALUES (?1, ?2, ?3);

-- name: outcome_old
-- Of batches that nobody asks for any more.
DELETE FROM outcome WHERE node = ?1 AND (batch <= ?2 OR batch > ?3);

-- name: lookup_new
-- An attribute that is looked up from now on.
INSERT INTO lookup (ns, name, text, rev, touched) VALUES (?1, ?2, ?3, 1, ?4) ON CONFLICT DO UPDATE SET touched = excluded.touched;

-- name: lookup_move
-- Other runs have it now.
UPDATE lookup SET rev = rev + 1, touched = ?4 WHERE ns = ?1 AND name = ?2 AND text = ?3;

-- name: lookup_old
-- Attributes that nobody has asked for, or changed, for a while.
DELETE FROM lookup WHERE (ns, name, text) IN
  (SELECT ns, name, text FROM lookup INDEXED BY lookup_touched WHERE touched < ?1 ORDER BY touched LIMIT ?2);

-- name: check_definition
-- The live version that is about to be replaced.
SELECT id FROM definition WHERE ns = ?1 AND kind = ?2 AND name = ?3 AND version = ?4 AND until = 0;

-- name: rendezvous_new
-- The first to use a meeting point.
INSERT INTO rendezvous (ns, name, key, rev, touched) VALUES (?1, ?2, ?3, 1, ?4);

-- name: rendezvous_raise
-- Holds the revision that was read, and moves it on.
UPDATE rendezvous SET rev = rev + 1, touched = ?5 WHERE ns = ?1 AND name = ?2 AND key = ?3 AND rev = ?4;

-- name: line_new
-- A namespace and process name that runs are listed under.
INSERT OR IGNORE INTO line (id, ns, process) VALUES (?1, ?2, ?3);

-- name: run_new
-- A run that must not exist yet.
INSERT INTO run (key, line, live, rev, created, head, ended, status) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8);

-- name: run_step
-- A run that goes on as it was listed: no index is touched.
UPDATE run SET rev = ?3, head = ?4, status = ?5 WHERE key = ?1 AND rev = ?2;

-- name: run_turn
-- A run that ends, or goes on after an end.
UPDATE run SET rev = ?3, head = ?4, live = ?5, ended = ?6, status = ?7 WHERE key = ?1 AND rev = ?2;

-- name: run_named
-- A placeholder that becomes a run.
UPDATE run SET rev = ?3, head = ?4, live = ?5, line = ?6, created = ?7, ended = ?8, status = ?9 WHERE key = ?1 AND rev = ?2;

-- name: open_replaced
-- An open row whose number comes again in the same group.
DELETE FROM open WHERE run = ?1 AND n = ?2;

-- name: step_replaced
-- An ended row whose number comes again in the same group.
DELETE FROM step WHERE run = ?1 AND n = ?2;

-- name: step_new
-- A step that has ended.
INSERT INTO step (run, n, slot, scope, it, parts, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7);

-- name: step_placed
-- The same, found by its place too.
INSERT INTO step (run, n, slot, scope, it, parts, body, place) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8);

-- name: blob_put
-- A large part of a row; one that is there already is not written again.
INSERT INTO blob (run, n, part, body) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (run, n, part) DO UPDATE SET body = excluded.body WHERE body <> excluded.body;

-- name: open_new
-- A token. The line is read from its run where it is not known (0).
INSERT INTO open (run, n, slot, scope, it, queue, urgency, due, lease, lim, started, polls, worker, body, parts, input, output, waits, line)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
  CASE ?19 WHEN 0 THEN (SELECT line FROM run WHERE key = ?1) ELSE ?19 END);

-- name: open_placed
-- The same, found by its place, its thread, or what it parked for, too.
INSERT INTO open (run, n, slot, scope, it, queue, urgency, due, lease, lim, started, polls, worker, body, parts, input, output, waits, line,
  place, thread, stranded)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
  CASE ?19 WHEN 0 THEN (SELECT line FROM run WHERE key = ?1) ELSE ?19 END, ?20, ?21, ?22);

-- name: open_wide
-- A token whose large parts changed too.
UPDATE open SET queue = ?3, urgency = ?4, due = ?5, lease = ?6, lim = ?7, started = ?8, polls = ?9, worker = ?10, body = ?11,
  parts = ?12, input = ?13, output = ?14, waits = ?15 WHERE run = ?1 AND n = ?2;

-- name: open_narrow
-- A token of which only the small parts changed.
UPDATE open SET queue = ?3, urgency = ?4, due = ?5, lease = ?6, lim = ?7, started = ?8, polls = ?9, worker = ?10, body = ?11
WHERE run = ?1 AND n = ?2;

-- name: open_wide_kept
-- The same, of a token whose lease is as it was.
UPDATE open SET queue = ?3, urgency = ?4, lim = ?5, body = ?6, parts = ?7, input = ?8, output = ?9, waits = ?10
WHERE run = ?1 AND n = ?2;

-- name: open_narrow_kept
UPDATE open SET queue = ?3, urgency = ?4, lim = ?5, body = ?6 WHERE run = ?1 AND n = ?2;

-- name: open_stranded
-- A parked token: whether it waits for fuel.
UPDATE open SET stranded = ?3 WHERE run = ?1 AND n = ?2;

-- name: open_gone
-- A token that is no more.
DELETE FROM open WHERE run = ?1 AND n = ?2;

-- name: step_gone
-- An ended step that a rewind took back.
DELETE FROM step WHERE run = ?1 AND n = ?2;

-- name: thread_put
-- A thread with its own state.
INSERT INTO thread (run, no, body, above) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO UPDATE SET body = excluded.body, above = excluded.above;

-- name: var_put
-- A variable.
INSERT INTO var (run, thread, name, value) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET value = excluded.value;

-- name: var_gone
-- A variable that was removed.
DELETE FROM var WHERE run = ?1 AND thread = ?2 AND name = ?3;

-- name: fragment_put
-- Nodes that a run acquired under way.
INSERT INTO fragment (run, n, node, value, parent) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET value = excluded.value, parent = excluded.parent;

-- name: record_put
-- A run's document, or that there is none any more; listed where the run is.
INSERT INTO record (run, line, born, since, number, live, body) SELECT key, line, ?2, ?3, ?4, ?5, ?6 FROM run WHERE key = ?1
ON CONFLICT DO UPDATE SET since = excluded.since, number = excluded.number, live = excluded.live, body = excluded.body;

-- name: past_new
-- What a document was.
INSERT INTO past (run, since, until, number, live, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6);

-- name: attr_gone
-- The run is not found by this any more.
DELETE FROM attr WHERE run = ?1 AND name = ?2 AND value = ?3;

-- name: attr_put
-- What a run is found by.
INSERT INTO attr (run, name, value, line) SELECT key, ?2, ?3, line FROM run WHERE key = ?1 ON CONFLICT DO NOTHING;

-- name: attempt_put
-- An attempt that has ended. A rewind may have left one of its number.
INSERT INTO attempt (run, n, number, body) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (run, n, number) DO UPDATE SET body = excluded.body;

-- name: attempt_gone
-- An old one, when there are many.
DELETE FROM attempt WHERE run = ?1 AND n = ?2 AND number = ?3;

-- name: checkpoint_put
-- What an attempt has done.
INSERT INTO checkpoint (run, n, number, body) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (run, n, number) DO UPDATE SET body = excluded.body;

-- name: purge_attempt
-- Attempts of the steps of a range.
DELETE FROM attempt WHERE run = ?1 AND n >= ?2 AND n < ?3;

-- name: purge_attempt_scope
-- The same for a scope's early iterations, before their steps go.
DELETE FROM attempt WHERE run = ?1 AND n >= ?2 AND n < ?3
AND EXISTS (SELECT 1 FROM step WHERE step.run = ?1 AND step.n = attempt.n AND scope = ?4 AND it < ?5);

-- name: purge_checkpoint
-- Checkpoints of the steps of a range.
DELETE FROM checkpoint WHERE run = ?1 AND n >= ?2 AND n < ?3;

-- name: purge_checkpoint_scope
-- The same for a scope's early iterations, before their steps go.
DELETE FROM checkpoint WHERE run = ?1 AND n >= ?2 AND n < ?3
AND EXISTS (SELECT 1 FROM step WHERE step.run = ?1 AND step.n = checkpoint.n AND scope = ?4 AND it < ?5);

-- name: purge_fragment
-- What forks of a range made.
DELETE FROM fragment WHERE run = ?1 AND n >= ?2 AND n < ?3;

-- name: purge_fragment_scope
-- What forks in a scope's early iterations made, before their steps go.
DELETE FROM fragment WHERE run = ?1 AND n >= ?2 AND n < ?3
AND EXISTS (SELECT 1 FROM step WHERE step.run = ?1 AND step.n = fragment.n AND scope = ?4 AND it < ?5);

-- name: purge
-- Ended steps of a range.
DELETE FROM step WHERE run = ?1 AND n >= ?2 AND n < ?3;

-- name: purge_scope
-- Ended steps of a scope's early iterations in a range.
DELETE FROM step WHERE run = ?1 AND n >= ?2 AND n < ?3 AND scope = ?4 AND it < ?5;

-- name: timer_clear
-- Every timer of a step.
DELETE FROM timer WHERE run = ?1 AND n = ?2;

-- name: timer_clear_arm
-- One timer of a step.
DELETE FROM timer WHERE run = ?1 AND n = ?2 AND arm = ?3;

-- name: timer_put
-- One row an arm: setting it again replaces it.
INSERT INTO timer (run, n, arm, epoch, due) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET epoch = excluded.epoch, due = excluded.due;

-- name: timer_stale
-- A timer that fired and changed nothing, unless it was set anew meanwhile.
DELETE FROM timer WHERE run = ?1 AND n = ?2 AND arm = ?3 AND epoch = ?4;

-- name: held_new
-- Something that nothing can take yet.
INSERT INTO held (id, ns, run, name, key, posted, expires, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8);

-- name: held_release
-- Taken, by exactly one.
DELETE FROM held WHERE id = ?1;

-- name: kept_new
-- An event that stays.
INSERT INTO kept (id, ns, run, name, ident, taken, n, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8);

-- name: kept_taken
-- It was taken, by which step and when.
UPDATE kept SET n = ?2, taken = ?3 WHERE id = ?1;

-- name: kept_gone
DELETE FROM kept WHERE id = ?1;

-- name: sticky_gone
DELETE FROM sticky WHERE id = ?1;

-- name: copies_gone
DELETE FROM copy WHERE sticky = ?1;

-- name: sticky_new
-- A keyed event that stays.
INSERT INTO sticky (id, ns, name, key, expires, got, size, body) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7);

-- name: copy_new
-- Who has got a copy: the first ones are listed (?4).
INSERT INTO copy (sticky, id, body) SELECT ?1, ?2, ?3 FROM sticky WHERE id = ?1 AND got < ?4;

-- name: copy_count
UPDATE sticky SET got = got + 1 WHERE id = ?1;

-- name: wait_close
-- A step that waits no more.
DELETE FROM wait_key WHERE run = ?1 AND n = ?2;

-- name: wait_open
-- A step that waits for a key.
INSERT INTO wait_key (ns, name, key, run, n, opened) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING;

-- name: key_free
-- The names of a run that is over: free for others.
UPDATE run_key SET live = 0 WHERE run = ?1;

-- name: key_put
-- Another name for a run.
INSERT INTO run_key (ns, kind, text, process, run, live, uniq) VALUES (?1, ?2, ?3, ?4, ?5, 1, 0)
ON CONFLICT DO UPDATE SET live = 1, uniq = 0;

-- name: key_again
-- The names of a run that goes on after its end.
UPDATE run_key SET live = 1 WHERE run = ?1;

-- name: check_keys
-- How many of a run's names that no other live run may have are another's too.
SELECT count(*) FROM run_key AS mine INDEXED BY run_key_run CROSS JOIN run_key AS other INDEXED BY run_key_live
ON other.ns = mine.ns AND other.kind = mine.kind AND other.text = mine.text AND other.process = mine.process
WHERE mine.run = ?1 AND mine.live = 1 AND mine.uniq = 1 AND other.live = 1 AND other.run <> mine.run;

-- name: key_claim
-- A name that no other live run may have.
INSERT INTO run_key (ns, kind, text, process, run, live, uniq) SELECT ?1, ?2, ?3, ?4, ?5, 1, 1
WHERE NOT EXISTS (SELECT 1 FROM run_key INDEXED BY run_key_live
  WHERE live = 1 AND ns = ?1 AND kind = ?2 AND text = ?3 AND process = ?4 AND run <> ?5)
ON CONFLICT DO UPDATE SET live = 1, uniq = 1;

-- name: event_new
-- An event, once by its source and id, whether the earlier one is still there or only its id is known.
INSERT INTO event (key, ns, type, ident, body, outcome, state) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
WHERE NOT EXISTS (SELECT 1 FROM known_event WHERE ident = ?4);

-- name: event_outcome
-- The later outcome of an event.
UPDATE event SET outcome = ?2, state = ?3 WHERE key = ?1;

-- name: delivery_new
-- A message on its way out.
INSERT INTO delivery (number, tries, due, error, body) VALUES (?1, ?2, ?3, ?4, ?5);

-- name: delivery_gone
-- Delivered, or given up.
DELETE FROM delivery WHERE number = ?1;

-- name: delivery_retry
-- To be tried again.
UPDATE delivery SET tries = ?2, due = ?3, error = ?4 WHERE number = ?1;

-- name: dead_new
-- A message that was given up.
INSERT INTO dead (number, ns, body) VALUES (?1, ?2, ?3);

-- name: dead_gone
-- Redelivered, or dropped by a person.
DELETE FROM dead WHERE number = ?1;

-- name: inbox_put
-- A durable signal or job; the same id again replaces it.
INSERT INTO inbox (id, run, due, parked, body) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET run = excluded.run, due = excluded.due, parked = excluded.parked, body = excluded.body;

-- name: inbox_gone
-- Done.
DELETE FROM inbox WHERE id = ?1;

-- name: handler_change
-- What the next value of the counter changes; before the live version is closed, and before the counter is raised.
INSERT INTO handler_change (ns, counter, gone, come) SELECT ?1,
  1 + max(coalesce((SELECT value FROM counter WHERE ns = ?1), 0),
    coalesce((SELECT max(counter) FROM handler_change WHERE ns = ?1), 0)),
  coalesce((SELECT id FROM definition WHERE ns = ?1 AND kind = ?2 AND name = ?3 AND version = ?4 AND until = 0), 0), ?5;

-- name: definition_close
-- The live version was so until now.
UPDATE definition SET until = ?5 WHERE ns = ?1 AND kind = ?2 AND name = ?3 AND version = ?4 AND until = 0;

-- name: definition_new
-- A version, later than all before it.
INSERT INTO definition (id, ns, kind, name, version, since, until, hash, body) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
WHERE NOT EXISTS (SELECT 1 FROM definition WHERE ns = ?2 AND kind = ?3 AND name = ?4 AND version = ?5 AND since >= ?6);

-- name: counter_raise
-- Another set of handlers.
INSERT INTO counter (ns, value) VALUES (?1, 1) ON CONFLICT DO UPDATE SET value = value + 1;

-- name: pause_put
-- Whether a process is paused; its epoch was checked.
INSERT INTO pause (ns, process, epoch, body) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET epoch = ?3, body = ?4;

-- name: defined_raise
-- Other definitions.
INSERT INTO defined (ns, value) VALUES (?1, 1) ON CONFLICT DO UPDATE SET value = value + 1;

-- name: lease
-- Who has the work, and until when. A row that is gone is left gone.
UPDATE open SET lease = ?3, worker = ?4, polls = ?5, started = ?6, due = ?7 WHERE run = ?1 AND n = ?2;

-- name: lease_if
-- The same, if nobody else has changed it.
UPDATE open SET lease = ?3, worker = ?4, polls = ?5, started = ?6, due = ?7
WHERE run = ?1 AND n = ?2 AND polls = ?8 AND (?9 = 0 OR lease = 0);

-- name: lease_limited
-- The same, if a limit leaves room. What is handed out under a limit's name is found by `open_quota`, whatever becomes of it.
UPDATE open SET lease = ?3, worker = ?4, polls = ?5, started = ?6, due = ?7, quota = ?10, handed = ?14, pace = ?13
WHERE run = ?1 AND n = ?2 AND polls = ?8 AND (?9 = 0 OR lease = 0)
AND (?11 = 0 OR (SELECT count(*) FROM open AS held INDEXED BY open_quota
  WHERE held.quota IS NOT NULL AND held.lease <> 0 AND held.quota = ?10) < ?11)
AND (?12 = 0 OR (SELECT count(*) FROM paced WHERE quota = ?10 AND at > ?14 - ?13) < ?12);

-- name: claim_put
-- What nobody has, or only a server that is gone.
INSERT INTO claim (kind, name, node, epoch, at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET node = excluded.node, epoch = excluded.epoch, at = excluded.at
WHERE (node = excluded.node AND epoch = excluded.epoch)
  OR NOT EXISTS (SELECT 1 FROM node AS holder WHERE holder.number = claim.node AND holder.epoch = claim.epoch);

-- name: claim_gone
DELETE FROM claim WHERE kind = ?1 AND name = ?2 AND node = ?3 AND epoch = ?4;

-- name: log_new
-- A line that a worker wrote.
INSERT INTO log (run, n, at, text) VALUES (?1, ?2, ?3, ?4);

-- name: result_new
-- The outcome of a job's signal to one run, once.
INSERT INTO result (job, run, n, at, outcome, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6);

-- name: seen_put
-- A bookmark of a source, by name.
INSERT INTO seen (ns, source, name, state) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET state = excluded.state;

-- name: tally
-- Adds to a number of a node, and tells its new value.
INSERT INTO tally (line, node, name, value) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO UPDATE SET value = value + excluded.value RETURNING value;

-- name: descendants_old
-- Counts whose span is over, some at a time.
DELETE FROM descendants WHERE (ns, ancestor) IN
  (SELECT ns, ancestor FROM descendants INDEXED BY descendants_since WHERE since <= ?1 LIMIT 50);

-- name: descendants_add
-- ?5: a count that began then, or earlier, begins anew.
INSERT INTO descendants (ns, ancestor, count, since) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET
  count = CASE WHEN since <= ?5 THEN excluded.count ELSE count + excluded.count END,
  since = CASE WHEN since <= ?5 THEN excluded.since ELSE since END;

-- name: request_old
-- Requests that have expired, some at a time.
DELETE FROM reply WHERE (ns, request) IN (SELECT ns, request FROM reply INDEXED BY reply_expires WHERE expires <= ?1 LIMIT 50);

-- name: request_new
-- A caller waits for an answer.
INSERT INTO reply (ns, request, body, expires) VALUES (?1, ?2, ?3, ?4);

-- name: reply
-- The first answer counts.
UPDATE reply SET body = ?3 WHERE ns = ?1 AND request = ?2 AND body = x'' AND expires > ?4;

-- name: request_gone
-- The answer was read, or nobody waits any more.
DELETE FROM reply WHERE ns = ?1 AND request = ?2;

-- name: seen_gone
-- A bookmark that its source has removed.
DELETE FROM seen WHERE ns = ?1 AND source = ?2 AND name = ?3;

-- name: secret_gone
-- A secret that is removed.
DELETE FROM secret WHERE ns = ?1 AND name = ?2;

-- name: secret_put
-- A secret, sealed.
INSERT INTO secret (ns, name, body) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET body = excluded.body;

-- name: remove_run
DELETE FROM run WHERE key = ?1;

-- name: remove_open
DELETE FROM open WHERE run = ?1;

-- name: remove_step
DELETE FROM step WHERE run = ?1;

-- name: remove_blob
DELETE FROM blob WHERE run = ?1;

-- name: remove_thread
DELETE FROM thread WHERE run = ?1;

-- name: remove_var
DELETE FROM var WHERE run = ?1;

-- name: remove_fragment
DELETE FROM fragment WHERE run = ?1;

-- name: remove_attempt
DELETE FROM attempt WHERE run = ?1;

-- name: remove_checkpoint
DELETE FROM checkpoint WHERE run = ?1;

-- name: remove_timer
DELETE FROM timer WHERE run = ?1;

-- name: remove_wait
DELETE FROM wait_key WHERE run = ?1;

-- name: remove_held
DELETE FROM held WHERE run = ?1 AND run <> 0;

-- name: remove_kept
DELETE FROM kept WHERE run = ?1;

-- name: remove_key
DELETE FROM run_key WHERE run = ?1;

-- name: remove_inbox
DELETE FROM inbox WHERE run = ?1;

-- name: remove_log
DELETE FROM log WHERE run = ?1;

-- name: remove_record
DELETE FROM record WHERE run = ?1;

-- name: remove_past
DELETE FROM past WHERE run = ?1;

-- name: remove_attr
DELETE FROM attr WHERE run = ?1;

-- name: meta_put
-- The clock and the reserved numbers, for the next start.
INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value;

-- name: rendezvous_idle
-- Meeting points that have not been used for a while.
SELECT ns, name, key, EXISTS (SELECT 1 FROM wait_key w WHERE w.ns = r.ns AND w.name = r.name AND w.key = r.key)
  OR EXISTS (SELECT 1 FROM held h INDEXED BY held_key WHERE h.run = 0 AND h.ns = r.ns AND h.name = r.name AND h.key = r.key)
  OR EXISTS (SELECT 1 FROM sticky s WHERE s.ns = r.ns AND s.name = r.name AND s.key = r.key)
FROM rendezvous r INDEXED BY rendezvous_touched WHERE touched < ?1 ORDER BY touched LIMIT ?2;

-- name: rendezvous_drop
DELETE FROM rendezvous WHERE ns = ?1 AND name = ?2 AND key = ?3;

-- name: rendezvous_keep
UPDATE rendezvous SET touched = ?4 WHERE ns = ?1 AND name = ?2 AND key = ?3;
