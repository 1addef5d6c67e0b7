// One link, several machines: commands and the runs of a daemon that share a store in PostgreSQL keep out of each other's way.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { scene, startPostgres, until } from './lib.mjs';

const empty = ['--devices', '0', '--time-factor', '60', '--no-throttle'];
const devices = 400;
const rows = (value) => Array.from({ length: devices }, (_, n) => ({ deviceId: `lock-${String(n).padStart(3, '0')}`, ref: value }));

/// A database, and a configuration whose lease a test can wait for. Each change is a call of its own.
async function shared(s, t) {
  const postgres = await startPostgres();
  t.after(postgres.stop);
  s.variables.TWINSTEP_STORE = postgres.uri;
  return configured(s, '1');
}
const configured = (s, value) => s.sheet(rows(value), ', limits: {updates: 100%}', 'job_threshold: 1000000\nserve: {lease: 2s}');

/// Patches that reached the hub, whatever it answered.
const patched = async (s) => Object.entries(await s.calls()).reduce((sum, [call, n]) => sum + (call.startsWith('hub PATCH') ? n : 0), 0);
const run = async (daemon, id) => (await fetch(`${daemon.operations}/api/v1/runs/${id}`)).json();
async function startRun(daemon) {
  const answer = await fetch(`${daemon.operations}/api/v1/links/default/runs`, { method: 'POST' });
  assert.equal(answer.status, 202, await answer.clone().text());
  return (await answer.json()).id;
}

describe('locks', { concurrency: 2 }, () => {
  scene('a command is told which run has the link and until when', empty, async (s, t) => {
    const config = await shared(s, t);
    await s.runs(0, ['sync', '--config', config]);
    configured(s, '2');
    const daemon = await s.serve(0, {}, ['--config', config]);
    t.after(daemon.stop);
    await s.fault({ server: 'hub', method: 'PATCH', delayMs: 1000, times: -1 });
    const id = await startRun(daemon);
    await until('the run writes', async () => await patched(s) > 0);
    for (const command of ['plan', 'sync']) {
      const refused = await s.runs(1, [command, '--config', config]);
      assert.match(refused.stderr, new RegExp(`link default: run ${id} \\(process ${daemon.child.pid} on .+\\) works on it and holds it until \\d{4}-.+Z`));
    }
    assert.equal((await run(daemon, id)).state, 'running', 'for longer than a lease');
    await s.noFaults();
    await until('the run is done', async () => (await run(daemon, id)).state === 'done', 60);
    assert.equal(await patched(s), devices);
    assert.match((await s.runs(0, ['sync', '--config', config])).stdout, /nothing to do/);
  });

  scene('a run waits for a command, and takes the link when that was killed', empty, async (s, t) => {
    const config = await shared(s, t);
    await s.runs(0, ['sync', '--config', config]);
    configured(s, '2');
    await s.fault({ server: 'hub', method: 'PATCH', delayMs: 300, times: -1 });
    const command = s.begin(['sync', '--config', config]);
    await until('the command writes', async () => await patched(s) > 0);
    const daemon = await s.serve(0, {}, ['--config', config]);
    t.after(daemon.stop);
    const id = await startRun(daemon);
    let waiting;
    await until('the run waits', async () => { waiting = await run(daemon, id); return waiting.state === 'waiting' && waiting.status; });
    assert.match(waiting.status, new RegExp(`link default: twinstep sync \\(process ${command.child.pid} on .+\\) works on it`));
    command.child.kill('SIGKILL');
    await command.ended;
    await s.noFaults();
    await until('the run is done', async () => (await run(daemon, id)).state === 'done', 90);
    assert.ok((await s.devices()).every((device) => device.tags.ref === '2'));
  });

  scene('a command that was paused past its lease notices before it changes anything more', empty, async (s, t) => {
    const config = await shared(s, t);
    await s.runs(0, ['sync', '--config', config]);
    configured(s, '2');
    await s.fault({ server: 'hub', method: 'PATCH', delayMs: 300, times: -1 });
    const paused = s.begin(['sync', '--config', config]);
    t.after(() => paused.child.kill('SIGKILL'));
    // Its connections are open by then: what waits in a handshake was handed over before the pause, and its ETag refuses it.
    await until('all of its hands write', async () => await patched(s) > 100);
    paused.child.kill('SIGSTOP');
    await s.noFaults();
    assert.match((await s.runs(1, ['sync', '--config', config])).stderr, new RegExp(`twinstep sync \\(process ${paused.child.pid} on .+\\) works on it`));
    await until('another one may take the link', async () => (await s.run(['sync', '--config', config])).code === 0, 30);
    const before = await patched(s);
    paused.child.kill('SIGCONT');
    const ended = await paused.ended;
    assert.equal(ended.code, 1, ended.all);
    assert.match(ended.stderr, /not sent, because this process was paused/);
    assert.equal(await patched(s), before, 'nothing was sent after the pause');
    assert.ok((await s.devices()).every((device) => device.tags.ref === '2'));
    await s.runs(0, ['plan', '--exit-code', '--config', config]);
  });

  scene('a daemon that was paused in the middle of a run changes nothing more: another one has done it', empty, async (s, t) => {
    const config = await shared(s, t);
    await s.runs(0, ['sync', '--config', config]);
    configured(s, '2');
    await s.fault({ server: 'hub', method: 'PATCH', delayMs: 300, times: -1 });
    const daemons = [await s.serve(0, {}, ['--config', config]), await s.serve(0, {}, ['--config', config])];
    t.after(() => Promise.all(daemons.map((one) => one.stop('SIGKILL'))));
    const id = await startRun(daemons[0]);
    await until('the run writes', async () => await patched(s) > 0);
    const [, holder] = /\(process (\d+) on/.exec((await s.runs(1, ['plan', '--config', config])).stderr);
    const paused = daemons.find((one) => one.child.pid === Number(holder));
    const other = daemons.find((one) => one !== paused);
    paused.child.kill('SIGSTOP');
    await s.noFaults();
    await until('the run is done', async () => (await run(other, id)).state === 'done', 60);
    assert.match(other.output(), /workflows\.rescued/);
    const before = await patched(s);
    assert.ok(before <= devices + 64, `${before} patches for ${devices} devices: only what was under way came twice`);
    paused.child.kill('SIGCONT');
    await until('it notices', async () => /lease\.(lost|not_sure)/.test(paused.output()));
    await paused.stop();
    assert.equal(await patched(s), before, 'nothing was sent after the pause');
    assert.ok((await s.devices()).every((device) => device.tags.ref === '2'));
  });
});
