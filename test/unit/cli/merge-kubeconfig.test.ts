import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { parse } from 'yaml';
import { mergeKubeconfig, userKubeconfig } from '../../../cli/up/merge-kubeconfig.ts';

interface Named {
  readonly name: string;
}
interface Config {
  readonly 'current-context': string;
  readonly clusters: readonly (Named & { readonly cluster: { readonly server: string } })[];
  readonly users: readonly Named[];
  readonly contexts: readonly Named[];
}

function files(t: ExecutionContext) {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-kubeconfig-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const from = join(folder, 'from');
  const write = (server: string) =>
    writeFileSync(
      from,
      JSON.stringify({
        clusters: [{ name: 'x', cluster: { server } }],
        users: [{ name: 'y', user: { 'client-key-data': 'a' } }],
      }),
    );
  write('https://127.0.0.1:1');
  const target = join(folder, 'sub', 'config');
  return {
    from,
    write,
    target,
    env: { KUBECONFIG: `${target}:/elsewhere` },
    read: () => parse(readFileSync(target, 'utf8')) as Config,
  };
}

test('a missing kubeconfig is made, and its context is current', (t) => {
  const { from, target, env, read } = files(t);
  t.is(mergeKubeconfig(from, env), target);
  t.is(read()['current-context'], 'pintle');
  t.deepEqual(read().contexts, [{ name: 'pintle', context: { cluster: 'pintle', user: 'pintle' } }]);
});

test('what the user has stays: entries, comments, the current context; a second merge replaces only our own', (t) => {
  const { from, write, env, target, read } = files(t);
  mergeKubeconfig(from, env);
  writeFileSync(
    target,
    '# mine\napiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: work # office\n  cluster: {server: "https://w"}\nusers: []\ncontexts:\n- {name: work, context: {cluster: work, user: w}}\n',
  );
  mergeKubeconfig(from, env);
  write('https://127.0.0.1:2');
  mergeKubeconfig(from, env);
  t.is(read()['current-context'], 'work');
  t.deepEqual(
    read().clusters.map(({ name, cluster }) => [name, cluster.server]),
    [
      ['work', 'https://w'],
      ['pintle', 'https://127.0.0.1:2'],
    ],
  );
  t.is(read().users.length, 1);
  t.is(read().contexts.length, 2);
  const text = readFileSync(target, 'utf8');
  t.regex(text, /^# mine/);
  t.regex(text, /# office/);
});

test('a broken kubeconfig is left as it is', (t) => {
  const { from, env, target } = files(t);
  mergeKubeconfig(from, env);
  writeFileSync(target, 'clusters: [\n');
  t.throws(() => mergeKubeconfig(from, env), { message: /no valid YAML.*nothing was merged/s });
  t.is(readFileSync(target, 'utf8'), 'clusters: [\n');
  t.false(existsSync(`${target}.pintle`));
});

test("the user's file: the first of KUBECONFIG, else ~/.kube/config", (t) => {
  t.is(userKubeconfig({ KUBECONFIG: '/a:/b' }), '/a');
  t.regex(userKubeconfig({}), /\/\.kube\/config$/);
});
