-- Every statement of the reading side, by name. Indexes are named where the planner would rather scan a run backwards.

-- name: head
SELECT head FROM run WHERE key = ?1;

-- name: open
SELECT {open} FROM open WHERE run = ?1 AND n = ?2;

-- name: open_newest
-- Highest number first, as every newest row here.
SELECT {open} FROM open INDEXED BY open_slot WHERE line = (SELECT line FROM run WHERE key = ?1) AND run = ?1 AND slot = ?2 AND n >= 0 ORDER BY n DESC LIMIT 1;

-- name: open_newest_below
-- What a rewind that takes back everything from a number on will leave.
SELECT {open} FROM open INDEXED BY open_slot WHERE line = (SELECT line FROM run WHERE key = ?1) AND run = ?1 AND slot = ?2 AND n >= 0 AND n < ?3 ORDER BY n DESC LIMIT 1;

-- name: open_at_below
SELECT {open} FROM open INDEXED BY open_iteration WHERE run = ?1 AND slot = ?2 AND it = ?3 AND scope = ?4 AND n >= 0 AND n < ?5
AND (scope <> 0 OR it <> 0) ORDER BY n DESC LIMIT 1;

-- name: open_outside_below
SELECT {open} FROM open INDEXED BY open_slot WHERE line = (SELECT line FROM run WHERE key = ?1) AND run = ?1 AND slot = ?2 AND it = 0 AND scope = 0 AND n >= 0 AND n < ?3
ORDER BY n DESC LIMIT 1;

-- name: open_stranded
-- In the order in which they parked.
SELECT {open} FROM open INDEXED BY open_stranded WHERE run = ?1 AND stranded IS NOT NULL ORDER BY n DESC LIMIT ?2;

-- name: open_of_thread
SELECT {open} FROM open INDEXED BY open_thread WHERE run = ?1 AND thread = ?2 ORDER BY n;

-- name: open_before_threads
-- What the root thread opened before there were others.
SELECT {open} FROM open WHERE run = ?1 AND n > 0 AND n < ?2 AND thread IS NULL ORDER BY n;

-- name: open_places
SELECT {open} FROM open INDEXED BY open_stands WHERE run = ?1 AND slot = ?2 AND (thread, n) > (?3, ?4) AND thread IS NOT NULL AND n > 0
ORDER BY thread, n LIMIT ?5;

-- name: open_places_before_threads
SELECT {open} FROM open INDEXED BY open_slot WHERE line = (SELECT line FROM run WHERE key = ?1) AND run = ?1 AND slot = ?2 AND n > ?3 AND n < ?4 AND thread IS NULL ORDER BY n LIMIT ?5;

-- name: step_newest
SELECT run, n, parts, body FROM step INDEXED BY step_slot WHERE run = ?1 AND slot = ?2 AND n < ?3 ORDER BY n DESC LIMIT 1;

-- name: open_in_place
SELECT {open} FROM open INDEXED BY open_place WHERE run = ?1 AND place = ?2 ORDER BY n DESC LIMIT 1;

-- name: step_in_place
SELECT run, n, parts, body FROM step INDEXED BY step_place WHERE run = ?1 AND place = ?2 AND n < ?3 ORDER BY n DESC LIMIT 1;

-- name: open_last_place
-- The highest of a range of places, of rows below a number.
SELECT place FROM open INDEXED BY open_place WHERE run = ?1 AND place >= ?2 AND place < ?3 AND n < ?4 ORDER BY place DESC LIMIT 1;

-- name: step_last_place
-- The same, with its number, and of rows below a place. Many at a time, since some may be void.
SELECT place, n FROM step INDEXED BY step_place WHERE run = ?1 AND place >= ?2 AND (place, n) < (?3, ?4)
AND n < ?5 ORDER BY place DESC, n DESC LIMIT 1000;

-- name: open_at
SELECT {open} FROM open INDEXED BY open_iteration WHERE run = ?1 AND slot = ?2 AND it = ?3 AND scope = ?4 AND n >= 0
AND (scope <> 0 OR it <> 0) ORDER BY n DESC LIMIT 1;

-- name: step_at
SELECT run, n, parts, body FROM step INDEXED BY step_iteration WHERE run = ?1 AND slot = ?2 AND it = ?3 AND scope = ?4 AND n < ?5
AND (scope <> 0 OR it <> 0) ORDER BY n DESC LIMIT 1;

-- name: open_iterations_of
-- The open rows of a slot in a range of iterations of one scope: older ones of the same place come first. The plus keeps the scope
-- in the order that the index has.
SELECT {open} FROM open INDEXED BY open_iteration WHERE run = ?1 AND slot = ?2 AND it >= ?3 AND it < ?4 AND +scope = ?5 AND n >= 0
AND (scope <> 0 OR it <> 0) ORDER BY it, scope, n;

-- name: open_outside
-- A slot outside every scope: its rows carry no iteration, so the first that is seen is the one.
SELECT {open} FROM open INDEXED BY open_slot WHERE line = (SELECT line FROM run WHERE key = ?1) AND run = ?1 AND slot = ?2 AND it = 0 AND scope = 0 AND n >= 0 ORDER BY n DESC LIMIT 1;

-- name: step_outside
SELECT run, n, parts, body FROM step INDEXED BY step_slot WHERE run = ?1 AND slot = ?2 AND it = 0 AND scope = 0 AND n < ?3
ORDER BY n DESC LIMIT 1;

-- name: open_iterations
-- One iteration over all scopes: as many rows as there were scopes with that iteration.
SELECT max(n) FROM open INDEXED BY open_iteration WHERE run = ?1 AND slot = ?2 AND it = ?3 AND n >= 0 AND (scope <> 0 OR it <> 0);

-- name: step_iterations
SELECT max(n) FROM step INDEXED BY step_iteration WHERE run = ?1 AND slot = ?2 AND it = ?3 AND n < ?4 AND (scope <> 0 OR it <> 0);

-- name: open_unscoped
SELECT max(n) FROM (SELECT n FROM open INDEXED BY open_slot WHERE line = (SELECT line FROM run WHERE key = ?1) AND run = ?1 AND slot = ?2 AND it = 0 AND n >= 0 ORDER BY n DESC LIMIT 1);

-- name: step_unscoped
SELECT max(n) FROM (SELECT n FROM step INDEXED BY step_slot WHERE run = ?1 AND slot = ?2 AND it = 0 AND n < ?3 ORDER BY n DESC LIMIT 1);

-- name: step
SELECT run, n, parts, body FROM step WHERE run = ?1 AND n = ?2;

-- name: open_all
SELECT {open} FROM open WHERE run = ?1 ORDER BY n;

-- name: open_slot_of
SELECT slot FROM open WHERE run = ?1 AND n = ?2;

-- name: open_range
SELECT {open} FROM open WHERE run = ?1 AND n >= ?2 ORDER BY n LIMIT ?3;

-- name: step_range
SELECT run, n, parts, body FROM step WHERE run = ?1 AND n >= ?2 AND n < ?3 ORDER BY n LIMIT ?4;

-- name: step_slot_of
SELECT slot FROM step WHERE run = ?1 AND n = ?2;

-- name: step_range_back
SELECT run, n, parts, body FROM step WHERE run = ?1 AND n >= ?2 AND n < ?3 ORDER BY n DESC LIMIT ?4;

-- name: blobs
SELECT part, body FROM blob WHERE run = ?1 AND n = ?2;

-- name: blob_size
SELECT sum(length(body)) FROM blob WHERE run = ?1 AND n = ?2;

-- name: var
SELECT value FROM var WHERE run = ?1 AND thread = ?2 AND name = ?3;

-- name: vars
SELECT name, value FROM var WHERE run = ?1 AND thread = ?2 ORDER BY name;

-- name: vars_all
SELECT thread, name, value FROM var WHERE run = ?1 LIMIT ?2;

-- name: thread
SELECT body FROM thread WHERE run = ?1 AND no = ?2;

-- name: threads
SELECT body FROM thread WHERE run = ?1 ORDER BY no;

-- name: thread_children
SELECT body FROM thread INDEXED BY thread_above WHERE run = ?1 AND above = ?2 ORDER BY no;

-- name: fragment
SELECT n, node, value, parent FROM fragment WHERE run = ?1 AND n = ?2 AND parent >= 0;

-- name: fragments
-- Those of runs whose rows do not say which fragment they are part of.
SELECT n, node, value FROM fragment WHERE run = ?1 AND parent < 0 ORDER BY n, node;

-- name: lines
SELECT id, ns, process FROM line;

-- name: run_line
SELECT key, head FROM run INDEXED BY run_line WHERE line = ?1 AND line <> 0 AND key < ?2 AND created >= ?3 AND created < ?4
AND (?5 = -1 OR live = ?5) AND (?7 = -1 OR status = ?7) ORDER BY key DESC LIMIT ?6;

-- name: run_status
SELECT key, head FROM run INDEXED BY run_status WHERE (status = 2 OR status > 3) AND status = ?7 AND line = ?1 AND key < ?2
AND created >= ?3 AND created < ?4 AND (?5 = -1 OR live = ?5) ORDER BY key DESC LIMIT ?6;

-- name: run_live
SELECT key, head FROM run INDEXED BY run_live WHERE live = 1 AND line = ?1 AND key < ?2 AND created >= ?3 AND created < ?4
AND ?5 = 1 AND (?7 = -1 OR status = ?7) ORDER BY key DESC LIMIT ?6;

-- name: run_columns
SELECT ns, status, created, ended FROM run LEFT JOIN line ON line.id = run.line WHERE key = ?1;

-- name: run_all
-- For a namespace of very many processes: such a one has most of the runs.
SELECT key, head FROM run NOT INDEXED WHERE key < ?2 AND created >= ?3 AND created < ?4 AND (?5 = -1 OR live = ?5)
AND (?7 = -1 OR status = ?7) AND line IN (SELECT id FROM line WHERE ns = ?1) ORDER BY key DESC LIMIT ?6;

-- name: found_count
SELECT count(*) FROM run INDEXED BY run_found WHERE status >= 3 AND line = ?1 AND status = ?2 AND created >= ?3;

-- name: found_count_until
SELECT count(*) FROM run INDEXED BY run_found
WHERE status >= 3 AND line = ?1 AND status = ?2 AND created >= ?3 AND created < ?4;

-- name: found_at
-- When the run at a position was created, counted from the newest.
SELECT created FROM run INDEXED BY run_found WHERE status >= 3 AND line = ?1 AND status = ?2
ORDER BY created DESC LIMIT 1 OFFSET ?3;

-- name: found_from_newest
SELECT created FROM run INDEXED BY run_found WHERE status >= 3 AND line = ?1 AND status = ?2 AND created >= ?3 AND created < ?4
ORDER BY created DESC LIMIT 1 OFFSET ?5;

-- name: found_from_oldest
SELECT created FROM run INDEXED BY run_found WHERE status >= 3 AND line = ?1 AND status = ?2 AND created >= ?3 AND created < ?4
ORDER BY created LIMIT 1 OFFSET ?5;

-- name: found_ends
SELECT (SELECT created FROM run INDEXED BY run_found WHERE status >= 3 AND line = ?1 AND status = ?2 AND created >= ?3
AND created < ?4 ORDER BY created LIMIT 1), (SELECT created FROM run INDEXED BY run_found WHERE status >= 3 AND line = ?1
AND status = ?2 AND created >= ?3 AND created < ?4 ORDER BY created DESC LIMIT 1);

-- name: found_between
SELECT created, key FROM run INDEXED BY run_found
WHERE status >= 3 AND line = ?1 AND status = ?2 AND created >= ?3 AND created < ?4;

-- name: found_live
SELECT created, key FROM run INDEXED BY run_live WHERE live = 1 AND line = ?1 AND created >= ?2 AND created < ?3
AND (?4 >> status) & 1;

-- name: open_at_node
-- What stands at a node, over all runs of its process: the oldest run first.
SELECT {open} FROM open INDEXED BY open_slot WHERE line = ?1 AND slot = ?2 AND (run, n) > (?3, ?4) ORDER BY run, n LIMIT ?5;

-- name: count_at_node
SELECT count(*) FROM (SELECT 1 FROM open INDEXED BY open_slot WHERE line = ?1 AND slot = ?2 LIMIT ?3);

-- name: count_live
SELECT count(*) FROM (SELECT 1 FROM run INDEXED BY run_live WHERE live = 1 AND line = ?1 LIMIT ?2);

-- name: pause
SELECT body FROM pause WHERE ns = ?1 AND process = ?2;

-- name: run_keys
SELECT run FROM run_key WHERE ns = ?1 AND kind = ?2 AND text = ?3 AND process = ?4 ORDER BY run DESC LIMIT 1000;

-- name: run_keys_any
SELECT DISTINCT run FROM run_key WHERE ns = ?1 AND kind = ?2 AND text = ?3 ORDER BY run DESC LIMIT 1000;

-- name: run_keys_live
SELECT run FROM run_key INDEXED BY run_key_live WHERE live = 1 AND ns = ?1 AND kind = ?2 AND text = ?3 AND process = ?4
ORDER BY run DESC LIMIT 1000;

-- name: run_keys_live_any
SELECT DISTINCT run FROM run_key INDEXED BY run_key_live WHERE live = 1 AND ns = ?1 AND kind = ?2 AND text = ?3
ORDER BY run DESC LIMIT 1000;

-- name: logs
SELECT run, n, at, text FROM log WHERE run = ?1 AND n = ?2 ORDER BY id LIMIT ?3;

-- name: attempts
SELECT run, n, number, body FROM attempt WHERE run = ?1 AND n = ?2 AND number > ?3 ORDER BY number LIMIT ?4;

-- name: checkpoint
SELECT body FROM checkpoint WHERE run = ?1 AND n = ?2 AND number = ?3;

-- name: checkpoints
SELECT body FROM checkpoint WHERE run = ?1 AND n = ?2 AND number > ?3 ORDER BY number LIMIT ?4;

-- name: record
SELECT run, since, number, live, body FROM record WHERE run = ?1 AND body IS NOT NULL;

-- name: record_at
-- The last that began by then; it may have ended by then too.
SELECT run, since, number, live, body, until FROM past WHERE run = ?1 AND since <= ?2 ORDER BY since DESC LIMIT 1;

-- name: past
SELECT run, since, number, live, body, until FROM past WHERE run = ?1 AND since > ?2 ORDER BY since LIMIT ?3;

-- name: records_line
SELECT run, since, number, live, body FROM record INDEXED BY record_line WHERE line = ?1 AND run > ?2 AND body IS NOT NULL
AND (?3 = -1 OR live = ?3) ORDER BY run LIMIT ?4;

-- name: records_live
SELECT run, since, number, live, body FROM record INDEXED BY record_live WHERE live = 1 AND line = ?1 AND run > ?2 AND ?3 = 1
ORDER BY run LIMIT ?4;

-- name: records_at
-- Where the current value is too new, or gone, a past one is sought by its run and time.
SELECT r.run, coalesce(p.since, r.since), coalesce(p.number, r.number), coalesce(p.live, r.live), coalesce(p.body, r.body)
FROM record r INDEXED BY record_line LEFT JOIN past p ON p.id = CASE WHEN r.since > ?5 OR r.body IS NULL THEN
  (SELECT q.id FROM past q WHERE q.run = r.run AND q.since <= ?5 ORDER BY q.since DESC LIMIT 1) END
WHERE r.line = ?1 AND r.run > ?2 AND r.born <= ?5 AND (p.until > ?5 OR (r.since <= ?5 AND r.body IS NOT NULL))
AND (?3 = -1 OR coalesce(p.live, r.live) = ?3) ORDER BY r.run LIMIT ?4;

-- name: records_all
-- For a namespace of very many processes: such a one has most of the records.
SELECT run, since, number, live, body FROM record NOT INDEXED WHERE run > ?2 AND body IS NOT NULL AND (?3 = -1 OR live = ?3)
AND line IN (SELECT id FROM line WHERE ns = ?1) ORDER BY run LIMIT ?4;

-- name: records_all_at
SELECT r.run, coalesce(p.since, r.since), coalesce(p.number, r.number), coalesce(p.live, r.live), coalesce(p.body, r.body)
FROM record r NOT INDEXED LEFT JOIN past p ON p.id = CASE WHEN r.since > ?5 OR r.body IS NULL THEN
  (SELECT q.id FROM past q WHERE q.run = r.run AND q.since <= ?5 ORDER BY q.since DESC LIMIT 1) END
WHERE r.line IN (SELECT id FROM line WHERE ns = ?1) AND r.run > ?2 AND r.born <= ?5
AND (p.until > ?5 OR (r.since <= ?5 AND r.body IS NOT NULL)) AND (?3 = -1 OR coalesce(p.live, r.live) = ?3)
ORDER BY r.run LIMIT ?4;

-- name: attr_count
-- From one value up to another, and no more rows than a number.
SELECT count(*) FROM (SELECT 1 FROM attr INDEXED BY attr_value WHERE line = ?1 AND name = ?2 AND value >= ?3 AND value < ?4 LIMIT ?5);

-- name: attr_count_any
-- Whatever the process.
SELECT count(*) FROM (SELECT 1 FROM line l CROSS JOIN attr a INDEXED BY attr_value
  WHERE l.ns = ?1 AND a.line = l.id AND a.name = ?2 AND a.value >= ?3 AND a.value < ?4 LIMIT ?5);

-- name: attr_runs
SELECT run FROM attr INDEXED BY attr_value WHERE line = ?1 AND name = ?2 AND value >= ?3 AND value < ?4 LIMIT ?5;

-- name: attr_runs_any
SELECT a.run FROM line l CROSS JOIN attr a INDEXED BY attr_value
WHERE l.ns = ?1 AND a.line = l.id AND a.name = ?2 AND a.value >= ?3 AND a.value < ?4 LIMIT ?5;

-- name: rendezvous
SELECT rev FROM rendezvous WHERE ns = ?1 AND name = ?2 AND key = ?3;

-- name: waiting
SELECT ns, name, key, run, n, opened FROM wait_key INDEXED BY wait_key_since WHERE ns = ?1 AND name = ?2 AND key = ?3
ORDER BY opened, run, n LIMIT ?4;

-- name: waiting_last
SELECT ns, name, key, run, n, opened FROM wait_key INDEXED BY wait_key_since WHERE ns = ?1 AND name = ?2 AND key = ?3
ORDER BY opened DESC, run DESC, n DESC LIMIT ?4;

-- name: held
SELECT body FROM held INDEXED BY held_key WHERE run = 0 AND ns = ?1 AND name = ?2 AND key = ?3 ORDER BY posted, id LIMIT ?4;

-- name: held_size
SELECT count(*), coalesce(sum(length(body)), 0) FROM held INDEXED BY held_key WHERE run = 0 AND ns = ?1 AND name = ?2 AND key = ?3;

-- name: held_size_all
SELECT count(*), coalesce(sum(length(body)), 0) FROM held INDEXED BY held_key WHERE run = 0 AND ns = ?1;

-- name: results
SELECT job, run, n, at, outcome, detail FROM result WHERE job = ?1 AND (run, n) > (?2, ?3) ORDER BY run, n LIMIT ?4;

-- name: held_for
SELECT body FROM held INDEXED BY held_run WHERE run = ?1 AND run <> 0 ORDER BY posted, id LIMIT ?2;

-- name: held_for_after
SELECT body FROM held INDEXED BY held_run WHERE run = ?1 AND run <> 0 AND (posted, id) > (?2, ?3) ORDER BY posted, id LIMIT ?4;

-- name: held_for_name_after
SELECT body FROM held INDEXED BY held_run WHERE run = ?1 AND run <> 0 AND name = ?2 AND (posted, id) > (?3, ?4)
ORDER BY posted, id LIMIT ?5;

-- name: held_after
SELECT body FROM held INDEXED BY held_key WHERE run = 0 AND ns = ?1 AND name = ?2 AND key = ?3 AND (posted, id) > (?4, ?5)
ORDER BY posted, id LIMIT ?6;

-- name: kept_ident
SELECT id FROM kept INDEXED BY kept_ident WHERE run = ?1 AND name = ?2 AND ident = ?3 AND ident <> '';

-- name: kept
SELECT body, taken, n FROM kept WHERE id = ?1;

-- name: kept_run
SELECT body, taken, n FROM kept INDEXED BY kept_run WHERE run = ?1 AND id > ?2 ORDER BY id LIMIT ?3;

-- name: kept_name
SELECT body, taken, n FROM kept INDEXED BY kept_name WHERE ns = ?1 AND name = ?2 AND id > ?3 ORDER BY id LIMIT ?4;

-- name: kept_free
SELECT body, taken, n FROM kept INDEXED BY kept_free WHERE ns = ?1 AND name = ?2 AND taken = 0 AND id > ?3 ORDER BY id LIMIT ?4;

-- name: kept_taken
SELECT body, taken, n FROM kept INDEXED BY kept_taken WHERE ns = ?1 AND name = ?2 AND taken <> 0 AND id > ?3 ORDER BY id LIMIT ?4;

-- name: sticky
SELECT body, got FROM sticky WHERE ns = ?1 AND name = ?2 AND key = ?3;

-- name: sticky_name
SELECT body, got FROM sticky INDEXED BY sticky_key WHERE ns = ?1 AND name = ?2 AND key > ?3 ORDER BY key LIMIT ?4;

-- name: sticky_free
SELECT body, got FROM sticky INDEXED BY sticky_free WHERE ns = ?1 AND name = ?2 AND key > ?3 AND got = 0 ORDER BY key LIMIT ?4;

-- name: sticky_got
SELECT body, got FROM sticky INDEXED BY sticky_got WHERE ns = ?1 AND name = ?2 AND key > ?3 AND got <> 0 ORDER BY key LIMIT ?4;

-- name: sticky_size
SELECT count(*), coalesce(sum(size), 0) FROM sticky INDEXED BY sticky_size WHERE ns = ?1;

-- name: sticky_expired
SELECT body, got FROM sticky INDEXED BY sticky_expires WHERE expires <> 0 AND expires <= ?1 ORDER BY expires, id LIMIT ?2;

-- name: copies
SELECT body FROM copy WHERE sticky = ?1 AND id > ?2 ORDER BY id LIMIT ?3;

-- name: held_all
SELECT id, ns, run, name, key, posted, expires, body FROM held INDEXED BY held_ns WHERE ns = ?1 AND (posted, id) > (?3, ?4) ORDER BY posted, id LIMIT ?2;

-- name: held_expired
SELECT id, ns, run, name, key, posted, expires, body FROM held INDEXED BY held_expires WHERE expires <> 0 AND expires <= ?1 ORDER BY expires, id LIMIT ?2;

-- name: ready
SELECT {open} FROM open INDEXED BY open_work WHERE queue = ?1 AND queue <> '' AND lease = 0 ORDER BY urgency, due, run, n LIMIT ?2;

-- name: ready_after
SELECT {open} FROM open INDEXED BY open_work WHERE queue = ?1 AND queue <> '' AND lease = 0
AND (urgency, due, run, n) > (?3, ?4, ?5, ?6) ORDER BY urgency, due, run, n LIMIT ?2;

-- name: sizes_ready
SELECT queue, count(*) FROM open INDEXED BY open_work WHERE queue <> '' AND lease = 0 GROUP BY queue;

-- name: sizes_leased
SELECT queue, count(*) FROM open INDEXED BY open_lease WHERE queue <> '' AND lease <> 0 GROUP BY queue;

-- name: outstanding
SELECT (SELECT count(*) FROM (SELECT 1 FROM delivery LIMIT ?1)),
  (SELECT count(*) FROM (SELECT 1 FROM dead LIMIT ?1)),
  (SELECT count(*) FROM (SELECT 1 FROM held LIMIT ?1)),
  (SELECT count(*) FROM (SELECT 1 FROM timer INDEXED BY timer_due WHERE due < ?2 LIMIT ?1)),
  (SELECT coalesce(min(due), 0) FROM timer),
  (SELECT count(*) FROM (SELECT 1 FROM inbox WHERE parked = 0 LIMIT ?1)),
  (SELECT count(*) FROM (SELECT 1 FROM inbox LIMIT ?1));

-- name: leased
SELECT {open} FROM open INDEXED BY open_lease WHERE queue <> '' AND lease <> 0 AND ends < ?1 ORDER BY ends, run, n LIMIT ?2;

-- name: timers
SELECT run, n, arm, epoch, due FROM timer INDEXED BY timer_due WHERE due < ?1 ORDER BY due, run, n, arm LIMIT ?2;

-- name: inbox
SELECT body FROM inbox INDEXED BY inbox_due WHERE parked = 0 ORDER BY due, id LIMIT ?1;

-- name: deliveries
SELECT number, tries, due, error, body FROM delivery WHERE number > ?2 ORDER BY number LIMIT ?1;

-- name: dead
SELECT number, body, ns FROM dead INDEXED BY dead_ns WHERE ns = ?1 AND number > ?3 ORDER BY number LIMIT ?2;

-- name: dead_letter
SELECT number, body, ns FROM dead WHERE number = ?1;

-- name: event
SELECT body, outcome, key, ns, type FROM event WHERE key = ?2 AND ns = ?1;

-- name: event_by_id
SELECT body, outcome, key, ns, type FROM event WHERE ident = ?1;

-- name: known_event
SELECT key, hash, state FROM known_event WHERE ident = ?1;

-- name: events_up
-- The keys of each state are in order in the index; those of all states are merged.
SELECT body, outcome, key, ns, type FROM event WHERE key IN (
  SELECT key FROM event INDEXED BY event_state WHERE ns = ?1 AND state = 0 AND key > ?2 AND key < ?3
  UNION ALL SELECT key FROM event INDEXED BY event_state WHERE ns = ?1 AND state = 1 AND key > ?2 AND key < ?3
  UNION ALL SELECT key FROM event INDEXED BY event_state WHERE ns = ?1 AND state = 2 AND key > ?2 AND key < ?3
  UNION ALL SELECT key FROM event INDEXED BY event_state WHERE ns = ?1 AND state = 3 AND key > ?2 AND key < ?3
  ORDER BY key LIMIT ?4
) ORDER BY key;

-- name: events_type_up
SELECT body, outcome, key, ns, type FROM event WHERE key IN (
  SELECT key FROM event INDEXED BY event_type WHERE ns = ?1 AND type = ?5 AND state = 0 AND key > ?2 AND key < ?3
  UNION ALL SELECT key FROM event INDEXED BY event_type WHERE ns = ?1 AND type = ?5 AND state = 1 AND key > ?2 AND key < ?3
  UNION ALL SELECT key FROM event INDEXED BY event_type WHERE ns = ?1 AND type = ?5 AND state = 2 AND key > ?2 AND key < ?3
  UNION ALL SELECT key FROM event INDEXED BY event_type WHERE ns = ?1 AND type = ?5 AND state = 3 AND key > ?2 AND key < ?3
  ORDER BY key LIMIT ?4
) ORDER BY key;

-- name: events_down
SELECT body, outcome, key, ns, type FROM event WHERE key IN (
  SELECT key FROM event INDEXED BY event_state WHERE ns = ?1 AND state = 0 AND key > ?2 AND key < ?3
  UNION ALL SELECT key FROM event INDEXED BY event_state WHERE ns = ?1 AND state = 1 AND key > ?2 AND key < ?3
  UNION ALL SELECT key FROM event INDEXED BY event_state WHERE ns = ?1 AND state = 2 AND key > ?2 AND key < ?3
  UNION ALL SELECT key FROM event INDEXED BY event_state WHERE ns = ?1 AND state = 3 AND key > ?2 AND key < ?3
  ORDER BY key DESC LIMIT ?4
) ORDER BY key DESC;

-- name: events_type_down
SELECT body, outcome, key, ns, type FROM event WHERE key IN (
  SELECT key FROM event INDEXED BY event_type WHERE ns = ?1 AND type = ?5 AND state = 0 AND key > ?2 AND key < ?3
  UNION ALL SELECT key FROM event INDEXED BY event_type WHERE ns = ?1 AND type = ?5 AND state = 1 AND key > ?2 AND key < ?3
  UNION ALL SELECT key FROM event INDEXED BY event_type WHERE ns = ?1 AND type = ?5 AND state = 2 AND key > ?2 AND key < ?3
  UNION ALL SELECT key FROM event INDEXED BY event_type WHERE ns = ?1 AND type = ?5 AND state = 3 AND key > ?2 AND key < ?3
  ORDER BY key DESC LIMIT ?4
) ORDER BY key DESC;

-- name: events_state_up
SELECT body, outcome, key, ns, type FROM event INDEXED BY event_state WHERE ns = ?1 AND state = ?5 AND key > ?2 AND key < ?3
ORDER BY key LIMIT ?4;

-- name: events_type_state_up
SELECT body, outcome, key, ns, type FROM event INDEXED BY event_type WHERE ns = ?1 AND type = ?5 AND state = ?6 AND key > ?2 AND key < ?3
ORDER BY key LIMIT ?4;

-- name: events_state_down
SELECT body, outcome, key, ns, type FROM event INDEXED BY event_state WHERE ns = ?1 AND state = ?5 AND key > ?2 AND key < ?3
ORDER BY key DESC LIMIT ?4;

-- name: events_type_state_down
SELECT body, outcome, key, ns, type FROM event INDEXED BY event_type WHERE ns = ?1 AND type = ?5 AND state = ?6 AND key > ?2 AND key < ?3
ORDER BY key DESC LIMIT ?4;

-- name: seen
SELECT name, state FROM seen WHERE ns = ?1 AND source = ?2 AND name > ?3 ORDER BY name LIMIT ?4;

-- name: secret
SELECT ns, name, body FROM secret WHERE ns = ?1 AND name = ?2;

-- name: secrets
SELECT ns, name, body FROM secret WHERE (ns, name) > (?1, ?2) ORDER BY ns, name LIMIT ?3;

-- name: secrets_of
SELECT ns, name, body FROM secret WHERE ns = ?1 AND name > ?2 ORDER BY name LIMIT ?3;

-- name: reply
SELECT body, expires FROM reply WHERE ns = ?1 AND request = ?2;

-- name: descendants
SELECT count, since FROM descendants WHERE ns = ?1 AND ancestor = ?2;

-- name: tallies
SELECT node, name, value FROM tally WHERE line = ?1 AND (node, name) > (?2, ?3) ORDER BY node, name LIMIT ?4;

-- name: definition
SELECT until, body, id, ns, kind, name, version, since, hash FROM definition WHERE id = ?1;

-- name: definitions
SELECT until, body, id, ns, kind, name, version, since, hash FROM definition INDEXED BY definition_live WHERE until = 0 AND ns = ?1 AND kind = ?2 AND (name, version) > (?4, ?5)
ORDER BY name, version LIMIT ?3;

-- name: definitions_name
SELECT until, body, id, ns, kind, name, version, since, hash FROM definition INDEXED BY definition_live WHERE until = 0 AND ns = ?1 AND kind = ?2 AND name = ?4
ORDER BY version LIMIT ?3;

-- name: definitions_version
SELECT until, body, id, ns, kind, name, version, since, hash FROM definition INDEXED BY definition_live WHERE until = 0 AND ns = ?1 AND kind = ?2 AND name = ?4 AND version = ?5
LIMIT ?3;

-- name: definitions_any_version
SELECT until, body, id, ns, kind, name, version, since, hash FROM definition INDEXED BY definition_live WHERE until = 0 AND ns = ?1 AND kind = ?2 AND version = ?5
ORDER BY name LIMIT ?3;

-- name: definitions_at
-- As it was at an instant. Version 0 stands for any.
SELECT until, body, id, ns, kind, name, version, since, hash FROM definition INDEXED BY definition_time WHERE ns = ?1 AND kind = ?2 AND (name, version) > (?4, ?7)
AND (?5 = 0 OR version = ?5) AND since <= ?6 AND (until = 0 OR until > ?6) ORDER BY name, version LIMIT ?3;

-- name: definitions_name_at
SELECT until, body, id, ns, kind, name, version, since, hash FROM definition INDEXED BY definition_time WHERE ns = ?1 AND kind = ?2 AND name = ?4
AND (?5 = 0 OR version = ?5) AND since <= ?6 AND (until = 0 OR until > ?6) ORDER BY version LIMIT ?3;

-- name: bound
SELECT until, body, id, ns, kind, name, version, since, hash FROM definition INDEXED BY definition_bound WHERE kind = 'bound' AND ns = ?1 AND hash = ?2 ORDER BY id LIMIT 1;

-- name: namespaces
SELECT ns FROM counter ORDER BY ns;

-- name: handler_counter
SELECT value FROM counter WHERE ns = ?1;

-- name: handler_changes
SELECT change.counter, change.gone, definition.until, definition.body, id, definition.ns, kind, name, version, since, hash
FROM handler_change AS change LEFT JOIN definition ON definition.id = change.come
WHERE change.ns = ?1 AND change.counter > ?2 ORDER BY change.counter LIMIT ?3;

-- name: definition_counter
SELECT value FROM defined WHERE ns = ?1;

-- name: nodes
SELECT number, epoch, seen, settled, batch FROM node ORDER BY number;

-- name: outcome
SELECT part FROM outcome WHERE node = ?1 AND batch = ?2;

-- name: claims
SELECT kind, name, node, claim.epoch, at FROM claim JOIN node ON number = node AND node.epoch = claim.epoch
WHERE kind = ?1 AND name > ?3 ORDER BY name LIMIT ?2;

-- name: lookup
SELECT rev FROM lookup WHERE ns = ?1 AND name = ?2 AND text = ?3;

-- name: meta
SELECT name, value FROM meta;

-- name: highest
SELECT (SELECT coalesce(max(number), 0) FROM delivery), (SELECT coalesce(max(number), 0) FROM dead);

-- name: due_events
SELECT count(*) FROM (SELECT 1 FROM event WHERE key < ?1 LIMIT ?2);

-- name: due_ids
SELECT count(*) FROM (SELECT 1 FROM known_event INDEXED BY known_event_key WHERE key < ?1 LIMIT ?2);

-- name: due_runs
SELECT count(*) FROM (SELECT 1 FROM run INDEXED BY run_ended WHERE ended <> 0 AND ended < ?1 LIMIT ?2);

-- name: due_results
SELECT count(*) FROM (SELECT 1 FROM result INDEXED BY result_at WHERE at < ?1 LIMIT ?2);

-- name: due_logs
SELECT count(*) FROM (SELECT at FROM log ORDER BY id LIMIT ?2) WHERE at < ?1;

-- name: oldest_dead_bodies
SELECT body FROM dead ORDER BY number LIMIT ?1;
