// A day of a daemon with secrets in every place where one can enter: 24 hours of its clock, each with some work.
import assert from 'node:assert/strict';
import { createHmac, createSign, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { echo, startListener, startTap } from './canary_peers.mjs';
import { canary } from './canary_search.mjs';
import { freePort, hook, lorawan, makeCertificate, until } from './lib.mjs';
import { startMailServer } from './telemetry_peers.mjs';

const tenant = 'ab1f708d-50f6-404c-a006-d71b2ac7a606';
const audience = '018b2aca-ae48-4d53-9d1c-3b5f4b6d8f51';
const eui = (n) => `0004A30B0001${n.toString(16).padStart(4, '0').toUpperCase()}`;
const quoted = (text) => JSON.stringify(text);  // YAML takes JSON's strings
/// A server that logs parameters has what a caller wrote where an id belongs: it was asked for.
export const serversLog = 'the log of PostgreSQL';
export const ended = ['done', 'failed', 'blocked', 'cancelled'];

/// Configurations that are refused, each with a secret in it that a complaint could repeat.
export function brokenConfigs(canaries) {
  const plant = (what) => canaries.plant(what, canary(), () => true);  // whoever uses this says that each is refused
  return {
    'a hub\'s connection string without a host': `hubs: {x: {connection_string: "SharedAccessKeyName=a;SharedAccessKey=${plant('a hub key of a bad configuration')}"}}`,
    'a connection string that is a list': `hubs: {x: {connection_string: [HostName=x, "SharedAccessKey=${plant('a hub key in a list')}"]}}`,
    'a store of an unknown kind': `store: "mysql://root:${plant('a password of a store that is none')}@db/x"`,
    'a store key that is too short': `store_key: "${plant('a store key that is too short')}"`,
    'a webhook with a user': `telemetry: {webhooks: [{url: "https://me:${plant('a password in a webhook\'s address')}@example.org/"}]}`,
    'a notice by http': `notices: [{to: slack, url: "http://example.org/${plant('a token in an address by http')}"}]`,
    'a mail server with a password': `notices: [{to: email, email: {server: "smtp://me:${plant('a password in a mail server\'s address')}@example.org", from: a@example.org, recipients: b@example.org}}]`,
    'a password without a user': `notices: [{to: email, email: {server: "smtp://example.org", from: a@example.org, recipients: b@example.org, password: "${plant('a password without a user')}"}}]`,
    'no ingestion': `telemetry: {application_insights: "InstrumentationKey=${plant('an instrumentation key that is none')}"}`,
    'a text that never ends': `hubs: {x: {connection_string: "HostName=x;SharedAccessKey=${plant('a key in a text that never ends')}`,
    'a key that is no key of the file': `stores: "postgresql://me:${plant('a password below a misspelled key')}@db/x"`,
    'a setting that is none': `externals: {x: {provider: actility, settings: {clientSecrets: "${plant('a client secret below a misspelled setting')}"}}}`,
  };
}

export class Day {
  hour = 0;
  daemons = [];
  keys = {};
  ids = [];

  /// `store` has `variables` for twinstep, and `texts()`: what is in it and what it wrote down.
  constructor(s, t, canaries, clock, store) { Object.assign(this, { s, t, canaries, clock, store }); }
  plant(...args) { return this.canaries.plant(...args); }
  log() { return this.daemons.map((one) => one.output()).join(''); }
  /// For secrets that are never sent: the log tells that somebody tried.
  logged(pattern) { return () => pattern.test(this.log()); }

  /// Taps before hub, storage and network server, receivers of all that a daemon tells, and a configuration with them.
  async prepare() {
    const { s, t, canaries } = this;
    const made = await makeCertificate(s.folder, 'peers');
    const tls = { key: readFileSync(made.key), cert: readFileSync(made.certificate) };
    const { iothub, AzureWebJobsStorage: storage } = s.variables;
    this.plant('the hub\'s shared access key', s.key, () => canaries.sawLike(/SharedAccessSignature sr=/i));
    this.plant('the storage\'s account key', /AccountKey=([^;]+)/.exec(storage)[1], () => canaries.sawLike(/SharedKey devstoreaccount1:/));
    const secret = this.plant('the network server\'s client secret', `${canary()}+/`);
    const known = s.variables.actility_api_client_secret;
    // The simulator has one secret that everybody knows; the tap lets ours in.
    const change = (body) => Buffer.from(body.toString().replace(encodeURIComponent(secret), known).replace(secret, known));
    const [hub, blob, park] = [await startTap(t, canaries, s.sim.ready.hub, { tls, ca: s.sim.ca }), await startTap(t, canaries, s.sim.ready.blob),
      await startTap(t, canaries, s.sim.ready.thingpark, { change })];
    const through = (text, tap, from) => text.replaceAll(new URL(from).host, new URL(tap.url).host);
    s.variables.iothub = s.variables.iothub_examplehub = through(iothub, hub, s.sim.ready.hub);
    s.variables.AzureWebJobsStorage = through(storage, blob, s.sim.ready.blob);
    for (const name of ['actility_api_token_uri', 'actility_api_devices_uri']) s.variables[name] = through(s.variables[name], park, s.sim.ready.thingpark);
    s.write('peers.pem.txt', s.sim.ca + tls.cert);
    Object.assign(this, { hub, blob });
    this.sinks = { good: await startListener(t, canaries), angry: await startListener(t, canaries, { manners: echo(500) }), insights: await startListener(t, canaries),
      collector: await startListener(t, canaries), issuer: await startListener(t, canaries, { tls }) };
    const closed = `http://127.0.0.1:${await freePort()}`;
    this.sealing = this.plant('the key that seals', randomBytes(32).toString('base64'), () => this.resealed);
    const ikey = `${randomBytes(4).toString('hex')}-1111-2222-3333-${randomBytes(6).toString('hex')}`;
    this.plant('the instrumentation key', ikey);
    this.plant('the instrumentation key without hyphens', ikey.replaceAll('-', ''));
    const password = this.plant('the mail server\'s password', `${canary()}+/"'&%`);
    const proved = (proof) => canaries.saw(proof);
    const [mail, strict] = [await startMailServer({ login: `twinstep:${password}`, proved }), await startMailServer({ login: 'nobody:x', proved })];
    for (const one of [mail, strict]) t.after(one.stop);
    this.variables = { ...this.clock.variables, ...this.store.variables, TWINSTEP_CA_FILE: s.path('peers.pem.txt'), actility_api_client_secret: secret,
      twinCheckIntervalInSeconds: '5', twinCheckMaxIntervalInSeconds: '60',  // what the façade makes never gets tags that are enough
      devicesChangeJobThreshold: '1',  // what is made and deleted goes through blobs
      TWINSTEP_STORE_KEY: this.sealing, EVENTS_SECRET: this.plant('the secret that signs events', canary(), () => this.signed(this.sinks.good, /\/events/, 'EVENTS_SECRET')),
      NOTICE_SECRET: this.plant('the secret that signs notices', canary(), () => this.signed(this.sinks.good, /\/webhook/, 'NOTICE_SECRET')),
      APPLICATIONINSIGHTS_CONNECTION_STRING: `InstrumentationKey=${ikey};IngestionEndpoint=${this.sinks.insights.url}/`,
      OTEL_EXPORTER_OTLP_ENDPOINT: this.sinks.collector.url, OTEL_EXPORTER_OTLP_HEADERS: `x-api-key=${this.plant('the collector\'s header', canary())}` };

    // Each kind of receiver: one that takes it, one that says everything back, one that is not there, one without a name.
    const places = { good: this.sinks.good.url, angry: this.sinks.angry.url, closed, nameless: 'https://nowhere.invalid' };
    const tried = { good: undefined, angry: undefined };
    const address = (kind, where, pattern) => quoted(`${places[where]}/${kind}/${this.plant(`a token in the address of ${kind}, ${where}`, canary(), where in tried ? undefined
      : this.logged(pattern))}?sig=${this.plant(`a signature in the address of ${kind}, ${where}`, canary(), where in tried ? undefined : this.logged(pattern))}`);
    const notSaid = (to) => new RegExp(`notice\\.not_said .*to=${to} .*cannot be reached`);
    const notices = Object.keys(places).flatMap((where) => [
      `{to: webhook, url: ${address('webhook', where, notSaid('webhook'))}, secret: "env:NOTICE_SECRET", body: ${quoted('{"text":"{{title}} {{text}}"}')}}`,
      `{to: teams, url: ${address('teams', where, notSaid('teams'))}}`, `{to: slack, url: ${address('slack', where, notSaid('slack'))}}`,
      `{to: pagerduty, url: ${address('pagerduty', where, notSaid('pagerduty'))}, routing_key: "${this.plant(`a routing key, ${where}`, canary(), where in tried ? undefined
        : this.logged(notSaid('pagerduty')))}"}`]);
    const email = (port, word) => `{to: email, email: {server: "smtp://127.0.0.1:${port}", from: a@example.org, recipients: b@example.org, user: twinstep, password: ${quoted(word)}, starttls: false}}`;
    notices.push(email(mail.port, password), email(strict.port, this.plant('a password that the mail server refuses', canary())));
    this.mails = mail.mails;
    const hooks = Object.keys(places).map((where) => `{url: ${address('events', where, /telemetry\.away sink=\S*webhook.* cannot be reached/)}${where === 'good' ? ', secret: "env:EVENTS_SECRET"' : ''}}`);
    this.list(Array.from({ length: 20 }, (_, i) => i));
    this.good = ['externals:', '  tp: {provider: actility}', `  list: {provider: file, settings: {path: ${quoted(s.path('list.ndjson'))}}}`, 'links:',
      '  - {name: default, hub: default, external: tp, master: external, deletes: delete, schedule: "15 */6 * * *", facade: true}',
      '  - {name: events, hub: default, external: tp, master: hub, deletes: delete, schedule: "45 */8 * * *"}',
      '  - {name: list, hub: default, external: list, master: external, deletes: delete, plan_lifetime: 2h, facade: false}',
      `serve: {webhook: {entra: {tenant: ${tenant}, audience: ${audience}, authority: "${this.sinks.issuer.url}"}}}`,
      `telemetry: {file: ${quoted(s.path('events.ndjson'))}, webhooks: [${hooks.join(', ')}]}`, 'notices:', ...notices.map((one) => `  - ${one}`), ''].join('\n');
    this.config = s.write('day.yaml', this.good);
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    this.sinks.issuer.manners = ({ url }) => ({ status: 200, body: JSON.stringify(url.endsWith('configuration')
      ? { issuer: `${this.sinks.issuer.url}/${tenant}/v2.0`, jwks_uri: `${this.sinks.issuer.url}/${tenant}/keys` }
      : { keys: [{ ...publicKey.export({ format: 'jwk' }), use: 'sig', kid: 'one' }] }) });
    this.sign = (text) => createSign('RSA-SHA256').update(text).sign(privateKey, 'base64url');
  }

  /// The list of the third link with these devices, each with a key that must stay in it.
  list(numbers) {
    this.listKeys ??= new Map();
    const key = (n) => this.listKeys.get(n) ?? this.listKeys.set(n, this.plant('an application key in a list', canary(), () => this.listed)).get(n);
    this.s.write('list.ndjson', numbers.map((n) => JSON.stringify({ id: `list-${n}`, ...lorawan(eui(9000 + n)), applicationKey: key(n) })).join('\n'));
  }
  signed(listener, path, name) {
    return listener.bodies.some(({ url, headers, body }) => {
      const [, time, told] = /^t=(\d+),v1=([0-9a-f]+)$/.exec(headers['x-twinstep-signature'] ?? '') ?? [];
      return path.test(url) && told && createHmac('sha256', this.variables[name]).update(`${time}.${body}`).digest('hex') === told;
    });
  }

  async start() {
    const daemon = await this.s.serve(this.daemons[0]?.port ?? 0, this.variables, ['-vv', '--config', this.config]);
    assert.ok(daemon.address, 'the daemon is there');
    this.t.after(() => daemon.stop('SIGKILL'));
    this.daemons.push(daemon);
    this.daemon = daemon;
  }
  async command(codes, ...args) {
    const ended = await this.s.run(args, this.variables);
    assert.ok(codes.includes(ended.code), `twinstep ${args.join(' ')}: ${ended.code}\n${ended.all}`);
    return ended;
  }
  async makeKey(scope, ...how) {
    const key = (await this.command([0], 'key', ...how)).stdout.trim();
    this.plant(`a key for ${scope}`, key.split('_').slice(2).join('_'));
    return key;
  }
  async makeKeys() {
    for (const scope of ['events', 'facade', 'read', 'operate', 'admin']) this.keys[scope] = await this.makeKey(scope, 'create', '--name', scope, '--scope', scope);
    await until('keys are known', async () => (await fetch(`${this.daemon.address}/api/v1/links`)).status === 401 && (await this.ask('/api/v1/keys', 'admin')).status === 200);
  }

  /// One request, with the key in one of the three places by turns unless `place` says which; its answer is kept.
  async ask(path, scope = 'read', { method = 'GET', body, headers = {}, key = this.keys[scope], place, byDesign } = {}) {
    this.asked = (this.asked ?? 0) + 1;
    const shown = [{ 'x-functions-key': key }, { authorization: `Bearer ${key}` }, {}][place ?? this.asked % 3];
    const url = Object.keys(shown).length ? path : `${path}${path.includes('?') ? '&' : '?'}code=${key}`;
    const sent = { 'content-type': 'application/json', ...shown, ...headers };
    const answer = await fetch(this.daemon.address + url, { method, body, headers: sent });
    const text = await answer.text();
    this.canaries.saw(`${method} ${url}\n${JSON.stringify(sent)}\n${body ?? ''}`);
    this.canaries.keep(`the answer to ${method} ${path.replace(/tsk_\w+|tsi_\w+/g, '***')}`, [...answer.headers].join('\n') + text, byDesign);
    return { status: answer.status, text };
  }
  /// A request that shows no key.
  async post(path, body, headers) {
    const answer = await fetch(this.daemon.address + path, { method: 'POST', body, headers });
    this.canaries.saw(JSON.stringify(headers));
    this.canaries.keep(`the answer to POST ${path}`, [...answer.headers].join('\n') + await answer.text());
    return answer;
  }
  async keepStore(when) {
    this.canaries.keepFiles(this.s.folder, /(\.key|ca\.pem|peers\.pem(\.txt)?|sim\.env|day\.yaml|list\.ndjson)$/);  // besides where they came from
    for (const [what, text] of Object.entries(await this.store.texts())) this.canaries.keep(`${what} ${when}`, text, what === serversLog ? /wrong place/ : undefined);
  }
  async items(what, place) {
    const all = [];
    for (let path = `/api/v1/${what}?limit=1000`; path;) {
      const page = JSON.parse((await this.ask(path, 'read', { place })).text);
      all.push(...page.items);
      path = page.next;
    }
    return all;
  }
  async runUntil(id, states) {
    let run;
    await until(`run ${id} is ${states}`, async () => { run = JSON.parse((await this.ask(`/api/v1/runs/${id}`)).text); return states.includes(run.state); }, 60);
    return run;
  }
  async answer(run, how, body) {
    const answer = await this.ask(`/api/v1/runs/${run}/${how}`, 'operate', { method: 'POST', body: JSON.stringify(body) });
    assert.equal(answer.status, 200, answer.text);
  }
  async run(link) { return this.runUntil(JSON.parse((await this.ask(`/api/v1/links/${link}/runs`, 'operate', { method: 'POST' })).text).id, ended); }

  subscribe() {
    return this.s.subscribe(this.daemon, { endpoint: `${this.daemon.address}${hook}?code=${this.keys.events}` });
  }
  device(id, more = {}) {
    const n = this.ids.push(id);
    const applicationKey = more.applicationKey ?? this.plant(`the application key of ${id}`, canary());
    return this.s.addDevice(id, eui(n), { ...lorawan(eui(n)), ...more, applicationKey });
  }
  tags(broken = false) {
    const text = JSON.stringify({ site: 7, applicationKey: this.plant('an application key over the façade', canary()), nested: { password: this.plant('a password over the façade', canary()) } });
    return broken ? text.slice(0, -1) : text;
  }
  /// A token of Event Grid; the daemon's clock says when.
  token(claims = {}, header = {}) {
    const now = Math.floor(Date.now() / 1000) + this.hour * 3600;
    const text = [{ alg: 'RS256', typ: 'JWT', kid: 'one', ...header }, { aud: audience, iss: `${this.sinks.issuer.url}/${tenant}/v2.0`, tid: tenant, ver: '2.0',
      azp: '4962773b-9cdb-44cf-a8bf-237846a00ab7', sub: 'grid', oid: 'grid', nbf: now - 60, iat: now - 60, exp: now + 3600, ...claims }]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
    return `${text}.${this.plant('the signature of an Event Grid token', this.sign(text))}`;
  }

  /// An hour on every clock, with what happens in every hour: an event, a call, tokens that ended meanwhile.
  async next(work) {
    this.hour += 1;
    // First the daemon, which signs anew; calls that were signed before must be there before the hub's hour is over.
    this.clock.set(`+${this.hour}h`);
    await pause(30);
    await this.hub.settled();
    await this.s.advance(3600);
    const id = `hour-${this.hour}`;
    await this.device(id);
    const key = this.plant('an Idempotency-Key', canary());
    const made = await this.ask(`/api/devices/single-${this.hour}`, 'facade', { method: 'POST', body: this.tags(), headers: { 'idempotency-key': key } });
    assert.equal(made.status, 201, made.text);
    await this.untilOutside(id);  // before a fault of the hour's work can meet it
    await work?.call(this);
  }
  untilOutside(id) { return until(`${id} is outside`, async () => (await this.s.outside()).includes(id), 60); }
}
