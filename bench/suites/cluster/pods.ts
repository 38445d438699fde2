/** Pods of ours on a user's nodes, through the API: what a kubectl user may do, and nothing else. */
import { randomBytes } from 'node:crypto';
import type { Node, Pod } from '../../../kernel/contract/kubernetes.ts';
import { PintleError } from '../../../kernel/contract/errors.ts';
import { isPodReady, isPodTerminal } from '../../../kernel/machinery/pod-status.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import type { Connection } from '../../../plugins/clusters/remote/connect.ts';

/** One server pod has one port, so that several run side by side on a node's own address. */
export const iperfPort = 35_201;
const waitMs = 120_000;
const label = 'pintle.dev/bench';

export interface PodRequest {
  readonly name: string;
  readonly node: string;
  readonly isOnHost: boolean;
  readonly script: string;
}

export class ClusterPods {
  readonly #connection: Connection;
  readonly #image: string;
  readonly namespace = `pintle-bench-${randomBytes(3).toString('hex')}`;
  #hasNamespace = false;

  constructor(connection: Connection, image: string) {
    this.#connection = connection;
    this.#image = image;
  }

  /** The first two nodes that are ready and take pods. */
  async nodes(): Promise<readonly string[]> {
    const { items } = await this.#connection.cluster.list(resources.nodes);
    const isReady = ({ status, spec }: Node): boolean =>
      spec?.unschedulable !== true &&
      status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') === true;
    return items.filter(isReady).map(({ metadata }) => metadata.name);
  }

  async start({ name, node, isOnHost, script }: PodRequest): Promise<void> {
    const { cluster } = this.#connection;
    if (!this.#hasNamespace)
      await cluster.create(resources.namespaces, { metadata: { name: this.namespace }, spec: {} });
    this.#hasNamespace = true;
    await cluster.create(resources.pods, {
      metadata: { name, namespace: this.namespace, labels: { [label]: name } },
      spec: {
        ...{ nodeName: node, hostNetwork: isOnHost, restartPolicy: 'Never', terminationGracePeriodSeconds: 0 },
        tolerations: [{ operator: 'Exists' }],
        containers: [{ name: 'main', image: this.#image, command: ['sh', '-c', script] }],
      },
    });
  }

  /** A Service that leads to the pod, TCP and UDP; resolves to its address. */
  async expose(name: string): Promise<string> {
    const ports = (['TCP', 'UDP'] as const).map((protocol) => ({
      name: protocol.toLowerCase(),
      protocol,
      port: iperfPort,
    }));
    const service = await this.#connection.cluster.create(resources.services, {
      metadata: { name, namespace: this.namespace },
      spec: { selector: { [label]: name }, ports },
    });
    return service.spec.clusterIP ?? '';
  }

  /** Resolves to its address. */
  async ready(name: string, signal?: AbortSignal): Promise<string> {
    const pod = await this.#until(name, (one) => isPodReady(one) || isPodTerminal(one), 'is ready', signal);
    if (isPodReady(pod) && pod.status?.podIP !== undefined) return pod.status.podIP;
    throw new PintleError('BENCH_FAILED', `pod ${name} ended: ${(await this.#log(name)).slice(-300)}`);
  }

  /** Resolves to what it said. */
  async finished(name: string, signal?: AbortSignal): Promise<string> {
    const pod = await this.#until(name, isPodTerminal, 'has ended', signal);
    const said = await this.#log(name);
    if (pod.status?.phase === 'Succeeded') return said;
    throw new PintleError('BENCH_FAILED', `pod ${name} failed: ${said.slice(-300)}`);
  }

  async remove(names: readonly string[], services: readonly string[]): Promise<void> {
    const { cluster } = this.#connection;
    const ignore = (): undefined => undefined;
    for (const name of services) await cluster.delete(resources.services, this.#key(name)).catch(ignore);
    for (const name of names)
      await cluster.delete(resources.pods, this.#key(name), { gracePeriodSeconds: 0 }).catch(ignore);
    for (const name of names) await this.#untilGone(name);
  }

  /** Pods and Services of ours that are still there. */
  async left(): Promise<readonly string[]> {
    const { cluster } = this.#connection;
    const pods = await cluster.list(resources.pods, { namespace: this.namespace });
    const services = await cluster.list(resources.services, { namespace: this.namespace });
    return [...pods.items, ...services.items].map(({ metadata }) => `${this.namespace}/${metadata.name}`);
  }

  async close(): Promise<void> {
    if (this.#hasNamespace) await this.#connection.cluster.delete(resources.namespaces, { name: this.namespace });
    this.#connection.close();
  }

  #key(name: string) {
    return { namespace: this.namespace, name };
  }

  #log(name: string): Promise<string> {
    return this.#connection.text(`/api/v1/namespaces/${this.namespace}/pods/${name}/log`);
  }

  async #untilGone(name: string): Promise<void> {
    for (const until = performance.now() + waitMs; performance.now() < until; await pause()) {
      const { items } = await this.#connection.cluster.list(resources.pods, { namespace: this.namespace });
      if (!items.some(({ metadata }) => metadata.name === name)) return;
    }
  }

  async #until(name: string, isSo: (pod: Pod) => boolean, what: string, signal?: AbortSignal): Promise<Pod> {
    for (const until = performance.now() + waitMs; performance.now() < until; await pause()) {
      signal?.throwIfAborted();
      const pod = await this.#connection.cluster.get(resources.pods, this.#key(name));
      if (isSo(pod)) return pod;
    }
    throw new PintleError(
      'BENCH_FAILED',
      `waited ${waitMs / 1000} s in vain until pod ${name} ${what}; does image ${this.#image} have sh and iperf3?`,
    );
  }
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 200));
