import test from 'ava';
import type { Secret } from '../../../kernel/contract/kubernetes.ts';
import { credentialsFor } from '../../../plugins/components/node-agent/pull-credentials.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');

function secretOf(auths: Readonly<Record<string, object>>): Secret {
  const data = { '.dockerconfigjson': base64(JSON.stringify({ auths })) };
  return { metadata: { name: 's', namespace: 'd' }, type: 'kubernetes.io/dockerconfigjson', data } as unknown as Secret;
}

const usersFor = (image: string, ...servers: readonly string[]): readonly (string | undefined)[] =>
  credentialsFor(image, [secretOf(Object.fromEntries(servers.map((server) => [server, { username: server }])))]).map(
    ({ username }) => username,
  );

test('credentials are for their registry and port', (t) => {
  t.deepEqual(usersFor('r.example.com/app', 'r.example.com', 'other.example.com', 'r.example.com:5000'), [
    'r.example.com',
  ]);
  t.deepEqual(usersFor('r.example.com:5000/app', 'r.example.com', 'https://r.example.com:5000/'), [
    'https://r.example.com:5000/',
  ]);
});

test('a star stands for a part of one label of a host', (t) => {
  t.deepEqual(usersFor('eu.r.example.com/app', '*.r.example.com'), ['*.r.example.com']);
  t.deepEqual(usersFor('eu.r.example.com/app', '*.example.com', 'e*.r.example.com'), ['e*.r.example.com']);
  t.deepEqual(usersFor('euxr.example.com/app', 'eu.r.example.com'), []);
});

test('a path limits them, and the longest comes first', (t) => {
  const servers = ['r.io', 'r.io/team', 'r.io/team/app', 'r.io/tea', 'r.io/other'];
  t.deepEqual(usersFor('r.io/team/app:1', ...servers), ['r.io/team/app', 'r.io/team', 'r.io']);
});

test("Docker Hub's name of old means docker.io", (t) => {
  t.deepEqual(usersFor('nginx', 'https://index.docker.io/v1/', 'r.io'), ['https://index.docker.io/v1/']);
  t.deepEqual(usersFor('r.io/nginx', 'https://index.docker.io/v1/'), []);
});

test('user and password come apart or as one base64 word', (t) => {
  const [one] = credentialsFor('r.io/a', [secretOf({ 'r.io': { auth: base64('me:pass:word') } })]);
  t.like(one, { username: 'me', password: 'pass:word' });
  const [other] = credentialsFor('r.io/a', [
    secretOf({ 'r.io': { username: 'u', password: 'p', identitytoken: 't' } }),
  ]);
  t.like(other, { server: 'r.io', username: 'u', password: 'p', identityToken: 't', registryToken: undefined });
});

test('the form of old is read; other secrets and broken ones have none', (t) => {
  const old = { type: 'kubernetes.io/dockercfg', data: { '.dockercfg': base64('{"r.io":{"username":"u"}}') } };
  t.is(credentialsFor('r.io/a', [old as unknown as Secret])[0]?.username, 'u');
  const broken = { type: 'kubernetes.io/dockerconfigjson', data: { '.dockerconfigjson': base64('{') } };
  const opaque = { type: 'Opaque', data: { '.dockerconfigjson': base64('{"auths":{"r.io":{"username":"u"}}}') } };
  t.deepEqual(credentialsFor('r.io/a', [broken, opaque] as unknown as Secret[]), []);
});
