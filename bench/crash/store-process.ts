/** The child of StoreSystem: a store plugin in a process of its own, used over the IPC channel. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { PluginDefinition } from '../../kernel/contract/plugin.ts';
import type { Store } from '../../kernel/contract/store.ts';
import { seenBatch, seenEntry, seenOrUndefined } from '../../kernel/conformance/store/subject.ts';
import { isPintleError } from '../../kernel/contract/errors.ts';
import type { SeenCommit } from '../../kernel/conformance/store/history.ts';

export type StoreRequest =
  | { readonly id: number; readonly kind: 'commit'; readonly changes: SeenCommit['changes'] }
  | { readonly id: number; readonly kind: 'get'; readonly key: string }
  | { readonly id: number; readonly kind: 'list' }
  | { readonly id: number; readonly kind: 'watch'; readonly after: number }
  | { readonly id: number; readonly kind: 'compact'; readonly revision: number }
  | { readonly id: number; readonly kind: 'cancel'; readonly watch: number };

export interface StoreAnswer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: { readonly code: string; readonly message: string };
  /** Of a watch: no more follows. */
  readonly isEnd?: boolean;
}

const [pluginUrl, stateDir] = process.argv.slice(2);
const module = (await import(pluginUrl!)) as { default: PluginDefinition<'store', unknown, never> };
const checked = await module.default.config['~standard'].validate({});
if (checked.issues !== undefined) throw new Error('the plugin refuses its default config');
const log = (_message: string): void => undefined;
const store: Store = await module.default.start(
  {
    config: checked.value,
    cluster: { podCidrs: [], serviceCidrs: [], dnsDomain: 'cluster.local', dnsServiceIp: '' },
    uses: {},
    log: { debug: log, info: log, warn: console.error, error: console.error },
    clock: {
      now: Date.now,
      sleep: (ms, signal) => sleep(ms, undefined, signal === undefined ? {} : { signal }),
    },
    stateDir: stateDir!,
    nodeName: undefined,
    processMetrics: async () => '',
  },
  new AbortController().signal,
);
const watches = new Map<number, AbortController>();

async function answer(request: StoreRequest): Promise<unknown> {
  switch (request.kind) {
    case 'commit': {
      const changes = request.changes.map(({ key, value, expected }) => ({
        key,
        value: value === undefined ? undefined : new TextEncoder().encode(value),
        expected,
      }));
      const result = await store.commit(changes);
      return result.ok
        ? { revision: result.revision }
        : { conflict: result.key, current: seenOrUndefined(result.current) };
    }
    case 'get':
      return seenOrUndefined(await store.get(request.key));
    case 'list': {
      const { entries, revision } = await store.list({ prefix: '' });
      return { entries: entries.map(seenEntry), revision };
    }
    case 'compact':
      return store.compact(request.revision);
    case 'watch': {
      const stop = new AbortController();
      watches.set(request.id, stop);
      for await (const batch of store.watch({ prefix: '', after: request.after }, stop.signal))
        send({ id: request.id, value: seenBatch(batch) });
      return undefined;
    }
    case 'cancel':
      return watches.get(request.watch)?.abort();
  }
}

function send(message: StoreAnswer): void {
  process.send?.(message);
}

process.on('message', (request: StoreRequest) => {
  answer(request).then(
    (value) => send({ id: request.id, value, isEnd: true }),
    (error: unknown) => {
      const code = isPintleError(error) ? error.code : 'STORE_FAILED';
      send({ id: request.id, error: { code, message: String(error) }, isEnd: true });
    },
  );
});
process.on('disconnect', () => process.exit());
send({ id: 0 });
