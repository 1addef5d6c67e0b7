// A network server that fails in every way, and clocks that jump: the policies hold, nothing is lost or done twice, and
// what has gathered is done at the rate that the definition allows.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createServer } from 'node:http';
import { describe } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { freePort, lorawan, postEvent, readiness, scene, startClock, startPostgres, until } from './lib.mjs';

const empty = ['--devices', '0', '--time-factor', '60', '--no-throttle', '--event-tags'];
const eui = (n) => `0004A30B0000${n.toString(16).toUpperCase().padStart(4, '0')}`;
const rate = 25;  // calls per second that the network server allows
const burst = 10;  // of the definition

/// A network server that speaks as ThingPark and fails as it is told; it writes down when it was asked.
async function startThingPark(t) {
  const devices = new Map();  // by EUI
  const port = await freePort();
  const park = { devices, calls: [], created: 0, deleted: 0, doubled: 0, hanging: 0, fault: null, names: () => [...devices.values()].map(({ name }) => name).sort() };
  const reply = (response, status, body, headers = {}) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(typeof body === 'string' ? body : JSON.stringify(body));
  const serve = (request, body, response) => {
    const url = new URL(request.url, 'http://x');
    if (url.pathname === '/token') return reply(response, 200, { access_token: `t-${park.calls.length}`, expires_in: 3600 });
    if (request.method === 'POST') {
      const device = JSON.parse(body);
      if (devices.has(device.EUI)) { park.doubled += 1; return reply(response, 409, { message: 'DevEUI exists' }); }
      devices.set(device.EUI, { ...device, ref: String(++park.created) });
      return reply(response, 201, devices.get(device.EUI));
    }
    if (request.method === 'DELETE') {
      const ref = url.pathname.split('/').pop();
      const found = [...devices].find(([, device]) => device.ref === ref);
      if (!found) return reply(response, 404, {});
      devices.delete(found[0]);
      park.deleted += 1;
      return response.writeHead(204).end();
    }
    const found = devices.get(url.searchParams.get('deviceEUI'));
    return reply(response, 200, found ? [found] : []);
  };
  let server;
  park.up = () => new Promise((resolve) => {
    server = createServer((request, response) => {
      let body = '';
      request.on('data', (data) => { body += data; });
      request.on('end', () => {
        park.calls.push({ at: performance.now(), method: request.method, url: request.url });
        const meant = park.fault && (park.fault.token || !request.url.startsWith('/token')) && (!park.fault.method || park.fault.method === request.method);
        const fault = meant ? park.fault : null;
        if (!fault) return serve(request, body, response);
        if (fault.executed) serve(request, body, { writeHead: () => ({ end: () => {} }) });
        if (fault.hang) {
          park.hanging += 1;
          return response.once('close', () => { park.hanging -= 1; });
        }
        if (fault.cut) { response.writeHead(200, { 'content-length': 1000 }).write('[{'); return setTimeout(() => response.destroy(), 5); }
        return reply(response, fault.status, fault.body ?? {}, fault.headers);
      });
    });
    server.listen(port, '127.0.0.1', resolve);
  });
  park.down = () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); });
  await park.up();
  t.after(() => { server.closeAllConnections(); server.close(); });
  park.settings = { actility_api_token_uri: `http://127.0.0.1:${port}/token`, actility_api_devices_uri: `http://127.0.0.1:${port}/devices`,
    actility_api_client_id: 'me/client', actility_api_client_secret: 'not-told-to-anybody', actility_api_requests_per_second: String(rate) };
  /// No stretch of time holds more calls than the definition allows.
  park.keptTheRate = (since = 0) => {
    const times = park.calls.filter(({ url, at }) => !url.startsWith('/token') && at >= since).map(({ at }) => at);
    for (let i = 0; i < times.length; ++i)
      for (let j = i + burst; j < times.length; ++j) {
        const allowed = burst + (rate * (times[j] - times[i] + 500)) / 1000 + 1;  // half a second for the way here, on busy cores
        assert.ok(j - i + 1 <= allowed, `${j - i + 1} calls within ${Math.round(times[j] - times[i])} ms`);
      }
    return times;
  };
  return park;
}

const tasks = async (daemon, query) => {
  const all = [];
  for (let path = `/api/v1/tasks?limit=1000&${query}`; path;) {
    const page = await (await fetch(daemon.operations + path)).json();
    all.push(...page.items);
    path = page.next;
  }
  return all;
};

describe('faults', { concurrency: 3 }, () => {
  scene('a network server that answers in every wrong way loses no device and is not asked too often', empty, async (s, t) => {
    const park = await startThingPark(t);
    const daemon = await s.serve(0, park.settings);
    t.after(() => daemon.stop('SIGKILL'));
    await s.subscribe(daemon);
    let n = 0;
    const resumed = () => fetch(`${daemon.operations}/api/v1/lanes/${encodeURIComponent('external/actility')}/resume`, { method: 'POST' });
    const faults = {
      'refuses credentials': { status: 401, token: true },
      'refuses its own token': { status: 401 },
      'asks to slow down for two seconds': { status: 429, headers: { 'retry-after': '2' } },
      'asks to slow down': { status: 429 },
      'fails': { status: 500, body: '<h1>Internal Server Error</h1>' },
      'is busy and says for how long': { status: 503, headers: { 'retry-after': '1' } },
      'shows a page to log in': { status: 200, body: '<html><body>log in</body></html>', headers: { 'content-type': 'text/html' } },
      'cuts its JSON off': { status: 200, body: '[{"name":"x","EUI":"00' },
      'answers with another type': { status: 200, body: '{"devices":7,"name":[1],"EUI":{}}', method: 'GET' },
      'answers with other types inside': { status: 200, body: '[{"name":[1],"EUI":{},"ref":{}}]', method: 'GET' },
      'lists what is no device': { status: 200, body: '[7]', method: 'GET' },
      'breaks off': { cut: true },
      'does it and answers 500': { status: 500, executed: true },
      'hangs': { hang: true },
    };
    for (const [what, fault] of Object.entries(faults)) {
      park.fault = fault;
      const before = park.calls.length;
      const alarms = (daemon.output().match(/\[error\].*lane\.rests|error.*lane\.rests/g) ?? []).length;
      for (let i = 0; i < 3; ++i) await s.addDevice(`dev-${n}`, eui(n++));
      if (n > 3) await s.removeDevice(`dev-${n - 5}`);
      await until(`${what}: it is asked`, () => park.calls.length > before, 20);
      assert.equal((await postEvent(daemon, `other-${n}`)).status, 200, 'events are taken in as before');
      await pause(500);  // time to do something wrong
      if (fault.status === 401) {
        await until('the lane rests', async () => JSON.stringify((await readiness(daemon)).parts).includes('rests'));
        assert.equal((daemon.output().match(/error.*lane\.rests/g) ?? []).length, alarms + 1, 'one alarm');
      }
      assert.deepEqual(await tasks(daemon, 'state=failed'), [], `${what}: nobody was given up`);
      park.fault = null;
      if (fault.hang) { await park.down(); await park.up(); }
      if (fault.status === 401) await resumed();
      const wanted = JSON.stringify(await s.ids());
      await until(`${what}: both registries are equal`, () => JSON.stringify(park.names()) === wanted, 30);
    }
    park.keptTheRate();
    assert.equal(park.created, n, 'each device was created once');
    assert.deepEqual(await tasks(daemon, 'state=failed'), []);
    assert.ok(!daemon.output().includes('not-told-to-anybody'));
  });

  // In real time: two minutes are what one try may take, the look-up after an unsure create included.
  scene('a network server that takes a request and never answers is left after two minutes, and the task goes on', empty, async (s, t) => {
    const park = await startThingPark(t);
    const daemon = await s.serve(0, park.settings);
    t.after(() => daemon.stop('SIGKILL'));
    await s.subscribe(daemon);
    await s.addDevice('goes', eui(1));
    await until('it is outside', () => park.devices.size === 1);
    park.fault = { hang: true, executed: true };  // it does what it was asked for, and nobody hears of it
    const since = performance.now();
    await s.addDevice('comes', eui(2));
    await s.removeDevice('goes');
    await until('both tasks hang', () => park.hanging === 2);
    assert.equal((await postEvent(daemon, 'other')).status, 200, 'events are taken in as before');
    assert.equal((await readiness(daemon)).status, 200);
    const said = (event) => (daemon.output().match(new RegExp(`${event} .*(no complete answer|no time was left)`, 'g')) ?? []).length;
    await until('both tries have ended', () => said('ExternalDeviceCreationError') === 1 && said('ExternalDeviceDeletedError') === 1, 180);
    const took = (performance.now() - since) / 1000;
    park.fault = null;
    assert.ok(took > 95 && took < 150, `given up after ${took.toFixed(0)} s`);
    await until('nothing is left open', () => park.hanging === 0, 150);
    await until('both registries are equal', () => JSON.stringify(park.names()) === '["comes"]', 30);
    await until('the daemon knows', async () => (await tasks(daemon, 'state=waiting')).length + (await tasks(daemon, 'state=running')).length === 0, 30);
    assert.deepEqual(await tasks(daemon, 'state=failed'), [], 'nobody was given up');
    assert.equal(park.created, 2, 'each was made once');
    assert.equal(park.deleted, 1);
  });

  scene('what answers in the place of the hub or the network server says nothing about a device', empty, async (s, t) => {
    const port = await freePort();
    let daemon = await s.serve(port);
    t.after(() => daemon.stop('SIGKILL'));
    await s.subscribe(daemon);
    const equal = async () => JSON.stringify(await s.outside()) === JSON.stringify(await s.ids());
    const state = async (device) => (await tasks(daemon, `device=${device}`)).map((task) => `${task.state}: ${task.status}`);
    let n = 0;
    const made = async () => { const device = `dev-${n}`; await s.addDevice(device, eui(n++)); await until('it is outside', equal); return device; };
    // The hub is away: a gateway without a route, with a body or without one.
    for (const body of [undefined, '{"message":"no Route matched with those values"}', '{ "statusCode": 404, "message": "Resource not found" }', '<html>404</html>', 'default backend - 404']) {
      const device = await made();
      await s.fault({ server: 'hub', path: '/twins/', times: -1, status: 404, ...(body ? { body } : {}) });
      await postEvent(daemon, device, { id: `again-${device}`, type: 'DeviceCreated' });
      await until(`${body}: it waits`, async () => (await state(device)).some((text) => /^waiting: .*404/.test(text)));
      assert.ok((await s.outside()).includes(device), `${body}: the device stays outside`);
      await s.noFaults();
      await until('it goes on', async () => (await state(device)).every((text) => text.startsWith('done')));
    }
    for (const fault of [{ status: 302 }, { status: 501 }, { status: 521 }, { status: 530 }, { status: 404, body: '<html>404</html>', method: 'GET' }]) {
      const gone = await made();
      await s.fault({ server: 'thingpark', path: '/devices', times: -1, ...fault });
      const comes = `dev-${n}`;
      await s.addDevice(comes, eui(n++));
      await s.removeDevice(gone);
      await until(`${fault.status}: the delete waits`, async () => (await state(gone)).some((text) => text.startsWith('waiting: actility')));
      assert.deepEqual(await tasks(daemon, 'state=failed'), [], `${fault.status}: nobody is given up`);
      await s.noFaults();
      await until(`${fault.status}: both registries are equal`, equal, 30);
    }
    // Without a token nothing is known of any device.
    const gone = await made();
    await daemon.stop();
    await s.fault({ server: 'thingpark', path: '/token', times: -1, status: 404, body: '{"error":"no such page"}' });
    daemon = await s.serve(port);
    await s.removeDevice(gone);
    await until('the delete waits', async () => (await state(gone)).some((text) => /^waiting: .*access token/.test(text)));
    await s.noFaults();
    await until('both registries are equal', equal, 30);
  });

  scene('questions about devices while the network server hangs hold up neither events nor health', empty, async (s, t) => {
    const park = await startThingPark(t);
    const daemon = await s.serve(0, park.settings);
    t.after(() => daemon.stop('SIGKILL'));
    await s.addDevice('asked', eui(1));
    park.fault = { hang: true, token: true };
    const asked = [daemon.address, daemon.operations].flatMap((where) => Array.from({ length: 80 }, () => fetch(`${where}/api/v1/explain/asked`)));
    await until('the network server is asked', () => park.hanging > 0);
    const since = performance.now();
    assert.equal((await postEvent(daemon, 'other')).status, 200);
    assert.equal((await readiness(daemon)).status, 200);
    assert.ok(performance.now() - since < 5000, `${Math.round(performance.now() - since)} ms`);
    const refused = (await Promise.race(asked.slice().reverse())).clone();
    assert.equal(refused.status, 503, 'who comes too much is told so at once');
    assert.ok(Number(refused.headers.get('retry-after')) >= 1);
    for (const answer of await Promise.all(asked)) assert.ok([200, 503].includes(answer.status), `${answer.status}`);
    park.fault = null;
    assert.equal((await fetch(`${daemon.operations}/api/v1/explain/asked`)).status, 200, 'afterwards as before');
  });

  scene('a network server that is down for long loses nothing, and what has gathered is done at the allowed rate', empty, async (s, t) => {
    const park = await startThingPark(t);
    const daemon = await s.serve(0, { ...park.settings, externalSystemCallRetryIntervalInSeconds: '1', externalSystemCallMaxIntervalInSeconds: '6' });
    t.after(() => daemon.stop('SIGKILL'));
    await s.subscribe(daemon, { maxEventsPerBatch: 100 });
    for (let n = 0; n < 5; ++n) await s.addDevice(`early-${n}`, eui(n));
    await until('the early ones', () => park.devices.size === 5);
    // The sample's hour at its five to thirty minutes, three hundred times as fast: 12 s at 1 to 6 s.
    await park.down();
    const since = performance.now();
    const many = 200;
    for (let from = 0; from < many; from += 100) {
      const result = await s.hub('POST', '/devices', Array.from({ length: 100 }, (_, i) => (
        { id: `dev-${from + i}`, importMode: 'create', status: 'enabled', tags: lorawan(eui(100 + from + i)) })));
      assert.ok(result.isSuccessful);
    }
    for (let n = 0; n < 5; ++n) await s.removeDevice(`early-${n}`);
    await until('all events are taken', async () => (await s.subscription()).pending === 0, 30);
    assert.equal((await readiness(daemon)).status, 200, 'events are taken in as before');
    await until('an hour is over', () => performance.now() - since > 12_000, 20);
    const waiting = await tasks(daemon, 'state=waiting');
    assert.ok(waiting.length + (await tasks(daemon, 'state=running')).length === many + 5, `${waiting.length} wait`);
    assert.deepEqual(await tasks(daemon, 'state=failed'), [], 'nobody was given up');
    assert.ok(daemon.output().includes('ExternalDeviceCreationError'), 'the outage is reported');

    await park.up();
    const back = performance.now();
    await until('all is done', () => park.devices.size === many && park.names().every((name) => name.startsWith('dev-')), 60);
    const took = (performance.now() - back) / 1000;
    const times = park.keptTheRate(back);
    const least = (times.length - burst) / rate;
    // At least as long as the rate demands; not much longer, the longest wait of a task included.
    assert.ok(took >= least * 0.9 && took <= least * 1.3 + 8, `${times.length} calls took ${took.toFixed(1)} s, the rate allows ${least.toFixed(1)} s`);
    assert.equal(park.created, many + 5);
    assert.equal(park.deleted, 5);
    assert.equal(park.doubled, 0);
    await until('the daemon knows', async () => (await tasks(daemon, 'state=waiting')).length === 0);
    assert.deepEqual(await tasks(daemon, 'state=failed'), []);
  });

  /// Seconds by which the daemon's clock differs from ours, as its log tells.
  const apart = async (daemon) => {
    const before = daemon.output().length;
    await postEvent(daemon, 'what-time', { hub: `nobody-${Math.random()}` });
    let told;
    await until('a line of the log', () => { told = /(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\S* \S* *\S*event\.unknown_hub/.exec(daemon.output().slice(before)); return told; });
    return Math.round((Date.parse(`${told[1]}Z`) - Date.now()) / 1000);
  };

  for (const store of ['SQLite', 'PostgreSQL'])
    scene(`a clock that jumps by an hour both ways gives up nothing early and does nothing twice, with ${store}`, empty, async (s, t) => {
      let uri;
      if (store === 'PostgreSQL') {
        const postgres = await startPostgres();
        t.after(postgres.stop);
        uri = postgres.uri;
      }
      const clock = startClock(s.path('clock'));
      // Half an hour of patience: an hour's jump would use it up if the clock on the wall counted.
      const daemon = await s.serve(0, { ...(uri ? { TWINSTEP_STORE: uri } : {}), ...clock.variables, twinCheckRetryTimeoutInMinutes: '30',
        externalSystemCallRetryTimeoutInMinutes: '30', ioTHubSynchronizerEnabled: 'true' });
      t.after(() => daemon.stop('SIGKILL'));
      await s.subscribe(daemon);
      await s.addDevice('waits', eui(1), { note: 'no tags yet' });
      await s.addDevice('down', eui(2));
      await s.fault({ server: 'thingpark', method: 'POST', path: '/devices', status: 500, times: -1 });
      await s.addDevice('fails', eui(3));
      const looks = () => (daemon.output().match(/DeviceTwinCheckFail\b.*waits/g) ?? []).length;
      let n = 10;
      for (const offset of ['+1h', '+0', '-1h', '+0']) {
        clock.set(offset);
        const wanted = { '+1h': 3600, '-1h': -3600, '+0': 0 }[offset];
        assert.ok(Math.abs(await apart(daemon) - wanted) <= 2, `the daemon's clock is set to ${offset}`);
        const [before, since] = [looks(), performance.now()];
        await until('it looks for tags as before', () => looks() >= before + 2, 10);
        await until('three seconds', () => performance.now() - since > 3000);
        assert.ok(looks() - before <= 6, `${looks() - before} looks in 3 s at ${offset}`);
        await s.addDevice(`new-${n}`, eui(n), { note: 'later' });
        n += 1;
        assert.deepEqual((await tasks(daemon, 'state=failed')).map(({ device, status }) => [device, status]), [], `nothing is given up at ${offset}`);
        assert.equal((await readiness(daemon)).status, 200);
      }
      await s.noFaults();
      for (const [device, number] of [['waits', 1], ...Array.from({ length: n - 10 }, (_, i) => [`new-${10 + i}`, 10 + i])])
        await s.tagDevice(device, lorawan(eui(number)));
      await until('all are outside', async () => JSON.stringify(await s.outside()) === JSON.stringify(await s.ids()), 30);
      assert.equal((await s.calls())['thingpark POST 201'], (await s.ids()).length, 'each was created once');
      assert.equal((daemon.output().match(/workflows\.rescued|lease\.lost/g) ?? []).length, 0);
    });

  // The scheduler looks every half minute at least, so that it notices a clock that was set.
  scene('a clock that jumps by an hour both ways fires every time of a schedule once', empty, async (s, t) => {
    const park = await startThingPark(t);
    const clock = startClock(s.path('jumps'));
    const hour = 3600_000;
    const first = Math.ceil(Date.now() / hour) * hour;  // the time that comes first
    const set = (time) => clock.set(`${time > Date.now() ? '+' : ''}${((time - Date.now()) / 1000).toFixed(3)}`);
    const config = s.write('jumps.yaml', ['hubs: {mine: {connection_string: "env:iothub", units: 50}}',
      'externals: {actility: {provider: actility}}',
      'links: [{name: default, hub: mine, external: actility, master: hub, deletes: delete, schedule: "0 0 * * * *", overlap: queue}]',
      'use_export_jobs: false', ''].join('\n'));
    const serve = () => s.serve(0, { ...park.settings, ...clock.variables }, ['--config', config]);
    set(first - 10_000);
    let daemon = await serve();
    t.after(() => daemon.stop('SIGKILL'));
    const fired = () => [...daemon.output().matchAll(/(\S+) info schedule\.fired link=default due=(\S+)/g)]
      .map(([, at, due]) => ({ due: (Date.parse(due) - first) / hour, late: (Date.parse(at) - Date.parse(due)) / 1000 }));
    const times = () => JSON.stringify(fired().map(({ due }) => due));
    const look = async () => { const since = performance.now(); await until('a look of the scheduler', () => performance.now() - since > 31_500, 40); };
    await until('the first time', () => times() === '[0]', 30);
    assert.ok(fired()[0].late < 3, 'in time');
    set(first + hour + 5_000);
    await until('the time that was jumped over', () => times() === '[0,1]', 60);
    set(first + 60_000);
    await look();
    set(first + 2 * hour - 36_000);  // past the second time once more
    await until('the third time', () => times().includes('2'), 60);
    assert.equal(times(), '[0,1,2]', 'none twice, none left out');
    assert.ok(fired()[2].late < 3, `in time, not ${fired()[2].late} s late`);
    // What was missed while nobody ran runs once.
    assert.equal((await daemon.stop()).code, 0);
    set(first + 7 * hour + 600_000);
    daemon = await serve();
    await until('what was missed', () => fired().length > 0, 30);
    await look();
    assert.equal(times(), '[3]', 'five missed times are one run');
    const { items } = await (await fetch(`${daemon.operations}/api/v1/runs?limit=100`)).json();
    assert.equal(items.length, 4, JSON.stringify(items.map(({ state, status }) => [state, status])));
  });

  scene('replicas whose clocks are two hours apart share the work and the schedule, and do nothing twice', empty, async (s, t) => {
    const postgres = await startPostgres();
    t.after(postgres.stop);
    const park = await startThingPark(t);
    const config = s.write('clocks.yaml', ['hubs: {mine: {connection_string: "env:iothub", units: 50}, examplehub: {connection_string: "env:iothub", units: 50}}',
      'externals: {actility: {provider: actility}}',
      'links: [{name: default, hub: mine, external: actility, master: hub, deletes: delete, schedule: "*/5 * * * * *"}]',
      'use_export_jobs: false', 'serve: {lease: 2s}', ''].join('\n'));
    const [early, late] = [startClock(s.path('early')), startClock(s.path('late'))];
    early.set('-1h');
    late.set('+1h');
    const replicas = [];
    for (const { variables } of [early, late])
      replicas.push(await s.serve(0, { ...park.settings, actility_api_requests_per_second: '1000', TWINSTEP_STORE: postgres.uri, ...variables }, ['--config', config]));
    t.after(() => Promise.all(replicas.map((one) => one.stop('SIGKILL'))));
    for (const [n, replica] of replicas.entries())
      await s.control('/subscriptions', { method: 'POST', body: JSON.stringify({ name: `replica-${n}`, duplicates: 0.3,
        endpoint: `${replica.address}/api/ExternalRegistrySynchronizer_EventGridListener` }) });
    for (let n = 0; n < 60; ++n) await s.addDevice(`dev-${n}`, eui(n), n % 3 === 0 ? { note: 'later' } : undefined);
    for (let n = 1; n < 60; n += 6) await s.removeDevice(`dev-${n}`);
    for (let n = 0; n < 60; n += 3) await s.tagDevice(`dev-${n}`, lorawan(eui(n)));
    const wanted = JSON.stringify(await s.ids());
    await until('both registries are equal', () => JSON.stringify(park.names()) === wanted, 60);
    assert.ok(park.created <= 60, `${park.created} creates of 60 devices`);
    assert.ok(park.deleted <= 10, `${park.deleted} deletes of 10 devices`);
    const ask = (query) => execFileSync('psql', ['-X', '-At', '-q', '-d', postgres.uri, '-c', query]).toString().trim();
    assert.equal(ask("SELECT count(*) FROM workflow WHERE kind = 'device' AND state = 'failed'"), '0');
    for (const replica of replicas) assert.equal((replica.output().match(/lease\.lost|workflows\.rescued/g) ?? []).length, 0);
    // Whoever's clock it is by: one time of the schedule is one run.
    await until('runs of the schedule', () => replicas.some((one) => one.output().includes('schedule.fired')), 20);
    const fired = replicas.flatMap((one) => [...one.output().matchAll(/schedule\.fired link=default due=(\S+)/g)].map((match) => match[1]));
    assert.equal(new Set(fired).size, fired.length, `fired twice: ${fired}`);
  });
});
