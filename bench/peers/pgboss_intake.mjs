// The same intake with what a Node.js programmer would take: the http module and pg-boss. An event is one job, whose id is
// the event's, so that a repetition is none; 200 goes out after the commit.
//
//   node pgboss_intake.mjs POSTGRESQL-URI      prints {"listen":PORT} when it takes events
import { createServer } from 'node:http';
import PgBoss from 'pg-boss';

const [uri] = process.argv.slice(2);
const queue = 'device';
// No more connections than twinstep has; nothing of pg-boss's own housekeeping that the measurement would hit.
const boss = new PgBoss({ connectionString: uri, max: 32, schedule: false, supervise: false });
boss.on('error', (error) => process.stderr.write(`pg-boss: ${error.message}\n`));
await boss.start();
await boss.createQueue(queue);

function taskOf(event) {
  const { deviceId, hubName, twin } = event.data;
  const kind = /Device(Created|Deleted)$/.exec(event.eventType)?.[1];
  if (!kind || typeof deviceId !== 'string' || !deviceId) throw new Error('not an event of a device');
  const { applicationKey, ...tags } = twin.tags ?? {};  // a secret is not stored
  return { id: event.id, data: { link: 'bench', hub: hubName, device: deviceId, what: kind.toLowerCase(), tags } };
}

async function take(text) {
  let tasks;
  try {
    tasks = JSON.parse(text).map(taskOf);
  } catch (error) {
    return [400, { error: error.message }];
  }
  try {
    if (tasks.length === 1) await boss.send(queue, tasks[0].data, { id: tasks[0].id });
    else await boss.insert(tasks.map((task) => ({ name: queue, ...task })));
    return [200, { received: tasks.length }];
  } catch (error) {
    return [503, { error: error.message }];
  }
}

const server = createServer((question, answer) => {
  const pieces = [];
  question.on('data', (piece) => pieces.push(piece));
  question.on('end', async () => {
    const [status, body] = await take(Buffer.concat(pieces).toString());
    const text = JSON.stringify(body);
    answer.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
    answer.end(text);
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => process.stdout.write(`${JSON.stringify({ listen: server.address().port })}\n`));
process.on('SIGTERM', async () => {
  server.closeAllConnections();
  server.close();
  await boss.stop({ graceful: false });
  process.exit(0);
});
