import test from 'ava';
import { emptyResult, runMatrix, type Surroundings } from '../../../bench/method/run-matrix.ts';
import type { SuiteResult } from '../../../bench/method/result.ts';
import { type Bed, check, type Suite } from '../../../bench/method/suite.ts';
import { speed } from './results.ts';

type Act = Partial<Pick<Bed, 'check' | 'measure' | 'close'>> & { readonly open?: () => void };

/** A suite of named cells whose steps are written down. */
function suiteOf(cells: Readonly<Record<string, Act>>, steps: string[]): Suite {
  return {
    ...{ name: 'fake', title: 'Fake', summary: '', metrics: [speed], options: {}, versions: {} },
    cells: Object.keys(cells).map((id, index) => ({ id, factors: {}, isBaseline: index === 0 })),
    open: async ({ id }) => {
      steps.push(`open ${id}`);
      cells[id]?.open?.();
      return {
        check: async () => [check('works', true)],
        measure: async (record) => record('speed', 1),
        facts: () => ({}),
        ...cells[id],
        close: async () => {
          steps.push(`close ${id}`);
          return cells[id]?.close?.() ?? [];
        },
      };
    },
  };
}

async function run(
  cells: Readonly<Record<string, Act>>,
  rounds: number,
  stop = new AbortController(),
  surroundings?: Surroundings,
) {
  const steps: string[] = [];
  const suite = suiteOf(cells, steps);
  const result: SuiteResult = emptyResult(suite, rounds, 'smoke');
  const told: string[] = [];
  await runMatrix(
    suite,
    result,
    {
      begin: ({ cell, round }) => void told.push(`begin ${cell} ${round}`),
      end: ({ cell, round }) => void told.push(`end ${cell} ${round}`),
      again: ({ cell, round }, reason) => void told.push(`again ${cell} ${round}: ${reason}`),
      drop: ({ cell }, reason) => void told.push(`drop ${cell}: ${reason}`),
    },
    stop.signal,
    surroundings,
  );
  return { steps, told, cell: (id: string) => result.cells.find((one) => one.id === id)! };
}

test('every round has every cell once, and each begins with another one', async (t) => {
  const { steps, cell } = await run({ base: {}, a: {}, b: {} }, 3);
  const opened = steps.filter((step) => step.startsWith('open')).map((step) => step.slice(5));
  t.deepEqual(opened, ['base', 'a', 'b', 'a', 'b', 'base', 'b', 'base', 'a']);
  t.deepEqual(
    cell('a').samples['speed']?.map(({ round }) => round),
    [1, 2, 3],
  );
});

test('one cell is down before the next is up', async (t) => {
  const { steps } = await run({ base: {}, a: {} }, 2);
  t.true(steps.every((step, index) => index % 2 === 0 || step === (steps[index - 1] ?? '').replace('open', 'close')));
});

test('a cell that behaves wrongly has no figure, not even of earlier rounds, and the others go on', async (t) => {
  let round = 0;
  const wrong = { check: async () => [check('answers', (round += 1) < 2, 'somebody else answered')] };
  const { told, cell } = await run({ base: {}, wrong }, 3);
  t.deepEqual([cell('wrong').state, cell('wrong').samples], ['broken', {}]);
  t.regex(cell('wrong').reason ?? '', /answers \(somebody else answered\)/);
  t.is(cell('base').samples['speed']?.length, 3);
  t.is(told.filter((line) => line.includes('wrong')).length, 4, 'begun twice, ended once, dropped once');
});

test('what behaves wrongly is not tried again', async (t) => {
  const { steps, cell } = await run({ base: {}, wrong: { check: async () => [check('answers', false)] } }, 1);
  t.is(steps.filter((step) => step === 'open wrong').length, 1);
  t.is(cell('wrong').failedTries, undefined);
});

for (const part of ['open', 'check', 'measure'] as const)
  test(`one failure (${part}) is tried once more on a fresh bed, and told; the figures are those of the second try`, async (t) => {
    let count = 0;
    const fail = (verb: typeof part): void => {
      if (verb === part && (count += 1) === 2) throw new Error('no route');
    };
    const a: Act = {
      open: () => fail('open'),
      check: async () => (fail('check'), []),
      measure: async (record) => {
        record('speed', count + 1);
        fail('measure');
        record('speed', count + 1);
      },
    };
    const { steps, told, cell } = await run({ base: {}, a }, 3);
    t.deepEqual([cell('a').state, cell('a').reason], ['measured', undefined]);
    t.deepEqual(cell('a').failedTries, [{ round: 2, reason: 'failed: no route' }]);
    t.deepEqual([...new Set(cell('a').samples['speed']?.map(({ round }) => round))], [1, 2, 3]);
    t.is(cell('a').samples['speed']?.length, 6, 'nothing of the try that failed');
    t.is(steps.filter((step) => step === 'open a').length, 4);
    t.is(steps.filter((step) => step === 'close a').length, part === 'open' ? 3 : 4);
    t.deepEqual(
      told.filter((line) => line.includes(' a ')),
      ['begin a 1', 'end a 1', 'begin a 2', 'again a 2: failed: no route', 'end a 2', 'begin a 3', 'end a 3'],
    );
  });

test('failing twice in one round breaks the cell, and it is taken down both times', async (t) => {
  const { steps, cell } = await run({ base: {}, a: { measure: () => Promise.reject(new Error('no route')) } }, 2);
  t.deepEqual([cell('a').state, cell('a').samples], ['broken', {}]);
  t.is(cell('a').reason, 'failed: no route (in round 1)');
  t.is(cell('a').failedTries?.length, 1);
  t.is(steps.filter((step) => step === 'close a').length, 2);
});

test('once a round: a cell that fails now and then is tried again in each', async (t) => {
  let count = 0;
  const measure: Bed['measure'] = async (record) => {
    if ((count += 1) % 2 === 1) throw new Error('no route');
    record('speed', 1);
  };
  const { cell } = await run({ base: {}, a: { measure } }, 3);
  t.deepEqual(
    cell('a').failedTries?.map(({ round }) => round),
    [1, 2, 3],
  );
  t.is(cell('a').samples['speed']?.length, 3);
});

test('a second try that behaves wrongly is broken', async (t) => {
  let count = 0;
  const a: Act = {
    check: async () => {
      if ((count += 1) === 1) throw new Error('no route');
      return [check('answers', false)];
    },
  };
  const { cell } = await run({ base: {}, a }, 1);
  t.deepEqual([cell('a').state, cell('a').reason], ['broken', 'behaves wrongly: answers (in round 1)']);
});

test('stopped after a failed try: there is no second one, and the cell is not broken', async (t) => {
  const stop = new AbortController();
  const close: Bed['close'] = async () => (stop.abort(new Error('interrupted')), []);
  const measure: Bed['measure'] = () => Promise.reject(new Error('no route'));
  const { steps, cell } = await run({ a: { measure, close }, b: {} }, 1, stop);
  t.deepEqual(steps, ['open a', 'close a']);
  t.is(cell('a').state, 'pending');
});

test('what is left behind is told', async (t) => {
  const { cell } = await run({ base: {}, a: { close: async () => ['link cni0'] } }, 2);
  t.deepEqual([cell('a').state, cell('a').leftBehind], ['measured', ['link cni0']]);
});

test('stopped: whole rounds are kept, the one that was cut short is not, and all is taken down', async (t) => {
  const stop = new AbortController();
  let count = 0;
  const measure: Bed['measure'] = async (record, signal) => {
    record('speed', 1);
    if ((count += 1) === 2) stop.abort(new Error('interrupted'));
    signal.throwIfAborted();
  };
  const { steps, cell } = await run({ base: {}, a: { measure } }, 5, stop);
  t.deepEqual([cell('a').state, cell('a').samples['speed']], ['measured', [{ round: 1, value: 1 }]]);
  t.is(steps.at(-1), 'close a');
});

/** Surroundings whose cells get 50 ms, and whose processes are an event. */
function impatient(limitMs = 50): { readonly surroundings: Surroundings; readonly ended: AbortSignal } {
  const ended = new AbortController();
  const mark = () => () => ended.abort(new Error('its process ended'));
  return { surroundings: { limitMs, graceMs: 20, mark, look: () => () => Promise.resolve([]) }, ended: ended.signal };
}

const until = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });

test('a cell that takes too long is given up in words and not tried again, and the others go on', async (t) => {
  const { surroundings, ended } = impatient();
  const { steps, cell } = await run(
    { base: {}, a: { measure: (_, signal) => until(signal) }, b: {} },
    2,
    undefined,
    surroundings,
  );
  t.is(cell('a').state, 'broken');
  t.regex(cell('a').reason ?? '', /it was still being measured after 0 s, and was given up \(in round 1\)/);
  t.is(steps.filter((step) => step === 'close a').length, 1);
  t.is(cell('b').samples['speed']?.length, 2);
  t.false(ended.aborted, 'it stopped when it was told to');
});

for (const part of ['check', 'measure'] as const)
  test(`one that hangs and does not stop when it is told to (${part}) loses its processes`, async (t) => {
    const { surroundings, ended } = impatient();
    const { cell } = await run({ base: {}, a: { [part]: () => until(ended) } }, 1, undefined, surroundings);
    t.true(ended.aborted);
    t.regex(cell('a').reason ?? '', new RegExp(`still being ${part === 'check' ? 'checked' : 'measured'} after 0 s`));
  });

test('Ctrl-C in the middle of what cannot be stopped: its processes are ended, and the rounds before are kept', async (t) => {
  const { surroundings, ended } = impatient(600_000);
  const stop = new AbortController();
  let round = 0;
  const a: Act = {
    measure: async (record) => {
      if ((round += 1) === 2) {
        stop.abort(new Error('interrupted'));
        await until(ended);
      }
      record('speed', 1);
    },
    close: () => (round === 2 ? Promise.reject(new Error('its process has ended')) : Promise.resolve([])),
  };
  const { cell } = await run({ base: {}, a }, 5, stop, surroundings);
  t.true(ended.aborted);
  t.deepEqual([cell('a').state, cell('a').samples['speed']], ['measured', [{ round: 1, value: 1 }]]);
  t.is(cell('a').failedTries, undefined);
});

test('what a cell leaves beside its nodes is told', async (t) => {
  let looked = 0;
  const look = () => {
    looked += 1;
    return () => Promise.resolve(looked === 2 ? ['process sleep 1000'] : []);
  };
  const { cell } = await run({ base: {}, a: {} }, 1, undefined, { limitMs: 10_000, look });
  t.deepEqual([cell('base').leftBehind, cell('a').leftBehind], [[], ['process sleep 1000']]);
});
