-- Work that was handed out under a limit, by the limit's name, and when that was.
ALTER TABLE open ADD COLUMN quota TEXT;
ALTER TABLE open ADD COLUMN handed INTEGER;
ALTER TABLE open ADD COLUMN pace INTEGER;
CREATE INDEX open_quota ON open (quota) WHERE quota IS NOT NULL AND lease <> 0;
CREATE TABLE paced (
  quota TEXT NOT NULL, at INTEGER NOT NULL, run INTEGER NOT NULL, n INTEGER NOT NULL, polls INTEGER NOT NULL,
  PRIMARY KEY (quota, at, run, n, polls)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER open_paced AFTER UPDATE OF handed ON open WHEN NEW.pace > 0 BEGIN
  DELETE FROM paced WHERE quota = NEW.quota AND at <= NEW.handed - NEW.pace;
  INSERT INTO paced (quota, at, run, n, polls) VALUES (NEW.quota, NEW.handed, NEW.run, NEW.n, NEW.polls);
END;
