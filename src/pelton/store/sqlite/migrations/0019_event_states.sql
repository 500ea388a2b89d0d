-- Events are found by their state. It was in `outcome` alone.
ALTER TABLE event ADD COLUMN state INTEGER NOT NULL DEFAULT 0;
UPDATE event SET state = event_state(outcome) WHERE event_state(outcome) <> 0;
DROP INDEX event_ns;
DROP INDEX event_type;
CREATE INDEX event_state ON event (ns, state);
CREATE INDEX event_type ON event (ns, type, state);
