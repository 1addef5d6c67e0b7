// DuckDB as the oracle of `twinstep diff`: random pairs of registries, many of them nasty, are compared by both. The
// SQL below states the rules of comparison a second time, as a full outer join, and shares nothing with the C++ code.
//
//   TWINSTEP_SEED=17 node --test duckdb_oracle.test.mjs    one seed; its files are kept and their folder is printed
//   TWINSTEP_SEEDS=400                                     so many seeds
import assert from 'node:assert/strict';
import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {after, before, describe, it} from 'node:test';

import {peer, program, run, temporaryFolder} from './lib.mjs';

const duckdb = peer('@duckdb/node-api');

const link = 'thingpark';
const fields = ['EUI', 'activationType', 'deviceProfileId', 'applicationEUI', 'ref'];
const secretMark = 'S3cr3tKey';
const kinds = [
  'create', 'update', 'delete', 'disable', 'adopt', 'unchanged', 'foreign', 'excluded', 'conflict', 'invalid', 'kept',
  'withheld'
];
const ops = ['create', 'update', 'delete', 'disable', 'adopt'];

// ---- random registries ----

/// mulberry32: the same seed gives the same registries everywhere.
function random(seed) {
  let state = seed >>> 0;
  const unit = () => {
    state = (state + 0x6D2B79F5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const below = (n) => Math.floor(unit() * n);
  return {
    below,
    chance: (share) => unit() < share,
    pick: (list) => list[below(list.length)],
    hex: (digits) => Array.from({length: digits}, () => '0123456789ABCDEF'[below(16)]).join(''),
    shuffle(list) {
      for (let i = list.length - 1; i > 0; --i) {
        const j = below(i + 1);
        [list[i], list[j]] = [list[j], list[i]];
      }
      return list;
    },
  };
}

/// A value that is written as it stands: one number has many spellings.
class Raw {
  constructor(text) { this.text = text; }
}

/// JSON text with random escapes, spaces and order of members. `breaks` allows line breaks between tokens.
function jsonText(value, r, breaks = false) {
  const space = () => (r.chance(0.9) ? '' : r.pick(breaks ? [' ', '\n', '\t', '\r\n  '] : [' ', '\t', '  ']));
  const string = (text) => {
    let out = '"';
    for (const unit of text.split('')) {
      const code = unit.charCodeAt(0);
      const hex = `\\u${code.toString(16).padStart(4, '0')}`;
      const surrogate = code >= 0xD800 && code <= 0xDFFF;
      if (unit === '"' || unit === '\\')
        out += `\\${unit}`;
      else if (code < 0x20)
        out += r.chance(0.5) ? hex : JSON.stringify(unit).slice(1, -1);
      else if (unit === '/' && r.chance(0.3))
        out += '\\/';
      else if (!surrogate && r.chance(0.03))
        out += r.chance(0.5) ? hex : hex.replace(/[a-f]/g, (c) => c.toUpperCase());
      else
        out += unit;
    }
    return `${out}"`;
  };
  const write = (v) => {
    if (v instanceof Raw) return v.text;
    if (typeof v === 'string') return string(v);
    if (v === null || typeof v !== 'object') return JSON.stringify(v);
    const [open, close, parts] = Array.isArray(v) ? ['[', ']', v.map(write)] : [
      '{', '}',
      Object.entries(v)
          .filter(([, member]) => member !== undefined)
          .map(([key, member]) => `${string(key)}${space()}:${space()}${write(member)}`)
    ];
    return `${open}${space()}${parts.join(`${space()},${space()}`)}${space()}${close}`;
  };
  return write(value);
}

const texts = [
  'LORA/GenericA.1.0.2b_ETSI',
  'ABP',
  'OTAA',
  'say "hi"',
  'back\\slash',
  'tab\there',
  'two\nlines',
  ' edges ',
  'Ünïcödé',
  'e\u0301',
  '\u00E9',
  '日本語',
  '\u{1F600}\u{1F4A1}',
  '\u2028',
  '\u007F',
  'it\'s',
  'a,b;c',
  '{"id":"decoy"}',
  '[1]',
  'null',
  'true',
  '5',
  '5.0',
  '0',
  'NaN',
  '-',
  '%2F'
];

/// The two registries of one seed, as texts of files.
function registries(seed) {
  const r = random(seed);
  const wholeHub = r.chance(0.35);
  const form = ['array', 'lines', 'csv', 'pages'][seed % 4];
  const hubForm = r.chance(0.2) ? 'twins' : 'export';
  const deletes = r.pick(['', '', '', 'delete', 'disable', 'never']);
  const include = ['edge', 'modules', 'certificates'].filter(() => r.chance(0.15));
  const trouble = r.pick(['none', 'none', 'none', 'hub-broken', 'external-broken', 'repeated', 'cut', 'empty']);
  const hub = [];
  const external = [];
  const cutOff = [];
  const used = new Set();
  let serial = 0;

  const canonical = (id) =>
      (/^[0-9a-f]([-:._ ]?[0-9a-f]){15}$/i.test(id) ? id.replace(/[-:._ ]/g, '').toUpperCase() : id);
  const fresh = (make) => {
    for (;;) {
      const id = make();
      if (used.has(canonical(id))) continue;
      used.add(canonical(id));
      return id;
    }
  };
  const legal = 'abcXYZ019-:.+%_#*?!(),=@;$\'';
  const word = (length) => Array.from({length}, () => legal[r.below(legal.length)]).join('');
  const eui = () => r.hex(16);
  /// Sixteen hex digits in one of the ways people write them.
  const spelled = (digits, spaces = false) => {
    const separator = r.pick(spaces ? ['-', ':', '.', '_', ' '] : ['-', ':', '.', '_']);
    const text = r.pick([
      digits, digits.match(/../g).join(separator), digits.match(/.{4}/g).join(separator),
      digits.split('').join(separator), `${digits.slice(0, 1)}${separator}${digits.slice(1)}`
    ]);
    return r.pick(
        [text, text.toLowerCase(), text.split('').map((c) => (r.chance(0.5) ? c.toLowerCase() : c)).join('')]);
  };
  const plainId = () => fresh(() => r.pick([
    () => `lora-${r.hex(6)}`, () => `Dev-${r.below(40)}`, () => `dev-${r.below(40)}`, () => `DEV-${r.below(40)}`,
    () => word(1 + r.below(12)), () => word(128), () => r.hex(15), () => r.hex(17), () => `${r.hex(8)}--${r.hex(8)}`,
    () => `-${r.hex(16)}`, () => `${r.hex(16)}:`, () => `${r.hex(15)}g`, () => r.hex(15).toLowerCase()
  ])());
  const euiId = () => fresh(eui);

  const tagsFor = () => ({
    EUI: eui(),
    activationType: r.pick(['OTAA', 'ABP']),
    deviceProfileId: r.pick(texts),
    applicationEUI: r.pick([eui(), ...texts]),
    ref: `${++serial}`
  });
  const decoys = () => ({
    room: r.pick(texts),
    nested: {EUI: 'decoy', ref: 'decoy', twinstep: {link: 'decoy'}},
    n: new Raw(r.pick(['1', '1.5', '-0', '1e3'])),
    flag: r.chance(0.5),
    list: [1, 'two', {three: 3}]
  });

  /// One device of the hub. `about`: edge, auth, status, statusReason, tags.
  const addHub = (id, about = {}) => {
    const tags = about.tags && r.chance(0.5) ? {...about.tags, ...decoys()} : about.tags;
    const auth = about.auth ?? 'sas';
    const none = {primaryThumbprint: null, secondaryThumbprint: null};
    const desired = r.chance(0.2) ? {id: 'decoy', tags: {ref: 'decoy'}, capabilities: {iotEdge: true}} : {};
    const properties = {desired: {...desired, $metadata: {}, $version: 1}, reported: {$metadata: {}, $version: 1}};
    const capabilities = r.chance(0.9) || about.edge ? {iotEdge: about.edge ?? false} : undefined;
    const members = hubForm === 'twins' ?
        {
          deviceId: id,
          moduleId: about.module,
          etag: 'AAAAAAAAAAE=',
          deviceEtag: 'MTIz',
          status: about.status ?? 'enabled',
          statusReason: about.statusReason,
          connectionState: 'Disconnected',
          authenticationType: auth,
          x509Thumbprint: none,
          version: 2,
          tags,
          properties,
          capabilities
        } :
        {
          id,
          moduleId: about.module,
          eTag: 'MTIz',
          status: about.status ?? 'enabled',
          statusReason: about.statusReason,
          authentication: {symmetricKey: {primaryKey: null, secondaryKey: null}, x509Thumbprint: none, type: auth},
          twinETag: tags ? 'AAAAAAAAAAE=' : undefined,
          tags,
          properties: tags ? properties : undefined,
          capabilities
        };
    hub.push(Object.fromEntries(r.chance(0.3) ? r.shuffle(Object.entries(members)) : Object.entries(members)));
  };
  const addExternal = (name, tags, more = {}) => external.push(Object.fromEntries(r.shuffle(Object.entries(
      {name, ...tags, applicationKey: `${secretMark}${r.hex(8)}`, healthState: r.pick(['ACTIVE', 'INIT']), ...more}))));
  const mark = (tags, owner = link) => ({...tags, twinstep: {link: owner}});
  /// Marked, or made by the sample, which left the tag ref.
  const owned = (tags) => (r.chance(0.6) ? mark(tags) : {...tags, ref: tags.ref ?? 'old'});
  const strange = (tags) => {
    const {ref, ...rest} = tags;
    return r.chance(0.2) ? undefined : rest;
  };
  const special = () => r.pick([{edge: true}, {auth: 'selfSigned'}, {auth: 'certificateAuthority'}, {module: true}]);
  const addSpecial = (id, tags) => {
    const {module, ...about} = special();
    const lines = [() => addHub(id, {tags, ...about})];
    if (module)
      lines.push(
          () => addHub(id, {module: 'm1', tags: r.chance(0.5) ? {ref: 'decoy'} : undefined}),
          () => addHub(id, {module: 'm2'}));
    for (const line of r.shuffle(lines)) line();
  };

  const cases = {
    created: () => (r.chance(0.4) ? addExternal(spelled(euiId(), true), tagsFor()) : addExternal(plainId(), tagsFor())),
    equal: () => {
      const [id, tags] = [plainId(), tagsFor()];
      addHub(id, {tags: owned(tags), status: r.pick(['enabled', 'disabled'])});
      addExternal(id, tags);
    },
    otherSpelling: () => {
      const [id, tags] = [euiId(), tagsFor()];
      addHub(spelled(id), {tags: owned(tags)});
      addExternal(spelled(id, true), r.chance(0.5) ? tags : {...tags, deviceProfileId: r.pick(texts)});
    },
    changed: () => {
      const [id, tags] = [plainId(), tagsFor()];
      addHub(id, {tags: mark(tags)});
      addExternal(id, {...tags, [r.pick(fields)]: r.pick(texts)});
    },
    number: () => {  // outside a number, in the hub the same as text or as a number
      const [id, tags] = [plainId(), tagsFor()];
      const value = r.pick(
          [['5', '5', '5.0', '5e0', '50e-1'], ['0', '0', '0.0', '-0'], ['-12', '-12', '-1.2e1'], ['true', 'true']]);
      addHub(id, {tags: mark({...tags, deviceProfileId: r.chance(0.7) ? value[0] : new Raw(value[0])})});
      addExternal(id, {...tags, deviceProfileId: form === 'csv' ? value[0] : new Raw(r.pick(value.slice(1)))});
    },
    thin: () => {  // what the list does not tell is not compared
      const [id, tags] = [plainId(), tagsFor()];
      addHub(id, {tags: mark(tags)});
      addExternal(id, {ref: tags.ref, EUI: r.chance(0.8) ? tags.EUI : undefined});
    },
    nothing: () => {  // null counts as empty text
      const [id, tags] = [plainId(), tagsFor()];
      addHub(id, {tags: mark({...tags, applicationEUI: r.chance(0.5) ? '' : tags.applicationEUI})});
      addExternal(id, {...tags, applicationEUI: null});
    },
    bareMark: () => {  // a mark without any of the tags
      const id = plainId();
      addHub(id, {tags: mark({})});
      addExternal(id, tagsFor());
    },
    adopted: () => {
      const [id, tags] = [plainId(), tagsFor()];
      addHub(id, {tags: strange(tags)});
      addExternal(id, tags);
    },
    ofAnother: () => {
      const [id, tags] = [plainId(), tagsFor()];
      addHub(id, {tags: mark(tags, r.pick(['other', 'Thingpark', 'thingpark2', '']))});
      if (r.chance(0.5)) addExternal(id, r.chance(0.2) ? {...tags, deviceProfileId: 'x'.repeat(5000)} : tags);
    },
    orphan: () => addHub(r.chance(0.3) ? spelled(euiId()) : plainId(), {
      tags: owned(tagsFor()),
      ...r.pick([{}, {}, {status: 'disabled', statusReason: 'twinstep: absent from thingpark'}, {status: 'disabled'}])
    }),
    foreign: () => addHub(plainId(), {tags: strange(tagsFor())}),
    returned: () => {
      const [id, tags] = [plainId(), tagsFor()];
      addHub(id, {
        tags: mark(tags),
        status: r.pick(['disabled', 'disabled', 'enabled']),
        statusReason: r.pick(['twinstep: absent from thingpark', 'sold', 'see twinstep: absent from thingpark'])
      });
      addExternal(id, tags);
    },
    special: () => {
      const [id, tags] = [r.chance(0.3) ? euiId() : plainId(), tagsFor()];
      addSpecial(id, r.chance(0.3) ? undefined : owned(tags));
      if (r.chance(0.5)) addExternal(id, r.chance(0.2) ? {...tags, deviceProfileId: 'x'.repeat(5000)} : tags);
      if (r.chance(0.1)) addExternal(id, tagsFor());
    },
    modulesAlone: () => {  // lines of modules, and none of their device
      const id = plainId();
      addHub(id, {module: 'm1'});
      if (r.chance(0.5)) addExternal(id, tagsFor());
    },
    cutOff: () => {  // a line that breaks off but tells its id
      const [id, tags] = [plainId(), tagsFor()];
      cutOff.push(id);
      if (r.chance(0.5)) addExternal(id, tags);
    },
    twiceOutside: () => {
      const id = r.chance(0.5) ? euiId() : plainId();
      const name = () => (canonical(id) !== id || /^[0-9A-F]{16}$/.test(id) ? spelled(canonical(id)) : id);
      for (let n = 2 + r.below(2); n > 0; --n) addExternal(name(), tagsFor());
      if (r.chance(0.5)) addHub(id, {tags: owned(tagsFor())});
    },
    twiceInHub: () => {
      const id = euiId();
      addHub(id, {tags: r.chance(0.5) ? owned(tagsFor()) : strange(tagsFor())});
      addHub(id.match(/../g).join(r.pick(['-', ':', '.', '_'])), {tags: owned(tagsFor())});
      if (r.chance(0.5)) addExternal(spelled(id), tagsFor());
    },
    noRef: () => {  // the sample's own key is not in every list
      const [id, {ref, ...tags}] = [plainId(), tagsFor()];
      addExternal(id, tags);
      if (r.chance(0.5)) addHub(id, {tags: owned({...tags, ref})});
    },
    badId: () => addExternal(
        fresh(() => r.pick(['a b', 'a/b', 'ä', 'x'.repeat(129), '{x}', '"q"', 'a\tb']) + '~'.repeat(r.below(9))),
        tagsFor()),
    long: () => {  // 4096 bytes are a tag, one more is none; three long ones are too much together
      const tags = tagsFor();
      const text = r.pick(['ä'.repeat(2048), 'x'.repeat(4096), `x${'ä'.repeat(2048)}`, 'x'.repeat(4097)]);
      addExternal(plainId(), r.chance(0.7) ? {...tags, deviceProfileId: text} : {
        ...tags,
        deviceProfileId: 'x'.repeat(3000),
        applicationEUI: 'y'.repeat(3000),
        activationType: 'z'.repeat(3000)
      });
    },
  };
  const names = Object.keys(cases);
  for (const name of names) cases[name]();
  for (let n = r.below(120); n > 0; --n) cases[r.pick(names)]();

  const repeated = trouble === 'repeated' ? external.filter((item) => item.ref !== undefined)[0] : undefined;
  r.shuffle(hub);
  r.shuffle(external);
  if (trouble === 'empty') external.length = 0;
  return {
    seed,
    wholeHub,
    deletes,
    include,
    form,
    hubForm,
    trouble,
    hub: hubText(hub, hubForm, trouble, r, cutOff),
    external: externalText(external, form, trouble, repeated, r)
  };
}

const bom = '\uFEFF';

function hubText(hub, form, trouble, r, cutOff) {
  if (form === 'twins')
    return `${r.chance(0.2) ? '\n' : ''}[${hub.map((d) => jsonText(d, r, true)).join(r.pick([',', ' ,\n']))}]\n`;
  const lines = hub.map((device) => jsonText(device, r));
  for (const id of cutOff)
    lines.splice(r.below(lines.length + 1), 0, `{"id":${JSON.stringify(id)},"eTag":"MTIz","status":"enab`);
  if (trouble === 'hub-broken')
    lines.splice(1 + r.below(lines.length), 0, r.pick(['{"eTag":"MTIz","sta', 'not a line', '42', '{}']));
  for (let n = r.below(4); n > 0; --n) lines.splice(r.below(lines.length + 1), 0, r.pick(['', ' ', '\t']));
  if (r.chance(0.5)) lines.unshift('Device keys are not in this file, because they were excluded from the export.');
  const end = r.pick(['\n', '\r\n']);
  return (r.chance(0.2) ? bom : '') + lines.join(end) + (r.chance(0.8) ? end : '');
}

function externalText(external, form, trouble, repeated, r) {
  if (form === 'csv') return csvText(external, trouble, repeated, r);
  const items = external.map((item) => jsonText(item, r, form !== 'lines'));
  if (repeated) {
    const text = JSON.stringify(repeated, (key, v) => (v instanceof Raw ? Number(v.text) : v));
    items[external.indexOf(repeated)] = text;
    items.push(text);
  }
  if (trouble === 'external-broken')
    items.splice(1 + r.below(items.length), 0, r.pick([
      '{"ref":"1"}', '{"name":"","ref":"1"}', '{"name":null,"ref":"1"}', '{"name":7,"ref":"1"}',
      ...(form === 'lines' ? ['no json at all', '{"ref":'] : ['42', '"text"', 'null'])
    ]));
  if (form === 'lines') {
    for (let n = r.below(3); n > 0; --n) items.splice(r.below(items.length + 1), 0, '');
    return (r.chance(0.2) ? bom : '') + items.map((item) => item + r.pick(['\n', '\r\n'])).join('');
  }
  const half = form === 'pages' && items.length > 1 ? 1 + r.below(items.length - 1) : 0;
  const open = `[${r.pick(['', '\n', ' '])}`;
  const list = (some) => some.join(r.pick([',', ',\n', ' , ']));
  const close = trouble === 'cut' ? '' : `${r.pick(['', '\n'])}]${r.pick(['', '\n'])}`;
  return (r.chance(0.2) ? bom : '') + (half ? `[${list(items.slice(0, half))}]\n[` : open) + list(items.slice(half)) +
      close;
}

function csvText(external, trouble, repeated, r) {
  const columns = r.shuffle(['name', ...fields, 'applicationKey', 'healthState', 'unused']);
  const separator = r.pick([',', ';', '\t']);
  const quoted = (value) => {
    const text = value === undefined || value === null ? '' : String(value);
    return new RegExp(`[${separator}"\\n\\r]|^\\s|\\s$`).test(text) || (text && r.chance(0.2)) ?
        `"${text.replaceAll('"', '""')}"` :
        text;
  };
  const rows =
      [...external, ...(repeated ? [repeated] : [])].map((item) => columns.map((c) => quoted(item[c])).join(separator));
  if (trouble === 'external-broken')
    rows.splice(r.below(rows.length + 1), 0, columns.map((c) => (c === 'ref' ? '1' : '')).join(separator));
  return `${[columns.join(separator), ...rows].join('\n')}\n`;
}

// ---- the rules in SQL ----

const sqlText = (text) => `'${text.replaceAll('\'', '\'\'')}'`;

const macros = [
  `
  CREATE OR REPLACE MACRO canonical(id) AS
    CASE WHEN regexp_full_match(id, '[0-9A-Fa-f]([-:._ ]?[0-9A-Fa-f]){15}') THEN upper(regexp_replace(id, '[-:._ ]', '', 'g'))
         ELSE id END`,
  `
  CREATE OR REPLACE MACRO legal(id) AS regexp_full_match(id, '[A-Za-z0-9:.+%_#*?!(),=@;$''-]{1,128}')`,
  // What the provider's to-text filter makes of a value.
  `
  CREATE OR REPLACE MACRO as_text(item, path) AS
    CASE json_type(item, path)
      WHEN 'VARCHAR' THEN json_extract_string(item, path)
      WHEN 'BOOLEAN' THEN json_extract_string(item, path)
      WHEN 'NULL' THEN ''
      ELSE CAST(CAST(CAST(json_extract_string(item, path) AS DOUBLE) AS BIGINT) AS VARCHAR) END`,
  `
  CREATE OR REPLACE MACRO text_only(item, path) AS
    CASE WHEN json_type(item, path) = 'VARCHAR' THEN json_extract_string(item, path) END`
];

/// items(item, whole): one row per item of a list of JSON, \`item\` NULL where it is no JSON object.
function externalItems(form, file) {
  const picked = `text_only(item, '$.name') AS id, ${fields.map((f) => `as_text(item, '$.${f}') AS "${f}"`).join(', ')},
    CAST(item AS VARCHAR) AS whole FROM items`;
  const content = `(SELECT ltrim(content, chr(65279)) AS text FROM read_text(${sqlText(file)}))`;
  if (form === 'lines') {
    return `items AS (SELECT CASE WHEN json_valid(line) THEN CAST(line AS JSON) END AS item
        FROM (SELECT trim(unnest(string_split(text, chr(10))), ' ' || chr(9) || chr(13)) AS line FROM ${content})
        WHERE line <> ''),
      listed AS (SELECT ${picked}), whole_list AS (SELECT true AS complete)`;
  }
  return `texts AS (SELECT replace(rtrim(text, ' ,' || chr(9) || chr(10) || chr(13)), ']' || chr(10) || '[', ',') AS text FROM ${
      content}),
    items AS (SELECT unnest(from_json(CASE WHEN ends_with(text, ']') THEN text ELSE text || ']' END, '["JSON"]')) AS item FROM texts),
    listed AS (SELECT ${picked}), whole_list AS (SELECT ends_with(text, ']') AS complete FROM texts)`;
}

function externalRows(file, header) {
  const separator = ['\t', ';', ','].find((c) => header.includes(c));
  const columns = header.split(separator);
  return `listed AS (SELECT name AS id, ${fields.map((f) => `"${f}"`).join(', ')}, concat_ws(chr(1), ${
      columns.map((c) => `coalesce("${c}", '')`).join(', ')}) AS whole
      FROM read_csv(${sqlText(file)}, header = true, auto_detect = false, delim = ${
      sqlText(separator)}, quote = '"', escape = '"',
        new_line = '\\n', nullstr = '', columns = {${columns.map((c) => `'${c}': 'VARCHAR'`).join(', ')}})),
    whole_list AS (SELECT true AS complete)`;
}

function hubItems(form, file) {
  const content = `(SELECT ltrim(content, chr(65279)) AS text FROM read_text(${sqlText(file)}))`;
  if (form === 'twins') {
    return `lines AS (SELECT unnest(from_json(text, '["JSON"]')) AS line, 2 AS n FROM ${content}),
      entries AS (SELECT CAST(line AS VARCHAR) AS line, line AS item FROM lines)`;
  }
  return `split AS (SELECT string_split(text, chr(10)) AS parts FROM ${content}),
    lines AS (SELECT trim(unnest(parts), ' ' || chr(9) || chr(13)) AS line, generate_subscripts(parts, 1) AS n FROM split),
    -- The text before the first device is the service's word about keys.
    entries AS (SELECT line, CASE WHEN json_valid(line) AND starts_with(line, '{') THEN CAST(line AS JSON) END AS item
      FROM lines WHERE line <> '' AND n >= (SELECT min(n) FROM lines WHERE starts_with(line, '{')))`;
}

function oracleSql({wholeHub, deletes, include, form, hubForm, external}, hubFile, externalFile) {
  const outside = form === 'csv' ? externalRows(externalFile, external.slice(0, external.indexOf('\n'))) :
                                   externalItems(form, externalFile);
  const size = fields.map((f) => `coalesce(strlen(o."${f}") + ${f.length}, 0)`).join(' + ');
  const differs =
      fields.map((f) => `(o."${f}" IS NOT NULL AND text_only(h.item, '$.tags.${f}') IS DISTINCT FROM o."${f}")`)
          .join(' OR ');
  const proven = '(SELECT deletes FROM proof)';
  return `WITH ${hubItems(hubForm, hubFile)}, ${outside},
    hub_entries AS (SELECT item, item IS NULL AS broken, coalesce(text_only(item, '$.id'), text_only(item, '$.deviceId'),
        nullif(regexp_extract(CASE WHEN item IS NULL THEN line ELSE '' END, '"id"\\s*:\\s*"([^"\\\\]+)"', 1), '')) AS id,
        text_only(item, '$.moduleId') AS module FROM entries),
    with_modules AS (SELECT DISTINCT canonical(id) AS key FROM hub_entries WHERE module IS NOT NULL),
    hub AS (SELECT canonical(id) AS key, count(*) AS n, bool_or(broken) AS broken, any_value(id) AS id, any_value(item) AS item
      FROM hub_entries WHERE id IS NOT NULL AND module IS NULL GROUP BY ALL),
    outside AS (SELECT canonical(id) AS key, count(*) AS n, count(DISTINCT whole) AS wholes, any_value(id) AS id,
        ${fields.map((f) => `any_value("${f}") AS "${f}"`).join(', ')}
      FROM listed WHERE id <> '' GROUP BY ALL),
    proof AS (SELECT (SELECT complete FROM whole_list) AND NOT EXISTS (FROM hub_entries WHERE id IS NULL)
      AND EXISTS (FROM listed) AND NOT EXISTS (FROM listed WHERE coalesce(id, '') = '')
      AND NOT EXISTS (FROM outside WHERE wholes < n) AS deletes),
    judged AS (SELECT coalesce(h.key, o.key) AS key,
        coalesce(h.id, o.id) AS id, legal(o.id) AS can_be_made, h.key IS NOT NULL AS inside, o.key IS NOT NULL AS listed, h.broken,
        coalesce(h.n, 0) > 1 AS twice_inside, coalesce(o.n, 0) > 1 AS twice_outside,
        ${
      include.includes('edge') ? 'false' :
                                 `coalesce(json_extract_string(h.item, '$.capabilities.iotEdge') = 'true', false)`}
          OR ${include.includes('modules') ? 'false' : 'h.key IN (FROM with_modules)'}
          OR ${include.includes('certificates') ? 'false' : `coalesce(text_only(h.item, '$.authentication.type'),
            text_only(h.item, '$.authenticationType'), 'sas') <> 'sas'`} AS special,
        h.key IS NULL AND o.key IN (FROM with_modules) AS modules_alone,
        json_extract_string(h.item, '$.status') = 'disabled' AS disabled,
        o.key IS NOT NULL AND (NOT legal(o.key) OR ${
      fields.map((f) => `coalesce(strlen(o."${f}"), 0) > 4096`).join(' OR ')}
          OR ${size} + ${'twinstep'.length + 'link'.length + link.length} > 8192) AS unfit,
        json_exists(h.item, '$.tags.twinstep') AS marked,
        ${
      wholeHub} OR CASE WHEN json_exists(h.item, '$.tags.twinstep') THEN text_only(h.item, '$.tags.twinstep.link') = ${
      sqlText(link)}
          ELSE json_exists(h.item, '$.tags.ref') END AS owned,
        json_extract_string(h.item, '$.status') = 'disabled'
          AND starts_with(coalesce(json_extract_string(h.item, '$.statusReason'), ''), 'twinstep: absent from ') AS put_away,
        ${differs} AS differs
      FROM hub h FULL OUTER JOIN outside o ON h.key = o.key)
    SELECT key, id, CASE
        WHEN broken THEN 'invalid'
        WHEN twice_inside THEN 'conflict'
        WHEN modules_alone OR (inside AND special) THEN 'excluded'
        WHEN twice_outside THEN 'conflict'
        WHEN unfit THEN 'invalid'
        WHEN NOT inside THEN CASE WHEN can_be_made THEN 'create' ELSE 'invalid' END
        WHEN NOT listed AND NOT coalesce(owned, false) THEN 'foreign'
        WHEN NOT listed THEN ${{
    never: `'kept'`,
    disable: `CASE WHEN disabled THEN 'unchanged' WHEN ${proven} THEN 'disable' ELSE 'withheld' END`
  }[deletes] ?? `CASE WHEN ${proven} THEN 'delete' ELSE 'withheld' END`}
        WHEN NOT coalesce(owned, false) AND marked THEN 'conflict'
        WHEN NOT coalesce(owned, false) THEN 'adopt'
        WHEN put_away OR differs THEN 'update'
        ELSE 'unchanged' END AS verdict, (SELECT deletes FROM proof) AS proven,
        (SELECT count(*) FROM hub_entries WHERE id IS NULL)
          + (SELECT count(*) FROM listed WHERE coalesce(id, '') = '') AS strays
    FROM judged ORDER BY key`;
}

// ---- the test ----

describe('twinstep diff and a full outer join in DuckDB come to the same', () => {
  const first = Number(process.env.TWINSTEP_SEED ?? 1);
  const count = process.env.TWINSTEP_SEED ? 1 : Number(process.env.TWINSTEP_SEEDS ?? 48);
  const totals = Object.fromEntries(kinds.map((kind) => [kind, 0]));
  let connection;

  before(async () => {
    const instance = await duckdb.DuckDBInstance.create(':memory:', {threads: '1'});
    connection = await instance.connect();
    for (const statement of macros) await connection.run(statement);
  });

  after(() => connection?.closeSync());

  for (let seed = first; seed < first + count; ++seed) {
    it(`seed ${seed}`, async () => {
      const both = registries(seed);
      const folder = temporaryFolder();
      const hubFile = join(folder.path, both.hubForm === 'twins' ? 'hub.json' : 'devices.txt');
      const externalFile =
          join(folder.path, {csv: 'listing.csv', lines: 'listing.ndjson'}[both.form] ?? 'listing.json');
      writeFileSync(hubFile, both.hub);
      writeFileSync(externalFile, both.external);
      const about = `seed ${seed}: hub ${both.hubForm}, listing ${both.form}, trouble ${both.trouble}, ` +
          `${both.wholeHub ? 'whole hub' : 'owned'}, deletes ${both.deletes || 'as usual'}, include [${
                        both.include}]; files in ${folder.path}`;

      const rows = (await connection.runAndReadAll(oracleSql(both, hubFile, externalFile))).getRowObjectsJson();
      const expected =
          Object.fromEntries(kinds.map((kind) => [kind, rows.filter((row) => row.verdict === kind).length]));
      for (const row of rows) ++totals[row.verdict];
      expected.invalid += Number(rows[0].strays);  // lines that show no id belong to no row
      const changes = rows.filter((row) => ops.includes(row.verdict)).map((row) => `${row.verdict} ${row.id}`);

      const args = [
        'diff', '--hub', hubFile, '--external', externalFile, '--provider', 'actility', '--link', link, '--output',
        'json', ...(both.wholeHub ? ['--scope', 'whole-hub'] : []),
        ...(both.deletes ? ['--deletes', both.deletes] : []),
        ...(both.include.length > 0 ? ['--include', both.include.join(',')] : [])
      ];
      const ran =
          await run(program('twinstep'), args, {cwd: folder.path, env: {PATH: process.env.PATH, HOME: folder.path}});
      // 3: a list is not proven complete, so deletes are withheld, or nothing may change at all.
      assert.equal(ran.code, rows[0].proven ? 0 : 3, `${about}\n${ran.stderr}`);
      assert.ok(!ran.stdout.includes(secretMark) && !ran.stderr.includes(secretMark), `a secret is told; ${about}`);
      const answer = JSON.parse(ran.stdout);
      const made = answer.changes.map((change) => `${change.op} ${change.deviceId}`);
      const differences = {
        onlyTwinstep: made.filter((c) => !changes.includes(c)),
        onlyDuckdb: changes.filter((c) => !made.includes(c))
      };
      assert.deepEqual(
          differences, {onlyTwinstep: [], onlyDuckdb: []}, `${about}\n${JSON.stringify(differences, null, 1)}`);
      assert.deepEqual(made, changes, `the order; ${about}`);
      assert.deepEqual(Object.fromEntries(kinds.map((kind) => [kind, answer.summary[kind]])), expected, about);
      for (const change of answer.changes)
        assert.ok(change.reason.length > 0, `${change.deviceId} has no reason; ${about}`);
      if (rows.some((row) => row.verdict === 'withheld'))
        assert.ok(answer.withheld?.length > 0, `it is not said why deletes are withheld; ${about}`);
      if (process.env.TWINSTEP_SEED)
        console.log(about);
      else
        folder.remove();
    });
  }

  it('met every verdict', {skip: count < 40 && 'too few seeds'}, () => {
    for (const [kind, devices] of Object.entries(totals)) assert.ok(devices > 0, `no device was ever ${kind}`);
  });
});
