// twinstep against twinstep-sim, from the command line: what a user sees and what the registries hold afterwards when
// something is wrong. One test per promise; every simulator and state file is the test's own.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { freePort, isOrphan, orphans, scene, until } from './lib.mjs';

const registry = ['--devices', '300', '--time-factor', '60'];

describe('system', { concurrency: 3 }, () => {
  scene('a broken configuration is refused with its place and contacts nothing', registry, async (s) => {
    const good = readFileSync(s.thingpark('deletes: delete'), 'utf8');
    const cases = [
      ['an unknown key', good.replace('connection_string: "env:iothub"', 'conection_string: "env:iothub"'), {}, /bad\.yaml:1:\d+.*connection_string/s],
      ['broken YAML', good.replace('links: [{', 'links: [{{'), {}, /bad\.yaml:\d+/],
      ['a tab', 'hubs:\n\tmine: {}\n', {}, /bad\.yaml:2/],
      ['an unknown provider', good.replace('provider: actility', 'provider: actilty'), {}, /bad\.yaml:3:\d+.*actility/s],
      ['an unknown value', good.replace('deletes: delete', 'deletes: delet'), {}, /bad\.yaml:5:\d+.*delete/s],
      ['a link to an unknown hub', good.replace('hub: mine', 'hub: mien'), {}, /mine/],
      ['a variable that is not set', good, { iothub: undefined }, /iothub/],
      ['a broken connection string', good, { iothub: 'HostName=x;SharedAccessKey=abc' }, /iothub|SharedAccessKeyName/],
      ['a broken storage string', good, { AzureWebJobsStorage: 'AccountName=a' }, /AccountKey|AzureWebJobsStorage/],
    ];
    for (const [what, text, variables, expected] of cases) {
      s.write('bad.yaml', text);
      for (const command of ['plan', 'sync', 'check']) {
        const ended = await s.run([command, '--config', s.path('bad.yaml')], variables);
        assert.equal(ended.code, 64, `${what}, ${command}: ${ended.code}\n${ended.all}`);
        assert.match(ended.stderr, expected, what);
      }
    }
    const number = await s.runs(64, ['sync'], { devicesChangeJobThreshold: 'many' });
    assert.match(number.stderr, /devicesChangeJobThreshold.*many/);
    const name = await s.runs(64, ['sync'], { externalSystemName: 'actilty' });
    assert.match(name.stderr, /actility/);
    const definition = s.write('broken-definition.yaml', 'definition: 1\nname: mine\nidentiti: {deviceId: /id}\n');
    const broken = await s.runs(64, ['provider', 'check', definition]);
    assert.match(broken.stderr, /broken-definition\.yaml:3:\d+.*identity/s);
    assert.match((await s.runs(64, ['synk'])).stderr, /sync/);
    await s.runs(64, ['apply', s.write('no-plan.json', '{"schema":"other"}')]).catch(async () => s.runs(1, ['apply', s.path('no-plan.json')]));
    assert.deepEqual(await s.calls(), {}, 'nothing was contacted');
  });

  scene('a listing that cannot be trusted deletes nothing', [...registry, '--orphaned', '3%'], async (s) => {
    // Wide limits: the proof has to hold deletes back, not the guard.
    const config = s.thingpark('deletes: delete, limits: {deletes: 100%, updates: 100%, shrink: 100%}');
    const before = await s.ids();
    const page = (n) => ({ server: 'thingpark', path: `pageIndex=${n}`, times: -1 });
    const faults = {
      'ends early with an empty page': { server: 'thingpark', page: 'end', at: 3, times: -1 },
      'repeats a page': { server: 'thingpark', page: 'repeat', at: 2, times: -1 },
      'leaves a page out': { server: 'thingpark', page: 'missing', at: 2, times: -1 },
      'answers 404 in the middle': { server: 'thingpark', page: 'notFound', at: 2, times: 1 },
      'answers 404 for the last page': { server: 'thingpark', page: 'notFound', at: 3, times: -1 },
      'answers 500': { ...page(2), status: 500 },
      'cuts a body': { ...page(2), cutAfter: 700 },
      'cuts the JSON': { ...page(2), status: 200, body: '[{"name":"lora-1","EUI":"00' },
      'answers a page of HTML': { ...page(2), status: 200, body: '<html>log in</html>' },
      'shifts while it is read': { server: 'thingpark', shift: true },
    };
    for (const [what, fault] of Object.entries(faults)) {
      s.newStore();
      await s.fault(fault);
      const ended = await s.run(['sync', '--config', config]);
      await s.noFaults();
      assert.ok(ended.code === 1 || ended.code === 3, `${what}: exit ${ended.code}\n${ended.all}`);
      const after = new Set(await s.ids());
      assert.deepEqual(before.filter((id) => !after.has(id)), [], `${what}: devices were deleted\n${ended.all}`);
      assert.match(ended.all, /withheld|not complete|incomplete|repeat|500|page|cut|JSON|closed|look-up/i, `${what}: no reason\n${ended.all}`);
    }
    assert.deepEqual(await s.containers(), []);
    s.newStore();
    await s.runs(0, ['sync', '--config', config]);
    assert.equal(await orphans(s), 0, 'a good list deletes');
  });

  for (const [what, fault] of [['an empty page', { server: 'thingpark', page: 'end', at: 1, times: -1 }],
    ['a 404', { server: 'thingpark', page: 'notFound', at: 1, times: -1 }]])
    scene(`an empty listing, told by ${what}, changes nothing`, registry, async (s) => {
      const before = await s.devices();
      await s.fault(fault);
      const plan = await s.runs(3, ['plan', '-o', 'plan.json']);
      const id = JSON.parse(readFileSync(s.path('plan.json'))).id;
      const sync = await s.runs(3, ['sync']);
      assert.match(plan.all, /empty/);
      assert.match(sync.all, /empty/);
      await s.run(['apply', 'plan.json', '--approve', id]);
      assert.deepEqual(await s.devices(), before);
      assert.equal(await s.writes(), 0);
    });

  for (const [what, body] of [['nothing', undefined], ['a page', '<html>404</html>'], ['a word', 'default backend - 404']])
    scene(`what answers 404 with ${what} in the place of ThingPark, from the end of its list on, deletes nothing`, ['--devices', '2000', '--missing', '0',
      '--orphaned', '0', '--changed', '0', '--foreign', '0', '--edge', '0', '--time-factor', '60', '--no-throttle'], async (s) => {
      await s.runs(0, ['sync']);
      const before = await s.ids();
      await s.control('/requests', { method: 'DELETE' });
      await s.runs(0, ['plan']);
      const { thingpark } = await (await s.control('/requests')).json();
      const calls = Object.values(thingpark[Object.keys(thingpark).find((route) => route.startsWith('GET'))]).reduce((sum, n) => sum + n, 0);
      // The last full page, the end of the list and the page behind it; few enough for the limits.
      await s.fault({ server: 'thingpark', path: '/devices', method: 'GET', skip: calls - 3, times: -1, status: 404, ...(body ? { body } : {}) });
      const ended = await s.run(['sync']);
      assert.match(ended.all, /first page was asked for once more|is a page, not data/);
      assert.deepEqual(await s.ids(), before);
    });

  scene('a broken line is named and blocks deletes, unless its id is known', ['--devices', '20', '--orphaned', '10%', '--time-factor', '60'], async (s) => {
    const config = s.sheet(['{"deviceId":"lora-new-1","ref":"1"}', '{"deviceId":"lora-br', '{"deviceId":"lora-new-2","ref":"2"}']);
    const ended = await s.runs(3, ['sync', '--config', config]);
    assert.match(ended.all, /line 2|:2\b/);
    const ids = await s.ids();
    assert.ok(ids.includes('lora-new-1') && ids.includes('lora-new-2'), 'the good lines go on');
    assert.ok(ids.includes('lora-0004A30B00000000') && ids.some(isOrphan), 'nothing is deleted');

    // The same in an export of the hub, from files alone.
    const own = (id) => JSON.stringify({ id, eTag: 'MQ==', status: 'enabled', twinETag: 'AA==', tags: { ref: '1', twinstep: { link: 'default' } } });
    const hub = s.write('export.txt', [own('one'), own('two').slice(0, 9), own('three')].join('\n'));
    const list = s.write('list.ndjson', '{"deviceId":"one","ref":"1"}\n{"deviceId":"four","ref":"1"}\n');
    const diff = await s.run(['diff', '--hub', hub, '--external', list, '--provider', 'file']);
    const { summary, changes } = JSON.parse(diff.stdout);
    assert.equal(summary.delete, 0, diff.stdout);
    assert.ok(!changes.some((change) => change.op === 'delete'));
    assert.match(diff.all, /line 2|:2\b/);
  });

  scene('devices that the hub cannot take are reported and the rest goes on', ['--devices', '5', '--time-factor', '60', '--orphaned', '0', '--missing', '0'], async (s) => {
    const config = s.sheet([{ deviceId: 'good-1', ref: '1' }, { deviceId: 'bad id', ref: '2' }, { deviceId: 'x'.repeat(129), ref: '3' },
      { deviceId: 'AABBCCDDEEFF0011', ref: '4' }, { deviceId: 'aa-bb-cc-dd-ee-ff-00-11', ref: '5' }, { deviceId: 'heavy', ref: 'r'.repeat(9000) }, { deviceId: 'good-2', ref: '6' }], ', limits: {deletes: 100%}');
    const plan = await s.run(['plan', '--config', config, '--output', 'json']);
    const { counts, changes, problems } = JSON.parse(plan.stdout);
    assert.deepEqual(changes.filter((change) => change.op === 'create').map((change) => change.deviceId), ['good-1', 'good-2']);
    assert.ok(counts.invalid >= 3 && counts.conflict >= 1, JSON.stringify(counts));
    const told = JSON.stringify(problems);
    for (const id of ['bad id', 'heavy', 'AABBCCDDEEFF0011']) assert.ok(told.includes(id), `${id} is not reported: ${told}`);
    await s.run(['sync', '--config', config]);
    const ids = await s.ids();
    assert.ok(ids.includes('good-1') && ids.includes('good-2'));
    assert.ok(!ids.some((id) => /^aa|heavy|bad/i.test(id)), ids.join());
  });

  scene('a plan that is not fresh, whole and ours is refused before any write', registry, async (s) => {
    const rows = [{ deviceId: 'new-1', ref: '1' }, { deviceId: 'new-2', ref: '2' }];
    const config = s.sheet(rows, ', scope: owned, limits: {deletes: 100%, updates: 100%}');
    const before = await s.ids();
    const refused = async (what, pattern, args, variables) => {
      const writes = await s.writes();
      const ended = await s.run(['apply', ...args], variables);
      assert.notEqual(ended.code, 0, what);
      assert.match(ended.stderr, pattern, what);
      assert.match(ended.stderr, /nothing was changed|plan|no link/i, what);
      assert.equal(await s.writes(), writes, `${what}: written`);
      assert.deepEqual(await s.ids(), before, what);
      return ended;
    };
    await s.runs(0, ['plan', '--config', config, '-o', 'plan.json']);
    const plan = readFileSync(s.path('plan.json'), 'utf8');
    const { id } = JSON.parse(plan);

    s.write('edited.json', plan.replace('new-1', 'new-9'));
    await refused('edited', /edit|changed|sha256|differ|damaged/i, ['edited.json', '--config', config]);
    s.write('cut.json', plan.slice(0, plan.length / 2));
    await refused('cut', /cut.json|plan/, ['cut.json', '--config', config]);
    const contacted = await s.calls();
    for (const [name, hint] of [['elsewhere', ''], ['defaults', '; did you mean .defaults.']]) {
      const other = s.write('other.yaml', readFileSync(config, 'utf8').replace('name: default', `name: ${name}`));
      const ended = await refused(`link ${name}`, new RegExp(`plan\\.json: plan ${id} is for link default; nothing was changed: .*which has ${name}${hint}`),
        ['plan.json', '--config', other]);
      assert.equal(ended.code, 64);
    }
    s.sheet([...rows, { deviceId: 'new-3', ref: '3' }], ', limits: {deletes: 100%, updates: 100%}');
    const far = await refused('other hub', new RegExp(`plan\\.json: plan ${id} of link default is for hub 127.*, but hub localhost.*; nothing was changed`),
      ['plan.json', '--config', config, '--store', `sqlite:${s.path('far.db')}`], { iothub: s.variables.iothub.replace('127.0.0.1', 'localhost') });
    assert.equal(far.code, 64);
    assert.deepEqual(await s.calls(), contacted, 'nothing was contacted');
    await refused('stale list', /stale/, ['plan.json', '--config', config]);
    s.sheet(rows, ', limits: {deletes: 100%, updates: 100%}');
    await s.hub('PUT', '/devices/newcomer', { deviceId: 'newcomer' });
    before.push('newcomer');
    before.sort();
    await refused('stale hub', /stale/, ['plan.json', '--config', config]);

    s.sheet(rows, ', plan_lifetime: 1s, limits: {deletes: 100%, updates: 100%}');
    await s.runs(0, ['plan', '--config', config, '-o', 'short.json']);
    await pause(1100);
    await refused('expired', /expired/, ['short.json', '--config', config]);

    s.sheet(rows, ', limits: {deletes: 100%, updates: 100%}');
    await s.runs(0, ['plan', '--config', config, '-o', 'last.json']);
    await s.runs(0, ['apply', 'last.json', '--config', config]);
    const used = await s.ids();
    assert.ok(used.includes('new-1') && !used.some(isOrphan));
    before.splice(0, before.length, ...used);
    await refused('used', /applied already|used/, ['last.json', '--config', config]);
  });

  scene('wrong keys, missing rights and unreachable hosts are named with their mend', registry, async (s) => {
    const iothub = s.variables.iothub;
    const closed = await freePort();
    const cases = [
      ['wrong key', { iothub: iothub.replace(/SharedAccessKey=.*/, `SharedAccessKey=${Buffer.from('x'.repeat(32)).toString('base64')}`) }, /key/i],
      ['unknown policy', { iothub: iothub.replace('iothubowner', 'nobody') }, /key|policy/i],
      ['unreachable hub', { iothub: iothub.replace(/:\d+;/, `:${closed};`) }, /connect|reach/i],
      ['unknown host', { iothub: iothub.replace(/HostName=[^;]+/, 'HostName=hub.invalid') }, /hub\.invalid.*(resolve|name)/is],
      ['no trust', { TWINSTEP_CA_FILE: undefined }, /certificate|ca.file|trust/i],
      ['wrong secret', { actility_api_client_secret: 'other-secret' }, /clientSecret|client|secret|401/i],
      ['unreachable ThingPark', { actility_api_devices_uri: `http://127.0.0.1:${closed}/devices` }, /connect|reach/i],
      ['wrong storage key', { AzureWebJobsStorage: s.variables.AzureWebJobsStorage.replace(/AccountKey=[^;]+/, 'AccountKey=b3RoZXI=') }, /key/i],
    ];
    for (const [what, variables, pattern] of cases) {
      const [check, plan] = await Promise.all([s.run(['check'], { ...variables, TWINSTEP_STORE: `sqlite:${s.path(`${what}-1.db`)}` }),
        s.run(['plan'], { ...variables, TWINSTEP_STORE: `sqlite:${s.path(`${what}-2.db`)}` })]);
      assert.equal(check.code, 1, `${what}: check ended with ${check.code}\n${check.all}`);
      assert.match(check.all, pattern, `${what}: ${check.all}`);
      assert.equal(plan.code, 1, `${what}: plan ended with ${plan.code}\n${plan.all}`);
      assert.match(plan.stderr, pattern, `${what}: ${plan.all}`);
    }
    await s.runs(0, ['check']);
  });

  scene('a policy without a right is named by check', registry, async (s) => {
    const ended = await s.runs(1, ['check'], { iothub: s.variables.iothub.replace('iothubowner', 'registryRead') });
    assert.match(ended.stdout, /ok +hub default: read devices/);
    assert.match(ended.stdout, /FAIL +hub default: change devices/);
    assert.match(ended.stdout, /RegistryWrite/);
  });

  scene("a clock that is wrong is named", [...registry, '--clock-skew', '90000'], async (s) => {
    for (const command of ['check', 'plan']) {
      const ended = await s.runs(1, [command]);
      assert.match(ended.all, /clock/i, ended.all);
    }
  });

  scene('Ctrl-C while listing stops within a second and changes nothing', registry, async (s) => {
    await s.fault({ server: 'thingpark', path: 'pageIndex=2', delayMs: 6000, times: -1 });
    for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]]) {
      const run = s.begin(['sync']);
      await pause(700);
      const start = Date.now();
      run.child.kill(signal);
      const ended = await run.ended;
      assert.equal(ended.code, code, ended.all);
      assert.ok(Date.now() - start < 1500, `${signal} took ${Date.now() - start} ms`);
      assert.match(ended.all, /stopped|interrupted/);
    }
    assert.equal(await s.writes(), 0);
    await s.noFaults();
    await s.runs(0, ['sync']);
    assert.deepEqual(await s.containers(), []);
  });

  scene('Ctrl-C while writing says what was done, and the next run goes on', ['--devices', '1000', '--changed', '25%', '--time-factor', '60', '--orphaned', '1%'], async (s) => {
    await s.fault({ server: 'hub', method: 'PATCH', delayMs: 100, times: -1 });
    const run = s.begin(['sync'], { devicesChangeJobThreshold: '100000' });
    await until('a twin patch', async () => ((await s.calls())['hub PATCH 200'] ?? 0) > 60);
    const start = Date.now();
    run.child.kill('SIGINT');
    const ended = await run.ended;
    assert.equal(ended.code, 130, ended.all);
    assert.ok(Date.now() - start < 1500, `took ${Date.now() - start} ms`);
    assert.match(ended.all, /update +\d+/);
    assert.match(ended.all, /interrupted/);
    assert.ok(await orphans(s) > 0, 'deletes come last');
    await s.noFaults();
    await s.runs(0, ['sync']);
    assert.equal(await orphans(s), 0);
    assert.match((await s.runs(0, ['sync'])).stdout, /nothing to do/);
  });

  scene('kill -9 while writing twins: the same apply goes on and repeats next to nothing', ['--devices', '1000', '--changed', '25%', '--time-factor', '60'], async (s) => {
    await s.runs(0, ['plan', '-o', 'plan.json']);
    const { counts } = JSON.parse(readFileSync(s.path('plan.json')));
    await s.fault({ server: 'hub', method: 'PATCH', delayMs: 50, times: -1 });
    const run = s.begin(['apply', 'plan.json']);
    await until('half of the updates', async () => ((await s.calls())['hub PATCH 200'] ?? 0) > counts.update / 3);
    run.child.kill('SIGKILL');
    assert.equal((await run.ended).signal, 'SIGKILL');
    await s.noFaults();
    await pause(200);
    await s.runs(0, ['apply', 'plan.json']);
    const patches = (await s.calls())['hub PATCH 200'];
    assert.ok(patches >= counts.update && patches <= counts.update + 16, `${patches} patches for ${counts.update} updates`);
    assert.match((await s.runs(0, ['sync'])).stdout, /nothing to do/);
    const ids = await s.ids();
    assert.equal(new Set(ids).size, ids.length);
    assert.deepEqual(await s.containers(), []);
    assert.match((await s.run(['apply', 'plan.json'])).stderr, /applied already/);
  });

  scene('kill -9 during an import job: the same apply goes on and the containers are gone', ['--devices', '600', '--missing', '30%', '--time-factor', '8'], async (s) => {
    await s.runs(0, ['plan', '-o', 'plan.json']);
    const { counts } = JSON.parse(readFileSync(s.path('plan.json')));
    assert.ok(counts.create >= 100);
    const posts = async () => (await s.calls())['hub POST 200'] ?? 0;
    const start = await posts();
    const run = s.begin(['apply', 'plan.json']);
    await until('the import job', async () => (await posts()) >= start + 2);
    run.child.kill('SIGKILL');
    await run.ended;
    assert.ok((await s.containers()).length > 0, 'the crash leaves its container');
    await s.runs(0, ['apply', 'plan.json']);
    assert.deepEqual(await s.containers(), []);
    const imports = (await s.hub('GET', '/jobs')).filter((job) => job.type === 'import');
    assert.ok(imports.length <= 2, `${imports.length} import jobs`);
    const ids = new Set(await s.ids());
    for (const device of await s.devices('thingpark')) assert.ok(ids.has(device.name), `${device.name} is missing`);
    assert.match((await s.runs(0, ['sync'])).stdout, /nothing to do/);
  });

  scene('a hub that is busy with another job is waited for', ['--devices', '300', '--time-factor', '4'], async (s) => {
    const other = { TWINSTEP_STORE: `sqlite:${s.path('other.db')}` };
    const [one, two] = await Promise.all([s.run(['plan']), s.run(['plan'], other)]);
    assert.equal(one.code, 0, one.all);
    assert.equal(two.code, 0, two.all);
    assert.match(one.all + two.all, /another import or export job/);
    assert.equal((await s.hub('GET', '/jobs')).length, 2);
  });

  for (const skip of [0, 1])
    scene(`a lost answer to ${skip ? 'an import' : 'an export'} job's creation makes no second job`, [...registry, '--missing', '40%'], async (s) => {
      await s.fault({ server: 'hub', method: 'POST', path: '/jobs/create', lost: true, skip });
      await s.runs(0, ['sync']);
      const jobs = await s.hub('GET', '/jobs');
      assert.deepEqual(jobs.map((job) => job.type).sort(), ['export', 'import']);
      assert.deepEqual(await s.containers(), []);
      assert.match((await s.runs(0, ['sync'])).stdout, /nothing to do/);
    });

  for (const [what, threshold] of [['import lines', '0'], ['bulk entries', '100000']])
    scene(`failed ${what} are failed devices with a reason, exit 4`, [...registry, '--missing', '10%', '--max-devices', '290', '--orphaned', '0'], async (s) => {
      const ended = await s.runs(4, ['sync'], { devicesChangeJobThreshold: threshold });
      assert.match(ended.stdout, /create lora-\w+: .*(quota|403|maximum)/i);
      assert.equal((await s.ids()).length, 290, 'those that fit are there');
      const json = JSON.parse((await s.runs(4, ['sync', '--output', 'json'], { devicesChangeJobThreshold: threshold })).stdout);
      assert.equal(json.results.create.failed, json.failed.length);
      assert.ok(json.failed.every((device) => device.deviceId && device.reason));
      assert.deepEqual(await s.containers(), []);
    });

  scene('the guard holds deletes back until that very plan is approved', [...registry, '--orphaned', '20%'], async (s) => {
    const before = await orphans(s);
    assert.ok(before > 40);
    const sync = await s.runs(3, ['sync']);
    assert.match(sync.all, /limits\.deletes/);
    assert.equal(await orphans(s), before);
    await s.runs(3, ['plan', '-o', 'plan.json']);
    const { id } = JSON.parse(readFileSync(s.path('plan.json')));
    assert.match((await s.runs(3, ['apply', 'plan.json'])).stderr, new RegExp(`--approve ${id}`));
    const wrong = await s.run(['apply', 'plan.json', '--approve', '0'.repeat(32)]);
    assert.ok(wrong.code !== 0);
    assert.equal(await orphans(s), before);
    await s.runs(0, ['apply', 'plan.json', '--approve', id]);
    assert.equal(await orphans(s), 0);
  });

  scene('the guard holds updates back', [...registry, '--changed', '60%'], async (s) => {
    const ended = await s.runs(3, ['sync']);
    assert.match(ended.all, /limits\.updates/);
    assert.equal((await s.calls())['hub PATCH 200'] ?? 0, 0);
    assert.equal(await orphans(s), 0, 'the deletes are within their limit');
  });

  scene('disable keeps the keys, and what comes back is enabled', registry, async (s) => {
    const config = s.thingpark('deletes: disable');
    const before = await s.hub('GET', '/devices/orphan-000000');
    const count = await orphans(s);
    await s.runs(0, ['sync', '--config', config]);
    const after = await s.hub('GET', '/devices/orphan-000000');
    assert.equal(after.status, 'disabled');
    assert.deepEqual(after.authentication, before.authentication);
    assert.ok(after.authentication.symmetricKey.primaryKey);
    assert.equal(after.generationId, before.generationId);
    assert.equal(await orphans(s), count);
    assert.match((await s.runs(0, ['sync', '--config', config])).stdout, /nothing to do/);
    await s.runs(0, ['sync', '--config', s.thingpark('deletes: never')]);
    assert.equal(await orphans(s), count, 'never deletes nothing');
  });

  scene('updates touch mapped tags only, and foreign devices not at all', registry, async (s) => {
    await s.runs(0, ['plan', '-o', 'first.json']);
    const changed = JSON.parse(readFileSync(s.path('first.json'))).changes.find((change) => change.op === 'update').deviceId;
    const foreign = (await s.ids()).find((id) => !/^(lora|orphan|edge)-/.test(id));
    const mine = { tags: { site: { floor: 3, names: ['a'] }, note: 'kept' }, properties: { desired: { interval: 30 } } };
    await s.hub('PATCH', `/twins/${changed}`, mine, { 'if-match': '*' });
    const foreignBefore = await s.hub('GET', `/twins/${foreign}`);
    await s.runs(0, ['sync']);
    const twin = await s.hub('GET', `/twins/${changed}`);
    assert.deepEqual(twin.tags.site, mine.tags.site);
    assert.equal(twin.tags.note, 'kept');
    assert.equal(twin.properties.desired.interval, 30);
    const outside = (await s.devices('thingpark')).find((device) => device.name === changed);
    assert.equal(twin.tags.deviceProfileId, outside.deviceProfileId);
    assert.deepEqual(await s.hub('GET', `/twins/${foreign}`), foreignBefore);
    assert.equal(twin.tags.applicationKey, undefined, 'secret tags stay outside unless asked for');
  });
});
