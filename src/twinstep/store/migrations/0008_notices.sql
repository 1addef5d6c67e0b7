-- Conditions that somebody is told of, for each channel that wants them, until they are resolved and that was said too.
-- So one is told once, whichever replica sees it, and a channel that is away hears of it later. Times as everywhere.
CREATE TABLE notice (
  key      TEXT NOT NULL,                   -- of the condition: "blocked/RUN", "alarm/LANE", "backlog/LANE"
  channel  TEXT NOT NULL,                   -- which entry of `notices:`
  resolved BIGINT NOT NULL DEFAULT 0,       -- 1: it is over, and that is what is to be said
  body     TEXT NOT NULL,                   -- JSON, no secrets
  since    BIGINT NOT NULL,
  due      BIGINT NOT NULL,                 -- said, or said again, from then on
  tries    BIGINT NOT NULL DEFAULT 0,       -- 0: nobody has tried to say it
  PRIMARY KEY (key, channel)
);
CREATE INDEX notice_due ON notice (due);
