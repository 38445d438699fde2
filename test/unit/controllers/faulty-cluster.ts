/** An API that keeps failing: refused calls, calls whose answer is lost, broken and expired watches. */
import {
  PintleError,
  type Cluster,
  type ErrorCode,
  type KubernetesObject,
  type WatchEvent,
} from '../../../kernel/contract/index.ts';

/** Small, and the same sequence for the same seed. */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const failures: readonly ErrorCode[] = ['UNAVAILABLE', 'INTERNAL', 'CONFLICT', 'TIMEOUT'];
const verbs: ReadonlySet<string> = new Set(['create', 'update', 'patch', 'delete', 'get', 'list']);

/** Fails a quarter of the calls, half of those after they were carried out, while `isOn` says so. */
export function faulty(cluster: Cluster, random: () => number, isOn: () => boolean): Cluster {
  const fail = () =>
    new PintleError(failures[Math.floor(random() * failures.length)] as ErrorCode, 'a fault of the test');
  async function* breaking(
    args: Parameters<Cluster['watch']>,
  ): AsyncGenerator<readonly WatchEvent<KubernetesObject>[]> {
    for await (const batch of cluster.watch(...args)) {
      yield batch;
      if (isOn() && random() < 0.1) throw random() < 0.5 ? fail() : new PintleError('EXPIRED', 'a fault of the test');
    }
  }
  return new Proxy(cluster, {
    get: (target, name) => {
      const value = Reflect.get(target, name) as unknown;
      if (typeof value !== 'function') return value;
      if (name === 'watch') return (...args: Parameters<Cluster['watch']>) => breaking(args);
      if (!verbs.has(String(name))) return (value as () => unknown).bind(target);
      return async (...args: unknown[]) => {
        const isFailing = isOn() && random() < 0.25;
        if (isFailing && random() < 0.5) throw fail();
        const result = await (value as (...args: unknown[]) => Promise<unknown>).apply(target, args);
        if (isFailing) throw fail();
        return result;
      };
    },
  });
}
