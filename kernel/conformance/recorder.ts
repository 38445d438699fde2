/**
 * A test runner that only remembers: what a kit's own tests use to show that the kit fails on broken implementations.
 */
import { isDeepStrictEqual } from 'node:util';
import type { KitAssertions, KitRun, KitTest } from './kit.ts';

export interface RecordedResult {
  readonly title: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  /** Why it failed, one entry a failed assertion. */
  readonly failures: readonly string[];
}

interface RecordedCase {
  readonly title: string;
  readonly run: KitRun | undefined;
}

/**
 * `test` collects, `run` runs all that was collected, one after the other, or those whose title `only` accepts. A case
 * that does not end within `timeoutMs` has failed: broken implementations hang.
 */
export function recordCases(options: { readonly timeoutMs?: number } = {}): {
  readonly test: KitTest;
  readonly run: (only?: (title: string) => boolean) => Promise<readonly RecordedResult[]>;
} {
  const cases: RecordedCase[] = [];
  const test: KitTest = Object.assign((title: string, run: KitRun) => void cases.push({ title, run }), {
    skip: (title: string) => void cases.push({ title, run: undefined }),
  });
  return {
    test,
    run: async (only = () => true) => {
      const results: RecordedResult[] = [];
      for (const { title, run } of cases.filter((one) => only(one.title))) {
        if (run === undefined) results.push({ title, outcome: 'skipped', failures: [] });
        else results.push(await runCase(title, run, options.timeoutMs ?? 5_000));
      }
      return results;
    },
  };
}

async function runCase(title: string, run: KitRun, timeoutMs: number): Promise<RecordedResult> {
  const failures: string[] = [];
  const undo: (() => unknown)[] = [];
  let isOver = false;
  const check = (holds: boolean, message: string | undefined, otherwise: string): boolean => {
    if (!holds) failures.push(message ?? otherwise);
    return holds;
  };
  const t: KitAssertions = {
    pass: () => true,
    fail: (message) => check(false, message, 'failed'),
    is: (actual, expected, message) => check(Object.is(actual, expected), message, `${actual} is not ${expected}`),
    not: (actual, expected, message) => check(!Object.is(actual, expected), message, `${actual} is ${expected}`),
    deepEqual: (actual, expected, message) => check(isDeepStrictEqual(actual, expected), message, 'not deeply equal'),
    true: (actual, message) => check(actual === true, message, 'not true'),
    false: (actual, message) => check(actual === false, message, 'not false'),
    throwsAsync: async (thrower, expectation, message) => {
      try {
        await (typeof thrower === 'function' ? thrower() : thrower);
      } catch (error) {
        checkError(error, expectation, (holds, text) => check(holds, message, text));
        return error;
      }
      check(false, message, 'did not reject');
      return undefined;
    },
    // What a case that was given up makes after all is undone at once.
    teardown: (action) => (isOver ? void Promise.resolve(action()).catch(() => undefined) : void undo.unshift(action)),
    log: () => undefined,
  };
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      failures.push(`did not end within ${timeoutMs} ms`);
      resolve();
    }, timeoutMs);
  });
  try {
    await Promise.race([run(t), deadline]);
  } catch (error) {
    failures.push(`threw ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    clearTimeout(timer);
    isOver = true;
    // A broken implementation may also fail to clean up; that is not what is being shown.
    for (const action of undo) await Promise.resolve(action()).catch(() => undefined);
  }
  return { title, outcome: failures.length === 0 ? 'passed' : 'failed', failures };
}

function checkError(
  error: unknown,
  expectation: { readonly code?: string; readonly message?: string | RegExp } | undefined,
  check: (holds: boolean, text: string) => void,
): void {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  if (expectation?.code !== undefined)
    check(code === expectation.code, `rejected with code ${String(code)}, not ${expectation.code}`);
  const wanted = expectation?.message;
  if (typeof wanted === 'string') check(message === wanted, `message is ${String(message)}`);
  else if (wanted !== undefined) check(wanted.test(String(message)), `message is ${String(message)}`);
}
