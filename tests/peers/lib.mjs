// What the peer tests share: our built programs, the simulator and Azurite as child processes, temporary folders.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
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

/// Azurite's blob service in memory.
export async function startAzurite() {
  peer('azurite/package.json');
  const port = await freePort();
  const azurite = await start(process.execPath,
    [join(here, 'node_modules/azurite/dist/src/blob/main.js'), '--inMemoryPersistence', '--disableTelemetry',
      '--skipApiVersionCheck', '--silent', '--blobHost', '127.0.0.1', '--blobPort', String(port)],
    (line) => line.includes('successfully listens'));
  const endpoint = `http://127.0.0.1:${port}/${azuriteAccount}`;
  return {
    ...azurite,
    connectionString: `DefaultEndpointsProtocol=http;AccountName=${azuriteAccount};AccountKey=${azuriteKey};` +
      `BlobEndpoint=${endpoint};`,
  };
}
