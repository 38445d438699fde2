/** How the image of a container comes to the node: policies, secrets, back-off, progress, on a clock that the test moves. */
import test from 'ava';
import type { Container as Definition, Pod } from '../../../kernel/contract/kubernetes.ts';
import { PintleError, type Image, type PullOptions } from '../../../kernel/contract/index.ts';
import { ImagePulls } from '../../../plugins/components/node-agent/image-pulls.ts';
import { newPodMemory, type PodWorkerServices } from '../../../plugins/components/node-agent/pod-memory.ts';
import { ManualClock, settled } from '../machinery/manual-clock.ts';

const image: Image = { id: 'sha256:1', names: ['r.io/app:1'], sizeBytes: 1234 };

function bed(options: { readonly present?: boolean; readonly definition?: Partial<Definition> } = {}) {
  const clock = new ManualClock();
  const events: string[] = [];
  const pulls: { readonly options: PullOptions; end(error?: Error): void }[] = [];
  let isPresent = options.present ?? false;
  let asked = 0;
  const secret = {
    type: 'kubernetes.io/dockerconfigjson',
    data: {
      '.dockerconfigjson': Buffer.from(
        JSON.stringify({ auths: { 'r.io': { username: 'wide' }, 'r.io/app': { username: 'near' } } }),
      ).toString('base64'),
    },
  };
  const services = {
    clock,
    runtime: {
      imageStatus: async () => (isPresent ? image : undefined),
      pullImage: (_name: string, given: PullOptions) =>
        new Promise<Image>((resolve, reject) => {
          const end = (error?: Error): void => {
            if (error !== undefined) return reject(error);
            isPresent = true;
            resolve(image);
          };
          pulls.push({ options: given, end });
        }),
    },
    sources: { secret: async (_namespace: string, name: string) => (name === 'there' ? secret : undefined) },
    log: { error: () => undefined },
    record: (_pod: Pod, _type: string, reason: string, message: string) => void events.push(`${reason}: ${message}`),
    again: () => void asked++,
  } as unknown as PodWorkerServices;
  const definition = { name: 'c', image: 'r.io/app:1', ...options.definition } as Definition;
  const pod = {
    metadata: { name: 'p', namespace: 'd', uid: 'u' },
    spec: { containers: [definition], imagePullSecrets: [{ name: 'there' }, { name: 'gone' }] },
  } as unknown as Pod;
  const memory = newPodMemory();
  const images = new ImagePulls(services);
  const ensure = () => images.ensure(pod, memory, definition);
  return { clock, events, pulls, memory, ensure, asked: () => asked, problem: () => memory.problems.get('c')?.reason };
}

const refused = new PintleError('IMAGE_NOT_FOUND', 'no such image');

test('an image that is there is not pulled, unless it always shall be', async (t) => {
  const lazy = bed({ present: true });
  t.true(await lazy.ensure());
  t.is(lazy.pulls.length, 0);
  t.deepEqual(lazy.events, ['Pulled: Container image "r.io/app:1" already present on machine']);
  const eager = bed({ present: true, definition: { imagePullPolicy: 'Always' } });
  const first = eager.ensure();
  await settled();
  eager.pulls[0]?.end();
  t.true(await first);
  const second = eager.ensure();
  await settled();
  t.is(eager.pulls.length, 2, 'the next container of it is made of an old one');
  eager.pulls[1]?.end();
  t.true(await second);
});

test('secrets are tried, the nearest first; one that is missing is told', async (t) => {
  const { pulls, events, ensure } = bed();
  const ensured = ensure();
  await settled();
  t.is(pulls[0]?.options.credentials?.username, 'near');
  pulls[0]?.end(refused);
  await settled();
  t.is(pulls[1]?.options.credentials?.username, 'wide');
  pulls[1]?.end();
  t.true(await ensured);
  t.true(events.some((text) => /^FailedToRetrieveImagePullSecret: .*\(gone\)/.test(text)));
  t.is(events.at(-1), 'Pulled: Successfully pulled image "r.io/app:1" in 0.0s. Image size: 1234 bytes.');
});

test('a long pull goes on beside, is not begun twice, and its end is told', async (t) => {
  const { clock, pulls, events, ensure, asked } = bed();
  const ensured = ensure();
  await settled();
  await clock.advance(1_000);
  t.false(await ensured);
  t.false(await ensure());
  t.is(pulls.length, 1);
  pulls[0]?.options.onProgress?.({ bytes: 1, totalBytes: 2 });
  await clock.advance(5_000);
  pulls[0]?.options.onProgress?.({ bytes: 3 * 2 ** 20, totalBytes: 12 * 2 ** 20 });
  pulls[0]?.options.onProgress?.({ bytes: 4 * 2 ** 20, totalBytes: 12 * 2 ** 20 });
  t.deepEqual(
    events.filter((text) => text.startsWith('Pulling')),
    ['Pulling: Pulling image "r.io/app:1"', 'Pulling: Pulling image "r.io/app:1": 3.0 of 12.0 MiB'],
  );
  t.is(asked(), 0);
  pulls[0]?.end();
  await settled();
  t.is(asked(), 1);
  t.true(await ensure());
  t.is(pulls.length, 1);
});

test('a pull that fails is tried again with back-off', async (t) => {
  const { clock, pulls, events, ensure, problem } = bed();
  const ensured = ensure();
  await settled();
  pulls[0]?.end(refused);
  await settled();
  pulls[1]?.end(refused);
  t.false(await ensured);
  t.is(problem(), 'ErrImagePull');
  t.deepEqual(events.slice(-2), [
    'Failed: Failed to pull image "r.io/app:1": no such image',
    'Failed: Error: ErrImagePull',
  ]);
  for (let count = 0; count < 2; count++) t.false(await ensure());
  t.is(problem(), 'ImagePullBackOff');
  t.deepEqual(events.slice(-2), ['BackOff: Back-off pulling image "r.io/app:1"', 'Failed: Error: ImagePullBackOff']);
  t.is(events.filter((text) => text.startsWith('BackOff')).length, 1, 'once a back-off');
  await clock.advance(1_000);
  void ensure();
  await settled();
  t.is(pulls.length, 3);
});

test('what must never be pulled is not, and a name that no image has is told', async (t) => {
  const never = bed({ definition: { imagePullPolicy: 'Never' } });
  t.false(await never.ensure());
  t.is(never.problem(), 'ErrImageNeverPull');
  const wrong = bed({ definition: { image: 'not A name' } });
  t.false(await wrong.ensure());
  t.is(wrong.problem(), 'InvalidImageName');
  t.is(never.events.at(-1), 'Failed: Error: ErrImageNeverPull');
  t.is(wrong.events.at(-1), 'Failed: Error: InvalidImageName');
  t.is(never.pulls.length + wrong.pulls.length, 0);
});
