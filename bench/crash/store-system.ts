/** The system under test is a store plugin in a child process. */
import { fork, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SeenBatch, SeenCommit, SeenEntry } from '../../kernel/conformance/store/history.ts';
import { Died, readWatch, type CrashConnection, type CrashSystem } from './crash-system.ts';
import type { StoreAnswer, StoreRequest } from './store-process.ts';

type Body<T> = T extends unknown ? Omit<T, 'id'> : never;

export async function createStoreSystem(name: string, pluginUrl: URL): Promise<CrashSystem> {
  const folder = await mkdtemp(join(tmpdir(), 'pintle-crash-'));
  let child: ChildProcess | undefined;
  const end = async (): Promise<void> => {
    if (child === undefined) return;
    // `close` comes after `exit`, when every message that was sent has been read.
    const closed = new Promise((resolve) => child?.once('close', resolve));
    child.kill('SIGKILL');
    await closed;
    child = undefined;
  };
  return {
    name,
    hasTransactions: true,
    start: async () => {
      const started = fork(new URL('./store-process.js', import.meta.url), [pluginUrl.href, folder], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      child = started;
      const connection = connect(started);
      await connection.ready;
      return connection;
    },
    kill: end,
    dispose: async () => {
      await end();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function connect(child: ChildProcess): CrashConnection & { readonly ready: Promise<void> } {
  const receivers = new Map<number, (answer: StoreAnswer | undefined) => void>();
  let lastId = 0;
  let isClosed = false;
  child.on('message', (answer: StoreAnswer) => receivers.get(answer.id)?.(answer));
  child.on('close', () => {
    isClosed = true;
    for (const receive of receivers.values()) receive(undefined);
    receivers.clear();
  });
  const post = (request: StoreRequest): void => {
    // A child that is being killed may refuse; that it died is told by `close`.
    if (child.connected) child.send(request, () => undefined);
  };
  const ask = <T>(body: Body<StoreRequest>): Promise<T> =>
    new Promise((resolve, reject) => {
      if (isClosed) return reject(new Died());
      const id = ++lastId;
      receivers.set(id, (answer) => {
        receivers.delete(id);
        if (answer === undefined) reject(new Died());
        else if (answer.error !== undefined) reject(new Error(`${answer.error.code}: ${answer.error.message}`));
        else resolve(answer.value as T);
      });
      post({ id, ...body } as StoreRequest);
    });

  return {
    ready: new Promise((resolve, reject) => {
      receivers.set(0, (answer) => {
        receivers.delete(0);
        if (answer === undefined) reject(new Error('the store did not start'));
        else resolve();
      });
    }),
    commit: (changes) =>
      ask<SeenCommit['outcome']>({ kind: 'commit', changes }).catch((error: unknown) => {
        if (error instanceof Died) return 'unknown' as const;
        throw error;
      }),
    get: (key) => ask<SeenEntry | undefined>({ kind: 'get', key }),
    list: () => ask({ kind: 'list' }),
    compact: (revision) => ask({ kind: 'compact', revision }),
    watch: (after, signal) => watch(after, signal),
    log: (after, until) => readWatch({ watch }, after, until),
  };

  async function* watch(after: number, signal: AbortSignal): AsyncGenerator<SeenBatch, void, undefined> {
    if (isClosed) return;
    const id = ++lastId;
    const queue: (StoreAnswer | undefined)[] = [];
    let wake: () => void = () => undefined;
    receivers.set(id, (answer) => {
      queue.push(answer);
      wake();
    });
    const cancel = (): void => post({ id: ++lastId, kind: 'cancel', watch: id });
    signal.addEventListener('abort', cancel, { once: true });
    post({ id, kind: 'watch', after });
    try {
      for (;;) {
        while (queue.length === 0) await new Promise<void>((resolve) => (wake = resolve));
        const answer = queue.shift();
        if (answer?.error !== undefined) throw new Error(`${answer.error.code}: ${answer.error.message}`);
        if (answer === undefined || answer.isEnd === true) return;
        yield answer.value as SeenBatch;
      }
    } finally {
      receivers.delete(id);
      signal.removeEventListener('abort', cancel);
    }
  }
}
