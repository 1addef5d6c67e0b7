// Peers of the canary test that write down what they are sent: a listener with any manners, a tap in front of another
// server, and PostgreSQL that asks for a password and logs every statement.
import { execFileSync } from 'node:child_process';
import { Agent as HttpAgent, createServer as createHttpServer, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, createServer as createHttpsServer, request as httpsRequest } from 'node:https';
import { gunzipSync } from 'node:zlib';
import { run, startPostgres } from './lib.mjs';

const whole = (stream) => new Promise((resolve) => {
  const pieces = [];
  stream.on('data', (piece) => pieces.push(piece));
  stream.on('end', () => resolve(Buffer.concat(pieces)));
  stream.on('error', () => resolve(Buffer.concat(pieces)));
});
const headText = ({ rawHeaders }) => rawHeaders.map((text, i) => text + (i % 2 ? '\n' : ': ')).join('');

async function listen(t, server) {
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  t.after(() => { server.closeAllConnections(); return new Promise((resolve) => { server.close(resolve); }); });
  return server.address().port;
}

/// Says everything back that it was told, as debug pages and careless gateways do.
export const echo = (status) => ({ text }) => ({ status, headers: { 'retry-after': '1' }, body: JSON.stringify({ error: 'nope', message: text, text }) });

/// Takes whatever is sent to it. `manners` give the answer {status, headers, body} to a request {method, url, headers,
/// body, text}, or nothing for an empty 200; they may be changed meanwhile.
export async function startListener(t, canaries, { manners = () => undefined, tls } = {}) {
  const listener = { bodies: [], manners };
  const server = (tls ? createHttpsServer : createHttpServer)(tls ?? {}, async (request, response) => {
    const packed = await whole(request);
    const body = (request.headers['content-encoding'] === 'gzip' ? gunzipSync(packed) : packed).toString();
    const { method, url, headers } = request;
    const text = `${method} ${url}\n${headText(request)}\n${body}`;
    canaries.saw(text);
    const answer = listener.manners({ method, url, headers, body, text }) ?? { status: 200, body: '{}' };
    listener.bodies.push({ url, headers, body, status: answer.status });
    if (answer.body) canaries.saw(answer.body);
    response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers });
    response.end(answer.body);
  });
  // A proxy that is asked for a tunnel.
  server.on('connect', (request, socket) => {
    const text = `CONNECT ${request.url}\n${headText(request)}`;
    canaries.saw(text);
    listener.bodies.push({ url: request.url, headers: request.headers, body: '' });
    const { status, body } = listener.manners({ method: 'CONNECT', url: request.url, headers: request.headers, body: '', text });
    socket.on('error', () => {});
    socket.end(`HTTP/1.1 ${status} ${status === 407 ? 'Proxy Authentication Required' : 'No'}\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  });
  listener.port = await listen(t, server);
  listener.url = `${tls ? 'https' : 'http'}://127.0.0.1:${listener.port}`;
  return listener;
}

/// Stands before a server and writes down what is said in both directions. `change` makes another body of a request.
export async function startTap(t, canaries, target, { tls, ca, change = (body) => body } = {}) {
  const to = new URL(target);
  const secure = to.protocol === 'https:';
  const agent = secure ? new HttpsAgent({ keepAlive: true, ca }) : new HttpAgent({ keepAlive: true });
  t.after(() => agent.destroy());
  const puts = [];
  const open = new Set();
  const server = (tls ? createHttpsServer : createHttpServer)(tls ?? {}, async (request, response) => {
    const done = new Promise((resolve) => response.once('close', resolve));
    open.add(done);
    done.then(() => open.delete(done));
    const sent = await whole(request);
    const text = `${request.method} ${request.url}\n${headText(request)}\n${sent}`;
    canaries.saw(text);
    if (request.method === 'PUT') puts.push({ url: request.url, headers: request.headers, body: sent });
    const body = change(sent);
    const headers = { ...request.headers };
    if (body.length !== sent.length) headers['content-length'] = body.length;
    const onward = (secure ? httpsRequest : httpRequest)({ host: to.hostname, port: to.port, method: request.method, path: request.url, headers, agent }, async (answer) => {
      const back = await whole(answer);
      canaries.saw(`${headText(answer)}\n${back}`);
      const kept = { ...answer.headers };
      delete kept['transfer-encoding'];
      if (request.method !== 'HEAD' && answer.statusCode !== 204) kept['content-length'] = back.length;
      response.writeHead(answer.statusCode, kept).end(back);
    });
    onward.on('error', () => response.destroy());
    onward.end(body);
  });
  const port = await listen(t, server);
  return { port, url: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`, puts, settled: () => Promise.all(open) };
}

/// PostgreSQL with a database for a role that needs its password; everything that is said to it is in its log.
export async function startLoggingPostgres(t, password, environment) {
  const postgres = await startPostgres(['-c', 'log_statement=all', '-c', 'log_connections=on', '-c', 'log_error_verbosity=verbose'], environment);
  t.after(postgres.stop);
  const told = (database, ...statements) => execFileSync('psql', ['-X', '-At', '-q', '-v', 'ON_ERROR_STOP=1', '-d', postgres.uri.replace(/postgres$/, database),
    ...statements.flatMap((one) => ['-c', one])], { env: { ...process.env, PGOPTIONS: '-c log_statement=none' }, stdio: ['ignore', 'pipe', 'pipe'] }).toString();
  told('postgres', `CREATE ROLE twinstep LOGIN PASSWORD '${password}'`, "CREATE DATABASE twinstep OWNER twinstep ENCODING 'UTF8' TEMPLATE template0");
  const rules = [`host all ${postgres.user} 127.0.0.1/32 trust`, 'host all all 127.0.0.1/32 scram-sha-256'];
  const data = told('postgres', 'SHOW data_directory').trim();
  told('postgres', `COPY (VALUES ${rules.map((rule) => `('${rule}')`).join(', ')}) TO '${data}/pg_hba.conf'`, 'SELECT pg_reload_conf()');
  const at = (secret) => `postgresql://twinstep:${encodeURIComponent(secret)}@127.0.0.1:${postgres.port}/twinstep`;
  return {
    at, uri: at(password), output: postgres.output,
    dump: async () => {
      const { code, stdout, stderr } = await run('pg_dump', ['--inserts', '-d', postgres.uri.replace(/postgres$/, 'twinstep')]);
      if (code !== 0) throw new Error(stderr);
      return stdout;
    },
  };
}
