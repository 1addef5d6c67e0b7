// The daemon is killed, paused and cut off while the hub's registry changes: at the end both registries are equal, and no
// change was made twice.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { freePort, lorawan, scene, startPostgres, startWire, until } from './lib.mjs';

const empty = ['--devices', '0', '--time-factor', '60', '--no-throttle', '--event-tags'];
const eui = (n) => `0004A30B0000${n.toString(16).toUpperCase().padStart(4, '0')}`;

/// A sequence of numbers that is the same in every run.
function dice(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * below);
  };
}

/// Devices come, get their tags, and go; what the hub holds at the end is the model.
class Load {
  constructor(s, seed) { this.s = s; this.dice = dice(seed); this.made = 0; this.untagged = []; this.tagged = []; this.removed = 0; this.writes = []; }
  async step() {
    const what = this.dice(10);
    if (what < 5 || this.made < 3) {
      const n = this.made++;
      await this.s.addDevice(`dev-${n}`, eui(n));
      this.tagged.push(n);
    } else if (what < 7) {
      const n = this.made++;
      await this.s.addDevice(`dev-${n}`, eui(n), { note: 'later' });
      this.untagged.push(n);
    } else if (what < 8 && this.untagged.length > 0) {
      const n = this.untagged.splice(this.dice(this.untagged.length), 1)[0];
      await this.s.tagDevice(`dev-${n}`, lorawan(eui(n)));
      this.tagged.push(n);
    } else if (this.tagged.length > 0) {
      const n = this.tagged.splice(this.dice(this.tagged.length), 1)[0];
      await this.s.removeDevice(`dev-${n}`);
      this.removed += 1;
    }
  }
  async finish() {
    for (const n of this.untagged.splice(0)) { await this.s.tagDevice(`dev-${n}`, lorawan(eui(n))); this.tagged.push(n); }
  }
  /// Both registries hold what the model holds, and the network server was never made to hold one device twice.
  async settled(seconds = 120) {
    const wanted = JSON.stringify(this.tagged.map((n) => `dev-${n}`).sort());
    assert.equal(JSON.stringify(await this.s.ids()), wanted, 'the hub holds the model');
    await until('both registries are equal', async () => JSON.stringify(await this.s.outside()) === wanted, seconds);
    const calls = await this.s.calls();
    assert.ok(calls['thingpark POST 201'] <= this.made, `${calls['thingpark POST 201']} creates of ${this.made} devices`);
    assert.ok((calls['thingpark DELETE 204'] ?? 0) <= this.removed, 'no device was deleted that was not meant');
  }
}

describe('crash', { concurrency: 2 }, () => {
  scene('kill -9 at 200 random moments under load', empty, async (s, t) => {
    const port = await freePort();
    const load = new Load(s, 7);
    let daemon = await s.serve(port);
    t.after(() => daemon.stop('SIGKILL'));
    await s.subscribe(daemon, { maxEventsPerBatch: 3, duplicates: 0.2, reorder: 0.2 });
    for (let kills = 0; kills < 200; ++kills) {
      // Some calls of the load, with the kill in the middle of one of them.
      const steps = [load.step()];
      for (let n = load.dice(4); n > 0; --n) await new Promise((resolve) => { setImmediate(resolve); });
      if (load.dice(2) === 0) await Promise.all(steps);
      await daemon.stop('SIGKILL');
      await Promise.all(steps);
      daemon = await s.serve(port);
      assert.ok(daemon.address, daemon.output());
    }
    await load.finish();
    await load.settled();
    assert.equal((await daemon.stop()).code, 0);
    const check = (await import('node:child_process')).execFileSync('sqlite3', [s.variables.TWINSTEP_STORE.slice('sqlite:'.length), 'PRAGMA integrity_check']);
    assert.equal(check.toString().trim(), 'ok');
  });

  scene('three replicas share the work; one is killed, one paused past its lease, one cut off', empty, async (s, t) => {
    const postgres = await startPostgres();
    t.after(postgres.stop);
    const wire = await startWire(postgres.port);
    t.after(wire.stop);
    // A lease that a test can wait for.
    const config = s.write('replicas.yaml', [
      'hubs: {mine: {connection_string: "env:iothub", units: 50}, examplehub: {connection_string: "env:iothub", units: 50}}',
      'externals: {tp: {provider: actility, settings: {tokenUri: "env:actility_api_token_uri", devicesUri: "env:actility_api_devices_uri",',
      '  clientId: "env:actility_api_client_id", clientSecret: "env:actility_api_client_secret", requestsPerSecond: "1000"}}}',
      'links: [{name: default, hub: mine, external: tp, master: hub, deletes: delete}]', 'serve: {lease: 2s}', ''].join('\n'));
    const serve = (uri) => s.serve(0, { TWINSTEP_STORE: uri }, ['--config', config]);
    const replicas = [await serve(postgres.uri), await serve(postgres.uri), await serve(postgres.uri.replace(String(postgres.port), String(wire.port)))];
    t.after(() => Promise.all(replicas.map((one) => one.stop('SIGKILL'))));
    for (const [n, replica] of replicas.entries()) {
      await s.control('/subscriptions', { method: 'POST', body: JSON.stringify({ name: `replica-${n}`,
        endpoint: `${replica.address}/api/ExternalRegistrySynchronizer_EventGridListener` }) });
      await until('the handshake', async () => (await (await s.control(`/subscriptions/replica-${n}`)).json()).state === 'Succeeded');
    }
    await s.fault({ server: 'thingpark', path: '/devices', delayMs: 50, times: -1 });
    const load = new Load(s, 11);
    for (let n = 0; n < 40; ++n) await load.step();
    replicas[0].child.kill('SIGSTOP');
    for (let n = 0; n < 20; ++n) await load.step();
    wire.cut();
    for (let n = 0; n < 20; ++n) await load.step();
    await until('the one that is cut off says so', async () => {
      const answer = await fetch(`${replicas[2].operations}/readyz`);
      return answer.status === 503 && JSON.stringify(await answer.json()).includes('store');
    }, 60);
    await until('the others take over', async () => replicas[1].output().includes('workflows.rescued') ||
      (await s.outside()).length >= load.tagged.length, 60);
    replicas[0].child.kill('SIGCONT');
    wire.mend();
    await until('it is ready again', async () => (await fetch(`${replicas[2].operations}/readyz`)).status === 200, 60);
    await replicas[1].stop('SIGKILL');
    for (let n = 0; n < 10; ++n) await load.step();
    await load.finish();
    await load.settled();
    const work = replicas.map((one) => one.output().match(/ExternalDevice(Created|Deleted)/g)?.length ?? 0);
    assert.ok(work.every((count) => count > 0), `all three worked: ${work}`);
  });

  scene('a database that stops, crashes and comes back loses nothing', empty, async (s, t) => {
    const postgres = await startPostgres();
    t.after(postgres.stop);
    const daemon = await s.serve(0, { TWINSTEP_STORE: postgres.uri });
    t.after(() => daemon.stop('SIGKILL'));
    await s.subscribe(daemon);
    const load = new Load(s, 13);
    for (const signal of ['SIGINT', 'SIGQUIT']) {
      for (let n = 0; n < 10; ++n) await load.step();
      await postgres.down(signal);
      for (let n = 0; n < 10; ++n) await load.step();
      const refused = await fetch(`${daemon.address}/api/ExternalRegistrySynchronizer_EventGridListener`, { method: 'POST',
        body: JSON.stringify([{ id: `x-${signal}`, topic: '/S/IOTHUBS/DEFAULT', subject: 'devices/x', eventType: 'Microsoft.Devices.DeviceDeleted',
          eventTime: '2026-01-01T00:00:00Z', data: { hubName: 'default', deviceId: 'x' }, dataVersion: '1' }]) });
      assert.equal(refused.status, 503, 'no 2xx without a commit');
      assert.ok(refused.headers.get('retry-after'));
      await until('it says that the store is away', async () => (await fetch(`${daemon.operations}/readyz`)).status === 503, 30);
      await postgres.up();
      await until('it is ready again', async () => (await fetch(`${daemon.operations}/readyz`)).status === 200, 60);
    }
    await load.finish();
    await load.settled();
  });

  scene('a daemon that starts before its database waits for it', empty, async (s, t) => {
    const postgres = await startPostgres();
    t.after(postgres.stop);
    await postgres.down();
    const daemon = await s.serve(0, { TWINSTEP_STORE: postgres.uri });
    t.after(() => daemon.stop('SIGKILL'));
    assert.equal((await fetch(`${daemon.operations}/healthz`)).status, 200);
    assert.equal((await fetch(`${daemon.operations}/readyz`)).status, 503);
    await postgres.up();
    await until('it is ready', async () => (await fetch(`${daemon.operations}/readyz`)).status === 200, 60);
    await s.subscribe(daemon);
    await s.addDevice('dev-1', eui(1));
    await until('it works', async () => (await s.outside()).includes('dev-1'));
  });
});
