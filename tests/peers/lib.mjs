// What the peer tests share: our built programs, the simulator and Azurite as child processes, temporary folders.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
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
export async function freePort() {
  for (;;) {
    // Below those that the system gives to outgoing connections, of which other tests have thousands.
    const port = 10_240 + Math.floor(Math.random() * 20_000);
    const free = await new Promise((resolve) => {
      const server = createServer().once('error', () => resolve(false));
      server.listen(port, '0.0.0.0', () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
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

/// PostgreSQL in a folder of its own, as a user of its own where we are root, which it refuses. `settings` are further
/// arguments of the server, `environment` further variables.
export async function startPostgres(settings = [], environment = {}) {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root).sort((a, b) => Number(b) - Number(a)) : [];
  const bin = versions.map((version) => join(root, version, 'bin')).find((path) => existsSync(join(path, 'postgres')));
  if (!bin) throw new Error('PostgreSQL is not installed; run scripts/setup --for test');
  const folder = mkdtempSync(join(tmpdir(), 'twinstep-postgres-'));
  const asUser = process.getuid() === 0 ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups', '--pdeathsig=KILL'] : ['setpriv', '--pdeathsig=KILL'];
  if (process.getuid() === 0) execFileSync('chown', ['postgres:postgres', folder]);
  const user = process.getuid() === 0 ? 'postgres' : process.env.USER ?? 'postgres';
  // Not one after another with everything else of this process: others measure time meanwhile.
  const once = async (name, ...args) => {
    const { code, stdout, stderr } = await run(asUser[0], [...asUser.slice(1), join(bin, name), ...args], { cwd: folder });
    if (code !== 0) throw new Error(`${name} ended with ${code}: ${stdout}${stderr}`);
  };
  await once('initdb', '-D', join(folder, 'data'), '-A', 'trust', '-U', user, '-E', 'UTF8', '--locale=C', '--no-sync');
  const primary = await postgresIn(join(folder, 'data'), { bin, folder, asUser, user, settings, environment });
  let second;
  return {
    ...primary, user,
    /// Another server that follows this one, and can take its place.
    standby: async () => {
      const data = join(folder, 'standby');
      await once('pg_basebackup', '-d', primary.uri, '-D', data, '-R', '-X', 'stream', '-c', 'fast', '--no-sync');
      second = await postgresIn(data, { bin, folder, asUser, user, settings: ['-c', 'hot_standby=on'] });
      const uri = second.uri;
      const ask = (query) => execFileSync('psql', ['-X', '-At', '-q', '-d', uri, '-c', query]).toString().trim();
      await until('the standby follows', () =>
        execFileSync('psql', ['-X', '-At', '-d', primary.uri, '-c', "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"]).toString().trim() === '1', 30);
      return { ...second, ask, promote: () => once('pg_ctl', 'promote', '-w', '-D', data) };
    },
    stop: async () => {
      await second?.down('SIGQUIT');
      await primary.down('SIGQUIT');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function postgresIn(data, { bin, folder, asUser, user, settings, environment = {} }) {
  const port = await freePort();
  let server;
  let output = '';
  const up = async () => {
    server = spawn(asUser[0], [...asUser.slice(1), 'env', ...Object.entries(environment).map((one) => one.join('=')), join(bin, 'postgres'), '-D', data, '-k', folder, '-p', String(port),
      '-c', 'listen_addresses=127.0.0.1', ...settings], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
    server.ended = new Promise((resolve) => server.once('exit', resolve));
    const before = output.length;
    await new Promise((resolve, reject) => {
      let ready = false;
      server.stderr.on('data', (text) => {
        output += text;
        if (ready || !/ready to accept (read-only )?connections/.test(output.slice(before))) return;
        ready = true;
        resolve();
      });
      server.once('exit', (code) => reject(new Error(`postgres ended with ${code}: ${output.slice(before)}`)));
    });
  };
  /// SIGINT is a fast shutdown, SIGQUIT an immediate one, as a crash.
  const down = async (signal = 'SIGINT') => { server.kill(signal); await server.ended; };
  await up();
  return { uri: `postgresql://${user}@127.0.0.1:${port}/postgres`, port, up, down, output: () => output, stop: () => down('SIGQUIT') };
}

/// A TCP connection between two that can be cut: what arrives meanwhile is kept back, as on a broken network. It can
/// also be slow: every piece takes `delay` milliseconds in each direction.
export async function startWire(to) {
  const pairs = new Set();
  let cut = false;
  let delay = 0;
  const server = createServer((near) => {
    const far = createConnection(to, '127.0.0.1');
    const pair = [near, far];
    pairs.add(pair);
    for (const [from, into] of [[near, far], [far, near]]) {
      from.on('data', (data) => {
        if (delay === 0) into.write(data);
        else setTimeout(() => into.write(data), delay);  // timers of one length keep their order
      });
      from.on('error', () => {});
      from.on('close', () => { pairs.delete(pair); into.destroy(); });
    }
    if (cut) pair.forEach((end) => end.pause());
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return {
    port: server.address().port,
    cut: () => { cut = true; pairs.forEach((pair) => pair.forEach((end) => end.pause())); },
    slow: (milliseconds) => { delay = milliseconds; },
    mend: () => { cut = false; pairs.forEach((pair) => pair.forEach((end) => end.destroy())); },
    stop: () => { pairs.forEach((pair) => pair.forEach((end) => end.destroy())); return new Promise((resolve) => { server.close(resolve); }); },
  };
}

/// A clock on the wall for programs that are started with `variables`, which can be set while they run ('+1h', '-90s'):
/// only the clock of the people, as on a machine whose time is changed; waits go by the other one. Everybody may read `file`.
export function startClock(file) {
  const library = ['/usr/lib', ...['x86_64', 'aarch64'].map((machine) => `/usr/lib/${machine}-linux-gnu`)]
    .map((folder) => `${folder}/faketime/libfaketimeMT.so.1`).find(existsSync);
  if (!library) throw new Error('libfaketime is not installed; run scripts/setup --for test');
  // Never half written: it is read whenever somebody asks for the time.
  const set = (offset) => {
    writeFileSync(`${file}.next`, offset, { mode: 0o644 });
    renameSync(`${file}.next`, file);
  };
  set('+0');
  return { set,
    variables: { LD_PRELOAD: library, FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1', FAKETIME_DONT_RESET: '1' } };
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

/// The containers of a storage account, asked for with its key; its clock is `ahead` seconds ahead.
export async function containersOf(connection, ca, ahead = 0) {
  if (connection === developmentStorage) connection = azuriteConnection(10000);
  const [, account, key, endpoint] = /AccountName=([^;]+);AccountKey=([^;]+);BlobEndpoint=([^;]+);/.exec(connection);
  const url = new URL(`${endpoint.replace(/\/$/, '')}/?comp=list`);
  const date = new Date(Date.now() + ahead * 1000).toUTCString();
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
    this.ahead = 0;  // seconds that the simulator's clocks were put on
    this.variables = { ...sim.variables, retryIntervalForIoTHubExportJobInSeconds: '1', TWINSTEP_UNITS: '50', actility_api_requests_per_second: '1000',
      retryIntervalForIoTHubImportJobInSeconds: '1', TWINSTEP_STORE: `sqlite:${join(folder, 'state.db')}` };
    this.key = /SharedAccessKey=([^;]+)/.exec(sim.variables.iothub)[1];
    this.host = sim.ready.hub.replace('https://', '');
  }
  path(name) { return join(this.folder, name); }
  write(name, text) { writeFileSync(this.path(name), text); return this.path(name); }
  newStore() { this.variables.TWINSTEP_STORE = `sqlite:${this.path(`state-${++this.stores}.db`)}`; }

  /// Starts twinstep; .ended resolves with code, all output and the time it took. Never prints a secret.
  /// `through` is what twinstep is started by: setpriv, prlimit, a library before others.
  begin(args, variables = {}, through = []) {
    const environment = { PATH: process.env.PATH, HOME: this.folder, TMPDIR: this.folder, ...this.variables, ...variables };
    for (const [name, value] of Object.entries(environment)) if (value === undefined) delete environment[name];
    const [command, ...rest] = [...through, this.program ?? program('twinstep'), ...args];
    const child = spawn(command, rest, { cwd: this.folder, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
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
  async serve(port = 0, variables = {}, args = [], through = []) {
    const daemon = this.begin(['serve', '--output', 'json', '--listen', `127.0.0.1:${port}`, '--operations', '127.0.0.1:0', ...args],
      { ...quickRetries, ...variables }, through);
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
  async devices(where = 'hub', query = '') {
    const text = await (await this.control(`/${where}/devices${query}`)).text();
    return text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
  }
  async ids() { return (await this.devices()).map((device) => device.id).sort(); }
  /// Calls that may have changed the hub. An export job counts as a POST, so POSTs are looked at apart.
  async writes() {
    return Object.entries(await this.calls()).filter(([call]) => /^hub (PUT|PATCH|DELETE)/.test(call)).reduce((sum, [, n]) => sum + n, 0);
  }

  /// The hub's REST API as another client would use it.
  hub(method, path, body, headers = {}) {
    const expiry = Math.floor(Date.now() / 1000) + this.ahead + 600;
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
  containers() { return containersOf(this.variables.AzureWebJobsStorage, this.storageCa, this.ahead); }
  /// Puts the simulator's clocks on.
  async advance(seconds) {
    await this.control('/advance', { method: 'POST', body: JSON.stringify({ seconds }) });
    this.ahead += seconds;
  }

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

/// A delivery of one event as Event Grid posts it; `device` is also its id unless one is given.
export const delivery = (device, { id = device, type = 'DeviceDeleted', hub = 'default', tags } = {}) => JSON.stringify([{
  id, topic: `/S/IOTHUBS/${hub}`, subject: `devices/${device}`, eventType: `Microsoft.Devices.${type}`, eventTime: '2026-01-01T00:00:00Z',
  data: { hubName: hub, deviceId: device, ...(tags ? { twin: { deviceId: device, tags } } : {}) }, dataVersion: '1', metadataVersion: '1' }]);
export const hook = '/api/ExternalRegistrySynchronizer_EventGridListener';
export const postEvent = (daemon, ...event) => fetch(daemon.address + hook, { method: 'POST', body: delivery(...event), signal: AbortSignal.timeout(30_000) });
/// What /readyz says, with its status.
export async function readiness(daemon) {
  const answer = await fetch(`${daemon.operations}/readyz`);
  return { status: answer.status, ...await answer.json() };
}
/// Waits until it is not ready because of `part`, and gives the reason.
export async function untilUnready(daemon, part, seconds = 30) {
  let told;
  await until(`not ready: ${part}`, async () => {
    const { status, parts } = await readiness(daemon);
    told = parts.find((one) => one.part === part && !one.ready)?.reason;
    return status === 503 && told;
  }, seconds);
  return told;
}
export const untilReady = (daemon, seconds = 60) => until('it is ready', async () => (await readiness(daemon)).status === 200, seconds);

export async function until(what, done, seconds = 15) {
  const end = Date.now() + seconds * 1000;
  while (!(await done())) {
    if (Date.now() > end) throw new Error(`${what} did not happen within ${seconds} s`);
    await pause(15);
  }
}
export const isOrphan = (id) => id.startsWith('orphan-');
export const orphans = async (scene) => (await scene.ids()).filter(isOrphan).length;
