/**
 * Static pods: manifests in a folder of the node, which run whatever the API says. Each is shown in the API by a mirror, a pod
 * that this agent makes, makes again when somebody deletes it, and removes with its manifest. Owns those mirrors.
 */
import { createHash } from 'node:crypto';
import { watch } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import { pause } from '../../../kernel/machinery/clock.ts';
import { resources } from '../../../kernel/machinery/resources.ts';

export const mirrorAnnotation = 'kubernetes.io/config.mirror';
const hashAnnotation = 'kubernetes.io/config.hash';
/** How often the folder is read without a hint. */
const periodMs = 20_000;

/** The uid under which a mirror's pod runs; undefined: it is an ordinary pod. */
export function staticUidOf(pod: Pod | undefined): string | undefined {
  return pod?.metadata.annotations?.[mirrorAnnotation];
}

export interface StaticPodServices {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly log: Logger;
  /** The pods of this node that the API has. */
  apiPods(): readonly Pod[];
  /** A pod appeared, changed or went. */
  changed(uid: string): void;
  /** Told once for each state of a file. */
  report(message: string): void;
}

export class StaticPods {
  readonly #folder: string;
  readonly #nodeName: string;
  readonly #services: StaticPodServices;
  #pods: ReadonlyMap<string, Pod> = new Map();
  #reported = new Set<string>();
  #wake: () => void = () => undefined;

  constructor(folder: string, nodeName: string, services: StaticPodServices) {
    this.#folder = folder;
    this.#nodeName = nodeName;
    this.#services = services;
  }

  uids(): readonly string[] {
    return [...this.#pods.keys()];
  }

  /** The pod, with the status that its mirror has in the API. */
  get(uid: string): Pod | undefined {
    const pod = this.#pods.get(uid);
    const status = pod && this.mirrorOf(pod)?.status;
    return pod && status ? { ...pod, status } : pod;
  }

  has(uid: string): boolean {
    return this.#pods.has(uid);
  }

  mirrorOf(pod: Pod): Pod | undefined {
    const { namespace, name, uid } = pod.metadata;
    return this.#services
      .apiPods()
      .find(
        (each) =>
          each.metadata.name === name &&
          each.metadata.namespace === namespace &&
          staticUidOf(each) === uid &&
          each.metadata.deletionTimestamp === undefined,
      );
  }

  wake(): void {
    this.#wake();
  }

  /** Reads the folder. What cannot be used is reported, and the others go on. */
  async load(): Promise<void> {
    const found = new Map<string, Pod>();
    const problems = new Set<string>();
    const names = await readdir(this.#folder).catch((error: unknown) => {
      problems.add(`static pods: folder ${this.#folder} cannot be read: ${(error as Error).message}`);
      return [];
    });
    for (const file of names.filter((name) => !name.startsWith('.')).sort()) {
      try {
        const pod = await this.#read(file);
        const twin = [...found.values()].find(
          (each) => each.metadata.name === pod.metadata.name && each.metadata.namespace === pod.metadata.namespace,
        );
        if (twin) throw new Error(`pod ${pod.metadata.namespace}/${pod.metadata.name} is in another file too`);
        found.set(pod.metadata.uid, pod);
      } catch (error) {
        problems.add(`static pod ${file} cannot be used: ${(error as Error).message}`);
      }
    }
    for (const problem of problems) if (!this.#reported.has(problem)) this.#services.report(problem);
    this.#reported = problems;
    const before = this.#pods;
    this.#pods = found;
    for (const uid of new Set([...before.keys(), ...found.keys()]))
      if (before.has(uid) !== found.has(uid)) this.#services.changed(uid);
  }

  async #read(file: string): Promise<Pod> {
    const text = await readFile(join(this.#folder, file), 'utf8');
    // Only a node with static pods needs these two; the table of the API is large.
    const [{ parse }, { applyDefaults }, { checkShape }] = await Promise.all([
      import('yaml'),
      import('../../../kernel/machinery/schema/defaults.ts'),
      import('../../../kernel/machinery/schema/validate.ts'),
    ]);
    const object = parse(text) as Partial<Pod> | null;
    if (object?.kind !== 'Pod' || object.apiVersion !== 'v1') throw new Error('it is no Pod of apiVersion v1');
    const { causes, unknownFields } = checkShape('core/v1.Pod', object);
    const faults = [...causes.map(({ field, message }) => `${field}: ${message}`), ...unknownFields];
    if (faults.length > 0) throw new Error(faults.join('; '));
    const name = object.metadata?.name;
    if (name === undefined || !object.spec?.containers?.length)
      throw new Error('metadata.name and spec.containers are required');
    const uid = createHash('sha256').update(`${this.#nodeName}\0${file}\0${text}`).digest('hex').slice(0, 32);
    const pod = applyDefaults('core/v1.Pod', object) as Pod;
    return {
      ...pod,
      metadata: {
        ...pod.metadata,
        name: `${name}-${this.#nodeName}`,
        namespace: pod.metadata.namespace ?? 'default',
        uid,
        annotations: {
          ...pod.metadata.annotations,
          [hashAnnotation]: uid,
          'kubernetes.io/config.source': 'file',
        },
      },
      spec: {
        ...pod.spec,
        nodeName: this.#nodeName,
        tolerations: [...(pod.spec.tolerations ?? []), { operator: 'Exists', effect: 'NoExecute' }],
      },
    };
  }

  /** Follows the folder and keeps the mirrors true until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { log, clock } = this.#services;
    let watcher: ReturnType<typeof watch> | undefined;
    try {
      watcher = watch(this.#folder, { persistent: false }, () => this.#wake());
      // What a watcher misses, the next look finds.
      watcher.on('error', () => undefined);
    } catch {
      // load() reports a folder that is not there; it is looked for again.
    }
    signal.addEventListener('abort', () => this.#wake(), { once: true });
    while (!signal.aborted) {
      const timer = new AbortController();
      const rest = Promise.race([
        new Promise<void>((resolve) => (this.#wake = resolve)),
        pause(clock, periodMs, timer.signal),
      ]);
      try {
        await this.load();
        await this.syncMirrors();
      } catch (error) {
        log.warn('mirrors of static pods are not up to date, will be tried again', { error: String(error) });
      }
      await rest;
      timer.abort();
    }
    watcher?.close();
  }

  async syncMirrors(): Promise<void> {
    const { cluster } = this.#services;
    const present = this.#services.apiPods();
    const gone = (pod: Pod) =>
      cluster
        .delete(resources.pods, pod.metadata, { gracePeriodSeconds: 0, preconditions: { uid: pod.metadata.uid } })
        .catch((error: unknown) => {
          if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
        });
    for (const mirror of present) {
      const uid = staticUidOf(mirror);
      if (uid !== undefined && (!this.#pods.has(uid) || mirror.metadata.deletionTimestamp)) await gone(mirror);
    }
    for (const pod of this.#pods.values()) {
      if (this.mirrorOf(pod)) continue;
      const { uid, ...metadata } = pod.metadata;
      const annotations = { ...metadata.annotations, [mirrorAnnotation]: uid };
      const node = await cluster.get(resources.nodes, { name: this.#nodeName });
      const owner = { apiVersion: 'v1', kind: 'Node', name: this.#nodeName, uid: node.metadata.uid, controller: true };
      try {
        await cluster.create(resources.pods, {
          ...pod,
          metadata: { ...metadata, annotations, ownerReferences: [owner] },
        } as never);
      } catch (error) {
        // One that is on its way out, or that the informer has not shown yet.
        if (!isPintleError(error, 'ALREADY_EXISTS')) throw error;
      }
    }
  }
}
