/** Tokens, roles and impersonation at the front: over TLS, also through the unix socket, as nodes forward it. */
import { createPublicKey, verify } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { request, type RequestOptions } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import test from 'ava';
import { startApi, type Api } from './api-harness.ts';

/** Through the unix socket, but in TLS: whoever asks so is nobody until they prove it. */
async function ask(api: Api, path: string, headers: Record<string, string> = {}, method = 'GET') {
  const ca = await readFile(join(api.folder, 'pki', 'ca.crt'), 'utf8');
  const socket = connectTls({ socket: connect(api.socket), ca, servername: 'kubernetes.default.svc' });
  const options: RequestOptions = {
    createConnection: () => socket,
    method,
    path,
    headers: { host: 'kubernetes.default.svc', connection: 'close', ...headers },
  };
  return new Promise<{ status: number; headers: IncomingHttpHeaders; json: any }>((resolve, reject) => {
    const call = request(options, (answer) => {
      let text = '';
      answer.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, json: JSON.parse(text) }),
      );
    });
    call.on('error', reject);
    call.end();
  });
}

async function tokenOf(api: Api, name: string): Promise<string> {
  const path = `/api/v1/namespaces/default/serviceaccounts/${name}/token`;
  const reply = await api.call('POST', path, {
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    spec: {},
  });
  return reply.json.status.token as string;
}

const pods = '/api/v1/namespaces/default/pods';

test('TLS through the unix socket: nobody, a token, a forged one; plain HTTP beside it', async (t) => {
  await using api = await startApi();
  t.is((await ask(api, pods)).status, 401);
  t.is((await ask(api, '/version')).status, 200);
  const token = await tokenOf(api, 'default');
  const refused = await ask(api, pods, { authorization: `Bearer ${token}` });
  t.is(refused.status, 403);
  t.is(
    refused.json.message,
    'pods is forbidden: User "system:serviceaccount:default:default" cannot list resource "pods" in API group "" in the namespace "default"',
  );
  t.is((await ask(api, pods, { authorization: `Bearer ${token.slice(0, -4)}AAAA` })).status, 401);
  t.is((await api.call('GET', pods)).status, 200, 'whoever opened the socket may do everything');
  await api.call('POST', '/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings', {
    metadata: { name: 'b' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
    subjects: [{ kind: 'ServiceAccount', name: 'default', namespace: 'default' }],
  });
  t.is((await ask(api, pods, { authorization: `Bearer ${token}` })).status, 200);
  t.is((await ask(api, '/api/v1/pods', { authorization: `Bearer ${token}` })).status, 403, 'in its namespace only');
  t.is((await ask(api, '/metrics', { authorization: `Bearer ${token}` })).status, 403);
  t.is((await ask(api, '/apis', { authorization: `Bearer ${token}` })).status, 200);
});

test('impersonation: for those who may, and never half of it', async (t) => {
  await using api = await startApi();
  const token = await tokenOf(api, 'default');
  const as = (headers: Record<string, string>) => api.call('GET', pods, undefined, headers);
  t.is((await as({ 'impersonate-user': 'jane' })).status, 403);
  t.is((await as({ 'impersonate-user': 'jane', 'impersonate-group': 'system:masters' })).status, 200);
  t.is((await as({ 'impersonate-group': 'system:masters' })).status, 400, 'a group without a user');
  const up = { authorization: `Bearer ${token}`, 'impersonate-user': 'root', 'impersonate-group': 'system:masters' };
  const refused = await ask(api, pods, up);
  t.is(refused.status, 403);
  t.regex(refused.json.message, /cannot impersonate resource "users"/);
});

test('the server keeps what the cluster knows of it', async (t) => {
  await using api = await startApi();
  const read = async (path: string) => (await api.call('GET', path)).json;
  for (const end = Date.now() + 20_000; ;) {
    const { spec } = await read('/api/v1/namespaces/default/services/kubernetes');
    const { data } = await read('/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication');
    if (spec.internalTrafficPolicy === 'Local' && data !== undefined) {
      t.not(spec.ports[0].targetPort, 6443, 'the port that is really served');
      t.is(data['client-ca-file'], await readFile(join(api.folder, 'pki', 'ca.crt'), 'utf8'));
      break;
    }
    if (Date.now() > end) throw new Error('it was not told');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

test('whoever checks tokens himself finds their issuer and its key', async (t) => {
  await using api = await startApi();
  const token = await tokenOf(api, 'default');
  const authorization = `Bearer ${token}`;
  const found = await ask(api, '/.well-known/openid-configuration', { authorization });
  t.is(found.status, 200);
  const [header, payload, signature] = token.split('.').map((part) => Buffer.from(part, 'base64url'));
  const claims = JSON.parse(String(payload)) as { iss: string };
  const { issuer, jwks_uri: keysAt } = found.json as { issuer: string; jwks_uri: string };
  t.is(issuer, claims.iss);
  t.is(keysAt, `${issuer}/openid/v1/jwks`);
  const reply = await ask(api, new URL(keysAt).pathname, { authorization });
  t.is(reply.headers['content-type'], 'application/jwk-set+json');
  const [key] = (reply.json as { keys: Record<string, string>[] }).keys;
  t.like(key, { use: 'sig', alg: 'ES256', kty: 'EC', kid: (JSON.parse(String(header)) as { kid: string }).kid });
  t.is(key!['d'], undefined, 'the private part stays here');
  const check = (text: string) =>
    verify(
      'sha256',
      Buffer.from(text),
      { key: createPublicKey({ key: key!, format: 'jwk' }), dsaEncoding: 'ieee-p1363' },
      signature!,
    );
  const signed = token.slice(0, token.lastIndexOf('.'));
  t.true(check(signed));
  t.false(check(`${signed}x`));
  t.is((await ask(api, '/openid/v1/other', { authorization })).status, 403);
  t.is((await ask(api, '/openid/v1/jwks', {})).status, 401);
});
