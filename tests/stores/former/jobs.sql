BEGIN TRANSACTION;
CREATE TABLE jobs (id INTEGER PRIMARY KEY, state, progress, message, n_labels, asked_by, asked_at, updated_at);
INSERT INTO "jobs" VALUES(1,'promoted',1.0,'Version 2 is in production',5,'eve','2026-11-26T17:24:52.704+00:00','2026-11-26T17:24:52.761+00:00');
INSERT INTO "jobs" VALUES(2,'queued',0,'waits for the retrain job',NULL,'eve','2026-11-26T17:24:52.791+00:00','2026-11-26T17:24:52.791+00:00');
COMMIT;
PRAGMA user_version = 0;
