// The façade of the daemon against the simulated hub: what a network server sees that makes and deletes single devices,
// and what Microsoft's own client then finds in the hub.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { Agent } from 'node:https';
import { createConnection } from 'node:net';
import { describe } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { delivery, freePort, hook, peer, scene, until } from './lib.mjs';

const { Registry } = peer('azure-iothub');
const empty = ['--devices', '0', '--no-throttle'];
const json = { 'content-type': 'application/json' };

/// The façade's routes of a daemon; `call` gives status, body and headers.
const facade = (daemon) => {
  const call = async (method, path, body, headers = {}) => {
    const answer = await fetch(daemon.address + path, { method, headers: { ...json, ...headers }, body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body) });
    const text = await answer.text();
    return { status: answer.status, body: text && JSON.parse(text), text, headers: answer.headers };
  };
  const at = (id) => `/api/devices/${encodeURIComponent(id)}`;
  return {
    call,
    create: (id, tags, headers) => call('POST', at(id), tags, headers),
    remove: (id, headers) => call('DELETE', at(id), undefined, headers),
    read: (id) => call('GET', at(id)),
    batch: (operations, headers, query = '') => call('POST', `/api/v1/devices/default:batch${query}`, { operations }, headers),
  };
};

/// Microsoft's client; it has no place for a port in its host name, an agent's default port is one.
function microsoft(s) {
  const hub = Object.fromEntries(s.variables.iothub.split(';').map((part) => [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)]));
  const made = Registry.fromConnectionString(`HostName=${hub.HostName.replace(/:\d+$/, '')};SharedAccessKeyName=${hub.SharedAccessKeyName};SharedAccessKey=${hub.SharedAccessKey}`);
  const agent = new Agent({ keepAlive: false, ca: s.sim.ca });
  agent.defaultPort = Number(/:(\d+)$/.exec(hub.HostName)?.[1] ?? 443);
  made._restApiClient.setOptions({ http: { agent } });
  return { device: async (id) => (await made.get(id)).responseBody, twin: async (id) => (await made.getTwin(id)).responseBody };
}

const percentile = (times, p) => times.sort((a, b) => a - b)[Math.floor(times.length * p)];

describe('facade', { concurrency: 2 }, () => {
  scene('Microsoft\'s client finds what was made: tags, state, keys of the hub; and every answer has its status', empty, async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const { create, remove, read, call } = facade(daemon);
    const client = microsoft(s);
    const tags = { site: { floor: 3, names: ['é', 'b'] }, on: true, appKey: 'SECRETSECRET' };
    const made = await create('dev-1', tags);
    assert.equal(made.status, 201, made.text);
    assert.ok(!made.text.includes('SECRET'));
    const device = await client.device('dev-1');
    assert.equal(device.status, 'enabled');
    const { primaryKey, secondaryKey } = device.authentication.symmetricKey;
    for (const key of [primaryKey, secondaryKey]) assert.equal(Buffer.from(key, 'base64').length, 32, 'a key of the hub');
    const twin = await client.twin('dev-1');
    assert.deepEqual(twin.tags, { ...tags, twinstep: { link: 'default' } });

    assert.equal((await create('dev-1', tags)).status, 200);
    const other = await create('dev-1', { ...tags, on: false });
    assert.equal(other.status, 409);
    assert.equal(other.body.wanted.tags.on, false);
    assert.equal(other.body.present.tags.on, true);
    const shown = await read('dev-1');
    assert.equal(shown.status, 200);
    assert.equal(shown.body.status, 'enabled');
    assert.equal(shown.body.tags.appKey, '***');
    assert.ok(!shown.text.includes(primaryKey));
    assert.equal((await client.device('dev-1')).authentication.symmetricKey.primaryKey, primaryKey, 'repetitions leave the keys');

    for (const bad of ['[]', '5', '{', '{"a":null}', '{"a.b":1}', '{"twinstep":{}}', `{"a":"${'x'.repeat(4097)}"}`])
      assert.equal((await create('bad', bad)).status, 400, bad);
    assert.equal((await call('POST', '/api/devices/nowhere/x')).status, 404);
    assert.equal((await call('PUT', '/api/devices/x', '{}')).status, 405);
    assert.equal((await read('none')).status, 404);
    assert.equal((await remove('none')).status, 404);
    await s.addDevice('foreign', '0004A30B00000001');
    assert.equal((await remove('foreign')).status, 409);
    assert.equal((await remove('dev-1')).status, 200);
    assert.equal((await remove('dev-1')).status, 404);
    assert.deepEqual(await s.ids(), ['foreign']);

    const tasks = await s.runs(0, ['tasks', '--device', 'dev-1'], { TWINSTEP_URL: daemon.operations });
    assert.match(tasks.stdout, /IoTHubDeviceDeleted/);
    assert.match(tasks.stdout, /IoTHubDeviceCreated/);
    const explained = await s.runs(0, ['explain', 'dev-1'], { TWINSTEP_URL: daemon.operations });
    assert.match(explained.stdout, /IoTHubDeviceDeleted/);
    assert.equal((await daemon.stop()).code, 0);
    assert.ok(!daemon.output().includes('SECRET'));
  });

  scene('ids of 128 characters with every legal one reach exactly the named device', empty, async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const { create, read, remove, call } = facade(daemon);
    const client = microsoft(s);
    const legal = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-:.+%_#*?!(),=@;$'";
    const wanted = [legal.padEnd(128, 'x'), '%2F', '%252e', 'a..b', '...', '+', '#', '?', "'", '=&x'.slice(0, 1), ':batch'];
    for (const id of wanted) {
      assert.equal((await create(id, { id })).status, 201, id);
      assert.equal((await read(id)).body.id, id);
      assert.deepEqual((await client.twin(id)).tags.id, id);
    }
    assert.deepEqual(await s.ids(), [...wanted].sort());
    for (const path of ['%2F', 'a%2Fb', 'a%20b', 'a%00', '%zz', '%', 'a%2', 'x'.repeat(129), '%C3%A9', 'a%5Cb'])
      for (const method of ['GET', 'POST', 'DELETE']) {
        const answer = await call(method, `/api/devices/default/${path}`);
        assert.equal(answer.status, 400, `${method} ${path}`);
      }
    assert.deepEqual(await s.ids(), [...wanted].sort());
    for (const id of wanted) assert.equal((await remove(id)).status, 200, id);
    assert.deepEqual(await s.ids(), []);
  });

  scene('a soft delete keeps keys, and the next POST enables with its own tags', empty, async (s, t) => {
    const daemon = await s.serve(0, { iotHubFacadeUseSoftDelete: 'true' });
    t.after(daemon.stop);
    const { create, remove, read } = facade(daemon);
    const client = microsoft(s);
    await create('dev-1', { a: 1, b: { c: 2, d: [1] } });
    const before = await client.device('dev-1');
    assert.equal((await remove('dev-1')).status, 200);
    const gone = await client.device('dev-1');
    assert.equal(gone.status, 'disabled');
    assert.equal(gone.statusReason, 'Deleted by external system');
    assert.deepEqual(gone.authentication, before.authentication);
    assert.equal((await remove('dev-1')).status, 200);
    assert.equal((await client.device('dev-1')).etag, gone.etag, 'nothing was written twice');
    assert.equal((await read('dev-1')).body.status, 'disabled');
    assert.equal((await create('dev-1', { b: { d: [2] }, e: 'x' })).status, 200);
    const back = await client.device('dev-1');
    assert.equal(back.status, 'enabled');
    assert.deepEqual(back.authentication, before.authentication);
    assert.deepEqual((await client.twin('dev-1')).tags, { b: { d: [2] }, e: 'x', twinstep: { link: 'default' } });
  });

  scene('switched off, all of it is 403', empty, async (s, t) => {
    const daemon = await s.serve(0, { iothubfacadeEnabled: 'false' });
    t.after(daemon.stop);
    const { create, remove, read, batch } = facade(daemon);
    for (const answer of [await create('x'), await remove('x'), await read('x'), await batch([{ op: 'create', id: 'x' }])]) {
      assert.equal(answer.status, 403);
      assert.equal(answer.body.code, 'facade.disabled');
    }
    assert.deepEqual(await s.ids(), []);
  });

  scene('batches, dry runs and idempotency keys, over a restart too', empty, async (s, t) => {
    const port = await freePort();
    let daemon = await s.serve(port);
    t.after(() => daemon.stop());
    let { create, remove, batch, call } = facade(daemon);
    const hundred = Array.from({ length: 100 }, (_, n) => ({ op: 'create', id: `dev-${n}`, tags: { n } }));
    const dry = await batch(hundred, {}, '?dryRun=true');
    assert.ok(dry.body.results.every((one) => one.would === 'create'), dry.text.slice(0, 300));
    assert.deepEqual(await s.ids(), []);
    const made = await batch(hundred, { 'idempotency-key': 'hundred' });
    assert.equal(made.status, 200, made.text);
    assert.equal(made.body.done, 100);
    assert.equal((await s.ids()).length, 100);
    const mixed = await batch([{ op: 'create', id: 'dev-0', tags: { n: 0 } }, { op: 'create', id: 'dev-1', tags: { n: 'other' } },
      { op: 'create', id: 'new' }, { op: 'delete', id: 'dev-2' }, { op: 'delete', id: 'none' }, { op: 'create', id: 'a/b' }]);
    assert.deepEqual(mixed.body.results.map((one) => one.status), [200, 409, 201, 200, 404, 400]);
    await s.fault({ server: 'hub', method: 'POST', path: '/devices', times: 2, status: 200, body: JSON.stringify({ isSuccessful: true, errors: [],
      warnings: ['bare', 'bare-2'].map((deviceId) => ({ deviceId, warningCode: 'DeviceRegisteredWithoutTwin', warningStatus: '' })) }) });
    await s.fault({ server: 'hub', method: 'PATCH', path: '/twins', times: -1, status: 403, body: '{}' });
    for (const told of [JSON.stringify((await batch([{ op: 'create', id: 'bare' }])).body.results[0]), (await create('bare-2')).text])
      assert.match(told, /made it without its tags.*remove it/);
    await s.noFaults();
    assert.equal((await batch([{ op: 'create', id: '0004A30B001C0530' }, { op: 'create', id: '0004a30b001c0530' }])).status, 400);

    const first = await create('once', { a: 1 }, { 'idempotency-key': 'one' });
    assert.equal(first.status, 201);
    assert.equal((await remove('once')).status, 200);
    assert.equal((await daemon.stop()).code, 0);
    daemon = await s.serve(port);
    ({ create, remove, batch, call } = facade(daemon));
    const again = await create('once', { a: 1 }, { 'idempotency-key': 'one' });
    assert.equal(again.status, 201);
    assert.equal(again.text, first.text);
    assert.equal(again.headers.get('idempotent-replayed'), 'true');
    assert.ok(!(await s.ids()).includes('once'), 'it was not done again');
    assert.equal((await create('once', { a: 2 }, { 'idempotency-key': 'one' })).status, 422);
    assert.equal((await batch(hundred, { 'idempotency-key': 'hundred' })).text, made.text);
  });

  scene('killed between the hub and the answer, the repetition is 200 and the record complete', empty, async (s, t) => {
    const port = await freePort();
    let daemon = await s.serve(port, { TWINSTEP_CRASH_AT: 'facade.after-remote' });
    t.after(() => daemon.stop('SIGKILL'));
    await assert.rejects(facade(daemon).create('dev-1', { a: 1 }, { 'idempotency-key': 'k' }));
    assert.equal((await daemon.ended).code, 137);
    assert.deepEqual(await s.ids(), ['dev-1']);
    daemon = await s.serve(port);
    const { create } = facade(daemon);
    assert.equal((await create('dev-1', { a: 1 })).status, 200);
    assert.equal((await create('dev-1', { a: 1 })).status, 200);
    const tasks = await (await fetch(`${daemon.operations}/api/v1/tasks?device=dev-1`)).json();
    assert.equal(tasks.items.length, 1, JSON.stringify(tasks));
    assert.match(tasks.items[0].status, /IoTHubDeviceFound/);
    assert.equal((await create('dev-1', { a: 1 }, { 'idempotency-key': 'k' })).status, 409, 'the dead attempt may still be at work');
  });

  scene('a budget that is used up is 429, and who waits as long as told is served', ['--devices', '0', '--tier', 'S1', '--units', '1'], async (s, t) => {
    const daemon = await s.serve(0, { TWINSTEP_UNITS: '1' });
    t.after(daemon.stop);
    const { create, batch } = facade(daemon);
    const fifty = (from) => Array.from({ length: 50 }, (_, n) => ({ op: 'create', id: `dev-${from + n}` }));
    assert.equal((await batch(fifty(0))).body.done, 50);
    const part = await batch([{ op: 'create', id: 'late-1' }, { op: 'create', id: 'late-2' }, { op: 'create', id: 'late-3' }, { op: 'create', id: 'late-4' }]);
    assert.equal(part.status, 429, 'not one of them was sent');
    const seconds = Number(part.headers.get('retry-after'));
    assert.ok(seconds >= 1 && seconds <= 3, `${seconds}`);
    await pause(seconds * 1000);
    assert.equal((await batch([1, 2, 3, 4].map((n) => ({ op: 'create', id: `late-${n}` })))).body.done, 4);
    let refused;
    for (let n = 0; n < 10 && !refused; ++n) {
      const answers = await Promise.all([0, 1, 2, 3].map((m) => create(`more-${n}-${m}`)));
      refused = answers.map((answer, m) => ({ answer, id: `more-${n}-${m}` })).find(({ answer }) => answer.status === 429);
    }
    assert.ok(refused, 'single calls hear it as well');
    assert.ok(!(await s.ids()).includes(refused.id));
    await pause(Number(refused.answer.headers.get('retry-after')) * 1000);
    assert.equal((await create(refused.id)).status, 201);
    assert.equal((await (await s.control('/stats')).json()).throttled ?? 0, 0, 'the hub itself refused nothing');
  });

  scene('a run that applies at the hub\'s whole rate makes way for callers', ['--devices', '0', '--tier', 'S1', '--units', '20'], async (s, t) => {
    const config = s.sheet(Array.from({ length: 3000 }, (_, n) => ({ deviceId: `listed-${n}`, EUI: `0004A30B${n.toString(16).toUpperCase().padStart(8, '0')}` })),
      '', 'job_threshold: 1000000');
    s.write('sheet.yaml', (await import('node:fs')).readFileSync(config, 'utf8').replace('units: 50', 'units: 20'));
    const daemon = await s.serve(0, {}, ['--config', config]);
    t.after(() => daemon.stop('SIGKILL'));
    const { call } = facade(daemon);
    const started = await fetch(`${daemon.operations}/api/v1/links/default/runs`, { method: 'POST' });
    assert.equal(started.status, 202);
    await until('the run applies', async () => (await s.ids()).length > 1000, 60);
    const times = [];
    for (let n = 0; n < 60; ++n) {
      const begin = performance.now();
      const answer = await call('POST', `/api/devices/mine/quick-${n}`, { n });
      assert.equal(answer.status, 201, answer.text);
      times.push(performance.now() - begin);
    }
    const run = await (await fetch(`${daemon.operations}/api/v1/runs/${(await started.json()).id}`)).json();
    assert.equal(run.state, 'running', 'it was at work all the time');
    assert.ok(percentile(times, 0.9) < 1000, `p90 ${percentile(times, 0.9)} ms`);
  });

  scene('a run spares what a caller just asked for, and takes it as its own afterwards', empty, async (s, t) => {
    const config = (grace) => s.sheet([1, 2, 3].map((n) => ({ deviceId: `listed-${n}`, EUI: `0004A30B0000000${n}` })), '', `facade: {grace: ${grace}}`);
    const runOnce = async (daemon) => {
      const { id } = await (await fetch(`${daemon.operations}/api/v1/links/default/runs`, { method: 'POST' })).json();
      let run;
      await until('the run ends', async () => ['done', 'failed', 'blocked'].includes((run = await (await fetch(`${daemon.operations}/api/v1/runs/${id}`)).json()).state), 60);
      return run;
    };
    let daemon = await s.serve(0, {}, ['--config', config('1h')]);
    t.after(() => daemon.stop());
    await runOnce(daemon);
    assert.equal((await facade(daemon).call('POST', '/api/devices/mine/just-made', { a: 1 })).status, 201);
    const first = await runOnce(daemon);
    assert.deepEqual(await s.ids(), ['just-made', 'listed-1', 'listed-2', 'listed-3'], JSON.stringify(first));
    const dealt = await (await fetch(`${daemon.operations}/api/v1/runs/${first.id}/devices`)).text();
    assert.match(dealt, /a caller of the facade asked for it/);
    await s.runs(0, ['sync', '--config', config('1h')]);
    assert.ok((await s.ids()).includes('just-made'), 'the command asks the same store');
    assert.equal((await daemon.stop()).code, 0);
    daemon = await s.serve(0, {}, ['--config', config('1s')]);
    await pause(1000);
    await runOnce(daemon);
    assert.deepEqual(await s.ids(), ['listed-1', 'listed-2', 'listed-3'], 'the list does not have it, and it is owned');
  });

  scene('while the disk is full nothing is promised, devices are still read, and a repetition makes it good', empty, async (s, t) => {
    const daemon = await s.serve();
    t.after(() => daemon.stop('SIGKILL'));
    const { create, remove, read, batch } = facade(daemon);
    assert.equal((await create('before', { a: 1 })).status, 201);
    const room = (bytes) => execFileSync('prlimit', [`--fsize=${bytes}:`, '--pid', String(daemon.child.pid)]);
    room(statSync(s.path('state.db-wal')).size);
    const refused = (answer) => {
      assert.equal(answer.status, 503, answer.text);
      assert.ok(Number(answer.headers.get('retry-after')) > 0);
    };
    refused(await create('keyed', { a: 1 }, { 'idempotency-key': 'k' }));
    assert.deepEqual(await s.ids(), ['before'], 'the key is written before the hub is asked');
    refused(await create('first', { a: 1 }));
    for (let n = 0; n < 3; ++n) refused(await create(`later-${n}`));
    refused(await remove('before'));
    refused(await batch([{ op: 'create', id: 'later-0' }, { op: 'delete', id: 'before' }]));
    assert.equal((await read('before')).status, 200);
    for (const id of await s.ids()) assert.ok(['before', 'first'].includes(id), `${id} was made, and nobody would know by whom`);
    room('unlimited');
    await until('it takes orders again', async () => (await create('keyed', { a: 1 }, { 'idempotency-key': 'k' })).status === 201);
    assert.ok([200, 201].includes((await create('first', { a: 1 })).status));
    assert.equal((await remove('before')).status, 200);
    assert.deepEqual(await s.ids(), ['first', 'keyed']);
    for (const id of ['before', 'first', 'keyed']) {
      const { items } = await (await fetch(`${daemon.operations}/api/v1/tasks?device=${id}`)).json();
      assert.match(items[0].status, id === 'before' ? /IoTHubDeviceDeleted/ : /IoTHubDevice(Created|Found)/, id);
    }
  });

  scene('many who make and delete one device at once leave hub, answers and record of one mind', empty, async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const { create, remove, read, batch } = facade(daemon);
    const client = microsoft(s);
    const answers = [];
    await Promise.all(Array.from({ length: 16 }, async (_, worker) => {
      for (let n = 0; n < 15; ++n) {
        const which = (worker + n) % 4;
        const answer = which === 0 ? await create('one', { owner: 'a' }) : which === 1 ? await create('one', { owner: 'b' })
          : which === 2 ? await remove('one') : await batch([{ op: 'create', id: 'one', tags: { owner: 'a' } }]);
        answers.push(which === 3 ? answer.body.results[0].status : answer.status);
      }
    }));
    assert.deepEqual([...new Set(answers)].filter((status) => ![200, 201, 404, 409].includes(status)), [], 'nobody is told of a fault');
    // Every 201 made a device, and every deletion but those of absent ones took one away.
    const { items } = await (await fetch(`${daemon.operations}/api/v1/tasks?device=one&limit=1000`)).json();
    const times = (event) => items.filter((task) => task.status.startsWith(event)).length;
    const made = answers.filter((status) => status === 201).length;
    assert.equal(times('IoTHubDeviceCreated'), made);
    const there = (await s.ids()).length;
    assert.equal(made - times('IoTHubDeviceDeleted'), there);
    const last = await create('one', { owner: 'a' });
    assert.equal(last.status === 201, there === 0, last.text);
    const shown = await read('one');
    const { twinstep, ...tags } = (await client.twin('one')).tags;
    assert.deepEqual(shown.body.tags, tags);
    assert.deepEqual(twinstep, { link: 'default' });
  });

  scene('a key\'s rate holds for the devices of its batches too', empty, async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const key = (await s.runs(0, ['key', 'create', '--name', 'slow', '--may', 'create', '--rate', '10/s'])).stdout.trim();
    const { call, batch } = facade(daemon);
    await until('the key is needed', async () => (await call('GET', '/api/devices/x')).status === 401);
    const twenty = (from) => Array.from({ length: 20 }, (_, n) => ({ op: 'create', id: `dev-${from + n}` }));
    const shown = { 'x-functions-key': key };
    assert.equal((await batch(twenty(0), shown)).body.done, 20);
    const refused = await batch(twenty(20), shown);
    assert.deepEqual([refused.status, refused.body.code], [429, 'auth.rate'], refused.text);
    const seconds = Number(refused.headers.get('retry-after'));
    assert.ok(seconds >= 1 && seconds <= 2, `${seconds}`);
    assert.equal((await s.ids()).length, 20);
    await pause(seconds * 1000);
    assert.equal((await batch(twenty(20), shown)).body.done, 20);
  });

  scene('a hub that hangs holds up callers of the façade, and no events', empty, async (s, t) => {
    const daemon = await s.serve();
    t.after(() => daemon.stop('SIGKILL'));
    const { create } = facade(daemon);
    await s.fault({ server: 'hub', delayMs: 60_000, times: -1 });
    let turnedAway = 0;
    for (let n = 0; n < 120; ++n)
      create(`slow-${n}`).then((answer) => {
        if (answer.status === 503 && answer.body.code === 'facade.busy' && answer.headers.get('retry-after') === '1') turnedAway += 1;
      }, () => {});
    await until('those who are too many are told so', () => turnedAway >= 120 - 64);
    for (let n = 0; n < 10; ++n) {
      const answer = await fetch(daemon.address + hook, { method: 'POST', body: delivery(`event-${n}`), signal: AbortSignal.timeout(5000) });
      assert.equal(answer.status, 200, await answer.text());
    }
    await s.noFaults();
  });

  scene('no request, however strange, gets a 5xx other than 503 or touches another device', empty, async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    await facade(daemon).create('innocent', { a: 1 });
    let seed = Number(process.env.TWINSTEP_FUZZ_SEED ?? 20261126);
    t.diagnostic(`TWINSTEP_FUZZ_SEED=${seed}`);
    const rounds = Number(process.env.TWINSTEP_FUZZ_ROUNDS ?? 1500);
    const random = (n) => { seed = (seed * 1103515245 + 12345) % 2147483648; return Math.floor(seed / 65536) % n; };
    const one = (list) => list[random(list.length)];
    const bytes = (n) => Array.from({ length: random(n) }, () => String.fromCharCode(1 + random(255))).join('');
    const part = () => one([() => 'fuzz', () => `fuzz-${random(20)}`, () => '..', () => '%2e%2e', () => '%2F', () => '%', () => '%zz', () => '%00', () => '%C3%A9', () => '', () => 'default',
      () => 'x'.repeat(120 + random(20)), () => encodeURIComponent(bytes(10)), () => encodeURIComponent("'#?+*"), () => ':batch', () => 'default:batch', () => 'y%0d%0aX: y', () => '\u00ff'])();
    const path = () => one([() => `/api/devices/${part()}`, () => `/api/devices/${part()}/${part()}`, () => `/api/devices/${part()}/${part()}/${part()}`, () => `/api/v1/devices/${part()}:batch`,
      () => '/api/v1/devices/default:batch', () => `/api/devices/default/fuzz-${random(20)}`, () => `//api/devices/${part()}`, () => `/api/devices/${part()}/`])();
    const query = () => one(['', '', '', '?', '?dryRun=true', '?dryRun=false', '?dryRun=', '?dryRun=1', '?code=abc', '?x=y', '?dryRun=true&dryRun=true', '?%zz', '?code=%00']);
    const body = () => one([() => '', () => '{}', () => '{"a":1}', () => '{"a":null}', () => '[1]', () => '{', () => bytes(200), () => '{"a":'.repeat(random(100)), () => `{"a":"${'x'.repeat(random(9000))}"}`,
      () => '{"operations":[]}', () => JSON.stringify({ operations: Array.from({ length: random(5) }, () => ({ op: one(['create', 'delete', 'x', 5]), id: one(['fuzz-1', 'fuzz-2', 'a/b', '', 7, null]), tags: one([undefined, {}, { a: 1 }, 5, null]) })) }),
      () => '"text"', () => '1e999', () => '{"a":1e999}', () => '{"\\ud800":1}'])();
    const header = () => one([() => '', () => '', () => `Idempotency-Key: k${random(30)}\r\n`, () => 'Idempotency-Key: \r\n', () => `Idempotency-Key: ${'k'.repeat(300)}\r\n`, () => 'Idempotency-Key: a b\r\n', () => 'Origin: null\r\n', () => 'Origin: http://x\r\n',
      () => 'Content-Type: text/plain\r\n', () => `X-Functions-Key: ${bytes(20).replace(/[\r\n]/g, '')}\r\n`])();
    const ask = (text) => new Promise((resolve) => {
      const socket = createConnection(daemon.port, '127.0.0.1');
      let got = '';
      socket.setEncoding('latin1');
      socket.on('data', (data) => { got += data; });
      socket.on('close', () => resolve(got));
      socket.on('error', () => {});
      socket.setTimeout(20000, () => socket.destroy());
      socket.write(Buffer.from(text, 'latin1'));
    });
    const seen = {};
    for (let round = 0; round < rounds; round += 10) {
      await Promise.all(Array.from({ length: 10 }, async () => {
        const payload = body();
        const text = `${one(['GET', 'POST', 'POST', 'POST', 'DELETE', 'DELETE', 'PUT', 'PATCH', 'HEAD', 'OPTIONS', 'BREW'])} ${path()}${query()} HTTP/1.1\r\nHost: 127.0.0.1:${daemon.port}\r\nConnection: close\r\n${header()}Content-Length: ${Buffer.from(payload, 'latin1').length}\r\n\r\n${payload}`;
        const got = await ask(text);
        const status = /^HTTP\/1\.1 (\d+)/.exec(got)?.[1];
        seen[status] = (seen[status] ?? 0) + 1;
        assert.ok(status && (Number(status) < 500 || status === '503'), `${JSON.stringify(text)} got ${JSON.stringify(got.slice(0, 400))}`);
      }));
    }
    t.diagnostic(JSON.stringify(seen));
    for (const status of ['200', '201', '400', '403', '404', '405']) assert.ok(seen[status] > 0, `no ${status} among ${JSON.stringify(seen)}`);
    assert.equal((await facade(daemon).read('innocent')).status, 200);
    const legal = /^[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}$/;
    for (const id of await s.ids()) assert.ok(legal.test(id) && id !== '.' && id !== '..', id);
    assert.equal((await daemon.stop()).code, 0);
  });
});
