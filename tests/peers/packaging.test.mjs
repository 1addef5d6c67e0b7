// What is given to users: programs that are hardened, a unit that may do little, a bill of materials that names all that
// is inside, and an archive that can be checked.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { program, scene, temporaryFolder, until } from './lib.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const programs = ['twinstep', 'twinstep-sim'];
const text = (command, args, options) => execFileSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'pipe'], ...options });

/// What a program lacks, by name.
function weaknesses(path) {
  const headers = text('readelf', ['-hlW', path]);
  const dynamic = text('readelf', ['-dW', path]);
  const symbols = text('readelf', ['--dyn-syms', '-W', path]);
  const out = [];
  const need = (name, there) => { if (!there) out.push(name); };
  need('PIE', /Type:\s+DYN \(Position-Independent Executable/.test(headers));
  need('RELRO', /^\s*GNU_RELRO\s/m.test(headers));
  need('BIND_NOW', /\(FLAGS(_1)?\)\s.*\b(BIND_)?NOW\b/.test(dynamic));
  need('no executable stack', /^\s*GNU_STACK\s.*\sRW\s/m.test(headers));
  need('nothing writable and executable', !/^\s*LOAD\s.*\sRWE\s/m.test(headers));
  need('code in segments of its own', [...headers.matchAll(/^\s*LOAD\s+0x(\w+)\s.*?\s(R.E?|R)\s+0x\w+$/gm)].some(([, offset, flags]) => flags.includes('E') && Number(`0x${offset}`) > 0));
  need('no search path of its own', !/\((RPATH|RUNPATH|TEXTREL)\)/.test(dynamic));
  need('stack protector', /__stack_chk_fail/.test(symbols));
  need('FORTIFY', /\s__(memcpy|memset|memmove|snprintf|read|recv)_chk(@|\s|$)/m.test(symbols));
  need('library assertions', /__glibcxx_assert_fail/.test(symbols));
  if (process.arch === 'x64')
    need('branch protection', /<main>:\n\s*\w+:\s+(\w\w )+\s+endbr64/.test(text('objdump', ['-d', '--disassemble=main', path])));
  return out;
}

describe('programs', () => {
  for (const name of programs)
    test(`${name} is hardened`, () => assert.deepEqual(weaknesses(program(name)), []));

  test('a program that is not hardened is told from one that is', (t) => {
    const folder = temporaryFolder();
    t.after(folder.remove);
    const source = join(folder.path, 'weak.cpp');
    writeFileSync(source, 'int main() { return 0; }\n');
    const weak = join(folder.path, 'weak');
    execFileSync('c++', ['-O2', '-fcf-protection=none', '-fno-stack-protector', '-no-pie', source, '-o', weak,
      '-Wl,-z,norelro,-z,lazy,-z,execstack,-z,noseparate-code,-rpath,/nowhere'], { stdio: 'pipe' });
    const found = weaknesses(weak);
    for (const name of ['PIE', 'RELRO', 'BIND_NOW', 'no executable stack', 'no search path of its own', 'stack protector', 'FORTIFY',
      'library assertions', 'code in segments of its own', ...(process.arch === 'x64' ? ['branch protection'] : [])])
      assert.ok(found.includes(name), `${name} is not missed in ${found}`);
  });
});

describe('systemd unit', () => {
  /// The unit as it is, but with the program where it was built.
  function unit(folder, change = (lines) => lines) {
    const path = join(folder, 'twinstep.service');
    const lines = readFileSync(join(root, 'packaging/systemd/twinstep.service'), 'utf8');
    assert.match(lines, /^ExecStart=\/usr\/local\/bin\/twinstep /m);
    writeFileSync(path, change(lines).replaceAll('/usr/local/bin/twinstep', program('twinstep')));
    return path;
  }
  const analyze = (...args) => spawnSync('systemd-analyze', args, { encoding: 'utf8', env: { ...process.env, SYSTEMD_COLORS: '0' } });
  const exposure = (path) => {
    const ended = analyze('security', '--offline=true', '--threshold=15', '--no-pager', path);
    assert.equal(ended.error, undefined, 'systemd-analyze is missing; run scripts/setup --for test');
    return { code: ended.status, said: ended.stdout + ended.stderr };
  };

  test('systemd understands every line of it', (t) => {
    const folder = temporaryFolder();
    t.after(folder.remove);
    const good = analyze('verify', '--man=no', unit(folder.path));
    assert.equal(good.error, undefined, 'systemd-analyze is missing; run scripts/setup --for test');
    assert.equal(good.stderr.split('\n').filter((line) => line.includes('twinstep.service')).join('\n'), '');
    assert.equal(good.status, 0, good.stderr);
    const bad = analyze('verify', '--man=no', unit(folder.path, (lines) => lines.replace('ProtectSystem=strict', 'ProtectSystem=strikt')));
    assert.match(bad.stderr, /strikt/);
  });

  test('what it exposes stays under 1.5 of 10', (t) => {
    const folder = temporaryFolder();
    t.after(folder.remove);
    const { code, said } = exposure(unit(folder.path));
    assert.equal(code, 0, said);
    assert.match(said, /Overall exposure level for twinstep\.service: [01]\.\d/);
    const open = exposure(unit(folder.path, (lines) => lines.replace(/^(SystemCallFilter|CapabilityBoundingSet|RestrictNamespaces)=.*$/gm, '')));
    assert.notEqual(open.code, 0, open.said);
  });

  test('the daemon starts with the very arguments of the unit', () => {
    const line = /^ExecStart=\/usr\/local\/bin\/twinstep (.*)$/m.exec(readFileSync(join(root, 'packaging/systemd/twinstep.service'), 'utf8'))[1];
    const ended = spawnSync(program('twinstep'), line.split(' ').map((word) => word.replace(/^\/etc\//, '/nowhere/')), { encoding: 'utf8' });
    assert.match(ended.stderr, /\/nowhere\/twinstep\.yaml/);
    assert.doesNotMatch(ended.stderr, /--help|unknown|unexpected/);
  });
});

const build = dirname(program('twinstep'));

/// The system calls of one of systemd's sets, or of those that a line of the unit names.
function calls(sets) {
  const out = new Set();
  for (const set of sets) {
    if (!set.startsWith('@')) { out.add(set); continue; }
    const lines = text('systemd-analyze', ['--no-pager', 'syscall-filter', set]).split('\n').slice(1);
    for (const name of calls(lines.map((line) => line.trim()).filter((line) => line && !line.startsWith('#')))) out.add(name);
  }
  return out;
}

describe('the daemon under its unit', () => {
  scene('it makes no system call, no socket and no memory that the unit forbids', ['--devices', '0', '--time-factor', '20', '--no-throttle'], async (s, t) => {
    const unit = readFileSync(join(root, 'packaging/systemd/twinstep.service'), 'utf8');
    const [, allowed] = /^SystemCallFilter=([^~].*)$/m.exec(unit);
    const [, forbidden] = /^SystemCallFilter=~(.*)$/m.exec(unit);
    const may = calls(allowed.split(' '));
    for (const name of calls(forbidden.split(' '))) may.delete(name);
    may.add('fchown');  // SQLite's, only as root and without looking at what became of it
    const families = new Set(/^RestrictAddressFamilies=(.*)$/m.exec(unit)[1].split(' '));

    writeFileSync(s.path('twinstep'), `#!/bin/sh\nexec strace -D -f -qq -o '${s.path('trace')}' '${program('twinstep')}' "$@"\n`, { mode: 0o755 });
    process.env.TWINSTEP_BIN = s.folder;
    t.after(() => { process.env.TWINSTEP_BIN = build; });
    const daemon = await s.serve();
    assert.ok(daemon.address, `strace is missing? run scripts/setup --for test\n${daemon.output()}`);
    t.after(daemon.stop);
    await s.subscribe(daemon);
    await s.addDevice('dev-1', '0004A30B00000001');
    await until('the device is outside', async () => (await s.outside()).includes('dev-1'), 60);
    await fetch(`${daemon.operations}/api/v1/links/default/runs`, { method: 'POST' });
    await until('a run has ended', async () => /"state":"(done|failed|blocked)"/.test(await (await fetch(`${daemon.operations}/api/v1/runs`)).text()), 60);
    daemon.child.kill('SIGHUP');
    await until('a reload', () => daemon.output().includes('configuration.reloaded'), 30);
    assert.equal((await daemon.stop()).code, 0);

    const trace = readFileSync(s.path('trace'), 'utf8');
    const made = new Set([...trace.matchAll(/^\d+ +(\w+)\(/gm)].map(([, name]) => name));
    for (const name of ['openat', 'epoll_wait', 'futex', 'sendmsg', 'fdatasync']) assert.ok(made.has(name), `${name} is not in the trace`);
    assert.deepEqual([...made].filter((name) => !may.has(name)), []);
    const used = new Set([...trace.matchAll(/ socket\((AF_\w+)/g)].map(([, family]) => family));
    assert.ok(used.has('AF_INET'));
    assert.deepEqual([...used].filter((family) => !families.has(family)), []);
    assert.doesNotMatch(trace, /PROT_WRITE\|PROT_EXEC/);
  });
});

const environment = { ...process.env, SOURCE_DATE_EPOCH: '1700000000' };

describe('bill of materials', () => {
  const written = text(join(root, 'scripts/sbom'), ['--build', build], { env: environment });
  const bom = JSON.parse(written);

  test('it is CycloneDX 1.5 and always the same', () => {
    assert.equal(bom.bomFormat, 'CycloneDX');
    assert.equal(bom.specVersion, '1.5');
    assert.match(bom.serialNumber, /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.equal(bom.metadata.timestamp, '2023-11-14T22:13:20Z');
    assert.equal(text(join(root, 'scripts/sbom'), ['--build', build], { env: environment }), written);
    const later = JSON.parse(text(join(root, 'scripts/sbom'), ['--build', build], { env: { ...environment, SOURCE_DATE_EPOCH: '1700000001' } }));
    assert.notEqual(later.serialNumber, bom.serialNumber);
    const members = { bomFormat: 'string', specVersion: 'string', serialNumber: 'string', version: 'number', metadata: 'object', components: 'object', dependencies: 'object' };
    assert.deepEqual(Object.fromEntries(Object.entries(bom).map(([key, value]) => [key, typeof value])), members);
  });

  test('components are whole, named once, and all of them depended on', () => {
    const refs = [bom.metadata.component, ...bom.components].map((component) => component['bom-ref']);
    assert.equal(new Set(refs).size, refs.length);
    for (const component of bom.components) {
      const known = ['type', 'bom-ref', 'name', 'version', 'scope', 'purl', 'licenses', 'properties'];
      for (const key of Object.keys(component)) assert.ok(known.includes(key), key);
      assert.equal(component.type, 'library');
      assert.ok(component.name && component.version, JSON.stringify(component));
      assert.match(component.purl, /^pkg:deb\/[a-z]+\/[a-z0-9B%.-]+@[A-Za-z0-9%.~_-]+\?arch=\w+&distro=[a-z]+-[\w.]+$/);
      for (const licence of component.licenses ?? []) assert.ok(licence.license.name);
      for (const property of component.properties) assert.deepEqual(Object.keys(property).sort(), ['name', 'value']);
    }
    const version = text(program('twinstep'), ['--version']);
    assert.ok(version.includes(bom.metadata.component.version), version);
    assert.deepEqual(bom.metadata.component.licenses, [{ license: { id: 'MIT' } }]);
    const ours = bom.dependencies.find(({ ref }) => ref === bom.metadata.component['bom-ref']);
    assert.deepEqual(ours.dependsOn, bom.components.map((component) => component['bom-ref']).sort());
    assert.deepEqual(bom.dependencies.map(({ ref }) => ref).sort(), [...refs].sort());
  });

  test('every library that a program needs is in it, with the version that is installed', () => {
    const provided = new Map(bom.components.flatMap((component) =>
      component.properties.filter(({ name }) => name === 'twinstep:library').map(({ value }) => [value, component])));
    for (const name of programs)
      for (const [, library] of text('readelf', ['-dW', program(name)]).matchAll(/\(NEEDED\).*\[(.*)\]/g)) {
        const component = provided.get(library);
        assert.ok(component, `${library} of ${name} is in no component`);
        assert.equal(component.version, text('dpkg-query', ['-W', '-f', '${Version}\n', component.name]).split('\n')[0]);
      }
    assert.ok([...provided.keys()].some((library) => library.startsWith('libnghttp2')), 'what a library of ours needs, too');
  });

  test('libraries of headers alone are in it', () => {
    const headers = bom.components.filter(({ properties }) => properties.some(({ name }) => name === 'twinstep:headers')).map(({ name }) => name);
    for (const name of [/^libboost1\.\d+-dev$/, /^libexpected-dev$/, /^libcli11-dev$/, /^libstdc\+\+-\d+-dev$/])
      assert.ok(headers.some((one) => name.test(one)), `${name} is not in ${headers}`);
    assert.ok(!headers.some((name) => name.startsWith('libgtest') || name.startsWith('libbenchmark')), 'tests are not given to users');
  });
});

describe('archive of a release', () => {
  test('it holds all, its sums agree, its programs run, and it is the same every time', (t) => {
    const folder = temporaryFolder();
    t.after(folder.remove);
    const make = (to) => {
      text(join(root, 'scripts/release'), ['--from', build, '--to', join(folder.path, to)], { env: environment });
      return readFileSync(join(folder.path, to, 'SHA256SUMS'), 'utf8');
    };
    const sums = make('one');
    assert.equal(make('two'), sums);
    text('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: join(folder.path, 'one') });
    const files = readdirSync(join(folder.path, 'one'));
    assert.equal(files.length, 3, files.join(' '));
    const archive = files.find((name) => name.endsWith('.tar.gz'));
    const unpacked = join(folder.path, 'unpacked');
    mkdirSync(unpacked);
    text('tar', ['-xzf', join(folder.path, 'one', archive), '-C', unpacked]);
    const top = join(unpacked, archive.replace('.tar.gz', ''));
    for (const path of ['bin/twinstep', 'bin/twinstep-sim', 'lib/systemd/system/twinstep.service', 'share/doc/twinstep/LICENSE',
      'share/doc/twinstep/README.md', 'share/doc/twinstep/SECURITY.md', 'share/doc/twinstep/CHANGELOG.md',
      'share/doc/twinstep/docs/operations.md', 'share/doc/twinstep/twinstep.cdx.json'])
      assert.ok(existsSync(join(top, path)), path);
    const version = text(join(top, 'bin/twinstep'), ['--version']);
    assert.ok(archive.includes(JSON.parse(readFileSync(join(top, 'share/doc/twinstep/twinstep.cdx.json'), 'utf8')).metadata.component.version));
    assert.match(version, /\d+\.\d+/);
    for (const line of text('tar', ['-tvzf', join(folder.path, 'one', archive)]).trim().split('\n')) {
      assert.match(line, /^[d-]rw?xr?-?xr?-?x 0\/0 |^-rw-r--r-- 0\/0 /, line);
      assert.match(line, /2023-11-1[45]/, line);
    }
  });
});
