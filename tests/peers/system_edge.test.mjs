// What reaches the daemon's listeners: Microsoft's own publisher, TLS, senders that are slow, wrong or very many.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { createConnection } from 'node:net';
import { describe } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { delivery, hook, lorawan, peer, postEvent, readiness, scene, temporaryFolder, until } from './lib.mjs';

const { EventGridPublisherClient, AzureKeyCredential } = peer('@azure/eventgrid');
const empty = ['--devices', '0', '--time-factor', '20', '--no-throttle', '--event-tags'];
const eui = (n) => `0004A30B0000${n.toString(16).toUpperCase().padStart(4, '0')}`;

/// What the hub says of a device, as an application would hand it to Microsoft's publisher.
const eventOf = {
  EventGrid: (id, device, type = 'DeviceCreated') => ({ id, subject: `devices/${device}`, eventType: `Microsoft.Devices.${type}`, dataVersion: '1',
    topic: '/SUBSCRIPTIONS/S/RESOURCEGROUPS/R/PROVIDERS/MICROSOFT.DEVICES/IOTHUBS/EXAMPLEHUB', eventTime: new Date(),
    data: { hubName: 'examplehub', deviceId: device, twin: { deviceId: device, tags: {} } } }),
  CloudEvent: (id, device, type = 'DeviceCreated') => ({ id, subject: `devices/${device}`, type: `Microsoft.Devices.${type}`, time: new Date(),
    source: '/SUBSCRIPTIONS/S/RESOURCEGROUPS/R/PROVIDERS/MICROSOFT.DEVICES/IOTHUBS/EXAMPLEHUB',
    data: { hubName: 'examplehub', deviceId: device, twin: { deviceId: device, tags: {} } } }),
};
/// Everything that Microsoft's publisher client posts in both schemas starts the work that it should.
async function publishes(s, address, options) {
  for (const schema of ['EventGrid', 'CloudEvent']) {
    const client = new EventGridPublisherClient(`${address}${hook}`, schema, new AzureKeyCredential('any'), { retryOptions: { maxRetries: 0 }, ...options });
    const names = [1, 2, 3].map((n) => `${schema.toLowerCase()}-${n}`);
    for (const [n, name] of names.entries()) await s.hub('PUT', `/devices/${name}`, { deviceId: name }).then(() =>
      s.tagDevice(name, lorawan(eui((schema === 'EventGrid' ? 0 : 16) + n))));
    await client.send([eventOf[schema](`${schema}-1`, names[0])]);
    await client.send(names.slice(1).map((name, n) => eventOf[schema](`${schema}-${n + 2}`, name)));
    await until(`what ${schema} published`, async () => { const out = await s.outside(); return names.every((name) => out.includes(name)); });
    await s.removeDevice(names[0]);
    await client.send([eventOf[schema](`${schema}-9`, names[0], 'DeviceDeleted')]);
    await until('the deleted one', async () => !(await s.outside()).includes(names[0]));
    await assert.rejects(client.send([{ ...eventOf[schema](`${schema}-x`, 'x'), data: { hubName: 'nobodys', deviceId: 'x' } }]), { statusCode: 400 });
  }
}

/// A certificate for 127.0.0.1, with the authority that clients trust.
function certificate(folder) {
  const openssl = (...args) => execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', 'authority.key', '-out', 'authority.pem',
    '-days', '2', '-subj', '/CN=test authority', '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign');
  openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', 'hook.key', '-out', 'hook.pem', '-CA', 'authority.pem',
    '-CAkey', 'authority.key', '-days', '2', '-subj', '/CN=hook', '-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'basicConstraints=critical,CA:FALSE');
  return { authority: `${folder}/authority.pem`, certificate: `${folder}/hook.pem`, key: `${folder}/hook.key` };
}
let identity;
const withCertificate = (folder, t) => {
  const place = temporaryFolder();
  t.after(place.remove);
  identity = certificate(place.path);
  return [...empty, '--event-ca', identity.authority];
};

/// Sends bytes, perhaps slowly, and gives what comes back until the connection is closed.
function raw(port, pieces, every = 0) {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1');
    let got = '';
    let sender;
    socket.on('data', (data) => { got += data; });
    socket.on('error', () => {});
    socket.on('close', () => { clearInterval(sender); resolve({ got, after: (Date.now() - begun) / 1000 }); });
    const begun = Date.now();
    const left = [...pieces];
    socket.write(left.shift());
    if (every > 0) sender = setInterval(() => { if (left.length > 0) socket.write(left.shift()); }, every);
    else for (const piece of left) socket.write(piece);
  });
}
const residentMegabytes = (daemon) => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${daemon.child.pid}/status`, 'utf8'))[1]) / 1024;

describe('edge', { concurrency: 3 }, () => {
  scene('senders that are too slow get 408, for a head after ten seconds, for a body after half a minute; others are served as before', empty, async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const head = `POST ${hook} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n`;
    const dripping = Array.from({ length: 200 }, () => raw(daemon.port, [head, ...'x'.repeat(100)], 500));
    const silent = raw(daemon.port, [`${head}[`]);
    const headless = raw(daemon.port, ['POST /api HTTP/1.1\r\nHo']);
    await s.subscribe(daemon);
    let slowest = 0;
    for (let n = 0; n < 60; ++n) {
      const asked = performance.now();
      assert.equal((await postEvent(daemon, `served-${n}`)).status, 200);
      slowest = Math.max(slowest, performance.now() - asked);
    }
    assert.ok(slowest < 3000, `the slowest took ${slowest} ms`);
    await s.addDevice('dev-1', eui(1));
    await until('others are served', async () => (await s.outside()).includes('dev-1'));
    for (const [senders, seconds] of [[[...dripping, silent], 30], [[headless], 10]])
      for (const { got, after } of await Promise.all(senders)) {
        assert.match(got, /^HTTP\/1\.1 408 /);
        assert.ok(after > seconds - 5 && after < seconds + 15, `after ${after} s instead of ${seconds}`);
      }
  });

  scene('Microsoft\'s publisher client posts to the webhook, in both schemas', empty, async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    await publishes(s, daemon.address, { allowInsecureConnection: true });
  });

  scene('over TLS: handshake, deliveries, Microsoft\'s publisher client and the API', withCertificate, async (s, t) => {
    const config = s.write('tls.yaml', ['hubs: {examplehub: {connection_string: "env:iothub", units: 50}}',
      'externals: {tp: {provider: actility, settings: {tokenUri: "env:actility_api_token_uri", devicesUri: "env:actility_api_devices_uri",',
      '  clientId: "env:actility_api_client_id", clientSecret: "env:actility_api_client_secret", requestsPerSecond: "1000"}}}',
      'links: [{name: default, hub: examplehub, external: tp, master: hub, deletes: delete}]',
      `serve: {tls_certificate: ${identity.certificate}, tls_key: ${identity.key}}`, ''].join('\n'));
    const daemon = await s.serve(0, {}, ['--config', config]);
    t.after(daemon.stop);
    const plain = daemon.address;
    daemon.address = plain.replace('http:', 'https:');
    const ca = readFileSync(identity.authority);
    for (const schema of ['eventgrid', 'cloudevents']) {
      await s.subscribe(daemon, { schema });
      await s.addDevice(`sim-${schema}`, eui(schema.length + 100));
      await until('the delivery', async () => (await s.outside()).includes(`sim-${schema}`));
      await s.control('/subscriptions', { method: 'DELETE' });
    }
    await publishes(s, daemon.address, { tlsOptions: { ca } });

    const ask = (path, options = {}) => new Promise((resolve, reject) => {
      httpsRequest(daemon.address + path, { ca, agent: false, ...options }, (answer) => {
        let body = '';
        answer.on('data', (data) => { body += data; });
        answer.on('end', () => resolve({ status: answer.statusCode, body, headers: answer.headers }));
      }).once('error', reject).end(options.body);
    });
    assert.equal((await ask('/api/v1/links')).status, 200);
    const started = await ask('/api/IoTHubSynchronizer_HttpListener', { method: 'POST' });
    assert.equal(started.status, 202);
    assert.match(started.headers.location, /^https:/);
    // Whoever does not know the authority sees that, and whoever speaks plain HTTP gets no answer of ours.
    await assert.rejects(ask('/api/v1/links', { ca: undefined }), /certificate|issuer/);
    const spoken = await raw(daemon.port, [`POST ${hook} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]`]);
    assert.ok(!spoken.got.includes('HTTP/1.1'), spoken.got);
    await assert.rejects(fetch(`${plain}${hook}`, { method: 'POST', body: delivery('plain') }));
    const version = await new Promise((resolve, reject) => {
      const socket = tlsConnect({ port: daemon.port, host: '127.0.0.1', ca }, () => { resolve(socket.getProtocol()); socket.destroy(); });
      socket.once('error', reject);
    });
    assert.match(version, /^TLSv1\.[23]$/);
  });

  scene('what is not a delivery is refused or recorded with its reason', empty, async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    const post = (body, headers = {}) => fetch(daemon.address + hook, { method: 'POST', body, headers });
    for (const body of ['', '{', '[{]', '7', '"text"', 'null', '[7]x', `${'['.repeat(100_000)}`, '\u0000\u0001\u0002'])
      assert.equal((await post(body)).status, 400, `body ${body.slice(0, 20)}`);
    // Each is recorded once, as a failed task that says why, and answered 200: it would be no better the next time.
    const [good] = JSON.parse(delivery('good'));
    const bad = {
      'no id': [{ ...good, id: undefined }, /id/],
      'an id that is a number': [{ ...good, id: 7 }, /id/],
      'no data': [{ ...good, id: 'a', subject: '', data: undefined }, /data|device/i],
      'data of another type': [{ ...good, id: 'b', data: [1, 2] }, /data|device/i],
      'no device': [{ ...good, id: 'c', subject: '', data: { hubName: 'default' } }, /deviceId/],
      'a device of another type': [{ ...good, id: 'd', data: { hubName: 'default', deviceId: { a: 1 } } }, /deviceId/],
      'a device id that is not legal': [{ ...good, id: 'e', data: { hubName: 'default', deviceId: 'not legal/ü' } }, /device id|deviceId/i],
      'a device id that is too long': [{ ...good, id: 'f', data: { hubName: 'default', deviceId: 'x'.repeat(129) } }, /device id|deviceId/i],
      'tags of another type': [{ ...good, id: 'g', eventType: 'Microsoft.Devices.DeviceCreated', data: { hubName: 'default', deviceId: 'g', twin: { tags: [7] } } }, /tags/],
      'tags that are too long': [{ ...good, id: 'h', eventType: 'Microsoft.Devices.DeviceCreated', data: { hubName: 'default', deviceId: 'h', twin: { tags: { note: 'x'.repeat(20_000) } } } }, /tags/],
    };
    for (const [what, [event, reason]] of Object.entries(bad)) {
      const answer = await post(JSON.stringify([event, { ...good, id: `beside ${what}` }]));
      const said = await answer.json();
      assert.equal(answer.status, 200, what);
      assert.equal(said.failed, 1, `${what}: ${JSON.stringify(said)}`);
      assert.equal(said.started + said.joined, 1, `${what} does not hold up the others`);
      const failed = (await (await fetch(`${daemon.operations}/api/v1/tasks?state=failed&code=event.unusable`)).json()).items[0];
      assert.match(failed.status, reason, what);
      assert.equal((await (await post(JSON.stringify([event]))).json()).known, 1, `${what} is recorded once`);
    }
    assert.equal((await post(`["${'x'.repeat(1_300_000)}"]`)).status, 413);
    assert.equal((await post(JSON.stringify(Array.from({ length: 5001 }, (_, n) => ({ id: String(n) }))))).status, 413);
    // A body whose length is not said beforehand, and one that is announced but too large.
    const chunked = await raw(daemon.port, [`POST ${hook} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`,
      ...Array.from({ length: 20 }, () => `10000\r\n${'x'.repeat(65_536)}\r\n`)]);
    assert.match(chunked.got, /^HTTP\/1\.1 413 /);
    const announced = await raw(daemon.port, [`POST ${hook} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n`]);
    assert.match(announced.got, /^HTTP\/1\.1 413 /);
    assert.match((await raw(daemon.port, ['HELLO\r\n\r\n'])).got, /^HTTP\/1\.1 400 /);
    assert.match((await raw(daemon.port, [`GET / HTTP/1.1\r\nHost: x\r\nX-A: ${'x'.repeat(70_000)}\r\n\r\n`])).got, /^HTTP\/1\.1 431 /);
    assert.equal((await postEvent(daemon, 'after-all')).status, 200);
  });

  /// As many connections as are asked for, opened two hundred at a time and kept.
  async function open(t, port, count) {
    const idle = [];
    t.after(() => idle.forEach((socket) => socket.destroy()));
    while (idle.length < count)
      await Promise.all(Array.from({ length: Math.min(200, count - idle.length) }, () => new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`connection ${idle.length} was not taken within 20 s`)), 20_000);
        const socket = createConnection(port, '127.0.0.1', () => { clearTimeout(late); resolve(); });
        socket.once('error', reject);
        socket.ended = false;
        socket.on('close', () => { socket.ended = true; });
        idle.push(socket);
      })));
    return idle;
  }
  /// Posts events one after another; gives the longest time that one took, in milliseconds.
  async function slowestOf(daemon, times) {
    let slowest = 0;
    for (let n = 0; n < times; ++n) {
      const asked = performance.now();
      assert.equal((await postEvent(daemon, `served-${asked}`)).status, 200);
      slowest = Math.max(slowest, performance.now() - asked);
    }
    return slowest;
  }

  scene('ten thousand idle connections leave room for others and for memory', empty, async (s, t) => {
    // The daemon begins with the few open files that service managers give, and takes what it may have.
    const most = Number(execFileSync('bash', ['-c', 'ulimit -Hn']).toString().replace('unlimited', '1000000'));
    const count = Math.min(10_000, Math.floor(most / 2) - 1000);
    if (count < 10_000) t.diagnostic(`the hard limit of ${most} open files allows ${count} connections, not 10,000`);
    assert.ok(count >= 1000, `a hard limit of ${most} open files is too low for this test: raise it, ulimit -Hn 65536`);
    const config = s.thingpark('master: hub, deletes: delete');
    writeFileSync(config, 'serve: {idle_timeout: 20s}\n', { flag: 'a' });
    const daemon = await s.serve(0, {}, ['--config', config], ['prlimit', '--nofile=1024:']);
    t.after(daemon.stop);
    await s.subscribe(daemon);
    const before = residentMegabytes(daemon);
    const idle = await open(t, daemon.port, count);
    assert.ok(await slowestOf(daemon, 50) < 3000);
    const after = residentMegabytes(daemon);
    assert.equal(idle.filter(({ ended }) => ended).length, 0, 'all of them are kept');
    assert.ok(after - before < count * 0.01 + 20, `${Math.round(after - before)} MB for ${count} idle connections`);
    await s.addDevice('dev-1', eui(1));
    await until('others are served', async () => (await s.outside()).includes('dev-1'));
    assert.equal((await readiness(daemon)).status, 200);
    await until('who says nothing for serve.idle_timeout is let go', () => idle.every(({ ended }) => ended), 45);
  });

  scene('more connections than there are open files take none from the store and the remotes', empty, async (s, t) => {
    const daemon = await s.serve(0, {}, [], ['prlimit', '--nofile=1200:1200']);
    t.after(daemon.stop);
    await s.subscribe(daemon);
    await open(t, daemon.port, 1500);
    // The hub, ThingPark and the store are still reached, and so is the listener for those who look after it.
    assert.equal((await readiness(daemon)).status, 200);
    await s.addDevice('dev-1', eui(1));
    assert.equal((await fetch(`${daemon.operations}${hook}`, { method: 'POST',
      body: delivery('dev-1', { type: 'DeviceCreated' }) })).status, 200);
    await until('work goes on', async () => (await s.outside()).includes('dev-1'));
    assert.doesNotMatch(daemon.output(), /Too many open files/i);
  });
});
