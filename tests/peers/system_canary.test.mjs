// Secrets that can be recognised are planted wherever a secret can enter, a day's work is done with them, and then everything
// that the daemon and the commands wrote, answered, exported or kept is searched for them, in every spelling.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'node:test';
import { Day, brokenConfigs, ended, serversLog } from './canary_day.mjs';
import { echo, startListener, startLoggingPostgres } from './canary_peers.mjs';
import { Canaries, canary } from './canary_search.mjs';
import { freePort, hook, makeCertificate, run, scene, startClock, until } from './lib.mjs';

const registry = ['--devices', '60', '--missing', '10%', '--changed', '10%', '--orphaned', '3%', '--time-factor', '60', '--no-throttle', '--event-tags',
  '--clock-skew', '1', '--thingpark-clock-skew', '1'];  // a server's skew makes its Date follow a clock that was put on

/// What the hours are for, besides what happens in each. `this` is the day.
const work = {
  async 1() {  // a server that says what it was sent when it refuses, events that cannot be used
    const echoed = this.plant('what the network server says when it refuses', canary());
    await this.s.fault({ server: 'thingpark', method: 'POST', path: '/devices', times: 1, status: 400,
      body: JSON.stringify({ code: 400, message: `applicationKey '${echoed}' is not valid`, applicationKey: echoed }) });
    await this.device('refused', { applicationKey: echoed });
    await until('the refusal', () => this.log().includes('ExternalDeviceCreationFailed'));
    await this.device('tagless', { activationType: null });
    await this.device('bad', { EUI: 'not hexadecimal' });
    await this.ask(hook, 'events', { method: 'POST', body: JSON.stringify([{ id: '1', eventType: 'Microsoft.Devices.DeviceCreated', eventTime: 'never',
      topic: '/IOTHUBS/EXAMPLEHUB', subject: 'devices/x', data: { hubName: 'examplehub', deviceId: 'x y',
        twin: { tags: { applicationKey: this.plant('the application key of an event that is none', canary()) } } } }]) });
  },
  async 2() {  // single devices, refused, repeated and together
    const again = { method: 'POST', body: this.tags(), headers: { 'idempotency-key': this.plant('an Idempotency-Key', canary()) } };
    for (const status of [201, 201]) assert.equal((await this.ask('/api/devices/single', 'facade', again)).status, status);
    assert.equal((await this.ask('/api/devices/single', 'facade', { method: 'POST', body: this.tags() })).status, 409);
    assert.equal((await this.ask('/api/devices/broken', 'facade', { method: 'POST', body: this.tags(true) })).status, 400);
    await this.ask('/api/devices/single', 'facade');
    await this.ask('/api/devices/single?dryRun=true', 'facade', { method: 'DELETE' });
    const operations = [{ op: 'create', id: 'batch', tags: JSON.parse(this.tags()) }, { op: 'create', id: 'b d', tags: JSON.parse(this.tags()) }];
    await this.ask('/api/v1/devices/default:batch', 'facade', { method: 'POST', body: JSON.stringify({ operations }) });
  },
  async 3() {  // tokens of Event Grid, good and bad; keys where none belongs
    const body = JSON.stringify([{ id: 'e', topic: '/IOTHUBS/EXAMPLEHUB', subject: 'devices/d', eventType: 'Microsoft.Devices.DeviceConnected',
      eventTime: '2026-01-01T00:00:00Z', data: { hubName: 'examplehub', deviceId: 'd' }, dataVersion: '1' }]);
    for (const [status, claims, header] of [[200], [401, { aud: 'another' }], [401, {}, { alg: 'none' }], [503, { exp: 1 }]])
      assert.equal((await this.post(hook, body, { authorization: `Bearer ${this.token(claims, header)}` })).status, status);
    const lost = await this.makeKey('anything in a wrong place', 'create', '--name', 'lost', '--scope', 'operate');
    for (const path of [`/nothing/${lost}`, `/nothing%3Fcode=${lost}`, `/${lost}`, `/%2574sk_${lost.slice(4)}`, `/api/v1/links?code%3D${lost}=1`, `/api/v1/runs?state=${lost}`,
      `/api/v1/runs/${lost}`, `/api/devices/${lost}`, `/api/v1/links?code=${this.keys.read}&nonsense=${lost}`])
      assert.ok((await this.ask(path)).status >= 400, 'refused');
    await this.ask('/api/v1/links', 'read', { key: `tsk_0123456789ab_${this.plant('a key that nobody made', `${canary()}Abcdefghi-_`)}` });
  },
  async 4() {  // a run with jobs and blobs, followed by its own addresses, and one whose job is refused with a signature
    const byDesign = /code of an instance/;
    const started = await this.ask('/api/IoTHubSynchronizer_HttpListener', 'operate', { method: 'POST', byDesign });
    const codes = [...started.text.matchAll(/code=(ts[^"&]+)/g)];
    assert.ok(codes.length > 0, started.text);
    for (const [, code] of codes) this.plant('a code of an instance', code, () => true);
    const { statusQueryGetUri, id } = JSON.parse(started.text);
    const answer = await fetch(statusQueryGetUri);
    this.canaries.keep('the answer to a code of an instance', await answer.text(), byDesign);
    const first = await this.runUntil(id, ended);
    if (first.state === 'blocked') await this.answer(id, 'reject', { by: 'anna' });  // what the façade made is not in the list
    await this.s.fault({ server: 'hub', path: '/jobs/create', times: 1, status: 400,
      body: JSON.stringify({ Message: `ErrorCode:BlobContainerValidationError;https://x.example/c?sv=1&sig=${this.plant('a signature in a refusal', canary())}`, ExceptionMessage: '' }) });
    assert.equal((await this.run('default')).state, 'failed');
    await this.s.noFaults();
  },
  async 5() {  // a key that is rotated; the one before goes on working
    this.old = this.keys.read;
    this.keys.read = await this.makeKey('read', 'rotate', 'read', '--overlap', '30h');
    await until('the new key is known', async () => (await this.ask('/api/v1/links')).status === 200);
    assert.equal((await this.ask('/api/v1/links', 'read', { key: this.old })).status, 200);
  },
  async 6() {  // a list that is too short: blocked, and approved
    assert.equal((await this.run('list')).state, 'done');
    this.list([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    const blocked = await this.run('list');
    assert.equal(blocked.state, 'blocked');
    await this.answer(blocked.id, 'approve', { plan: blocked.plan.plan, by: 'anna' });
    assert.equal((await this.runUntil(blocked.id, ['done', 'failed'])).state, 'done');
    this.listed = true;
  },
  async 7() {  // reloads that are refused
    for (const [what, text] of Object.entries(brokenConfigs(this.canaries))) {
      const before = this.log().length;
      this.s.write('day.yaml', text);
      this.daemon.child.kill('SIGHUP');
      await until(`${what} is refused`, () => this.log().slice(before).includes('configuration.refused'));
    }
    this.s.write('day.yaml', this.good);
    this.daemon.child.kill('SIGHUP');
    await until('the good one is taken', () => this.log().includes('configuration.reloaded'));
  },
  async 8() {  // a list that is shorter still: blocked, and nobody answers
    this.list([1, 2]);
    const blocked = await this.run('list');
    assert.equal(blocked.state, 'blocked');
    this.left = blocked.id;
    await until('everybody was told', () => this.mails.length > 0 && ['webhook', 'teams', 'slack', 'pagerduty'].every((kind) =>
      ['good', 'angry'].every((where) => this.sinks[where].bodies.some(({ url }) => url.startsWith(`/${kind}/`)))), 30);
  },
  async 10() {  // receivers that say back what they are sent, also where they take it
    this.sinks.insights.manners = ({ body }) => ({ status: 500, body });
    const partly = ({ text }) => ({ status: 200, body: JSON.stringify({ partialSuccess: { rejectedSpans: '1', errorMessage: `not with ${/x-api-key: \S+/.exec(text)}` } }) });
    this.sinks.collector.manners = partly;
    await this.device('told');
    await until('both were told', () => [this.sinks.insights, this.sinks.collector].every((one) => one.bodies.some(({ status, body }) => body && (status === 500 || one.manners === partly))), 30);
    await until('they complained', () => /telemetry\.away sink=\S*insights/i.test(this.log()) && /spans\.partly_refused/.test(this.log()), 30);
  },
  async 12() {  // killed, sealed anew with another key, and started again
    await this.daemon.stop('SIGKILL');
    await this.keepStore('after kill -9');
    const next = this.plant('the key that seals afterwards', randomBytes(32).toString('base64'), () => this.resealed);
    const ended = await this.s.run(['-vv', 'store', 'rekey', '--new-key', 'env:NEXT_KEY'], { ...this.variables, NEXT_KEY: next });
    this.canaries.keep('twinstep store rekey', ended.all);
    this.resealed = /^1 sealed anew/.test(ended.stdout);
    assert.ok(this.resealed, ended.all);
    Object.assign(this.variables, { TWINSTEP_STORE_KEY: next, SEALED_BEFORE: this.sealing });
    this.good = `${this.good}store_old_keys: "env:SEALED_BEFORE"\n`;
    this.s.write('day.yaml', this.good);
    await this.start();
    assert.equal((await this.ask('/api/v1/links', 'read', { key: this.old })).status, 200, 'the key before works on');
    await until('the run that nobody answered has ended', async () => JSON.parse((await this.ask(`/api/v1/runs/${this.left}`)).text).state !== 'blocked', 40);

    // Credentials that are refused: an alarm. Now, when the clock of daemon and store is one: the API tells by its own who rests.
    await this.s.fault({ server: 'thingpark', path: '/oauth', times: -1, status: 401, body: JSON.stringify({ error: 'invalid_client', client_secret: this.variables.actility_api_client_secret }) });
    await this.s.fault({ server: 'thingpark', path: '/devices', times: -1, status: 401, body: '{}' });
    await this.device('waits');
    await until('the alarm', () => /error.*lane\.rests/.test(this.log()), 30);
    await this.s.noFaults();
    const resume = () => this.ask(`/api/v1/lanes/${encodeURIComponent('external/tp')}/resume`, 'operate', { method: 'POST' });
    await until('its lane is resumed', async () => (await resume()).status === 200);  // that it rests is written down a moment later
    await this.untilOutside('waits');
  },
  async 14() {  // the receivers are themselves again
    this.sinks.insights.manners = this.sinks.collector.manners = () => undefined;
    await this.s.removeDevice('hour-1');
    await until('it is gone', async () => !(await this.s.outside()).includes('hour-1'), 30);
  },
  async 16() {  // the network server takes the token no more: it is renewed
    await this.s.fault({ server: 'thingpark', method: 'POST', path: '/devices', times: 1, status: 401, body: '{}' });
    await this.device('renews');
    await this.untilOutside('renews');
  },
};

/// Everything that can be asked for, and the commands and what they write.
async function lookAtEverything(day) {
  const description = JSON.parse((await day.ask('/openapi.json')).text);
  const [runs, tasks] = [await day.items('runs'), await day.items('tasks')];
  assert.ok(tasks.length >= 30, `${tasks.length} tasks`);
  for (const place of [0, 1, 2]) assert.ok((await day.items('tasks', place)).length >= 30, 'wherever the key is shown');
  const parts = { run: runs.slice(0, 12).map((one) => one.id), task: tasks.slice(0, 60).map((one) => one.id), link: ['default', 'events', 'list'],
    device: ['refused', 'tagless', 'bad', 'single', 'list-1'], id: [...runs.slice(0, 12), ...tasks.slice(0, 60)].map((one) => one.id), hub: ['default'], lane: ['x'], key: ['admin'] };
  for (const [path, methods] of Object.entries(description.paths)) {
    if (!methods.get || path === '/api/IoTHubSynchronizer_HttpListener') continue;  // that one starts a run
    const name = /\{(\w+)\}(?!.*\{)/.exec(path)?.[1];
    for (const value of name ? parts[name] ?? [] : [''])
      await day.ask(path.replace('{hub}', 'default').replace(/\{\w+\}/, value), methods.get['x-twinstep-scope'] ?? 'read');
  }
  for (const path of ['/metrics', '/healthz', '/readyz']) await day.ask(path);
  await day.ask('/loglevel', 'admin');
  const { s, variables } = day;
  const read = { TWINSTEP_URL: day.daemon.address, TWINSTEP_KEY: day.keys.read };
  const wrong = { ...read, TWINSTEP_KEY: `tsk_0123456789ab_${day.plant('a wrong key of a command', `${canary()}Abcdefghi-_`, () => true)}` };
  for (const [codes, args, more] of [
    [[0, 3], ['plan', 'default', '-o', s.path('plan.json'), '--all']], [[0, 3], ['plan', 'list', '--format', 'csv']], [[0, 3], ['plan', 'list', '--format', 'json']],
    [[0, 1], ['check', 'default']], [[0], ['config', 'show']], [[0], ['--output', 'json', 'config', 'show']], [[0], ['config', 'check']], [[0], ['provider', 'try', 'tp']],
    [[0], ['provider', 'try', 'list']], [[0], ['key', 'list']], [[0], ['runs'], read], [[0], ['tasks'], read], [[0], ['explain', 'refused'], read], [[0], ['runs', runs[0].id], read],
    [[1], ['runs'], wrong], [[0], ['--help']], [[0], ['--version']]]) {
    const finished = await s.run(['-vv', '--config', day.config, ...args], { ...variables, ...more });
    assert.ok(codes.includes(finished.code), `twinstep ${args.join(' ')}: ${finished.code}\n${finished.all}`);
    day.canaries.keep(`twinstep ${args.join(' ')}`, finished.all);
  }
}

async function oneDay(s, t, canaries, clock, store, kind) {
  const day = new Day(s, t, canaries, clock, store);
  await day.prepare();
  await day.start();
  await day.makeKeys();
  await day.subscribe();
  for (let hour = 1; hour <= 24; ++hour)
    await day.next(work[hour]).catch((error) => {
      t.diagnostic(`in hour ${hour}, the daemon last said:\n${day.log().split('\n').filter((line) => !/ debug |notice\.|telemetry\./.test(line)).slice(-25).join('\n')}`);
      throw error;
    });
  assert.equal((await day.ask('/api/v1/links', 'read', { key: day.old })).status, 200, 'the old key is used on the next day too');
  await lookAtEverything(day);
  for (const [where, path] of [['collector', '/v1/traces'], ['insights', '/v2/track'], ['good', '/events/'], ['angry', '/events/']])
    await until(`${where} was told`, () => day.sinks[where].bodies.some(({ url }) => url.startsWith(path)), 30);
  assert.equal((await day.daemon.stop()).code, 0);
  assert.deepEqual(await s.containers(), [], 'no blob outlives its run');

  // What others made of our secrets meanwhile.
  for (const { id, authentication } of await s.devices('hub', '?keys=true'))
    if (authentication?.symmetricKey?.primaryKey)  // whoever lists the hub could tell them, nobody needs them
      canaries.plant(`the primary key of ${id}`, authentication.symmetricKey.primaryKey, () => true);
  const made = { 'a signature of hub or storage': /[?&; ]sig=([^&"\s]{20,})/g, 'a token of the network server': /"access_token"\s*:\s*"([^"]+)"/g,
    'a signature of a call to the storage': /SharedKey \w+:([A-Za-z0-9+/=]+)/g };
  for (const [name, pattern] of Object.entries(made)) assert.ok(canaries.harvest(name, pattern) >= 2, name);
  canaries.keep('the log', day.log());
  await day.keepStore('at the end');
  for (const [name, { bodies }] of Object.entries(day.sinks))
    for (const { url, body } of bodies)
      if (name !== 'issuer') canaries.keep(`what was sent to ${name} at ${/^\/\w*/.exec(url)}`, body, name === 'insights' ? /instrumentation key/ : url.startsWith('/pagerduty/') ? /routing key/ : undefined);
  const blobs = day.blob.puts.filter(({ headers, url }) => headers.authorization && !url.includes('restype=container'));
  assert.ok(blobs.some(({ body }) => body.includes('list-1')), 'blobs with devices were written');
  for (const { url, body } of blobs) canaries.keep(`the blob ${url.replace(/\?.*/, '')}`, body);
  for (const { text } of day.mails) canaries.keep('a mail', Buffer.from(text.split('\r\n\r\n')[1] ?? '', 'base64').toString() + text);
  for (const name of [/plan\.json$/, /events\.ndjson$/, /\.gz$/, /dump of the store/, ...kind === 'SQLite' ? [/state\.db$/] : []])
    assert.ok(canaries.outputs.some(({ what }) => name.test(what)), `${name} is among what is searched`);
}

/// Commands that fail with a secret in their hands: that they complain of it proves that they read what nobody is sent.
async function failures(s, t, canaries) {
  const told = (what, secret = canary()) => canaries.plant(what, secret);  // must be seen by a peer
  const held = (what, secret = canary()) => canaries.plant(what, secret, () => true);  // its row has a complaint
  const key = () => Buffer.from(canary()).toString('base64');
  const closed = await freePort();
  const server = await startListener(t, canaries, { manners: echo(401) });
  const proxy = await startListener(t, canaries, { manners: ({ text }) => ({ status: 407, body: text }) });
  const tokens = await startListener(t, canaries);
  tokens.manners = () => ({ status: 200, body: JSON.stringify({ token_type: 'Bearer', expires_in: 3600, access_token: told('a token of Entra ID') }) });
  const hub = s.variables.iothub;
  const blob = (rest) => `DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;${rest}`;
  const entra = (more) => `hubs: {default: {host: "${s.host}", entra: {tenant: contoso, client_id: me, ${more}}}}\nexternals: {tp: {provider: actility}}\n` +
    'links: [{name: default, hub: default, external: tp, deletes: never}]\n';
  const provider = (auth, secret) => {
    s.write('acme.yaml', `definition: 1\nname: acme\nsettings: {base: {}, key: {secret: true}}\nendpoints: {main: "{settings.base}"}\nauth: ${auth}\n` +
      'identity: {deviceId: {from: /id}}\nlist: {request: {path: /devices}, items: "", paging: {kind: none}, end: [{emptyPage: true}]}\n');
    return `externals: {acme: {provider: "${s.path('acme.yaml')}", settings: {base: "${server.url}", key: ${JSON.stringify(secret)}}}}\n`;
  };
  const check = ['check'];
  const config = ['config', 'check'];
  const tried = ['provider', 'try', 'acme'];
  const awkward = () => `${canary()}+/"&%`;
  const noHub = { iothub: undefined, iothub_examplehub: undefined };
  const rows = [
    ...Object.entries(brokenConfigs(canaries)).map(([what, text]) => ({ what, text, args: config, complaint: /failing\.yaml:1:\d+: / })),
    { what: 'a broken connection string', complaint: /connection string has no/, variables: { iothub: `HostName=x;SharedAccessKey=${held('a key in a broken connection string')};oops` }, args: config },
    { what: 'a hub\'s signature', complaint: /connection string has no/, variables: { iothub: `HostName=x;SharedAccessSignature=SharedAccessSignature sr=x&sig=${held('a hub\'s signature')}&se=1` }, args: config },
    { what: 'a store that is none', complaint: /store must be/, variables: { TWINSTEP_STORE: `mysql://me:${held('a password of no store')}@db/x` }, args: config },
    { what: 'a store key that is none', complaint: /must be 32 bytes/, variables: { TWINSTEP_STORE_KEY: held('a store key that is none') }, args: config },
    { what: 'no ingestion', complaint: /connection string is not usable/, variables: { APPLICATIONINSIGHTS_CONNECTION_STRING: `InstrumentationKey=${held('no instrumentation key')}` }, args: config },
    { what: 'headers that are none', complaint: /member 1 is not name=value/, variables: { OTEL_EXPORTER_OTLP_ENDPOINT: server.url, OTEL_EXPORTER_OTLP_HEADERS: held('a header without a name') }, args: ['serve', '--listen', '127.0.0.1:0', '--operations', '127.0.0.1:0'] },
    { what: 'a wrong hub key', complaint: /401 IotHubUnauthorizedAccess/, variables: { iothub: hub.replace(s.key, held('a wrong hub key', key())) }, args: check },
    { what: 'a wrong storage key', complaint: /403 AuthenticationFailed/, variables: { AzureWebJobsStorage: s.variables.AzureWebJobsStorage.replace(/AccountKey=[^;]+/, `AccountKey=${held('a wrong storage key', key())}`) }, args: check },
    { what: 'a storage\'s signature', variables: { AzureWebJobsStorage: blob(`BlobEndpoint=${server.url}/devstoreaccount1;SharedAccessSignature=sv=2021-12-02&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00:00:00Z&sig=${told('a storage\'s signature')}`) }, args: check },
    { what: 'a broken storage', complaint: /storage connection string: part 4/, variables: { AzureWebJobsStorage: blob(`AccountKey=${held('a key of a broken storage')};nonsense`) }, args: check },
    { what: 'a wrong client secret', variables: { actility_api_token_uri: `${server.url}/token`, actility_api_client_secret: told('a wrong client secret', awkward()) }, args: check },
    { what: 'a password in an address', complaint: /http\.no-connection/, variables: { actility_api_devices_uri: `http://me:${held('a password in an address')}@127.0.0.1:${closed}/devices?key=${held('a key in an address')}` }, args: check },
    { what: 'Entra\'s client secret', text: entra('client_secret: "env:HUB_SECRET"'), variables: { ...noHub, HUB_SECRET: told('a client secret of Entra ID', awkward()), AZURE_AUTHORITY_HOST: server.url }, args: check },
    { what: 'a token that the hub refuses', text: entra('client_secret: "x-x-x-x"'), variables: { ...noHub, AZURE_AUTHORITY_HOST: tokens.url }, args: check },
    { what: 'a federated token', text: entra('kind: workload-identity'), variables: { ...noHub, AZURE_AUTHORITY_HOST: server.url, AZURE_FEDERATED_TOKEN_FILE: s.write('federated.key', told('a federated token')) }, args: check },
    { what: 'a managed identity', text: entra('kind: managed-identity'), variables: { ...noHub, IDENTITY_ENDPOINT: `${server.url}/identity`, IDENTITY_HEADER: told('the identity endpoint\'s header') }, args: check },
    { what: 'a storage\'s client secret', variables: { AzureWebJobsStorage: undefined, AzureWebJobsStorage__accountName: 'acct', AzureWebJobsStorage__tenantId: 'contoso', AzureWebJobsStorage__clientId: 'me',
      AzureWebJobsStorage__clientSecret: told('a storage\'s client secret', awkward()), AZURE_AUTHORITY_HOST: server.url }, args: check },
    { what: 'a proxy that refuses', variables: { https_proxy: `http://me:${told('a proxy\'s password')}@127.0.0.1:${proxy.port}`, http_proxy: `http://me:${told('another proxy\'s password')}@127.0.0.1:${proxy.port}` }, args: check },
    { what: 'a proxy that is away', complaint: /the proxy 127\.0\.0\.1:\d+ \(https_proxy\) cannot be reached/, variables: { https_proxy: `http://me:${held('the password of a proxy that is away')}@127.0.0.1:${closed}` }, args: check },
    { what: 'a database that is away', complaint: /Connection refused/, args: ['--store', `postgresql://me:${held('the password of a database that is away')}@127.0.0.1:${closed}/x`, 'key', 'list'] },
    { what: 'a database\'s address that is not encoded', complaint: /dbname has an '@'/, args: ['--store', `postgresql://me:a@${held('a password that is not encoded')}/x@127.0.0.1:${closed}/x`, 'key', 'list'] },
    { what: 'a command\'s key', args: ['runs', '--url', server.url], variables: { TWINSTEP_KEY: told('a command\'s key') } },
    { what: 'a key where its place is asked for', complaint: /env:NAME or file:/, args: ['runs', '--url', server.url, '--key', held('a key on the command line', `tsk_0123456789ab_${canary()}Abcdefghijk`)] },
    ...[['header', '{kind: header, name: X-Key, value: "{settings.key}"}'], ['query', '{kind: query, name: key, value: "{settings.key}"}'],
      ['basic', '{kind: basic, user: me, password: "{settings.key}"}'],
      ['form', '{kind: oauth2-client-credentials, tokenUrl: "{settings.base}/token", form: [[client_id, me], [client_secret, "{settings.key}"]], token: /access_token}'],
      ['client by basic', '{kind: oauth2-client-credentials, tokenUrl: "{settings.base}/token", form: [[grant_type, client_credentials]], clientAuth: basic, user: me, password: "{settings.key}", token: /access_token}'],
      ['login', '{kind: login, request: {method: POST, path: /login, json: {user: me, password: "{settings.key}"}}, token: /token}']]
      .map(([kind, auth]) => ({ what: `a provider's ${kind}`, define: () => provider(auth, told(`a provider's ${kind}`, kind === 'header' ? canary() : awkward())), args: tried })),
  ];
  for (const { what, text, define, variables, args, complaint } of rows) {
    const told = define?.() ?? text;
    const ended = await s.run(['-vv', ...(told ? ['--config', s.write('failing.yaml', told)] : []), ...args], variables);
    assert.ok(ended.code > 0 && ended.code <= 64, `${what}: ${ended.code} ${ended.signal}\n${ended.all}`);
    if (complaint) assert.match(ended.all, complaint, what);
    canaries.keep(what, ended.all);
  }
  canaries.keepFiles(s.folder, /(\.key|ca\.pem|sim\.env|failing\.yaml)$/);  // where they came from
}

/// A daemon that speaks TLS reads its key and tells nobody.
async function secureDaemon(s, t, canaries) {
  const made = await makeCertificate(s.folder, 'tls');
  const told = await freePort();
  s.write('tls.yaml', `serve: {tls_certificate: "${made.certificate}", tls_key: "${made.key}"}\n`);
  const daemon = await s.serve(told, {}, ['-vv', '--config', s.path('tls.yaml')]);
  t.after(daemon.stop);
  const served = await run('curl', ['-sS', '--cacert', made.certificate, `https://127.0.0.1:${told}/healthz`]);
  assert.match(served.stdout, /ok/, served.stderr);
  canaries.plant('the certificate\'s key', readFileSync(made.key, 'utf8').split('\n')[1], () => served.code === 0);
  await daemon.stop();
  canaries.keep('the log of a daemon with TLS', daemon.output());
}

/// The search is worth something: each secret was used, and would have been found.
function searched(canaries) {
  assert.deepEqual(canaries.unused(), [], 'all that was planted was used');
  const search = canaries.search();
  const copy = `${canaries.outputs.find(({ what }) => what.includes('the log')).text}`;
  for (const [name, { secret }] of canaries.planted)
    for (const text of [secret, encodeURIComponent(secret), Buffer.from(`user:${secret}`).toString('base64'), Buffer.from(secret).toString('hex')])
      assert.ok(search.in(`${copy.slice(-1000)} token="${text}" and more`).has(name), `${name} would be found as ${text.slice(0, 8)}...`);
  assert.deepEqual([...new Set(canaries.leaks())], []);
}

describe('secrets', { concurrency: 2 }, () => {
  for (const kind of ['SQLite', 'PostgreSQL'])
    scene(`planted in every place occur after a day in nothing that leaves or stays, with ${kind}`, registry, async (s, t) => {
      const canaries = new Canaries();
      const folder = mkdtempSync(join(tmpdir(), 'twinstep-clock-'));
      t.after(() => rmSync(folder, { recursive: true, force: true }));
      chmodSync(folder, 0o755);  // PostgreSQL has a user of its own
      const clock = startClock(join(folder, 'clock'));
      let store = { variables: {}, texts: async () => ({ 'a dump of the store': execFileSync('sqlite3', ['-readonly', s.path('state.db'), '.dump'], { maxBuffer: 1 << 28 }) }) };
      if (kind === 'PostgreSQL') {
        const password = canaries.plant('the database\'s password', `${canary()}@:/%?#`, () => /connection authorized: user=twinstep/.test(postgres.output()));
        const postgres = await startLoggingPostgres(t, password, clock.variables);
        const refused = await s.run(['-vv', 'key', 'list'], { TWINSTEP_STORE: postgres.at(canaries.plant('a wrong password of the database', `${canary()}@:/%?#`, () => refused.code === 1)) });
        assert.match(refused.all, /refuses the login/);
        canaries.keep('twinstep key list with a wrong password of the database', refused.all);
        store = { variables: { TWINSTEP_STORE: postgres.uri }, texts: async () => ({ 'a dump of the store': await postgres.dump(), [serversLog]: postgres.output() }) };
      }
      await oneDay(s, t, canaries, clock, store, kind);
      searched(canaries);
    });

  scene('in the hands of commands that fail occur in nothing that they say', ['--devices', '5', '--no-throttle'], async (s, t) => {
    const canaries = new Canaries();
    await failures(s, t, canaries);
    await secureDaemon(s, t, canaries);
    searched(canaries);
  });
});
