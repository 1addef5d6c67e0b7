// What the daemon tells of itself: events to an Application Insights that checks every envelope, to a file and to a signed
// webhook, and notices to people.
import assert from 'node:assert/strict';
import { appendFileSync, existsSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { describe } from 'node:test';
import { freePort, lorawan, scene, until } from './lib.mjs';
import { certificate, instrumentationKey, readMail, startHook, startIngestion, startMailServer } from './telemetry_peers.mjs';

const empty = ['--devices', '0', '--time-factor', '20', '--no-throttle', '--event-tags'];
const eui = (n) => `70B3D57EF000${n.toString(16).toUpperCase().padStart(4, '0')}`;
const few = { twinCheckMaxRetryCount: '2', externalSystemCallMaxRetryCount: '2' };
const insights = (ingestion) => ({ APPLICATIONINSIGHTS_CONNECTION_STRING: ingestion.connectionString });
/// Every delivery was as it should be, and nothing that should stay here went out.
function nothingWrong(...receivers) {
  for (const one of receivers) {
    assert.deepEqual(one.faults, []);
    assert.ok(!JSON.stringify(one.events ?? one.bodies).includes(lorawan('').applicationKey), 'the application key is not sent');
  }
}
const buffered = (s) => existsSync(s.path('state.db-telemetry')) && readdirSync(s.path('state.db-telemetry')).some((name) => name.endsWith('.gz'));

async function startRun(daemon, link = 'default') {
  const answer = await fetch(`${daemon.operations}/api/v1/links/${link}/runs`, { method: 'POST' });
  assert.equal(answer.status, 202);
  return (await answer.json()).id;
}
async function runUntil(daemon, id, states) {
  await until(`run ${id} is ${states}`, async () => states.includes((await (await fetch(`${daemon.operations}/api/v1/runs/${id}`)).json()).state), 60);
}

describe('telemetry', { concurrency: 2 }, () => {
  scene('the sample\'s twelve events arrive with the sample\'s properties, with its variables alone',
    ['--devices', '100', '--missing', '5%', '--orphaned', '3%', '--changed', '0%', '--time-factor', '60', '--no-throttle', '--event-tags'], async (s, t) => {
      const ingestion = await startIngestion();
      t.after(ingestion.stop);
      const daemon = await s.serve(0, { ...few, ...insights(ingestion) });
      t.after(daemon.stop);
      await s.subscribe(daemon);
      const seen = (name, id) => until(`${name} of ${id}`, () => ingestion.of(name).some((event) => event.properties.deviceId === id), 30);

      await s.addDevice('complete', eui(1));
      await seen('ExternalDeviceCreated', 'complete');
      await s.addDevice('bare', eui(2), { note: 'no tags' });
      await seen('DeviceTwinCheckFail', 'bare');
      await seen('DeviceTwinCheckFailed', 'bare');
      await s.addDevice('second', eui(3));
      await seen('ExternalDeviceCreated', 'second');
      await s.removeDevice('complete');
      await seen('ExternalDeviceDeleted', 'complete');
      await s.fault({ server: 'thingpark', path: '/devices', status: 500, times: 1000 });
      await s.addDevice('unlucky', eui(4));
      await seen('ExternalDeviceCreationError', 'unlucky');
      await seen('ExternalDeviceCreationFailed', 'unlucky');
      await s.removeDevice('second');
      await seen('ExternalDeviceDeletedError', 'second');
      await seen('ExternalDeviceDeleteFailed', 'second');
      await s.noFaults();

      await s.fault({ failJob: 'export', times: 1 });
      await runUntil(daemon, await startRun(daemon), ['failed']);
      const run = await startRun(daemon);
      await runUntil(daemon, run, ['done']);
      await until('the run\'s end', () => ingestion.of('RunCompleted').length > 0);
      for (const name of ['IoTHubJobFailed', 'IoTHubJobCheckNotComplete']) {
        const [event] = ingestion.of(name);
        assert.ok(event, name);
        assert.ok(event.properties.iotHubJobId, JSON.stringify(event));
        assert.equal(event.properties.iothubname, 'default');
      }
      const outcome = await (await fetch(`${daemon.operations}/api/v1/runs/${run}/devices?outcome=done&limit=1000`)).json();
      for (const [name, property, wanted] of [['ExternalDeviceCreationError', 'error', /./], ['ExternalDeviceDeletedError', 'errorMessage', /./],
        ['DeviceTwinCheckFail', 'missingProperty', /^\w+$/], ['IoTHubJobCheckNotComplete', 'jobId', /./], ['IoTHubJobCheckNotComplete', 'jobStatus', /^(Enqueued|Running)$/]])
        assert.match(ingestion.of(name)[0].properties[property] ?? '', wanted, `${property} of ${name}`);
      for (const [name, op] of [['IoTHubDeviceCreated', 'create'], ['IoTHubDeviceDeleted', 'delete']])
        assert.deepEqual(ingestion.of(name).map((event) => event.properties.deviceId).sort(),
          outcome.items.filter((item) => item.op === op).map((item) => item.device).sort(), name);
      assert.ok(ingestion.of('IoTHubDeviceCreated').length >= 5 && ingestion.of('IoTHubDeviceDeleted').length === 3);
      for (const event of ingestion.events.filter((one) => /Device/.test(one.name))) {
        assert.ok(event.properties.deviceId, JSON.stringify(event));
        assert.equal(event.properties.iothubname, 'default');
      }
      assert.deepEqual(ingestion.of('RunStarted').map((event) => event.operation).includes(run), true);
      assert.equal(ingestion.of('RunFailed')[0].properties.code, 'IoTHubJobFailed');
      assert.equal((await daemon.stop()).code, 0);
      nothingWrong(ingestion);
    });

  scene('what callers of the façade had done is told as the sample did, and counted', empty, async (s, t) => {
    const ingestion = await startIngestion();
    t.after(ingestion.stop);
    const serve = (more) => s.serve(0, { ...insights(ingestion), ...more });
    let daemon = await serve();
    t.after(() => daemon.stop());
    const call = async (status, method, path, body) => {
      const answer = await fetch(daemon.address + path, { method, headers: { 'content-type': 'application/json' }, body: body && JSON.stringify(body) });
      assert.equal(answer.status, status, `${method} ${path}: ${await answer.text()}`);
    };
    await call(201, 'POST', '/api/devices/dev-1', { applicationKey: lorawan('').applicationKey });
    await call(200, 'POST', '/api/devices/dev-1', { applicationKey: lorawan('').applicationKey });
    await call(200, 'DELETE', '/api/devices/dev-1');
    await call(404, 'DELETE', '/api/devices/dev-1');
    await call(200, 'POST', '/api/v1/devices/default:batch', { operations: [{ op: 'create', id: 'dev-2' }, { op: 'create', id: 'dev-3' }] });
    await call(200, 'POST', '/api/devices/dev-4?dryRun=true');
    await until('the events', () => ingestion.of('IoTHubDeviceCreated').length >= 3 && ingestion.of('IoTHubDeviceDeleted').length >= 1);
    assert.deepEqual(ingestion.of('IoTHubDeviceCreated').map((event) => event.properties.deviceId).sort(), ['dev-1', 'dev-2', 'dev-3']);
    const [gone] = ingestion.of('IoTHubDeviceDeleted');
    assert.deepEqual([gone.properties.deviceId, gone.properties.iothubname, gone.properties.link, gone.properties.softDelete], ['dev-1', 'default', 'default', 'false']);
    const metrics = await (await fetch(`${daemon.operations}/metrics`)).text();
    assert.match(metrics, /^twinstep_changes_total\{kind="create",link="default",result="done"\} 3$/m);
    assert.match(metrics, /^twinstep_changes_total\{kind="delete",link="default",result="done"\} 1$/m);
    assert.equal((await daemon.stop()).code, 0);

    daemon = await serve({ iotHubFacadeUseSoftDelete: 'true' });
    await call(200, 'DELETE', '/api/devices/dev-2');
    await until('the soft one', () => ingestion.of('IoTHubDeviceDeleted').some((event) => event.properties.softDelete === 'true'));
    assert.equal((await daemon.stop()).code, 0);
    assert.deepEqual([ingestion.of('IoTHubDeviceCreated').length, ingestion.of('IoTHubDeviceDeleted').length], [3, 2], 'each once');
    nothingWrong(ingestion);
  });

  scene('events outlive an ingestion that is away and a kill -9, and come when it is back', empty, async (s, t) => {
    const port = await freePort();
    const variables = { APPLICATIONINSIGHTS_CONNECTION_STRING: `InstrumentationKey=${instrumentationKey};IngestionEndpoint=http://127.0.0.1:${port}` };
    let daemon = await s.serve(0, variables);
    t.after(() => daemon.stop('SIGKILL'));
    await s.subscribe(daemon);
    for (let n = 0; n < 5; ++n) await s.addDevice(`dev-${n}`, eui(n));
    await until('all are outside', async () => (await s.outside()).length === 5);
    // What reached the disk is what is promised; what is in memory for less than a second is not.
    await until('they are on disk', () => {
      if (!buffered(s)) return false;
      return readdirSync(s.path('state.db-telemetry')).filter((name) => name.endsWith('.gz')).reduce((sum, name) => sum + Number(/-(\d+)\./.exec(name)[1]), 0) >= 5;
    });
    await daemon.stop('SIGKILL');
    const ingestion = await startIngestion(port);
    t.after(ingestion.stop);
    daemon = await s.serve(0, variables);
    await until('the buffered ones', () => ingestion.of('ExternalDeviceCreated').length >= 5);
    assert.deepEqual([...new Set(ingestion.of('ExternalDeviceCreated').map((event) => event.properties.deviceId))].sort(), ['dev-0', 'dev-1', 'dev-2', 'dev-3', 'dev-4']);
    await until('the folder is empty', () => !buffered(s));
    assert.equal((await daemon.stop()).code, 0);
    nothingWrong(ingestion);
  });

  scene('an ingestion that throttles, takes parts, moves and hangs gets every event', empty, async (s, t) => {
    const [ingestion, other] = [await startIngestion(), await startIngestion()];
    t.after(ingestion.stop);
    t.after(other.stop);
    const later = { 'retry-after': '1' };
    const partly = (envelopes) => ({ status: 206, headers: later,
      errors: envelopes.map((_, index) => ({ index, statusCode: index % 2 ? 503 : 429, message: 'later' })).slice(0, Math.max(1, envelopes.length - 1)) });
    ingestion.script.push({ status: 429, headers: later }, { status: 439, headers: later }, { status: 500, headers: later }, partly, partly,
      { status: 308, headers: { location: `http://127.0.0.1:${other.port}/v2/track` } });
    let daemon = await s.serve(0, insights(ingestion));
    t.after(() => daemon.stop('SIGKILL'));
    await s.subscribe(daemon);
    for (let n = 0; n < 10; ++n) await s.addDevice(`dev-${n}`, eui(n));
    const ids = () => new Set([...ingestion.of('ExternalDeviceCreated'), ...other.of('ExternalDeviceCreated')].map((event) => event.properties.deviceId));
    await until('every event', () => ids().size === 10, 60);
    await until('the redirect', () => other.events.length > 0, 30);
    other.script.push({ always: 'hang' });
    await s.addDevice('late', eui(11));
    await until('a delivery that hangs', () => other.deliveries > 1 && s.outside().then((names) => names.includes('late')), 30);
    const began = Date.now();
    assert.equal((await daemon.stop()).code, 0);
    assert.ok(Date.now() - began < 10_000, `it took ${Date.now() - began} ms to stop`);
    other.script.length = 0;
    daemon = await s.serve(0, insights(ingestion));
    await until('what was left on disk', () => ids().has('late'), 30);
    await daemon.stop();
    nothingWrong(ingestion, other);
  });

  scene('a file and a signed webhook get the same events, whatever becomes of the file', empty, async (s, t) => {
    const hook = await startHook('s3cret');
    t.after(hook.stop);
    hook.script.push(503, 429);
    const config = s.thingpark('master: hub, deletes: never');
    const file = s.path('events.ndjson');
    appendFileSync(config, `telemetry: {file: "${file}", webhooks: [{url: "${hook.url}", secret: "env:HOOK_SECRET"}]}\n`);
    const daemon = await s.serve(0, { HOOK_SECRET: 's3cret' }, ['--config', config]);
    t.after(daemon.stop);
    await s.subscribe(daemon);
    const lines = (path) => (existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line)) : []);
    const devices = (list) => list.filter((event) => event.name === 'ExternalDeviceCreated').map((event) => event.properties.deviceId);
    await s.addDevice('one', eui(1));
    await until('it is in the file', () => devices(lines(file)).includes('one'));
    renameSync(file, `${file}.1`);
    await s.addDevice('two', eui(2));
    await until('it is in the new file', () => devices(lines(file)).includes('two'));
    assert.ok(!devices(lines(`${file}.1`)).includes('two'));
    await until('the webhook has both', () => ['one', 'two'].every((id) => devices(hook.bodies.flat()).includes(id)), 30);
    assert.equal((await daemon.stop()).code, 0);
    nothingWrong(hook);
  });

  scene('a person is told of a blocked run and of its end, by webhook and by mail, once',
    ['--devices', '100', '--orphaned', '40%', '--time-factor', '60', '--no-throttle'], async (s, t) => {
      const [hook, chat] = [await startHook('s3cret'), await startHook()];
      t.after(hook.stop);
      t.after(chat.stop);
      chat.script.push(500);
      const tls = certificate(s.folder);
      const mail = await startMailServer({ tls, login: 'twinstep:pässword', refuse: ['gone@example.org'] });
      t.after(mail.stop);
      writeFileSync(s.path('both.pem'), s.sim.ca + tls.cert);
      const config = s.thingpark('deletes: delete');
      appendFileSync(config, `notices:
  - {to: webhook, url: "${hook.url}", secret: s3cret}
  - {to: slack, url: "${chat.url}", on: [blocked]}
  - {to: email, email: {server: "smtp://localhost:${mail.port}", from: twinstep@example.org, recipients: [ops@example.org], user: twinstep, password: "env:MAIL_PASSWORD"}}
  - {to: email, email: {server: "smtp://localhost:${mail.port}", from: twinstep@example.org, recipients: [ops@example.org, gone@example.org], user: twinstep, password: "env:MAIL_PASSWORD"}}
`);
      const variables = { MAIL_PASSWORD: 'pässword', TWINSTEP_CA_FILE: s.path('both.pem') };
      let daemon = await s.serve(0, variables, ['--config', config]);
      t.after(() => daemon.stop('SIGKILL'));
      const run = await startRun(daemon);
      await until('the webhook', () => hook.bodies.length > 0, 60);
      assert.deepEqual({ action: hook.bodies[0].action, kind: hook.bodies[0].kind, run: hook.bodies[0].run, link: hook.bodies[0].link },
        { action: 'trigger', kind: 'blocked', run, link: 'default' });
      await until('the mail', () => mail.mails.length > 0, 30);
      const [first] = mail.mails;
      assert.equal(first.secured, true);
      assert.equal(first.user, 'twinstep');
      assert.deepEqual(first.to, ['ops@example.org']);
      const read = readMail(first.text);
      assert.match(read.subject, /run of link default is blocked/);
      assert.match(read.body, new RegExp(`twinstep approve ${run}`));
      await until('the refused recipient is named', () => /notice\.not_said key=blocked.*to=email.*550/.test(daemon.output()));
      await until('the chat, at the second try', () => chat.bodies.length === 1, 30);
      assert.match(chat.bodies[0].text, /^\*twinstep: run of link default is blocked\*\n/);

      await daemon.stop('SIGKILL');
      daemon = await s.serve(0, variables, ['--config', config]);
      const answer = await fetch(`${daemon.operations}/api/v1/runs/${run}/reject`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"by":"anna"}' });
      assert.equal(answer.status, 200);
      await until('the end', () => hook.bodies.length > 1 && mail.mails.length > 1, 30);
      assert.equal(hook.bodies.length, 2, 'once, also after a restart');
      assert.equal(hook.bodies[1].action, 'resolve');
      assert.equal(hook.bodies[1].key, hook.bodies[0].key);
      assert.match(hook.bodies[1].text, /rejected by anna/);
      assert.match(readMail(mail.mails[1].text).subject, /not blocked any more/);
      assert.equal((await daemon.stop()).code, 0);
      assert.equal(chat.bodies.length, 1, 'it did not ask for the end');
      nothingWrong(hook, chat);
    });

  scene('refused credentials are an alarm, and over when they are accepted, also after a restart', empty, async (s, t) => {
    const [hook, ingestion] = [await startHook(), await startIngestion()];
    t.after(hook.stop);
    t.after(ingestion.stop);
    const config = s.thingpark('master: hub, deletes: never');
    appendFileSync(config, `notices: [{to: pagerduty, url: "${hook.url}", routing_key: "env:ROUTING_KEY", on: [alarm, recovery]}]\n`);
    const variables = { ROUTING_KEY: '0123456789abcdef0123456789abcdef', ...insights(ingestion) };
    let daemon = await s.serve(0, { ...variables, actility_api_client_secret: 'wrong' }, ['--config', config]);
    t.after(() => daemon.stop('SIGKILL'));
    await s.subscribe(daemon);
    await s.addDevice('dev-1', eui(1));
    await until('the alarm', () => hook.bodies.length > 0, 30);
    assert.equal(hook.bodies[0].event_action, 'trigger');
    assert.equal(hook.bodies[0].routing_key, variables.ROUTING_KEY);
    assert.equal(hook.bodies[0].payload.component, 'external/tp');
    await daemon.stop();
    assert.ok(!daemon.output().includes(variables.ROUTING_KEY));
    daemon = await s.serve(0, variables, ['--config', config]);
    await fetch(`${daemon.operations}/api/v1/lanes/${encodeURIComponent('external/tp')}/resume`, { method: 'POST' });
    await until('the end', () => hook.bodies.length > 1, 60);
    assert.equal(hook.bodies[1].event_action, 'resolve');
    assert.equal(hook.bodies[1].dedup_key, hook.bodies[0].dedup_key);
    assert.deepEqual(await s.outside(), ['dev-1']);
    await daemon.stop();
    assert.equal(ingestion.of('LaneRests')[0].properties.lane, 'external/tp');
    assert.equal(hook.bodies.length, 2);
    nothingWrong(hook, ingestion);
  });

  scene('mail is not sent where STARTTLS is not offered, nor with a wrong password', ['--devices', '50', '--orphaned', '40%', '--time-factor', '60', '--no-throttle'], async (s, t) => {
    const plain = await startMailServer();
    t.after(plain.stop);
    const strict = await startMailServer({ login: 'twinstep:right' });
    t.after(strict.stop);
    const config = s.thingpark('deletes: delete');
    const mail = (port, more) => `  - {to: email, email: {server: "smtp://127.0.0.1:${port}", from: a@example.org, recipients: [b@example.org]${more}}}\n`;
    appendFileSync(config, `notices:\n${mail(plain.port, '')}${mail(strict.port, ', user: twinstep, password: wrong, starttls: false')}`);
    const daemon = await s.serve(0, {}, ['--config', config]);
    t.after(daemon.stop);
    await startRun(daemon);
    await until('both refusals', () => /offers no STARTTLS/.test(daemon.output()) && /refuses user or password/.test(daemon.output()), 60);
    assert.equal(plain.mails.length + strict.mails.length, 0);
    assert.ok(!plain.log.some((line) => /^(MAIL|AUTH)/.test(line)), 'nothing is said in clear');
  });

  scene('what cannot be used is refused at once and by name', empty, async (s) => {
    const config = s.thingpark('deletes: never');
    const good = readFileSync(config, 'utf8');
    for (const [text, complaint] of [
      ['telemetry: {application_insights: "InstrumentationKey=1"}', /twinstep.*:\d+:\d+.*InstrumentationKey/s],
      ['telemetry: {webhooks: [{url: "http://example.org/hook"}]}', /write https/],
      ['notices: [{to: webhook, url: "https://example.org/", body: "{\\"t\\": \\"{{txet}}\\"}"}]', /no 'txet'/],
      ['notices: [{to: slack}]', /needs url/], ['notices: [{to: pagerduty}]', /needs routing_key/],
      ['notices: [{to: email, email: {server: "smtp://x", from: a@b, recipients: "c"}}]', /recipients/],
      ['notices: [{to: email}]', /email/]]) {
      writeFileSync(config, `${good}${text}\n`);
      const checked = await s.run(['--config', config, 'config', 'check']);
      assert.notEqual(checked.code, 0, text);
      assert.match(checked.all, complaint);
    }
    const variable = await s.run(['config', 'check'], { APPLICATIONINSIGHTS_CONNECTION_STRING: 'nonsense' });
    assert.match(variable.all, /APPLICATIONINSIGHTS_CONNECTION_STRING/);
  });
});
