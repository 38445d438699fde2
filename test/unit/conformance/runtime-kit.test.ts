import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { recordCases } from '../../../kernel/conformance/recorder.ts';
import { patience } from '../../../kernel/conformance/runtime/subject.ts';
import { runtimeConformance, type OpenRuntime } from '../../../kernel/conformance/runtime.ts';
import type { RuntimeCapability } from '../../../kernel/contract/index.ts';
import { brokenRuntimes, soundRuntime } from './broken-runtimes.ts';

/** Of all cases: one that is given up as hanging goes on a while and would leave its own. */
const folder = mkdtempSync(join(tmpdir(), 'pintle-runtime-kit-test-'));
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

/** Titles of the cases that fail. The kit waits long for what should happen; a broken runtime need not. */
async function failing(
  open: (stateDir: string) => Promise<OpenRuntime>,
  only: (title: string) => boolean,
  capabilities: readonly RuntimeCapability[] = ['images'],
  timeoutMs = 1_000,
): Promise<readonly string[]> {
  const { test: record, run } = recordCases({ timeoutMs });
  runtimeConformance(record, {
    name: 'subject',
    capabilities,
    image: 'registry.example/app:1',
    folder,
    open,
    behave: ({ say = [], exitCode }) => ({
      env: [
        ...(say.length > 0 ? [{ name: 'HOLLOW_LOG', value: say.join('\n') }] : []),
        ...(exitCode === undefined ? [] : [{ name: 'HOLLOW_EXIT_CODE', value: String(exitCode) }]),
      ],
    }),
  });
  const results = await run((title) => only(title.replace('subject: ', '')));
  return results.filter(({ outcome }) => outcome === 'failed').map(({ title }) => title.replace('subject: ', ''));
}

test.serial('a sound runtime passes', async (t) => {
  try {
    t.deepEqual(await failing(soundRuntime, () => true, ['images'], 60_000), []);
  } finally {
    // For the others, which run after it and wait in vain: what is given up goes on for so long.
    patience.ms = 3_000;
  }
});

for (const { what, open, noticedBy } of brokenRuntimes)
  test(`a runtime that ${what} fails`, async (t) => {
    t.deepEqual([...(await failing(open, (title) => noticedBy.includes(title)))].sort(), [...noticedBy].sort());
  });

/** The cases about processes cannot pass where nothing runs: any that does would be a case that cannot fail. */
test('a runtime that only claims to run processes fails every case about them', async (t) => {
  const titles: string[] = [];
  const collect = Object.assign((title: string) => void titles.push(title.replace('subject: ', '')), {
    skip: () => undefined,
  });
  const all = ['images', 'real', 'tty', 'limits'] as const;
  const options = { name: 'subject', image: 'x', open: soundRuntime };
  runtimeConformance(collect, { ...options, capabilities: all });
  const plain = new Set<string>();
  const collectPlain = Object.assign((title: string) => void plain.add(title.replace('subject: ', '')), {
    skip: () => undefined,
  });
  runtimeConformance(collectPlain, { ...options, capabilities: ['images'] });
  const aboutProcesses = titles.filter((title) => !plain.has(title));
  t.true(aboutProcesses.length > 30);
  const passed = await Promise.all(
    aboutProcesses.map(async (title) =>
      (await failing(soundRuntime, (one) => one === title, all)).length === 0 ? [title] : [],
    ),
  );
  t.deepEqual(passed.flat(), []);
});
