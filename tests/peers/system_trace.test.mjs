// Traces: from the webhook to the call of the network server, across a crash, and the log lines that name them.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { describe } from 'node:test';
import { lorawan, scene, until } from './lib.mjs';
import { startCollector } from './otlp_collector.mjs';

const empty = ['--devices', '0', '--time-factor', '20', '--no-throttle'];
const eui = (n) => `0004A30B0002${n.toString(16).toUpperCase().padStart(4, '0')}`;
const hook = '/api/ExternalRegistrySynchronizer_EventGridListener';
const caller = { trace: '4bf92f3577b34da6a3ce929d0e0e4736', span: '00f067aa0ba902b7' };
const traceparent = `00-${caller.trace}-${caller.span}-01`;

/// An event of Event Grid about a device of the hub, sent by hand, as a caller that traces.
function deliver(daemon, device, headers = { traceparent }) {
  return fetch(daemon.address + hook, { method: 'POST', headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify([{ id: `event-${device}`, topic: '/SUBSCRIPTIONS/S/RESOURCEGROUPS/G/PROVIDERS/MICROSOFT.DEVICES/IOTHUBS/DEFAULT',
      subject: `devices/${device}`, eventType: 'Microsoft.Devices.DeviceCreated', eventTime: '2026-01-01T00:00:00Z',
      data: { twin: { deviceId: device, tags: {} }, hubName: 'default', deviceId: device }, dataVersion: '1', metadataVersion: '1' }]) });
}

describe('traces', { concurrency: 2 }, () => {
  scene('an event and the create that it asked for are one trace, with a kill -9 between them', empty, async (s, t) => {
    const collector = await startCollector();
    t.after(collector.stop);
    const variables = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint, OTEL_EXPORTER_OTLP_HEADERS: 'x-team=plant%201', OTEL_SERVICE_NAME: 'twinstep-test' };
    let daemon = await s.serve(0, variables);
    t.after(() => daemon.stop('SIGKILL'));
    await s.addDevice('dev-1', eui(1), { note: 'no tags yet' });
    assert.equal((await deliver(daemon, 'dev-1')).status, 200);
    const ours = () => collector.spans.filter((span) => span.traceId === caller.trace);
    const find = (name, more = () => true) => ours().find((span) => span.name === name && more(span));
    await until('the request was exported', () => find(`POST ${hook}`), 20);
    await until('a look at the twin was exported', () => find('get twin'), 20);
    assert.deepEqual(await s.outside(), []);
    await daemon.stop('SIGKILL');
    const first = daemon.output();
    await s.tagDevice('dev-1', lorawan(eui(1)));
    daemon = await s.serve(0, variables);
    await until('the device is outside', async () => (await s.outside()).includes('dev-1'), 30);
    await until('the create was exported', () => find('create') && find('device', (span) => span.attributes['twinstep.state'] === 'done'), 20);
    assert.deepEqual(collector.faults, []);

    const request = find(`POST ${hook}`);
    const create = find('create');
    const byId = Object.fromEntries(ours().map((span) => [span.spanId, span]));
    const claim = byId[create.parentSpanId];
    assert.equal(request.parentSpanId, caller.span, 'the caller\'s span is the parent of the request');
    assert.equal(request.kind, 2);
    assert.equal(request.attributes['http.response.status_code'], '200');
    assert.equal(claim.name, 'device', 'the create belongs to a claim of the task');
    assert.equal(claim.parentSpanId, request.spanId, 'which belongs to the request');
    assert.equal(claim.kind, 5);
    assert.deepEqual([claim.attributes['twinstep.link'], claim.attributes['twinstep.state']], ['default', 'done']);
    assert.equal(create.kind, 3);
    assert.equal(create.attributes['twinstep.remote'], 'external/actility');
    assert.notEqual(claim.resource['service.instance.id'], request.resource['service.instance.id'], 'two processes');
    assert.equal(claim.resource['service.name'], 'twinstep-test');
    assert.equal(collector.headers[0]['x-team'], 'plant 1');
    // In the process that lived on every span has its parent among them; the other one took its last ones with it.
    const living = ours().filter((span) => span.resource['service.instance.id'] === claim.resource['service.instance.id']);
    assert.ok(living.length >= 3);
    for (const span of living) assert.ok(span.parentSpanId === caller.span || byId[span.parentSpanId], `${span.name} hangs in the air`);
    const text = JSON.stringify(collector.spans);
    for (const secret of [s.key, s.variables.actility_api_client_secret, lorawan(eui(1)).applicationKey]) assert.ok(!text.includes(secret), 'a secret is exported');

    // The same ids in the log of both processes.
    const created = daemon.output().split('\n').find((line) => line.includes('ExternalDeviceCreated'));
    const waited = first.split('\n').find((line) => line.includes('DeviceTwinCheckFail'));
    for (const line of [created, waited])
      assert.match(line, new RegExp(` trace=${caller.trace} task=${claim.attributes['twinstep.workflow']} link=default device=dev-1$`), line);
  });

  scene('log lines name their work without a collector too, those of a run on every thread', ['--devices', '300', '--time-factor', '60'], async (s, t) => {
    const daemon = await s.serve();
    t.after(daemon.stop);
    await fetch(`${daemon.operations}/loglevel`, { method: 'PUT', body: '{"level":"debug"}' });
    const started = await fetch(`${daemon.operations}/api/v1/links/default/runs`, { method: 'POST', headers: { traceparent } });
    const { id } = await started.json();
    await until('the run has ended', async () => (await (await fetch(`${daemon.operations}/api/v1/runs/${id}`)).json()).state === 'done', 60);
    await daemon.stop();
    const calls = daemon.output().split('\n').filter((line) => line.includes('http.answered') && / run=/.test(line));
    assert.ok(calls.some((line) => line.includes('operation="actility: list"')), 'the list, which another thread reads');
    assert.ok(calls.length > 5);
    for (const line of calls) assert.ok(line.endsWith(` trace=${caller.trace} run=${id} link=default`), line);
    const nameless = daemon.output().split('\n').filter((line) => line.includes('http.answered') && !/ (run|task)=/.test(line));
    assert.deepEqual(nameless, [], 'a call of a run or task without its name');
  });

  scene('a trace header that is none begins a new trace, and nobody is refused for it', empty, async (s, t) => {
    const collector = await startCollector([{ status: 503, headers: { 'retry-after': '1' } }]);
    t.after(collector.stop);
    const daemon = await s.serve(0, { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.endpoint}/v1/traces` });
    t.after(daemon.stop);
    for (const bad of ['nonsense', '00-00000000000000000000000000000000-00f067aa0ba902b7-01', `ff-${caller.trace}-${caller.span}-01`, 'x'.repeat(8000)])
      assert.equal((await fetch(`${daemon.operations}/healthz`, { headers: { traceparent: bad, tracestate: 'a=1' } })).status, 200);
    assert.equal((await fetch(`${daemon.operations}/healthz`, { headers: { traceparent: `00-${caller.trace}-${caller.span}-00` } })).status, 200);
    await daemon.stop();
    const health = collector.spans.filter((span) => span.name === 'GET /healthz');
    assert.equal(health.length, 4, 'the first answer 503 lost none, and the caller that is not sampled is not recorded');
    assert.equal(new Set(health.map((span) => span.traceId)).size, 4);
    for (const span of health) assert.equal(span.parentSpanId, undefined);
    assert.deepEqual(collector.faults, []);
  });

  scene('what is sent outside carries the trace', empty, async (s, t) => {
    const heard = [];
    const server = createServer((request, answer) => { heard.push(request.headers); answer.writeHead(500); answer.end(); });
    await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
    t.after(() => { server.closeAllConnections?.(); server.close(); });
    const daemon = await s.serve(0, { actility_api_token_uri: `http://127.0.0.1:${server.address().port}/token` });
    t.after(daemon.stop);
    await s.addDevice('dev-1', eui(1));
    assert.equal((await deliver(daemon, 'dev-1', { traceparent, tracestate: 'rojo=1' })).status, 200);
    await until('the token was asked for', () => heard.length > 0, 20);
    assert.match(heard[0].traceparent, new RegExp(`^00-${caller.trace}-[0-9a-f]{16}-01$`));
    assert.equal(heard[0].traceparent, traceparent, 'nothing is exported, so the caller\'s span stays the parent');
  });
});
