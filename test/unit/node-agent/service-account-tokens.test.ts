import test from 'ava';
import { PintleError, type Cluster } from '../../../kernel/contract/index.ts';
import type { Pod, TokenRequest } from '../../../kernel/contract/kubernetes.ts';
import { createTokenSource } from '../../../plugins/components/node-agent/service-account-tokens.ts';

const pod = {
  metadata: { name: 'p', namespace: 'n', uid: 'u' },
  spec: { serviceAccountName: 'robot', containers: [] },
} as unknown as Pod;

function bed() {
  let now = Date.UTC(2030, 0, 1);
  const asked: TokenRequest['spec'][] = [];
  let isAway = false;
  const cluster = {
    create: async (_type: unknown, { spec }: TokenRequest, options: { parent: object; subresource: string }) => {
      if (isAway) throw new PintleError('UNAVAILABLE', 'the server is away');
      asked.push({ ...spec, ...options } as never);
      const expirationTimestamp = new Date(now + spec.expirationSeconds! * 1000).toISOString();
      return { status: { token: `token-${asked.length}`, expirationTimestamp } };
    },
  } as unknown as Cluster;
  const source = createTokenSource(cluster, { now: () => now, sleep: async () => undefined });
  return {
    source,
    asked,
    pass: (seconds: number) => (now += seconds * 1000),
    leave: (away: boolean) => (isAway = away),
  };
}

test('one token a pod, audience and life, bound to the pod, renewed when a fifth of its life is left', async (t) => {
  const { source, asked, pass } = bed();
  const projection = { path: 'token', expirationSeconds: 1000 };
  t.is(await source(pod, projection), 'token-1');
  t.like(asked[0], {
    audiences: [],
    boundObjectRef: { kind: 'Pod', name: 'p', uid: 'u' },
    parent: { namespace: 'n', name: 'robot' },
    subresource: 'token',
  } as never);
  pass(799);
  t.is(await source(pod, projection), 'token-1');
  t.is(await source(pod, { ...projection, audience: 'vault' }), 'token-2');
  t.deepEqual(asked[1]!.audiences, ['vault']);
  pass(2);
  t.is(await source(pod, projection), 'token-3');
  source.forget('u');
  t.is(await source(pod, projection), 'token-4');
});

test('a token that lives for years is renewed every day', async (t) => {
  const { source, pass } = bed();
  const projection = { path: 'token', expirationSeconds: 365 * 24 * 3600 };
  t.is(await source(pod, projection), 'token-1');
  pass(24 * 3600 - 1);
  t.is(await source(pod, projection), 'token-1');
  pass(2);
  t.is(await source(pod, projection), 'token-2');
});

test('while the server is away, a token is as good as long as it lives', async (t) => {
  const { source, pass, leave } = bed();
  const projection = { path: 'token', expirationSeconds: 1000 };
  await source(pod, projection);
  leave(true);
  pass(900);
  t.is(await source(pod, projection), 'token-1');
  pass(101);
  await t.throwsAsync(source(pod, projection), { code: 'UNAVAILABLE' } as never);
  leave(false);
  t.is(await source(pod, projection), 'token-2');
});
