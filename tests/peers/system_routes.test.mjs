// Every route of the daemon under requests that nobody would write: no crash, no 5xx but 503, and no word on whether a
// device exists to a caller who may not know. The seed of a failing run is printed; TWINSTEP_SEED repeats it.
import assert from 'node:assert/strict';
import { createConnection } from 'node:net';
import { describe } from 'node:test';
import { scene, until } from './lib.mjs';

const seed = Number(process.env.TWINSTEP_SEED ?? Math.floor(Math.random() * 2 ** 31));
const seconds = Number(process.env.TWINSTEP_FUZZ_SECONDS ?? 8);

/// Mulberry32: small, and the same everywhere.
function generator(state) {
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return { unit: next, below: (n) => Math.floor(next() * n), pick: (list) => list[Math.floor(next() * list.length)], chance: (p) => next() < p };
}

const methods = ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'HEAD', 'PATCH', 'TRACE', 'get', 'FOO'];
const odd = ['%2F', '%252F', '..', '%2e%2e', '%00', '%', '%zz', '%C3%28', '//', ';x=1', '*', "'", '"', '%0d%0aX-Y:%201', '{}', 'a'.repeat(200), '-1',
  '%F0%9F%98%80', '~', '+', '%20', '\\', ':batch', ':retry', '0'.repeat(32), 'f'.repeat(32)];
const names = ['limit', 'state', 'link', 'device', 'before', 'dryRun', 'code', 'showHistory', 'createdTimeFrom', 'top', 'reason', 'outcome', 'x', ''];
const bodies = ['', '{}', '[]', 'null', '{', '{"all":true}', '{"filter":{}}', '{"plan":"x","by":"me"}', '[[[[[[[[', '{"tags":{"a":{"b":1}}}', '"x"', '1e999',
  '{"a":"\\ud800"}', '\u0000', '{"level":"debug"}', JSON.stringify({ a: 'x'.repeat(9000) }), '[{"id":"1","eventType":"Microsoft.Devices.DeviceCreated"}]',
  '{"operations":[{"op":"create","id":"x"},{"op":"delete","id":"X"}]}', '{"operations":[{"op":"create","id":"lora-1","tags":{"a":1}}]}',
  '{"operations":[{"op":"delete","id":"lora-1"}]}', '['.repeat(5000)];

/// Sends bytes, gives what comes back; null when the daemon closed without an answer.
function raw(port, bytes) {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ port, host: '127.0.0.1', allowHalfOpen: true });
    let answer = '';
    socket.setTimeout(15_000, () => { socket.destroy(); reject(new Error(`no answer within 15 s to ${JSON.stringify(bytes.slice(0, 300))}`)); });
    socket.on('data', (data) => { answer += data.toString('latin1'); });
    socket.on('error', () => resolve(answer || null));
    socket.on('end', () => socket.destroy());
    socket.on('close', () => resolve(answer || null));
    socket.end(Buffer.from(bytes, 'latin1'));  // whoever announced more than that sends no more
  });
}
const statusOf = (answer) => Number(/^HTTP\/1\.[01] (\d{3})/.exec(answer)?.[1]);

function request(random, routes, keys) {
  const route = random.pick(routes);
  let path = route.path.replace(/\{(\w+)\}/g, () => random.chance(0.5) ? random.pick(['default', 'dev-1', 'lora-1', 'examplehub', 'contoso']) : random.pick(odd));
  if (random.chance(0.2)) path = path.slice(0, random.below(path.length)) + random.pick(odd) + path.slice(random.below(path.length));
  if (random.chance(0.1)) path = path.toUpperCase();
  const query = [];
  while (random.chance(0.4) && query.length < 6) query.push(`${random.pick(names)}=${random.chance(0.5) ? random.pick(odd) : random.below(2000)}`);
  const key = random.pick(keys);
  const headers = [`Host: ${random.chance(0.95) ? '127.0.0.1' : 'evil.example'}`, 'Connection: close'];
  if (key) {
    const place = random.below(3);
    if (place === 0) headers.push(`x-functions-key: ${key}`);
    if (place === 1) headers.push(`Authorization: Bearer ${key}`);
    if (place === 2) query.push(`code=${key}`);
  }
  if (random.chance(0.2)) headers.push(`Idempotency-Key: ${random.pick(['a', 'b', 'x'.repeat(300), '\u00e9'])}`);
  if (random.chance(0.1)) headers.push(`Content-Type: ${random.pick(['text/plain', 'application/json', 'application/cloudevents+json', 'x'])}`);
  else headers.push('Content-Type: application/json');
  if (random.chance(0.1)) headers.push(`aeg-event-type: ${random.pick(['Notification', 'SubscriptionValidation', 'x'])}`);
  if (random.chance(0.05)) headers.push(`X-Long: ${'y'.repeat(random.below(40_000))}`);
  if (random.chance(0.1)) headers.push(`traceparent: ${random.pick(['00-' + '0'.repeat(32) + '-0-01', 'x', '00-' + 'a'.repeat(32) + '-' + 'b'.repeat(16) + '-01'])}`);
  const method = random.chance(0.8) ? route.method : random.pick(methods);
  const body = random.chance(0.7) ? random.pick(bodies) : '';
  const length = Buffer.byteLength(body, 'latin1');
  headers.push(`Content-Length: ${random.chance(0.97) ? length : random.below(2 * length + 2)}`);
  const target = path + (query.length ? `?${query.join('&')}` : '');
  return { text: `${method} ${target} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n${body}`, declared: headers.at(-1), length, method, target };
}

const bearer = (key) => ({ authorization: `Bearer ${key}` });
async function createKey(s, name, ...more) {
  return (await s.runs(0, ['key', 'create', '--name', name, ...more])).stdout.trim();
}
/// Until the running daemon knows the keys: it asks for one, and takes this one, which was made last.
const known = (daemon, path, key) => until('keys are known', async () => (await fetch(daemon.address + path)).status === 401
  && (await fetch(daemon.address + path, { headers: bearer(key) })).status === 200, 15);

describe('routes', { concurrency: 2 }, () => {
  scene('no request, with whatever key, ends in a crash or an internal error', ['--devices', '20', '--time-factor', '60', '--no-throttle'], async (s, t) => {
    console.log(`seed ${seed}`);
    const daemon = await s.serve(0, {}, ['-q']);
    t.after(daemon.stop);
    const all = await createKey(s, 'all', '--scope', 'events,facade,read,operate,admin');
    const reader = await createKey(s, 'reader', '--scope', 'read');
    await known(daemon, '/api/v1/links', reader);
    const description = await (await fetch(`${daemon.address}/openapi.json`, { headers: bearer(reader) })).json();
    const routes = ['/healthz', '/readyz', '/metrics', '/loglevel'].map((path) => ({ path, method: 'GET' }));
    routes.push({ path: '/loglevel', method: 'PUT' }, { path: '/api/ExternalRegistrySynchronizer_EventGridListener', method: 'POST' });
    for (const [path, methods] of Object.entries(description.paths))
      for (const method of Object.keys(methods)) routes.push({ path, method: method.toUpperCase() });
    const random = generator(seed);
    const keys = [all, all, all, reader, `${all.slice(0, -4)}AAAA`, 'tsk_000000000000_' + 'A'.repeat(43), 'x', ''];
    const seen = new Map();
    const end = Date.now() + seconds * 1000;
    const worker = async () => {
      while (Date.now() < end) {
        const one = request(random, routes, keys);
        const answer = await raw(daemon.port, one.text);
        const status = statusOf(answer);
        const told = () => `seed ${seed}: ${JSON.stringify(one.text.slice(0, 600))} was answered ${JSON.stringify((answer ?? '(closed)').slice(0, 600))}`;
        if (answer === null) continue;  // not HTTP to the end: closed
        assert.ok(status >= 100 && status < 600, told());
        assert.ok(status < 500 || status === 503 || status === 501 || status === 505, told());
        for (const key of [all, reader]) assert.ok(!answer.includes(key.slice(17)) || /"key":"tsk_/.test(answer), told());
        const type = /content-type: ([^\r\n;]*)/i.exec(answer)?.[1] ?? '';
        const body = answer.slice(answer.indexOf('\r\n\r\n') + 4);
        if (type.includes('json') && body && one.method !== 'HEAD') assert.doesNotThrow(() => JSON.parse(Buffer.from(body, 'latin1').toString('utf8')), told());
        seen.set(status, (seen.get(status) ?? 0) + 1);
      }
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    console.log(`answers: ${JSON.stringify(Object.fromEntries([...seen].sort()))}`);
    for (const status of [200, 400, 401, 403, 404, 405]) assert.ok(seen.has(status), `nothing was answered ${status}`);
    assert.equal((await fetch(`${daemon.operations}/healthz`)).status, 200);
    assert.equal(daemon.child.exitCode, null);
  });

  scene('a key that may not touch a device is not told whether it exists', ['--devices', '0', '--time-factor', '60', '--no-throttle'], async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const mine = await createKey(s, 'mine', '--scope', 'facade', '--ids', 'mine-*', '--may', 'create,delete,read');
    const writer = await createKey(s, 'writer', '--scope', 'facade', '--may', 'create');
    const reader = await createKey(s, 'reader', '--scope', 'read');
    await known(daemon, '/api/v1/links', reader);
    await s.addDevice('theirs-there', '0004A30B0000F001');
    const paths = (id) => [`/api/devices/${id}`, `/api/devices/default/${id}`];
    for (const [key, methods] of [[mine, ['GET', 'POST', 'DELETE']], [writer, ['GET', 'DELETE']], [reader, ['GET', 'POST', 'DELETE']], ['wrong', ['GET', 'POST', 'DELETE']]])
      for (const method of methods)
        for (const dry of ['', '?dryRun=true']) {
          if (dry && method === 'GET') continue;
          const [there, gone] = await Promise.all(['theirs-there', 'theirs-gone'].map(async (id) => Promise.all(paths(id).map(async (path) => {
            const answer = await fetch(daemon.address + path + dry, { method, headers: bearer(key) });
            return `${answer.status} ${(await answer.text()).replaceAll(id, 'ID')}`;
          }))));
          assert.deepEqual(there, gone, `${method}${dry}`);
          for (const one of there) assert.match(one, /^40[13] /, `${method}${dry}: ${one}`);
        }
    const batch = (key, dry, operations) => fetch(`${daemon.address}/api/v1/devices/default:batch${dry}`, { method: 'POST',
      headers: { ...bearer(key), 'content-type': 'application/json' }, body: JSON.stringify({ operations }) })
      .then(async (answer) => `${answer.status} ${(await answer.text()).replaceAll(/theirs-(there|gone)/g, 'ID')}`);
    for (const dry of ['', '?dryRun=true'])
      for (const [key, op] of [[mine, 'delete'], [mine, 'create'], [writer, 'delete'], [reader, 'delete'], ['wrong', 'delete']]) {
        const [there, gone] = [await batch(key, dry, [{ op, id: 'theirs-there' }]), await batch(key, dry, [{ op, id: 'theirs-gone' }])];
        assert.equal(there, gone);
        assert.match(there, /^40[13] /, `${op}${dry}: ${there}`);
        if (key !== mine) continue;
        // Beside one that the key may touch, each has its own answer: still nothing is told of the others.
        const mixed = (id) => batch(key, dry, [{ op, id }, { op: 'delete', id: 'mine-1' }]);
        const both = await mixed('theirs-there');
        assert.equal(both, await mixed('theirs-gone'));
        assert.match(both, /^200 .*"status":403,"code":"facade\.not-allowed".*"status":404/s, both);
      }
    assert.deepEqual(await s.ids(), ['theirs-there']);
  });

  scene('a path of escapes within escapes costs no more than another one, and its key is hidden all the same', ['--devices', '0'], async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const nested = (end) => `/%${'25'.repeat(15_000)}${end}`;
    const begun = Date.now();
    const answers = await Promise.all(Array.from({ length: 32 }, () => raw(daemon.port, `GET ${nested('41')} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)));
    assert.deepEqual([...new Set(answers.map(statusOf))], [404]);
    assert.ok(Date.now() - begun < 5000, `${Date.now() - begun} ms for 32 of them`);  // a round for each level: 20 s and more
    const hidden = await raw(daemon.port, `GET ${nested('74')}sk_0123456789ab_hunter2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    assert.equal(statusOf(hidden), 404);
    assert.ok(!hidden.includes('hunter2'));
    await daemon.stop();
    assert.ok(!daemon.output().includes('hunter2'));
  });

  scene('what two readers could take for one request or for two is refused, and nothing behind it is read', ['--devices', '0', '--no-throttle'], async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const second = 'DELETE /api/devices/innocent HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
    assert.equal((await fetch(`${daemon.address}/api/devices/innocent`, { method: 'POST' })).status, 201);
    for (const framing of ['Content-Length: 5\r\nTransfer-Encoding: chunked', 'Transfer-Encoding: xchunked', 'Transfer-Encoding: chunked, identity',
      'Transfer-Encoding: gzip, chunked', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity', 'Transfer-Encoding : chunked', 'Transfer-Encoding:\x0bchunked',
      'Content-Length: 0\r\nContent-Length: 5', 'Content-Length: +0', 'Content-Length: 0x0', 'Content-Length: -1', 'Content-Length: 18446744073709551616',
      'Host: other', 'X\x00: y', 'X: y\nContent-Length: 0']) {
      const answer = await raw(daemon.port, `POST /api/devices/first HTTP/1.1\r\nHost: localhost\r\n${framing}\r\n\r\n0\r\n\r\n${second}`);
      assert.equal(statusOf(answer), 400, `${JSON.stringify(framing)}: ${answer}`);
      assert.equal(answer.match(/HTTP\/1\.1 \d{3} /g).length, 1, `${JSON.stringify(framing)}: ${answer}`);
    }
    const old = await raw(daemon.port, `POST /api/devices/first HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${second}`);
    assert.equal(statusOf(old), 400, old);
    assert.deepEqual(await s.ids(), ['innocent']);
  });

  scene('a path reaches exactly the device that it names, or none', ['--devices', '0', '--time-factor', '60', '--no-throttle'], async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const send = (method, target) => raw(daemon.port, `${method} ${target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    const legal = "AZaz09-:.+%_#*?!(),=@;$'";
    const longest = legal.repeat(6).slice(0, 128);
    for (const id of [longest, '...', '%2F', 'a%2Fb', 'a+b', '%25', "it's", 'a;b', 'a#b', 'a?b']) {
      const answer = await send('POST', `/api/devices/default/${encodeURIComponent(id).replace(/[.!'()*]/g, (c) => '%' + c.charCodeAt(0).toString(16))}`);
      assert.equal(statusOf(answer), 201, `${id}: ${answer}`);
      assert.deepEqual(await s.ids(), [id]);
      await s.removeDevice(encodeURIComponent(id));
      assert.deepEqual(await s.ids(), []);
    }
    for (const path of ['%2e', '%2e%2e', 'a%2Fb', '%2e%2e%2fx', 'a%00b', '%', '%zz', 'a%2', 'a%20b', '%C3%A9', 'x'.repeat(129), '%0d%0a', 'a%5Cb', '%7B%7D', 'a/b', 'a/..', '../a', './a', 'a/../b', '']) {
      const answer = await send('POST', `/api/devices/default/${path}`);
      assert.match(String(statusOf(answer)), /^40[0-9]$/, `${path}: ${answer}`);
      assert.deepEqual(await s.ids(), [], path);
    }
  });
});
