-- Threads get what it takes to read one of a thousand: whose each open row is, what stands where, who is below whom; and tokens
-- that parked for fuel a mark of their own. Until now a token that parked did not say why: all get the mark, and those that
-- a halt keeps lose it when they are next looked at. The functions are those of schema.py.

ALTER TABLE open ADD COLUMN thread INTEGER;
ALTER TABLE open ADD COLUMN stranded INTEGER;
ALTER TABLE thread ADD COLUMN above INTEGER;

UPDATE open SET thread = thread_of(body) WHERE n > 0 AND run IN (SELECT run FROM thread);
UPDATE open SET thread = thread_of(body), stranded = 1, body = as_stranded(body) WHERE n < 0;
UPDATE thread SET above = thread_above(body);

CREATE INDEX open_thread ON open (run, thread, n) WHERE thread IS NOT NULL;
CREATE INDEX open_stands ON open (run, slot, thread, n) WHERE thread IS NOT NULL AND n > 0;
CREATE INDEX open_stranded ON open (run, n) WHERE stranded IS NOT NULL;
CREATE INDEX thread_above ON thread (run, above, no) WHERE above IS NOT NULL;
