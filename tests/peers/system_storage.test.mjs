// twinstep with the storage of its jobs: whole runs by export and import job through Azurite, jobs by the hub's own
// identity, and what is left in the storage when something fails.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe } from 'node:test';
import { azuriteSignature, containersOf, developmentStorage, makeCertificate, orphans, scene, startAzurite, startIdentity, tokenForStorage, until } from './lib.mjs';

const fast = ['--time-factor', '60', '--import-rate', '-1'];
const byJob = { devicesChangeJobThreshold: '0' };
const jobTypes = async (s) => (await s.hub('GET', '/jobs')).map((job) => job.type).sort();

/// Lets twinstep use this Azurite. The simulator has storage of its own; nobody may touch it then.
function use(s, azurite, connection = azurite.connectionString) {
  s.variables.AzureWebJobsStorage = connection;
  s.containers = () => containersOf(azurite.connectionString, s.storageCa);
}
async function azuriteFor(s, t, options) {
  const azurite = await startAzurite(options);
  t.after(azurite.stop);
  use(s, azurite);
  return azurite;
}
async function nobodyUsedTheSimulatorsStorage(s) {
  assert.deepEqual(Object.keys(await s.calls()).filter((call) => call.startsWith('blob ')), []);
}

/// plan, apply by import job, plan: what was to be done is done, and the storage is as it was.
async function wholeRun(s) {
  await s.runs(0, ['plan', '-o', 'plan.json']);
  const { counts, changes } = JSON.parse(readFileSync(s.path('plan.json')));
  for (const op of ['create', 'update', 'delete']) assert.ok(counts[op] > 0, `${op}: ${JSON.stringify(counts)}`);
  const applied = await s.runs(0, ['apply', 'plan.json', '--output', 'json'], byJob);
  const { results } = JSON.parse(applied.stdout);
  for (const op of ['create', 'update', 'delete']) assert.equal(results[op].done, counts[op], `${op}: ${applied.stdout}`);
  assert.deepEqual(await jobTypes(s), ['export', 'export', 'import']);

  const hub = new Map((await s.devices()).map((device) => [device.id, device]));
  for (const device of await s.devices('thingpark')) {
    assert.ok(hub.has(device.name), `${device.name} is missing`);
    assert.equal(hub.get(device.name).tags.deviceProfileId, device.deviceProfileId);
  }
  for (const { op, deviceId } of changes) assert.equal(hub.has(deviceId), op !== 'delete', `${op} ${deviceId}`);
  const again = await s.runs(0, ['plan', '--output', 'json'], byJob);
  assert.deepEqual(JSON.parse(again.stdout).changes, []);
  assert.deepEqual(await s.containers(), []);
}

const registry = (devices) => ['--devices', String(devices), '--missing', '10%', '--changed', '5%', '--orphaned', '2%', ...fast];

describe('storage', { concurrency: 3 }, () => {
  scene('a whole run through Azurite', registry(1500), async (s, t) => {
    await azuriteFor(s, t);
    await wholeRun(s);
    await nobodyUsedTheSimulatorsStorage(s);
  });

  scene('a whole run with the storage named by UseDevelopmentStorage=true', registry(200), async (s, t) => {
    const free = await new Promise((resolve) => {
      const server = createServer().once('error', () => resolve(false));
      server.listen(10000, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (!free) t.diagnostic("Azurite's own port 10000 is taken: run with another port and a connection string instead");
    const azurite = await azuriteFor(s, t, free ? { port: 10000 } : {});
    if (free) use(s, azurite, developmentStorage);
    await wholeRun(s);
    await nobodyUsedTheSimulatorsStorage(s);
  });

  scene('a whole run with a SAS of the account instead of its key', registry(200), async (s, t) => {
    const azurite = await azuriteFor(s, t);
    const endpoint = /BlobEndpoint=[^;]+/.exec(azurite.connectionString)[0];
    use(s, azurite, `${endpoint};SharedAccessSignature=${azuriteSignature()}`);
    await wholeRun(s);
    await nobodyUsedTheSimulatorsStorage(s);
  });

  scene('an import with failed lines leaves nothing in Azurite', ['--devices', '300', '--missing', '10%', '--orphaned', '0', '--max-devices', '290', ...fast], async (s, t) => {
    await azuriteFor(s, t);
    const ended = await s.runs(4, ['sync'], byJob);
    assert.match(ended.stdout, /create lora-\w+: .*(quota|403|maximum)/i);
    assert.deepEqual(await jobTypes(s), ['export', 'import']);
    assert.equal((await s.ids()).length, 290);
    assert.deepEqual(await s.containers(), []);
  });

  for (const kind of ['export', 'import'])
    scene(`an ${kind} job that fails leaves nothing in Azurite, and the next run is good`, registry(200), async (s, t) => {
      await azuriteFor(s, t);
      const before = await s.ids();
      await s.fault({ failJob: kind });
      const ended = await s.runs(1, ['sync'], byJob);
      assert.match(ended.stderr, new RegExp(`${kind}.*failed.*on command`, 's'));
      assert.deepEqual(await s.containers(), []);
      assert.deepEqual(await s.ids(), before, 'nothing was created or deleted');
      await s.runs(0, ['sync'], byJob);
      assert.match((await s.runs(0, ['sync'], byJob)).stdout, /nothing to do/);
      assert.deepEqual(await s.containers(), []);
    });

  scene('a container that the hub may not empty is refused at once', registry(50), async (s) => {
    await s.fault({ server: 'blob', method: 'DELETE', path: 'iothub-probe', status: 403, times: -1 });
    const ended = await s.runs(1, ['sync'], byJob);
    assert.match(ended.stderr, /Unauthorized to delete.*SAS needs read, write and delete/s);
    assert.deepEqual(await s.hub('GET', '/jobs'), []);
    assert.deepEqual(await s.containers(), []);
  });
});

const userAssigned = '/subscriptions/5a/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/sync-id';

/// A configuration whose jobs go by the hub's identity.
function identityConfig(s, more = '') {
  const config = s.thingpark('deletes: delete');
  const text = readFileSync(config, 'utf8');
  writeFileSync(config, `${text.replace('"env:AzureWebJobsStorage"', `"env:AzureWebJobsStorage", identity_based_jobs: true${more}`)}job_threshold: 0\n`);
  return config;
}
const waiting = /the hub's identity cannot reach the storage/;

/// twinstep asks again and again while the role may be on its way; Ctrl-C ends that, and nothing was done.
async function isRefused(s, config) {
  const before = await s.devices();
  const begun = s.begin(['sync', '--config', config]);
  await until('the refusal', () => waiting.test(begun.output()));
  begun.child.kill('SIGINT');
  assert.equal((await begun.ended).code, 130);
  assert.deepEqual(await s.hub('GET', '/jobs'), []);
  assert.deepEqual(await s.devices(), before);
  assert.deepEqual(await s.containers(), []);
}
async function goesThrough(s, config) {
  await s.runs(0, ['sync', '--config', config]);
  assert.deepEqual(await jobTypes(s), ['export', 'import']);
  assert.equal(await orphans(s), 0);
  assert.match((await s.runs(0, ['sync', '--config', config])).stdout, /nothing to do/);
  assert.deepEqual(await s.containers(), []);
}
/// Arguments of a simulator whose jobs may go to an Azurite over TLS, whose certificate is made here.
function towardsTls(lifetime) {
  return async (folder) => {
    await makeCertificate(folder, 'azurite');
    return [...registry(100), '--storage-ca', join(folder, 'azurite.pem'), '--identity-token', tokenForStorage(lifetime)];
  };
}
async function azuriteOverTls(s, t) {
  s.storageCa = readFileSync(s.path('azurite.pem'), 'utf8');
  await azuriteFor(s, t, { tls: { certificate: s.path('azurite.pem'), key: s.path('azurite.key') } });
  s.variables.TWINSTEP_CA_FILE = s.write('both.pem', s.sim.ca + s.storageCa);
}

describe("storage by the hub's identity", { concurrency: 3 }, () => {
  scene('jobs go through when it has the right', registry(100), (s) => goesThrough(s, identityConfig(s)));

  scene('jobs are refused without the right, and the key does not help', [...registry(100), '--storage-identity', 'none'],
    (s) => isRefused(s, identityConfig(s)));

  scene('a right that comes late is waited for', [...registry(100), '--storage-identity', 'none'], async (s) => {
    const config = identityConfig(s);
    const begun = s.begin(['sync', '--config', config]);
    await until('the refusal', () => waiting.test(begun.output()));
    await s.control('/storage/identities', { method: 'PUT', body: '["system"]' });
    const ended = await begun.ended;
    assert.equal(ended.code, 0, ended.all);
    assert.deepEqual(await jobTypes(s), ['export', 'import']);
    assert.equal(await orphans(s), 0);
    assert.deepEqual(await s.containers(), []);
  });

  scene('a user-assigned identity needs the right itself', [...registry(100), '--storage-identity', userAssigned], async (s) => {
    await isRefused(s, identityConfig(s));
    await isRefused(s, identityConfig(s, ', user_assigned_identity: "/subscriptions/5a/other"'));
    await goesThrough(s, identityConfig(s, `, user_assigned_identity: "${userAssigned}"`));
  });

  scene('jobs go through Azurite with a token', towardsTls(3600), async (s, t) => {
    await azuriteOverTls(s, t);
    await goesThrough(s, identityConfig(s));
    await nobodyUsedTheSimulatorsStorage(s);
  });

  scene('Azurite refuses a token that is over', towardsTls(-60), async (s, t) => {
    await azuriteOverTls(s, t);
    await isRefused(s, identityConfig(s));
  });
});

const audiences = { hub: 'https://iothubs.azure.net', storage: 'https://storage.azure.com' };
const hubToken = 'a-token-for-the-hub';

/// A simulated hub that takes a token, whose jobs go to an Azurite over TLS.
function withoutKeys(...more) {
  return async (folder, t) => [...(await towardsTls(3600)(folder, t)), '--entra-token', hubToken, ...more];
}
/// Neither a key nor a connection string is left, and an identity is there.
async function onlyAnIdentity(s, t, storageToken = tokenForStorage(3600)) {
  s.storageCa = readFileSync(s.path('azurite.pem'), 'utf8');
  const azurite = await startAzurite({ tls: { certificate: s.path('azurite.pem'), key: s.path('azurite.key') } });
  t.after(azurite.stop);
  const identity = await startIdentity({ [audiences.hub]: hubToken, [audiences.storage]: storageToken });
  t.after(identity.stop);
  s.containers = () => containersOf(azurite.connectionString, s.storageCa);
  const { iothub } = s.variables;
  for (const name of Object.keys(s.variables)) if (/^iothub|AzureWebJobsStorage/.test(name)) delete s.variables[name];
  assert.doesNotMatch(JSON.stringify(s.variables), /AccountKey|SharedAccess/);
  Object.assign(s.variables, { TWINSTEP_CA_FILE: s.write('both.pem', s.sim.ca + s.storageCa), AZURE_POD_IDENTITY_AUTHORITY_HOST: identity.url });
  return { azurite, identity, iothub };
}
function keylessConfig(s, azurite, entra = 'kind: managed-identity', link = '') {
  const config = s.thingpark(`deletes: delete${link}`);
  const text = readFileSync(config, 'utf8');
  writeFileSync(config, `${text.replace('connection_string: "env:iothub"', `host: "${s.host}", entra: {${entra}}`)
    .replace('connection_string: "env:AzureWebJobsStorage"', `account: "${azurite.endpoint}", entra: {${entra}}`)}job_threshold: 0\n`);
  return config;
}

describe('without any shared key', { concurrency: 3 }, () => {
  scene('a whole run by managed identity', withoutKeys(), async (s, t) => {
    const { azurite, identity } = await onlyAnIdentity(s, t);
    const config = keylessConfig(s, azurite);
    const shown = await s.runs(0, ['config', 'show', '--config', config]);
    assert.match(shown.stdout, /storage +https:\/\/127\.0\.0\.1:\d+\/devstoreaccount1 by Entra ID; jobs go by the hub's identity/);
    await goesThrough(s, config);
    assert.deepEqual([...new Set(identity.asked)].sort(), [audiences.hub, audiences.storage]);
    await nobodyUsedTheSimulatorsStorage(s);
    assert.match((await s.runs(0, ['check', '--config', config])).stdout, /ok +storage: jobs: by the hub's identity/);
  });

  scene('a run of the daemon', withoutKeys(), async (s, t) => {
    const { azurite } = await onlyAnIdentity(s, t);
    const daemon = await s.serve(0, {}, ['--config', keylessConfig(s, azurite, undefined, ', schedule: "*/2 * * * * *"')]);
    t.after(daemon.stop);
    await until('the scheduled run', async () => (await jobTypes(s)).includes('import') && (await orphans(s)) === 0, 60);
    assert.equal((await daemon.stop()).code, 0);
    await nobodyUsedTheSimulatorsStorage(s);
  });

  scene('a whole run by client secret', withoutKeys(), async (s, t) => {
    const { azurite, identity } = await onlyAnIdentity(s, t);
    Object.assign(s.variables, { AZURE_AUTHORITY_HOST: identity.url, AZURE_TENANT_ID: 'contoso', AZURE_CLIENT_ID: 'twinstep' });
    s.write('secret', 'hush-hush\n');
    const ended = await goesThrough(s, keylessConfig(s, azurite, `client_secret: "file:${s.path('secret')}"`));
    assert.deepEqual([...new Set(identity.asked)].sort(), [audiences.hub, audiences.storage]);
    return ended;
  });

  scene("the variables of Azure Functions' own way", withoutKeys(), async (s, t) => {
    const { azurite, iothub } = await onlyAnIdentity(s, t);
    Object.assign(s.variables, { iothub, AzureWebJobsStorage__blobServiceUri: azurite.endpoint, AzureWebJobsStorage__credential: 'managedidentity',
      devicesChangeJobThreshold: '0' });
    await s.runs(0, ['sync']);
    assert.deepEqual(await jobTypes(s), ['export', 'import']);
    assert.deepEqual(await s.containers(), []);
    await nobodyUsedTheSimulatorsStorage(s);
  });

  scene('a token for something else is refused by the storage, and the role is named', withoutKeys(), async (s, t) => {
    const { azurite } = await onlyAnIdentity(s, t, tokenForStorage(3600, 'https://management.azure.com'));
    const before = await s.ids();
    const config = keylessConfig(s, azurite);
    const ended = await s.runs(1, ['sync', '--config', config]);
    assert.match(ended.stderr, /blob storage devstoreaccount1: create container .*40[13]/);
    const checked = await s.runs(1, ['check', '--config', config]);
    assert.match(checked.stdout, /FAIL +storage: make a container.*\n.*Storage Blob Data Contributor/);
    assert.deepEqual(await s.ids(), before);
  });
});
