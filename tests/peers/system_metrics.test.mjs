// The daemon's metrics as others read them: promtool, a real Prometheus with our alert rules, the dashboard.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort, scene, until } from './lib.mjs';

const monitoring = join(dirname(fileURLToPath(import.meta.url)), '../../packaging/monitoring');
const empty = ['--devices', '0', '--time-factor', '20', '--no-throttle'];
const eui = (n) => `0004A30B0001${n.toString(16).toUpperCase().padStart(4, '0')}`;
const read = (name) => readFileSync(join(monitoring, name), 'utf8');

/// Value of a series of the text format; undefined when there is none. Labels in any order.
function value(text, name, labels = {}) {
  for (const line of text.split('\n')) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match?.[1] !== name) continue;
    const there = Object.fromEntries([...(match[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map((one) => [one[1], one[2]]));
    if (Object.entries(labels).every(([key, wanted]) => there[key] === wanted)) return Number(match[3]);
  }
  return undefined;
}
async function scrape(address) {
  const answer = await fetch(`${address}/metrics`);
  assert.equal(answer.status, 200);
  assert.match(answer.headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
  return answer.text();
}
/// Every metric that a PromQL expression names, by the series it is kept as.
const named = (expression) => expression.match(/\b(?:twinstep|process)_[a-z0-9_]+/g) ?? [];
/// Names of series that the text may give: those of a histogram have three.
function exposed(text) {
  const out = new Set();
  for (const [, name, type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm))
    for (const end of type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']) out.add(name + end);
  return out;
}
async function runOnce(s, daemon, states) {
  const { id } = await (await fetch(`${daemon.operations}/api/v1/links/default/runs`, { method: 'POST' })).json();
  let run;
  await until(`the run is ${states}`, async () => {
    run = await (await fetch(`${daemon.operations}/api/v1/runs/${id}`)).json();
    return states.includes(run.state);
  }, 60);
  return run;
}
async function shows(daemon, what, name, labels, wanted) {
  let last;
  await until(what, async () => (last = value(await scrape(daemon.operations), name, labels)) === wanted, 20)
    .catch((error) => { throw new Error(`${error.message}: ${name} ${JSON.stringify(labels)} is ${last}, not ${wanted}`); });
}

test('the alert rules and their own tests satisfy promtool', () => {
  for (const args of [['check', 'rules', 'twinstep.rules.yml'], ['test', 'rules', 'twinstep.rules.test.yml']]) {
    const done = spawnSync('promtool', args, { cwd: monitoring, encoding: 'utf8' });
    assert.equal(done.status, 0, `promtool ${args.join(' ')}: ${done.error ?? ''}${done.stdout}${done.stderr}`);
  }
});

test('every alert rule has a test that sees it fire', () => {
  const tests = read('twinstep.rules.test.yml');
  const alerts = [...read('twinstep.rules.yml').matchAll(/- alert: (\w+)/g)].map((match) => match[1]);
  assert.ok(alerts.length >= 12);
  for (const alert of alerts) assert.ok(tests.includes(alert), alert);
});

test('docs/operations.md says of every alert rule, warning and error of the log what it means', () => {
  const root = join(monitoring, '../..');
  const page = readFileSync(join(root, 'docs/operations.md'), 'utf8');
  const sources = readdirSync(join(root, 'src/twinstep'), { recursive: true }).filter((name) => /(?<!_test)\.cpp$/.test(name))
    .map((name) => readFileSync(join(root, 'src/twinstep', name), 'utf8'));
  const told = sources.flatMap((text) => [...text.matchAll(/spdlog::(?:warn|error)\(\s*"([a-z]+\.[a-z_]+)/g)].map((match) => match[1]));
  const alerts = [...read('twinstep.rules.yml').matchAll(/- alert: (\w+)/g)].map((match) => match[1]);
  assert.ok(told.length > 40 && alerts.length >= 12);
  assert.deepEqual([...new Set([...alerts, ...told])].filter((name) => !page.includes(`\`${name}\``)).sort(), []);
});

describe('metrics', { concurrency: 2 }, () => {
  scene('events, tasks and calls are counted, no device is named, and promtool has no complaint', empty, async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    await s.subscribe(daemon);
    for (let n = 0; n < 5; ++n) await s.addDevice(`counted-${n}`, eui(n));
    await until('all are outside', async () => (await s.outside()).length === 5, 30);
    await shows(daemon, 'five tasks have ended', 'twinstep_tasks_ended_total', { link: 'default', outcome: 'done' }, 5);
    const text = await scrape(daemon.operations);
    assert.equal(value(text, 'twinstep_events_total', { outcome: 'started' }), 5);
    assert.equal(value(text, 'twinstep_changes_total', { link: 'default', kind: 'create', result: 'done' }), 5);
    assert.equal(value(text, 'twinstep_remote_calls_total', { remote: 'external/actility', operation: 'create', outcome: 'ok' }), 5);
    assert.ok(value(text, 'twinstep_http_requests_total', { route: '/api/ExternalRegistrySynchronizer_EventGridListener', method: 'POST', status: '200' }) >= 5);
    assert.ok(value(text, 'twinstep_store_call_seconds_count', { operation: 'commit' }) > 5);
    assert.ok(value(text, 'twinstep_attempt_seconds_count', { lane: 'external/actility' }) >= 5);
    assert.equal(value(text, 'twinstep_lane_threads', { lane: 'external/actility' }), 16);
    assert.equal(value(text, 'twinstep_store_up'), 1);
    assert.ok(value(text, 'process_resident_memory_bytes') > 1e6);
    assert.ok(!text.includes('counted-') && !text.includes(eui(1)), 'a device is named');
    for (const secret of [s.key, s.variables.actility_api_client_secret]) assert.ok(!text.includes(secret), 'a secret is told');
    // Where only this machine listens, both answer.
    assert.deepEqual(exposed(await scrape(daemon.address)), exposed(text));
    execFileSync('promtool', ['check', 'metrics'], { input: text, stdio: ['pipe', 'pipe', 'pipe'] });
  });

  scene('rules and dashboard name only metrics that there are, and every metric of ours is on the dashboard', empty, async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const known = exposed(await scrape(daemon.operations));
    const dashboard = JSON.parse(read('twinstep-dashboard.json'));
    const shown = dashboard.panels.flatMap((panel) => (panel.targets ?? []).map((target) => target.expr));
    assert.ok(shown.length > 30);
    const queries = dashboard.templating.list.map((one) => one.query?.query ?? '');
    const rules = [...read('twinstep.rules.yml').matchAll(/^ +expr: ([^\n]+(?:\n {10,}[^\n]+)*)/gm)].map((match) => match[1]);
    for (const expression of [...shown, ...queries, ...rules])
      for (const name of named(expression)) assert.ok(known.has(name), `${name}, in ${expression}`);
    const used = new Set(shown.flatMap(named));
    for (const name of known) {
      if (/_(sum|count)$/.test(name) && known.has(name.replace(/_(sum|count)$/, '_bucket'))) continue;
      if (name === 'twinstep_in_step_timestamp_seconds') continue;  // its age is shown
      assert.ok(used.has(name), `${name} is on no panel`);
    }
    for (const panel of dashboard.panels)
      if (panel.datasource) assert.equal(panel.datasource.uid, '${datasource}', panel.title);
  });

  scene('what is known of a link is right again after a restart', ['--devices', '300', '--time-factor', '60'], async (s, t) => {
    let daemon = await s.serve();
    t.after(() => daemon.stop());
    assert.equal((await runOnce(s, daemon, ['done', 'failed', 'blocked'])).state, 'done');
    await until('the run is in the figures', async () => value(await scrape(daemon.operations), 'twinstep_in_step_lag_seconds', { link: 'default' }) < 30, 20);
    const before = await scrape(daemon.operations);
    assert.ok(value(before, 'twinstep_changes_total', { link: 'default' }) > 0);
    assert.equal(value(before, 'twinstep_runs_ended_total', { link: 'default', outcome: 'done' }), 1);
    assert.ok(value(before, 'twinstep_run_seconds_sum', { link: 'default' }) > 0);
    assert.ok(value(before, 'twinstep_budget_tokens_total', { hub: 'default' }) > 0);
    await daemon.stop();
    daemon = await s.serve();
    await shows(daemon, 'the last good run is known again', 'twinstep_last_good_run_timestamp_seconds', { link: 'default' },
      value(before, 'twinstep_last_good_run_timestamp_seconds', { link: 'default' }));
    const after = await scrape(daemon.operations);
    for (const name of ['twinstep_owned_devices', 'twinstep_orphan_devices', 'twinstep_blocked_runs', 'twinstep_last_run_changes'])
      assert.equal(value(after, name, { link: 'default' }), value(before, name, { link: 'default' }), name);
    assert.equal(value(after, 'twinstep_runs_ended_total', { link: 'default', outcome: 'done' }), 0, 'counters begin anew');
  });

  scene('metrics are told while the store is away', empty, async (s, t) => {
    const daemon = await s.serve(0, { TWINSTEP_STORE: `postgresql://nobody@127.0.0.1:${await freePort()}/none` });
    t.after(daemon.stop);
    assert.equal((await fetch(`${daemon.address}/api/v1/runs`)).status, 503);
    const text = await scrape(daemon.operations);
    assert.equal(value(text, 'twinstep_store_up'), 0);
    assert.equal(value(text, 'twinstep_http_requests_total', { status: '503' }), 1);
  });

  scene('a real Prometheus scrapes the daemon, and its alert for a blocked run fires', ['--devices', '60', '--orphaned', '40%', '--time-factor', '60'], async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    // As they are, but without the patience that a person has.
    s.write('rules.yml', read('twinstep.rules.yml').replace(/\bfor: \d+m/g, 'for: 0s'));
    s.write('prometheus.yml', JSON.stringify({ global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' }, rule_files: ['rules.yml'],
      scrape_configs: [{ job_name: 'twinstep', static_configs: [{ targets: [daemon.operations.replace('http://', '')] }] }] }));
    const port = await freePort();
    const prometheus = spawn('prometheus', [`--config.file=${s.path('prometheus.yml')}`, `--storage.tsdb.path=${s.path('tsdb')}`,
      `--web.listen-address=127.0.0.1:${port}`], { stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    prometheus.stderr.on('data', (data) => { log = (log + data).slice(-4000); });
    const gone = new Promise((resolve) => { prometheus.once('error', (error) => { log += error; resolve(); }); prometheus.once('exit', resolve); });
    t.after(() => { prometheus.kill('SIGKILL'); return gone; });
    const ask = async (path) => {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`).catch(() => null);
      return answer?.ok ? (await answer.json()).data : null;
    };
    const query = async (text) => (await ask(`/api/v1/query?query=${encodeURIComponent(text)}`))?.result ?? [];
    await until('Prometheus has scraped', async () => (await query('up{job="twinstep"}'))[0]?.value[1] === '1', 60)
      .catch((error) => { throw new Error(`${error.message}\n${log}`); });
    const { groups } = await ask('/api/v1/rules');
    assert.equal(groups[0].rules.length, read('twinstep.rules.yml').match(/- alert:/g).length);
    for (const name of ['twinstep_build_info', 'twinstep_lane_threads', 'process_resident_memory_bytes', 'twinstep_http_requests_total'])
      await until(`${name} is there`, async () => (await query(name)).length > 0);
    assert.equal((await query('ALERTS{alertname="TwinstepRunBlocked"}')).length, 0);

    const run = await runOnce(s, daemon, ['blocked']);
    const firing = async () => (await query('ALERTS{alertname="TwinstepRunBlocked",alertstate="firing"}')).length;
    await until('the alert fires', async () => await firing() === 1, 30);
    await s.runs(0, ['approve', run.id, '--yes'], { TWINSTEP_URL: daemon.operations });
    await until('the alert ends with the approval', async () => await firing() === 0, 30);
    for (const rule of (await ask('/api/v1/rules')).groups[0].rules) assert.equal(rule.health, 'ok', `${rule.name}: ${rule.lastError}`);
  });
});
