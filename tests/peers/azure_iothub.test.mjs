// Microsoft's own client for IoT Hub, unmodified, drives the simulated hub: what it cannot do there, nobody can.
import assert from 'node:assert/strict';
import {createHmac} from 'node:crypto';
import {Agent} from 'node:https';
import {after, before, describe, it} from 'node:test';
import {setTimeout as pause} from 'node:timers/promises';

import {peer, startSim, temporaryFolder} from './lib.mjs';

const {Registry} = peer('azure-iothub');

/// `A=b;C=d==` as an object; the first `=` parts name and value.
const fieldsOf = (connectionString) => Object.fromEntries(connectionString.split(';').filter(Boolean).map(
    (part) => [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)]));

const hmac = (key, text) => createHmac('sha256', Buffer.from(key, 'base64')).update(text, 'utf8').digest('base64');
const isoSeconds = (time) => new Date(time).toISOString().replace(/\.\d+Z$/, 'Z');

/// The service SAS of a container by Microsoft's rule for versions from 2020-12-06 on: 16 lines.
function containerSas(account, key, container, permissions, start, expiry, version = '2021-12-02') {
  const text = [
    permissions, start, expiry, `/blob/${account}/${container}`, '', '', '', version, 'c', '', '', '', '', '', '', ''
  ].join('\n');
  const part = (name, value) => `${name}=${encodeURIComponent(value)}`;
  return [
    part('sv', version), part('st', start), part('se', expiry), part('sr', 'c'), part('sp', permissions),
    part('sig', hmac(key, text))
  ].join('&');
}

/// The storage side of the jobs: containers by the account's key, blobs by a SAS.
function storage(connectionString) {
  const {AccountName: account, AccountKey: key, BlobEndpoint: endpoint} = fieldsOf(connectionString);
  const base = endpoint.replace(/\/$/, '');
  const version = '2021-12-02';
  const sas = (container, permissions = 'racwdl') => `${base}/${container}?` +
      containerSas(account, key, container, permissions, isoSeconds(Date.now() - 600_000),
                   isoSeconds(Date.now() + 86_400_000));
  const blobAddress = (container, blob) => sas(container).replace('?', `/${encodeURIComponent(blob)}?`);
  return {
    sas,
    bare: (container) => `${base}/${container}`,
    async createContainer(container) {
      const date = new Date().toUTCString();
      const path = new URL(`${base}/${container}`).pathname;
      const text =
          `PUT${'\n'.repeat(12)}x-ms-date:${date}\nx-ms-version:${version}\n/${account}${path}\nrestype:container`;
      const answer = await fetch(`${base}/${container}?restype=container`, {
        method: 'PUT',
        headers: {'x-ms-date': date, 'x-ms-version': version, Authorization: `SharedKey ${account}:${hmac(key, text)}`},
      });
      assert.equal(answer.status, 201, await answer.text());
    },
    async put(container, blob, body) {
      const answer = await fetch(blobAddress(container, blob), {
        method: 'PUT',
        body,
        headers: {'x-ms-version': version, 'x-ms-blob-type': 'BlockBlob'},
      });
      assert.equal(answer.status, 201, await answer.text());
    },
    async get(container, blob) {
      const answer = await fetch(blobAddress(container, blob), {headers: {'x-ms-version': version}});
      return {status: answer.status, text: await answer.text()};
    },
  };
}

/// Runs `call`, which must fail as the client tells it, and gives the error.
async function refused(call, {name, status, code}) {
  let error;
  try {
    await call;
  } catch (caught) {
    error = caught;
  }
  assert.ok(error, `the call must fail with ${code}`);
  assert.ok(error.response, `the hub must have answered: ${error.stack}`);
  assert.equal(error.response.statusCode, status, error.responseBody);
  assert.equal(error.name, name, error.responseBody);
  if (code) {
    assert.equal(error.response.headers['iothub-errorcode'], code, error.responseBody);
    assert.match(JSON.parse(error.responseBody).Message, new RegExp(`^ErrorCode:${code};`));
  }
  return error;
}

const jsonLines = (text) => text.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
const idsOf = (rows) => rows.map((row) => row.deviceId).sort();

describe('Microsoft\'s client azure-iothub against the simulated hub', () => {
  let folder;
  let sim;
  let agent;
  let registry;
  let blobs;

  /// The client has no place for a port in its host name; an agent's default port is one.
  function connect({key, policy} = {}) {
    const hub = fieldsOf(sim.variables.iothub);
    const host = hub.HostName.replace(/:\d+$/, '');
    const made = Registry.fromConnectionString(
        `HostName=${host};SharedAccessKeyName=${policy ?? hub.SharedAccessKeyName};` +
        `SharedAccessKey=${key ?? hub.SharedAccessKey}`);
    made._restApiClient.setOptions({http: {agent}});
    return made;
  }

  /// Jumps the simulator's clock ahead.
  async function advance(seconds) {
    const answer = await fetch(`${sim.ready.control}/advance`, {method: 'POST', body: JSON.stringify({seconds})});
    assert.equal(answer.status, 200);
  }

  /// Polls a job as the documentation tells, and hurries the clock.
  async function finished(job) {
    const seen = new Set();
    for (let polls = 0; polls < 300; ++polls) {
      const now = await registry.getJob(job.jobId);
      seen.add(now.status);
      if (['completed', 'failed', 'cancelled'].includes(now.status)) return now;
      await advance(2);
      await pause(10);
    }
    throw new Error(`job ${job.jobId} does not end; seen: ${[...seen]}`);
  }

  async function all(sql, pageSize) {
    const query = registry.createQuery(sql, pageSize);
    const rows = [];
    const pages = [];
    const kinds = new Set();
    while (query.hasMoreResults) {
      const {result, message} = await query.next(query.continuationToken);
      rows.push(...result);
      pages.push(result.length);
      kinds.add(message.headers['x-ms-item-type']);
    }
    return {rows, pages, kinds: [...kinds]};
  }

  before(async () => {
    folder = temporaryFolder();
    sim = await startSim(
        folder.path, ['--devices', '0', '--no-throttle', '--index-lag-ms', '60000', '--ghost-seconds', '120']);
    agent = new Agent({keepAlive: true, ca: sim.ca});
    agent.defaultPort = Number(new URL(sim.ready.hub).port);
    registry = connect();
    blobs = storage(sim.variables.AzureWebJobsStorage);
  });

  after(async () => {
    agent?.destroy();
    const code = await sim?.stop();
    folder?.remove();
    assert.equal(code, 0, 'the simulator must end well at SIGTERM');
  });

  describe('identities', () => {
    it('creates a device with keys of its own and reads it again', async () => {
      const {responseBody: made, httpResponse} = await registry.create({deviceId: 'one'});
      assert.equal(httpResponse.statusCode, 200, 'creation answers 200, not 201');
      assert.equal(httpResponse.headers.etag, `"${made.etag}"`);
      assert.match(httpResponse.headers['content-type'], /^application\/json; charset=utf-8$/);
      assert.equal(made.deviceId, 'one');
      assert.equal(made.status, 'enabled');
      assert.equal(made.connectionState, 'Disconnected');
      assert.equal(made.authentication.type, 'sas');
      for (const which of ['primaryKey', 'secondaryKey'])
        assert.equal(Buffer.from(made.authentication.symmetricKey[which], 'base64').length, 32);
      assert.match(made.generationId, /^\d{18}$/);
      assert.equal(made.capabilities.iotEdge, false);
      const {responseBody: read} = await registry.get('one');
      assert.deepEqual(read.authentication, made.authentication);
      assert.equal(read.etag, made.etag);
      assert.equal(read.generationId, made.generationId);
    });

    it('keeps keys that the caller gives, and takes certificates of both kinds', async () => {
      const key = (byte) => Buffer.alloc(32, byte).toString('base64');
      const symmetricKey = {primaryKey: key(1), secondaryKey: key(2)};
      await registry.create({deviceId: 'own-keys', authentication: {symmetricKey}});
      assert.deepEqual((await registry.get('own-keys')).responseBody.authentication.symmetricKey, symmetricKey);
      const x509Thumbprint = {primaryThumbprint: 'A'.repeat(40), secondaryThumbprint: 'b'.repeat(40)};
      const {responseBody: own} = await registry.create({deviceId: 'own-cert', authentication: {x509Thumbprint}});
      assert.equal(own.authentication.type, 'selfSigned');
      assert.deepEqual(own.authentication.x509Thumbprint, x509Thumbprint);
      const {responseBody: signed} =
          await registry.create({deviceId: 'ca-cert', authentication: {type: 'certificateAuthority'}});
      assert.equal(signed.authentication.type, 'certificateAuthority');
      await refused(
          registry.create({deviceId: 'half', authentication: {symmetricKey: {primaryKey: key(1)}}}),
          {name: 'ArgumentError', status: 400, code: 'ArgumentInvalid'});
    });

    it('takes every character that an id may have, and no other', async () => {
      const strange = 'aZ09-:.+%_#*?!(),=@;$\'%2F';
      await registry.create({deviceId: strange});
      assert.equal((await registry.get(strange)).responseBody.deviceId, strange);
      await registry.create({deviceId: strange.toLowerCase()});
      assert.equal((await registry.getTwin(strange)).responseBody.deviceId, strange);
      await registry.delete(strange.toLowerCase());
      assert.equal((await registry.get(strange)).responseBody.deviceId, strange, 'ids tell case apart');
      for (const deviceId of ['a b', 'a/b', 'ä', 'a'.repeat(129)])
        await refused(registry.create({deviceId}), {name: 'ArgumentError', status: 400, code: 'ArgumentInvalid'});
    });

    it('refuses to create a device twice', async () => {
      const before = (await registry.get('one')).responseBody;
      await refused(
          registry.create({deviceId: 'one'}),
          {name: 'DeviceAlreadyExistsError', status: 409, code: 'DeviceAlreadyExists'});
      assert.equal((await registry.get('one')).responseBody.etag, before.etag);
    });

    it('updates a device: keys stay when they are sent back, and are made anew when they are not', async () => {
      const {responseBody: old} = await registry.get('one');
      const {responseBody: off} = await registry.update({...old, status: 'disabled', statusReason: 'sold'});
      assert.equal(off.status, 'disabled');
      assert.equal(off.statusReason, 'sold');
      assert.notEqual(off.etag, old.etag);
      assert.deepEqual(off.authentication.symmetricKey, old.authentication.symmetricKey);
      const {responseBody: bare} = await registry.update({deviceId: 'one', status: 'enabled'});
      assert.notEqual(bare.authentication.symmetricKey.primaryKey, old.authentication.symmetricKey.primaryKey);
      assert.equal(bare.statusReason, null, 'an update replaces the whole identity');
      await refused(
          registry.update({deviceId: 'nobody', status: 'enabled'}),
          {name: 'DeviceNotFoundError', status: 404, code: 'DeviceNotFound'});
      await refused(
          registry.update({deviceId: 'one', status: 'asleep'}),
          {name: 'ArgumentError', status: 400, code: 'ArgumentInvalid'});
    });

    it('handles modules and their etags', async () => {
      await registry.create({deviceId: 'edge', capabilities: {iotEdge: true}});
      await registry.addModule({deviceId: 'edge', moduleId: 'm1'});
      const {responseBody: first} = await registry.getModule('edge', 'm1');
      await refused(
          registry.addModule({deviceId: 'edge', moduleId: 'm1'}),
          {name: 'DeviceAlreadyExistsError', status: 409, code: 'ModuleAlreadyExistsOnDevice'});
      await registry.updateModule({...first, managedBy: 'somebody'}, false);
      await refused(
          registry.updateModule({...first, managedBy: 'late'}, false),
          {name: 'InvalidEtagError', status: 412, code: 'PreconditionFailed'});
      // Given an object, this method of the client works with a callback only.
      await refused(
          new Promise(
              (resolve, reject) =>
                  registry.removeModule({...first}, (error, done) => (error ? reject(error) : resolve(done)))),
          {name: 'InvalidEtagError', status: 412, code: 'PreconditionFailed'});
      assert.equal((await registry.getModulesOnDevice('edge')).responseBody.length, 1);
      assert.equal((await registry.getModuleTwin('edge', 'm1')).responseBody.moduleId, 'm1');
      await registry.addModule({deviceId: 'edge', moduleId: 'm2'});
      await registry.removeModule('edge', 'm1');
      const {responseBody: left} = await registry.getModulesOnDevice('edge');
      assert.deepEqual(left.map((module) => module.moduleId), ['m2']);
    });

    it('lists, counts and deletes', async () => {
      const {responseBody: listed} = await registry.list();
      assert.ok(idsOf(listed).includes('one'));
      assert.equal((await registry.getRegistryStatistics()).responseBody.totalDeviceCount, listed.length);
      const {httpResponse} = await registry.delete('own-keys');
      assert.equal(httpResponse.statusCode, 204);
      const gone = {name: 'DeviceNotFoundError', status: 404, code: 'DeviceNotFound'};
      await refused(registry.get('own-keys'), gone);
      await refused(registry.getTwin('own-keys'), gone);
      await refused(registry.delete('own-keys'), gone);
    });
  });

  describe('bulk updates', () => {
    const names = (count) => Array.from({length: count}, (_, i) => `bulk-${String(i).padStart(3, '0')}`);
    const done = {isSuccessful: true, errors: [], warnings: []};
    const partly = async (call, expected) => {
      const error = await refused(call, {name: 'ArgumentError', status: 400});
      const answer = JSON.parse(error.responseBody);
      assert.equal(answer.isSuccessful, false, 'a failing bulk answers with its result object');
      assert.deepEqual(answer.errors.map((e) => [e.deviceId, e.errorCode]), expected);
      for (const e of answer.errors) assert.equal(typeof e.errorStatus, 'string');
      assert.deepEqual(answer.warnings, []);
    };

    it('adds a hundred devices with tags at once', async () => {
      const {responseBody, httpResponse} = await registry.addDevices(
          names(100).map((deviceId, i) => ({deviceId, tags: {site: i % 4 === 0 ? 'north' : 'south', n: i}})));
      assert.equal(httpResponse.statusCode, 200);
      assert.deepEqual(responseBody, done);
      const {responseBody: twin} = await registry.getTwin('bulk-004');
      assert.deepEqual(twin.tags, {site: 'north', n: 4});
      assert.equal(twin.etag, 'AAAAAAAAAAE=');
      assert.equal(twin.version, 2);
      assert.equal(twin.properties.desired.$version, 1);
    });

    it('tells which of the devices failed and has applied the others', async () => {
      await partly(
          registry.addDevices([{deviceId: 'bulk-000'}, {deviceId: 'bulk-new'}, {deviceId: 'no good'}]),
          [['bulk-000', 'DeviceAlreadyExists'], ['no good', 'ArgumentInvalid']]);
      assert.equal((await registry.get('bulk-new')).responseBody.deviceId, 'bulk-new');
    });

    it('refuses a whole call that names a device twice', async () => {
      await refused(
          registry.addDevices([{deviceId: 'twice'}, {deviceId: 'twice'}]),
          {name: 'ArgumentError', status: 400, code: 'DeviceDefinedMultipleTimes'});
      await refused(registry.get('twice'), {name: 'DeviceNotFoundError', status: 404, code: 'DeviceNotFound'});
    });

    it('updates by force, and by etag only what is not stale', async () => {
      const stale = (await registry.get('bulk-001')).responseBody.etag;
      assert.deepEqual(
          (await registry.updateDevices(
               [{deviceId: 'bulk-001', status: 'disabled'}, {deviceId: 'bulk-002', status: 'disabled'}], true))
              .responseBody,
          done);
      const fresh = (await registry.get('bulk-002')).responseBody.etag;
      await partly(
          registry.updateDevices(
              [
                {deviceId: 'bulk-001', status: 'enabled', eTag: stale},
                {deviceId: 'bulk-002', status: 'enabled', eTag: fresh}, {deviceId: 'bulk-none', status: 'enabled'}
              ],
              false),
          [['bulk-001', 'PreconditionFailed'], ['bulk-none', 'DeviceNotFound']]);
      assert.equal((await registry.get('bulk-001')).responseBody.status, 'disabled');
      assert.equal((await registry.get('bulk-002')).responseBody.status, 'enabled');
      assert.deepEqual(
          (await registry.getTwin('bulk-002')).responseBody.tags, {site: 'south', n: 2},
          'an update that names no tags leaves them');
    });

    it('removes by etag and by force', async () => {
      const {responseBody: fresh} = await registry.get('bulk-098');
      await partly(
          registry.removeDevices(
              [{deviceId: 'bulk-098', eTag: fresh.etag}, {deviceId: 'bulk-099', eTag: 'bm9uZQ=='}], false),
          [['bulk-099', 'PreconditionFailed']]);
      await partly(
          registry.removeDevices(['bulk-098', 'bulk-099', 'bulk-new'].map((deviceId) => ({deviceId})), true),
          [['bulk-098', 'DeviceNotFound']]);
      for (const id of ['bulk-098', 'bulk-099', 'bulk-new'])
        await refused(registry.get(id), {name: 'DeviceNotFoundError', status: 404, code: 'DeviceNotFound'});
    });
  });

  describe('twins', () => {
    it('merges a patch: null takes a key away, the rest stays', async () => {
      const {responseBody: twin} = await registry.getTwin('bulk-005');
      const deep = {a: {b: [1, 'two', {three: 3}]}, gone: true, text: 'ä "quoted" \\ \u{1F600}'};
      const {responseBody: once} =
          await registry.updateTwin('bulk-005', {tags: deep, properties: {desired: {interval: 60}}}, twin.etag);
      assert.deepEqual(once.tags, {site: 'south', n: 5, ...deep});
      assert.equal(once.properties.desired.interval, 60);
      assert.equal(once.properties.desired.$version, 2);
      assert.equal(once.properties.desired.$metadata.interval.$lastUpdatedVersion, 2);
      assert.equal(once.version, twin.version + 1);
      const {result: again} = await once.update({tags: {gone: null, a: {b: null}}});
      assert.deepEqual(again.tags, {site: 'south', n: 5, a: {}, text: deep.text});
      assert.deepEqual((await registry.getTwin('bulk-005')).responseBody.tags, again.tags);
      assert.equal(
          (await registry.get('bulk-005')).responseBody.etag, twin.deviceEtag,
          'writing a twin leaves the etag of the identity');
    });

    it('refuses a stale etag and a missing device, and takes "*"', async () => {
      const {responseBody: twin} = await registry.getTwin('bulk-006');
      await registry.updateTwin('bulk-006', {tags: {n: 60}}, twin.etag);
      await refused(
          registry.updateTwin('bulk-006', {tags: {n: 61}}, twin.etag),
          {name: 'InvalidEtagError', status: 412, code: 'PreconditionFailed'});
      assert.equal((await registry.getTwin('bulk-006')).responseBody.tags.n, 60);
      await registry.updateTwin('bulk-006', {tags: {n: 62}}, '*');
      assert.equal((await registry.getTwin('bulk-006')).responseBody.tags.n, 62);
      await refused(
          registry.updateTwin('nobody', {tags: {}}, '*'),
          {name: 'DeviceNotFoundError', status: 404, code: 'DeviceNotFound'});
    });

    it('refuses what a twin cannot hold', async () => {
      const bad = {name: 'ArgumentError', status: 400, code: 'ArgumentInvalid'};
      let nested = 1;
      for (let i = 0; i < 12; ++i) nested = {n: nested};
      const many = Object.fromEntries(Array.from({length: 9}, (_, i) => [`k${i}`, 'x'.repeat(1000)]));
      for (const tags
               of [{'a.b': 1}, {'a b': 1}, {a$: 1}, {a: 'x'.repeat(4097)}, {a: 2 ** 52}, nested, many, {a: [null]}])
        await refused(registry.updateTwin('bulk-007', {tags}, '*'), bad);
      assert.deepEqual((await registry.getTwin('bulk-007')).responseBody.tags, {site: 'south', n: 7});
    });
  });

  describe('queries', () => {
    it('shows a new device late and a deleted one for a while', async () => {
      await registry.create({deviceId: 'late'});
      const sql = 'SELECT * FROM devices WHERE deviceId = \'late\'';
      assert.deepEqual((await all(sql)).rows, []);
      await advance(61);
      assert.deepEqual(idsOf((await all(sql)).rows), ['late']);
      await registry.delete('late');
      assert.deepEqual(idsOf((await all(sql)).rows), ['late'], 'a ghost');
      await advance(121);
      assert.deepEqual((await all(sql)).rows, []);
    });

    it('pages through twins to the last one', async () => {
      const north = await all('SELECT * FROM devices WHERE tags.site = \'north\'', 10);
      assert.deepEqual(north.pages, [10, 10, 5]);
      assert.deepEqual(north.kinds, ['Twin']);
      assert.deepEqual(idsOf(north.rows), Array.from({length: 25}, (_, i) => `bulk-${String(i * 4).padStart(3, '0')}`));
      const {result} = await registry.createQuery('SELECT * FROM devices', 3).nextAsTwin();
      assert.equal(result.length, 3);
      assert.match(result[0].deviceEtag, /^[A-Za-z0-9+/]+=*$/);
      assert.equal(typeof result[0].update, 'function');
      const everything = await all('SELECT * FROM devices', 7);
      assert.deepEqual(idsOf(everything.rows), idsOf((await registry.list()).responseBody));
    });

    it('projects and counts', async () => {
      const some =
          await all('SELECT deviceId, tags.n AS number FROM devices WHERE tags.n < 3 AND is_defined(tags.site)');
      assert.deepEqual(some.kinds, ['Raw']);
      assert.deepEqual(
          some.rows.sort((a, b) => a.number - b.number), [0, 1, 2].map((n) => ({deviceId: `bulk-00${n}`, number: n})));
      const {rows: [counted]} = await all('SELECT COUNT() AS devices FROM devices WHERE tags.site IN [\'north\']');
      assert.deepEqual(counted, {devices: 25});
    });

    it('refuses a query that it cannot read', async () => {
      await refused(
          registry.createQuery('SELECT * FRON devices').next(),
          {name: 'ArgumentError', status: 400, code: 'ArgumentInvalid'});
    });
  });

  describe('jobs', () => {
    it('builds a SAS by the rule of the storage service', () => {
      const key = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';
      assert.equal(
          containerSas('devstoreaccount1', key, 'job1', 'racwdl', '2024-01-02T03:04:05Z', '2024-01-09T03:04:05Z'),
          'sv=2021-12-02&st=2024-01-02T03%3A04%3A05Z&se=2024-01-09T03%3A04%3A05Z&sr=c&sp=racwdl&' +
              'sig=D5k%2BWl8byltoBVmLdkO6JBmU2%2BIjvP77APOFlZMVrpM%3D');
    });

    it('exports all devices, with keys hidden', async () => {
      await blobs.createContainer('export');
      const job = await registry.exportDevicesToBlob(blobs.sas('export'), true);
      assert.equal(job.type, 'export');
      assert.equal(job.status, 'enqueued');
      assert.match(job.jobId, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
      const end = await finished(job);
      assert.equal(end.status, 'completed');
      assert.equal(end.progress, 100);
      assert.ok(end.endTimeUtc);
      assert.ok(!JSON.stringify(end).includes('sig='), 'the address of the container is a secret');
      const {text} = await blobs.get('export', 'devices.txt');
      assert.notEqual(text[0], '{', 'the first line tells in plain text that keys are left out');
      const lines = jsonLines(text);
      assert.deepEqual(lines.filter((line) => line.moduleId).map((line) => [line.id, line.moduleId]), [['edge', 'm2']]);
      assert.deepEqual(
          lines.filter((line) => !line.moduleId).map((line) => line.id).sort(),
          idsOf((await registry.list()).responseBody));
      for (const line of lines)
        assert.deepEqual(line.authentication.symmetricKey, {primaryKey: null, secondaryKey: null});
      const five = lines.find((line) => line.id === 'bulk-005');
      const {responseBody: twin} = await registry.getTwin('bulk-005');
      assert.deepEqual(five.tags, twin.tags);
      assert.equal(five.twinETag, twin.etag);
      assert.equal(five.eTag, twin.deviceEtag);
      assert.equal(lines.find((line) => line.id === 'edge').capabilities.iotEdge, true);
      assert.equal(lines.find((line) => line.id === 'own-cert').authentication.type, 'selfSigned');
    });

    it('exports keys when they are asked for', async () => {
      assert.equal(
          (await finished(await registry.exportDevicesToBlob(blobs.sas('export'), false))).status, 'completed');
      const {text} = await blobs.get('export', 'devices.txt');
      const lines = jsonLines(text);
      assert.equal(lines.length, text.trimEnd().split('\n').length, 'every line is a device');
      assert.deepEqual(
          lines.find((line) => line.id === 'one').authentication.symmetricKey,
          (await registry.get('one')).responseBody.authentication.symmetricKey);
    });

    it('exports by its own identity to an address without a SAS', async () => {
      await blobs.createContainer('identity');
      const job = await registry.exportDevicesToBlobByIdentity(blobs.bare('identity'), true);
      assert.equal((await finished(job)).status, 'completed');
      assert.ok(jsonLines((await blobs.get('identity', 'devices.txt')).text).length > 90);
    });

    it('refuses at once an address that does not grant enough', async () => {
      const bad = {name: 'ArgumentError', status: 400, code: 'BlobContainerValidationError'};
      const error = await refused(registry.exportDevicesToBlob(blobs.sas('export', 'rwl'), true), bad);
      assert.match(error.message, /Unauthorized to delete from output blob container/);
      await refused(registry.exportDevicesToBlob(blobs.sas('nowhere'), true), bad);
      await refused(registry.exportDevicesToBlob(blobs.sas('export').replace(/sig=.{4}/, 'sig=AAAA'), true), bad);
      await refused(registry.exportDevicesToBlob(blobs.bare('export'), true), bad);
      await refused(registry.importDevicesFromBlob(blobs.sas('export', 'l'), blobs.sas('export')), bad);
    });

    it('has room for one job at a time; a cancelled one makes room', async () => {
      const first = await registry.exportDevicesToBlob(blobs.sas('export'), true);
      const error = await refused(
          registry.exportDevicesToBlob(blobs.sas('export'), true),
          {name: 'TooManyDevicesError', status: 403, code: 'JobQuotaExceeded'});
      assert.equal(JSON.parse(error.responseBody).ExceptionMessage, '');
      await registry.cancelJob(first.jobId);
      assert.equal((await registry.getJob(first.jobId)).status, 'cancelled');
      const second = await registry.exportDevicesToBlob(blobs.sas('export'), true);
      assert.equal((await finished(second)).status, 'completed');
      const {responseBody: jobs} = await registry.listJobs();
      for (const {jobId} of [first, second]) assert.ok(jobs.some((job) => job.jobId === jobId));
      await assert.rejects(
          registry.getJob('00000000-0000-0000-0000-000000000000'),
          (gone) => gone.response.statusCode === 404 && gone.response.headers['iothub-errorcode'] === 'JobNotFound');
    });

    it('imports line by line and writes what failed to importErrors.log', async () => {
      await blobs.createContainer('import');
      await blobs.createContainer('log');
      const {responseBody: kept} = await registry.get('bulk-010');
      const lines = [
        {
          id: 'imported',
          importMode: 'create',
          status: 'enabled',
          tags: {site: 'east'},
          properties: {desired: {interval: 5}}
        },
        {id: 'upserted', status: 'Disabled', statusReason: 'not yet'},
        {id: 'bulk-010', importMode: 'create', status: 'enabled'},
        {id: 'bulk-none', importMode: 'delete', status: 'enabled'},
        {id: 'bulk-011', importMode: 'delete', status: 'enabled'},
        {id: 'bulk-012', importMode: 'updateIfMatchETag', eTag: 'bm9uZQ==', status: 'disabled'},
        {id: 'bulk-013', importMode: 'update', status: 'disabled', authentication: {type: 'sas'}},
        {id: 'bulk-014', importMode: 'updateTwin', status: 'enabled', tags: {site: 'west', n: 14}},
        {id: 'bulk-015', importMode: 'delete'},
      ].map((line) => JSON.stringify(line));
      await blobs.put('import', 'devices.txt', `${lines.join('\r\n')}\n\n{"id":"broken","status":\n`);
      const job = await registry.importDevicesFromBlob(blobs.sas('import', 'r'), blobs.sas('log'));
      assert.equal(job.type, 'import');
      const end = await finished(job);
      assert.equal(end.status, 'completed', 'failing lines do not fail the job');
      assert.equal(end.failureReason ?? null, null);
      const errors = jsonLines((await blobs.get('log', 'importErrors.log')).text);
      assert.deepEqual(errors.map((e) => [e.deviceId, e.errorCode]), [
        ['bulk-010', 409001], ['bulk-none', 404001], ['bulk-012', 412001], ['bulk-015', 400004], [undefined, 400012]
      ]);
      assert.match(errors.at(-1).errorStatus, /Invalid device format in line: \{"id":"broken"/);
      assert.equal((await registry.get('bulk-010')).responseBody.etag, kept.etag);
      const {responseBody: twin} = await registry.getTwin('imported');
      assert.deepEqual(twin.tags, {site: 'east'});
      assert.equal(twin.properties.desired.interval, 5);
      const {responseBody: upserted} = await registry.get('upserted');
      assert.deepEqual([upserted.status, upserted.statusReason], ['disabled', 'not yet']);
      await refused(registry.get('bulk-011'), {name: 'DeviceNotFoundError', status: 404, code: 'DeviceNotFound'});
      assert.equal((await registry.get('bulk-012')).responseBody.status, 'enabled');
      assert.equal((await registry.get('bulk-013')).responseBody.status, 'disabled');
      assert.deepEqual((await registry.getTwin('bulk-014')).responseBody.tags, {site: 'west', n: 14});
      assert.equal((await registry.get('bulk-015')).responseBody.deviceId, 'bulk-015');
    });

    it('takes its own export back: an import of it changes no tag, and leaves an empty importErrors.log', async () => {
      await finished(await registry.exportDevicesToBlob(blobs.sas('export'), false));
      const {text} = await blobs.get('export', 'devices.txt');
      await registry.removeDevices([{deviceId: 'bulk-020'}, {deviceId: 'own-cert'}], true);
      await blobs.createContainer('back');
      await blobs.put('back', 'devices.txt', text);
      assert.equal(
          (await finished(await registry.importDevicesFromBlob(blobs.sas('back'), blobs.sas('back')))).status,
          'completed');
      assert.deepEqual(await blobs.get('back', 'importErrors.log'), {status: 200, text: ''});
      await finished(await registry.exportDevicesToBlob(blobs.sas('export'), false));
      const essence = (lines) => jsonLines(lines).map(
          ({id, moduleId, status, authentication, tags, capabilities}) =>
              ({id, moduleId, status, authentication, tags, capabilities}));
      assert.deepEqual(essence((await blobs.get('export', 'devices.txt')).text), essence(text));
    });

    it('tells in the job that the input is missing', async () => {
      await blobs.createContainer('empty');
      const end = await finished(await registry.importDevicesFromBlob(blobs.sas('empty'), blobs.sas('empty')));
      assert.equal(end.status, 'failed');
      assert.ok(end.failureReason);
    });
  });

  describe('rights', () => {
    const denied = {name: 'UnauthorizedError', status: 401, code: 'IotHubUnauthorizedAccess'};

    it('refuses a wrong key and an unknown policy', async () => {
      await refused(connect({key: Buffer.alloc(32, 7).toString('base64')}).get('one'), denied);
      await refused(connect({policy: 'nobody'}).get('one'), denied);
    });

    it('lets a policy do what it is for and no more', async () => {
      const registryOnly = connect({policy: 'registryReadWrite'});
      assert.equal((await registryOnly.get('one')).responseBody.deviceId, 'one');
      await refused(registryOnly.getTwin('one'), denied);
      await refused(registryOnly.createQuery('SELECT * FROM devices').next(), denied);
      const reader = connect({policy: 'registryRead'});
      await refused(reader.delete('one'), denied);
      const service = connect({policy: 'service'});
      assert.equal((await service.getTwin('one')).responseBody.deviceId, 'one');
      await refused(service.get('one'), denied);
    });
  });
});
