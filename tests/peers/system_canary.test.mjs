// Secrets that can be recognised are planted wherever a secret can enter, a day's work is done with them, and then everything
// that the daemon and the commands wrote, answered, exported or kept is searched for them, in every spelling.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { describe } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { lorawan, scene, until } from './lib.mjs';

const registry = ['--devices', '60', '--missing', '10%', '--changed', '10%', '--orphaned', '3%', '--time-factor', '60', '--no-throttle', '--event-tags'];
const hook = '/api/ExternalRegistrySynchronizer_EventGridListener';
const canary = () => randomBytes(16).toString('hex').toUpperCase();

/// How a secret may look where it does not belong.
function spellings(secret) {
  const text = Buffer.from(secret);
  return [...new Set([secret, secret.toLowerCase(), secret.toUpperCase(), encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1),
    text.toString('base64').replace(/=+$/, ''), text.toString('base64url'), text.toString('hex')])].filter((one) => one.length >= 12);
}

/// Takes whatever is sent to it: a collector, an ingestion, somebody's webhook.
async function startListener(t) {
  const bodies = [];
  const server = createServer((question, answer) => {
    const pieces = [];
    question.on('data', (data) => pieces.push(data));
    question.on('end', () => {
      let body = Buffer.concat(pieces);
      if (question.headers['content-encoding'] === 'gzip') body = gunzipSync(body);
      bodies.push({ url: question.url, headers: question.headers, body: body.toString() });
      answer.setHeader('content-type', 'application/json');
      answer.end('{}');
    });
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  t.after(() => { server.closeAllConnections(); return new Promise((resolve) => { server.close(resolve); }); });
  return { url: `http://127.0.0.1:${server.address().port}`, bodies };
}

function filesBelow(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    const status = statSync(path, { throwIfNoEntry: false });
    if (!status) return [];
    return status.isDirectory() ? filesBelow(path) : status.isFile() ? [path] : [];
  });
}

describe('secrets', () => {
  scene('planted in every place occur in nothing that leaves or stays', registry, async (s, t) => {
    const planted = new Map();  // what, the secret
    const plant = (what, secret) => { planted.set(what, secret); return secret; };
    plant('the hub\'s shared access key', s.key);
    plant('the storage\'s account key', /AccountKey=([^;]+)/.exec(s.variables.AzureWebJobsStorage)[1]);
    plant('the network server\'s client secret', s.variables.actility_api_client_secret);
    const collector = await startListener(t);
    const variables = {
      TWINSTEP_STORE_KEY: plant('the key that seals', randomBytes(32).toString('base64')),
      APPLICATIONINSIGHTS_CONNECTION_STRING: `InstrumentationKey=00000000-1111-2222-3333-444444444444;IngestionEndpoint=${collector.url}/`,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_HEADERS: `x-api-key=${plant('the collector\'s header', canary())}`,
    };
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', s.path('tls.key'), '-out', s.path('tls.pem'), '-days', '30',
      '-subj', '/CN=127.0.0.1'], { stdio: 'ignore' });
    plant('the certificate\'s key', readFileSync(s.path('tls.key'), 'utf8').split('\n')[3]);

    const outputs = [];  // what, text
    const keep = (what, text) => outputs.push([what, text]);
    const command = async (codes, ...args) => {
      const ended = await s.run(args, variables);
      assert.ok(codes.includes(ended.code), `twinstep ${args.join(' ')}: ${ended.code}\n${ended.all}`);
      return ended;
    };
    const daemon = await s.serve(0, variables, ['-vv']);
    t.after(daemon.stop);
    const keys = {};
    for (const scope of ['events', 'facade', 'read', 'operate', 'admin']) {
      keys[scope] = (await command([0], 'key', 'create', '--name', scope, '--scope', scope)).stdout.trim();
      plant(`the key for ${scope}`, keys[scope].split('_')[2]);
    }
    const ask = async (path, scope = 'read', options = {}) => {
      const answer = await fetch(daemon.address + path, { ...options, headers: { 'x-functions-key': keys[scope], 'content-type': 'application/json', ...options.headers } });
      const text = await answer.text();
      keep(`the answer to ${options.method ?? 'GET'} ${path.replace(/\?code=.*/, '')}`, [...answer.headers].join('\n') + text);
      return { status: answer.status, text };
    };
    await until('keys are known', async () => (await fetch(`${daemon.address}/api/v1/links`)).status === 401 && (await ask('/api/v1/keys', 'admin')).status === 200);

    // Events, with application keys in the tags, by an address with a key in it.
    const device = (id, n, more = {}) => s.addDevice(id, `0004A30B0001${n.toString(16).padStart(4, '0').toUpperCase()}`,
      { ...lorawan(`0004A30B0001${n.toString(16).padStart(4, '0').toUpperCase()}`), applicationKey: plant(`the application key of ${id}`, canary()), ...more });
    await s.control('/subscriptions', { method: 'POST', body: JSON.stringify({ name: 'twinstep', endpoint: `${daemon.address}${hook}?code=${keys.events}` }) });
    await until('the handshake', async () => (await s.subscription()).state === 'Succeeded');
    await device('good', 1);
    await until('it is outside', async () => (await s.outside()).includes('good'));
    // A server that says what it was sent when it refuses.
    const echo = plant('what the server says when it refuses', canary());
    await s.fault({ server: 'thingpark', method: 'POST', path: '/devices', times: 1, status: 400,
      body: JSON.stringify({ code: 400, message: `applicationKey '${echo}' is not valid`, applicationKey: echo }) });
    await device('refused', 2, { applicationKey: echo });
    await until('the refusal', () => daemon.output().includes('ExternalDeviceCreationFailed'));
    await device('tagless', 3, { activationType: null });
    await device('bad', 4, { EUI: 'not hexadecimal' });
    await s.removeDevice('good');
    await until('it is gone', async () => !(await s.outside()).includes('good'));
    await ask(hook, 'events', { method: 'POST', body: JSON.stringify([{ id: '1', eventType: 'Microsoft.Devices.DeviceCreated', eventTime: 'never',
      topic: '/IOTHUBS/EXAMPLEHUB', subject: 'devices/x', data: { hubName: 'examplehub', deviceId: 'x y',
        twin: { tags: { applicationKey: plant('the application key of an event that is none', canary()) } } } }]) });

    // Single devices.
    const body = () => JSON.stringify({ site: 7, applicationKey: plant(`an application key over the façade ${planted.size}`, canary()),
      nested: { password: plant(`a password over the façade ${planted.size}`, canary()) } });
    assert.equal((await ask('/api/devices/single', 'facade', { method: 'POST', body: body(), headers: { 'idempotency-key': 'a' } })).status, 201);
    assert.equal((await ask('/api/devices/single', 'facade', { method: 'POST', body: body() })).status, 409);
    await ask('/api/devices/single', 'facade', { method: 'POST', body: body(), headers: { 'idempotency-key': 'a' } });
    await ask('/api/devices/broken', 'facade', { method: 'POST', body: body().slice(0, -1) });
    await ask('/api/devices/single', 'facade');
    await ask('/api/devices/single?dryRun=true', 'facade', { method: 'DELETE' });

    // A run with jobs and blobs, and one whose credentials are refused.
    await ask('/api/IoTHubSynchronizer_HttpListener', 'operate', { method: 'POST' });
    await until('the run has ended', async () => {
      const { items } = JSON.parse((await ask('/api/v1/runs')).text);
      return items.length > 0 && ['done', 'failed', 'blocked'].includes(items[0].state);
    }, 60);
    await s.fault({ server: 'hub', path: '/jobs/create', times: 1, status: 400, body: JSON.stringify({ Message: `ErrorCode:BlobContainerValidationError;https://x.example/c?sv=1&sig=${plant('a signature in a refusal', canary())}`, ExceptionMessage: '' }) });
    await ask('/api/v1/links/default/runs', 'operate', { method: 'POST' });
    await until('the second run has ended', async () => {
      const { items } = JSON.parse((await ask('/api/v1/runs')).text);
      return items.length > 1 && items.every((run) => ['done', 'failed', 'blocked', 'cancelled'].includes(run.state));
    }, 90);

    // Everything that can be asked for.
    const description = JSON.parse((await ask('/openapi.json')).text);
    const { items: runs } = JSON.parse((await ask('/api/v1/runs?limit=1000')).text);
    const { items: tasks } = JSON.parse((await ask('/api/v1/tasks?limit=1000')).text);
    assert.ok(tasks.length >= 5, `${tasks.length} tasks`);
    const parts = { run: runs.map((one) => one.id), task: tasks.map((one) => one.id), link: ['default'], device: ['good', 'refused', 'tagless', 'bad', 'single'],
      id: [...runs, ...tasks].map((one) => one.id), hub: ['default'], lane: ['x'], key: ['admin'] };
    for (const [path, methods] of Object.entries(description.paths)) {
      if (!methods.get || path === '/api/IoTHubSynchronizer_HttpListener') continue;  // that one starts a run
      const name = /\{(\w+)\}(?!.*\{)/.exec(path)?.[1];
      for (const value of name ? parts[name] ?? [] : [''])
        await ask(path.replace('{hub}', 'default').replace(/\{\w+\}/, value), methods.get['x-twinstep-scope'] ?? 'read');
    }
    for (const path of ['/metrics', '/healthz', '/readyz']) await ask(path);
    await ask(`/api/v1/links?code=${keys.read}&nonsense=${keys.admin}`);
    await ask(`/nothing/${keys.admin}`);
    await ask('/api/v1/keys', 'admin');

    // The commands, and what they write.
    await s.noFaults();
    await s.fault({ server: 'thingpark', path: '/oauth', times: 1, status: 401, body: JSON.stringify({ error: 'invalid_client', client_secret: s.variables.actility_api_client_secret }) });
    keep('twinstep check, refused', (await command([1], '-vv', 'check')).all);
    await s.noFaults();
    for (const args of [['plan', '-o', s.path('plan.json'), '--all'], ['plan', '--format', 'csv'], ['plan', '--format', 'json'], ['check'], ['config', 'show'], ['config', 'check'],
      ['provider', 'try', 'actility'], ['key', 'list']]) {
      const ended = await command(args[0] === 'check' ? [0, 1] : [0, 3], '-vv', ...args);
      keep(`twinstep ${args.join(' ')}`, ended.all);
    }
    const wrong = await s.run(['-vv', 'check'], { ...variables, actility_api_client_secret: plant('a wrong client secret', canary()), iothub: s.variables.iothub.replace(s.key, plant('a wrong hub key', Buffer.from(canary()).toString('base64'))) });
    keep('twinstep check with wrong credentials', wrong.all);
    const broken = await s.run(['config', 'check'], { ...variables, iothub: `HostName=x;SharedAccessKey=${plant('a key in a broken connection string', canary())};oops` });
    keep('twinstep config check with a broken connection string', broken.all);
    for (const path of ['/v1/traces', '/v2/track'])
      await until(`${path} was exported to`, () => collector.bodies.some((one) => one.url.startsWith(path)), 30);
    assert.equal((await daemon.stop()).code, 0);
    assert.deepEqual(await s.containers(), [], 'no blob outlives its run');

    for (const one of await (await s.control('/hub/devices?keys=true')).text().then((text) => text.split('\n').filter(Boolean).map((line) => JSON.parse(line)))) {
      const symmetric = one.authentication?.symmetricKey;
      if (symmetric?.primaryKey) plant(`the primary key of ${one.id}`, symmetric.primaryKey);
    }
    keep('the log', daemon.output());
    for (const one of collector.bodies) keep(`what was sent to ${one.url}`, one.body);
    for (const path of filesBelow(s.folder)) {
      if (/(tls\.key|ca\.pem|sim\.env)$/.test(path)) continue;  // where they came from
      keep(path, readFileSync(path, 'latin1'));
    }
    assert.ok(outputs.some(([what]) => what.endsWith('plan.json')) && outputs.some(([what]) => /state.*\.db/.test(what)), 'plan and store are among what is searched');
    assert.ok(planted.size > 60, `${planted.size} secrets`);
    const found = [];
    for (const [what, text] of outputs)
      for (const [which, secret] of planted)
        if (spellings(secret).some((one) => text.includes(one))) found.push(`${which} in ${what}`);
    assert.deepEqual(found, []);
    for (const [what, text] of outputs) assert.ok(!/[?&]sig=(?!\*|%2A)[A-Za-z0-9%]{8}/.test(text) || text.includes(echo), `a signature in ${what}`);

    // The search itself finds what is there.
    const [, secret] = [...planted][0];
    assert.ok(spellings(secret).some((one) => `x${encodeURIComponent(secret)}x`.includes(one)));
  });
});
