/** Pods of a test cluster: made from short specs, looked at until they are as expected, read through kubectl. */
import { CoreV1Api, KubeConfig, type V1Container, type V1ContainerStatus, type V1Pod } from '@kubernetes/client-node';
import { kubectls, type Output, type TestCluster } from './cluster.ts';

/** Below the runner's own limit, which would end the whole file without a word about what it waited for. */
const patienceMs = 150_000;

/** Asks every 50 ms until `attempt` answers. In vain: an error with what `told` says of how it stands. */
export async function eventually<T>(
  attempt: () => Promise<T | undefined> | T | undefined,
  told: () => unknown = () => attempt.toString(),
): Promise<T> {
  for (const end = performance.now() + patienceMs; ;) {
    const found = await attempt();
    if (found !== undefined) return found;
    if (performance.now() > end) throw new Error(`waited ${patienceMs / 1000} s in vain: ${String(await told())}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A container that runs a shell command line. */
export const shell = (name: string, command: string, more: Partial<V1Container> = {}): V1Container => ({
  name,
  image: 'host',
  command: ['sh', '-c', command],
  ...more,
});

export class Pods {
  readonly core: CoreV1Api;
  readonly cluster: TestCluster;
  readonly namespace = 'default';

  constructor(cluster: TestCluster) {
    const config = new KubeConfig();
    config.loadFromFile(cluster.kubeconfig);
    this.core = config.makeApiClient(CoreV1Api);
    this.cluster = cluster;
  }

  async create(name: string, spec: Partial<V1Pod['spec']>, labels: Record<string, string> = {}): Promise<V1Pod> {
    const body = {
      metadata: { name, labels },
      spec: { terminationGracePeriodSeconds: 1, ...spec } as NonNullable<V1Pod['spec']>,
    };
    return this.core.createNamespacedPod({ namespace: this.namespace, body });
  }

  async get(name: string): Promise<V1Pod | undefined> {
    try {
      return await this.core.readNamespacedPod({ name, namespace: this.namespace });
    } catch (error) {
      if ((error as { code?: number }).code === 404) return undefined;
      throw error;
    }
  }

  /** The pod once `holds` does of it. */
  until(name: string, holds: (pod: V1Pod) => boolean): Promise<V1Pod> {
    let last: V1Pod | undefined;
    return eventually(
      async () => {
        last = await this.get(name);
        return last && holds(last) ? last : undefined;
      },
      () => `pod ${name} is ${JSON.stringify(last?.status)}, expected ${holds.toString()}`,
    );
  }

  phase(name: string, phase: string): Promise<V1Pod> {
    return this.until(name, (pod) => pod.status?.phase === phase);
  }

  ready(name: string, isReady = true): Promise<V1Pod> {
    return this.until(name, (pod) => isPodReady(pod) === isReady);
  }

  async gone(name: string): Promise<void> {
    await eventually(async () => ((await this.get(name)) === undefined ? true : undefined));
  }

  async delete(name: string, graceSeconds?: number): Promise<void> {
    await this.core.deleteNamespacedPod({
      name,
      namespace: this.namespace,
      ...(graceSeconds === undefined ? {} : { gracePeriodSeconds: graceSeconds }),
    });
  }

  /** Messages of the events about a pod, by reason. */
  async events(name: string): Promise<readonly { readonly reason: string; readonly message: string }[]> {
    const fieldSelector = `involvedObject.name=${name}`;
    const list = await this.core.listNamespacedEvent({ namespace: this.namespace, fieldSelector });
    return list.items.map((event) => ({ reason: event.reason ?? '', message: event.message ?? '' }));
  }

  kubectl(argv: readonly string[], input?: string, binary = kubectls()[0]!): Promise<Output> {
    return this.cluster.kubectl(binary, ['-n', this.namespace, ...argv], input);
  }

  /** Once `kubectl logs` prints this: a container runs, and is ready, before it has said anything. */
  async says(name: string, text: string): Promise<true> {
    let last = '';
    return eventually(
      async () => ((last = await this.logs(name)) === text ? true : undefined),
      () => `the log of ${name} is ${JSON.stringify(last)}, expected ${JSON.stringify(text)}`,
    );
  }

  /** What `kubectl logs` prints. */
  async logs(name: string, ...flags: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.kubectl(['logs', name, ...flags]);
    if (code !== 0) throw new Error(`kubectl logs ${name} ${flags.join(' ')}: ${stderr}`);
    return stdout;
  }
}

export function isPodReady(pod: V1Pod): boolean {
  return pod.status?.conditions?.some((each) => each.type === 'Ready' && each.status === 'True') ?? false;
}

export function statusOf(pod: V1Pod, container: string): V1ContainerStatus {
  const all = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  const found = all.find((each) => each.name === container);
  if (!found) throw new Error(`pod ${pod.metadata?.name} has no status of container ${container}`);
  return found;
}
