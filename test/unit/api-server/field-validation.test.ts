/** fieldValidation through the whole stack, in the words that kubectl shows. */
import test from 'ava';
import { startApi } from './api-harness.ts';

const deployments = '/apis/apps/v1/namespaces/default/deployments?dryRun=All';
const spec =
  '"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i","image":"j","imagee":"k"}]}}';
const json = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"replicas":1,"replicas":2,${spec}}}`;
const yaml = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: d
  name: e
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers:
      - name: c
        image: i
        image: j
  replica: 3
`;
const asYaml = { 'content-type': 'application/yaml' };

const warnings = (header: unknown): string[] =>
  [...String(header ?? '').matchAll(/299 - "((?:[^"\\]|\\.)*)"/g)].map(([, text]) => text!.replaceAll('\\"', '"'));

test('JSON: fields that occur twice and fields that do not exist', async (t) => {
  await using api = await startApi();
  const told = ['duplicate field "spec.replicas"', 'duplicate field "spec.template.spec.containers[0].image"'];
  const unknown = 'unknown field "spec.template.spec.containers[0].imagee"';
  const warned = await api.call('POST', `${deployments}&fieldValidation=Warn`, json);
  t.is(warned.status, 201, warned.text);
  t.is(warned.json.spec.replicas, 2);
  t.deepEqual(warnings(warned.headers['warning']), [...told, unknown]);
  t.deepEqual((await api.call('POST', deployments, json)).headers['warning'], warned.headers['warning']);
  const strict = await api.call('POST', `${deployments}&fieldValidation=Strict`, json);
  t.is(strict.status, 400);
  const refusal = 'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: ';
  t.is(strict.json.message, `${refusal}${told.join(', ')}`);
  const once = json.replace('"replicas":1,', '').replace('"image":"i",', '');
  const nope = await api.call('POST', `${deployments}&fieldValidation=Strict`, once);
  t.is(nope.json.message, `${refusal}${unknown}`);
  const ignored = await api.call('POST', `${deployments}&fieldValidation=Ignore`, json);
  t.is(ignored.status, 201);
  t.is(ignored.headers['warning'], undefined);
});

test('YAML: the line of a key that is set again', async (t) => {
  await using api = await startApi();
  const told = ['line 5: key "name" already set in map', 'line 14: key "image" already set in map'];
  const warned = await api.call('POST', deployments, yaml, asYaml);
  t.is(warned.status, 201, warned.text);
  t.is(warned.json.metadata.name, 'e');
  t.deepEqual(warnings(warned.headers['warning']), [...told, 'unknown field "spec.replica"']);
  const strict = await api.call('POST', `${deployments}&fieldValidation=Strict`, yaml, asYaml);
  t.is(strict.status, 400);
  t.true(strict.json.message.includes(told.join(', ')), strict.json.message);
});

test('patches', async (t) => {
  await using api = await startApi();
  const maps = '/api/v1/namespaces/default/configmaps';
  await api.call('POST', maps, { metadata: { name: 'm' } });
  for (const type of ['merge-patch+json', 'strategic-merge-patch+json', 'apply-patch+yaml']) {
    const headers = { 'content-type': `application/${type}` };
    const path = `${maps}/m?dryRun=All&fieldManager=x`;
    const body = '{"data":{"a":"1","a":"2"}}';
    const warned = await api.call('PATCH', path, body, headers);
    t.is(warned.status, 200, warned.text);
    t.deepEqual(warnings(warned.headers['warning']), ['duplicate field "data.a"'], type);
    const strict = await api.call('PATCH', `${path}&fieldValidation=Strict`, body, headers);
    t.is(strict.status, 400, type);
    t.regex(strict.json.message, /strict decoding error: duplicate field "data\.a"$/);
    const unknown = await api.call('PATCH', `${path}&fieldValidation=Strict`, '{"nope":1}', headers);
    t.is(unknown.status, 400, type);
    t.regex(unknown.json.message, /unknown field "nope"|\.nope: field not declared in schema/);
  }
});
