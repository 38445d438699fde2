/**
 * The system under test is `pintle server`, used over its unix socket by plain HTTP clients: keys are ConfigMaps of one
 * namespace, revisions their resourceVersions. A deletion is acknowledged without its revision, a conflict without what it
 * met, and the server itself writes too: the checker is told so.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, request, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ConfigMap } from '../../kernel/contract/kubernetes.ts';
import type { SeenBatch, SeenCommit, SeenEntry, SeenEvent } from '../../kernel/conformance/store/history.ts';
import { Died, readWatch, type CrashConnection, type CrashSystem } from './crash-system.ts';

const program = fileURLToPath(new URL('../../cli/main.js', import.meta.url));
const folderOfKeys = '/api/v1/namespaces/default/configmaps';
/** Written to find the end of the log; not among the keys. */
const marker = '/api/v1/namespaces/kube-system/configmaps';

interface Answer {
  readonly status: number;
  readonly body: string;
}

export async function createServerSystem(config?: string): Promise<CrashSystem> {
  const folder = await mkdtemp(join(tmpdir(), 'pintle-crash-'));
  const socket = join(folder, 'api.sock');
  let child: ChildProcess | undefined;
  let agent: Agent | undefined;
  const end = async (): Promise<void> => {
    if (child === undefined) return;
    const closed = new Promise((resolve) => child?.once('close', resolve));
    child.kill('SIGKILL');
    await closed;
    child = undefined;
    agent?.destroy();
  };
  return {
    name: 'pintle server',
    hasTransactions: false,
    unseen: { versions: true, revisions: true },
    start: async () => {
      const argv = [
        ...[program, 'server', '--state-dir', join(folder, 'state'), '--unix-socket', socket],
        ...['--listen', '127.0.0.1:0', '--log-level', 'error', ...(config === undefined ? [] : ['--config', config])],
      ];
      const started = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
      child = started;
      agent = new Agent({ keepAlive: true });
      await untilReady(started);
      return connect(socket, agent);
    },
    kill: end,
    dispose: async () => {
      await end();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** `pintle server` says on standard output that it serves. */
async function untilReady(child: ChildProcess): Promise<void> {
  for await (const line of createInterface({ input: child.stdout! })) if (line.includes('is ready')) return;
  throw new Error('pintle server did not start');
}

function connect(socket: string, agent: Agent): CrashConnection {
  const open = (method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const headers = body === undefined ? {} : { 'content-type': 'application/json' };
      const asked = request({
        socketPath: socket,
        agent,
        method,
        path,
        headers,
        ...(signal === undefined ? {} : { signal }),
      });
      asked.once('response', resolve).once('error', () => reject(new Died()));
      asked.end(body === undefined ? undefined : JSON.stringify(body));
    });
  const ask = async (method: string, path: string, body?: unknown): Promise<Answer> => {
    const response = await open(method, path, body);
    try {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      return { status: response.statusCode!, body: Buffer.concat(chunks).toString() };
    } catch {
      throw new Died();
    }
  };

  const write = async ({ key, value, expected }: SeenCommit['changes'][number]): Promise<SeenCommit['outcome']> => {
    const path = `${folderOfKeys}/${key}`;
    if (value === undefined) return outcomeOf(await ask('DELETE', path), false);
    const metadata = {
      name: key,
      ...(expected === undefined || expected === 0 ? {} : { resourceVersion: String(expected) }),
    };
    const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { value } };
    return outcomeOf(await (expected === 0 ? ask('POST', folderOfKeys, object) : ask('PUT', path, object)), true);
  };

  async function* watch(after: number, signal: AbortSignal): AsyncGenerator<SeenBatch, void, undefined> {
    let response: IncomingMessage;
    try {
      response = await open(
        'GET',
        `/api/v1/configmaps?watch=1&resourceVersion=${after}&allowWatchBookmarks=true`,
        undefined,
        signal,
      );
    } catch {
      return;
    }
    if (response.statusCode !== 200) throw new Error(`a watch was answered with ${response.statusCode}`);
    try {
      for await (const line of linesOf(response)) {
        const { type, object } = JSON.parse(line) as { type: string; object: ConfigMap & { code?: number } };
        if (type === 'ERROR') throw new Error(`a watch failed with ${object.code}`);
        yield batchOf(type, object);
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== undefined) return;
      throw error;
    }
  }

  return {
    commit: async ([change]) => {
      try {
        return await write(change!);
      } catch (error) {
        if (error instanceof Died) return 'unknown';
        throw error;
      }
    },
    get: async (key) => {
      const answer = await ask('GET', `${folderOfKeys}/${key}`);
      if (answer.status === 404) return undefined;
      return entryOf(objectOf(answer));
    },
    list: async () => {
      const list = objectOf(await ask('GET', folderOfKeys)) as unknown as {
        metadata: { resourceVersion: string };
        items: ConfigMap[];
      };
      // The cluster's own certificate authority may be published here; it is nobody's key.
      const entries = list.items.map(entryOf).filter(isKey);
      return { entries, revision: Number(list.metadata.resourceVersion) };
    },
    watch,
    log: async (after, until) => {
      const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { generateName: 'crash-marker-' } };
      const made = objectOf(await ask('POST', marker, object));
      const end = Number(made.metadata?.resourceVersion);
      await ask('DELETE', `${marker}/${made.metadata?.name}`);
      return (await readWatch({ watch }, after, end)).filter(({ revision }) => revision <= until);
    },
    compact: async () => undefined,
  };
}

/** A stream's own iterator ends with an error when the other side dies; that of readline may wait forever. */
async function* linesOf(response: IncomingMessage): AsyncGenerator<string, void, undefined> {
  let rest = '';
  response.setEncoding('utf8');
  for await (const chunk of response) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop()!;
    yield* lines.filter((line) => line !== '');
  }
}

function outcomeOf({ status, body }: Answer, hasRevision: boolean): SeenCommit['outcome'] {
  if (status === 404 || status === 409 || status === 429) return 'refused';
  if (status >= 500) return 'unknown';
  if (status >= 300) throw new Error(`a write was answered with ${status}: ${body}`);
  if (!hasRevision) return 'done';
  return { revision: Number((JSON.parse(body) as ConfigMap).metadata?.resourceVersion) };
}

function objectOf({ status, body }: Answer): ConfigMap {
  if (status >= 300) throw new Error(`a request was answered with ${status}: ${body}`);
  return JSON.parse(body) as ConfigMap;
}

function entryOf({ metadata, data }: ConfigMap): SeenEntry {
  return {
    key: metadata?.name ?? '',
    value: data?.['value'] ?? '',
    created: 0,
    modified: Number(metadata?.resourceVersion),
  };
}

function isKey({ key }: { readonly key: string }): boolean {
  return key.startsWith('key-');
}

function batchOf(type: string, object: ConfigMap): SeenBatch {
  const revision = Number(object.metadata?.resourceVersion);
  const entry = entryOf(object);
  if (type === 'BOOKMARK' || object.metadata?.namespace !== 'default' || !isKey(entry))
    return { events: [], progress: revision };
  const event: SeenEvent = {
    key: entry.key,
    revision,
    entry: type === 'DELETED' ? undefined : entry,
    previous: undefined,
  };
  return { events: [event], progress: revision };
}
