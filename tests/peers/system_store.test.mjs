// The daemon's store fails in every way that a disk and a database know: nothing is acknowledged that is not kept, the
// daemon says what is wrong, and goes on by itself when it is over.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, openSync, closeSync, readFileSync, readdirSync, renameSync, statSync,
  unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'node:test';
import { delivery, freePort, hook, lorawan, postEvent, program, readiness, scene, startPostgres, startWire, until, untilReady, untilUnready } from './lib.mjs';

const empty = ['--devices', '0', '--time-factor', '60', '--no-throttle', '--event-tags'];
const eui = (n) => `0004A30B0000${n.toString(16).toUpperCase().padStart(4, '0')}`;

/// What is recorded, read by SQLite's own program.
const sql = (path, query) => execFileSync('sqlite3', ['-readonly', path, query]).toString().trim();
const digest = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');
/// Event ids that a store knows.
const known = (path) => sql(path, 'SELECT id FROM seen');

/// Every answer while the store cannot be written is a 503 that asks to come again.
async function nothingIsTaken(daemon, prefix, times = 5) {
  for (let n = 0; n < times; ++n) {
    const answer = await postEvent(daemon, `${prefix}-${n}`);
    assert.equal(answer.status, 503, `no 2xx without a commit: ${await answer.text()}`);
    assert.ok(Number(answer.headers.get('retry-after')) > 0);
  }
  assert.equal((await fetch(`${daemon.operations}/healthz`)).status, 200);
}

const preload = ['/usr/lib/fiu/fiu_run_preload.so', '/usr/lib/fiu/fiu_posix_preload.so'];
/// A library between the daemon and the disk that makes calls fail while they are told to.
function disk(s) {
  for (const library of preload) if (!existsSync(library)) throw new Error(`${library} is not installed; run scripts/setup --for test`);
  const tell = (daemon, command) => execFileSync('fiu-ctrl', ['-f', s.path('disk'), '-c', command, String(daemon.child.pid)]);
  return {
    variables: { LD_PRELOAD: preload.join(' '), FIU_CTRL_FIFO: s.path('disk') },
    fails: (daemon, call, errno) => tell(daemon, `enable name=posix/${call},failinfo=${errno}`),
    works: (daemon, call) => tell(daemon, `disable name=posix/${call}`),
  };
}

describe('store', { concurrency: 3 }, () => {
  scene('a slow database: what is answered 200 is there, what takes too long is 503 and not doubled', empty, async (s, t) => {
    const postgres = await startPostgres();
    t.after(postgres.stop);
    const wire = await startWire(postgres.port);
    t.after(wire.stop);
    const daemon = await s.serve(0, { TWINSTEP_STORE: postgres.uri.replace(String(postgres.port), String(wire.port)) });
    t.after(() => daemon.stop('SIGKILL'));
    await s.subscribe(daemon);
    const ask = (query) => execFileSync('psql', ['-X', '-At', '-q', '-d', postgres.uri, '-c', query]).toString().trim();
    wire.slow(200);
    const begun = Date.now();
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => postEvent(daemon, `slow-${n}`)));
    assert.deepEqual([...new Set(answers.map((answer) => answer.status))], [200]);
    assert.ok(Date.now() - begun >= 400, 'the wire was slow');
    assert.equal(ask("SELECT count(*) FROM seen WHERE id LIKE '%slow-%'"), '20');
    assert.equal((await readiness(daemon)).status, 200);
    wire.slow(0);

    // Somebody else holds the tables: Event Grid is told in time to come again.
    const holder = spawn('psql', ['-X', '-q', '-d', postgres.uri], { stdio: ['pipe', 'pipe', 'inherit'] });
    t.after(() => holder.kill('SIGKILL'));
    holder.stdin.write('BEGIN; LOCK TABLE meta, workflow, seen IN ACCESS EXCLUSIVE MODE; SELECT 1;\n');
    await new Promise((resolve) => { holder.stdout.once('data', resolve); });
    const held = Date.now();
    const device = delivery('dev-1', { type: 'DeviceCreated', tags: lorawan(eui(1)) });
    await s.addDevice('dev-1', eui(1));
    const [answer, reason] = await Promise.all([
      fetch(daemon.address + hook, { method: 'POST', body: device }), untilUnready(daemon, 'store')]);
    assert.equal(answer.status, 503);
    assert.ok(Date.now() - held < 28_000, 'Event Grid waits for half a minute');
    assert.match(reason, /did not answer in time/);
    holder.stdin.write('ROLLBACK;\n');
    await untilReady(daemon);
    assert.equal(ask("SELECT count(*) FROM seen WHERE id = 'default/dev-1:' OR id LIKE '%/dev-1:%'"), '0', 'what was answered 503 is not there');
    assert.equal((await fetch(daemon.address + hook, { method: 'POST', body: device })).status, 200);
    await until('the device', async () => (await s.outside()).includes('dev-1'), 30);
    assert.equal((await s.calls())['thingpark POST 201'], 1);
  });

  scene('a full disk accepts nothing that is not kept, and all goes on when there is room', empty, async (s, t) => {
    // The kernel's own limit of a file's size: the same for everybody, and it can be raised again.
    const room = (daemon, bytes) => execFileSync('prlimit', [`--fsize=${bytes}:`, '--pid', String(daemon.child.pid)]);
    const daemon = await s.serve();
    t.after(() => daemon.stop('SIGKILL'));
    await s.subscribe(daemon);
    const path = s.path('state.db');
    assert.equal((await postEvent(daemon, 'before')).status, 200);
    assert.equal(known(path).split('\n').length, 1);
    room(daemon, statSync(`${path}-wal`).size);
    await nothingIsTaken(daemon, 'full');
    assert.match(await untilUnready(daemon, 'store'), /state file cannot (grow|be written|be used)/);
    for (let n = 0; n < 5; ++n) await s.addDevice(`dev-${n}`, eui(n));
    await until('Event Grid is refused', async () => (await s.subscription()).retried > 0);
    assert.deepEqual(await s.outside(), []);
    assert.equal(known(path).split('\n').length, 1, 'what was refused is not there');
    room(daemon, 'unlimited');
    await untilReady(daemon);
    assert.equal((await postEvent(daemon, 'after')).status, 200);
    await until('what Event Grid delivers again', async () => (await s.outside()).length === 5, 30);
    assert.equal((await s.calls())['thingpark POST 201'], 5);
    assert.equal((await daemon.stop()).code, 0);
    assert.equal(sql(path, 'PRAGMA integrity_check'), 'ok');
  });

  scene('a disk that turns read-only, is full or does not flush: 503, and then on by itself', empty, async (s, t) => {
    const { variables, fails, works } = disk(s);
    const daemon = await s.serve(0, variables);
    t.after(() => daemon.stop('SIGKILL'));
    await s.subscribe(daemon);
    const path = s.path('state.db');
    let n = 0;
    for (const [call, errno, what] of [['io/rw/pwrite', 28, 'full'], ['io/rw/pwrite', 30, 'read-only'], ['io/rw/pwrite', 5, 'broken'],
      ['io/sync/fdatasync', 5, 'not flushed']]) {
      assert.equal((await postEvent(daemon, `before-${n}`)).status, 200);
      const before = known(path);
      fails(daemon, call, errno);
      await nothingIsTaken(daemon, `refused-${n}`);
      assert.match(await untilUnready(daemon, 'store'), /state file cannot (grow|be written|be used)/, what);
      await s.addDevice(`dev-${n}`, eui(n));
      assert.equal(known(path), before, `${what}: what was refused is not there`);
      works(daemon, call);
      await untilReady(daemon);
      await until(`what was delivered while the disk was ${what}`, async () => (await s.outside()).length === n + 1, 30);
      n += 1;
    }
    assert.equal((await s.calls())['thingpark POST 201'], n);
    await daemon.stop('SIGKILL');
    assert.equal(sql(path, 'PRAGMA integrity_check'), 'ok');
  });

  scene('a folder or a file that cannot be written is waited for, and nothing is taken until it can', empty, async (s, t) => {
    // Rights say nothing to root, so root starts it as somebody else, who need not be able to reach our build.
    const root = process.getuid() === 0;
    const nobody = 65534;
    const folder = s.path('state');
    mkdirSync(folder);
    if (root) {
      copyFileSync(program('twinstep'), s.program = s.path('twinstep-copy'));
      chmodSync(s.folder, 0o711);
      chownSync(folder, nobody, nobody);
    }
    const through = root ? ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'] : [];
    const path = join(folder, 'state.db');
    const port = await freePort();
    const serve = () => s.serve(port, { TWINSTEP_STORE: `sqlite:${path}`, TMPDIR: folder }, [], through);
    chmodSync(folder, 0o555);
    let daemon = await serve();
    t.after(() => daemon.stop('SIGKILL'));
    await nothingIsTaken(daemon, 'no-folder');
    assert.match(await untilUnready(daemon, 'store'), /state\.db.*Permission denied/);
    assert.ok(!existsSync(path));
    chmodSync(folder, 0o755);
    await untilReady(daemon);
    await s.subscribe(daemon);
    await s.addDevice('dev-1', eui(1));
    await until('it works', async () => (await s.outside()).length === 1);
    assert.equal((await daemon.stop()).code, 0);

    const before = digest(path);
    chmodSync(path, 0o444);
    daemon = await serve();
    await nothingIsTaken(daemon, 'read-only');
    assert.match(await untilUnready(daemon, 'store'), /state\.db.*Permission denied/);
    await s.addDevice('dev-2', eui(2));
    assert.equal(digest(path), before);
    chmodSync(path, 0o644);
    await untilReady(daemon);
    await until('what was delivered meanwhile', async () => (await s.outside()).length === 2, 30);
  });

  scene('a damaged file is refused and left as it is; a backup in its place goes on', empty, async (s, t) => {
    const path = s.path('state.db');
    let daemon = await s.serve();
    t.after(() => daemon.stop('SIGKILL'));
    assert.equal((await postEvent(daemon, 'kept')).status, 200);
    execFileSync('sqlite3', [path, `.backup ${s.path('backup.db')}`]);

    // While it runs: the file, then its log, is overwritten.
    const garbage = (file) => {
      const handle = openSync(file, 'r+');
      writeSync(handle, Buffer.alloc(statSync(file).size, 'x'), 0);
      closeSync(handle);
    };
    const files = () => readdirSync(s.folder).filter((name) => name.startsWith('state.db')).sort();
    for (const end of ['', '-wal']) {
      garbage(path + end);
      await nothingIsTaken(daemon, `damaged${end}`);
      assert.match(await untilUnready(daemon, 'store'), /state file is damaged/);
      const damaged = digest(path + end);
      await daemon.stop('SIGKILL');
      assert.equal(digest(path + end), damaged, 'evidence is not written over');
      if (end === '') {
        const listed = files();
        const refused = await s.run(['serve', '--listen', '127.0.0.1:0', '--operations', '127.0.0.1:0']);
        assert.equal(refused.code, 1, refused.all);
        assert.match(refused.stderr, /state\.db.*damaged.*backup/);
        assert.equal(digest(path), damaged, 'a damaged file is never replaced');
        assert.deepEqual(files().filter((name) => !/-(wal|shm)$/.test(name)), listed.filter((name) => !/-(wal|shm)$/.test(name)));
      }
      for (const one of ['', '-wal', '-shm']) if (existsSync(path + one)) unlinkSync(path + one);
      copyFileSync(s.path('backup.db'), path);
      daemon = await s.serve();
      await untilReady(daemon);
      assert.equal(known(path).split('\n').length, 1);
      const again = await (await postEvent(daemon, 'kept')).json();
      assert.equal(again.known, 1, 'it knows what the backup knew');
    }
    assert.equal((await postEvent(daemon, 'new')).status, 200);
  });

  scene('a file that is moved away while it runs takes nothing, and goes on when it is put back', empty, async (s, t) => {
    const path = s.path('state.db');
    const daemon = await s.serve();
    t.after(() => daemon.stop('SIGKILL'));
    await s.subscribe(daemon);
    for (const [n, end] of ['', '-wal'].entries()) {
      renameSync(path + end, s.path('away'));
      await nothingIsTaken(daemon, `moved-${n}`);
      assert.match(await untilUnready(daemon, 'store'), /was moved or deleted/);
      await s.addDevice(`dev-${n}`, eui(n));
      renameSync(s.path('away'), path + end);
      await untilReady(daemon);
      await until('what was delivered meanwhile', async () => (await s.outside()).length === n + 1, 30);
    }
    await daemon.stop('SIGKILL');
    assert.equal(sql(path, 'PRAGMA integrity_check'), 'ok');
  });

  scene('other programs that open and close the file beside the daemon take nothing from it', empty, async (s, t) => {
    let daemon = await s.serve();
    t.after(() => daemon.stop?.('SIGKILL'));
    // A file that is there when the daemon starts, as after a crash.
    await daemon.stop('SIGKILL');
    daemon = await s.serve();
    const file = s.variables.TWINSTEP_STORE.replace('sqlite:', '');
    const others = [() => s.runs(0, ['key', 'list']), () => execFileSync('sqlite3', [file, 'SELECT count(*) FROM workflow']), () => execFileSync('sqlite3', [file, `.backup ${file}.copy`])];
    let posted = 0;
    for (let round = 0; round < 2; ++round)
      for (const other of others) {
        assert.equal((await postEvent(daemon, `beside-${posted++}`)).status, 200);
        await other();
        assert.ok(existsSync(`${file}-wal`), 'the log of the daemon is still there');
        assert.equal((await postEvent(daemon, `beside-${posted++}`)).status, 200);
      }
    await daemon.stop('SIGKILL');
    daemon = await s.serve();
    for (let n = 0; n < posted; ++n)
      assert.equal((await (await postEvent(daemon, `beside-${n}`)).json()).known, 1, `event ${n} was answered 200 and is not known any more`);
  });

  scene('a database that fails over to its standby loses nothing that was answered 200', empty, async (s, t) => {
    const primary = await startPostgres(['-c', 'wal_level=replica', '-c', 'hot_standby=on', '-c', 'synchronous_standby_names=*']);
    t.after(primary.stop);
    const standby = await primary.standby();
    t.after(standby.stop);
    const uri = `postgresql://${primary.user}@127.0.0.1:${primary.port},127.0.0.1:${standby.port}/postgres`;
    const daemon = await s.serve(0, { TWINSTEP_STORE: uri });
    t.after(() => daemon.stop('SIGKILL'));
    await s.subscribe(daemon);
    const taken = [];
    let failing = true;
    const post = async (n) => {
      const answer = await postEvent(daemon, `event-${n}`);
      if (answer.status === 200) taken.push(`event-${n}`);
      else assert.equal(answer.status, 503);
      return answer.status;
    };
    for (let n = 0; n < 10; ++n) assert.equal(await post(n), 200);
    await s.addDevice('before', eui(1));
    await until('the device before', async () => (await s.outside()).length === 1);
    const pouring = (async () => { for (let n = 10; failing; ++n) await post(n); })();
    await primary.down('SIGQUIT');
    await untilUnready(daemon, 'store');
    await s.addDevice('meanwhile', eui(2));
    await standby.promote();
    await untilReady(daemon);
    await until('events are taken again', async () => (await postEvent(daemon, 'after')).status === 200);
    failing = false;
    await pouring;
    const there = new Set(standby.ask('SELECT id FROM seen').split('\n').map((id) => /\/([^:]*):/.exec(id)?.[1]));
    assert.deepEqual(taken.filter((id) => !there.has(id)), []);
    await until('both devices', async () => (await s.outside()).length === 2, 60);
    await s.removeDevice('before');
    await until('the standby works as the primary did', async () => (await s.outside()).join() === 'meanwhile', 30);
    assert.equal((await s.calls())['thingpark POST 201'], 2);
  });
});
