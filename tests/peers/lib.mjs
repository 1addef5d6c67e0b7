// What the peer tests share: our built programs, the simulator and Azurite as child processes, temporary folders.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createRequire } from 'node:module';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

/// Loads a pinned package, or fails with what to do. Never a silent skip.
export function peer(name) {
  try {
    return createRequire(import.meta.url)(name);
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error;
    throw new Error(`the package ${name} is not installed in tests/peers; run scripts/setup --for test`);
  }
}

/// Path of one of our programs.
export function program(name) {
  const folder = process.env.TWINSTEP_BIN ?? join(here, '../../build/release');
  const path = join(folder, name);
  if (!existsSync(path)) throw new Error(`${path} is not built; run scripts/build release, or set TWINSTEP_BIN`);
  return path;
}

export function temporaryFolder() {
  const path = mkdtempSync(join(tmpdir(), 'twinstep-peers-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/// A port nobody listens on now.
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/// Starts a program and resolves with the first line of stdout that `ready` accepts. stop() ends it and waits.
export async function start(command, args, ready, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  let errors = '';
  child.stderr.on('data', (data) => { errors = (errors + data).slice(-4000); });
  const exited = new Promise((resolve) => { child.once('exit', resolve); child.once('error', resolve); });
  const lines = createInterface({ input: child.stdout });
  const line = await new Promise((resolve, reject) => {
    lines.on('line', (text) => { if (ready(text)) resolve(text); });
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${command} ended with ${code} before it was ready: ${errors}`)));
  });
  return {
    line,
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      return exited;
    },
  };
}

/// The simulator, with the variables it wrote for its users.
export async function startSim(folder, args = []) {
  const ca = join(folder, 'ca.pem');
  const env = join(folder, 'sim.env');
  const sim = await start(program('twinstep-sim'), ['--write-ca', ca, '--write-env', env, ...args],
    (line) => line.startsWith('{'));
  const variables = {};
  for (const line of readFileSync(env, 'utf8').split('\n')) {
    const match = /^(?:export )?([A-Za-z_]\w*)=(.*)$/.exec(line);
    if (match) variables[match[1]] = match[2].replace(/^'(.*)'$|^"(.*)"$/, '$1$2');
  }
  return { ...sim, ready: JSON.parse(sim.line), ca: readFileSync(ca, 'utf8'), variables };
}

/// PostgreSQL in a folder of its own, as a user of its own where we are root, which it refuses.
export async function startPostgres() {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root).sort((a, b) => Number(b) - Number(a)) : [];
  const bin = versions.map((version) => join(root, version, 'bin')).find((path) => existsSync(join(path, 'postgres')));
  if (!bin) throw new Error('PostgreSQL is not installed; run scripts/setup --for test');
  const folder = mkdtempSync(join(tmpdir(), 'twinstep-postgres-'));
  const asUser = process.getuid() === 0 ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', '--pdeathsig=KILL'] : ['setpriv', '--pdeathsig=KILL'];
  if (process.getuid() === 0) execFileSync('chown', ['postgres:postgres', folder]);
  const user = process.getuid() === 0 ? 'postgres' : process.env.USER ?? 'postgres';
  execFileSync(asUser[0], [...asUser.slice(1), join(bin, 'initdb'), '-D', join(folder, 'data'), '-A', 'trust', '-U', user, '-E', 'UTF8', '--locale=C'], { cwd: folder });
  const port = await freePort();
  let server;
  const up = async () => {
    server = spawn(asUser[0], [...asUser.slice(1), join(bin, 'postgres'), '-D', join(folder, 'data'), '-k', folder, '-p', String(port),
      '-c', 'listen_addresses=127.0.0.1'], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
    server.ended = new Promise((resolve) => server.once('exit', resolve));
    let log = '';
    await new Promise((resolve, reject) => {
      server.stderr.on('data', (data) => { log += data; if (log.includes('ready to accept connections')) resolve(); });
      server.once('exit', (code) => reject(new Error(`postgres ended with ${code}: ${log}`)));
    });
  };
  /// SIGINT is a fast shutdown, SIGQUIT an immediate one, as a crash.
  const down = async (signal = 'SIGINT') => { server.kill(signal); await server.ended; };
  await up();
  return {
    uri: `postgresql://${user}@127.0.0.1:${port}/postgres`, port, up, down,
    stop: async () => { await down('SIGQUIT'); rmSync(folder, { recursive: true, force: true }); },
  };
}

/// A TCP connection between two that can be cut: what arrives meanwhile is kept back, as on a broken network.
export async function startWire(to) {
  const pairs = new Set();
  let cut = false;
  const server = createServer((near) => {
    const far = createConnection(to, '127.0.0.1');
    const pair = [near, far];
    pairs.add(pair);
    for (const [from, into] of [[near, far], [far, near]]) {
      from.on('data', (data) => into.write(data));
      from.on('error', () => {});
      from.on('close', () => { pairs.delete(pair); into.destroy(); });
    }
    if (cut) pair.forEach((end) => end.pause());
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    port: server.address().port,
    cut: () => { cut = true; pairs.forEach((pair) => pair.forEach((end) => end.pause())); },
    mend: () => { cut = false; pairs.forEach((pair) => pair.forEach((end) => end.destroy())); },
    stop: () => { pairs.forEach((pair) => pair.forEach((end) => end.destroy())); return new Promise((resolve) => { server.close(resolve); }); },
  };
}

/// Runs a program to its end.
export function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    const out = [];
    const err = [];
    child.stdout.on('data', (data) => out.push(data));
    child.stderr.on('data', (data) => err.push(data));
    child.once('error', reject);
    child.once('close', (code, signal) =>
      resolve({ code, signal, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }));
  });
}

const azuriteAccount = 'devstoreaccount1';
/// The development storage account's key that every Azurite knows; public by design.
const azuriteKey = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';

/// What stands for Azurite at its usual port.
export const developmentStorage = 'UseDevelopmentStorage=true';

function azuriteConnection(port, protocol = 'http') {
  return `DefaultEndpointsProtocol=${protocol};AccountName=${azuriteAccount};AccountKey=${azuriteKey};` +
    `BlobEndpoint=${protocol}://127.0.0.1:${port}/${azuriteAccount};`;
}

/// What Azurite takes for a token of Entra ID: it looks at the claims, not at the signature.
export function tokenForStorage(lifetime, aud = 'https://storage.azure.com') {
  const now = Math.floor(Date.now() / 1000);
  const part = (claims) => Buffer.from(JSON.stringify(claims)).toString('base64url');
  const claims = { aud, iss: 'https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/', iat: now - 600, nbf: now - 600, exp: now + lifetime };
  return `${part({ alg: 'RS256', typ: 'JWT' })}.${part(claims)}.${part('signed')}`;
}

/// Files of a certificate for this machine and of its key, made now.
export async function makeCertificate(folder, name) {
  const [certificate, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
  const made = await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
    '-days', '2', '-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', certificate]);
  assert.equal(made.code, 0, made.stderr);
  return { certificate, key };
}

/// Gives tokens as the metadata service of a virtual machine does (variables.AZURE_POD_IDENTITY_AUTHORITY_HOST), and as
/// Entra ID does for a client secret (AZURE_AUTHORITY_HOST). `tokens` are by audience; `asked` keeps the audiences asked for.
export async function startIdentity(tokens) {
  const asked = [];
  const server = createHttpServer((request, response) => {
    let body = '';
    request.on('data', (data) => { body += data; });
    request.on('end', () => {
      const url = new URL(request.url, 'http://here');
      const form = new URLSearchParams(body);
      const answer = (status, value) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
      const byForm = url.pathname.endsWith('/oauth2/v2.0/token');
      if (!byForm && request.headers.metadata !== 'true') return answer(400, { error: 'bad_request_102' });
      if (byForm && form.get('client_secret') !== 'hush-hush') return answer(401, { error: 'invalid_client', error_codes: [7000215] });
      const audience = byForm ? form.get('scope').replace(/\/\.default$/, '') : url.searchParams.get('resource');
      asked.push(audience);
      if (!tokens[audience]) return answer(400, { error: 'invalid_resource' });
      return answer(200, { token_type: 'Bearer', expires_in: '3599', access_token: tokens[audience] });
    });
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return { asked, url: `http://127.0.0.1:${server.address().port}`, stop: () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); }) };
}

/// Azurite's blob service in memory. `tls` has the files of a certificate and its key; Azurite takes Bearer tokens then.
/// `account` has name and key of an account instead of the one that everybody knows.
export async function startAzurite({ port = 0, tls, account } = {}) {
  peer('azurite/package.json');
  const azurite = await start(process.execPath,
    [join(here, 'node_modules/azurite/dist/src/blob/main.js'), '--inMemoryPersistence', '--disableTelemetry',
      '--skipApiVersionCheck', '--silent', '--blobHost', '127.0.0.1', '--blobPort', String(port),
      ...(tls ? ['--cert', tls.certificate, '--key', tls.key, '--oauth', 'basic'] : [])],
    (line) => line.includes('successfully listens'),
    account ? { env: { ...process.env, AZURITE_ACCOUNTS: `${account.name}:${account.key}` } } : {});
  const listens = /:(\d+)\b/.exec(azurite.line.slice(azurite.line.indexOf('//')))[1];
  const protocol = tls ? 'https' : 'http';
  const { name, key } = account ?? { name: azuriteAccount, key: azuriteKey };
  const endpoint = `${protocol}://127.0.0.1:${listens}/${name}`;
  return { ...azurite, endpoint,
    connectionString: `DefaultEndpointsProtocol=${protocol};AccountName=${name};AccountKey=${key};BlobEndpoint=${endpoint};` };
}

/// An account SAS for an hour: everything that blobs and containers know, unless it is said.
export function azuriteSignature(rights = 'rwdlac') {
  const [services, types, version] = ['b', 'sco', '2021-12-02'];
  const expiry = `${new Date(Date.now() + 3600e3).toISOString().slice(0, 19)}Z`;
  const text = [azuriteAccount, rights, services, types, '', expiry, '', '', version, '', ''].join('\n');
  const signature = createHmac('sha256', Buffer.from(azuriteKey, 'base64')).update(text).digest('base64');
  return new URLSearchParams({ sv: version, ss: services, srt: types, sp: rights, se: expiry, sig: signature }).toString();
}

const secrets = (variables) => [
  ...Object.values(variables).flatMap((value) => /[?&=]sig=([^&;]+)/.exec(value)?.[1] ?? []),
  ...Object.values(variables).flatMap((value) => /Key=([^;]+)/.exec(value.replace(/KeyName=[^;]*/, ''))?.[1] ?? []),
  variables.actility_api_client_secret,
];

/// The containers of a storage account, asked for with its key.
export async function containersOf(connection, ca) {
  if (connection === developmentStorage) connection = azuriteConnection(10000);
  const [, account, key, endpoint] = /AccountName=([^;]+);AccountKey=([^;]+);BlobEndpoint=([^;]+);/.exec(connection);
  const url = new URL(`${endpoint.replace(/\/$/, '')}/?comp=list`);
  const date = new Date().toUTCString();
  const version = '2021-12-02';
  const text = `GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:${date}\nx-ms-version:${version}\n/${account}${url.pathname}\ncomp:list`;
  const signature = createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64');
  const headers = { 'x-ms-date': date, 'x-ms-version': version, authorization: `SharedKey ${account}:${signature}` };
  const xml = await new Promise((resolve, reject) => {
    const ask = url.protocol === 'https:' ? httpsRequest : httpRequest;
    ask(url, { headers, ca, agent: false }, (answer) => {
      let body = '';
      answer.on('data', (data) => { body += data; });
      answer.on('end', () => (answer.statusCode === 200 ? resolve(body) : reject(new Error(`${url}: ${answer.statusCode} ${body}`))));
    }).once('error', reject).end();
  });
  return [...xml.matchAll(/<Container><Name>([^<]+)/g)].map((match) => match[1]);
}

/// The sample's settings, for a daemon that should not take its time.
const quickRetries = { twinCheckIntervalInSeconds: '1', twinCheckMaxIntervalInSeconds: '1', twinCheckMaxRetryCount: '1000',
  externalSystemCallRetryIntervalInSeconds: '1', externalSystemCallMaxIntervalInSeconds: '1', externalSystemCallMaxRetryCount: '1000' };

/// One simulator, one folder, one state file; `body` gets what it needs to use them. Arguments of the simulator that
/// need the folder, or something to be started first, come from a function.
export function scene(name, simArguments, body) {
  test(name, async (t) => {
    const folder = temporaryFolder();
    t.after(folder.remove);
    const sim = await startSim(folder.path, typeof simArguments === 'function' ? await simArguments(folder.path, t) : simArguments);
    t.after(sim.stop);
    await body(new Scene(folder.path, sim), t);
  });
}

export class Scene {
  constructor(folder, sim) {
    this.folder = folder;
    this.sim = sim;
    this.stores = 0;
    this.variables = { ...sim.variables, retryIntervalForIoTHubExportJobInSeconds: '1', TWINSTEP_UNITS: '50', actility_api_requests_per_second: '1000',
      retryIntervalForIoTHubImportJobInSeconds: '1', TWINSTEP_STORE: `sqlite:${join(folder, 'state.db')}` };
    this.key = /SharedAccessKey=([^;]+)/.exec(sim.variables.iothub)[1];
    this.host = sim.ready.hub.replace('https://', '');
  }
  path(name) { return join(this.folder, name); }
  write(name, text) { writeFileSync(this.path(name), text); return this.path(name); }
  newStore() { this.variables.TWINSTEP_STORE = `sqlite:${this.path(`state-${++this.stores}.db`)}`; }

  /// Starts twinstep; .ended resolves with code, all output and the time it took. Never prints a secret.
  begin(args, variables = {}) {
    const environment = { PATH: process.env.PATH, HOME: this.folder, TMPDIR: this.folder, ...this.variables, ...variables };
    for (const [name, value] of Object.entries(environment)) if (value === undefined) delete environment[name];
    const child = spawn(program('twinstep'), args, { cwd: this.folder, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data) => { stdout += data; });
    child.stderr.on('data', (data) => { stderr += data; });
    const ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => {
        for (const secret of secrets(environment))
          if (secret && (stdout + stderr).includes(secret)) reject(new Error(`twinstep ${args.join(' ')} printed a secret`));
        resolve({ code, signal, stdout, stderr, all: stdout + stderr });
      });
    });
    return { child, ended, output: () => stdout + stderr };
  }
  run(args, variables) { return this.begin(args, variables).ended; }
  /// Starts the daemon and waits for its first line: on `port`, so that a subscription outlives a restart.
  async serve(port = 0, variables = {}, args = []) {
    const daemon = this.begin(['serve', '--output', 'json', '--listen', `127.0.0.1:${port}`, '--operations', '127.0.0.1:0', ...args],
      { ...quickRetries, ...variables });
    const lines = createInterface({ input: daemon.child.stdout });
    const line = await new Promise((resolve) => {
      lines.once('line', resolve);
      daemon.ended.then((ended) => resolve(null), () => resolve(null));
    });
    if (line === null) return Object.assign(daemon, { address: null });  // it ended before it was there
    const where = JSON.parse(line);
    return Object.assign(daemon, {
      port: where.listen,
      address: `http://127.0.0.1:${where.listen}`,
      operations: `http://127.0.0.1:${where.operations}`,
      stop: async (signal) => {  // also called by the test runner, with its context
        if (daemon.child.exitCode === null && daemon.child.signalCode === null) daemon.child.kill(typeof signal === 'string' ? signal : 'SIGTERM');
        return daemon.ended;
      },
    });
  }
  /// Subscribes the daemon to the simulated hub's events and waits for the handshake.
  async subscribe(daemon, more = {}) {
    await this.control('/subscriptions', { method: 'POST', body: JSON.stringify({ name: 'twinstep',
      endpoint: `${daemon.address}/api/ExternalRegistrySynchronizer_EventGridListener`, ...more }) });
    await until('the handshake', async () => (await this.subscription()).state === 'Succeeded');
  }
  async subscription() { return (await this.control('/subscriptions/twinstep')).json(); }
  async runs(code, args, variables) {
    const ended = await this.run(args, variables);
    assert.equal(ended.code, code, `twinstep ${args.join(' ')} ended with ${ended.code}, not ${code}:\n${ended.all}`);
    return ended;
  }

  async control(path, options) {
    const answer = await fetch(this.sim.ready.control + path, options);
    assert.ok(answer.ok, `${path}: ${answer.status}`);
    return answer;
  }
  fault(fault) { return this.control('/faults', { method: 'POST', body: JSON.stringify(fault) }); }
  noFaults() { return this.control('/faults', { method: 'DELETE' }); }
  async calls() { return (await (await this.control('/stats')).json()).calls; }
  async devices(where = 'hub') {
    const text = await (await this.control(`/${where}/devices`)).text();
    return text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
  }
  async ids() { return (await this.devices()).map((device) => device.id).sort(); }
  /// Calls that may have changed the hub. An export job counts as a POST, so POSTs are looked at apart.
  async writes() {
    return Object.entries(await this.calls()).filter(([call]) => /^hub (PUT|PATCH|DELETE)/.test(call)).reduce((sum, [, n]) => sum + n, 0);
  }

  /// The hub's REST API as another client would use it.
  hub(method, path, body, headers = {}) {
    const expiry = Math.floor(Date.now() / 1000) + 600;
    const resource = encodeURIComponent(this.host);
    const signature = createHmac('sha256', Buffer.from(this.key, 'base64')).update(`${resource}\n${expiry}`).digest('base64');
    const authorization = `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature)}&se=${expiry}&skn=iothubowner`;
    return new Promise((resolve, reject) => {
      const question = httpsRequest(`${this.sim.ready.hub}${path}?api-version=2021-04-12`, { method, ca: this.sim.ca, agent: false,
        headers: { authorization, 'content-type': 'application/json', ...headers } }, (answer) => {
        let text = '';
        answer.on('data', (data) => { text += data; });
        answer.on('end', () => answer.statusCode < 300 ? resolve(text ? JSON.parse(text) : null)
          : reject(new Error(`${method} ${path}: ${answer.statusCode} ${text}`)));
      });
      question.once('error', reject);
      question.end(body && JSON.stringify(body));
    });
  }
  /// A device of the hub with the tags that ThingPark needs, in one call, as a person with another tool would make it.
  async addDevice(id, eui, tags = lorawan(eui)) {
    const result = await this.hub('POST', '/devices', [{ id, importMode: 'create', status: 'enabled', tags }]);
    assert.ok(result.isSuccessful, JSON.stringify(result));
  }
  tagDevice(id, tags) { return this.hub('PATCH', `/twins/${id}`, { tags }); }
  removeDevice(id) { return this.hub('DELETE', `/devices/${id}`, undefined, { 'if-match': '*' }); }
  async outside() { return (await this.devices('thingpark')).map((device) => device.name).sort(); }
  /// Names of the containers in the storage that twinstep uses.
  containers() { return containersOf(this.variables.AzureWebJobsStorage, this.storageCa); }

  /// A configuration whose master is the list `lines` (NDJSON).
  sheet(lines, link = '', more = '') {
    this.write('sheet.ndjson', lines.map((line) => typeof line === 'string' ? line : JSON.stringify(line)).join('\n') + '\n');
    return this.write('sheet.yaml', [
      'hubs: {mine: {connection_string: "env:iothub", units: 50}}',
      'storage: {connection_string: "env:AzureWebJobsStorage"}',
      `externals: {sheet: {provider: file, settings: {path: "${this.path('sheet.ndjson')}"}}}`,
      `links: [{name: default, hub: mine, external: sheet, deletes: delete${link}}]`,
      'export_polling: {interval: 1s, attempts: 60}', 'import_polling: {interval: 1s, attempts: 60}', more, ''].join('\n'));
  }
  thingpark(link) {
    return this.write('thingpark.yaml', [
      'hubs: {mine: {connection_string: "env:iothub", units: 50}}',
      'storage: {connection_string: "env:AzureWebJobsStorage"}',
      'externals: {tp: {provider: actility, settings: {tokenUri: "env:actility_api_token_uri", devicesUri: "env:actility_api_devices_uri",',
      '  clientId: "env:actility_api_client_id", clientSecret: "env:actility_api_client_secret", requestsPerSecond: "1000"}}}',
      `links: [{name: default, hub: mine, external: tp, ${link}}]`,
      'export_polling: {interval: 1s, attempts: 60}', 'import_polling: {interval: 1s, attempts: 60}', ''].join('\n'));
  }
}

export const lorawan = (eui) => ({ EUI: eui, activationType: 'OTAA', deviceProfileId: 'LORA/GenericA.1.0.2b_ETSI',
  applicationEUI: '70B3D57ED0000001', applicationKey: '000102030405060708090A0B0C0D0E0F' });

export async function until(what, done, seconds = 15) {
  const end = Date.now() + seconds * 1000;
  while (!(await done())) {
    if (Date.now() > end) throw new Error(`${what} did not happen within ${seconds} s`);
    await pause(15);
  }
}
export const isOrphan = (id) => id.startsWith('orphan-');
export const orphans = async (scene) => (await scene.ids()).filter(isOrphan).length;
