// The daemon against the simulated hub, Event Grid and ThingPark: what a user of the sample sees, with the sample's
// environment variables alone, and what remains when something goes wrong.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { freePort, hook, lorawan, postEvent, scene, until } from './lib.mjs';

const empty = ['--devices', '0', '--time-factor', '20', '--no-throttle'];
const eui = (n) => `0004A30B0000${n.toString(16).toUpperCase().padStart(4, '0')}`;

describe('serve', { concurrency: 2 }, () => {
  scene('devices of the hub follow to ThingPark, with the sample\'s variables alone', [...empty, '--event-tags'], async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    await s.subscribe(daemon);
    await s.addDevice('complete', eui(1));
    await s.addDevice('later', eui(2), { note: 'no tags yet' });
    await until('the complete one', async () => (await s.outside()).includes('complete'));
    await until('the other one waits for its tags', () => daemon.output().includes('DeviceTwinCheckFail'));
    assert.deepEqual(await s.outside(), ['complete']);
    await s.tagDevice('later', lorawan(eui(2)));
    await until('the one that got its tags', async () => (await s.outside()).includes('later'));
    await s.removeDevice('complete');
    await until('the deleted one', async () => !(await s.outside()).includes('complete'));
    assert.deepEqual(await s.outside(), ['later']);
    assert.equal((await daemon.stop()).code, 0);
    for (const event of ['ExternalDeviceCreated', 'ExternalDeviceDeleted']) assert.ok(daemon.output().includes(event), event);
  });

  scene('a DevEUI that the hub has in two spellings stays outside until both are gone', [...empty, '--event-tags'], async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    await s.subscribe(daemon);
    const [lower, upper] = [eui(0xABC).toLowerCase(), eui(0xABC)];
    const ended = async (n) => (await (await fetch(`${daemon.operations}/api/v1/tasks?state=done`)).json()).items.length === n;
    await s.addDevice(lower, upper);
    await until('it is outside', async () => (await s.outside()).length === 1);
    await s.addDevice(upper, upper);
    await until('the other spelling is known', () => ended(2));
    await s.removeDevice(lower);
    await until('the delete is worked on', () => ended(3));
    assert.deepEqual(await s.outside(), [lower], 'the hub has it still');
    await s.removeDevice(upper);
    await until('it is gone', async () => (await s.outside()).length === 0);
  });

  for (const schema of ['eventgrid', 'eventgrid-2018', 'cloudevents', 'cloudevents-binary'])
    scene(`events in the schema ${schema} arrive, twice, in any order and in batches`, empty, async (s, t) => {
      const daemon = await s.serve();
      t.after(daemon.stop);
      const batch = schema === 'cloudevents-binary' ? {} : { maxEventsPerBatch: 10 };
      await s.subscribe(daemon, { schema, duplicates: 0.5, reorder: 0.5, delayMs: 300, ...batch });
      for (let n = 0; n < 30; ++n) await s.addDevice(`dev-${n}`, eui(n));
      for (let n = 0; n < 30; n += 3) await s.removeDevice(`dev-${n}`);
      await until('all deliveries', async () => (await s.subscription()).pending === 0, 30);
      const wanted = (await s.ids()).sort();
      assert.equal(wanted.length, 20);
      await until('both registries are equal', async () => JSON.stringify(await s.outside()) === JSON.stringify(wanted), 30);
    });

  scene('kill -9 at every named place loses nothing and doubles nothing', empty, async (s, t) => {
    const port = await freePort();
    let daemon = await s.serve(port);
    t.after(() => daemon.stop?.('SIGKILL'));
    await s.subscribe(daemon);
    await daemon.stop();
    let n = 0;
    for (const place of ['intake.before-commit', 'intake.after-commit', 'claim.after-commit', 'task.before-remote', 'task.after-remote',
      'finish.before-commit', 'finish.after-commit']) {
      for (const passage of [1, 2]) {
        daemon = await s.serve(port, { TWINSTEP_CRASH_AT: `${place}:${passage}` });
        const [one, two] = [n++, n++];
        await s.addDevice(`dev-${one}`, eui(one));
        await s.addDevice(`dev-${two}`, eui(two));
        if (one > 0) await s.removeDevice(`dev-${one - 1}`);
        const crashed = await daemon.ended;
        assert.equal(crashed.code, 137, `${place}:${passage} ended with ${crashed.code}\n${crashed.all}`);
        daemon = await s.serve(port);
        await until(`all is well after ${place}:${passage}`,
          async () => JSON.stringify(await s.outside()) === JSON.stringify(await s.ids()), 60);
        assert.equal((await daemon.stop()).code, 0);
      }
    }
    const calls = await s.calls();
    assert.equal(calls['thingpark POST 201'] - 0, n, 'each device was created once');
    assert.equal(calls['thingpark DELETE 204'], calls['hub DELETE 204'], 'each deleted device was deleted once');
  });

  scene('a network server that fails in every way loses no device', empty, async (s, t) => {
    const daemon = await s.serve(0, { externalSystemCallMaxRetryCount: '1000' });
    t.after(daemon.stop);
    await s.subscribe(daemon);
    const faults = [{ status: 500 }, { status: 503, retryAfter: 1 }, { status: 429, retryAfter: 1 }, { status: 429 },
      { status: 200, body: '<html>log in</html>' }, { drop: true }, { lost: true }, { cutAfter: 1 }];
    let n = 0;
    for (const fault of faults) {
      await s.fault({ server: 'thingpark', path: '/devices', times: 3, ...fault });
      for (let i = 0; i < 3; ++i) await s.addDevice(`dev-${n}`, eui(n++));
      await s.removeDevice(`dev-${n - 2}`);
      await until(`it recovers from ${JSON.stringify(fault)}`,
        async () => JSON.stringify(await s.outside()) === JSON.stringify(await s.ids()), 90);
      await s.noFaults();
    }
  });

  scene('refused credentials rest the lane, raise one alarm and fail nobody', empty, async (s, t) => {
    const daemon = await s.serve(0, { actility_api_client_secret: 'wrong' });
    t.after(daemon.stop);
    await s.subscribe(daemon);
    for (let n = 0; n < 5; ++n) await s.addDevice(`dev-${n}`, eui(n));
    await until('the lane rests', () => daemon.output().includes('lane.rests'));
    const ready = await (await fetch(`${daemon.operations}/readyz`)).json();
    assert.equal(ready.ready, true);
    assert.match(JSON.stringify(ready), /external\/actility.*rests/);
    await daemon.stop();
    assert.equal(daemon.output().match(/lane\.rests/g).length, 1);
    assert.ok(!daemon.output().includes('CreationFailed'));
    const mended = await s.serve();
    t.after(mended.stop);
    // A person who has mended the credentials need not wait for the lane to wake up.
    await fetch(`${mended.operations}/api/v1/lanes/${encodeURIComponent('external/actility')}/resume`, { method: 'POST' });
    await until('all are there', async () => (await s.outside()).length === 5, 30);
  });

  scene('a bad configuration is refused at SIGHUP, a good one taken', empty, async (s, t) => {
    const config = s.thingpark('master: hub, deletes: never');
    const daemon = await s.serve(0, {}, ['--config', config]);
    t.after(daemon.stop);
    const good = readFileSync(config, 'utf8');
    s.write('thingpark.yaml', good.replace('deletes: never', 'deletes: nevr'));
    daemon.child.kill('SIGHUP');
    await until('the refusal', () => /configuration\.refused.*thingpark\.yaml:5/s.test(daemon.output()));
    s.write('thingpark.yaml', good);
    daemon.child.kill('SIGHUP');
    await until('the reload', () => daemon.output().includes('configuration.reloaded'));
    await s.subscribe(daemon);
    await s.addDevice('dev-1', eui(1));
    await until('it works on', async () => (await s.outside()).includes('dev-1'));
  });

  scene('what waits goes on when its hub and its external system get other names', empty, async (s, t) => {
    const config = s.thingpark('master: hub, deletes: delete');
    const before = readFileSync(config, 'utf8') + 'twin_check: {first: 1s, cap: 1s, attempts: 1000}\n';
    s.write('thingpark.yaml', before);
    const daemon = await s.serve(0, {}, ['--config', config]);
    t.after(daemon.stop);
    assert.equal((await postEvent(daemon, 'waits', { hub: 'mine', type: 'DeviceCreated' })).status, 200);
    await s.addDevice('waits', eui(1), { note: 'no tags yet' });
    const seen = async () => (await (await fetch(`${daemon.operations}/api/v1/tasks?device=waits`)).json()).items;
    await until('it is known', async () => (await seen()).length > 0);
    await postEvent(daemon, 'waits', { id: 'again', hub: 'mine', type: 'DeviceCreated' });
    await until('it waits', async () => (await seen()).some(({ status }) => /waits for tags/.test(status)));
    s.write('thingpark.yaml', before.replaceAll(/\bmine\b/g, 'yours').replaceAll(/\btp\b/g, 'other'));
    daemon.child.kill('SIGHUP');
    await until('the reload', () => daemon.output().includes('configuration.reloaded'));
    await s.tagDevice('waits', lorawan(eui(1)));
    await until('it is outside', async () => (await s.outside()).includes('waits'));
  });

  scene('systemd is told when it is ready, reloads and stops', empty, async (s, t) => {
    const socket = s.path('notify');
    const listener = spawn('perl', ['-MSocket', '-e', '$| = 1; socket(S, PF_UNIX, SOCK_DGRAM, 0); bind(S, sockaddr_un($ARGV[0])) or die; ' +
      'print "bound\n"; while (defined(recv(S, my $text, 4096, 0))) { print "$text\n" }', socket], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => listener.kill());
    let told = '';
    listener.stdout.on('data', (data) => { told += data; });
    await until('the socket is there', () => told.startsWith('bound'));
    const lines = () => told.split('\n').filter((line) => /^(READY|RELOADING|STOPPING)=/.test(line));
    const config = s.thingpark('master: hub, deletes: never');
    const daemon = await s.serve(0, { NOTIFY_SOCKET: socket }, ['--config', config]);
    t.after(daemon.stop);
    await until('it is ready', () => lines().length === 1);
    daemon.child.kill('SIGHUP');
    await until('it has reloaded', () => lines().length === 3);
    const good = readFileSync(config, 'utf8');
    s.write('thingpark.yaml', 'no configuration');
    daemon.child.kill('SIGHUP');
    await until('the refusal', () => daemon.output().includes('configuration.refused'));
    s.write('thingpark.yaml', good);
    assert.equal((await daemon.stop()).code, 0);
    await until('it has stopped', () => lines().includes('STOPPING=1'));
    assert.deepEqual(lines(), ['READY=1', 'RELOADING=1', 'READY=1', 'STOPPING=1']);
  });

  scene('a second daemon on the same file is refused', empty, async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const second = await s.runs(1, ['serve', '--listen', '127.0.0.1:0', '--operations', '127.0.0.1:0']);
    assert.match(second.stderr, /another twinstep serve works with it/);
  });

  scene('health, log level and strangers', empty, async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    assert.equal((await (await fetch(`${daemon.operations}/healthz`)).json()).status, 'ok');
    assert.equal((await fetch(`${daemon.operations}/readyz`)).status, 200);
    assert.deepEqual(await (await fetch(`${daemon.operations}/loglevel`, { method: 'PUT', body: '{"level":"debug"}' })).json(), { level: 'debug' });
    assert.equal((await fetch(`${daemon.operations}/loglevel`, { method: 'PUT', body: '{"level":"loud"}' })).status, 400);
    assert.equal((await fetch(`${daemon.address}/nothing`)).status, 404);
    assert.equal((await fetch(`${daemon.address}${hook}`, { method: 'PUT' })).status, 405);
  });
});
