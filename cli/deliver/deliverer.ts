/** `pintle deliver`: what a CI job's last step asks for, made of plain API calls against any cluster. */
import { isPintleError, PintleError, type Cluster } from '../../kernel/contract/index.ts';
import type { Deployment, PodTemplateSpec, ReplicaSet, Service } from '../../kernel/contract/kubernetes.ts';
import { ownerReference } from '../../kernel/machinery/metadata.ts';
import { resources } from '../../kernel/machinery/resources.ts';
import {
  codeMapsOf,
  deliveryId,
  fieldManager,
  hasStood,
  isRevisionOf,
  jobDeployment,
  jobLabel,
  jobService,
  managedLabels,
  podTemplate,
  revisionOf,
  revisionsOf,
  stoodAnnotation,
  type Delivery,
  type Job,
  type Revision,
} from './job-objects.ts';
import { rolledOut, type RollOut } from './roll-out.ts';

export interface DeliverOptions {
  readonly replicas: number | undefined;
  /** Undefined: as it is; a new Service is not exposed. */
  readonly expose: boolean | undefined;
  readonly timeoutSeconds: number;
  readonly cause: string;
  /** The log of a pod, for the report of a failure. */
  log(namespace: string, pod: string): Promise<string>;
  say(line: string): void;
}

export interface JobState {
  readonly job: string;
  readonly namespace: string;
  readonly revision: number;
  readonly image: string;
  readonly code: string | undefined;
  readonly replicas: number;
  readonly ready: number;
  /** "10.96.3.7:8080", and with a node port also "NODE-ADDRESS:30123". */
  readonly addresses: readonly string[];
}

/** Code of deliveries that never came to a Deployment is kept for so long: it may be one that is under way. */
const orphanMs = 10 * 60_000;
const logLines = 20;
const goneMs = 200;

export class Deliverer {
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  /** Resolves when the job stands; rejects with the reason after it has gone back to what it was. */
  async deliver(delivery: Delivery, options: DeliverOptions): Promise<'created' | 'updated' | 'unchanged'> {
    const before = await this.#deployment(delivery);
    const service = await this.#service(delivery);
    const port = delivery.port ?? service?.spec.ports?.[0]?.port;
    const template = podTemplate({ ...delivery, port });
    for (const map of delivery.code?.maps ?? []) {
      const labels = { ...managedLabels, [jobLabel]: delivery.name };
      await absent(
        this.#cluster.create(resources.configMaps, { ...map, metadata: { ...map.metadata, labels } }),
        'ALREADY_EXISTS',
      );
    }
    const replicas = options.replicas ?? before?.spec.replicas ?? 1;
    const applied = await this.#apply(delivery, template, { ...options, replicas });
    if (port !== undefined) {
      const expose = options.expose ?? service?.spec.type === 'NodePort';
      await this.#applyObject(resources.services, delivery, jobService(delivery, port, expose));
    }
    const rollOut = await this.#rolledOut(delivery, template, options);
    if (rollOut.failure !== undefined) {
      await this.#rollBack(delivery, before, service, rollOut, options);
      throw new PintleError('INVALID', `${delivery.name} was not delivered: ${rollOut.failure}`);
    }
    await this.#stands(rollOut.deployment);
    await this.#tidy(rollOut.deployment);
    if (!before) return 'created';
    return before.metadata.generation === applied.metadata.generation ? 'unchanged' : 'updated';
  }

  /** Back to a revision; undefined: the last one before that stood. */
  async undo(job: Job, revision: number | undefined, options: DeliverOptions): Promise<Revision> {
    const deployment = await this.#existing(job);
    const revisions = await this.history(job);
    const current = revisions.at(-1);
    const target =
      revision === undefined
        ? revisions.slice(0, -1).findLast((each) => each.stood)
        : revisions.find((each) => each.revision === revision);
    if (!target) {
      const known = revisions.map((each) => each.revision).join(', ');
      throw new PintleError(
        'NOT_FOUND',
        revision === undefined
          ? `${job.name} has no revision before ${current?.revision ?? 'this one'} that stood: nothing to go back to`
          : `${job.name} has no revision ${revision}; there are ${known}`,
      );
    }
    const cause = target.cause === '' ? `back to revision ${target.revision}` : target.cause;
    await this.#apply(job, target.template, { ...options, cause, replicas: deployment.spec.replicas ?? 1 });
    const rollOut = await this.#rolledOut(job, target.template, options);
    if (rollOut.failure !== undefined) {
      await this.#rollBack(job, deployment, await this.#service(job), rollOut, options);
      throw new PintleError(
        'INVALID',
        `${job.name} did not get back to revision ${target.revision}: ${rollOut.failure}`,
      );
    }
    await this.#stands(rollOut.deployment);
    return target;
  }

  async history(job: Job): Promise<readonly Revision[]> {
    const deployment = await this.#existing(job);
    return revisionsOf(deployment, await this.#replicaSets(job));
  }

  async state(job: Job): Promise<JobState> {
    return this.#state(await this.#existing(job));
  }

  async list(namespace: string): Promise<readonly JobState[]> {
    const labelSelector = Object.entries(managedLabels)
      .map(([key, value]) => `${key}=${value}`)
      .join();
    const { items } = await this.#cluster.list(resources.deployments, { namespace, labelSelector });
    return Promise.all(items.map((each) => this.#state(each)));
  }

  /** Resolves to whether there was one; rejects with TIMEOUT while pods of it are left after `timeoutSeconds`. */
  async delete(job: Job, timeoutSeconds: number): Promise<boolean> {
    const [deployment, service] = [await this.#deployment(job), await this.#service(job)];
    const key = { namespace: job.namespace, name: job.name };
    if (deployment) {
      await absent(this.#cluster.delete(resources.deployments, key, { propagationPolicy: 'Foreground' }), 'NOT_FOUND');
      await this.#gone(job, timeoutSeconds);
    }
    if (service) await absent(this.#cluster.delete(resources.services, key), 'NOT_FOUND');
    await this.#cluster.deleteCollection(resources.configMaps, {
      namespace: job.namespace,
      labelSelector: `${jobLabel}=${job.name}`,
    });
    return deployment !== undefined || service !== undefined;
  }

  /** Removed in the foreground: it is gone when its pods are. */
  async #gone(job: Job, timeoutSeconds: number): Promise<void> {
    const until = performance.now() + timeoutSeconds * 1000;
    while ((await absent(this.#cluster.get(resources.deployments, keyOf(job)), 'NOT_FOUND')) !== undefined) {
      if (performance.now() > until) {
        const scope = { namespace: job.namespace, labelSelector: `${jobLabel}=${job.name}` };
        const { items } = await this.#cluster.list(resources.pods, scope);
        const left = items.map(({ metadata, spec }) => `${metadata.name} (node ${spec.nodeName ?? 'none'})`).join(', ');
        throw new PintleError(
          'TIMEOUT',
          `${job.name} is being removed, but not gone after ${timeoutSeconds} s; left: ${left === '' ? 'its Deployment' : left}. ` +
            'Look at their nodes and finalizers, then ask again with --delete, or wait longer with --timeout',
        );
      }
      await new Promise((resolve) => setTimeout(resolve, goneMs));
    }
  }

  async #rollBack(
    job: Job,
    before: Deployment | undefined,
    service: Service | undefined,
    rollOut: RollOut,
    options: DeliverOptions,
  ): Promise<void> {
    if (rollOut.failedPod !== undefined) {
      const log = await options.log(job.namespace, rollOut.failedPod).catch(() => '');
      for (const line of log.trimEnd().split('\n').slice(-logLines)) if (line !== '') options.say(`  | ${line}`);
    }
    if (rollOut.isSuperseded) return;
    if (!before) {
      options.say('it was new: it is removed again');
      // What it failed of is the answer, not what is left of it.
      await this.delete(job, options.timeoutSeconds).catch((error: Error) => options.say(error.message));
      return;
    }
    options.say('going back to what was there');
    const { template } = before.spec;
    const cause = before.metadata.annotations?.['kubernetes.io/change-cause'] ?? '';
    await this.#apply(job, template, { ...options, cause, replicas: before.spec.replicas ?? 1 });
    const port = service?.spec.ports?.[0]?.port;
    const key = { namespace: job.namespace, name: job.name };
    if (port !== undefined)
      await this.#applyObject(resources.services, job, jobService(job, port, service?.spec.type === 'NodePort'));
    else await absent(this.#cluster.delete(resources.services, key), 'NOT_FOUND');
    const back = await this.#rolledOut(job, template, options);
    options.say(back.failure === undefined ? 'it stands as before' : `that does not stand either: ${back.failure}`);
  }

  #rolledOut(job: Job, template: PodTemplateSpec, options: DeliverOptions): Promise<RollOut> {
    return rolledOut(this.#cluster, job, {
      delivery: deliveryId(template),
      timeoutSeconds: options.timeoutSeconds,
      onProgress: options.say,
    });
  }

  #apply(
    job: Job,
    template: PodTemplateSpec,
    options: { readonly replicas: number; readonly timeoutSeconds: number; readonly cause: string },
  ): Promise<Deployment> {
    return this.#applyObject(resources.deployments, job, jobDeployment(job, template, options));
  }

  #applyObject<T extends Deployment | Service>(
    type: typeof resources.deployments | typeof resources.services,
    job: Job,
    body: unknown,
  ): Promise<T> {
    const key = { namespace: job.namespace, name: job.name };
    return this.#cluster.patch(
      type as never,
      key,
      { kind: 'apply', body, force: true },
      { fieldManager },
    ) as Promise<T>;
  }

  /** Marks the newest revision as one to go back to. */
  async #stands(deployment: Deployment): Promise<void> {
    const { namespace, name } = deployment.metadata;
    const sets = await this.#replicaSets({ namespace, name });
    const newest = sets.find((each) => isRevisionOf(each, deployment) && revisionOf(each) === revisionOf(deployment));
    if (!newest || hasStood(newest)) return;
    const body = { metadata: { annotations: { [stoodAnnotation]: 'true' } } };
    await this.#cluster.patch(
      resources.replicaSets,
      { namespace, name: newest.metadata.name },
      { kind: 'merge', body },
    );
  }

  /** Removes the code that no revision needs any more, and ties what is left to the Deployment. */
  async #tidy(deployment: Deployment): Promise<void> {
    const { namespace, name } = deployment.metadata;
    const needed = new Set(
      [
        deployment.spec.template,
        ...(await this.#replicaSets({ namespace, name })).map((each) => each.spec.template),
      ].flatMap(codeMapsOf),
    );
    const { items } = await this.#cluster.list(resources.configMaps, {
      namespace,
      labelSelector: `${jobLabel}=${name}`,
    });
    for (const map of items) {
      const key = { namespace, name: map.metadata.name };
      if (needed.has(key.name)) {
        if ((map.metadata.ownerReferences?.length ?? 0) > 0) continue;
        const body = { metadata: { ownerReferences: [ownerReference(deployment, { controller: false })] } };
        await this.#cluster.patch(resources.configMaps, key, { kind: 'merge', body });
      } else if (Date.now() - Date.parse(map.metadata.creationTimestamp ?? '') > orphanMs)
        await absent(this.#cluster.delete(resources.configMaps, key), 'NOT_FOUND');
    }
  }

  async #state(deployment: Deployment): Promise<JobState> {
    const { namespace, name } = deployment.metadata;
    const job = { namespace, name };
    const [current, addresses] = [
      revisionsOf(deployment, await this.#replicaSets(job)).at(-1),
      await this.#addresses(job),
    ];
    return {
      job: name,
      namespace,
      revision: current?.revision ?? 0,
      image: deployment.spec.template.spec?.containers[0]?.image ?? '',
      code: current?.code,
      replicas: deployment.spec.replicas ?? 1,
      ready: deployment.status?.readyReplicas ?? 0,
      addresses,
    };
  }

  async #addresses(job: Job): Promise<readonly string[]> {
    const service = await this.#service(job);
    const [port] = service?.spec.ports ?? [];
    if (!service || !port) return [];
    const own = service.spec.clusterIP === undefined ? [] : [`${service.spec.clusterIP}:${port.port}`];
    if (port.nodePort === undefined) return own;
    const { items } = await this.#cluster.list(resources.nodes);
    const nodes = items.flatMap(
      (node) => node.status?.addresses?.find((each) => each.type === 'InternalIP')?.address ?? [],
    );
    return [...own, ...nodes.slice(0, 1).map((address) => `${address}:${port.nodePort}`)];
  }

  async #existing(job: Job): Promise<Deployment> {
    const found = await this.#deployment(job);
    if (found) return found;
    throw new PintleError(
      'NOT_FOUND',
      `no job ${job.name} is delivered in namespace ${job.namespace}; "pintle deliver ls" lists those that are`,
    );
  }

  /** Refuses one of the same name that somebody else made: nothing of it would be safe. */
  async #deployment(job: Job): Promise<Deployment | undefined> {
    return own(await absent(this.#cluster.get(resources.deployments, keyOf(job)), 'NOT_FOUND'), 'Deployment');
  }

  async #service(job: Job): Promise<Service | undefined> {
    return own(await absent(this.#cluster.get(resources.services, keyOf(job)), 'NOT_FOUND'), 'Service');
  }

  async #replicaSets(job: Job): Promise<readonly ReplicaSet[]> {
    const scope = { namespace: job.namespace, labelSelector: `${jobLabel}=${job.name}` };
    return (await this.#cluster.list(resources.replicaSets, scope)).items;
  }
}

const keyOf = (job: Job) => ({ namespace: job.namespace, name: job.name });

function own<T extends Deployment | Service>(found: T | undefined, kind: string): T | undefined {
  if (!found || found.metadata.labels?.[jobLabel] === found.metadata.name) return found;
  throw new PintleError(
    'ALREADY_EXISTS',
    `${kind} ${found.metadata.name} in namespace ${found.metadata.namespace} was not made by pintle deliver and is left ` +
      'alone: choose another job name or namespace',
  );
}

/** Undefined instead of this one error. */
async function absent<T>(call: Promise<T>, code: 'NOT_FOUND' | 'ALREADY_EXISTS'): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (isPintleError(error, code)) return undefined;
    throw error;
  }
}
