-- The statements of `sweeper`: what is oldest, and how it goes.

-- name: count_events
SELECT count(*) FROM event;

-- name: count_ids
SELECT count(*) FROM known_event;

-- name: count_runs
SELECT count(*) FROM run WHERE ended <> 0;

-- name: count_dead_letters
SELECT count(*) FROM dead;

-- name: count_results
SELECT count(*) FROM result;

-- name: count_logs
SELECT count(*) FROM log;

-- name: oldest_events
SELECT key FROM event ORDER BY key LIMIT ?1;

-- name: passing_events
SELECT ident, key, body, outcome FROM event WHERE key <= ?1;

-- name: remember_event
INSERT INTO known_event (ident, key, hash, state) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING;

-- name: drop_events
DELETE FROM event WHERE key <= ?1;

-- name: oldest_ids
SELECT key FROM known_event INDEXED BY known_event_key ORDER BY key LIMIT ?1;

-- name: drop_ids
DELETE FROM known_event WHERE key <= ?1;

-- name: oldest_runs
SELECT ended, key, head FROM run INDEXED BY run_ended WHERE ended <> 0 ORDER BY ended, key LIMIT ?1;

-- name: rows_of_runs
-- Which tables have any rows of the runs from one key to another, in the order in which the tables are gone through (`REMOVALS`).
SELECT
  EXISTS (SELECT 1 FROM run WHERE key BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM open WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM step WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM blob WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM thread WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM var WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM fragment WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM attempt WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM checkpoint WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM timer WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM wait_key WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM held WHERE run BETWEEN ?1 AND ?2 AND run <> 0),
  EXISTS (SELECT 1 FROM kept WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM run_key WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM inbox WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM log WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM record WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM past WHERE run BETWEEN ?1 AND ?2),
  EXISTS (SELECT 1 FROM attr WHERE run BETWEEN ?1 AND ?2);

-- name: root_of
-- The outermost run of one that has ended: whether it still goes on, and when it ended.
SELECT live, ended FROM run WHERE key = ?1;

-- name: keep_run
UPDATE run SET ended = ?2 WHERE key = ?1;

-- name: oldest_dead_letters
SELECT number, body FROM dead ORDER BY number LIMIT ?1;

-- name: drop_dead_letters
DELETE FROM dead WHERE number <= ?1;

-- name: oldest_results
SELECT at, job, run, n FROM result INDEXED BY result_at ORDER BY at LIMIT ?1;

-- name: drop_results
DELETE FROM result WHERE job = ?1 AND run = ?2 AND n = ?3;

-- name: oldest_logs
SELECT id, at FROM log ORDER BY id LIMIT ?1;

-- name: drop_logs
DELETE FROM log WHERE id <= ?1;

-- name: use_source
INSERT INTO source_use (ns, source, at) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET at = excluded.at;

-- name: find_sources
-- Sources that have bookmarks and were never seen in use: their time begins now.
INSERT INTO source_use (ns, source, at) SELECT ns, source, ?1 FROM (SELECT DISTINCT ns, source FROM seen)
WHERE true ON CONFLICT DO NOTHING;

-- name: idle_sources
SELECT ns, source FROM source_use WHERE at < ?1 ORDER BY at LIMIT ?2;

-- name: drop_bookmarks
DELETE FROM seen WHERE (ns, source, name) IN (SELECT ns, source, name FROM seen WHERE ns = ?1 AND source = ?2 LIMIT ?3);

-- name: forget_source
DELETE FROM source_use WHERE ns = ?1 AND source = ?2;
