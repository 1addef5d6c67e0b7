-- Who works on a link, where several processes share the store: a command or a run. Times as everywhere.
CREATE TABLE link_lock (
  link  TEXT PRIMARY KEY,
  token TEXT NOT NULL,    -- of this taking: whoever took it before cannot renew it any more
  owner TEXT NOT NULL,    -- for what: "run/WORKFLOW", or a command's own
  who   TEXT NOT NULL,    -- for people
  since BIGINT NOT NULL,
  until BIGINT NOT NULL   -- unless it is renewed
);
