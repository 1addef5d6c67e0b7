-- Who may use the daemon's API, and what is kept sealed. Times are microseconds since 1970, UTC.
CREATE TABLE api_key (
  id             TEXT PRIMARY KEY,          -- part of the key's text, no secret
  name           TEXT NOT NULL,
  salt           TEXT NOT NULL,             -- hex
  hash           TEXT NOT NULL,             -- HMAC-SHA256 of the secret under the salt, hex
  previous_hash  TEXT NOT NULL DEFAULT '',  -- of the secret before the last rotation
  previous_until BIGINT NOT NULL DEFAULT 0, -- it is taken until then
  scopes         TEXT NOT NULL,             -- with commas between them, as actions
  hubs           TEXT NOT NULL,             -- JSON list; empty = every hub
  ids            TEXT NOT NULL,             -- JSON list of patterns; empty = every id
  actions        TEXT NOT NULL,
  rate           TEXT NOT NULL,             -- "10/s"; empty = no limit
  created        BIGINT NOT NULL,
  created_by     TEXT NOT NULL,
  expires        BIGINT,
  last_used      BIGINT,                    -- to the minute
  revoked        BIGINT
);
CREATE UNIQUE INDEX api_key_name ON api_key (name) WHERE revoked IS NULL;
CREATE TABLE sealed (
  name    TEXT PRIMARY KEY,
  value   TEXT NOT NULL,                    -- v1:<key id>:<base64>, never in plain text
  updated BIGINT NOT NULL
);
