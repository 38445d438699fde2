import { PintleError, type ContainerStats } from '../../../kernel/contract/index.ts';
import { codeOf, type CriClient } from './cri-client.ts';

interface Value {
  readonly value: number;
}

interface Answer {
  readonly stats: {
    readonly cpu: { readonly usage_core_nano_seconds: Value | null } | null;
    readonly memory: { readonly working_set_bytes: Value | null; readonly usage_bytes: Value | null } | null;
    readonly writable_layer: { readonly used_bytes: Value | null } | null;
  } | null;
}

export async function containerStats(
  client: CriClient,
  criId: string,
  options: { readonly timeMs: number; readonly disk: boolean },
): Promise<ContainerStats> {
  try {
    const { stats } = await client.runtime<Answer>('ContainerStats', { container_id: criId });
    const workingSetBytes = stats?.memory?.working_set_bytes?.value ?? 0;
    const disk = options.disk ? stats?.writable_layer?.used_bytes?.value : undefined;
    return {
      timeMs: options.timeMs,
      cpuNanos: stats?.cpu?.usage_core_nano_seconds?.value ?? 0,
      // Runtimes of before CRI 1.24 tell the working set alone.
      memoryBytes: stats?.memory?.usage_bytes?.value ?? workingSetBytes,
      workingSetBytes,
      ...(disk === undefined ? {} : { writableLayerBytes: disk }),
    };
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    throw new PintleError('CONTAINER_NOT_RUNNING', `container ${criId} does not run`, { cause: error });
  }
}
