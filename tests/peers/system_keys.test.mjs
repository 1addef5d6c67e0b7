// Keys: made, listed, rotated and revoked by the command line while the daemon runs; what each may do, and what a
// listener does that has none.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHmac, createSign, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:https';
import { createInterface } from 'node:readline';
import { describe } from 'node:test';
import { freePort, scene, startPostgres, until } from './lib.mjs';

const registry = ['--devices', '5', '--time-factor', '60', '--no-throttle'];
const hook = '/api/ExternalRegistrySynchronizer_EventGridListener';
const keyForm = /^tsk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}$/;
const event = (id) => [{ id, topic: '/IOTHUBS/DEFAULT', subject: 'devices/d', eventType: 'Microsoft.Devices.DeviceConnected',
  eventTime: '2026-08-20T22:05:31Z', data: { hubName: 'default', deviceId: 'd' }, dataVersion: '1' }];

/// The daemon with any address of its public listener.
async function serveAt(s, listen, variables = {}, args = []) {
  const daemon = s.begin(['-vv', ...args, 'serve', '--output', 'json', '--listen', listen, '--operations', '127.0.0.1:0'], variables);
  const line = await new Promise((resolve) => {
    createInterface({ input: daemon.child.stdout }).once('line', resolve);
    daemon.ended.then(() => resolve(null), () => resolve(null));
  });
  assert.ok(line, `it ended: ${(await Promise.race([daemon.ended, null]))?.all ?? daemon.output()}`);
  const where = JSON.parse(line);
  return Object.assign(daemon, { where, address: `http://127.0.0.1:${where.listen}`, operations: `http://127.0.0.1:${where.operations}`,
    stop: async () => { if (daemon.child.exitCode === null && daemon.child.signalCode === null) daemon.child.kill('SIGTERM'); return daemon.ended; } });
}

/// One request with full power over its headers; resolves with status, headers, body, or with the error's code.
function ask(url, { method = 'GET', headers = {}, body } = {}) {
  return new Promise((resolve) => {
    const question = request(url, { method, agent: false, headers: { ...(body ? { 'content-type': 'application/json' } : {}), ...headers } }, (answer) => {
      let text = '';
      answer.on('data', (data) => { text += data; });
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, body: text, code: (/"code":"([^"]*)"/.exec(text) ?? [])[1] }));
    });
    question.once('error', (error) => resolve({ status: 0, code: error.code, body: '', headers: {} }));
    question.end(body);
  });
}
const bearer = (key) => ({ authorization: `Bearer ${key}` });
const create = async (s, name, ...more) => {
  const made = await s.runs(0, ['key', 'create', '--name', name, ...more]);
  const key = made.stdout.trim();
  assert.match(key, keyForm);
  assert.ok(!made.stderr.includes(key.slice(20)), 'the key is on standard output alone');
  return key;
};
/// Until a running daemon has read the store again, which it does every 3 s.
const reaches = (what, url, headers, status, options = {}) => until(what, async () => (await ask(url, { headers, ...options })).status === status, 10);

describe('keys', { concurrency: 2 }, () => {
  scene('a key is made, listed, rotated and revoked beside a running daemon', registry, async (s, t) => {
    const daemon = await serveAt(s, '127.0.0.1:0');
    t.after(daemon.stop);
    const links = `${daemon.address}/api/v1/links`;
    assert.equal((await ask(links)).status, 200, 'without any key this machine may do everything');
    const key = await create(s, 'reader', '--scope', 'read', '--rate', '1000/s');
    await reaches('a key is needed', links, {}, 401);
    const refused = await ask(links);
    assert.equal(refused.headers['www-authenticate'], 'Bearer');
    assert.equal(refused.code, 'auth.no-key');

    for (const [url, headers] of [[links, { 'x-functions-key': key }], [`${links}?code=${key}`, {}], [links, bearer(key)]])
      assert.equal((await ask(url, { headers })).status, 200);
    assert.equal((await ask(`${links}?code=${key}`, { headers: { 'x-functions-key': `${key.slice(0, -1)}${key.endsWith('A') ? 'B' : 'A'}` } })).status, 400, 'two different ones');
    assert.equal((await ask(links, { headers: bearer(`${key.slice(0, -4)}AAAA`) })).status, 401);
    assert.equal((await ask(`${links}/default/runs`, { method: 'POST', headers: bearer(key) })).status, 403);

    const list = await s.runs(0, ['key', 'list']);
    assert.match(list.stdout, /reader {2}active {2}read, 1000\/s/);
    assert.ok(!list.all.includes(key.slice(20)));
    const [listed] = JSON.parse((await s.runs(0, ['key', 'list', '--output', 'json'])).stdout).items;
    assert.deepEqual([listed.name, listed.scopes, listed.state], ['reader', ['read'], 'active']);

    const rotated = await s.runs(0, ['key', 'rotate', 'reader', '--overlap', '1h']);
    const next = rotated.stdout.trim();
    assert.match(next, keyForm);
    assert.notEqual(next, key);
    await reaches('the new one works', links, bearer(next), 200);
    assert.equal((await ask(links, { headers: bearer(key) })).status, 200, 'the old one works on');
    await s.runs(0, ['key', 'rotate', 'reader', '--overlap', '0s']);
    await reaches('the one before ends at once', links, bearer(next), 401);

    await s.runs(0, ['key', 'revoke', 'reader']);
    const last = await create(s, 'reader', '--scope', 'read');
    await reaches('its successor works', links, bearer(last), 200);
    assert.match((await s.runs(0, ['key', 'list'])).stdout, /revoked/);
    await s.runs(0, ['key', 'revoke', 'reader']);
    await reaches('nobody gets in', links, bearer(last), 401);
    assert.equal((await ask(links)).status, 401, 'revoking the last key opens nothing');
    await s.runs(64, ['key', 'create', '--name', 'a b']);
    await s.runs(1, ['key', 'revoke', 'nobody']);
    assert.equal((await daemon.stop()).code, 0);
    for (const one of [key, next, last]) assert.ok(!daemon.output().includes(one.slice(17)), 'no key in the log');
  });

  scene('every route takes exactly the keys of its scope', registry, async (s, t) => {
    const daemon = await serveAt(s, '127.0.0.1:0');
    t.after(daemon.stop);
    const keys = {};
    for (const scope of ['events', 'facade', 'read', 'operate', 'admin']) keys[scope] = await create(s, scope, '--scope', scope);
    await reaches('keys are needed', `${daemon.address}/api/v1/links`, {}, 401);
    await reaches('all are known', `${daemon.address}/api/v1/keys`, bearer(keys.admin), 200);
    const description = JSON.parse((await ask(`${daemon.address}/openapi.json`, { headers: bearer(keys.read) })).body);
    const routes = [['POST', hook, 'events'], ['OPTIONS', hook, 'events'], ['GET', '/healthz', 'read'], ['GET', '/readyz', 'read'],
      ['GET', '/loglevel', 'admin'], ['PUT', '/loglevel', 'admin']];
    for (const [path, methods] of Object.entries(description.paths))
      for (const [method, operation] of Object.entries(methods))
        routes.push([method.toUpperCase(), path.replace(/\{\w+\}/g, 'none'), operation['x-twinstep-scope']]);
    assert.ok(routes.length > 35, `${routes.length}`);
    for (const [method, path, needed] of routes) {
      for (const [scope, key] of Object.entries(keys)) {
        const answer = await ask(daemon.address + path, { method, headers: { ...bearer(key), 'content-type': 'application/json' },
          body: method === 'POST' || method === 'PUT' ? '{"no such member":1}' : undefined });
        const admitted = !(answer.status === 401 || (answer.code ?? '').startsWith('auth.'));
        assert.equal(admitted, scope === needed, `${method} ${path} with ${scope}: ${answer.status} ${answer.body}`);
        if (scope !== needed) assert.equal(answer.status, 403);
      }
      const none = await ask(daemon.address + path, { method });
      assert.equal(none.status, path === hook ? 503 : 401, `${method} ${path} without a key`);
    }
  });

  scene('without a key a listener for others is bound to this machine, until there is one', registry, async (s, t) => {
    const daemon = await serveAt(s, `0.0.0.0:${await freePort()}`);
    t.after(daemon.stop);
    const elsewhere = `http://127.0.0.2:${daemon.where.listen}/api/v1/links`;
    assert.match(daemon.where.publicListener, /no key exists.*twinstep key create/);
    assert.match(daemon.output(), /error listener\.local .*no key exists/);
    assert.equal((await ask(elsewhere)).code, 'ECONNREFUSED');
    assert.equal((await ask(`${daemon.address}/api/v1/links`)).status, 200);
    const ready = await ask(`${daemon.operations}/readyz`);
    assert.equal(ready.status, 503);
    assert.match(ready.body, /"part":"public listener","ready":false,"reason":"no key exists/);
    const key = await create(s, 'reader', '--scope', 'read');
    await reaches('it is bound to its address', elsewhere, bearer(key), 200);
    assert.equal((await ask(elsewhere)).status, 401);
    assert.equal((await ask(`${daemon.address}/api/v1/links`)).status, 401, 'also from this machine, where a proxy may be');
    assert.equal((await ask(`${daemon.operations}/readyz`)).status, 200);
    assert.equal((await ask(`${daemon.operations}/api/v1/links`)).status, 200, 'the operations listener needs none');
    await s.runs(0, ['key', 'revoke', 'reader']);
    await reaches('nobody gets in', elsewhere, bearer(key), 401);
    assert.equal((await daemon.stop()).code, 0);

    const again = await serveAt(s, `0.0.0.0:${await freePort()}`);
    t.after(again.stop);
    assert.match(again.where.publicListener, /no key exists/, 'a revoked one is none');
    assert.equal((await ask(`${again.address}/api/v1/links`)).status, 401, 'but it opens nothing');
  });

  scene('a listener that needs no key answers to the names of this machine only', registry, async (s, t) => {
    s.write('more.yaml', 'serve: {host_names: "sync.corp"}\n');
    const daemon = await serveAt(s, '127.0.0.1:0', {}, ['--config', s.path('more.yaml')]);
    t.after(daemon.stop);
    for (const at of [daemon.address, daemon.operations])
      for (const path of ['/api/v1/links', '/healthz']) {
        for (const host of ['localhost', '127.0.0.1:80', '[::1]', 'sync.corp']) assert.equal((await ask(at + path, { headers: { host } })).status, 200, host);
        for (const host of ['rebound.example', '127.0.0.1.rebound.example']) {
          const answer = await ask(at + path, { headers: { host } });
          assert.deepEqual([answer.status, answer.code], [403, 'auth.host']);
        }
      }
  });

  scene('a page of another site that a browser on this machine shows starts nothing at a listener that needs no key', registry, async (s, t) => {
    const daemon = await serveAt(s, '127.0.0.1:0');
    t.after(daemon.stop);
    const start = '/api/IoTHubSynchronizer_HttpListener';
    const event = JSON.stringify([{ id: 'e1', topic: '/IOTHUBS/DEFAULT', subject: 'devices/d', eventType: 'Microsoft.Devices.DeviceDeleted',
      eventTime: '2026-08-20T22:05:31Z', data: { hubName: 'default', deviceId: 'd' }, dataVersion: '1' }]);
    for (const at of [daemon.address, daemon.operations])
      for (const [path, options] of [[start, { method: 'POST', headers: { origin: 'http://evil.example' } }], [start, { method: 'POST', headers: { origin: 'null' } }],
        [start, { headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-dest': 'image' } }], [`${start}?link=default`, { headers: { 'sec-fetch-site': 'same-site' } }],
        [hook, { method: 'POST', body: event, headers: { origin: 'http://evil.example', 'content-type': 'text/plain' } }],
        ['/api/devices/x', { method: 'POST', headers: { origin: 'http://evil.example' } }], ['/api/v1/links/default/runs', { method: 'POST', headers: { origin: 'http://evil.example' } }]]) {
        const answer = await ask(at + path, options);
        assert.deepEqual([answer.status, answer.code], [403, 'api.cross-site'], `${options.method ?? 'GET'} ${path}: ${answer.body}`);
      }
    assert.deepEqual(JSON.parse((await ask(`${daemon.operations}/api/v1/runs`)).body).items, []);
    assert.deepEqual(JSON.parse((await ask(`${daemon.operations}/api/v1/tasks`)).body).items, []);
    assert.deepEqual(JSON.parse((await ask(`${daemon.operations}/api/v1/runs`, { headers: { 'sec-fetch-site': 'cross-site' } })).body).items, [], 'looking is no harm: it cannot read the answer');
    assert.equal((await ask(daemon.address + start, { headers: { 'sec-fetch-site': 'none' } })).status, 202, 'a person who types it');
  });

  scene('operations can be made to need keys; probes are told yes or no', registry, async (s, t) => {
    s.write('more.yaml', 'serve: {operations_keys: required}\n');
    const daemon = await serveAt(s, '127.0.0.1:0', {}, ['--config', s.path('more.yaml')]);
    t.after(daemon.stop);
    assert.equal((await ask(`${daemon.operations}/api/v1/links`)).status, 401);
    const key = await create(s, 'admin', '--scope', 'admin,read');
    await reaches('the key works', `${daemon.operations}/api/v1/links`, bearer(key), 200);
    assert.equal((await ask(`${daemon.operations}/healthz`)).body, '{"status":"ok"}');
    assert.equal((await ask(`${daemon.operations}/readyz`)).body, '{"ready":true}');
    assert.match((await ask(`${daemon.operations}/readyz`, { headers: bearer(key) })).body, /parts/);
    assert.equal((await ask(`${daemon.operations}/loglevel`)).status, 401);
    const url = ['--url', daemon.operations];
    await s.runs(1, ['runs', ...url]);
    await s.runs(0, ['runs', ...url], { TWINSTEP_KEY: key });
    await s.runs(0, ['runs', ...url, '--key', 'env:MINE'], { MINE: key });
    await s.runs(0, ['runs', ...url, '--key', `file:${s.write('key', `${key}\n`)}`]);
    await s.runs(64, ['runs', ...url, '--key', key]);
    const made = (await s.runs(0, ['key', 'create', '--name', 'remote', '--may', 'create', ...url], { TWINSTEP_KEY: key })).stdout.trim();
    assert.match(made, keyForm);
    assert.equal((await ask(`${daemon.operations}/api/v1/links`, { headers: bearer(made) })).code, 'auth.scope', 'in force here at once');
    await s.runs(0, ['key', 'revoke', 'remote', ...url], { TWINSTEP_KEY: key });
    assert.equal((await ask(`${daemon.operations}/api/v1/links`, { headers: bearer(made) })).status, 401, 'revoked here at once');
    assert.match((await s.runs(0, ['key', 'list', ...url], { TWINSTEP_KEY: key })).stdout, /remote {2}revoked/);
    await daemon.stop();
    assert.match(daemon.output(), /audit\.key what=create .*name="remote" scopes=facade who="admin"/);
    assert.match(daemon.output(), /audit\.key what=revoke .*name="remote"/);
    assert.match(daemon.output(), /audit\.request who="admin" key=[0-9a-f]{12} method=POST path="\/api\/v1\/keys" status=201/);
  });

  scene('the sample\'s scripts follow a run by its addresses, and no key is seen anywhere', registry, async (s, t) => {
    const sealing = randomBytes(32).toString('base64');
    let daemon = await serveAt(s, `127.0.0.1:${await freePort()}`, { TWINSTEP_STORE_KEY: sealing });
    t.after(() => daemon.stop());
    const port = daemon.where.listen;
    const starter = await create(s, 'script', '--scope', 'operate', '--rate', '5000/s');
    const slow = await create(s, 'slow', '--scope', 'read', '--rate', '1/h');
    await reaches('keys are needed', `${daemon.address}/api/v1/links`, {}, 401);
    const started = await ask(`${daemon.address}/api/IoTHubSynchronizer_HttpListener?code=${starter}`, { method: 'POST' });
    assert.equal(started.status, 202, started.body);
    assert.ok(!started.body.includes(starter.slice(17)), 'the addresses do not carry the caller\'s key');
    const addresses = JSON.parse(started.body);
    const code = new URL(addresses.statusQueryGetUri).searchParams.get('code');
    assert.match(code, /^tsi_r_/);
    let status;
    await until('the run has ended', async () => { status = await ask(addresses.statusQueryGetUri); return status.status === 200; }, 60);
    assert.match(status.body, /Completed/);
    assert.equal((await ask(`${daemon.address}/api/v1/runs/${addresses.id}?code=${code}`)).status, 401, 'for that address alone');
    assert.equal((await ask(addresses.terminatePostUri.replace('{text}', 'x'), { method: 'POST' })).status, 410);
    assert.equal((await ask(addresses.terminatePostUri.replace(addresses.id, 'other').replace('{text}', 'x'), { method: 'POST' })).status, 401);
    assert.equal((await ask(`${addresses.statusQueryGetUri}`, { headers: bearer(starter) })).status, 400);

    // Limits and refusals, with the key in every place where it could come back.
    assert.equal((await ask(`${daemon.address}/api/v1/links?code=${slow}`)).status, 200);
    const limited = await ask(`${daemon.address}/api/v1/links?code=${slow}`);
    assert.equal(limited.status, 429);
    assert.ok(Number(limited.headers['retry-after']) > 3000 && Number(limited.headers['retry-after']) <= 3600, limited.headers['retry-after']);
    const tricks = [`/nothing?code=${starter}`, `/nothing%3Fcode=${starter}`, `/nothing/code%3D${starter}`, `/${starter}`, `/%2574sk_${starter.slice(4)}`,
      `/api/v1/links?code%3D${starter}=1`, `/api/v1/runs?state=${starter}&code=${starter}`, `/runtime/webhooks/durabletask/instances/${starter}?code=${starter}`,
      `${hook}?code=${starter}`];
    for (const path of tricks) {
      const answer = await ask(daemon.address + path, { method: path.startsWith(hook) ? 'POST' : 'GET' });
      assert.ok(answer.status >= 400, path);
      assert.ok(!(answer.body + JSON.stringify(answer.headers)).includes(starter.slice(17)), `${path}: ${answer.body}`);
    }
    await daemon.stop();
    for (const secret of [starter, slow, code, sealing]) assert.ok(!daemon.output().includes(secret.slice(17)), 'no key in the log, at debug level too');
    assert.match(daemon.output(), /audit\.request who="script" key=[0-9a-f]{12} method=POST path="\/api\/IoTHubSynchronizer_HttpListener" status=202/);
    assert.match(daemon.output(), /auth\.refused /);

    // Sealed, the addresses outlive a restart, also when everything is sealed anew in between.
    const next = randomBytes(32).toString('hex');
    await s.runs(64, ['store', 'rekey', '--new-key', 'env:NEXT'], { TWINSTEP_STORE_KEY: sealing, NEXT: 'too short' });
    const denied = await s.runs(1, ['store', 'rekey'], { TWINSTEP_STORE_KEY: next });
    assert.match(denied.all, /needs the key with the id [0-9a-f]{8}/);
    assert.match((await s.runs(0, ['store', 'rekey', '--new-key', 'env:NEXT'], { TWINSTEP_STORE_KEY: sealing, NEXT: next })).stdout, /^1 sealed anew/);
    assert.match((await s.runs(0, ['store', 'rekey', '--new-key', 'env:NEXT'], { TWINSTEP_STORE_KEY: sealing, NEXT: next })).stdout, /^0 sealed anew/);
    daemon = await serveAt(s, `127.0.0.1:${port}`, { TWINSTEP_STORE_KEY: next });
    assert.equal((await ask(addresses.statusQueryGetUri)).status, 200);
    await s.runs(0, ['key', 'revoke', 'script']);
    await reaches('a revoked key takes its addresses with it', addresses.statusQueryGetUri, {}, 401);
    await daemon.stop();
    for (const name of readdirSync(s.folder).filter((one) => one.startsWith('state.db')))
      for (const secret of [starter, slow, code]) assert.ok(!readFileSync(s.path(name)).includes(secret.slice(-40)), `${name} holds a key`);
  });

  scene('the webhook goes on through the making and the rotation of its key', registry, async (s, t) => {
    const daemon = await serveAt(s, '127.0.0.1:0');
    t.after(daemon.stop);
    const deliver = (query, id) => ask(`${daemon.address}${hook}${query}`, { method: 'POST', body: JSON.stringify(event(id)),
      headers: { 'aeg-event-type': 'Notification' } }).then((answer) => answer.status);
    assert.equal(await deliver('', 'e1'), 200);
    const key = await create(s, 'grid', '--scope', 'events');
    assert.equal(await deliver(`?code=${key}`, 'e2'), 200, 'at once, so that the subscription can be changed first');
    await until('the key is needed', async () => (await deliver('', 'e3')) === 503, 10);
    const next = (await s.runs(0, ['key', 'rotate', 'grid'])).stdout.trim();
    assert.equal(await deliver(`?code=${key}`, 'e4'), 200);
    await until('the new one', async () => (await deliver(`?code=${next}`, 'e5')) === 200, 10);
    await s.runs(0, ['key', 'revoke', 'grid']);
    await until('it is revoked', async () => (await deliver(`?code=${next}`, 'e6')) === 503, 10);
    assert.equal(await deliver(`?code=${key.slice(0, 17)}${'A'.repeat(43)}`, 'e7'), 401);
  });

  scene('Event Grid\'s tokens open the webhook, and nothing else', registry, async (s, t) => {
    const tenant = 'ab1f708d-50f6-404c-a006-d71b2ac7a606';
    const audience = '018b2aca-ae48-4d53-9d1c-3b5f4b6d8f51';
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=issuer', '-addext', 'subjectAltName=IP:127.0.0.1',
      '-keyout', s.path('issuer.key'), '-out', s.path('issuer.pem')], { stdio: 'ignore' });
    let base;
    const issuer = createServer({ key: readFileSync(s.path('issuer.key')), cert: readFileSync(s.path('issuer.pem')) }, (question, answer) => {
      const documents = {
        [`/${tenant}/v2.0/.well-known/openid-configuration`]: { issuer: `${base}/${tenant}/v2.0`, jwks_uri: `${base}/${tenant}/keys` },
        [`/${tenant}/keys`]: { keys: [{ ...publicKey.export({ format: 'jwk' }), use: 'sig', kid: 'one' }] },
      };
      answer.statusCode = documents[question.url] ? 200 : 404;
      answer.end(JSON.stringify(documents[question.url] ?? {}));
    });
    await new Promise((resolve) => { issuer.listen(0, '127.0.0.1', resolve); });
    t.after(() => issuer.close());
    base = `https://127.0.0.1:${issuer.address().port}`;
    const token = (claims, header = {}) => {
      const now = Math.floor(Date.now() / 1000);
      const text = [{ alg: 'RS256', typ: 'JWT', kid: 'one', ...header }, { aud: audience, iss: `${base}/${tenant}/v2.0`, tid: tenant, ver: '2.0',
        azp: '4962773b-9cdb-44cf-a8bf-237846a00ab7', sub: 'grid', oid: 'grid', nbf: now - 60, iat: now - 60, exp: now + 3600, ...claims }]
        .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
      return `${text}.${createSign('RSA-SHA256').update(text).sign(privateKey, 'base64url')}`;
    };
    s.write('both.pem', s.sim.ca + readFileSync(s.path('issuer.pem'), 'utf8'));
    s.write('more.yaml', `serve: {webhook: {entra: {tenant: ${tenant}, audience: ${audience}, authority: "${base}"}}}\n`);
    const daemon = await serveAt(s, `0.0.0.0:${await freePort()}`, { TWINSTEP_CA_FILE: s.path('both.pem') }, ['--config', s.path('more.yaml')]);
    t.after(daemon.stop);
    assert.equal(daemon.where.publicListener, undefined, 'trust is enough to listen for others');
    const deliver = (headers) => ask(`http://127.0.0.2:${daemon.where.listen}${hook}`, { method: 'POST', body: JSON.stringify(event('e1')),
      headers: { 'aeg-event-type': 'Notification', ...headers } });
    const good = token({});
    const taken = await deliver(bearer(good));
    assert.equal(taken.status, 200, taken.body);
    assert.equal((await deliver({})).status, 401);
    assert.equal((await deliver(bearer(token({ aud: 'another' })))).status, 401);
    assert.equal((await deliver(bearer(token({}, { alg: 'none' })))).status, 401);
    assert.equal((await deliver(bearer(token({ exp: Math.floor(Date.now() / 1000) - 3600 })))).status, 503, 'the next delivery brings a fresh one');
    assert.equal((await ask(`${daemon.address}/api/v1/links`, { headers: bearer(good) })).status, 401);
    assert.equal((await ask(`${daemon.address}/api/v1/links`)).status, 401, 'also from this machine');
    await daemon.stop();
    assert.ok(!daemon.output().includes(good.slice(-40)), 'no token in the log');
  });

  scene('an issuer that changes its key loses no event, and nothing counts but what it signed', registry, async (s, t) => {
    const tenant = 'ab1f708d-50f6-404c-a006-d71b2ac7a606';
    const audience = '018b2aca-ae48-4d53-9d1c-3b5f4b6d8f51';
    const [old, fresh, thief] = ['old', 'fresh', 'old'].map((kid) => ({ kid, ...generateKeyPairSync('rsa', { modulusLength: 2048 }) }));
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=issuer', '-addext', 'subjectAltName=IP:127.0.0.1',
      '-keyout', s.path('issuer.key'), '-out', s.path('issuer.pem')], { stdio: 'ignore' });
    let base;
    let published = [old];
    let asked = 0;
    const issuer = createServer({ key: readFileSync(s.path('issuer.key')), cert: readFileSync(s.path('issuer.pem')) }, (question, answer) => {
      if (question.url.endsWith('/keys')) {
        asked += 1;
        answer.end(JSON.stringify({ keys: published.map(({ kid, publicKey }) => ({ ...publicKey.export({ format: 'jwk' }), use: 'sig', kid })) }));
      } else {
        answer.end(JSON.stringify({ issuer: `${base}/${tenant}/v2.0`, jwks_uri: `${base}/${tenant}/keys` }));
      }
    });
    await new Promise((resolve) => { issuer.listen(0, '127.0.0.1', resolve); });
    t.after(() => issuer.close());
    base = `https://127.0.0.1:${issuer.address().port}`;
    const now = Math.floor(Date.now() / 1000);
    const part = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
    const claims = { aud: audience, iss: `${base}/${tenant}/v2.0`, tid: tenant, ver: '2.0', azp: '4962773b-9cdb-44cf-a8bf-237846a00ab7', nbf: now - 60, exp: now + 3600 };
    const signed = (by, header = {}, body = claims) => {
      const text = `${part({ alg: 'RS256', typ: 'JWT', kid: by.kid, ...header })}.${part(body)}`;
      return `${text}.${createSign('RSA-SHA256').update(text).sign(by.privateKey, 'base64url')}`;
    };
    s.write('both.pem', s.sim.ca + readFileSync(s.path('issuer.pem'), 'utf8'));
    s.write('more.yaml', `serve: {webhook: {entra: {tenant: ${tenant}, audience: ${audience}, authority: "${base}"}}}\n`);
    const begin = () => serveAt(s, '127.0.0.1:0', { TWINSTEP_CA_FILE: s.path('both.pem') }, ['--config', s.path('more.yaml')]);
    let daemon = await begin();
    t.after(() => daemon.stop());
    const deliver = (token) => ask(`${daemon.address}${hook}`, { method: 'POST', body: JSON.stringify(event('e1')), headers: { 'aeg-event-type': 'Notification', ...bearer(token) } });
    assert.equal((await deliver(signed(old))).status, 200);

    // What nobody but the issuer could have signed otherwise is refused for good.
    const [header, body, signature] = signed(old).split('.');
    const withTwice = part(JSON.stringify(claims).replace('{', `{"aud":"another",`));
    for (const [what, token] of Object.entries({
      'signed by another key of that name': signed(thief),
      'claims of another token': `${header}.${part({ ...claims, exp: now + 9999 })}.${signature}`,
      'no signature': `${header}.${body}.`,
      'alg none, any case': `${part({ alg: 'nOnE', kid: 'old' })}.${body}.${signature}`,
      'the public key as a secret': `${part({ alg: 'HS256', kid: 'old' })}.${body}.${createHmac('sha256', old.publicKey.export({ type: 'spki', format: 'pem' })).update(`${part({ alg: 'HS256', kid: 'old' })}.${body}`).digest('base64url')}`,
      'a key of its own in the header': signed(thief, { kid: 'thief', jwk: thief.publicKey.export({ format: 'jwk' }) }, { ...claims, aud: 'another' }),
      'a critical extension': signed(old, { crit: ['exp'] }),
      'another audience': signed(old, {}, { ...claims, aud: [audience, 'another'] }),
      'another application': signed(old, {}, { ...claims, azp: '00000000-0000-0000-0000-000000000000' }),
      'another tenant': signed(old, {}, { ...claims, tid: '00000000-0000-0000-0000-000000000000' }),
      'another issuer': signed(old, {}, { ...claims, iss: `https://sts.windows.net/${tenant}/` }),
      'a member twice': `${header}.${withTwice}.${createSign('RSA-SHA256').update(`${header}.${withTwice}`).sign(old.privateKey, 'base64url')}`,
      'times as text': signed(old, {}, { ...claims, exp: String(now + 3600) }),
      'padding': `${header}.${body}.${signature}==`,
    })) {
      const answer = await deliver(token);
      assert.equal(answer.status, 401, `${what}: ${answer.body}`);
    }
    assert.equal(asked, 1, 'none of them made it ask the issuer again');

    // The issuer's next key: within minutes of the last look nothing is decided, and a token of the old one goes on.
    published = [fresh, old];
    const early = await deliver(signed(fresh));
    assert.equal(early.status, 503, early.body);
    assert.ok(Number(early.headers['retry-after']) > 0);
    assert.equal((await deliver(signed(old))).status, 200);
    await daemon.stop();
    assert.ok(!daemon.output().includes(signature), 'no token in the log');
    daemon = await begin();
    assert.equal((await deliver(signed(fresh))).status, 200);
    assert.equal((await deliver(signed(old))).status, 200, 'both are published');
    published = [fresh];
    await daemon.stop();
    daemon = await begin();
    assert.equal((await deliver(signed(fresh))).status, 200);
    assert.notEqual((await deliver(signed(old))).status, 200, 'its key was withdrawn');
  });

  scene('replicas share keys, and the addresses of runs', registry, async (s, t) => {
    const postgres = await startPostgres();
    t.after(postgres.stop);
    const shared = { TWINSTEP_STORE: postgres.uri, TWINSTEP_STORE_KEY: randomBytes(32).toString('base64') };
    const one = await serveAt(s, '127.0.0.1:0', shared);
    t.after(one.stop);
    const two = await serveAt(s, '127.0.0.1:0', shared);
    t.after(two.stop);
    const key = (await s.runs(0, ['key', 'create', '--name', 'boss', '--scope', 'read,operate,admin', '--url', one.operations], shared)).stdout.trim();
    assert.match(key, keyForm);
    assert.equal((await ask(`${one.address}/api/v1/links`)).status, 401, 'at once where it was made');
    await reaches('the other one knows it', `${two.address}/api/v1/links`, {}, 401);
    assert.equal((await ask(`${two.address}/api/v1/links`, { headers: bearer(key) })).status, 200);
    const started = JSON.parse((await ask(`${one.address}/api/IoTHubSynchronizer_HttpListener`, { method: 'POST', headers: bearer(key) })).body);
    const elsewhere = started.statusQueryGetUri.replace(`:${one.where.listen}/`, `:${two.where.listen}/`);
    assert.ok([200, 202].includes((await ask(elsewhere)).status), 'an address of one works at the other');
    const fresh = (await s.runs(0, ['key', 'rotate', 'boss', '--overlap', '1h'], shared)).stdout.trim();
    await reaches('the new text', `${two.address}/api/v1/links`, bearer(fresh), 200);
    assert.equal((await s.runs(0, ['store', 'rekey'], shared)).stdout, '0 sealed anew: everything is sealed with that key\n');
    await s.runs(0, ['key', 'revoke', 'boss', '--url', one.operations], shared);
    assert.equal((await ask(`${one.address}/api/v1/links`, { headers: bearer(fresh) })).status, 401, 'at once where it was told');
    await reaches('the other one refuses it', `${two.address}/api/v1/links`, bearer(fresh), 401);
    await reaches('the address has ended', elsewhere, {}, 401);
    assert.match((await s.runs(0, ['key', 'list'], shared)).stdout, /boss {2}revoked/);
    const again = await create({ runs: (code, args) => s.runs(code, args, shared) }, 'known', '--scope', 'read');
    await reaches('a key that is known', `${two.address}/api/v1/links`, bearer(again), 200);
    await postgres.down('SIGQUIT');
    const links = `${two.address}/api/v1/nothing-there`;
    assert.equal((await ask(links, { headers: bearer(again) })).status, 404);
    const known = await ask(`${two.address}/openapi.json`, { headers: bearer(again) });
    assert.equal(known.status, 200, 'goes on working while the store is away');
    await reaches('an unknown one cannot be told', `${two.address}/openapi.json`, bearer(`${again.slice(0, 4)}000000000000${again.slice(16)}`), 503);
    await postgres.up();
  });

  scene('config check says what is wrong with store_key', registry, async (s) => {
    const good = execFileSync('openssl', ['rand', '-base64', '32'], { encoding: 'utf8' });
    s.write('good.yaml', `store_key: file:${s.write('good.key', good)}\n`);
    s.write('bad.yaml', `store_key: file:${s.write('bad.key', 'hunter2hunter2\n')}\n`);
    await s.runs(0, ['--config', s.path('good.yaml'), 'config', 'check']);
    const bad = await s.runs(64, ['--config', s.path('bad.yaml'), 'config', 'check']);
    assert.match(bad.all, /openssl rand -base64 32/);
    assert.ok(!bad.all.includes('hunter2'));
    const shown = await s.runs(0, ['--config', s.path('good.yaml'), 'config', 'show']);
    assert.match(shown.stdout, /store_key +\*\*\* \(id [0-9a-f]{8}\)/);
    assert.ok(!shown.all.includes(good.trim()));
  });
});
