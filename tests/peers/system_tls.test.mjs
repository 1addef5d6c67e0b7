// The daemon's TLS as others see it: openssl s_client with every bad offer, and Node.js with certificates of clients.
// What is to be refused is first shown to work against openssl s_server, so that the refusal is ours.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { Agent, request as httpsRequest } from 'node:https';
import { createConnection } from 'node:net';
import { describe } from 'node:test';
import { scene, until } from './lib.mjs';

const simulator = ['--devices', '0', '--no-throttle'];

/// An authority and what it signs, as files in the scene's folder.
class Authority {
  constructor(scene, name) {
    this.scene = scene;
    this.name = name;
    this.certificate = scene.path(`${name}.pem`);
    this.key = scene.path(`${name}.key`);
    this.make(name, ['-x509', '-days', '30', '-addext', 'keyUsage=critical,keyCertSign'], 'ec');
  }
  make(name, more, algorithm) {
    const [certificate, key] = [this.scene.path(`${name}.pem`), this.scene.path(`${name}.key`)];
    const kind = algorithm === 'rsa' ? ['-newkey', 'rsa:2048'] : ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
    execFileSync('openssl', ['req', ...kind, '-nodes', '-keyout', key, '-out', certificate, '-subj', `/CN=${name}`, ...more], { stdio: 'pipe' });
    return { certificate, key };
  }
  issue(name, { usage = 'serverAuth', days = 60, algorithm = 'ec' } = {}) {
    return this.make(name, ['-x509', '-CA', this.certificate, '-CAkey', this.key, '-days', String(days),
      '-addext', 'basicConstraints=critical,CA:FALSE', '-addext', `extendedKeyUsage=${usage}`,
      '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'], algorithm);
  }
}

/// Puts one pair in the place of another as a renewal does: each file whole, one after the other.
function replace(pair, by) {
  for (const part of ['certificate', 'key']) {
    writeFileSync(`${pair[part]}.new`, readFileSync(by[part]), { mode: 0o600 });
    renameSync(`${pair[part]}.new`, pair[part]);
  }
}

function configuration(s, serve) {
  const config = readFileSync(s.thingpark('master: hub, deletes: never'), 'utf8');
  return s.write('tls.yaml', `${config}serve: {${serve}}\n`);
}
const files = (pair, more = '') => `tls_certificate: "${pair.certificate}", tls_key: "${pair.key}"${more}`;

async function serveTls(s, t, pair, more) {
  const daemon = await s.serve(0, {}, ['--config', configuration(s, files(pair, more))]);
  assert.ok(daemon.port, daemon.output());
  t.after(daemon.stop);
  return daemon;
}

/// What openssl s_client makes of a port: whether there was a handshake, and all it said. A client that renegotiates
/// (types R) leaves when that is `done`, or refused.
async function client(port, args, done) {
  const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  const hear = (data) => {
    said += data;
    if (done?.test(said)) child.stdin.end();
  };
  child.stdout.on('data', hear);
  child.stderr.on('data', hear);
  child.stdin.on('error', () => {});
  if (done) child.stdin.write('R\n');
  else child.stdin.end();
  const code = await new Promise((resolve) => { child.once('close', resolve); });
  return { code, said };
}
const brief = (port, ...args) => client(port, ['-brief', ...args]);

/// openssl s_server that takes everything it knows, to show that an offer is one.
async function lenientServer(t, pair) {
  const child = spawn('openssl', ['s_server', '-accept', '127.0.0.1:0', '-cert', pair.certificate, '-key', pair.key, '-www',
    '-cipher', 'ALL:COMPLEMENTOFALL:@SECLEVEL=0', '-min_protocol', 'TLSv1', '-client_renegotiation', '-alpn', 'h2'], { stdio: ['ignore', 'pipe', 'ignore'] });
  t.after(() => { child.kill('SIGKILL'); });
  return new Promise((resolve, reject) => {
    let said = '';
    child.stdout.on('data', (data) => {
      said += data;
      const port = /ACCEPT 127\.0\.0\.1:(\d+)/.exec(said)?.[1];
      if (port) resolve(Number(port));
    });
    child.once('exit', () => reject(new Error(`openssl s_server ended: ${said}`)));
  });
}

function ask(port, options = {}) {
  return new Promise((resolve, reject) => {
    const question = httpsRequest({ host: '127.0.0.1', port, path: '/healthz', agent: false, ...options }, (answer) => {
      const { socket } = answer;
      const serial = socket.getPeerCertificate().serialNumber;
      answer.resume();
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, serial, from: socket.localPort }));
    });
    question.once('error', reject);
    question.end();
  });
}

describe('TLS', { concurrency: 2 }, () => {
  scene('only TLS 1.2 and 1.3 with good ciphers are spoken', simulator, async (s, t) => {
    const pair = new Authority(s, 'authority').issue('server', { algorithm: 'rsa' });  // RSA: more bad ciphers know it
    const { port } = await serveTls(s, t, pair);
    const lenient = await lenientServer(t, pair);
    const anything = ['-cipher', 'ALL:COMPLEMENTOFALL:@SECLEVEL=0'];
    for (const version of ['-tls1', '-tls1_1']) {
      assert.equal((await brief(lenient, version, ...anything)).code, 0, `${version} is no offer`);
      const refused = await brief(port, version, ...anything);
      assert.notEqual(refused.code, 0, refused.said);
      assert.match(refused.said, /alert protocol version/);
    }
    for (const cipher of ['AES128-SHA', 'AES256-GCM-SHA384', 'ECDHE-RSA-AES128-SHA', 'ECDHE-RSA-AES256-SHA384', 'DHE-RSA-AES128-GCM-SHA256',
      'CAMELLIA128-SHA', 'NULL-SHA256', 'ECDHE-RSA-NULL-SHA', 'ADH-AES128-GCM-SHA256', 'AECDH-AES128-SHA']) {
      const offer = ['-tls1_2', '-cipher', `${cipher}:@SECLEVEL=0`];
      assert.equal((await brief(lenient, ...offer)).code, 0, `${cipher} is no offer`);
      const refused = await brief(port, ...offer);
      assert.notEqual(refused.code, 0, `${cipher}: ${refused.said}`);
      assert.match(refused.said, /handshake failure/);
    }
    for (const [version, name] of [['-tls1_2', 'TLSv1.2'], ['-tls1_3', 'TLSv1.3']]) {
      const taken = await brief(port, version, '-CAfile', s.path('authority.pem'));
      assert.equal(taken.code, 0, taken.said);
      assert.match(taken.said, new RegExp(`Protocol version: ${name}`));
      assert.match(taken.said, /Verification: OK/);
    }
    const choice = await brief(port, '-tls1_2', '-cipher', 'ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256');
    assert.match(choice.said, /Ciphersuite: ECDHE-RSA-AES128-GCM-SHA256/, 'the server chooses');
  });

  scene('no renegotiation, HTTP/1.1 by ALPN, and no other protocol', simulator, async (s, t) => {
    const pair = new Authority(s, 'authority').issue('server');
    const { port } = await serveTls(s, t, pair);
    const lenient = await lenientServer(t, pair);
    const again = /RENEGOTIATING[^]*verify return/;  // the certificate comes a second time
    assert.match((await client(lenient, ['-tls1_2'], again)).said, again, 'it is no offer');
    assert.match((await client(port, ['-tls1_2'], again)).said, /RENEGOTIATING[^]*no renegotiation/);
    assert.equal((await brief(lenient, '-alpn', 'h2')).code, 0);
    assert.match((await brief(port, '-alpn', 'h2')).said, /alert no application protocol/);
    assert.match((await client(port, ['-alpn', 'h2,http/1.1'])).said, /ALPN protocol: http\/1\.1/);
    assert.match((await client(port, ['-tls1_2'])).said, /Compression: NONE/);
    // A ticket shortens the second handshake.
    const session = s.path('session.pem');
    assert.equal((await client(port, ['-tls1_2', '-sess_out', session])).code, 0);
    assert.match((await client(port, ['-tls1_2', '-sess_in', session])).said, /Reused, TLSv1\.2/);
  });

  scene('plain HTTP at the TLS port gets no answer, and the operations listener stays plain', simulator, async (s, t) => {
    const pair = new Authority(s, 'authority').issue('server');
    const daemon = await serveTls(s, t, pair);
    const got = await new Promise((resolve) => {
      let text = '';
      const socket = createConnection(daemon.port, '127.0.0.1', () => socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'));
      socket.on('data', (data) => { text += data; });
      socket.on('error', () => {});
      socket.on('close', () => resolve(text));
    });
    assert.doesNotMatch(got, /HTTP\//);
    assert.equal((await fetch(`${daemon.operations}/healthz`)).status, 200);
  });

  scene('answers carry the security headers, and HSTS over TLS only', simulator, async (s, t) => {
    const pair = new Authority(s, 'authority').issue('server');
    const daemon = await serveTls(s, t, pair);
    const ca = readFileSync(s.path('authority.pem'));
    const check = (headers, what) => {
      assert.equal(headers['x-content-type-options'], 'nosniff', what);
      assert.equal(headers['cache-control'], 'no-store', what);
      assert.equal(headers['content-security-policy'], "default-src 'none'; frame-ancestors 'none'", what);
      assert.equal(headers['referrer-policy'], 'no-referrer', what);
      assert.equal(headers.server, undefined, what);
    };
    for (const path of ['/healthz', '/no/such/path', '/api/v1/links']) {
      const { headers } = await ask(daemon.port, { ca, path });
      check(headers, path);
      assert.equal(headers['strict-transport-security'], 'max-age=31536000');
      const plain = Object.fromEntries((await fetch(daemon.operations + path)).headers);
      check(plain, `operations ${path}`);
      assert.equal(plain['strict-transport-security'], undefined);
    }
  });

  scene('with client_ca only clients with a certificate of that authority come in', simulator, async (s, t) => {
    const ours = new Authority(s, 'ours');
    const clients = new Authority(s, 'clients');
    const foreign = new Authority(s, 'foreign');
    const daemon = await serveTls(s, t, ours.issue('server'), `, client_ca: "${clients.certificate}"`);
    const ca = readFileSync(ours.certificate);
    const showing = (pair, more) => ask(daemon.port, { ca, ...(pair && { cert: readFileSync(pair.certificate), key: readFileSync(pair.key) }), ...more });
    const good = clients.issue('good', { usage: 'clientAuth' });
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
      assert.equal((await showing(good, { maxVersion })).status, 200);
      await assert.rejects(showing(null, { maxVersion }), 'without a certificate');
      await assert.rejects(showing(foreign.issue('stranger', { usage: 'clientAuth' }), { maxVersion }), 'of a foreign authority');
      await assert.rejects(showing(ours.issue('sibling', { usage: 'clientAuth' }), { maxVersion }), 'of the authority of the server');
      await assert.rejects(showing(clients.issue('server-only'), { maxVersion }), 'that is for servers');
    }
    const said = await brief(daemon.port, '-tls1_2');
    assert.match(said.said, /alert/);
    assert.equal((await fetch(`${daemon.operations}/healthz`)).status, 200, 'the operations listener asks for none');
  });

  scene('a new certificate is taken at SIGHUP and by itself, a broken one refused, and open connections go on', simulator, async (s, t) => {
    const authority = new Authority(s, 'authority');
    const pair = authority.issue('server');
    const daemon = await serveTls(s, t, pair);
    const ca = readFileSync(authority.certificate);
    const kept = new Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => kept.destroy());
    const first = await ask(daemon.port, { ca, agent: kept });
    const loaded = () => daemon.output().split('certificate.loaded').length - 1;

    replace(pair, authority.issue('second'));
    daemon.child.kill('SIGHUP');
    await until('the second certificate is loaded', () => loaded() === 1);
    const second = await ask(daemon.port, { ca });
    assert.notEqual(second.serial, first.serial);
    const again = await ask(daemon.port, { ca, agent: kept });
    assert.deepEqual([again.from, again.serial], [first.from, first.serial], 'the open connection goes on');

    writeFileSync(pair.key, 'no key\n');
    daemon.child.kill('SIGHUP');
    await until('the refusal', () => daemon.output().includes('certificate.refused'));
    assert.match(daemon.output(), /certificate\.refused .*the TLS key cannot be read.*the one before stays in force/);
    assert.equal((await ask(daemon.port, { ca })).serial, second.serial);

    replace(pair, authority.issue('third', { days: 10 }));  // nobody says anything
    await until('the third certificate is found', () => loaded() === 2, 30);
    assert.ok(![first.serial, second.serial].includes((await ask(daemon.port, { ca })).serial));
    assert.match(daemon.output(), /certificate\.expires_soon .*CN = third/);
    const last = await ask(daemon.port, { ca, agent: kept });
    assert.deepEqual([last.from, last.serial], [first.from, first.serial]);
  });

  scene('a listener that cannot be is refused at the start, with what to do', simulator, async (s) => {
    const authority = new Authority(s, 'authority');
    const [one, two] = [authority.issue('one'), authority.issue('two')];
    const refused = async (serve, what, listen = '127.0.0.1:0') => {
      const ended = await s.run(['serve', '--listen', listen, '--operations', '127.0.0.1:0', '--config', configuration(s, serve)]);
      assert.notEqual(ended.code, 0);
      assert.match(ended.stderr, what);
      assert.doesNotMatch(ended.all, /PRIVATE KEY/);
    };
    await refused(files({ certificate: one.certificate, key: two.key }), /it does not belong to the certificate; give the key/);
    await refused(files({ certificate: s.path('none.pem'), key: one.key }), /none\.pem cannot be read: No such file/);
    await refused(files(one, `, client_ca: "${one.key}"`), /certificate authorities of clients cannot be read/);
    await refused(`client_ca: "${authority.certificate}"`, /client_ca needs tls_certificate and tls_key/);
    await refused('', /this machine has no such address/, '192.0.2.1:0');
  });

  scene('an address has no more connections than serve.max_connections_per_address', simulator, async (s, t) => {
    const daemon = await s.serve(0, {}, ['--config', configuration(s, 'max_connections_per_address: 3')]);
    t.after(daemon.stop);
    const open = (localAddress) => new Promise((resolve) => {
      let text = '';
      const socket = createConnection({ port: daemon.port, host: '127.0.0.1', localAddress }, () => socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'));
      t.after(() => socket.destroy());
      socket.on('data', (data) => { text += data; if (text.includes('\r\n\r\n')) resolve(text.slice(0, 12)); });
      socket.on('error', () => {});
      socket.on('close', () => resolve(text.slice(0, 12)));
    });
    for (let n = 0; n < 3; ++n) assert.equal(await open('127.0.0.1'), 'HTTP/1.1 200');
    assert.equal(await open('127.0.0.1'), 'HTTP/1.1 503');
    assert.equal(await open('127.0.0.2'), 'HTTP/1.1 200', 'another address');
  });
});
