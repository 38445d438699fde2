/** Puts the parts together: state from the store, engine, bootstrap objects, housekeeping. */
import type { Clock, Logger, Measured, Store } from '../../../kernel/contract/index.ts';
import { storagePath } from './catalog.ts';
import { bootstrap } from './bootstrap.ts';
import { Authorizer } from './access/authorizer.ts';
import { openSigningKey } from './access/signing-key-file.ts';
import { ServiceAccountTokens } from './access/service-account-tokens.ts';
import { Engine } from './engine.ts';
import { EventExpiry } from './event-expiry.ts';
import { LocalCluster } from './local-cluster.ts';
import { NodeConnections } from './node-connections.ts';
import { storageMetrics } from './storage-metrics.ts';
import { ServiceResources } from './services/service-resources.ts';
import { State } from './state/state.ts';
import { strategies } from './strategies/index.ts';

export interface LocalClusterOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  readonly serviceCidrs: readonly string[];
  readonly nodePorts: { readonly first: number; readonly last: number };
  readonly authorization: 'rbac' | 'always-allow';
  /** Undefined: no tokens, and pods are not asked for their service account. */
  readonly serviceAccounts: { readonly keyFile: string; readonly issuer: string } | undefined;
  readonly history: { readonly changes: number; readonly megabytes: number; readonly seconds: number };
  readonly eventTtlSeconds: number;
  readonly maxEvents: number;
  readonly bookmarkSeconds: number;
}

const housekeepingMs = 30_000;

export async function openLocalCluster(
  options: LocalClusterOptions,
  signal: AbortSignal,
): Promise<LocalCluster & Measured & AsyncDisposable> {
  const { store, clock, log } = options;
  const state = new State(store, clock, log, {
    maxChanges: options.history.changes,
    maxBytes: options.history.megabytes * 2 ** 20,
    maxAgeMs: options.history.seconds * 1000,
  });
  const stop = new AbortController();
  const services = new ServiceResources(
    state.collection(storagePath('', 'services')),
    options.serviceCidrs,
    options.nodePorts,
  );
  const engine = new Engine(state, strategies(services), clock, log);
  const accessCollections = {
    pods: state.collection(storagePath('', 'pods')),
    roles: state.collection(storagePath('rbac.authorization.k8s.io', 'roles')),
    clusterRoles: state.collection(storagePath('rbac.authorization.k8s.io', 'clusterroles')),
    roleBindings: state.collection(storagePath('rbac.authorization.k8s.io', 'rolebindings')),
    clusterRoleBindings: state.collection(storagePath('rbac.authorization.k8s.io', 'clusterrolebindings')),
  };
  engine.access = new Authorizer(accessCollections, options.authorization);
  if (options.serviceAccounts !== undefined) {
    engine.tokens = new ServiceAccountTokens({
      key: openSigningKey(options.serviceAccounts.keyFile),
      issuer: options.serviceAccounts.issuer,
      find: engine.context({}).find,
      now: () => clock.now(),
    });
  }
  const checks = () => [
    {
      name: 'store',
      failure: store.status().writable ? undefined : (store.status().reason ?? 'the store cannot write'),
    },
    { name: 'state', failure: state.failure },
  ];
  const cluster = new LocalCluster(engine, new NodeConnections(), checks, options.bookmarkSeconds * 1000);
  try {
    await state.start(signal);
    await bootstrap(cluster, services.firstAddress, options.authorization === 'rbac');
    signal.throwIfAborted();
  } catch (error) {
    await state.stop();
    throw error;
  }
  const expiry = new EventExpiry(engine, clock, options.eventTtlSeconds * 1000, options.maxEvents);
  const keeping = (async () => {
    while (!stop.signal.aborted) {
      try {
        await clock.sleep(housekeepingMs, stop.signal);
        state.trim();
        await expiry.sweep();
        // Somebody may have deleted what everybody counts on.
        await bootstrap(cluster, services.firstAddress, options.authorization === 'rbac');
      } catch (error) {
        if (!stop.signal.aborted)
          log.warn('Housekeeping of the API state failed; trying again', { error: String(error) });
      }
    }
  })();
  return Object.assign(cluster, {
    metrics: async () => storageMetrics(engine, store),
    [Symbol.asyncDispose]: async () => {
      stop.abort(new Error('the API is stopping'));
      expiry.close();
      await state.stop();
      await keeping;
    },
  });
}
