// twinstep check: the rights that a link lacks, those that it has beyond, and that looking for them changes nothing.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe } from 'node:test';
import { azuriteSignature, scene, startAzurite, startIdentity } from './lib.mjs';

const policies = ['sync=RegistryRead+RegistryWrite+ServiceConnect', 'reader=RegistryRead+ServiceConnect', 'no-read=RegistryWrite+ServiceConnect',
  'no-service=RegistryRead+RegistryWrite'].flatMap((policy) => ['--policy', policy]);
const registry = ['--devices', '20', '--missing', '20%', '--orphaned', '10%', '--time-factor', '60'];
const asPolicy = (s, name) => ({ iothub: s.variables.iothub.replace('iothubowner', name) });

/// What `check` prints: the lines of each kind, and what to do about it.
async function check(s, code, args, variables) {
  const ended = await s.runs(code, ['check', ...args], variables);
  const found = { ok: [], warn: [], FAIL: [], text: ended.stdout };
  let mends = [];
  for (const line of ended.stdout.split('\n').filter(Boolean)) {
    const [, kind, what] = /^(ok|warn|FAIL) +(.*)$/.exec(line) ?? [];
    if (kind) found[kind].push({ what, mends: (mends = []) });
    else mends.push(line.trim());
  }
  found.missing = found.FAIL.map((one) => /^hub \w+: ([\w ]+)/.exec(one.what)?.[1]).filter(Boolean);
  return found;
}

/// A link with the hub as master; `jobs: false` lists the hub by queries.
function hubIsMaster(s, { jobs = true, hub, storage } = {}) {
  const config = s.thingpark('master: hub, deletes: delete');
  const text = readFileSync(config, 'utf8');
  writeFileSync(config, `${text.replace('connection_string: "env:iothub"', hub ?? 'connection_string: "env:iothub"')
    .replace('connection_string: "env:AzureWebJobsStorage"', storage ?? 'connection_string: "env:AzureWebJobsStorage"')}use_export_jobs: ${jobs}\n`);
  return ['--config', config];
}
const byEntra = (s) => `host: "${s.host}", entra: {kind: managed-identity}`;

/// Lets twinstep have the tokens of an identity.
async function identity(s, t, tokens) {
  const started = await startIdentity(tokens);
  t.after(started.stop);
  s.variables.AZURE_POD_IDENTITY_AUTHORITY_HOST = started.url;
}

describe('rights', { concurrency: 3 }, () => {
  scene('of a shared access policy: what is missing is named, and with what to do', [...registry, ...policies], async (s) => {
    const before = [await s.devices(), await s.devices('thingpark'), await s.containers()];
    const good = await check(s, 0, [], asPolicy(s, 'sync'));
    assert.deepEqual([good.warn, good.FAIL], [[], []], good.text);

    const cases = { reader: [['change devices', 'delete devices', 'start jobs'], 'RegistryWrite'],
      'no-read': [['read devices', 'read jobs'], 'RegistryRead'],
      'no-service': [['read twins', 'write twins', 'query'], 'ServiceConnect'] };
    for (const [policy, [missing, right]] of Object.entries(cases)) {
      const found = await check(s, 1, [], asPolicy(s, policy));
      assert.deepEqual(found.missing, missing, found.text);
      for (const { mends } of found.FAIL)
        assert.deepEqual(mends, [`the shared access policy ${policy} lacks ${right}: take one that has RegistryRead, RegistryWrite and ServiceConnect`]);
    }
    const stranger = await check(s, 1, [], asPolicy(s, 'nobody'));
    assert.ok(stranger.FAIL.length > 5 && stranger.FAIL.every(({ mends }) => /accepts nothing.*name and key/.test(mends[0])), stranger.text);

    // Asking for the right to write has written nothing, and no job was started.
    assert.deepEqual([await s.devices(), await s.devices('thingpark'), await s.containers()], before);
    assert.deepEqual(await s.hub('GET', '/jobs'), []);
  });

  scene('that a policy has beyond what the link needs are warned of', [...registry, ...policies], async (s) => {
    const owner = await check(s, 0, []);
    assert.equal(owner.warn.length, 1, owner.text);
    assert.match(owner.warn[0].what, /^hub default: credentials: the policy iothubowner may do everything/);
    assert.match(owner.warn[0].mends[0], /a shared access policy with RegistryRead, RegistryWrite and ServiceConnect only/);
    const parsed = JSON.parse((await s.runs(0, ['check', '--output', 'json'])).stdout);
    assert.deepEqual(parsed.filter((one) => one.warning).map((one) => one.check), ['hub default: credentials']);

    const queries = hubIsMaster(s, { jobs: false });
    const enough = await check(s, 0, queries, asPolicy(s, 'reader'));
    assert.deepEqual([enough.warn, enough.FAIL], [[], []], enough.text);
    assert.doesNotMatch(enough.text, /change devices|delete devices|write twins|jobs/);
    const more = await check(s, 0, queries, asPolicy(s, 'sync'));
    assert.match(more.warn[0]?.what ?? '', /the policy sync has RegistryWrite, which this link does not need/, more.text);
    assert.match(more.warn[0].mends[0], /RegistryRead and ServiceConnect only.*facade needs RegistryWrite/);

    assert.match((await s.runs(64, ['plan', ...queries])).stderr, /has the hub as master/);

    const jobs = hubIsMaster(s);
    assert.deepEqual((await check(s, 1, jobs, asPolicy(s, 'reader'))).missing, ['start jobs']);
    assert.deepEqual((await check(s, 0, jobs, asPolicy(s, 'sync'))).warn, [], 'export jobs need RegistryWrite');
  });

  const roles = { reader: ['change devices', 'delete devices', 'write twins', 'start jobs'],
    registry: ['read twins', 'write twins', 'query', 'read jobs', 'start jobs'],
    twin: ['read devices', 'change devices', 'delete devices', 'read jobs', 'start jobs'], contributor: [] };
  for (const [role, missing] of Object.entries(roles))
    scene(`of an identity with the role ${role}`, [...registry, '--entra-token', 'the-token', '--entra-role', role], async (s, t) => {
      await identity(s, t, { 'https://iothubs.azure.net': 'the-token' });
      const before = await s.devices();
      const external = s.thingpark('deletes: delete');
      writeFileSync(external, readFileSync(external, 'utf8').replace('connection_string: "env:iothub"', byEntra(s)));
      const found = await check(s, missing.length ? 1 : 0, ['--config', external]);
      assert.deepEqual(found.missing, missing, found.text);
      for (const { mends } of found.FAIL) assert.match(mends[0], /IoT Hub Data Contributor has all that this link needs/);
      assert.deepEqual(found.warn, []);

      const master = hubIsMaster(s, { jobs: false, hub: byEntra(s) });
      const other = await check(s, role === 'reader' || role === 'contributor' ? 0 : 1, master);
      if (role === 'contributor') assert.match(other.warn[0]?.mends[0] ?? '', /the role IoT Hub Data Reader is enough/, other.text);
      if (role === 'reader') assert.deepEqual([other.warn, other.FAIL], [[], []], other.text);
      assert.deepEqual(await s.devices(), before);
    });

  scene('of an identity without any role', [...registry, '--entra-token', 'the-token'], async (s, t) => {
    await identity(s, t, { 'https://iothubs.azure.net': 'another-token', 'https://storage.azure.com': 'another-token' });
    const found = await check(s, 1, hubIsMaster(s, { hub: byEntra(s), storage: `account: "${s.sim.ready.blob}/devstoreaccount1", entra: {kind: managed-identity}` }), { AzureWebJobsStorage: undefined });
    const hub = found.FAIL.filter((one) => one.what.startsWith('hub '));
    assert.ok(hub.length > 3 && hub.every(({ mends }) => /assign it a role at the hub/.test(mends[0])), found.text);
    const storage = found.FAIL.filter((one) => one.what.startsWith('storage'));
    assert.equal(storage.length, 1, found.text);
    assert.match(storage[0].mends[0], /Storage Blob Data Contributor/);
  });

  scene('to the storage: a key does everything, a SAS may do too little', registry, async (s, t) => {
    const azurite = await startAzurite({ account: { name: 'contoso', key: Buffer.from('k'.repeat(64)).toString('base64') } });
    t.after(azurite.stop);
    const byKey = await check(s, 0, [], { ...asPolicy(s, 'iothubowner'), AzureWebJobsStorage: azurite.connectionString });
    const warned = byKey.warn.find((one) => one.what.startsWith('storage'));
    assert.match(warned?.what ?? '', /the account's key may do everything with the whole account/, byKey.text);
    assert.match(warned.mends[0], /storage\.account with entra.*Storage Blob Data Contributor/);

    const usual = await startAzurite();
    t.after(usual.stop);
    const bySas = (rights) => ({ AzureWebJobsStorage: `BlobEndpoint=${usual.endpoint};SharedAccessSignature=${azuriteSignature(rights)}` });
    assert.deepEqual((await check(s, 0, [], bySas('rwdlac'))).warn.filter((one) => one.what.startsWith('storage')), []);
    for (const [rights, what] of [['r', 'make a container'], ['wlac', 'read a blob']]) {
      const found = await check(s, 1, [], bySas(rights));
      assert.ok(found.FAIL.some((one) => one.what.startsWith(`storage: ${what}`) && /a SAS must allow/.test(one.mends[0])), found.text);
    }
  });
});
