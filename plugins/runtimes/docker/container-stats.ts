import { PintleError, type ContainerStats } from '../../../kernel/contract/index.ts';
import { statusOf, type Engine } from './engine.ts';

/** Of Docker's API, and not in the types of its client. */
const withSize = { size: true } as object;

export async function containerStats(
  engine: Engine,
  dockerId: string,
  options: { readonly timeMs: number; readonly disk: boolean },
): Promise<ContainerStats> {
  try {
    // Not one-shot, the engine would wait a second for two samples.
    const stats = await engine.call((docker) =>
      docker.getContainer(dockerId).stats({ stream: false, 'one-shot': true }),
    );
    const memoryBytes = stats.memory_stats.usage ?? 0;
    const details = (stats.memory_stats.stats ?? {}) as unknown as Readonly<Record<string, number | undefined>>;
    // cgroup v1 and v2 name it differently.
    const reclaimable = details['total_inactive_file'] ?? details['inactive_file'] ?? 0;
    const size = options.disk
      ? await engine.call((docker) => docker.getContainer(dockerId).inspect(withSize))
      : undefined;
    const { SizeRw } = (size ?? {}) as { readonly SizeRw?: number };
    return {
      timeMs: options.timeMs,
      cpuNanos: stats.cpu_stats.cpu_usage.total_usage,
      memoryBytes,
      ...(SizeRw === undefined ? {} : { writableLayerBytes: SizeRw }),
      workingSetBytes: Math.max(0, memoryBytes - reclaimable),
    };
  } catch (error) {
    if (statusOf(error) !== 404 && statusOf(error) !== 409) throw error;
    throw new PintleError('CONTAINER_NOT_RUNNING', `container ${dockerId} does not run`, { cause: error });
  }
}
