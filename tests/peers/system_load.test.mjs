// A load generator of others (wrk) against the daemon on this machine: whatever it sends with a key is answered well, nothing
// that was accepted is lost, and what it sends without one costs nobody else anything.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe } from 'node:test';
import { hook, run, scene, until } from './lib.mjs';

const registry = ['--devices', '0', '--time-factor', '60', '--no-throttle'];
const seconds = 3;

/// Runs wrk with a request made by `body` (Lua); gives what it counted.
async function load(s, url, method, headers, body) {
  assert.ok(existsSync('/usr/bin/wrk'), 'wrk is not installed; run scripts/setup --for test');
  const script = s.write(`load-${Math.random()}.lua`, [
    `wrk.method = "${method}"`,
    ...Object.entries(headers).map(([name, value]) => `wrk.headers["${name}"] = "${value}"`),
    'local n = 0',
    `request = function() n = n + 1; return wrk.format(nil, nil, nil, ${body}) end`,
    'done = function(summary) io.write(string.format("\\nTOTAL %d BAD %d BROKEN %d\\n", summary.requests, summary.errors.status,',
    '  summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout)) end', ''].join('\n'));
  const ended = await run('/usr/bin/wrk', ['-t', '1', '-c', '64', '-d', `${seconds}s`, '--timeout', '10s', '-s', script, url]);
  const [, total, bad, broken] = /TOTAL (\d+) BAD (\d+) BROKEN (\d+)/.exec(ended.stdout) ?? assert.fail(ended.stdout + ended.stderr);
  return { total: Number(total), bad: Number(bad), broken: Number(broken) };
}

describe('load', () => {
  scene('64 connections of events with a key, and of strangers without one', registry, async (s, t) => {
    const daemon = await s.serve(0, {}, ['-q']);
    t.after(daemon.stop);
    const key = (await s.runs(0, ['key', 'create', '--name', 'grid', '--scope', 'events'])).stdout.trim();
    const reader = (await s.runs(0, ['key', 'create', '--name', 'reader', '--scope', 'read'])).stdout.trim();
    const read = (path) => fetch(daemon.address + path, { headers: { 'x-functions-key': reader } });
    await until('keys are known', async () => (await fetch(`${daemon.address}/api/v1/links`)).status === 401 && (await read('/api/v1/links')).status === 200);

    const event = `string.format('[{"id":"e-%d","eventType":"Microsoft.Devices.DeviceDeleted","eventTime":"2026-08-20T22:05:31Z","topic":"/IOTHUBS/EXAMPLEHUB",` +
      `"subject":"devices/d-%d","data":{"hubName":"examplehub","deviceId":"d-%d"}}]', n, n, n)`;
    const taken = await load(s, `${daemon.address}${hook}?code=${key}`, 'POST', { 'Content-Type': 'application/json' }, event);
    assert.deepEqual([taken.bad, taken.broken], [0, 0], JSON.stringify(taken));
    assert.ok(taken.total > 100 * seconds, JSON.stringify(taken));
    const { events } = await (await read('/healthz')).json();
    assert.ok(events.received >= taken.total, `${JSON.stringify(events)} of ${taken.total}`);
    assert.equal(events.started + events.joined + events.known, events.received, 'each is recorded');

    const refused = await load(s, `${daemon.address}/api/v1/links`, 'GET', { 'x-functions-key': `${key.slice(0, -4)}AAAA` }, 'nil');
    assert.equal(refused.bad, refused.total, 'nobody gets in');
    assert.ok(refused.total > 100 * seconds, JSON.stringify(refused));
    const before = Date.now();
    assert.equal((await read('/api/v1/links')).status, 200);
    assert.ok(Date.now() - before < 2000, 'others are served');
  });
});
