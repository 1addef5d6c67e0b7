-- Answers to requests that carried an Idempotency-Key, so that a repetition gets the same one. Nothing in clear that
-- came with the request: whose key it was and what was asked are digests. Times as everywhere.
CREATE TABLE answer (
  id      TEXT PRIMARY KEY,           -- digest of the caller and its key
  request TEXT NOT NULL,              -- digest of method, path and body
  owner   TEXT NOT NULL,              -- who works on it, or did
  held    BIGINT NOT NULL,            -- while there is no answer: until when its owner is believed to be at work
  status  BIGINT NOT NULL DEFAULT 0,  -- of the answer; 0 = there is none yet
  head    TEXT NOT NULL DEFAULT '',   -- JSON object of its headers
  body    TEXT NOT NULL DEFAULT '',   -- never with a secret
  at      BIGINT NOT NULL
);
CREATE INDEX answer_at ON answer (at);
