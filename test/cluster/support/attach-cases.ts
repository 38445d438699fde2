/** What `kubectl attach` says and does, the same on each runtime: ended containers, an input for one client, one for many. */
import type { ExecutionContext } from 'ava';
import { kubectls } from './cluster.ts';
import { eventually, shell, statusOf, type Pods } from './pods.ts';

export interface AttachOn {
  readonly image: string;
  /** Of the pods. */
  readonly suffix: string;
  readonly binary?: string;
}

export async function attachCases(
  t: ExecutionContext,
  pods: Pods,
  { image, suffix, binary = kubectls()[0]! }: AttachOn,
): Promise<void> {
  const kubectl = (argv: readonly string[], input?: string) => pods.kubectl(argv, input, binary);
  const [once, kept, ended] = [`once-${suffix}`, `kept-${suffix}`, `ended-${suffix}`];
  const container = (command: string, more: object) =>
    shell('c', command, { image, imagePullPolicy: 'Never', ...more });
  await Promise.all([
    pods.create(once, {
      restartPolicy: 'Never',
      containers: [container('cat; echo over; exit 4', { stdin: true, stdinOnce: true })],
    }),
    pods.create(kept, {
      containers: [
        container('while read line; do echo "got $line"; done; echo over; exec sleep 1000000', { stdin: true }),
      ],
    }),
    pods.create(ended, {
      restartPolicy: 'Never',
      containers: [container('exit 0', {}), { ...container('exec sleep 1000000', {}), name: 'other' }],
    }),
  ]);
  await Promise.all([once, kept].map((name) => pods.ready(name)));

  // The first client's end is the input's: the container goes on, and ends.
  const first = await kubectl(['attach', '-i', once], 'given\n');
  t.regex(first.stdout, /^given\nover\n/, first.stderr);
  t.is(first.code, 0, first.stderr);
  const over = await pods.phase(once, 'Failed');
  t.is(statusOf(over, 'c').state?.terminated?.exitCode, 4);
  const late = await kubectl(['attach', '-i', once], 'more\n');
  t.is(late.code, 1);
  t.regex(late.stderr, /cannot attach a container in a completed pod; current phase is Failed/);

  // An input for many: who ends his own has detached, and the next one goes on.
  for (const word of ['one', 'two']) {
    const { code, stdout, stderr } = await kubectl(['attach', '-i', kept], `${word}\n`);
    t.is(code, 0, stderr);
    t.notRegex(stdout, /over/);
    await eventually(async () => ((await pods.logs(kept)).includes(`got ${word}`) ? true : undefined));
  }
  t.is(await pods.logs(kept), 'got one\ngot two\n');

  await pods.until(ended, (pod) => statusOf(pod, 'c').state?.terminated !== undefined);
  const refused = await kubectl(['attach', ended, '-c', 'c']);
  t.is(refused.code, 1, refused.stdout);
  t.regex(refused.stderr, /not running/);
  await Promise.all([once, kept, ended].map((name) => pods.delete(name, 0)));
}
