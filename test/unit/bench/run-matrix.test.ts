import test from 'ava';
import { emptyResult, runMatrix, type Surroundings } from '../../../bench/method/run-matrix.ts';
import type { SuiteResult } from '../../../bench/method/result.ts';
import { type Bed, check, type Suite } from '../../../bench/method/suite.ts';
import { speed } from './results.ts';

type Act = Partial<Pick<Bed, 'check' | 'measure' | 'close'>>;

/** A suite of named cells whose steps are written down. */
function suiteOf(cells: Readonly<Record<string, Act>>, steps: string[]): Suite {
  return {
    ...{ name: 'fake', title: 'Fake', summary: '', metrics: [speed], options: {}, versions: {} },
    cells: Object.keys(cells).map((id, index) => ({ id, factors: {}, isBaseline: index === 0 })),
    open: async ({ id }) => {
      steps.push(`open ${id}`);
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

test('a measurement that fails breaks its cell, and it is taken down all the same', async (t) => {
  const { steps, cell } = await run({ base: {}, a: { measure: () => Promise.reject(new Error('no route')) } }, 1);
  t.regex(cell('a').reason ?? '', /failed: no route/);
  t.true(steps.includes('close a'));
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

test('a cell that hangs is given up in words, its measurement is told to stop, and the others go on', async (t) => {
  let isStopped = false;
  const measure: Bed['measure'] = (_, signal) =>
    new Promise(() => signal.addEventListener('abort', () => (isStopped = true), { once: true }));
  const surroundings = { limitMs: 50, look: () => () => Promise.resolve([]) };
  const { steps, cell } = await run({ base: {}, a: { measure }, b: {} }, 2, undefined, surroundings);
  t.is(cell('a').state, 'broken');
  t.regex(cell('a').reason ?? '', /it was still being measured after 0 s, and was given up \(in round 1\)/);
  t.true(isStopped);
  t.true(steps.includes('close a'));
  t.is(cell('b').samples['speed']?.length, 2);
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
