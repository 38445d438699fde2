/**
 * Secrets of type kubernetes.io/service-account-token. The API server writes their token when they are written; this comes
 * back to those that were there before their account or the CA, and removes those whose account has gone.
 */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { ConfigMap, Secret, ServiceAccount } from '../../../kernel/contract/kubernetes.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';

const type = 'kubernetes.io/service-account-token';
const nameAnnotation = 'kubernetes.io/service-account.name';
const uidAnnotation = 'kubernetes.io/service-account.uid';

export interface TokenSecretsOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly log: Logger;
  readonly clock: Clock;
}

export class TokenSecrets {
  readonly #options: TokenSecretsOptions;
  readonly #secrets: Informer<Secret>;
  readonly #accounts: Informer<ServiceAccount>;
  readonly #bundles: Informer<ConfigMap>;

  constructor(options: TokenSecretsOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#secrets = informers.get(resources.secrets, { fieldSelector: `type=${type}` });
    this.#accounts = informers.get(resources.serviceAccounts);
    this.#bundles = informers.get(resources.configMaps, { fieldSelector: 'metadata.name=kube-root-ca.crt' });
  }

  run(signal: AbortSignal): Promise<void> {
    const { concurrency, log, clock } = this.#options;
    return runReconciler(
      {
        name: 'service-account-tokens',
        concurrency,
        log,
        clock,
        informers: [this.#secrets, this.#accounts, this.#bundles],
        watch: (queue) => {
          this.#secrets.onChange(({ key }) => queue.add(key));
          for (const informer of [this.#accounts, this.#bundles])
            informer.onChange(({ object, previous }) => {
              const { namespace } = (object ?? previous)?.metadata ?? {};
              for (const secret of this.#secrets.list())
                if (secret.metadata.namespace === namespace) queue.add(`${namespace}/${secret.metadata.name}`);
            });
        },
        reconcile: (key) => this.#reconcile(key),
      },
      signal,
    );
  }

  async #reconcile(key: string): Promise<void> {
    const secret = this.#secrets.get(key);
    if (secret === undefined || secret.metadata.deletionTimestamp !== undefined) return;
    const { namespace, name, uid, annotations = {} } = secret.metadata;
    const account = this.#accounts.get(`${namespace}/${annotations[nameAnnotation] ?? ''}`);
    const { cluster } = this.#options;
    try {
      const owner = annotations[uidAnnotation];
      if (owner !== undefined && owner !== account?.metadata.uid) {
        await cluster.delete(resources.secrets, { namespace, name }, { preconditions: { uid } });
        return;
      }
      if (account === undefined) return;
      const hasBundle = this.#bundles.get(`${namespace}/kube-root-ca.crt`) !== undefined;
      const isFilled = owner !== undefined && secret.data?.['token'] && (secret.data['ca.crt'] || !hasBundle);
      // Any write will do: the server fills in what is missing.
      const metadata = { ...secret.metadata, annotations: { ...annotations, [uidAnnotation]: account.metadata.uid } };
      if (!isFilled) await cluster.update(resources.secrets, { ...secret, metadata });
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
    }
  }
}
