/** Keeps ServiceAccount `default` and ConfigMap `kube-root-ca.crt` in every namespace that is not being deleted. */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { ConfigMap, Namespace, ServiceAccount } from '../../../kernel/contract/kubernetes.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';

export interface ServiceAccountControllerOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  /** Undefined: what the API server has put into ConfigMap kube-system/extension-apiserver-authentication. */
  readonly rootCa: string | undefined;
  readonly log: Logger;
  readonly clock: Clock;
}

const accountName = 'default';
const configMapName = 'kube-root-ca.crt';
const caKey = 'ca.crt';
const toldName = 'extension-apiserver-authentication';
const description = {
  'kubernetes.io/description':
    'Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.',
};

export class ServiceAccountController {
  readonly #options: ServiceAccountControllerOptions;
  readonly #namespaces: Informer<Namespace>;
  readonly #accounts: Informer<ServiceAccount>;
  readonly #configMaps: Informer<ConfigMap>;
  readonly #told: Informer<ConfigMap>;

  constructor(options: ServiceAccountControllerOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#namespaces = informers.get(resources.namespaces);
    this.#accounts = informers.get(resources.serviceAccounts, { fieldSelector: `metadata.name=${accountName}` });
    this.#told = informers.get(resources.configMaps, { fieldSelector: `metadata.name=${toldName}` });
    this.#configMaps = informers.get(resources.configMaps, { fieldSelector: `metadata.name=${configMapName}` });
  }

  run(signal: AbortSignal): Promise<void> {
    const { concurrency, log, clock } = this.#options;
    return runReconciler(
      {
        name: 'service-account',
        concurrency,
        log,
        clock,
        informers: [this.#namespaces, this.#accounts, this.#configMaps, this.#told],
        watch: (queue) => {
          this.#namespaces.onChange(({ key }) => queue.add(key));
          for (const informer of [this.#accounts, this.#configMaps])
            informer.onChange(({ object, previous }) => {
              const { namespace } = (object ?? previous)?.metadata ?? {};
              if (namespace !== undefined) queue.add(namespace);
            });
          this.#told.onChange(({ key }) => {
            if (key === `kube-system/${toldName}`)
              for (const { metadata } of this.#namespaces.list()) queue.add(metadata.name);
          });
        },
        reconcile: (name) => this.#reconcile(name),
      },
      signal,
    );
  }

  async #reconcile(namespace: string): Promise<void> {
    const object = this.#namespaces.get(namespace);
    if (object === undefined || object.metadata.deletionTimestamp !== undefined) return;
    if (this.#accounts.get(`${namespace}/${accountName}`) === undefined)
      await this.#ensure(() =>
        this.#options.cluster.create(resources.serviceAccounts, { metadata: { namespace, name: accountName } }),
      );
    await this.#ensureConfigMap(namespace);
  }

  async #ensureConfigMap(namespace: string): Promise<void> {
    const { cluster } = this.#options;
    const rootCa = this.#options.rootCa ?? this.#told.get(`kube-system/${toldName}`)?.data?.['client-ca-file'];
    if (rootCa === undefined) return;
    const existing = this.#configMaps.get(`${namespace}/${configMapName}`);
    const data = { [caKey]: rootCa };
    if (existing === undefined) {
      const metadata = { namespace, name: configMapName, annotations: description };
      await this.#ensure(() => cluster.create(resources.configMaps, { metadata, data }));
    } else if (existing.data?.[caKey] !== rootCa || Object.keys(existing.data).length > 1)
      await this.#ensure(() => cluster.update(resources.configMaps, { ...existing, data }));
  }

  /** Somebody else may have made it, or the namespace may be on its way out: both are fine. */
  async #ensure(write: () => Promise<unknown>): Promise<void> {
    try {
      await write();
    } catch (error) {
      if (!isPintleError(error, 'ALREADY_EXISTS', 'NOT_FOUND', 'FORBIDDEN')) throw error;
    }
  }
}
