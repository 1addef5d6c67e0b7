// Microsoft's own reader of events, unmodified, must accept what the simulated hub publishes, in every schema.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { Agent } from 'node:https';
import { after, before, beforeEach, describe, it } from 'node:test';

import { peer, startSim, temporaryFolder, until } from './lib.mjs';

const { Registry } = peer('azure-iothub');
const { EventGridDeserializer, isSystemEvent } = peer('@azure/eventgrid');

const typeNames = { created: 'Microsoft.Devices.DeviceCreated', deleted: 'Microsoft.Devices.DeviceDeleted' };

/// A webhook as the documentation describes it: agrees to handshakes, keeps what it is given.
async function startWebhook() {
  const received = [];
  const hook = { status: 200, received };
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (data) => { body += data; });
    request.on('end', () => {
      const { headers, method, url } = request;
      received.push({ method, url, headers, body });
      if (method === 'OPTIONS')
        return response.writeHead(200, { 'WebHook-Allowed-Origin': headers['webhook-request-origin'], 'WebHook-Allowed-Rate': '*' }).end();
      if (headers['aeg-event-type'] !== 'SubscriptionValidation') return response.writeHead(hook.status).end();
      const [{ data: { validationCode } }] = JSON.parse(body);
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ validationResponse: validationCode }));
    });
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return Object.assign(hook, {
    address: `http://127.0.0.1:${server.address().port}/api/hook?code=s3cret`,
    notifications: () => received.filter(({ headers }) => headers['aeg-event-type'] === 'Notification'),
    stop: () => { server.closeAllConnections(); return new Promise((resolve) => { server.close(resolve); }); },
  });
}

describe('Microsoft\'s EventGridDeserializer reads the simulated hub\'s events', () => {
  const reader = new EventGridDeserializer();
  let folder;
  let sim;
  let agent;
  let registry;
  let hook;

  const control = async (path, method = 'GET', body = undefined) => {
    const answer = await fetch(sim.ready.control + path, { method, body: body && JSON.stringify(body) });
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${await answer.clone().text()}`);
    return answer.json();
  };
  const subscribe = async (more) => {
    await control('/subscriptions', 'POST', { name: 'to-test', endpoint: hook.address, ...more });
    await until('the handshake', async () => (await control('/subscriptions/to-test')).state === 'Succeeded');
  };
  const settled = () => until('the delivery', async () => (await control('/subscriptions/to-test')).pending === 0);
  const create = async (deviceId) => (await registry.create({ deviceId })).responseBody;

  before(async () => {
    folder = temporaryFolder();
    sim = await startSim(folder.path, ['--devices', '0', '--no-throttle', '--event-tags', '--time-factor', '10']);
    const hub = Object.fromEntries(sim.variables.iothub.split(';').map((part) => [part.split('=', 1)[0], part.slice(part.indexOf('=') + 1)]));
    agent = new Agent({ ca: sim.ca, keepAlive: true });
    agent.defaultPort = Number(new URL(sim.ready.hub).port);
    registry = Registry.fromConnectionString(`HostName=${hub.HostName.replace(/:\d+$/, '')};` +
      `SharedAccessKeyName=${hub.SharedAccessKeyName};SharedAccessKey=${hub.SharedAccessKey}`);
    registry._restApiClient.setOptions({ http: { agent } });
    hook = await startWebhook();
  });
  after(async () => {
    await hook?.stop();
    agent?.destroy();
    await sim?.stop();
    folder?.remove();
  });
  beforeEach(async () => {
    await control('/subscriptions', 'DELETE');
    hook.received.length = 0;
    hook.status = 200;
  });

  it('names the hub in its environment as its events name it', () => {
    assert.equal(sim.variables.iothub_examplehub, sim.variables.iothub);
  });

  for (const schema of ['eventgrid', 'eventgrid-2018'])
    it(`as ${schema}`, async () => {
      await subscribe({ schema });
      const device = await create('lora-01');
      await registry.updateTwin('lora-01', { tags: { site: 'east' } }, '*');
      await registry.delete('lora-01');
      await until('both events', () => hook.notifications().length === 2);
      const requests = hook.notifications();
      for (const { method, url, headers } of requests) {
        assert.deepEqual([method, url], ['POST', '/api/hook?code=s3cret']);
        assert.equal(headers['aeg-subscription-name'], 'TO-TEST');
        assert.equal(headers['aeg-delivery-count'], '0');
        assert.equal(headers['aeg-data-version'], schema === 'eventgrid' ? '1' : '');
        assert.equal(headers['aeg-metadata-version'], '1');
      }
      const events = (await Promise.all(requests.map(({ body }) => reader.deserializeEventGridEvents(body)))).flat();
      assert.equal(events.length, 2);
      const [created, deleted] = [typeNames.created, typeNames.deleted].map((type) => events.find((e) => e.eventType === type));
      assert.ok(isSystemEvent(typeNames.created, created));
      assert.ok(isSystemEvent(typeNames.deleted, deleted));
      assert.notEqual(created.id, deleted.id);
      assert.ok(created.eventTime instanceof Date && Math.abs(created.eventTime - Date.now()) < 60_000);
      assert.match(created.topic, /^\/SUBSCRIPTIONS\/.*\/PROVIDERS\/MICROSOFT\.DEVICES\/IOTHUBS\/EXAMPLEHUB$/);
      for (const event of events) {
        assert.equal(event.subject, 'devices/lora-01');
        assert.equal(event.data.deviceId, 'lora-01');
        assert.equal(event.data.hubName, 'examplehub');
        assert.equal(event.data.twin.deviceId, 'lora-01');
        assert.equal(event.data.twin.status, device.status);
        assert.equal(event.data.twin.properties.desired.version ?? event.data.twin.properties.desired.$version, 1);
      }
      const [raw] = JSON.parse(requests.find(({ body }) => body.includes('DeviceDeleted')).body);
      assert.deepEqual(raw.data.twin.tags, { site: 'east' }, 'the last twin that was known');
      assert.equal(raw.data.opType, schema === 'eventgrid' ? undefined : 'DeviceDeleted');
    });

  it('as CloudEvents, one at a time', async () => {
    await subscribe({ schema: 'cloudevents' });
    await create('cloud-01');
    await until('the event', () => hook.notifications().length === 1);
    const [{ headers, body }] = hook.notifications();
    assert.match(headers['content-type'], /^application\/cloudevents\+json/);
    const [event, ...more] = await reader.deserializeCloudEvents(body);
    assert.equal(more.length, 0);
    assert.ok(isSystemEvent(typeNames.created, event));
    assert.equal(event.specversion, '1.0');
    assert.equal(event.subject, 'devices/cloud-01');
    assert.equal(event.data.twin.deviceId, 'cloud-01');
    assert.ok(event.time instanceof Date);
    assert.equal(hook.received.find(({ method }) => method === 'OPTIONS').headers['webhook-request-origin'], 'eventgrid.azure.net');
  });

  it('as CloudEvents in binary mode, put together from headers and body', async () => {
    await subscribe({ schema: 'cloudevents-binary' });
    await create('binary%01');
    await until('the event', () => hook.notifications().length === 1);
    const [{ headers, body }] = hook.notifications();
    const attributes = Object.entries(headers).filter(([name]) => name.startsWith('ce-'))
      .map(([name, value]) => [name.slice(3), decodeURIComponent(value)]);
    const [event] = await reader.deserializeCloudEvents({ ...Object.fromEntries(attributes), data: JSON.parse(body) });
    assert.ok(isSystemEvent(typeNames.created, event));
    assert.equal(event.subject, 'devices/binary%01');
    assert.equal(event.data.deviceId, 'binary%01');
  });

  for (const schema of ['eventgrid', 'cloudevents'])
    it(`in batches, as ${schema}`, async () => {
      await subscribe({ schema, maxEventsPerBatch: 50, preferredBatchSizeInKilobytes: 1024 });
      const many = Array.from({ length: 60 }, (_, i) => ({ deviceId: `many-${i}`, tags: { ref: String(i) } }));
      await registry.addDevices(many);
      await settled();
      await registry.removeDevices(many, true);
      await settled();
      const requests = hook.notifications();
      assert.ok(requests.length < 120, 'some came together');
      const events = [];
      for (const { headers, body } of requests) {
        assert.match(headers['content-type'], schema === 'eventgrid' ? /^application\/json/ : /^application\/cloudevents-batch\+json/);
        const read = schema === 'eventgrid' ? await reader.deserializeEventGridEvents(body) : await reader.deserializeCloudEvents(body);
        assert.ok(read.length <= 50);
        events.push(...read);
      }
      for (const type of Object.values(typeNames))
        assert.deepEqual(events.filter((event) => isSystemEvent(type, event)).map((event) => event.data.deviceId).sort(),
          many.map(({ deviceId }) => deviceId).sort());
      assert.equal(new Set(events.map(({ id }) => id)).size, 120);
    });

  it('again and again until it is taken, with one id', async () => {
    await subscribe({ maxDeliveryAttempts: 5 });
    hook.status = 503;
    await create('busy-01');
    for (const tries of [1, 2]) {
      await until('the refusal', async () => (await control('/subscriptions/to-test')).retried === tries);
      if (tries === 2) hook.status = 202;
      await control('/advance', 'POST', { seconds: 60 });
    }
    await settled();
    const requests = hook.notifications();
    assert.deepEqual(requests.map(({ headers }) => headers['aeg-delivery-count']), ['0', '1', '2']);
    assert.equal(new Set(requests.map(({ body }) => body)).size, 1);
  });

  it('starts from the command line, before the endpoint is there', async () => {
    const late = await startWebhook();
    const { address } = late;
    await late.stop();
    const other = temporaryFolder();
    const second = await startSim(other.path, ['--devices', '0', '--time-factor', '100', '--subscribe', `schema=cloudevents,name=early,${address}`]);
    try {
      const state = async () => (await (await fetch(`${second.ready.control}/subscriptions/early`)).json());
      await until('a first try', async () => (await state()).handshakes > 0);
      const server = createServer((request, response) => {
        response.writeHead(200, { 'WebHook-Allowed-Origin': '*', 'WebHook-Allowed-Rate': '100' }).end();
      });
      await new Promise((resolve) => { server.listen(new URL(address).port, '127.0.0.1', resolve); });
      await until('the handshake', async () => (await state()).state === 'Succeeded');
      server.closeAllConnections();
      await new Promise((resolve) => { server.close(resolve); });
    } finally {
      await second.stop();
      other.remove();
    }
  });
});
