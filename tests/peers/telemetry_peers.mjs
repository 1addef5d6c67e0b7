// Receivers of events and notices, each of which checks what it is given: Application Insights' ingestion by what its
// documentation and SDKs say, webhooks with a signature, a mail server with STARTTLS and AUTH.
import { execFileSync } from 'node:child_process';
import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { TLSSocket } from 'node:tls';
import { gunzipSync } from 'node:zlib';

export const instrumentationKey = '00000000-1111-2222-3333-444444444444';

const only = (object, allowed, where) => {
  for (const name of Object.keys(object)) if (!allowed.includes(name)) throw new Error(`${where} has an unknown member ${name}`);
};
const demand = (condition, text) => { if (!condition) throw new Error(text); };

/// Throws when it is no envelope of a custom event.
export function checkEnvelope(envelope) {
  only(envelope, ['ver', 'name', 'time', 'iKey', 'sampleRate', 'tags', 'data'], 'the envelope');
  demand(envelope.ver === 1, 'ver');
  demand(envelope.name === `Microsoft.ApplicationInsights.${instrumentationKey.replaceAll('-', '')}.Event`, `name ${envelope.name}`);
  demand(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(envelope.time), `time ${envelope.time}`);
  demand(Math.abs(Date.parse(envelope.time) - Date.now()) < 3600e3, `time ${envelope.time} is not now`);
  demand(envelope.iKey === instrumentationKey, 'iKey');
  demand(envelope.sampleRate === 100, 'sampleRate');
  demand(envelope.tags['ai.cloud.role'] === 'twinstep', 'ai.cloud.role');
  demand(envelope.tags['ai.cloud.roleInstance'].length > 0, 'ai.cloud.roleInstance');
  demand(/^cpp:\d+\.\d+\.\d+/.test(envelope.tags['ai.internal.sdkVersion']), 'ai.internal.sdkVersion');
  for (const [name, value] of Object.entries(envelope.tags)) demand(typeof value === 'string' && name.startsWith('ai.'), `tag ${name}`);
  const operation = envelope.tags['ai.operation.id'];
  demand(operation === undefined || /^[0-9a-f]{32}$/.test(operation), `operation ${operation}`);
  only(envelope.data, ['baseType', 'baseData'], 'data');
  demand(envelope.data.baseType === 'EventData', 'baseType');
  const data = envelope.data.baseData;
  only(data, ['ver', 'name', 'properties', 'measurements'], 'baseData');
  demand(data.ver === 2, 'baseData.ver');
  demand(typeof data.name === 'string' && data.name.length > 0 && data.name.length <= 512, 'the event\'s name');
  for (const [name, value] of Object.entries(data.properties)) {
    demand(name.length <= 150, `property name ${name}`);
    demand(typeof value === 'string' && value.length <= 8192, `property ${name} is ${value}`);
  }
  for (const [name, value] of Object.entries(data.measurements ?? {})) demand(typeof value === 'number', `measurement ${name}`);
}

function collect(request) {
  return new Promise((resolve) => {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => resolve(Buffer.concat(pieces)));
    request.on('error', () => resolve(null));
  });
}

async function listen(server, port = 0) {
  await new Promise((resolve, reject) => { server.once('error', reject); server.listen(port, '127.0.0.1', resolve); });
  return server.address().port;
}

/// Ingestion of Application Insights. `script` holds what the next deliveries are answered instead of 200: a number, an
/// object {status, headers, body}, a function of the envelopes that gives one, or 'hang'. A last entry that is
/// {always: X} stays.
export async function startIngestion(port = 0) {
  const events = [];
  const faults = [];
  const script = [];
  const open = new Set();
  let deliveries = 0;
  const server = createServer(async (request, response) => {
    const body = await collect(request);
    if (!body) return;
    ++deliveries;
    try {
      demand(request.method === 'POST' && request.url === '/v2/track', `${request.method} ${request.url}`);
      demand(request.headers['content-type'] === 'application/x-json-stream', `content type ${request.headers['content-type']}`);
      demand(request.headers['content-encoding'] === 'gzip', `content encoding ${request.headers['content-encoding']}`);
      const envelopes = gunzipSync(body).toString().split('\n').map((line) => JSON.parse(line));
      envelopes.forEach(checkEnvelope);
      let answer = script[0]?.always ?? script.shift() ?? 200;
      if (answer === 'hang') return;
      if (typeof answer === 'function') answer = answer(envelopes);
      if (typeof answer === 'number') answer = { status: answer };
      const refused = new Set((answer.errors ?? []).map((error) => error.index));
      const taken = answer.status === 200 ? envelopes : answer.status === 206 ? envelopes.filter((_, index) => !refused.has(index)) : [];
      for (const { data, tags, time } of taken) events.push({ ...data.baseData, operation: tags['ai.operation.id'], time });
      const result = { itemsReceived: envelopes.length, itemsAccepted: taken.length, errors: answer.errors ?? [] };
      response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers });
      response.end(JSON.stringify(result));
    } catch (error) {
      faults.push(error.message);
      response.writeHead(400).end(JSON.stringify({ itemsReceived: 1, itemsAccepted: 0, errors: [{ index: 0, statusCode: 400, message: error.message }] }));
    }
  });
  server.on('connection', (socket) => { open.add(socket); socket.on('close', () => open.delete(socket)); });
  const listens = await listen(server, port);
  return {
    events, faults, script, port: listens,
    get deliveries() { return deliveries; },
    connectionString: `instrumentationkey=${instrumentationKey};IngestionEndpoint=http://127.0.0.1:${listens}/;ApplicationId=x`,
    of: (name) => events.filter((event) => event.name === name),
    stop: () => { open.forEach((socket) => socket.destroy()); return new Promise((resolve) => { server.close(resolve); }); },
  };
}

/// A webhook; with a secret it refuses what is not signed by it.
export async function startHook(secret) {
  const bodies = [];
  const faults = [];
  const script = [];
  const server = createServer(async (request, response) => {
    const body = await collect(request);
    if (!body) return;
    const status = script.shift() ?? 200;
    if (status !== 200) return response.writeHead(status).end();
    if (secret) {
      const match = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(request.headers['x-twinstep-signature'] ?? '');
      const expected = match && createHmac('sha256', secret).update(`${match[1]}.`).update(body).digest();
      if (!match || !timingSafeEqual(expected, Buffer.from(match[2], 'hex')) || Math.abs(Date.now() / 1000 - match[1]) > 60) {
        faults.push(`signature ${request.headers['x-twinstep-signature']}`);
        return response.writeHead(401).end();
      }
    }
    if (request.headers['content-type'] !== 'application/json') faults.push(`content type ${request.headers['content-type']}`);
    bodies.push(JSON.parse(body.toString()));
    return response.end();
  });
  const port = await listen(server);
  return {
    bodies, faults, script, url: `http://127.0.0.1:${port}/hook`,
    stop: () => { server.closeAllConnections?.(); return new Promise((resolve) => { server.close(resolve); }); },
  };
}

/// A certificate for this machine, with its key; it is its own authority.
export function certificate(folder) {
  const [key, cert] = [join(folder, 'mail.key'), join(folder, 'mail.pem')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1', '-subj', '/CN=localhost',
    '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', cert], { stdio: 'ignore' });
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
}

/// A mail server. With `tls` it takes no mail before STARTTLS; with `login` ("user:password") none without it; it refuses
/// the recipients that `refuse` names. `proved` hears every user and password, and is said again when it is refused.
export async function startMailServer({ tls, login, refuse = [], proved } = {}) {
  const mails = [];
  const log = [];
  const server = createTcpServer((bare) => {
    let mail = { secured: false, user: null, to: [] };
    const talk = (socket, greet) => {
      let pending = '';
      let data = null;
      let proving = false;
      const check = (proof) => {
        proving = false;
        const [, user, password] = Buffer.from(proof, 'base64').toString().split('\0');
        proved?.(`${user}:${password}`);
        if (`${user}:${password}` !== login) return say(proved ? `535 no: ${user} ${password} ${proof}` : '535 no');
        mail.user = user;
        return say('235 yes');
      };
      const say = (text) => socket.write(`${text}\r\n`);
      if (greet) say('220 localhost ready');
      const hear = (line) => {
        if (data !== null) {
          if (line !== '.') return data.push(line.startsWith('..') ? line.slice(1) : line);
          mails.push({ ...mail, text: data.join('\r\n') });
          data = null;
          mail = { ...mail, to: [] };
          return say('250 taken');
        }
        if (proving) return check(line);
        const [word, rest = ''] = line.split(/ (.*)/s);
        log.push(line.startsWith('AUTH') ? 'AUTH' : line);
        const ready = (!tls || mail.secured) && (!login || mail.user);
        switch (word.toUpperCase()) {
          case 'EHLO': return say(`250-localhost\r\n${tls && !mail.secured ? '250-STARTTLS\r\n' : ''}${login ? '250-AUTH PLAIN\r\n' : ''}250 8BITMIME`);
          case 'STARTTLS': {
            say('220 go ahead');
            socket.removeAllListeners('data');
            const secured = new TLSSocket(socket, { isServer: true, key: tls.key, cert: tls.cert });
            secured.on('error', () => {});
            mail.secured = true;
            return talk(secured, false);
          }
          case 'AUTH': {
            const [, proof] = rest.split(' ');
            proving = !proof;
            return proof ? check(proof) : say('334 ');
          }
          case 'MAIL': if (!ready) return say('530 secure and authenticate first'); mail.from = /<(.*?)>/.exec(rest)[1]; return say('250 ok');
          case 'RCPT': {
            const to = /<(.*?)>/.exec(rest)[1];
            if (refuse.includes(to)) return say('550 no such user');
            mail.to.push(to);
            return say('250 ok');
          }
          case 'DATA': data = []; return say('354 end with a dot');
          case 'RSET': mail.to = []; return say('250 ok');
          case 'QUIT': say('221 bye'); return socket.end();
          default: return say('500 what');
        }
      };
      socket.on('data', (piece) => {
        pending += piece;
        const lines = pending.split('\r\n');
        pending = lines.pop();
        lines.forEach(hear);
      });
    };
    bare.on('error', () => {});
    talk(bare, true);
  });
  const port = await listen(server);
  return { mails, log, refuse, port, stop: () => new Promise((resolve) => { server.close(resolve); }) };
}

/// Subject and text of a message as people see them.
export function readMail(text) {
  const [head, body] = text.split(/\r\n\r\n(.*)/s);
  const headers = {};
  for (const line of head.replace(/\r\n[ \t]+/g, ' ').split('\r\n')) headers[line.slice(0, line.indexOf(':')).toLowerCase()] = line.slice(line.indexOf(':') + 2);
  const subject = headers.subject.replace(/\?= =\?/g, '?==?').replace(/=\?utf-8\?B\?(.*?)\?=/g, (_, word) => Buffer.from(word, 'base64').toString());
  return { headers, subject, body: Buffer.from(body.replace(/\s/g, ''), 'base64').toString() };
}
