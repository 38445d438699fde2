/** What plugins left on a host that the config no longer names. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { startKernel, type KernelOptions } from '../../../kernel/composition/start-kernel.ts';
import type { Logger, Plugin } from '../../../kernel/contract/index.ts';
import { configUsing, entryOf, fakePlugin, instanceOfKind } from './fake-plugins.ts';

function stage(t: ExecutionContext) {
  const stateDir = mkdtempSync(join(tmpdir(), 'pintle-former-'));
  t.teardown(() => rmSync(stateDir, { recursive: true, force: true }));
  const journal: string[] = [];
  const overlay = (name: string, leave = async () => void journal.push(`leave ${name}`)): Plugin =>
    fakePlugin('overlay', name, journal, {
      start: () =>
        Object.assign(
          instanceOfKind('overlay', () => journal.push(`stop ${name}`)),
          { leave },
        ),
    });
  const log: NonNullable<KernelOptions['log']> = {
    of: () => {
      const write = (message: string) => void journal.push(message);
      return { debug: () => undefined, info: () => undefined, warn: write, error: write } satisfies Logger;
    },
  };
  /** A process that comes and goes. */
  const run = async (name: string, plugins: readonly Plugin[]): Promise<readonly string[]> => {
    const config = await configUsing(`{ overlay: ${name} }`);
    const kernel = await startKernel({ config, role: 'node', catalogue: plugins.map(entryOf), stateDir, log });
    await kernel.stop();
    return journal.splice(0);
  };
  return { overlay, run };
}

test('one that is not named any more leaves before its successor starts, once', async (t) => {
  const { overlay, run } = stage(t);
  const both = [overlay('one'), overlay('two')];
  t.deepEqual(await run('one', both), ['start overlay/one', 'stop one']);
  t.deepEqual(await run('one', both), ['start overlay/one', 'stop one'], 'the same again leaves nothing');
  t.deepEqual(await run('two', both), ['start overlay/one', 'leave one', 'stop one', 'start overlay/two', 'stop two']);
  t.deepEqual(await run('two', both), ['start overlay/two', 'stop two']);
});

test('one that cannot leave is named, stays on record, and is asked again', async (t) => {
  const { overlay, run } = stage(t);
  const stuck = overlay('one', () => Promise.reject(new Error('device busy')));
  await run('one', [stuck]);
  const said = (await run('two', [stuck, overlay('two')])).find((each) => each.startsWith('what '));
  t.regex(said!, /^what overlay\/one left on this host stays there: device busy\. Name it again/);
  const later = await run('two', [overlay('one'), overlay('two')]);
  t.true(later.includes('leave one'));
  t.deepEqual(await run('two', [overlay('one'), overlay('two')]), ['start overlay/two', 'stop two']);
});

test('one whose plugin is gone is named, and hinders nothing', async (t) => {
  const { overlay, run } = stage(t);
  await run('one', [overlay('one')]);
  const [said, ...rest] = await run('two', [overlay('two')]);
  t.regex(said!, /overlay\/one left on this host stays there: no plugin has this name any more/);
  t.deepEqual(rest, ['start overlay/two', 'stop two']);
});
