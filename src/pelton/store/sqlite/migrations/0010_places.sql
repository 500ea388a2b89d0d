-- Steps by their place, thread and position as one number; rows of processes that count no positions have none.
ALTER TABLE open ADD COLUMN place INTEGER;
CREATE INDEX open_place ON open (run, place, n) WHERE place IS NOT NULL;
ALTER TABLE step ADD COLUMN place INTEGER;
CREATE INDEX step_place ON step (run, place, n) WHERE place IS NOT NULL;
