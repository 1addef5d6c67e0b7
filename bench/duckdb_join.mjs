// The peer of twinstep-bench: what `twinstep diff` answers, asked of DuckDB over the same two files.
//
//   node bench/duckdb_join.mjs HUB_EXPORT.ndjson LISTING.json
//
// The listing holds an array or lines of ThingPark devices. Prints {"seconds","peakMb","version","counts"} as JSON.
// Compares id, EUI, activationType, deviceProfileId, applicationEUI and ref, and nothing else: the general rules of
// canonical ids, exclusions and limits would only make DuckDB slower. The line of text with which an export may begin is
// passed over.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';

const [hub, listing] = process.argv.slice(2);
for (const file of [hub, listing]) {
  if (!file || !existsSync(file)) {
    console.error(`duckdb_join: ${file ? `${file} does not exist` : 'usage: duckdb_join.mjs HUB_EXPORT LISTING'}`);
    process.exit(64);
  }
}
let duckdb;
try {
  duckdb = createRequire(new URL('../tests/peers/package.json', import.meta.url))('@duckdb/node-api');
} catch {
  console.error('duckdb_join: @duckdb/node-api is not installed; run scripts/setup --for test');
  process.exit(1);
}

const quoted = (text) => `'${text.replaceAll("'", "''")}'`;
const fields = ['EUI', 'activationType', 'deviceProfileId', 'applicationEUI', 'ref'];
const columns = (names) => `{${names.map((name) => `'${name}': 'VARCHAR'`).join(', ')}}`;
const sql = `
  WITH hub AS (
    SELECT id, ${fields.map((f) => `tags.${f} AS ${f}`).join(', ')}, tags.twinstep IS NOT NULL OR tags.ref IS NOT NULL AS owned
    FROM read_ndjson(${quoted(hub)}, ignore_errors = true, columns = {'id': 'VARCHAR',
      'tags': 'STRUCT(${fields.map((f) => `"${f}" VARCHAR`).join(', ')}, twinstep JSON)'}) WHERE id IS NOT NULL),
  outside AS (
    SELECT * FROM read_json(${quoted(listing)}, columns = ${columns(['name', ...fields])}, maximum_object_size = 67108864))
  SELECT
    count(*) FILTER (hub.id IS NULL) AS "create",
    count(*) FILTER (hub.id IS NOT NULL AND outside.name IS NOT NULL AND owned AND (${fields
    .map((f) => `(outside.${f} IS NOT NULL AND hub.${f} IS DISTINCT FROM outside.${f})`).join(' OR ')})) AS "update",
    count(*) FILTER (outside.name IS NULL AND owned) AS "delete",
    count(*) FILTER (outside.name IS NULL AND NOT owned) AS "foreign",
    count(*) FILTER (hub.id IS NOT NULL AND outside.name IS NOT NULL AND NOT owned) AS "adopt",
    count(*) FILTER (hub.id IS NOT NULL AND outside.name IS NOT NULL AND owned AND NOT (${fields
    .map((f) => `(outside.${f} IS NOT NULL AND hub.${f} IS DISTINCT FROM outside.${f})`).join(' OR ')})) AS "unchanged"
  FROM hub FULL OUTER JOIN outside ON hub.id = outside.name`;

const instance = await duckdb.DuckDBInstance.create(':memory:');
const connection = await instance.connect();
const version = (await connection.runAndReadAll('SELECT version() AS v')).getRowObjectsJson()[0].v;
const started = process.hrtime.bigint();
const [row] = (await connection.runAndReadAll(sql)).getRowObjectsJson();
const seconds = Number(process.hrtime.bigint() - started) / 1e9;
const counts = Object.fromEntries(Object.entries(row).map(([name, count]) => [name, Number(count)]));
console.log(JSON.stringify({ seconds, peakMb: process.resourceUsage().maxRSS / 1024, version, counts }));
