// The description of the HTTP API against the official OpenAPI 3.1 schema, by a validator of others.
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {it} from 'node:test';
import {pathToFileURL} from 'node:url';

import {peer} from './lib.mjs';

peer('@seriousme/openapi-schema-validator/package.json');  // or says how to install it
const entry = createRequire(import.meta.url).resolve('@seriousme/openapi-schema-validator');
const {Validator} = await import(pathToFileURL(entry));
const description = () => JSON.parse(readFileSync(new URL('../../src/twinstep/api/openapi.json', import.meta.url)));

it('is valid OpenAPI 3.1', async () => {
  const validator = new Validator();
  const result = await validator.validate(description());
  assert.ok(result.valid, JSON.stringify(result.errors, null, 1));
  assert.equal(validator.version, '3.1');
});

it('would not be taken with a mistake in it', async () => {
  const broken = description();
  broken.paths['/api/v1/runs'].get.parameters.push({name: 'x', in: 'nowhere'});
  assert.equal((await new Validator().validate(broken)).valid, false);
});
