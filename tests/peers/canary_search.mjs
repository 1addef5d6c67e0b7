// Secrets that can be recognised, proof that each of them was used, and the search for them in whatever came out.
import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';

/// A secret that nothing else can look like.
export const canary = () => randomBytes(16).toString('hex').toUpperCase();

const shortest = 12;

/// Base64 of something that holds the secret, as "user:password" does: without what depends on its neighbours.
function insideBase64(text, before) {
  const whole = Buffer.concat([Buffer.alloc(before), text]);
  const encoded = whole.toString('base64').replace(/=+$/, '');
  return encoded.slice(Math.ceil((before * 4) / 3), encoded.length - (whole.length % 3 === 0 ? 0 : 1));
}

/// How a secret may look where it does not belong.
export function spellings(secret) {
  const text = Buffer.from(secret);
  // A client's secret is encoded before it goes into basic credentials.
  const inside = [text, Buffer.from(encodeURIComponent(secret))].flatMap((one) => [0, 1, 2].map((before) => insideBase64(one, before)));
  // However the rest is escaped, and how many times: long runs of letters and digits stay as they are.
  const runs = secret.match(/[A-Za-z0-9]{16,}/g) ?? [];
  return [...new Set([...runs, secret, secret.toLowerCase(), secret.toUpperCase(), encodeURIComponent(secret), encodeURIComponent(encodeURIComponent(secret)),
    encodeURIComponent(secret).replace(/%../g, (code) => code.toLowerCase()), JSON.stringify(secret).slice(1, -1), secret.replaceAll('+', ' '),
    ...inside, ...inside.map((one) => one.replaceAll('+', '-').replaceAll('/', '_')), text.toString('hex'), text.toString('hex').toUpperCase()])]
    .filter((one) => one.length >= shortest);
}

/// Finds any of many texts in one pass: eight bytes are looked up in a table of bits, and what is in it is compared.
export class Search {
  #bits = new Uint8Array(1 << 21);
  #byStart = new Map();

  /// `secrets` are pairs of a name and a secret.
  constructor(secrets) {
    for (const [name, secret] of secrets) {
      const spelled = spellings(secret);
      if (spelled.length === 0) throw new Error(`${name} is too short to be searched for`);
      for (const text of spelled.map((one) => Buffer.from(one))) {
        const slot = Search.#slot(text.readUInt32LE(0), text.readUInt32LE(4));
        this.#bits[slot >>> 3] |= 1 << (slot & 7);
        const start = text.toString('latin1', 0, shortest);
        if (!this.#byStart.has(start)) this.#byStart.set(start, []);
        this.#byStart.get(start).push({ name, text });
      }
    }
  }
  static #slot(a, b) { return (Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b)) >>> 8; }

  /// Names of the secrets that are there.
  in(text) {
    const bytes = Buffer.isBuffer(text) ? text : Buffer.from(text);
    const found = new Set();
    let [a, b] = [0, 0];
    for (let i = 0; i < bytes.length; ++i) {
      a = (a >>> 8) | ((b & 0xff) << 24);
      b = (b >>> 8) | (bytes[i] << 24);
      const slot = Search.#slot(a, b);
      if ((this.#bits[slot >>> 3] & (1 << (slot & 7))) === 0 || i < 7) continue;
      const at = i - 7;
      for (const { name, text: secret } of this.#byStart.get(bytes.toString('latin1', at, at + shortest)) ?? [])
        if (bytes.compare(secret, 0, secret.length, at, Math.min(at + secret.length, bytes.length)) === 0) found.add(name);
    }
    return found;
  }
}

/// What was planted, where it was seen to be used, and everything that came out.
export class Canaries {
  planted = new Map();  // name -> { secret, used }
  outputs = [];
  #seen = [];

  /// `used` proves that somebody used it, for secrets that are never sent; others must have been seen at a peer.
  plant(name, secret, used) {
    for (let n = 2; this.planted.has(name); ++n) name = `${name.replace(/ #\d+$/, '')} #${n}`;
    this.planted.set(name, { secret, used });
    return secret;
  }
  /// A peer was sent this, or sent it.
  saw(text) { this.#seen.push(text); }
  sawLike(pattern) { return this.#seen.some((text) => pattern.test(text)); }
  /// Something that no secret may be in, besides those whose names `byDesign` fits.
  keep(what, text, byDesign) { this.outputs.push({ what, text, byDesign }); }
  keepFiles(folder, except) {
    for (const path of filesBelow(folder)) {
      if (except.test(path)) continue;
      const bytes = readFileSync(path);
      this.keep(path, path.endsWith('.gz') ? gunzipSync(bytes) : bytes, path.endsWith('.gz') ? /instrumentation key/ : undefined);
    }
  }
  /// Secrets that others made meanwhile: what `pattern` captures in what peers saw.
  harvest(name, pattern) {
    const found = new Set(this.#seen.flatMap((text) => [...text.matchAll(pattern)].map((match) => match[1])).filter((one) => one.length >= shortest));
    for (const one of found) this.plant(name, one.includes('%') ? decodeURIComponent(one) : one, () => true);
    return found.size;
  }
  search() { return new Search([...this.planted].map(([name, { secret }]) => [name, secret])); }
  /// Names of those that nobody used: their absence proves nothing.
  unused() {
    const search = this.search();
    const seen = new Set(this.#seen.flatMap((text) => [...search.in(text)]));
    return [...this.planted].filter(([name, { used }]) => !(used ? used() : seen.has(name))).map(([name]) => name);
  }
  leaks() {
    const search = this.search();
    return this.outputs.flatMap(({ what, text, byDesign }) =>
      [...search.in(text)].filter((name) => !byDesign?.test(name)).map((name) => `${name} in ${what}`));
  }
}

function filesBelow(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    const status = statSync(path, { throwIfNoEntry: false });
    if (!status) return [];
    return status.isDirectory() ? filesBelow(path) : status.isFile() ? [path] : [];
  });
}
