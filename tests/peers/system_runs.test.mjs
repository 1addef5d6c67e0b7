// Runs and sweeps of the daemon: started by people, programs and schedules, blocked and approved, killed in the middle.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { freePort, isOrphan, lorawan, orphans, scene, until } from './lib.mjs';

const registry = ['--devices', '300', '--time-factor', '60'];
const ended = ['done', 'failed', 'cancelled', 'blocked'];

/// Starts a run over the API and waits until it has ended or is blocked.
async function runOnce(s, daemon, link = 'default') {
  const answer = await fetch(`${daemon.operations}/api/v1/links/${link}/runs`, { method: 'POST' });
  assert.equal(answer.status, 202, await answer.clone().text());
  const { id } = await answer.json();
  return waitFor(s, daemon, id, ended);
}
async function waitFor(s, daemon, id, states, seconds = 60) {
  let run;
  await until(`run ${id} is ${states}`, async () => {
    run = await (await fetch(`${daemon.operations}/api/v1/runs/${id}`)).json();
    return states.includes(run.state);
  }, seconds);
  return run;
}

describe('runs', { concurrency: 2 }, () => {
  scene('the sample\'s trigger starts a run, and its scripts can follow it', registry, async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const started = await fetch(`${daemon.address}/api/IoTHubSynchronizer_HttpListener`, { method: 'POST' });
    assert.equal(started.status, 202);
    const body = await started.json();
    assert.deepEqual(Object.keys(body).sort(), ['id', 'purgeHistoryDeleteUri', 'sendEventPostUri', 'statusQueryGetUri', 'terminatePostUri']);
    assert.equal(started.headers.get('location'), body.statusQueryGetUri);
    let status;
    await until('it is completed', async () => {
      const answer = await fetch(body.statusQueryGetUri);
      status = await answer.json();
      assert.equal(answer.status, status.runtimeStatus === 'Completed' ? 200 : 202, JSON.stringify(status));
      return answer.status === 200;
    }, 60);
    assert.equal(status.runtimeStatus, 'Completed');
    const again = await runOnce(s, daemon);
    assert.equal(again.state, 'done');
    assert.match(again.status, /nothing to do/);
    assert.deepEqual(await s.containers(), [], 'no blob outlives its run');
  });

  scene('a blocked run keeps its plan until a person approves it', [...registry, '--orphaned', '40%'], async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const before = await orphans(s);
    assert.equal(before, 120);
    const run = await runOnce(s, daemon);
    assert.equal(run.state, 'blocked', JSON.stringify(run));
    assert.equal(await orphans(s), before, 'nothing was deleted');
    const url = ['--output', 'text'];
    const shown = await s.runs(3, ['approve', run.id, ...url], { TWINSTEP_URL: daemon.operations });
    assert.match(shown.all, /delete/);
    assert.equal(await orphans(s), before);
    await s.runs(0, ['approve', run.id, '--yes'], { TWINSTEP_URL: daemon.operations });
    const done = await waitFor(s, daemon, run.id, ['done', 'failed']);
    assert.equal(done.state, 'done', JSON.stringify(done));
    assert.equal(await orphans(s), 0);
    const listed = await s.runs(0, ['runs', run.id], { TWINSTEP_URL: daemon.operations });
    assert.match(listed.stdout, /done/);
  });

  scene('a run that is cancelled leaves its link free', [...registry, '--orphaned', '40%'], async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const run = await runOnce(s, daemon);
    assert.equal(run.state, 'blocked');
    await s.runs(0, ['cancel', run.id], { TWINSTEP_URL: daemon.operations });
    assert.equal((await waitFor(s, daemon, run.id, ['cancelled'])).state, 'cancelled');
    assert.equal((await runOnce(s, daemon)).state, 'blocked');
  });

  scene('a schedule fires, once for a time, and one run of a link at a time', registry, async (s, t) => {
    const daemon = await s.serve(0, {}, ['--config', s.thingpark('schedule: "*/2 * * * * *", deletes: delete')]);
    t.after(daemon.stop);
    await until('runs by schedule', async () => {
      const { items } = await (await fetch(`${daemon.operations}/api/v1/runs?limit=50`)).json();
      return items.filter((run) => run.state === 'done').length >= 2;
    }, 30);
    const { items } = await (await fetch(`${daemon.operations}/api/v1/runs?limit=50`)).json();
    assert.ok(items.filter((run) => run.state === 'running').length <= 1);
  });

  scene('with overlap: queue a run that comes in the middle of another waits its turn, and one is enough', registry, async (s, t) => {
    const daemon = await s.serve(0, {}, ['--config', s.thingpark('overlap: queue, deletes: delete')]);
    t.after(daemon.stop);
    await s.fault({ server: 'hub', path: '/jobs', delayMs: 1000, times: 4 });
    const ask = async () => (await fetch(`${daemon.operations}/api/v1/links/default/runs`, { method: 'POST' })).json();
    const first = await ask();
    await waitFor(s, daemon, first.id, ['running']);
    const [second, third] = [await ask(), await ask()];
    assert.equal(first.outcome, 'started');
    assert.equal(second.outcome, 'queued');
    assert.notEqual(second.id, first.id);
    assert.deepEqual(third, { id: second.id, outcome: 'skipped' }, 'one that waits is enough');
    const runs = await (await fetch(`${daemon.operations}/api/v1/runs`)).json();
    assert.ok(runs.items.filter(({ state }) => state === 'running').length <= 1);
    assert.equal((await waitFor(s, daemon, second.id, ended)).state, 'done');
    const [one, two] = [await waitFor(s, daemon, first.id, ended), await waitFor(s, daemon, second.id, ended)];
    assert.equal(one.state, 'done');
    assert.match(two.status, /nothing to do/, 'it saw what the first one did');
  });

  scene('kill -9 after a schedule has fired: that run is made by the next process, and no time fires twice', registry, async (s, t) => {
    const config = ['--config', s.thingpark('schedule: "*/5 * * * * *", overlap: queue, deletes: delete')];
    let daemon = await s.serve(0, { TWINSTEP_CRASH_AT: 'schedule.after-commit' }, config);
    const crashed = await daemon.ended;
    assert.equal(crashed.code, 137, crashed.all);
    daemon = await s.serve(0, {}, config);
    t.after(daemon.stop);
    const runs = async () => (await (await fetch(`${daemon.operations}/api/v1/runs?limit=100`)).json()).items;
    const fired = () => [...daemon.output().matchAll(/schedule\.fired link=default due=(\S+) run=(\S+) became=(\w+)/g)].map(([, due, run, became]) => ({ due, run, became }));
    await until('the schedule goes on', () => fired().length >= 2, 30);
    const all = await runs();
    const first = all.at(-1);
    assert.equal((await waitFor(s, daemon, first.id, ended)).state, 'done', 'what the killed one has started');
    const later = fired().filter(({ became }) => became !== 'skipped').map(({ run }) => run);
    assert.ok(!later.includes(first.id));
    assert.deepEqual(all.map(({ id }) => id).filter((id) => id !== first.id && !later.includes(id)), [], 'each run has its time');
    assert.equal(new Set(fired().map(({ due }) => due)).size, fired().length);
  });

  // At every place of a run: the next process goes on, starts no job twice and changes nothing twice.
  for (const place of ['run.job-asked', 'run.job-known', 'run.planned', 'run.applying', 'run.applied'])
    scene(`kill -9 at ${place} is made good by the next process`, [...registry, '--missing', '50%', '--orphaned', '5%'], async (s, t) => {
      const port = await freePort();
      const variables = { devicesChangeJobThreshold: '50' };
      let daemon = await s.serve(port, { ...variables, TWINSTEP_CRASH_AT: place });
      await fetch(`${daemon.operations}/api/v1/links/default/runs`, { method: 'POST' });
      const crashed = await daemon.ended;
      assert.equal(crashed.code, 137, crashed.all);
      daemon = await s.serve(port, variables);
      t.after(daemon.stop);
      const { items } = await (await fetch(`${daemon.operations}/api/v1/runs`)).json();
      assert.equal(items.length, 1);
      const run = await waitFor(s, daemon, items[0].id, ['done', 'failed', 'blocked'], 60);
      assert.equal(run.state, 'done', JSON.stringify(run));
      assert.equal((await s.ids()).filter((id) => id.startsWith('lora-')).length, 300);
      assert.equal((await s.ids()).filter(isOrphan).length, 0);
      const requests = (await (await s.control('/requests')).json()).hub;
      const jobs = requests['POST /jobs/create']?.['200'] ?? 0;
      assert.ok(jobs <= 2 + (place === 'run.planned' || place.startsWith('run.appl') ? 1 : 0), `${jobs} jobs: ${JSON.stringify(requests)}`);
      assert.deepEqual(await s.containers(), []);
    });

  scene('with the hub as master a sweep makes what events missed and reports what is not ours', ['--devices', '20', '--missing', '0%', '--orphaned', '0%',
    '--foreign', '0%', '--edge', '0%', '--time-factor', '60', '--no-throttle'], async (s, t) => {
    await s.addDevice('missed-1', '0004A30B0000F001', lorawan('0004A30B0000F001'));
    await s.addDevice('missed-2', '0004A30B0000F002', lorawan('0004A30B0000F002'));
    const [stranger] = await s.outside();
    await s.removeDevice(stranger);
    const daemon = await s.serve(0, {}, ['--config', s.thingpark('master: hub, deletes: delete')]);
    t.after(daemon.stop);
    const sweep = await runOnce(s, daemon);
    assert.equal(sweep.state, 'done', JSON.stringify(sweep));
    assert.equal(sweep.kind, 'sweep');
    await until('what was missing is there', async () => (await s.outside()).filter((id) => id.startsWith('missed-')).length === 2, 30);
    assert.ok((await s.outside()).includes(stranger), 'an orphan that twinstep did not make stays');
    await s.removeDevice('missed-1');
    const second = await runOnce(s, daemon);
    assert.equal(second.state, 'done', JSON.stringify(second));
    await until('what twinstep made and the hub lost is gone', async () => !(await s.outside()).includes('missed-1'), 30);
    assert.ok((await s.outside()).includes(stranger));
  });

  for (const place of ['run.job-asked', 'run.job-known', 'sweep.planned', 'sweep.tasks'])
    scene(`a sweep that is killed at ${place} is made good by the next process`, ['--devices', '20', '--missing', '0%', '--orphaned', '0%',
      '--foreign', '0%', '--edge', '0%', '--time-factor', '60', '--no-throttle'], async (s, t) => {
      await s.addDevice('missed-1', '0004A30B0000F001', lorawan('0004A30B0000F001'));
      const port = await freePort();
      const config = ['--config', s.thingpark('master: hub, deletes: delete')];
      let daemon = await s.serve(port, { TWINSTEP_CRASH_AT: place }, config);
      await fetch(`${daemon.operations}/api/v1/links/default/runs`, { method: 'POST' });
      const crashed = await daemon.ended;
      assert.equal(crashed.code, 137, crashed.all);
      daemon = await s.serve(port, {}, config);
      t.after(daemon.stop);
      const { items } = await (await fetch(`${daemon.operations}/api/v1/runs`)).json();
      assert.equal(items.length, 1);
      const sweep = await waitFor(s, daemon, items[0].id, ['done', 'failed', 'blocked']);
      assert.equal(sweep.state, 'done', JSON.stringify(sweep));
      const jobs = (await (await s.control('/requests')).json()).hub['POST /jobs/create']?.['200'];
      assert.equal(jobs, place.startsWith('sweep.') ? 2 : 1, 'an export that was asked for is used, one that was read is gone');
      await until('what was missing is there', async () => (await s.outside()).includes('missed-1'), 30);
      assert.deepEqual(await s.containers(), []);
    });
});
