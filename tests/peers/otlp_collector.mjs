// A collector for traces that takes nothing but what OTLP's JSON encoding allows, and keeps the spans.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';

const only = (what, object, allowed) => {
  for (const key of Object.keys(object)) assert.ok(allowed.includes(key), `${what} has an unknown member ${key}`);
};
const attributes = (what, list) => {
  const out = {};
  for (const one of list) {
    only(`an attribute of ${what}`, one, ['key', 'value']);
    assert.ok(typeof one.key === 'string' && one.key !== '' && !(one.key in out), `${what}: key ${one.key}`);
    const [[type, value], ...more] = Object.entries(one.value);
    assert.equal(more.length, 0);
    // 64-bit numbers are text in protobuf's JSON.
    const fits = { stringValue: typeof value === 'string', intValue: typeof value === 'string' && /^-?\d+$/.test(value),
      doubleValue: typeof value === 'number', boolValue: typeof value === 'boolean' }[type];
    assert.ok(fits, `${what}: ${one.key} is ${JSON.stringify(one.value)}`);
    out[one.key] = value;
  }
  return out;
};

/// The spans of one request, each with its resource. Throws where the text breaks a rule.
export function checkedSpans(text) {
  const request = JSON.parse(text);
  only('the request', request, ['resourceSpans']);
  const out = [];
  for (const { resource, scopeSpans, ...more } of request.resourceSpans) {
    only('resourceSpans', more, ['schemaUrl']);
    const about = attributes('the resource', resource.attributes);
    assert.ok(about['service.name'] && about['service.version'] && about['service.instance.id']);
    for (const { scope, spans } of scopeSpans) {
      assert.ok(scope.name);
      for (const span of spans) {
        only('a span', span, ['traceId', 'spanId', 'parentSpanId', 'traceState', 'name', 'kind', 'startTimeUnixNano', 'endTimeUnixNano', 'attributes', 'status']);
        assert.match(span.traceId, /^[0-9a-f]{32}$/);
        assert.match(span.spanId, /^[0-9a-f]{16}$/);
        if ('parentSpanId' in span) assert.match(span.parentSpanId, /^[0-9a-f]{16}$/);
        for (const time of [span.startTimeUnixNano, span.endTimeUnixNano]) assert.ok(typeof time === 'string' && /^\d{19}$/.test(time), time);
        assert.ok(BigInt(span.endTimeUnixNano) >= BigInt(span.startTimeUnixNano), 'it ends before it begins');
        assert.ok(Number.isInteger(span.kind) && span.kind >= 1 && span.kind <= 5);
        assert.ok(span.name.length > 0);
        if (span.status) assert.ok([0, 1, 2].includes(span.status.code));
        out.push({ ...span, attributes: attributes(span.name, span.attributes ?? []), resource: about });
      }
    }
  }
  return out;
}

/// `answers` are given first, one each: {status, headers, body}.
export async function startCollector(answers = []) {
  const state = { spans: [], faults: [], requests: 0, headers: [] };
  const server = createServer((request, answer) => {
    let body = '';
    request.on('data', (data) => { body += data; });
    request.on('end', () => {
      ++state.requests;
      state.headers.push(request.headers);
      const told = answers.shift();
      if (!told || told.status === 200) {
        try {
          assert.equal(`${request.method} ${request.url}`, 'POST /v1/traces');
          assert.equal(request.headers['content-type'], 'application/json');
          state.spans.push(...checkedSpans(body));
        } catch (error) {
          state.faults.push(error.message);
        }
      }
      answer.writeHead(told?.status ?? 200, { 'content-type': 'application/json', ...told?.headers });
      answer.end(told?.body ?? '{}');
    });
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return Object.assign(state, {
    endpoint: `http://127.0.0.1:${server.address().port}`,
    stop: () => { server.closeAllConnections?.(); return new Promise((resolve) => { server.close(resolve); }); },
  });
}
